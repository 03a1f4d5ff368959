"""The watch over the logs as a picture: requests, and above them what went wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Optional

from ..core.clock import seconds_between
from ..core.text import plural
from ..logwatch.kinds import KINDS
from . import axis, format
from .records import Watch

# Seconds after the start, findings by kind, requests.
Point = tuple[float, dict[str, int], int]

_WIDTH, _LEFT, _RIGHT = 1000.0, 58.0, 16.0
_UPPER, _GAP, _LOWER, _TOP = 96.0, 20.0, 46.0, 22.0
_BARS = 120
_SCHEMA, _LOAD, _PEOPLE = "#c2453a", "#7a5bc0", "#2f8f9d"
# What breaks the app is red; the legend and the table say the same in words.
_COLORS = {
    "missing_column": _SCHEMA,
    "missing_table": "#9c2f4f",
    "missing_function": "#d4674c",
    "missing_object": "#b5485d",
    "permission": "#8f3a2f",
    "crash": "#5c1f1a",
    "restart": "#8b6b52",
    "resource": _LOAD,
    "stale_plan": "#a8577e",
    "connection": "#5b76c4",
    "integrity": "#6b7d2c",
    "lock": "#9a86d6",
    "authentication": _PEOPLE,
    "server_error": "#e0932f",
    "traceback": "#b98a3a",
    "database_error": "#c77f5a",
    "error": "#7f8898",
}


def draw(watch: Watch, switched: Optional[str]) -> str:
    """An SVG with its legend, and with the moment at which the new version answered; nothing was logged: a sentence."""
    series = watch.series
    started, until = watch.started, watch.until
    if not series or not started or not until:
        return '<p class="none">No log record was read.</p>'
    bucket = watch.bucket_s or 60.0
    span = max(seconds_between(started, until), bucket)
    scale = (_WIDTH - _LEFT - _RIGHT) / span
    bucket = max(bucket, math.ceil(span / _BARS / bucket) * bucket)
    points = _gathered([(seconds_between(started, p["at"]), _counts(p), _requests(p)) for p in series], bucket)
    kinds = [kind for kind in KINDS if any(kind in counts for _, counts, _ in points)]
    colors = {kind: _COLORS.get(kind, "#7f8898") for kind in kinds}
    most = max([sum(counts.values()) for _, counts, _ in points] + [1])
    busiest = max([requests for *_, requests in points] + [1])
    base, floor = _TOP + _UPPER, _TOP + _UPPER + _GAP + _LOWER
    parts = [_scale(_TOP, base, most, "findings"), _scale(base + _GAP, floor, busiest, "requests")]
    width = max(bucket * scale - 1.0, 1.2)
    for at, counts, requests in points:
        x, y = _LEFT + at * scale, base
        for kind in kinds:
            height = counts.get(kind, 0) / most * _UPPER
            if height:
                y -= height
                label = f"{counts[kind]} {kind.replace('_', ' ')}"
                parts.append(
                    f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colors[kind]}">'
                    f"<title>{label}</title></rect>"
                )
        tall = requests / busiest * _LOWER
        if tall:
            parts.append(
                f'<rect x="{x:.1f}" y="{floor - tall:.1f}" width="{width:.1f}" height="{tall:.1f}" '
                f'fill="var(--bar-soft)"><title>{plural(requests, "request")}</title></rect>'
            )
    parts += [_alarm(_LEFT + seconds_between(started, a.at) * scale, floor) for a in watch.alarms]
    if switched and started <= switched <= until:
        parts.append(axis.switch(_LEFT + seconds_between(started, switched) * scale, _TOP - 4, floor, _TOP + 10))
    parts.append(axis.ticks(span, scale, floor, left=_LEFT, width=_WIDTH))
    total = ", ".join(f"{sum(c.get(kind, 0) for _, c, _ in points)} {kind.replace('_', ' ')}" for kind in kinds)
    title = "Findings and requests in the logs since the deploy"
    legend = "".join(
        f'<span><i style="background:{colors[kind]}"></i>{format.escape(KINDS[kind])}</span>' for kind in kinds
    )
    return (
        f'<div class="scroll"><svg viewBox="0 0 {_WIDTH:g} {floor + 26:g}" role="img" aria-label="{title}">'
        f"<title>{title}</title><desc>{format.escape(total or 'nothing to report')}</desc>{''.join(parts)}</svg></div>"
        f'<div class="legend">{legend}<span><i style="background:var(--bar-soft)"></i>requests</span></div>'
    )


def _gathered(points: list[Point], bucket: float) -> list[Point]:
    """Fewer, wider bars."""
    bins: dict[int, tuple[dict[str, int], int]] = {}
    for at, counts, requests in points:
        number = int(at // bucket)
        together, sum_ = bins.setdefault(number, ({}, 0))
        for kind, count in counts.items():
            together[kind] = together.get(kind, 0) + count
        bins[number] = (together, sum_ + requests)
    return [(number * bucket, counts, requests) for number, (counts, requests) in sorted(bins.items())]


def _counts(point: Mapping[str, Any]) -> dict[str, int]:
    """By kind; what both logs tell is one thing, so the larger count stands."""
    found: dict[str, int] = {}
    for source, values in point.items():
        if source != "at":
            for kind, count in values["kinds"].items():
                found[kind] = max(found.get(kind, 0), count)
    return found


def _requests(point: Mapping[str, Any]) -> int:
    return sum(int(values["requests"]) for source, values in point.items() if source != "at")


def _scale(top: float, bottom: float, most: int, name: str) -> str:
    return (
        f'<line class="grid" x1="{_LEFT:g}" y1="{top:g}" x2="{_WIDTH - _RIGHT:g}" y2="{top:g}"/>'
        f'<line class="axis" x1="{_LEFT:g}" y1="{bottom:g}" x2="{_WIDTH - _RIGHT:g}" y2="{bottom:g}"/>'
        f'<text class="t-soft" x="{_LEFT - 8:g}" y="{top + 4:g}" text-anchor="end">{format.number(most)}</text>'
        f'<text class="t-soft" x="{_LEFT - 8:g}" y="{bottom + 4:g}" text-anchor="end">0</text>'
        f'<text class="t-soft" x="{_LEFT:g}" y="{top - 6:g}">{name}</text>'
    )


def _alarm(x: float, bottom: float) -> str:
    return (
        f'<line x1="{x:.1f}" y1="{_TOP:g}" x2="{x:.1f}" y2="{bottom:g}" stroke="var(--bad)" stroke-dasharray="4 3"/>'
        f'<text class="t-bad t-strong" x="{min(x + 4, _WIDTH - 48):.1f}" y="{_TOP - 8:g}">alarm</text>'
    )


def span_of(watch: Watch) -> Optional[float]:
    """Seconds that the watch has covered."""
    return seconds_between(watch.started, watch.until) if watch.started and watch.until else None
