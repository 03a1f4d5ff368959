"""When each phase of a release began and ended, in seconds after its start, from the entries of its journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Optional

from ..core.clock import later, seconds_between
from ..releases.records import Entry
from . import format
from .records import Bar, Span

Entries = Sequence[Entry]


def first(entries: Entries, phase: str, event: str) -> Optional[Entry]:
    return next((entry for entry in entries if entry.is_of(phase, event)), None)


def origin_of(entries: Entries) -> Optional[str]:
    times = [entry.at for entry in entries]
    opened = first(entries, "preflight", "done")
    if opened and opened.seconds:
        times.append(later(opened.at, -opened.seconds))
    return min(times) if times else None


def timeline(entries: Entries, origin: Optional[str], predicted: Mapping[str, float]) -> list[Bar]:
    """A bar for each phase that began: its ``state`` (done, failed, running), and the seconds that the rehearsal
    predicted."""
    bars: list[Bar] = []
    for entry in entries:
        name, event = entry.phase, entry.event
        if name in ("release", "data_check") or origin is None or event == "note":
            continue
        at = seconds_between(origin, entry.at)
        bar = Bar(at, None, name, format.phase(name), "." in name, "running", predicted.get(name))
        running = [n for n, each in enumerate(bars) if (each.phase, each.state) == (name, "running")]
        if event == "begin":
            bars.append(bar)
        elif running:
            bars[running[-1]] = replace(bars[running[-1]], end_s=at, state=event)
        elif entry.seconds:  # a phase that tells only of its end
            bars.append(replace(bar, begin_s=max(0.0, at - entry.seconds), end_s=at, state=event))
    return sorted(bars, key=lambda bar: bar.begin_s)


def fence(entries: Entries, origin: Optional[str]) -> Optional[Span]:
    begin = first(entries, "fence", "begin")
    if not begin or not origin:
        return None
    ends = [e.at for e in entries if e.is_of("unfence", "done") or e.is_of("rollback", "done")]
    return Span(seconds_between(origin, begin.at), seconds_between(origin, min(ends)) if ends else None)


def unavailable(
    entries: Entries, origin: Optional[str], seconds: Optional[float], gone_since: Optional[str]
) -> Optional[Span]:
    """When the API did not answer: measured, from the moment that it was stopped, or was gone before that."""
    begin = first(entries, "fence", "begin") or first(entries, "activate", "begin")
    if not begin or not origin or seconds is None:
        return None
    begin_s = seconds_between(origin, gone_since or begin.at)
    return Span(max(0.0, begin_s), begin_s + seconds)
