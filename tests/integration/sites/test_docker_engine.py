"""An engine that is remote (TLS), restarted in the middle, or not there: a second dockerd of the test's own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pap_engine import Daemon
from papdeploy.app.docker_app import DockerApi
from papdeploy.core.errors import DeadlineExceeded, Unavailable
from papdeploy.sites.docker.engine import Engine
from papdeploy.sites.docker.site import ContainerSite
from support.docker_stacks import Small

pytestmark = pytest.mark.docker


def answering(daemon: Daemon) -> Engine:
    """The engine, as soon as it answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return Engine(daemon.local)
        except Unavailable:
            if time.monotonic() > deadline:
                raise AssertionError(daemon.said()) from None


@pytest.fixture(scope="module")
def daemon(docker_engine: Engine, small_images: dict[str, str]) -> Iterator[Daemon]:
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        if os.environ.get("PAP_REQUIRE_DOCKER"):
            raise AssertionError("a second dockerd needs root")
        pytest.skip("a second dockerd needs root and dockerd")
    home = Path(tempfile.mkdtemp(prefix="pap-dockerd-", dir="/var/tmp"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = Daemon(home, port)
    made.start()
    try:
        engine = answering(made)
        for name in ("one", "two"):
            engine.api.load_image(docker_engine.api.get_image(small_images[name]))
        yield made
    finally:
        with contextlib.suppress(Unavailable):
            engine = Engine(made.local)
            for item in engine.api.containers(all=True):
                engine.api.remove_container(item["Id"], force=True)
        made.remove()


@pytest.fixture
def elsewhere(daemon: Daemon, small_images: dict[str, str], tmp_path: Path) -> Iterator[Small]:
    """A network and room for a small API on that engine."""
    made = Small(answering(daemon), small_images, tmp_path / "state")
    made.network()
    try:
        yield made
    finally:
        made.engine = answering(daemon)
        made.remove()


def test_programs_over_tls_have_the_same_streams_and_ends(daemon: Daemon, elsewhere: Small) -> None:
    name = elsewhere.create("one", host={"NetworkMode": elsewhere.networks[0]})
    site = ContainerSite(Engine(daemon.remote), name)
    assert site.engine.endpoint.tls is not None
    data = bytes(range(256)) * 40_000
    code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    assert site.run(["python", "-c", code], input=data).stdout == data
    # Input and output at the same time, more than any buffer holds.
    code = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
    assert site.run(["python", "-c", code], input=data * 3).stdout == data * 3
    assert site.run(["python", "-c", "print('x' * 3_000_000)"]).stdout == b"x" * 3_000_000 + b"\n"
    with pytest.raises(DeadlineExceeded):
        site.run(["python", "-c", "import time; time.sleep(60)"], timeout=1.0)
    api = DockerApi(site.engine, [name], str(elsewhere.state_dir))
    url = api.base_url()
    assert url.startswith("http://127.0.0.1:"), "the container's own address may be elsewhere: a tunnel"
    assert elsewhere.ask(url)["release"] == "one"


def test_a_client_without_certificate_is_told(daemon: Daemon) -> None:
    with pytest.raises(Unavailable, match="sent an HTTP request to an HTTPS server"):
        Engine({"DOCKER_HOST": f"tcp://127.0.0.1:{daemon.port}"})


@pytest.mark.parametrize("change", [1, 3, 5])
def test_an_engine_restart_in_the_middle_ends_in_the_old_state(daemon: Daemon, elsewhere: Small, change: int) -> None:
    """At the creation of the next container, while the old one is stopped, before the new one is started."""
    policy = {"RestartPolicy": {"Name": "always"}, "NetworkMode": elsewhere.networks[0]}
    name = elsewhere.create("one", host=policy)
    api = elsewhere.api("two")
    old, new = api.running(), api.candidate()
    first = elsewhere.inspect()["Id"]
    with _goes_away_after(api.engine, daemon, change), pytest.raises(Unavailable, match="did not answer"):
        api.switch(new)
    with pytest.raises(Unavailable, match=r"engine at unix://.*docker\.sock did not answer"):
        api.running()
    daemon.start()
    elsewhere.engine = answering(daemon)
    found = {item["Names"][0]: item["State"] for item in elsewhere.engine.api.containers(all=True)}
    if change > 1:
        assert "running" not in [state for known, state in found.items() if known.startswith(f"/{name}")], (
            "the engine revived what the release had stopped"
        )
    again = elsewhere.api("two")
    again.switch(old)
    again.confirm(old)
    assert elsewhere.inspect()["Id"] == first
    assert elsewhere.inspect()["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert elsewhere.release() == "one"


@contextlib.contextmanager
def _goes_away_after(engine: Engine, daemon: Daemon, change: int) -> Iterator[None]:
    """Stop the engine (and with it its containers) right after the ``change``-th change that is asked of it."""
    names = ("create_container_from_config", "update_container", "stop", "rename", "start")
    original = {name: getattr(engine.api, name) for name in names}
    count = 0

    def wrap(name: str) -> Any:
        def changed(*args: Any, **keywords: Any) -> Any:
            nonlocal count
            result = original[name](*args, **keywords)
            count += 1
            if count == change:
                daemon.stop()
            return result

        return changed

    for name in names:
        setattr(engine.api, name, wrap(name))
    try:
        yield
    finally:
        for name in names:
            delattr(engine.api, name)


def test_a_program_whose_engine_goes_away_is_told(daemon: Daemon, elsewhere: Small) -> None:
    name = elsewhere.create("one", host={"NetworkMode": elsewhere.networks[0]})
    with ContainerSite(elsewhere.engine, name).popen(["python", "-c", "import time; time.sleep(60)"]) as process:
        daemon.stop()
        assert process.stdout.read() == b""
        with pytest.raises(Unavailable, match="did not answer"):
            process.wait(5)
    daemon.start()
    answering(daemon)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"DOCKER_HOST": "unix:///nonexistent/docker.sock"}, "did not answer"),
        ({"DOCKER_HOST": "ssh://host"}, "reached by Ansible, not by the SDK"),
        ({"DOCKER_HOST": "ftp://host"}, "neither unix:// nor tcp://|did not answer"),
    ],
)
def test_an_engine_that_is_not_there_is_told(
    environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "papdeploy.sites.docker.engine._PATIENCE", {FileNotFoundError: 0.1, ConnectionRefusedError: 0.1}
    )
    with pytest.raises(Unavailable, match=said) as caught:
        Engine(environment)
    assert caught.value.hint or "neither" in caught.value.message
