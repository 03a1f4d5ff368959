"""Rollback: choose the cheapest safe strategy, name its cost, execute it, and be resumable after a kill."""

from __future__ import annotations

from .execute import Hooks, run
from .plan import RollbackPlan, choose
from .strategies import BRING_BACK, STRATEGIES

__all__ = ["BRING_BACK", "STRATEGIES", "Hooks", "RollbackPlan", "choose", "run"]
