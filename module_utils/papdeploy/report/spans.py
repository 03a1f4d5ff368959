"""When each phase of a release began and ended, in seconds after its start, from the entries of its journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..core.clock import seconds_between
from ..logwatch import rules
from ..releases.api_absence import absence
from . import format

Entries = Sequence[Mapping[str, Any]]


def first(entries: Entries, phase: str, event: str) -> Optional[Mapping[str, Any]]:
    return next((e for e in entries if e["phase"] == phase and e["event"] == event), None)


def origin_of(entries: Entries) -> Optional[str]:
    times = [e["at"] for e in entries]
    opened = first(entries, "preflight", "done")
    if opened and opened.get("seconds"):
        times.append(_minus(opened["at"], float(opened["seconds"])))
    return min(times) if times else None


def _minus(at: str, seconds: float) -> str:
    return rules.later(at, -seconds)


def timeline(entries: Entries, origin: Optional[str], predicted: Mapping[str, float]) -> list[dict[str, Any]]:
    """A bar for each phase that began: ``begin_s`` and ``end_s`` after the start (``end_s`` None while it runs), its
    ``state`` (done, failed, running), and the seconds that the rehearsal predicted."""
    bars: list[dict[str, Any]] = []
    for entry in entries:
        name, event = entry["phase"], entry["event"]
        if name in ("release", "data_check") or origin is None or event == "note":
            continue
        at = seconds_between(origin, entry["at"])
        running = next((bar for bar in reversed(bars) if bar["phase"] == name and bar["state"] == "running"), None)
        if event == "begin":
            bars.append(_bar(name, at, None, "running", predicted))
        elif running:
            running.update(end_s=at, state=event)
        elif entry.get("seconds"):  # a phase that tells only of its end
            bars.append(_bar(name, max(0.0, at - float(entry["seconds"])), at, event, predicted))
    return sorted(bars, key=lambda bar: bar["begin_s"])


def _bar(
    name: str, begin_s: float, end_s: Optional[float], state: str, predicted: Mapping[str, float]
) -> dict[str, Any]:
    return {
        "phase": name,
        "label": format.phase(name),
        "part": "." in name,
        "begin_s": begin_s,
        "end_s": end_s,
        "state": state,
        "predicted_s": predicted.get(name),
    }


def fence(entries: Entries, origin: Optional[str]) -> Optional[dict[str, Any]]:
    begin = first(entries, "fence", "begin")
    if not begin or not origin:
        return None
    ends = [e["at"] for e in entries if (e["phase"], e["event"]) in (("unfence", "done"), ("rollback", "done"))]
    begin_s = seconds_between(origin, begin["at"])
    return {"begin_s": begin_s, "end_s": seconds_between(origin, min(ends)) if ends else None}


def unavailable(entries: Entries, origin: Optional[str], seconds: Optional[float]) -> Optional[dict[str, Any]]:
    """When the API did not answer: measured, from the moment that it was stopped."""
    begin = first(entries, "fence", "begin") or first(entries, "activate", "begin")
    if not begin or not origin or seconds is None:
        return None
    gone = absence(entries)
    begin_s = seconds_between(origin, gone["since"] if gone else begin["at"])
    return {"begin_s": max(0.0, begin_s), "end_s": begin_s + float(seconds)}
