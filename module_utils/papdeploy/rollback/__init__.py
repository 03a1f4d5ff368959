"""Going back: choose the cheapest safe way, say what it costs, go it, and end where one can go on after a kill."""

from __future__ import annotations

from .execute import Hooks, run
from .plan import RollbackPlan, choose
from .strategies import BRING_BACK, STRATEGIES

__all__ = ["BRING_BACK", "STRATEGIES", "Hooks", "RollbackPlan", "choose", "run"]
