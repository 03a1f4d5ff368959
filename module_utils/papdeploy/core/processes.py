"""Processes of this host, each known by its id and by when it started: an id alone is given out again."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from .errors import Refused

# In the environment of what a run starts, with the token of its lock: so that what outlived its module is found.
MARK = "PAP_DEPLOY_RUN"
_ENDED = "ZX"
_CHILD_SUBREAPER = 36
_ANY_CHILD = 0x40000000  # __WALL: also one that was cloned without a signal to its parent


@dataclass(frozen=True)
class Process:
    """``start``: clock ticks after the boot of its host; None where that could not be told."""

    pid: int
    start: Optional[int] = None

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this id now."""
        found = _stat(pid)
        return cls(pid, found[2] if found else None)

    @property
    def alive(self) -> bool:
        """Whether it is there, stopped or not. What cannot be told counts as alive."""
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            pass
        found = _stat(self.pid)
        if found is None:  # no /proc, or one that hides what belongs to others
            return True
        state, _, start = found
        return state not in _ENDED and self.start in (None, start)


@dataclass(frozen=True)
class Place:
    """Where process ids mean what they say: a host, one boot of it, one namespace of processes."""

    host: str
    boot: str
    pidns: str

    @classmethod
    def here(cls) -> Place:
        return cls(socket.gethostname(), boot_id(), pid_namespace())


def boot_id() -> str:
    """The id of this boot of this host, where the kernel tells; else empty."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def pid_namespace() -> str:
    """The namespace of process ids that this process is in, where the kernel tells; else empty."""
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def since_boot() -> float:
    """Seconds since this host was started, time asleep included: a clock that cannot be set."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def adopt_orphans() -> None:
    """From now on, what is started below this process and loses its parent becomes its child (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)


def has_children() -> bool:
    """Whether this process has any child, of whichever thread, that runs or was not waited for. Costs no look at the
    other processes of the host."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | _ANY_CHILD)
    except ChildProcessError:
        return False
    except (OSError, AttributeError):  # a kernel, or a system, that cannot be asked so
        return True
    return True


def children_of(pid: int) -> list[Process]:
    """The children of a process that have not ended, as far as /proc tells."""
    if pid == os.getpid() and not has_children():
        return []
    found = {child: stat for child in _all() if (stat := _stat(child))}
    return [Process(child, stat[2]) for child, stat in found.items() if stat[1] == pid and stat[0] not in _ENDED]


def program_of(process: Process) -> str:
    """The words that it was started with; empty where they cannot be read."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process.pid}/cmdline").read_bytes().decode("utf-8", "replace").replace("\0", " ").strip()
    return ""


def remains_of(recorded: Iterable[Process], token: str) -> list[Process]:
    """What is still alive of the ``recorded`` processes, all below them, and whatever else carries ``token``."""
    children: dict[int, list[int]] = {}
    marked: list[int] = []
    wanted = f"{MARK}={token}".encode()
    for pid in _all():
        found = _stat(pid)
        if found and found[0] not in _ENDED:
            children.setdefault(found[1], []).append(pid)
            if token and _is_marked(pid, wanted):
                marked.append(pid)
    queue = [process.pid for process in recorded if process.alive] + marked
    seen: set[int] = set()
    while queue:
        pid = queue.pop()
        if pid not in seen:
            seen.add(pid)
            queue += children.get(pid, [])
    return [Process.of(pid) for pid in sorted(seen - _own_line())]


def end(recorded: Iterable[Process], token: str, *, seconds: float = 15.0) -> list[int]:
    """Kill the ``recorded`` processes of a run and all that they left; returns the ids.

    They are stopped first, so that none starts another one meanwhile. Raises Refused, naming it, if one is still there
    after ``seconds``: it belongs to another user.
    """
    recorded = list(recorded)
    ended: set[int] = set()
    limit = time.monotonic() + seconds
    while left := remains_of(recorded, token):
        _signal(left, signal.SIGSTOP)
        left = remains_of(recorded, token)
        _signal(left, signal.SIGKILL)
        ended |= {process.pid for process in left}
        while (left := [process for process in left if process.alive]) and time.monotonic() < limit:
            time.sleep(0.02)
        if left:
            names = ", ".join(str(process.pid) for process in left)
            raise Refused(
                f"The old run still has processes on this host that this user cannot end: {names}.",
                hint="End them yourself (see who owns them with ps), then run this again.",
                processes=[process.pid for process in left],
            )
    return sorted(ended)


def _signal(processes: Iterable[Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, number)


def _all() -> list[int]:
    with contextlib.suppress(OSError):
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return []


def _stat(pid: int) -> Optional[tuple[str, int, int]]:
    """State, parent and start of a process (proc(5)), or None."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return (fields[0].decode(), int(fields[1]), int(fields[19])) if len(fields) > 19 else None


def _is_marked(pid: int, wanted: bytes) -> bool:
    try:
        return wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # gone, or another user's
        return False


def _own_line() -> set[int]:
    """This process and those above it: they are never ended."""
    line: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        found = _stat(pid)
        pid = found[1] if found else 0
    return line
