"""One run of ansible-playbook, as a lock and a journal know it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.processes import Place, Process


@dataclass(frozen=True)
class Run:
    """One run of ansible-playbook: its process on its controller, as the lookup ``pap_who`` says. Of a run of an older
    version ``start`` and ``place.pidns`` are not known (None and empty)."""

    user: str
    process: Process
    place: Place

    @classmethod
    def of(cls, who: Mapping[str, Any]) -> Run:
        """From ``{"user", "host", "pid", "start", "boot", "pidns"}``."""
        start = who.get("start")
        process = Process(int(who.get("pid") or 0), int(start) if start not in (None, "") else None)
        place = Place(str(who.get("host", "?")), str(who.get("boot") or ""), str(who.get("pidns") or ""))
        return cls(str(who.get("user", "?")), process, place)

    @classmethod
    def here(cls) -> Run:
        """This process itself, for callers that no playbook runs."""
        return cls(str(os.geteuid()), Process.of(os.getpid()), Place.here())

    def as_dict(self) -> dict[str, Any]:
        place, process = self.place, self.process
        known = {"start": process.start, "boot": place.boot, "pidns": place.pidns}
        return {"user": self.user, "host": place.host, "pid": process.pid, **{k: v for k, v in known.items() if v}}

    def same(self, other: Run) -> bool:
        """Whether both are one run."""
        return (self.process, self.place) == (other.process, other.place)

    def is_local(self, here: Place) -> bool:
        """Whether its process can be looked up at ``here``."""
        mine = self.place
        return (mine.host, mine.boot) == (here.host, here.boot) and mine.pidns in ("", here.pidns)

    def __str__(self) -> str:
        return f"{self.user}@{self.place.host} (process {self.process.pid})"
