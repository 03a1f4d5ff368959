"""The contract of a site, held by this host and by containers alike: streams, exit codes, deadlines, ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from papdeploy.app.discovery import database_at, discover
from papdeploy.core.errors import CommandFailed, DeadlineExceeded, Unavailable
from papdeploy.remote.client import Agent
from papdeploy.sites.docker.engine import Engine
from papdeploy.sites.docker.site import ContainerSite
from papdeploy.sites.host import HostSite, Site
from support.app_session import as_app
from support.docker_stacks import Small
from support.waiting import wait_until


@dataclass
class Place:
    site: Site
    python: str
    folder: str

    def run(self, code: str, *arguments: str, **options: Any) -> Any:
        return self.site.run([self.python, "-c", code, *arguments], **options)


CONTAINERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "container": ("one", {"User": "0"}, {}),
    "noshell": ("noshell", {"User": "0"}, {}),
    "readonly": (
        "one",
        {"User": "12345:12345"},
        {"ReadonlyRootfs": True, "Tmpfs": {"/tmp": ""}, "CapDrop": ["ALL"]},
    ),
}


@pytest.fixture(scope="module")
def running_containers(
    docker_engine: Engine, small_images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Small, dict[str, str]]]:
    """The container of each kind, shared by the tests of this file."""
    made = Small(docker_engine, small_images, tmp_path_factory.mktemp("state"))
    try:
        yield made, {kind: made.create(*settings) for kind, settings in CONTAINERS.items()}
    finally:
        made.remove()


@pytest.fixture(params=["host", *(pytest.param(kind, marks=pytest.mark.docker) for kind in CONTAINERS)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """This host; a container; one without a shell; one with an unprivileged user on a read-only root."""
    if request.param == "host":
        return Place(HostSite(), sys.executable, str(tmp_path))
    made, names = request.getfixturevalue("running_containers")
    return Place(ContainerSite(made.engine, names[request.param]), "python", "/tmp")


ECHO = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"


def test_standard_output_and_error_are_apart(place: Place) -> None:
    done = place.run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", check=False)
    assert (done.text, done.stderr.strip(), done.rc) == ("out\n", "err", 3)


def test_every_byte_comes_back_after_the_end_of_input(place: Place) -> None:
    data = bytes(range(256)) * 20_000
    assert place.run(ECHO, input=data).stdout == data


def test_unread_output_does_not_block_errors(place: Place) -> None:
    done = place.run("import sys\nfor n in range(3000): print('o' * 99); print('e' * 99, file=sys.stderr)")
    assert len(done.stdout) == 300_000
    assert len(done.stderr) == 64 * 1024


def test_environment_is_added_to_that_of_the_site(place: Place) -> None:
    code = "import os; print(os.environ['ADDED'], os.environ['PATH'])"
    shown = place.run(code, env={"ADDED": "a b=c\n√"}).text
    assert shown.startswith("a b=c\n√ ")
    assert shown.strip().endswith(place.site.environment()["PATH"])


def test_working_directory(place: Place) -> None:
    assert place.run("import os; print(os.getcwd())", cwd=place.folder).text.strip() == place.folder


def test_arguments_are_not_interpreted(place: Place) -> None:
    words = ["$HOME", "a b", "'\"", "*", "-n", "", "ü\n;ls"]
    assert place.run("import sys; print(ascii(sys.argv[1:]))", *words).text.strip() == ascii(words)


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(lambda place: place.site.run(["no-such-program-here"]), id="program"),
        pytest.param(lambda place: place.site.run(["/etc/passwd"]), id="not-executable"),
        pytest.param(lambda place: place.run("pass", cwd="/no/such/folder"), id="folder"),
    ],
)
def test_what_cannot_be_started_is_unavailable(place: Place, start: Callable[[Place], Any]) -> None:
    with pytest.raises(Unavailable, match=r"cannot be started on (this host|container)"):
        start(place)
    assert place.run("print(1)").text == "1\n"


def test_a_failure_carries_code_and_last_words(place: Place) -> None:
    with pytest.raises(CommandFailed) as caught:
        place.run("import sys; sys.exit('password=hunter2222 is wrong')")
    assert caught.value.data["rc"] == 1
    assert "hunter" not in str(caught.value)


def test_input_that_is_not_read_does_no_harm(place: Place) -> None:
    assert place.run("print('done')", input=b"x" * 3_000_000).text == "done\n"


def test_a_deadline_ends_the_program_and_its_children(place: Place) -> None:
    trace = f"{place.folder}/trace-{os.getpid()}"
    child = f"import time\nwhile True:\n open({trace!r}, 'a').write('x'); time.sleep(0.02)"
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    with pytest.raises(DeadlineExceeded, match=r"did not end within 1\.5 s"):
        place.run(parent, timeout=1.5)
    size = place.run(f"import os; print(os.path.getsize({trace!r}))").text
    time.sleep(0.3)
    assert place.run(f"import os; print(os.path.getsize({trace!r}))").text == size


def test_kill_ends_it_and_wait_says_so(place: Place) -> None:
    process = place.site.popen([place.python, "-c", "import time; print('up', flush=True); time.sleep(60)"])
    assert process.stdout.readline() == b"up\n"
    with pytest.raises(DeadlineExceeded):
        process.wait(0.1)
    process.kill()
    assert process.wait(5) == -signal.SIGKILL
    process.kill()


def test_leaving_the_block_kills_and_unblocks_a_reader(place: Place) -> None:
    with place.site.popen([place.python, "-c", "import time; time.sleep(60)"]) as process:
        seen: list[bytes] = []
        reader = threading.Thread(target=lambda: seen.append(process.stdout.read()))
        reader.start()
        time.sleep(0.2)
        process.kill()
        reader.join(10)
        assert seen == [b""]


def test_a_conversation(place: Place) -> None:
    code = "import sys\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)"
    with place.site.popen([place.python, "-u", "-c", code], stdin=True) as process:
        assert process.stdin is not None
        for word in ("abc", "xyz" * 1000):
            process.stdin.write(f"{word}\n".encode())
            process.stdin.flush()
            assert process.stdout.readline().decode().strip() == word[::-1]
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(10) == 0


def test_writing_to_a_program_that_has_ended_is_a_broken_pipe(place: Place) -> None:
    with place.site.popen([place.python, "-c", "pass"], stdin=True) as process:
        process.wait(10)
        assert process.stdin is not None
        with pytest.raises(OSError):
            for _ in range(100):
                process.stdin.write(b"x" * 100_000)


def test_many_at_once(place: Place) -> None:
    results: list[str] = []
    workers = [
        threading.Thread(target=lambda n=n: results.append(place.run(f"print({n} * 'x')").text)) for n in range(6)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert sorted(map(len, results)) == [1, 2, 3, 4, 5, 6]


def test_the_agent_answers_beside_the_models(place: Place) -> None:
    with Agent(place.site, place.python, cwd=place.folder) as agent:
        assert agent.call("ping", {}, deadline_s=30)["sqlalchemy"]


# What only containers have


@pytest.mark.docker
@pytest.mark.parametrize("image", ["one", "noshell"])
def test_what_a_killed_caller_started_ends_inside(small: Small, image: str) -> None:
    """kill -9 of ``docker exec`` leaves the program; here it must end, because its caller's connection does."""
    name = small.create(image, {"User": "0"})
    code = (
        "from papdeploy.sites.docker.site import ContainerSite; from papdeploy.sites.docker.engine import Engine\n"
        f"process = ContainerSite(Engine(), {name!r}).popen(['python', '-c', 'import time; time.sleep(61.5)'])\n"
        "print('started', flush=True)\nprocess.wait()\n"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "module_utils")},
    )
    assert caller.stdout is not None and caller.stdout.readline() == b"started\n"
    assert _running(small.engine, name, "61.5") == 1
    caller.kill()
    caller.wait()
    wait_until(lambda: _running(small.engine, name, "61.5") == 0)


@pytest.mark.docker
def test_words_in_front_make_it_another_user_who_can_still_be_ended(small: Small) -> None:
    name = small.create("one", {"User": "0"})
    site = ContainerSite(small.engine, name, ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"])
    assert site.run(["python", "-c", "import os; print(os.getuid(), os.getgid())"]).text == "12345 12345\n"
    with pytest.raises(DeadlineExceeded):
        site.run(["python", "-c", "import time; time.sleep(62.5)"], timeout=1)
    assert _running(small.engine, name, "62.5") == 0


@pytest.mark.docker
def test_the_postmaster_survives_what_is_ended_beside_it(docker_engine: Engine, docker_stack: Any) -> None:
    """In cc-db process 1 is the postmaster: an orphan that died of a signal would make it end every session."""
    engine, stack = docker_engine, docker_stack
    found = discover(engine, stack.db, stack.api).database
    database = database_at(engine, stack.db, dbname=found.name, user=found.admin_user)
    stack.sql("CREATE TABLE slow AS SELECT i, md5(i::text) FROM generate_series(1, 1000) i")
    try:
        with database.session() as session, as_app(database).session() as blocker:
            blocker.execute("BEGIN; LOCK TABLE slow IN ACCESS EXCLUSIVE MODE")
            for argv in (
                database.tool("pg_dump", "-Fc"),
                database.tool("pg_dump", "-Fd", "-j", "3", "-f", "/tmp/never"),
                ["sh", "-c", "sleep 70 | sleep 70 & sleep 70 | cat"],
            ):
                with pytest.raises(DeadlineExceeded):
                    database.site.run(argv, env=database.environment(), timeout=1.5)
                assert session.scalar("SELECT 42 AS answer") == 42
            assert stack.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pg_dump%'") == "0"
        assert _running(engine, stack.db, "70") == 0
    finally:
        stack.sql("DROP TABLE slow")


_REAPER = """
import os, time
print("listening", flush=True)
while True:
    try:
        pid, status = os.wait()
        print("died of a signal" if os.WIFSIGNALED(status) else "ended", flush=True)
    except ChildProcessError:
        time.sleep(0.002)
"""
_WAITS_FOR_ONE = """
import subprocess
children = [subprocess.Popen(["sleep", "70"]) for _ in range(20)]
children[0].wait()
"""


@pytest.mark.docker
@pytest.mark.parametrize(
    "argv",
    [
        pytest.param(["sh", "-c", "sleep 70 | sleep 70 & (sleep 70; true) | (cat; true)"], id="pipelines"),
        pytest.param(["python3", "-c", _WAITS_FOR_ONE], id="a parent that leaves when the first has died"),
    ],
)
def test_what_is_ended_leaves_no_orphan_that_died_of_a_signal(small: Small, argv: list[str]) -> None:
    """Process 1 of the container says what it adopted: a parent that ends before its children would hand them over."""
    name = small.create("one", {"User": "0", "Cmd": ["python3", "-c", _REAPER]})
    site = ContainerSite(small.engine, name)
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            site.run(argv, timeout=0.7)
        assert _running(small.engine, name, "70") == 0
    assert b"signal" not in small.engine.api.logs(name)


@pytest.mark.docker
def test_a_container_that_stops_meanwhile_is_told(small: Small) -> None:
    name = small.create("one")
    process = ContainerSite(small.engine, name).popen(["python", "-c", "import time; time.sleep(60)"])
    small.engine.api.kill(name)
    assert process.stdout.read() == b""
    assert process.wait(10) != 0
    process.kill()


def _killed(api: Any, name: str) -> None:
    api.kill(name)
    api.wait(name)


@pytest.mark.docker
@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        pytest.param(_killed, "is exited since .* with exit code 137", id="stopped"),
        pytest.param(lambda api, name: api.pause(name), "is paused", id="paused"),
        pytest.param(lambda api, name: api.remove_container(name, force=True), "There is no container", id="removed"),
    ],
)
def test_a_container_that_cannot_take_a_program_says_why(
    small: Small, break_it: Callable[[Any, str], Any], said: str
) -> None:
    name = small.create("one")
    site = ContainerSite(small.engine, name)
    assert site.run(["python", "-c", "print(1)"]).text == "1\n"
    break_it(small.engine.api, name)
    with pytest.raises(Unavailable, match=said):
        site.run(["python", "-c", "print(1)"])


def _running(engine: Engine, name: str, word: str) -> int:
    """Processes in the container with ``word`` among their arguments, as the engine's own ``top`` counts them."""
    lines = engine.api.top(name)["Processes"]
    return sum(1 for line in lines if word in line[-1] and "-c" in line[-1] and "pap-deploy" not in line[-1])
