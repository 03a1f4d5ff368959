"""What every rollback strategy answers: is it possible, what would it lose, what are its steps; and how it is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Optional

from ...backup import Encryption
from ...core.errors import Refused
from ...databases import lifecycle
from ...databases.fence import obstacles
from ...databases.managed_names import admin_session
from ...databases.psql import Database, Session
from ...databases.write_counts import Wrote
from ...databases.write_snapshot import Mark
from ..facts import Facts
from ..losses import Kept
from ..state import State
from ..work import Work

# The renames of a swap.
SWAP_S = 0.5


@dataclass(frozen=True)
class Counted:
    """The numbers of a cost, with the names of a journal."""

    cost: Mapping[str, Wrote]
    besides: tuple[str, ...]
    rows_lost: int
    cost_certain: bool


@dataclass(frozen=True)
class Cost:
    """What a strategy would lose: ``tables``, rows by table (``rows`` of them together); ``besides``, what else goes
    back, as sentences; ``only_numbers``: nothing but numbers that no row holds. ``sentence`` says it all."""

    sentence: str = ""
    tables: Mapping[str, Wrote] = field(default_factory=dict)
    rows: int = 0
    besides: tuple[str, ...] = ()
    only_numbers: bool = False
    certain: bool = True

    @property
    def counted(self) -> Counted:
        return Counted(self.tables, self.besides, self.rows, self.certain)


@dataclass(frozen=True)
class Situation:
    """What a strategy is judged by. ``database`` carries the live name. ``kept``: what the release lost, and what is
    kept where the database stays as it is. ``deep``: the whole backup is read as well, opened with ``encryption``."""

    database: Database
    facts: Facts
    state: State
    kept: Kept
    encryption: Optional[Encryption] = None
    deep: bool = True

    @property
    def live(self) -> str:
        return self.database.conninfo.dbname

    @property
    def where(self) -> Database:
        """Where the live data is."""
        return self.state.where(self.database)


@dataclass(frozen=True)
class Timings:
    """Seconds that a rehearsal has measured; None: it does not know. ``start``: from the failure until the old API
    answers; ``closed``: to raise the fence and to lift it. ``online``: no restore point is made under a fence."""

    start: float
    closed: float
    revert: Optional[float]
    restore: Optional[float]
    old_api_works: bool
    reversible: bool
    online: bool


class Strategy(ABC):
    """One rollback strategy. To execute it again after it was killed must be safe: each step first finds out whether it
    has been done."""

    name: ClassVar[str]
    # It changes the database: the API is stopped for it, the fence raised, and what would be lost counted again.
    under_fence: ClassVar[bool] = False
    # It brings back what the release lost.
    brings_back: ClassVar[bool] = False
    # The old release stays on the schema of the new one.
    keeps_schema: ClassVar[bool] = False
    # The kinds of databases whose names it takes, beside that of the fence.
    makes: ClassVar[Sequence[str]] = ()

    def why_not(self, state: State, facts: Facts) -> str:
        """Why it is impossible in this state; empty if it is possible. Part of a sentence."""
        if state.swapped:  # what is left is the API
            return "the content of before is in place already"
        if state.partial and not self.brings_back:
            return (
                f"{state.partial[0]} was left halfway outside a transaction, so only the content of before is certain"
            )
        return self.closed(state, facts)

    @abstractmethod
    def closed(self, state: State, facts: Facts) -> str:
        """The same, where nothing was swapped and nothing it builds on was left halfway."""

    @abstractmethod
    def why(self, state: State) -> str:
        """Why it is possible. Part of a sentence."""

    @abstractmethod
    def check(self, at: Situation) -> None:
        """Raise Refused if it would fail: everything that it will need is read, and nothing changed."""

    @abstractmethod
    def cost(self, at: Situation) -> Cost:
        """What it would lose."""

    def steps(self, at: Situation) -> list[str]:
        """What it does to the database, as a person reads it before it happens."""
        return []

    def execute(self, work: Work) -> Optional[str]:
        """Do it, under the fence; the name of the database that it quarantined, if it did."""
        return None

    def lifted(self, work: Work, mark: Mark) -> None:
        """Called when the fence has been lifted afterwards; ``mark`` is the write snapshot taken at that moment."""
        return

    def expected_s(self, timings: Timings) -> Optional[float]:
        """Seconds that it should take; None where it is not open, as far as a rehearsal can know."""
        return None


class Lossless(Strategy):
    """A strategy that leaves the database as it is."""

    def check(self, at: Situation) -> None:
        """There is nothing to fail."""

    def cost(self, at: Situation) -> Cost:
        return Cost(at.kept.sentence)


class UnderFence(Strategy):
    """A strategy that changes the database, or puts another in its place."""

    under_fence = True

    def check(self, at: Situation) -> None:
        with admin_session(at.database) as session:
            problems = self.blocked_by(session, at.where.conninfo.dbname)
            if problems:
                raise Refused(problems[0], hint=" ".join(problems[1:]))
            taken = [*self.makes, *([] if at.state.fence else ["fenced"])]
            lifecycle.refuse_taken(session, at.database, at.facts.release, taken)

    def blocked_by(self, session: Session, name: str) -> list[str]:
        """What keeps the database called ``name`` from it, each with what to do."""
        return obstacles(session, name)
