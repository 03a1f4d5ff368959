"""The API in containers: what a switch keeps, what it changes, how it fails, and that it converges wherever it dies."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pap_images
import pytest
from papdeploy.app.docker_app import DockerApi
from papdeploy.app.process_sockets import ProcessSockets
from papdeploy.core.errors import DeadlineExceeded, PapError, Refused, Unavailable, Unhealthy
from papdeploy.environment.copy_environment import CopyEnvironment
from papdeploy.logwatch.sources import ContainerLog
from papdeploy.remote.client import Agent
from papdeploy.sites.docker.one_off import OneOffSite, leftovers
from support.docker_stacks import RELEASE, Small
from support.waiting import wait_until

pytestmark = pytest.mark.docker

RICH_CONFIG: dict[str, Any] = {
    "Env": ["OWN=1", "BOTH=container", "CC_DROP_TABLES=false"],
    "Labels": {"com.docker.compose.service": "cc-pap-api", "com.docker.compose.image": "sha256:old", "team": "ü"},
    "User": "12345:23456",
    "WorkingDir": "/tmp",
    "Hostname": "pap-host",
    "StopTimeout": 3,
    "StopSignal": "SIGINT",
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_000_000_000, "Timeout": 2_000_000_000, "Retries": 2},
}
RICH_HOST: dict[str, Any] = {
    "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 5},
    "ReadonlyRootfs": True,
    "Tmpfs": {"/tmp": "size=32m,mode=1777"},
    "Memory": 256 << 20,
    "NanoCpus": 500_000_000,
    "PidsLimit": 200,
    "ShmSize": 32 << 20,
    "CapDrop": ["ALL"],
    "CapAdd": ["NET_BIND_SERVICE"],
    "SecurityOpt": ["no-new-privileges"],
    "Ulimits": [{"Name": "nofile", "Soft": 1000, "Hard": 2000}],
    "Sysctls": {"net.ipv4.ip_unprivileged_port_start": "80"},
    "ExtraHosts": ["elsewhere:10.1.2.3"],
    "Dns": ["10.9.9.9"],
    "Init": True,
    "OomScoreAdj": 100,
    "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
}


def comparable(inspected: dict[str, Any]) -> dict[str, Any]:
    """What an operator configured, without what is each container's own or comes from the image."""
    config = copy.deepcopy(inspected["Config"])
    host = copy.deepcopy(inspected["HostConfig"])
    config["Env"] = sorted(entry for entry in config["Env"] if entry.split("=")[0] in ("OWN", "BOTH", "CC_DROP_TABLES"))
    for name in ("Image", "Labels", "Volumes"):
        config.pop(name, None)
    mounts = {(m["Type"], m.get("Name", m.get("Source")), m["Destination"], m["RW"]) for m in inspected["Mounts"]}
    host.pop("Binds")
    networks = {
        name: {
            "aliases": sorted(set(end.get("Aliases") or []) - {inspected["Id"][:12]}),
            "address": (end.get("IPAMConfig") or {}).get("IPv4Address"),
        }
        for name, end in inspected["NetworkSettings"]["Networks"].items()
    }
    return {"config": config, "host": host, "mounts": mounts, "networks": networks}


def test_a_switch_keeps_the_configuration_and_takes_the_new_image(small: Small, tmp_path: Path) -> None:
    front = small.network(ipam={"Config": [{"Subnet": "10.213.7.0/24"}]})
    back = small.network(internal=True)
    (tmp_path / "bound").mkdir()
    volume = f"{front}-data"
    host = {
        **RICH_HOST,
        "NetworkMode": front,
        "Binds": [f"{tmp_path}/bound:/bound:ro", f"{volume}:/data"],
        "PortBindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(_free_port())}]},
    }
    endpoint = {"Aliases": ["cc-pap-api", "pap"], "IPAMConfig": {"IPv4Address": "10.213.7.77"}}
    name = small.create("one", {**RICH_CONFIG, "NetworkingConfig": {"EndpointsConfig": {front: endpoint}}}, host)
    small.engine.api.connect_container_to_network(name, back, aliases=["deep"])
    before = small.inspect()
    api = small.api("two")
    old, new = api.running(), api.candidate()
    api.switch(new)
    api.confirm(new)
    after = small.inspect()
    assert after["Id"] != before["Id"]
    assert comparable(after) == comparable(before)
    assert after["Config"]["Image"] == small.images["two"]
    assert after["Image"] == new.identity != old.identity
    labels = after["Config"]["Labels"]
    assert (labels["team"], labels["kind"], labels["com.docker.compose.image"]) == ("ü", "two", new.identity)
    assert "only.one" not in labels
    shown = small.ask()["environment"]
    assert (shown["RELEASE"], shown["ONLY_TWO"], shown["BOTH"], shown["OWN"]) == ("two", "2", "container", "1")
    assert "ONLY_ONE" not in shown
    kept = small.inspect(f"{name}__{RELEASE}")
    assert kept["Id"] == before["Id"]
    assert not kept["State"]["Running"]
    assert kept["HostConfig"]["RestartPolicy"]["Name"] == "no"

    api.switch(old)
    again = small.inspect()
    assert again["Id"] == before["Id"]
    assert comparable(again) == comparable(before)
    assert small.release() == "one"
    small.engine.api.remove_container(name, force=True)
    for item in api.services()[0].kept():
        small.engine.api.remove_container(item.Id, v=True)
    small.engine.api.remove_volume(volume)


def test_environment_of_a_candidate_shows_image_and_container_together(small: Small) -> None:
    """CC_DROP_TABLES in an image's ENV is as real as in the container's; the container's own value wins."""
    small.create("one", {"Env": ["OWN=1"]})
    api = small.api("drops")
    assert "CC_DROP_TABLES" not in api.environment(api.running())
    assert api.environment(api.candidate())["CC_DROP_TABLES"] == "true"
    assert api.environment(api.candidate())["OWN"] == "1"
    small.names.clear()
    small.create("one", {"Env": ["CC_DROP_TABLES=false"]})
    api = small.api("drops")
    assert api.environment(api.candidate())["CC_DROP_TABLES"] == "false"


def test_the_program_of_an_image_is_seen_where_it_reaches_nothing(small: Small) -> None:
    """Its entry point is a script that exports CC_DROP_TABLES, and its main module another switch of that meaning."""
    small.create("one")
    script = '#!/bin/sh\\n# export CC_DROP_TABLES=no\\nexport CC_DROP_TABLES=${RESET:-true}\\nexec "$@"\\n'
    main = 'import socket\\nclass S:\\n    drop_tables = True\\nsettings = S()\\nsocket.create_connection(("127.0.0.1", 1))\\n'
    lines = [
        "USER 0",
        f"RUN printf '{script}' > /entrypoint.sh && chmod 755 /entrypoint.sh && printf '{main}' > /app/boots.py",
        "USER 10001",
        'ENTRYPOINT ["/entrypoint.sh"]',
        'CMD ["python", "/app/boots.py"]',
    ]
    small.images["boots"] = pap_images.small_api(small.engine.api, "boots", lines)
    api = small.api("boots", python="python")
    with api.runtime(api.candidate()) as runtime, Agent(runtime.site, runtime.python, cwd=runtime.cwd) as app_session:
        commands = [list(command) for command in runtime.commands]
        request = {"variable": "CC_DROP_TABLES", "models": [], "environment": "staging", "commands": commands}
        answer = app_session.call("environment.started", request)
    assert [item["value"] for item in answer["found"]] == ["true", "true", "True"], answer
    assert [item["source"] for item in answer["found"]] == [
        "/entrypoint.sh, line 3",
        "the environment of its program",
        "__main__.settings.drop_tables (from the variable CC_DROP_TABLES)",
    ]
    assert answer["problem"].endswith("ended with ConnectionRefusedError where it reaches no database")


def test_no_image_means_a_restart(small: Small) -> None:
    small.create("one")
    before = small.inspect()
    api = small.api()
    version = api.candidate()
    assert version.identity == api.running().identity
    api.switch(version)
    after = small.inspect()
    assert after["Id"] == before["Id"]
    assert after["State"]["StartedAt"] > before["State"]["StartedAt"]
    assert api.services()[0].kept() == []


def test_stop_disarms_and_another_process_gives_the_policy_back(small: Small) -> None:
    name = small.create("one", host={"RestartPolicy": {"Name": "always"}})
    small.api().stop()
    stopped = small.inspect()
    assert not stopped["State"]["Running"]
    assert stopped["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert small.api().running().containers[0].policy["Name"] == "always"
    small.api().stop()
    small.api().start()
    assert small.inspect(name)["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert small.release() == "one"


def test_switching_twice_to_what_runs_changes_nothing(small: Small) -> None:
    small.create("one")
    api = small.api("two")
    new = api.candidate()
    api.switch(new)
    before = small.inspect()
    api.switch(new)
    after = small.inspect()
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])


class Dies(BaseException):
    """The process is gone: nothing of it runs on."""


@contextlib.contextmanager
def dying_at(api: DockerApi, call: int) -> Iterator[list[str]]:
    """Let the ``call``-th change at the engine be the last thing this process does (it happens, then the end)."""
    changes = ("create_container_from_config", "update_container", "stop", "rename", "start", "remove_container")
    original = {name: getattr(api.engine.api, name) for name in changes}
    done: list[str] = []

    def wrap(name: str) -> Callable[..., Any]:
        def changed(*args: Any, **keywords: Any) -> Any:
            result = original[name](*args, **keywords)
            done.append(name)
            if len(done) == call:
                raise Dies
            return result

        return changed

    for name in changes:
        setattr(api.engine.api, name, wrap(name))
    try:
        yield done
    finally:
        for name in changes:
            delattr(api.engine.api, name)


@pytest.mark.parametrize("then", ["forward", "back"])
def test_a_switch_that_dies_anywhere_converges(small: Small, then: str) -> None:
    """After each of its changes in turn: calling it again ends at the new release, rolling back ends at the old one."""
    name = small.create("one", host={"RestartPolicy": {"Name": "unless-stopped"}})
    first = small.inspect()
    old = small.api().running()
    steps = 0
    for call in range(1, 20):
        api = small.api("two", release=f"20260101T000000Z-00{call:02}")
        new = api.candidate()
        died = False
        with dying_at(api, call) as done:
            try:
                api.switch(new)
            except Dies:
                died = True
        steps = max(steps, len(done))
        again = small.api("two", release=f"20260101T000000Z-00{call:02}")
        again.switch(new if then == "forward" else old)
        assert small.release() == ("two" if then == "forward" else "one"), f"after {done}"
        now = small.inspect()
        assert now["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        running = [
            item["Names"][0] for item in small.engine.api.containers() if item["Names"][0].startswith(f"/{name}")
        ]
        assert running == [f"/{name}"], f"after {done}"
        with dying_at(again, call) as undone, contextlib.suppress(Dies):
            again.switch(old)
        small.api(release=f"20260101T000000Z-00{call:02}").switch(old)
        assert small.inspect()["Id"] == first["Id"], f"after {undone}"
        small.api().tidy(0)
        assert [item["Names"][0] for item in small.engine.api.containers(all=True) if name in item["Names"][0]] == [
            f"/{name}"
        ]
        if not died:
            break
    assert steps >= 6


@pytest.mark.parametrize(
    ("image", "said", "hint"),
    [
        ("dies", r"ended right after its start with exit code 1.*no database password=\*{8}", "docker logs"),
        ("silent", r"runs, but did not listen on port 8000 within 2 s.*wrote no log", "pap_api_start_s"),
    ],
)
def test_a_release_that_does_not_come_up_is_told_and_undone(small: Small, image: str, said: str, hint: str) -> None:
    small.create("one", host={"RestartPolicy": {"Name": "always"}})
    api = small.api(image, start_s=2.0)
    old = api.running()
    begun = time.monotonic()
    with pytest.raises(Unavailable, match=said) as caught:
        api.switch(api.candidate())
    assert hint in caught.value.hint
    assert time.monotonic() - begun < 30
    api.switch(old)
    api.confirm(old)
    assert small.release() == "one"


def test_confirm_sees_through_another_container(small: Small) -> None:
    small.create("one")
    api = small.api("two")
    old, new = api.running(), api.candidate()
    api.confirm(old)
    with pytest.raises(Unavailable, match="runs the image"):
        api.confirm(new)
    api.switch(new)
    api.confirm(new)
    small.engine.api.start(f"{small.names[0]}__{RELEASE}")
    with pytest.raises(Unavailable, match="runs beside"):
        api.confirm(new)


@pytest.mark.parametrize(
    ("test", "seconds", "said"),
    [
        (["CMD", "sleep", "2"], 15.0, ""),
        (["CMD", "sleep", "30"], 1.0, "its health check starting, after 1 s"),
        (["CMD-SHELL", "echo no disk; exit 1"], 15.0, "unhealthy by its own health check: no disk"),
    ],
)
def test_the_health_check_is_waited_for_by_itself(small: Small, test: list[str], seconds: float, said: str) -> None:
    second = 1_000_000_000
    check = {"Test": test, "Interval": second, "Timeout": 40 * second, "Retries": 4, "StartPeriod": 0}
    small.create("one", {"Healthcheck": check})
    api = small.api("two", health_s=seconds)
    new = api.candidate()
    api.switch(new)
    began = time.monotonic()
    api.confirm(new)
    assert time.monotonic() - began < 20 or "30" not in test, "who runs is known without a check that takes 30 s"
    assert api.pending_health_check(new) == 1.0
    if said:
        with pytest.raises(Unhealthy, match=said):
            api.await_health_check(new)
    else:
        api.await_health_check(new)
        assert api.pending_health_check(new) == 0.0
        assert small.inspect()["State"]["Health"]["Status"] == "healthy"


def test_several_containers_roll_one_after_another(small: Small) -> None:
    small.create("one")
    small.create("one")
    api = small.api("late")
    new = api.candidate()
    seen: list[tuple[bool, ...]] = []
    first, second = small.names
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            # The first is asked before and after: one look at each would be two moments.
            seen.append(tuple(_listens(small, name) for name in (first, second, first)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        api.switch(new)
    finally:
        stop.set()
        watcher.join()
    assert all(any(looks) for looks in seen), "there was a moment without any of them"
    assert any(not looks[0] for looks in seen)
    assert any(not looks[1] for looks in seen)
    api.confirm(new)


def _listens(small: Small, name: str) -> bool:
    found = small.engine.find_container(name)
    address = next((end.IPAddress for end in found.NetworkSettings.Networks.values()), "") if found else ""
    # Longer than the first retransmission: a bridge that takes in another container may lose one packet.
    if not address:
        return False
    with contextlib.suppress(OSError), socket.create_connection((address, 8000), 5):
        return True
    return False


def test_an_image_that_went_away_is_told(small: Small) -> None:
    small.create("one")
    api = small.api("two")
    absent = "sha256:" + "0" * 64
    gone = replace(api.candidate(), image=absent, identity=absent)
    with pytest.raises(Unavailable, match="no longer on this host"):
        api.switch(gone)
    assert small.release() == "one"


@pytest.mark.parametrize("registry", ["silent", "closed"])
def test_a_registry_that_does_not_answer(small: Small, registry: str) -> None:
    small.create("one")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        if registry == "silent":
            listener.listen()
        else:
            listener.close()
        api = small.api(f"127.0.0.1:{port}/pap:9", pull_s=2.0)
        expected = DeadlineExceeded if registry == "silent" else Unavailable
        with pytest.raises(expected, match=f"The (image|Docker engine).*127.0.0.1:{port}") as caught:
            api.candidate()
    assert "docker pull" in caught.value.hint or "registry" in caught.value.hint
    assert small.release() == "one"


@pytest.mark.parametrize(
    ("config", "host", "said"),
    [
        ({}, {"AutoRemove": True}, "started with --rm"),
        ({"Labels": {"com.docker.swarm.service.id": "x"}}, {}, "belongs to Docker Swarm"),
    ],
)
def test_containers_that_cannot_be_replaced_safely_are_refused(
    small: Small, config: dict[str, Any], host: dict[str, Any], said: str
) -> None:
    small.create("one", config, host)
    with pytest.raises(Refused, match=said):
        small.api("two").candidate()
    assert small.release() == "one"


def test_an_unknown_container_is_told(small: Small) -> None:
    small.names.append("no-such-api")
    with pytest.raises(Unavailable, match="There is no container no-such-api"):
        small.api("two").running()


@pytest.mark.parametrize("strategy", ["published", "address", "tunnel"])
def test_the_api_is_reached(small: Small, strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = {"PortBindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}} if strategy == "published" else {}
    small.create("one", host=ports)
    if strategy == "tunnel":
        monkeypatch.setattr("papdeploy.app.docker_app.direct", lambda *_: "")
    api = small.api()
    url = api.base_url()
    assert url.startswith("http://127.0.0.1:" if strategy != "address" else "http://172.")
    assert api.base_url() == url
    assert small.ask(url)["release"] == "one"
    import urllib.request

    body = os.urandom(300_000)
    with urllib.request.urlopen(urllib.request.Request(url + "/any", data=body), timeout=20) as answer:
        assert json.load(answer) == {"bytes": len(body)}
    if strategy == "address":
        api.stop()
        assert api.base_url() == ""


def test_the_log_since_a_mark(small: Small) -> None:
    small.create("one")
    api = small.api("two")
    log = ContainerLog(api.names[0])
    mark = log.now()
    small.ask()
    wait_until(lambda: "GET" in log.since(mark).text, seconds=20)  # the engine writes it when it comes to it
    reading = log.since(mark)
    assert reading.text.count("GET") == 1
    api.switch(api.candidate())
    small.ask()
    wait_until(lambda: "two" in log.since(reading.mark).text, seconds=20)
    text = log.since(reading.mark).text
    assert "one" not in text


# One-off containers


def test_a_one_off_stands_in_the_api_s_place_without_being_it(small: Small) -> None:
    network = small.network()
    ports = {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    host = {"NetworkMode": network, "PortBindings": ports, "ReadonlyRootfs": True, "RestartPolicy": {"Name": "always"}}
    config = {
        "User": "12345:12345",
        "Env": ["DATABASE_URL=postgresql://u:p@db/x"],
        "Labels": {"com.docker.compose.service": "cc-pap-api"},
        "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": ["cc-pap-api"]}}},
    }
    small.create("one", config, host)
    address = small.inspect()["NetworkSettings"]["Networks"][network]["IPAddress"]
    api = small.api("two")
    new = api.candidate()
    with api.runtime(new) as runtime:
        assert runtime.env["DATABASE_URL"] == "postgresql://u:p@db/x"
        code = "import os, socket; print(os.getuid(), os.environ['RELEASE'], socket.gethostbyname('cc-pap-api'))"
        assert runtime.site.run([runtime.python, "-c", code]).text.split() == ["12345", "two", address]
        inspected = small.inspect(leftovers(small.engine, small.names[0])[0])
        assert inspected["Image"] == new.image
        assert inspected["HostConfig"]["PortBindings"] == {}
        assert inspected["HostConfig"]["RestartPolicy"]["Name"] == "no"
        assert not any(label.startswith("com.docker.compose") for label in inspected["Config"]["Labels"])
        code = "import tempfile; tempfile.TemporaryFile(); open('/app/x', 'w')"
        assert "Read-only file system" in runtime.site.run([runtime.python, "-c", code], check=False).stderr
    wait_until(lambda: not leftovers(small.engine, small.names[0]))


def test_a_one_off_vanishes_with_its_caller(small: Small) -> None:
    name = small.create("one")
    code = (
        "import time\nfrom papdeploy.app.docker_app import DockerApi; from papdeploy.sites.docker.engine import Engine\n"
        f"api = DockerApi(Engine(), [{name!r}], {str(small.state_dir)!r}, image={small.images['two']!r})\n"
        "with api.runtime(api.candidate()) as runtime:\n    print('up', flush=True)\n    time.sleep(60)\n"
    )
    path = str(Path(__file__).parents[3] / "module_utils")
    caller = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    assert caller.stdout is not None and caller.stdout.readline() == b"up\n"
    assert len(leftovers(small.engine, name)) == 1
    caller.kill()
    caller.wait()
    wait_until(lambda: not leftovers(small.engine, name))


def test_a_one_off_works_without_a_shell_and_only_one_that_has_ended_is_tidied_away(small: Small) -> None:
    name = small.create("one", {"User": "0"})
    api = small.api("noshell")
    site = OneOffSite(small.engine, api.plan(api.candidate()), name).__enter__()
    assert site.run(["python", "-c", "print(1)"]).text == "1\n"
    assert api.tidy(1) == []
    marks = small.inspect(site.name)["Config"]["Labels"]
    ended = small.engine.api.create_container(small.images["one"], ["python", "-c", ""], labels=marks)["Id"]
    small.engine.api.start(ended)
    small.engine.api.wait(ended)
    assert len(api.tidy(1)) == 1
    assert leftovers(small.engine, name) == [site.name]
    site.close()
    assert leftovers(small.engine, name) == []
    assert small.release() == "one"


def test_a_one_off_of_an_image_without_python_says_so(small: Small, docker_engine: Any) -> None:
    import pap_images

    bare = pap_images.variant(
        docker_engine.api, small.images["one"], "bare", ["USER 0", "RUN rm -rf /opt/venv /usr/bin/python3*"]
    )
    small.create("one")
    api = small.api(bare)
    with pytest.raises(PapError, match="No Python with SQLAlchemy was found"), api.runtime(api.candidate()):
        pass
    wait_until(lambda: not leftovers(small.engine, small.names[0]))


def test_a_trial_runs_beside_the_api_and_is_gone_afterwards(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    small.create(
        "one", {"Env": ["DATABASE_URL=live"]}, {"PortBindings": {"8000/tcp": [{"HostPort": str(_free_port())}]}}
    )
    for reach in (True, False):
        if not reach:
            monkeypatch.setattr("papdeploy.app.docker_trial.direct", lambda *_: "")
        api = small.api("two")
        with api.trial(api.candidate(), CopyEnvironment({"DATABASE_URL": "copy"}), ProcessSockets()) as trial:
            wait_until(lambda: "listening" in trial.log())
            shown = small.ask(trial.base_url)["environment"]
            assert (shown["RELEASE"], shown["DATABASE_URL"]) == ("two", "copy")
            assert trial.ended() is None
            assert small.release() == "one"
            assert small.ask()["environment"]["DATABASE_URL"] == "live"
        wait_until(lambda: not leftovers(small.engine, small.names[0]))
    api = small.api("dies")
    with api.trial(api.candidate(), CopyEnvironment({}), ProcessSockets()) as trial:
        wait_until(lambda: trial.ended() is not None)
        assert trial.ended() == 1
        assert "ValueError: no database" in trial.log()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
