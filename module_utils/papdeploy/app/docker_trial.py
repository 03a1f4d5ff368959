"""A trial of one image beside the API that runs: its own program in a one-off container that nothing else can reach."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Optional

from ..core.errors import PapError, Unavailable
from ..environment.copy_environment import CopyEnvironment
from ..environment.kept_files import files_kept
from ..sites.docker.container_spec import Plan
from ..sites.docker.endpoint import Tunnel, direct
from ..sites.docker.engine import Engine
from ..sites.docker.one_off import OneOffSite
from ..sites.docker.probe import exposed_port, find_python, listening, program
from ..sites.docker.records import ContainerConfig
from ..sites.host import CHUNK, Process
from .docker_service import STOP_SECONDS
from .process_sockets import ProcessSockets
from .trial import Trial, exit_code

_TAIL = 64 * 1024
_POLL_SECONDS = 0.1


def obstacle(plan: Plan) -> str:
    """Why a container of ``plan`` cannot run a second time; empty if it can."""
    if not plan.host.shares_network:
        return ""
    owner = "the host" if plan.host.NetworkMode == "host" else "another container"
    return f"its network is {owner}'s, where its port is taken"


@contextlib.contextmanager
def running(
    engine: Engine,
    plan: Plan,
    image: ContainerConfig,
    *,
    owner: str,
    release: str,
    made: CopyEnvironment,
    sockets: ProcessSockets,
    port: int,
    python: str,
    start_s: float,
) -> Iterator[Trial]:
    """Run the program of ``plan`` (``image``: the image's Config) with the variables and files of ``made``.

    No published port, no alias, no restart policy. It ends with the block; when this process dies, the engine ends and
    removes the container. ``port`` 0 is the one it exposes, else the one it listens on within ``start_s`` seconds.
    """
    words = program(plan.config, image)
    folder = plan.config.WorkingDir or image.WorkingDir or "/"
    with contextlib.ExitStack() as stack:
        site = stack.enter_context(OneOffSite(engine, plan.with_environment(made.variables), owner, release))
        python = python or find_python(site, words)
        stack.enter_context(files_kept(site, python, made))
        stack.enter_context(sockets.watched(site, python))
        process = stack.enter_context(site.popen(words, cwd=folder))
        log, began = _Log(process), time.monotonic()
        port = port or exposed_port(plan.config if plan.config.ExposedPorts else image)
        if port:
            _until_it_listens(site, python, process, port, start_s)
        else:
            port = _first_port(site, python, process, log, start_s)
        waited_s = time.monotonic() - began
        address = direct(engine, engine.container(site.name))
        if address:
            url = f"http://{address}:{port}"
        else:
            tunnel = Tunnel(site, python, port)
            stack.callback(tunnel.close)
            url = f"http://{tunnel.address}"
        ended, stop = (lambda: exit_code(process)), (lambda: _stopped(site, python, process))
        yield Trial(url, log.text, ended, stop, lambda: site.removed_s, waited_s)


# The oldest child of the launcher is the program.
_STOP = """
import os, signal, sys, time
def parent(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            state, ppid = file.read().rpartition(")")[2].split()[:2]
        return 0 if state == "Z" else int(ppid)
    except (OSError, ValueError):
        return 0
children = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if parent(pid) == int(sys.argv[1])]
program = min(children)
os.kill(program, signal.SIGTERM)
limit = time.monotonic() + float(sys.argv[2])
while parent(program) and time.monotonic() < limit:
    time.sleep(0.01)
"""


def _stopped(site: OneOffSite, python: str, process: Process) -> None:
    """Send the program what the engine sends it when its container is stopped, and wait until it has ended."""
    with contextlib.suppress(PapError):  # how long a stop takes is then not known
        site.run(
            [python, "-c", _STOP, str(getattr(process, "pid", 0)), str(STOP_SECONDS)],
            check=False,
            timeout=STOP_SECONDS + 5,
        )


def _until_it_listens(site: OneOffSite, python: str, process: Process, port: int, start_s: float) -> None:
    """Wait as a switch does, so that a start takes as long here. If it never listens, its health says so next."""
    begun = time.monotonic()
    with contextlib.suppress(PapError):
        while time.monotonic() - begun < start_s and exit_code(process) is None:
            if port in listening(site, python, port, wait_s=2.0):
                return


def _first_port(site: OneOffSite, python: str, process: Process, log: _Log, start_s: float) -> int:
    begun = time.monotonic()
    while time.monotonic() - begun < start_s:
        if exit_code(process) is not None:
            last: Sequence[str] = log.text().strip().splitlines()[-1:]
            raise Unavailable(f"it ended with exit code {process.wait(1)}: {last[0] if last else 'no log'}")
        ports = listening(site, python, 0, 1.0)
        if len(ports) == 1:
            return ports[0]
        time.sleep(_POLL_SECONDS)
    raise Unavailable(
        f"it did not listen on one port within {start_s:g} s.", hint="Set pap_api_port to its port in the container."
    )


class _Log:
    """What a program prints, the last 64 KiB of each stream, read all the time so that it never waits."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._tail = bytearray()
        self.problem: Optional[BaseException] = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        stream = self._process.stdout
        read = getattr(stream, "read1", stream.read)
        try:
            while chunk := read(CHUNK):
                self._tail += chunk
                del self._tail[:-_TAIL]
        except (OSError, ValueError, PapError) as error:
            self.problem = error  # the stream was closed because the trial is over

    def text(self) -> str:
        return bytes(self._tail).decode("utf-8", "replace") + self._process.errors()
