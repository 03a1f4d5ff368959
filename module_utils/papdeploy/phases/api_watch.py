"""Looks at the API between the preflight and the fence: one that dies is noticed, and its downtime counted."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from ..app.api_client import NO_JSON, Answer, request
from ..app.stack import Stack
from ..core.clock import now
from ..core.errors import PapError
from ..releases.api_absence import absence, sentence
from ..releases.journal import Journal
from ..releases.records import ApiLook

_AGAIN_S = 0.5


def note(stack: Stack, journal: Journal) -> list[str]:
    """Note in ``journal`` whether the API answers, or since when it does not: then that is said to a person."""
    at, said = now(), _problem(stack)
    found: dict[str, Any] = {"answers": not said, "said": said}
    if said:
        found.update(_since(stack, journal, at))
    journal.append("api", "note", **found)
    gone = absence(journal.records())
    return [sentence(gone)] if gone and said else []


def _problem(stack: Stack) -> str:
    """Why it does not answer well; asked twice, because one late answer is no death."""
    answer = Answer(0, NO_JSON, 0.0, "it was not asked")
    for pause in (0.0, _AGAIN_S):
        time.sleep(pause)
        try:
            config = stack.smoke
        except PapError as error:
            return error.message
        answer = request(config, config.health_path)
        if answer.good:
            return ""
    return answer.said


def _since(stack: Stack, journal: Journal, at: str) -> dict[str, str]:
    with contextlib.suppress(PapError):
        ended = stack.api.ended_at()
        if ended:
            return {"since": ended, "known_by": "container"}
    looks = [entry for entry in journal.records() if isinstance(entry, ApiLook)]
    if looks and looks[-1].since:
        return {"since": looks[-1].since, "known_by": looks[-1].known_by}
    answered = [entry.at for entry in looks if entry.answers]
    return {"since": answered[-1], "known_by": "last answer"} if answered else {"since": at, "known_by": "first look"}
