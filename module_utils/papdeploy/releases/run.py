"""One run of ansible-playbook, as a lock and a journal know it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Optional

from ..core.processes import Place, Process
from ..core.records import recorded


@dataclass(frozen=True)
class Run:
    """One run of ansible-playbook: its process on its controller, as the lookup ``pap_who`` says. Of a run of an older
    version ``start``, ``boot`` and ``pidns`` are not known."""

    user: str = "?"
    host: str = "?"
    pid: int = 0
    start: Optional[int] = None
    boot: str = ""
    pidns: str = ""

    @classmethod
    def of(cls, who: object) -> Run:
        """From an option of a module, or from a journal."""
        return recorded(cls, who)

    @classmethod
    def here(cls) -> Run:
        """This process itself, for callers that no playbook runs."""
        me, place = Process.of(os.getpid()), Place.here()
        return cls(str(os.geteuid()), place.host, me.pid, me.start, place.boot, place.pidns)

    @property
    def process(self) -> Process:
        return Process(self.pid, self.start)

    @property
    def place(self) -> Place:
        return Place(self.host, self.boot, self.pidns)

    def same(self, other: Run) -> bool:
        """Whether both are one run."""
        return (self.process, self.place) == (other.process, other.place)

    def is_local(self, here: Place) -> bool:
        """Whether its process can be looked up at ``here``."""
        return (self.host, self.boot) == (here.host, here.boot) and self.pidns in ("", here.pidns)

    @property
    def person(self) -> str:
        return f"{self.user}@{self.host}"

    def __str__(self) -> str:
        return f"{self.person} (process {self.pid})"
