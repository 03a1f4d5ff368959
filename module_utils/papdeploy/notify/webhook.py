"""One message to a webhook, as JSON."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass

from ..core import http
from ..core.errors import Unavailable
from ..core.plain_json import Json
from ..core.visible import visible

SECONDS = 10.0


@dataclass(frozen=True)
class Posted:
    """``status``: the server's answer."""

    changed: bool
    status: int


def post(url: str, body: Mapping[str, Json], *, form: str = "json", headers: Mapping[str, str]) -> Posted:
    """Send ``body``; in the form ``slack`` only its message, as text. Raises Unavailable if it was not taken in time.

    Never shows the address, which is a secret as a rule; neither it nor ``headers`` follow a redirect elsewhere.
    """
    shown = {key: visible(value) if isinstance(value, str) else value for key, value in body.items()}
    if form == "slack":  # which reads & < > as markup: <!channel> in what an exception says would call everybody
        shown = {"text": html.escape(str(shown["message"]), quote=False)}
    answer = http.exchange(
        url,
        method="POST",
        headers={"Content-Type": "application/json", **{name: str(value) for name, value in headers.items()}},
        body=json.dumps(shown).encode(),
        seconds=SECONDS,
        proxy=True,
        secrets=_secrets(url, headers),
    )
    if not 200 <= answer.status < 300:
        status = f"it answered {answer.status}" if answer.status else "it did not answer"
        why = "; it redirects, which is not followed" if 300 <= answer.status < 400 else ""
        why = f": {answer.problem}" if answer.problem and not answer.status else why
        raise Unavailable(f"The webhook was not told: {status}{why}.", hint="Check its address, and what it demands.")
    return Posted(True, answer.status)


def _secrets(url: str, headers: Mapping[str, str]) -> list[str]:
    """What a server that says back what it got must not have us show."""
    place = url.partition("://")[2].partition("/")[2]
    values = [str(value) for value in headers.values()]
    return [place, *place.split("?"), *values, *(word for value in values for word in value.split())]
