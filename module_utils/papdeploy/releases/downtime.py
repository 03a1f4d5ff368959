"""How long users were without the API, as a journal tells: from when it was stopped to its first healthy answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..core.clock import seconds_between
from .api_absence import absence

Entries = Sequence[Mapping[str, Any]]

_STOPS = ("fence", "activate", "rollback.fence", "rollback.activate")
_ANSWERS = ("activate", "rollback.activate", "rollback.restart")


def of_deploy(entries: Entries) -> Optional[float]:
    """Seconds from the beginning of the fence (the API stops), or from when it was gone before that, to the first
    healthy answer after the switch. Without a fence only the switch itself counts."""
    begun, active = {e["phase"]: e for e in entries if e["event"] == "begin"}, _last(entries, "activate", "done")
    stopped = begun.get("fence") or begun.get("activate")
    gone = absence(entries)
    if not stopped or not active:
        return None
    return _between(gone["since"] if gone else stopped["at"], _healthy_at(active))


def of_failed_deploy(entries: Entries) -> Optional[float]:
    """Seconds from stopping the API to the first healthy answer of the old one, after a rollback."""
    stopped = next((e for e in entries if (e["phase"], e["event"]) == ("fence", "begin")), None)
    active, tried = _last(entries, "rollback.activate", "done"), _last(entries, "rollback.login_smoke_test", "begin")
    passed = _last(entries, "rollback.login_smoke_test", "done")
    if not stopped or not tried or not passed or (passed.get("unhealthy") and "healthy_after_s" not in passed):
        return None
    gone = absence(entries)
    since = str(gone["since"] if gone else stopped["at"])
    if active and active.get("healthy_at"):
        return _between(since, str(active["healthy_at"]))
    return round(seconds_between(since, tried["at"]) + float(passed.get("healthy_after_s", 0.0)), 2)


def of_rollback(entries: Entries) -> Optional[float]:
    """Seconds for which the rollback that ``entries`` end with kept users waiting, with those that the deploy had done
    so before, if nothing had answered in between. None if the API was not stopped, or does not answer yet."""
    since: Optional[Mapping[str, Any]] = None
    found: Optional[float] = None
    for entry in entries:
        phase, event = entry["phase"], entry["event"]
        if event == "begin" and phase in _STOPS and since is None:
            since = entry
        elif event == "done" and phase in _ANSWERS and since is not None:
            untouched = since["phase"] == phase == "rollback.activate" and not entry.get("switched")
            answered = phase != "rollback.activate" or entry.get("healthy_at")
            found = _between(since["at"], _healthy_at(entry)) if answered and not untouched else None
            since = None if answered else since
    return found


def _last(entries: Entries, phase: str, event: str) -> Optional[Mapping[str, Any]]:
    return next((e for e in reversed(entries) if (e["phase"], e["event"]) == (phase, event)), None)


def _healthy_at(entry: Mapping[str, Any]) -> str:
    """What follows the first healthy answer is in no downtime; earlier versions noted only the end of the step."""
    return str(entry.get("healthy_at") or entry["at"])


def _between(since: str, until: str) -> float:
    return round(max(0.0, seconds_between(since, until)), 2)
