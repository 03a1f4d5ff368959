"""A trial: one version of the API started beside the one that runs, for a rehearsal. Nothing of it is published."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable

from ..core.errors import DeadlineExceeded, Refused
from ..sites.host import Process, Site

# Runs the program and ends it, with all that it started, when the caller goes away (end of standard input). What the
# program prints goes to standard error, where the last 64 KiB are kept.
HOLD = """\
import os, signal, subprocess, sys, threading, time
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno())
def reap():
    code = child.wait()
    os._exit(code if code >= 0 else 128 - code)
threading.Thread(target=reap, daemon=True).start()
sys.stdin.buffer.read()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.killpg(0, signal.SIGTERM)
time.sleep(3)
os.killpg(0, signal.SIGKILL)
"""


_STOP_S = 10.0


@dataclass(frozen=True)
class Trial:
    """An API on trial: where it answers, what it printed so far, and its exit code once it has ended (None before).
    ``stop`` asks it to end, as its supervisor would, and returns when it has; ``removed_s``: seconds for taking away
    what is left of it then, once that has been done. ``waited_s``: those until it listened."""

    base_url: str
    log: Callable[[], str]
    ended: Callable[[], int | None]
    stop: Callable[[], None] = lambda: None
    removed_s: Callable[[], float] = lambda: 0.0
    waited_s: float = 0.0


def free_port() -> int:
    """A free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def with_port(command: Sequence[str], port: int) -> list[str]:
    """``command`` with ``{port}`` put in; raises Refused if no word has it: the API would take its usual port."""
    if not any("{port}" in word for word in command):
        raise Refused(
            "pap_api_trial_command has no {port} in it: a trial would take the port of the API that runs.",
            hint="Put {port} where the command takes its port, for example: --port {port}",
        )
    return [word.replace("{port}", str(port)) for word in command]


@contextlib.contextmanager
def held(site: Site, python: str, argv: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Iterator[Process]:
    """Run ``argv`` until the block is left; it also ends when this process dies, however that happens."""
    with site.popen([python, "-c", HOLD, *argv], env=env, cwd=cwd, stdin=True) as process:
        yield process


def stopped(process: Process) -> None:
    """Let a process that is :func:`held` end its program by SIGTERM, and wait for that."""
    if process.stdin:
        process.stdin.close()
    with contextlib.suppress(DeadlineExceeded):
        process.wait(_STOP_S)


def exit_code(process: Process) -> int | None:
    """The exit code of a process, or None while it runs."""
    try:
        return process.wait(0.001)
    except DeadlineExceeded:
        return None
