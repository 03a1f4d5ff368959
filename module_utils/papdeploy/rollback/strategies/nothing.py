"""``nothing``: there is nothing to undo in the database, and the old release of the API runs, or is started again."""

from __future__ import annotations

from ..facts import Facts
from ..state import State
from .base import Lossless


class Nothing(Lossless):
    name = "nothing"

    def why_not(self, state: State, facts: Facts) -> str:
        return "" if state.swapped else super().why_not(state, facts)

    def closed(self, state: State, facts: Facts) -> str:
        if state.applied:
            return f"{state.applied[0]} of it is in force"
        return "the API was switched" if facts.switched else ""

    def why(self, state: State) -> str:
        return "the old content is in place already" if state.swapped else "no migration of it is committed"
