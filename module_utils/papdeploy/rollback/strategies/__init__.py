"""The rollback strategies, from the cheapest: this table is the one place that lists them."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.errors import Refused
from ..facts import Facts
from ..state import State
from .base import Cost, Situation, Strategy, Timings
from .downgrade import Downgrade
from .image import Image
from .nothing import Nothing
from .restore import Restore
from .swap import Swap

ALL: Sequence[Strategy] = (Nothing(), Image(), Downgrade(), Swap(), Restore())
STRATEGIES = tuple(strategy.name for strategy in ALL)
NOTHING = Nothing.name
BRING_BACK = tuple(strategy.name for strategy in ALL if strategy.brings_back)

__all__ = [
    "ALL",
    "BRING_BACK",
    "NOTHING",
    "STRATEGIES",
    "Cost",
    "Situation",
    "Strategy",
    "Timings",
    "closed",
    "expected_s",
    "named",
    "possible",
]


def named(name: str) -> Strategy:
    """The strategy called ``name``; raises Refused if there is none."""
    found = next((strategy for strategy in ALL if strategy.name == name), None)
    if found is None:
        raise Refused(f"Unknown rollback strategy {name!r}.", hint=f"Choose one of {', '.join(STRATEGIES)}.")
    return found


def possible(state: State, facts: Facts) -> list[Strategy]:
    """The possible strategies in this state, the cheapest first."""
    return [strategy for strategy in ALL if not strategy.why_not(state, facts)]


def closed(state: State, facts: Facts) -> dict[str, str]:
    """Of each strategy that changes anything and is impossible, why."""
    return {strategy.name: why for strategy in ALL[1:] if (why := strategy.why_not(state, facts))}


def expected_s(timings: Timings) -> dict[str, float]:
    """Seconds that each strategy would take which the rehearsal found open."""
    taken = {strategy.name: strategy.expected_s(timings) for strategy in ALL}
    return {name: round(seconds, 1) for name, seconds in taken.items() if seconds is not None}
