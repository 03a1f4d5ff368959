"""Rollback: choose the cheapest safe strategy, name its cost, execute it, and be resumable after a kill."""

from __future__ import annotations

from .execute import Result, run
from .facts import Facts
from .plan import RollbackPlan, choose
from .strategies import BRING_BACK, NOTHING, STRATEGIES
from .work import Answered, Hooks

__all__ = [
    "BRING_BACK",
    "NOTHING",
    "STRATEGIES",
    "Answered",
    "Facts",
    "Hooks",
    "Result",
    "RollbackPlan",
    "choose",
    "run",
]
