"""What ``swap`` and ``restore`` have in common: another database takes the live name, and the present one is kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Optional

from ... import databases
from ...core.errors import PapError, Refused
from ...databases import derived, lifecycle, write_snapshot
from ...databases.properties import Properties
from ...databases.psql import Session
from ...releases.records import Swapped
from .. import cost
from ..losses import without
from ..work import Work
from .base import SWAP_S, Cost, Situation, Timings, UnderFence


class BringBack(UnderFence):
    brings_back = True
    makes: ClassVar[Sequence[str]] = ("failed",)
    # Where the data of before comes from: the kind of restore point.
    source: ClassVar[str]

    def blocked_by(self, session: Session, name: str) -> list[str]:
        return [*super().blocked_by(session, name), *lifecycle.bound(session, name)]

    def check(self, at: Situation) -> None:
        super().check(at)
        try:
            self.refuse_absent(at)
        except PapError as error:
            raise Refused(error.message, hint=error.hint) from error

    def cost(self, at: Situation) -> Cost:
        fence = at.state.fence
        written = cost.written(at.where, at.facts, fence, self.source)
        if at.kept.lost:
            left = tuple(change for change in written.besides if not change.back)
            written = replace(written, tables=without(written.tables, at.kept.lost), besides=left)
        return Cost(
            cost.sentence(written) + cost.not_noted(at.facts, fence),
            written.tables,
            written.rows,
            tuple(change.sentence for change in written.besides),
            only_numbers=not written.tables and all(change.numbers for change in written.besides),
            certain=written.certain,
        )

    @abstractmethod
    def refuse_absent(self, at: Situation) -> None:
        """Raise PapError unless what it brings back is there, whole and of this release."""

    def steps(self, at: Situation) -> list[str]:
        failed = derived(at.live, "failed", at.facts.release)
        return [f"put it in the place of {at.live}, keep the present one as {failed}"]

    def swap(self, work: Work, replacement: str, traits: Optional[Properties] = None) -> str:
        """Put ``replacement`` in the place of the live database; the name under which that is kept."""

        def swap() -> Swapped:
            done = Swapped(**vars(databases.swap(work.database, work.release, replacement, traits=traits)))
            if not done.swapped:  # a repeated swap cannot tell what was written meanwhile
                return done
            # What is written to it from now on is nowhere else.
            return replace(done, writes=write_snapshot.writes(work.database.named(done.kept)))

        return work.step("swap", swap).kept

    def swapped_s(self, timings: Timings) -> float:
        """Seconds from the failure to the old API's answer, with the replacement ready."""
        return timings.closed + SWAP_S + timings.start
