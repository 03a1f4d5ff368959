"""``image``: the old release of the API runs on the schema that is there."""

from __future__ import annotations

from typing import Optional

from ..facts import Facts
from ..state import State
from .base import Lossless, Timings


class Image(Lossless):
    name = "image"
    keeps_schema = True

    def closed(self, state: State, facts: Facts) -> str:
        if not state.applied:
            return "" if facts.switched else "the API was not switched, so there is none to put back"
        if facts.old_works_on_new:
            return ""
        if not facts.rehearsed:
            return "the deploy was not rehearsed, so it is unknown whether the old release works on the new schema"
        detail = f" ({facts.old_api_why})" if facts.old_api_why else ""
        return f"the old release was not seen to work on the new schema{detail}"

    def why(self, state: State) -> str:
        if state.applied:
            return "the old release works on this schema"
        return "no migration of it is committed; the API was switched"

    def expected_s(self, timings: Timings) -> Optional[float]:
        return timings.start if timings.old_api_works else None
