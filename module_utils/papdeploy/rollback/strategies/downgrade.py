"""``downgrade``: the downgrades of the release's migrations run in place. Every row stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

from ... import databases
from ...core import text
from ...databases import Written
from ...databases.write_snapshot import Mark
from .. import cost
from ..facts import Facts
from ..state import State
from ..work import Work
from .base import Cost, Situation, Timings, UnderFence


class Downgrade(UnderFence):
    name = "downgrade"

    def closed(self, state: State, facts: Facts) -> str:
        if not state.applied:
            return "no migration of it is in force, so there is nothing to revert"
        if facts.reversible:
            return ""
        detail = facts.reversible_why.rstrip(".")
        return "its migrations cannot be reverted" + (f": {detail}" if detail else "")

    def why(self, state: State) -> str:
        return f"{text.plural(len(state.applied), 'migration')} can be reverted in place"

    def cost(self, at: Situation) -> Cost:
        loses = at.facts.downgrade_loses or "keeps every row; what the new columns hold goes"
        return Cost(f"{at.kept.sentence}; {loses}" if at.facts.data else loses)

    def steps(self, at: Situation) -> list[str]:
        return [f"revert {', '.join(at.state.applied)}", *([] if at.state.fence else ["lift the fence"])]

    def execute(self, work: Work) -> Optional[str]:
        work.counted = self._count(work)
        work.facts = replace(work.facts, data=None, definitions=None)  # what it removes, no other session did
        work.step("downgrade", lambda: work.hooks.revert(work.behind().conninfo.dbname))
        return None

    def lifted(self, work: Work, mark: Mark) -> None:
        # If what follows fails, another strategy may be tried: no client wrote the rows that this one rewrote.
        work.facts = replace(work.facts, lifted=mark, written_before=work.counted)

    def _count(self, work: Work) -> Optional[Written]:
        """What a swap or restore would lose now, counted under the fence before a downgrade touches any row."""
        fence, facts = databases.fence_state(work.database), work.facts
        if fence is None or not facts.restorable:
            return None
        kind = "snapshot" if facts.point_kind == "snapshot" else "backup"
        return cost.written(work.database.named(fence.database), facts, fence, kind)

    def expected_s(self, timings: Timings) -> Optional[float]:
        if not timings.reversible or timings.revert is None:
            return None
        return timings.revert + timings.closed + timings.start
