"""Connections of a process tree: of children, of those that left their group, of none else; in both families."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from papdeploy.app.process_sockets import TOKEN, ProcessSockets, normal
from papdeploy.core.errors import PapError, Unavailable
from papdeploy.core.processes import Process
from papdeploy.sites.host import HostSite
from support.waiting import wait_until

HOLD = """
import os, socket, sys, time
if sys.argv[2] == "leaves":
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
connection = socket.create_connection((sys.argv[1], int(sys.argv[3])))
open(sys.argv[4], "w").write(f"{connection.getsockname()[1]} {os.getpid()}")
time.sleep(60)
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("how", ["stays", "leaves"])
def test_the_connection_of_a_process_is_known_by_its_port(host: str, how: str, tmp_path: Path) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"no {host} here")
    port = server.getsockname()[1]
    pids = []
    try:
        sockets = ProcessSockets()
        with sockets.watched(HostSite(), sys.executable):
            for name, token in (("ours", sockets.token), ("theirs", sockets.token + "d")):
                out = tmp_path / name
                subprocess.Popen(
                    [sys.executable, "-c", HOLD, host, how, str(port), str(out)], env={**os.environ, TOKEN: token}
                )
                wait_until(lambda out=out: out.exists() and len(out.read_text().split()) == 2)  # type: ignore[misc]  # mypy: no lambda with a default
            ours, theirs = ([int(n) for n in (tmp_path / name).read_text().split()] for name in ("ours", "theirs"))
            pids = [ours[1], theirs[1]]
            wait_until(lambda: sockets.holder(f"{host}", ours[0]))
            holder = sockets.holder(host, ours[0])
            assert holder is not None and holder.pid == ours[1] and "python" in holder.program
            assert sockets.holder(host, theirs[0]) is None
            assert sockets.holder("10.0.0.1", ours[0]) is None
            assert sockets.holder(None, -1) is None
            # A port that is given up is no longer ours soon after.
            os.kill(ours[1], 9)
            wait_until(lambda: sockets.holder(host, ours[0]) is None)
            assert sockets.problem is None
    finally:
        server.close()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)


STAYS = """
import os, subprocess, sys
stays = [sys.executable, "-c", "import time; time.sleep(60)"]
child = subprocess.Popen(stays, env={}, start_new_session=True)
short = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.3)"])
open(sys.argv[1], "w").write(f"{child.pid} {short.pid}")
import time; time.sleep(0.2)
"""


def test_what_is_left_when_the_work_is_over_is_ended_and_named(tmp_path: Path) -> None:
    """Also what left its parent's session and environment; not what ends by itself in a moment, nor another's."""
    sockets, out = ProcessSockets(), tmp_path / "pids"
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with sockets.watched(HostSite(), sys.executable):
            subprocess.run(
                [sys.executable, "-c", STAYS, str(out)], env={**os.environ, **sockets.environment}, check=True
            )
        stays, _ = map(int, out.read_text().split())
        assert [each.pid for each in sockets.left] == [stays]
        assert "time.sleep(60)" in sockets.left[0].program
        wait_until(lambda: not Process.of(stays).alive)
        assert other.poll() is None
        with pytest.raises(PapError, match=r"The test left programs running, which were ended: .*\(process"):
            sockets.refuse_left("the test")
    finally:
        other.kill()
        other.wait()


def test_it_says_when_it_sees_nothing_any_more(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho '{\"sockets\": []}'\nsleep 1\n")
    python.chmod(0o755)
    sockets = ProcessSockets()
    with sockets.watched(HostSite(), str(python)):
        wait_until(lambda: sockets.problem)
    assert "ended" in str(sockets.problem)
    with pytest.raises(Unavailable, match="cannot be seen"), ProcessSockets().watched(HostSite(), "false"):
        pass


def test_addresses_have_one_spelling() -> None:
    assert normal("::ffff:127.0.0.1") == normal("127.0.0.1/32") == "127.0.0.1"
    assert normal("fe80::1%eth0") == normal("FE80:0::1") == "fe80::1"
