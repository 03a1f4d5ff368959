"""The launcher: what a server gets from it on its way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.waiting import gone, wait_until

from sandbox import launch

LAUNCH = [sys.executable, "-I", launch.__file__]
DEADLINE = 30.0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("KEY=value", {"KEY": "value"}),
        ("KEY=a=b", {"KEY": "a=b"}),
        ("  KEY = spaced  ", {"KEY": "spaced"}),
        ('KEY="true"', {"KEY": "true"}),
        ("KEY='true'", {"KEY": "true"}),
        ("KEY=\"un'matched", {"KEY": "\"un'matched"}),
        ("export KEY=value", {"KEY": "value"}),
        ("KEY=", {"KEY": ""}),
        ("# KEY=value", {}),
        ("", {}),
        ("no assignment", {}),
    ],
)
def test_env_file(line: str, expected: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text(line + "\n")
    assert launch.read_environment(str(path)) == expected


def test_the_program_gets_directory_and_environment(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("GREETING=grüß dich\n")
    done = subprocess.run(
        [*LAUNCH, "--lock", tmp_path / "lock", "--die-with-parent", "SIGTERM", "--directory", tmp_path,
         "--environment", tmp_path / "env", "--", "/bin/sh", "-c", 'echo "$GREETING"; pwd'],
        capture_output=True, text=True, timeout=DEADLINE, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["grüß dich", str(tmp_path)]


def test_a_successor_waits_for_every_process_of_its_predecessor(tmp_path: Path) -> None:
    """The first server leaves a child behind: the second one starts when that has ended too."""

    def command(script: str) -> list[str]:
        return [*LAUNCH, "--lock", str(tmp_path / "lock"), "--die-with-parent", "SIGTERM", "--directory", str(tmp_path),
                "--", "/bin/sh", "-c", script]  # fmt: skip

    first = subprocess.Popen(command("(while [ ! -e go ]; do sleep 0.02; done; touch left) & touch started"))
    wait_until((tmp_path / "started").exists, "the first server did not start", seconds=DEADLINE)
    first.wait(DEADLINE)
    second = subprocess.Popen(command("test -e left && touch second"))
    time.sleep(0.3)
    assert second.poll() is None
    assert not (tmp_path / "second").exists()
    (tmp_path / "go").touch()
    assert second.wait(DEADLINE) == 0
    assert (tmp_path / "second").exists()


def test_the_server_ends_with_its_supervisor(tmp_path: Path) -> None:
    argv = [*LAUNCH, "--lock", str(tmp_path / "lock"), "--die-with-parent", "SIGTERM", "--directory", str(tmp_path),
            "--", "/bin/sh", "-c", "echo $$ > pid.new; mv pid.new pid; exec sleep 100"]  # fmt: skip
    code = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"
    supervisor = subprocess.Popen([sys.executable, "-c", code, *argv])
    wait_until((tmp_path / "pid").exists, "the server did not start", seconds=DEADLINE)
    server = int((tmp_path / "pid").read_text())
    assert not gone(server)
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait(DEADLINE)
    wait_until(lambda: gone(server), "the server outlived its supervisor", seconds=DEADLINE)


@pytest.mark.skipif(os.geteuid() != 0, reason="stepping down needs root")
def test_root_steps_down_and_the_server_still_ends_with_its_supervisor(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    argv = [*LAUNCH, "--account", "65534:65534", "--lock", str(tmp_path / "lock"), "--die-with-parent", "SIGINT",
            "--directory", "/", "--", "/bin/sh", "-c", "id -u; id -G; echo $$; exec sleep 100"]  # fmt: skip
    code = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"
    supervisor = subprocess.Popen([sys.executable, "-c", code, *argv], stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    uid, groups, pid = (supervisor.stdout.readline().strip() for _ in range(3))
    assert (uid, groups) == ("65534", "65534")
    # A shell that is about to exec loses a SIGINT that it caught itself.
    wait_until(
        lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n",
        "the shell did not become the server",
        seconds=DEADLINE,
    )
    supervisor.kill()
    supervisor.wait(DEADLINE)
    wait_until(lambda: gone(int(pid)), "the server outlived its supervisor", seconds=DEADLINE)
    supervisor.stdout.close()
