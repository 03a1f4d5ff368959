"""How long users were without the API, as a journal tells: from when it was stopped to its first healthy answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from ..core.clock import seconds_between
from .api_absence import absence
from .records import Activated, Entry, SmokeTestedBack, Switched, SwitchedBack, newest, newest_of

Entries = Sequence[Entry]

_STOPS = ("fence", "activate", "rollback.fence", "rollback.activate")
_ANSWERS = ("activate", "rollback.activate", "rollback.restart")


def of_deploy(entries: Entries) -> Optional[float]:
    """Seconds from the beginning of the fence (the API stops), or from when it was gone before that, to the first
    healthy answer after the switch. Without a fence only the switch itself counts."""
    active, gone = newest(entries, Activated), absence(entries)
    stopped = newest_of(entries, "fence", "begin") or newest_of(entries, "activate", "begin")
    if not stopped or not active:
        return None
    return _between(gone.since if gone else stopped.at, _healthy_at(active))


def of_failed_deploy(entries: Entries) -> Optional[float]:
    """Seconds from stopping the API to the first healthy answer of the old one, after a rollback."""
    stopped = next((entry for entry in entries if entry.is_of("fence", "begin")), None)
    active, tried = newest(entries, SwitchedBack), newest_of(entries, "rollback.login_smoke_test", "begin")
    passed = newest(entries, SmokeTestedBack)
    if not stopped or not tried or not passed or (passed.unhealthy and passed.healthy_after_s is None):
        return None
    gone = absence(entries)
    since = gone.since if gone else stopped.at
    if active and active.healthy_at:
        return _between(since, active.healthy_at)
    return round(seconds_between(since, tried.at) + (passed.healthy_after_s or 0.0), 2)


def of_rollback(entries: Entries) -> Optional[float]:
    """Seconds for which the rollback that ``entries`` end with kept users waiting, with those that the deploy had done
    so before, if nothing had answered in between. None if the API was not stopped, or does not answer yet."""
    return _last_stop(entries)[1]


def down_since(entries: Entries) -> str:
    """When the API was stopped that has not answered since; empty where it was not, or has."""
    stopped, _ = _last_stop(entries)
    gone = absence(entries)
    return "" if stopped is None else gone.since if gone else stopped.at


def _last_stop(entries: Entries) -> tuple[Optional[Entry], Optional[float]]:
    """What stopped the API last, until it answers; and the seconds of the last stop that has ended."""
    since: Optional[Entry] = None
    found: Optional[float] = None
    for entry in entries:
        if entry.event == "begin" and entry.phase in _STOPS and since is None:
            since = entry
        elif entry.event == "done" and entry.phase in _ANSWERS and since is not None:
            back = entry if isinstance(entry, SwitchedBack) else None
            untouched = back is not None and since.phase == back.phase and not back.switched
            answered = back is None or bool(back.healthy_at)
            found = _between(since.at, _healthy_at(entry)) if answered and not untouched else None
            since = None if answered else since
    return since, found


def _healthy_at(entry: Entry) -> str:
    """What follows the first healthy answer is in no downtime; earlier versions noted only the end of the step."""
    return (entry.healthy_at if isinstance(entry, Switched) else "") or entry.at


def _between(since: str, until: str) -> float:
    return round(max(0.0, seconds_between(since, until)), 2)
