"""What supervises the API may have a health check of its own: it is waited for by itself, and counts as no downtime."""

from __future__ import annotations

import time

from ..app.stack import Stack
from ..core.text import seconds
from ..releases.journal import Journal
from ..releases.version import Version
from .progress import Progress


def agreed(stack: Stack, journal: Journal, version: Version, say: Progress, phase: str = "health_check") -> str:
    """Wait for it where it has not spoken yet; what that took, as a sentence, else nothing. Raises Unhealthy."""
    every_s = stack.api.pending_health_check(version)
    if not every_s:
        return ""
    with journal.checkpoint(phase, every_s=every_s) as done:
        every = seconds(every_s)
        say({"event": "step", "step": f"the API answers; waiting for its container's health check, run every {every}"})
        began = time.monotonic()
        stack.api.await_health_check(version)
        took = done["seconds"] = round(time.monotonic() - began, 3)
    return f"the container's own health check, run every {every}, agrees {seconds(took)} later"
