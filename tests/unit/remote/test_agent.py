from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import pytest
from papdeploy.core.errors import DeadlineExceeded, PapError, RemoteError, Unavailable
from papdeploy.remote import archive
from papdeploy.remote.client import Agent
from papdeploy.sites.host import HostSite
from support import ROOT
from support.waiting import gone, wait_until


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the agent calls of the test's own: the payload is the package with another ``handlers.py``."""
    source = textwrap.dedent(
        """
        import os, sys, time
        from ..core.errors import Refused
        def echo(request, emit):
            print("postgresql://app:geheim@db/x")
            os.write(1, b"noise on the file descriptor\\n")
            emit({"event": "progress", "done": 1})
            return {"echo": request, "leak": "token=abcdef", "pid": os.getpid()}
        def refuse(request, emit): raise Refused("no", hint="do", table="users")
        def crash(request, emit): raise ValueError("password=abcdef")
        def leave(request, emit): sys.exit(0)
        def die(request, emit): os._exit(9)
        def sleep(request, emit): time.sleep(60)
        def resolve(name): return globals()[name]
        """
    )
    original = archive.travels()

    def changed() -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(original)) as old, zipfile.ZipFile(buffer, "w") as new:
            for name in old.namelist():
                new.writestr(name, source if name == "papdeploy/remote/handlers.py" else old.read(name))
        return buffer.getvalue()

    monkeypatch.setattr(archive, "travels", changed)
    monkeypatch.setattr(archive, "package_folder", lambda: "")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_results_travel_apart_from_what_the_app_prints(calls: None, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    with Agent(HostSite(), sys.executable) as app_session:
        first = app_session.call("echo", {"a": "ü"}, on_event=events.append)
        second = app_session.call("echo", {})
    assert first["echo"] == {"a": "ü"}
    assert events == [{"event": "progress", "done": 1}]
    assert first["pid"] == second["pid"], "one process answers all calls"
    assert first["leak"] == "token=abcdef", "a result is data: it is masked where it leaves as text"
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_errors_cross_with_their_kind_and_data(calls: None) -> None:
    with Agent(HostSite(), sys.executable) as app_session:
        with pytest.raises(PapError, match="no") as caught:
            app_session.call("refuse", {})
        assert type(caught.value).__name__ == "Refused"
        assert caught.value.data == {"table": "users"}
        for name in ("crash", "leave"):
            with pytest.raises(RemoteError) as wrapped:
                app_session.call(name, {})
            assert "abcdef" not in str(wrapped.value.as_dict())


def test_a_death_and_a_deadline_are_told_apart(calls: None) -> None:
    with Agent(HostSite(), sys.executable) as app_session:
        with pytest.raises(Unavailable, match="exit code 9"):
            app_session.call("die", {})
        with pytest.raises(DeadlineExceeded, match=r"within 0\.5 s"):
            app_session.call("sleep", {}, deadline_s=0.5)
        assert app_session.call("echo", {})["echo"] == {}, "the next call starts a new process"


def test_the_agent_ends_when_its_caller_is_killed(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import sys; sys.path.insert(0, {str(ROOT / "module_utils")!r})
        from papdeploy.remote.client import Agent
        from papdeploy.sites.host import HostSite
        beside = Agent(HostSite(), sys.executable)
        beside.call("ping", {{}})
        print(beside._process._popen.pid, flush=True)
        sys.stdin.read()
        """
    )
    caller = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert caller.stdout is not None
    pid = int(caller.stdout.readline())
    assert not gone(pid)
    caller.kill()
    caller.communicate()
    wait_until(lambda: gone(pid), seconds=20)


def test_a_python_that_is_not_one_is_named() -> None:
    with (
        Agent(HostSite(), "/bin/false") as app_session,
        pytest.raises(Unavailable, match="/bin/false on this host ended with exit code 1"),
    ):
        app_session.call("ping", {})
