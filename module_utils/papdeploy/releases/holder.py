"""Who holds the deploy lock, as ``lock.json`` says, and whether that run is proven gone.

Ages are measured by the clock of the target host that runs since its boot (CLOCK_BOOTTIME): a clock that is set makes a
lease look neither dead nor alive. The wall clock is for people to read.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..core import text
from ..core.clock import now, seconds_between
from ..core.durable import write_aside
from ..core.errors import PapError, Refused
from ..core.plain_json import parse
from ..core.processes import Place, Process, since_boot
from ..core.records import as_object, read_known
from .run import Run


@dataclass(frozen=True)
class Remains:
    """What may be left of a run on the target host and the server, to be ended by who takes its lock over."""

    release: str
    token: str
    target: Place
    processes: tuple[Process, ...]


@dataclass(frozen=True)
class Lease:
    """What the lock of every version says of ``release``. ``since`` and ``renewed`` are times for people."""

    release: str
    since: str
    renewed: str
    lease_s: float


@dataclass(frozen=True)
class Holder(Run, Lease):
    """The holder of a lock: the run that works on the release. ``renewed_s`` is when it was renewed, in seconds since
    the boot of ``target``, the host that wrote it. ``token`` is new whenever the lock is taken. ``workers`` are its
    modules on the target, ``keeper`` holds its lock on the server. ``remains`` of earlier runs have to be ended before
    it works."""

    token: str = ""
    stack: str = ""
    renewed_s: Optional[float] = None
    target: Optional[Place] = None
    workers: tuple[Process, ...] = ()
    keeper: Optional[Process] = None
    remains: tuple[Remains, ...] = ()

    @property
    def run(self) -> Run:
        return Run(self.user, self.host, self.pid, self.start, self.boot, self.pidns)

    @property
    def age_s(self) -> float:
        """Seconds since its last heartbeat, at least: after a restart of the host, those since the restart."""
        if self.renewed_s is None or self.target is None:
            return max(0.0, seconds_between(self.renewed, now()))
        passed = since_boot()
        same_boot = self.target.boot == Place.here().boot and passed >= self.renewed_s
        return passed - self.renewed_s if same_boot else passed

    def left(self) -> tuple[Remains, ...]:
        """What must be ended before another run may work here."""
        if self.target is None:
            return (*self.remains, Remains(self.release, "", Place.here(), ()))
        processes = (*self.workers, *([self.keeper] if self.keeper else []))
        return (*self.remains, Remains(self.release, self.token, self.target, processes))

    def working(self) -> list[Process]:
        """Its modules that are alive on this host."""
        seen = self.target is not None and self.target == Place.here()
        return [worker for worker in self.workers if worker.alive] if seen else []

    def sentence(self, phase: str = "") -> str:
        """Who it is, since when, in which phase, for a person."""
        stack = f" of {self.stack}" if self.stack else ""
        where = f", {phase}" if phase else ""
        sign = text.seconds(self.age_s)
        return f"{self.release}{stack}, started by {self.run} at {self.since}{where}, last heartbeat {sign} ago"


def lock_file(folder: Path) -> Path:
    """The lock of the stack whose state folder is ``folder``."""
    return folder / "lock.json"


def read(folder: Path) -> Optional[Holder]:
    """Who holds the lock of the state folder; None if it is free. Raises Refused if the file cannot be understood."""
    path = lock_file(folder)
    try:
        return read_known(Holder, parse(path.read_bytes()), "its content")
    except FileNotFoundError:
        return None
    except (ValueError, PapError) as error:
        raise Refused(
            f"The deploy lock {path} cannot be read: {str(error).rstrip('.')}.",
            hint="If no deploy, rollback, rehearsal or backup of this stack runs, remove that file.",
        ) from error


def put_back(folder: Path, held: Holder) -> None:
    """Write the lock again where its file is gone; one that is there stays as it is."""
    path = lock_file(folder)
    with contextlib.suppress(FileExistsError):
        write_aside(path, json.dumps(as_object(held)).encode(), lambda fresh: os.link(fresh, path))


def alive(held: Holder, sessions: Sequence[int] = ()) -> str:
    """Why the run that holds the lock may be alive, as a clause; empty if it is proven gone.

    Where its controller is this host, its process decides: one that is stopped (SIGSTOP) is alive however old its last
    heartbeat, and another process under its id is not it. Elsewhere it is gone when its lease has run out, no module
    of it runs here, and the server has no session of it (``sessions``: their process ids).
    """
    here, run = Place.here(), held.run
    if run.is_local(here):
        return f"process {run.process.pid} runs on this host" if run.process.alive else ""
    if held.target is None:
        return f"its lease of {held.lease_s:g} s has not run out" if held.age_s <= held.lease_s else ""
    if held.target.host != here.host:
        return f"it was last renewed on host {held.target.host}, whose processes cannot be seen from {here.host}"
    if held.target == run.place and held.target.boot != here.boot:
        return ""  # it ran on this host, which has been restarted since
    if held.age_s <= held.lease_s:
        return f"its lease of {held.lease_s:g} s has not run out"
    if working := held.working():
        return f"its module works on this host (process {working[0].pid})"
    return f"the server has a session of it (pid {sessions[0]})" if sessions else ""
