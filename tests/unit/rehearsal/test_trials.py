"""A trial's environment, its port, its process: what keeps it apart from the API that runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from papdeploy.app.host_app import HostApi
from papdeploy.app.process_sockets import ProcessSockets
from papdeploy.app.trial import Trial, exit_code, held, with_port
from papdeploy.core.errors import Refused
from papdeploy.environment.copy_environment import CopyEnvironment
from papdeploy.rehearsal import trials
from papdeploy.releases.version import Version
from papdeploy.sites.host import HostSite
from support.waiting import gone, wait_until


def test_openapi_proposes_the_gets_that_need_nothing() -> None:
    document = {
        "paths": {
            "/policies/": {"get": {"parameters": [{"name": "skip", "in": "query", "required": False}]}, "post": {}},
            "/policies/{id}": {"get": {}},
            "/search": {"get": {"parameters": [{"name": "q", "in": "query", "required": True}]}},
            "/auth/login": {"post": {}},
            "/health": {"get": {}},
        }
    }
    assert trials.proposed_endpoints(document) == ["/health", "/policies/"]
    nothing: Any
    for nothing in (None, [], {"paths": None}, {"paths": {"/x": None}}):
        assert trials.proposed_endpoints(nothing) == []


def test_the_command_must_take_the_port() -> None:
    assert with_port(["api", "--port={port}"], 81) == ["api", "--port=81"]
    with pytest.raises(Refused, match=r"no \{port\} in it"):
        with_port(["api"], 81)


def test_a_host_without_a_trial_command_says_so() -> None:
    api = HostApi(
        folder="/x", python=sys.executable, release_dir="", start_command=(), stop_command=(), restart_command=()
    )
    version = Version("/", "/", path="/")
    assert api.trial_obstacle(version) == "pap_api_trial_command is not set"
    trial = api.trial(version, CopyEnvironment({}), ProcessSockets())
    with pytest.raises(Refused, match="pap_api_trial_command is not set"), trial:
        pass


def written_pid(path: Path) -> int:
    limit = time.monotonic() + 15
    while not (path.exists() and path.read_text().strip()) and time.monotonic() < limit:
        time.sleep(0.02)
    return int(path.read_text())


def test_a_trial_ends_with_its_block_and_its_log_is_kept(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    words = ["sh", "-c", f"echo hello; echo $$ > {pid}; sleep 60"]
    with held(HostSite(), sys.executable, words, cwd=str(tmp_path), env={}) as process:
        number = written_pid(pid)
        assert exit_code(process) is None
    wait_until(lambda: gone(number))
    assert "hello" in process.errors()


def test_a_trial_that_ends_by_itself_tells_its_exit_code(tmp_path: Path) -> None:
    with held(HostSite(), sys.executable, ["sh", "-c", "exit 7"], cwd=str(tmp_path), env={}) as process:
        assert process.wait(15) == 7
        assert exit_code(process) == 7


def test_what_is_logged_a_moment_after_the_answer_is_in_the_log() -> None:
    began = time.monotonic()
    trial = Trial(
        "", lambda: "".join(f"line {n}\n" for n in range(4) if time.monotonic() - began > n / 5), lambda: None
    )
    assert trials._tail(trial).splitlines()[-1] == "line 3"  # which is there after 0.6 s


def test_a_trial_dies_with_the_process_that_holds_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = (
        "import sys, time\n"
        "from papdeploy.sites.host import HostSite\nfrom papdeploy.app.trial import held\n"
        f"with held(HostSite(), sys.executable, ['sh', '-c', 'echo $$ > {pid}; sleep 60'], cwd='/', env={{}}):\n"
        "    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    try:
        number = written_pid(pid)
        os.kill(holder.pid, signal.SIGKILL)
        wait_until(lambda: gone(number))
    finally:
        holder.kill()
        holder.wait()
