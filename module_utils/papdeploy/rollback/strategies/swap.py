"""``swap``: the snapshot that was taken under the fence takes the live name."""

from __future__ import annotations

from typing import Optional

from ...core.errors import Refused
from ...databases.managed_names import admin_session, our
from ..facts import Facts
from ..state import State
from ..work import Work
from .base import Situation, Timings
from .bring_back import BringBack


class Swap(BringBack):
    name = "swap"
    source = "snapshot"

    def closed(self, state: State, facts: Facts) -> str:
        if facts.point_kind == "snapshot":
            return ""
        reason = "the restore point is a backup" if facts.point_kind else "the deploy had not come to its restore point"
        return f"no snapshot was taken: {reason} (migrate_restore_point: snapshot always takes one)"

    def why(self, state: State) -> str:
        return "a snapshot from under the fence stands ready"

    def refuse_absent(self, at: Situation) -> None:
        name, release = _snapshot(at.facts), at.facts.release
        with admin_session(at.database) as session:
            found = our(session, at.database, "snap", release)
        if found is None or found.name != name:
            raise Refused(f"The snapshot {name or '(unnamed)'} of release {release} is not there any more.")

    def execute(self, work: Work) -> Optional[str]:
        return self.swap(work, _snapshot(work.facts))

    def expected_s(self, timings: Timings) -> Optional[float]:
        # Whether the restore point becomes a snapshot is decided under the fence.
        return None if timings.online else self.swapped_s(timings)


def _snapshot(facts: Facts) -> str:
    return facts.restore_point.database if facts.restore_point else ""
