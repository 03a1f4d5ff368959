"""The phases of a release as a picture: when each ran, what was predicted, the fence, and when the API was away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Optional

from . import format
from .axis import nice_step, tick_label
from .records import Bar, Span

_WIDTH, _LEFT, _RIGHT, _ROW = 1000.0, 118.0, 128.0, 28.0
_COLORS = {"done": "var(--bar)", "failed": "var(--bad)", "running": "var(--warn)"}


def draw(
    bars: Sequence[Bar],
    fence: Optional[Span],
    unavailable: Optional[Span],
    *,
    title: str = "Phases of the release over time",
    window: Optional[tuple[float, float]] = None,
    zero: float = 0.0,
) -> str:
    """An SVG. With ``window`` (seconds from, to) only that part of the time, larger; the axis counts from ``zero``."""
    ends = [bar.end() for bar in bars] + [span.end() for span in (fence, unavailable) if span]
    start, stop = window or (0.0, max(ends, default=1.0))
    span = max(stop - start, 0.001)
    scale = (_WIDTH - _LEFT - _RIGHT) / span
    shown = [bar for bar in bars if bar.end() >= start and bar.begin_s <= stop]
    top = 46.0 if unavailable else 12.0  # room for the bracket
    bottom = top + _ROW * len(shown)

    def x(seconds: float) -> float:
        return _LEFT + (min(max(seconds, start), stop) - start) * scale

    parts = [_axis(start, stop, zero, x, top, bottom)]
    if fence:
        parts.append(_band(x(fence.begin_s), x(fence.end(stop)), top, bottom))
    for row, bar in enumerate(shown):
        parts.append(_row(bar, top + _ROW * row, x, stop))
    if unavailable:
        parts.append(_bracket(x(unavailable.begin_s), x(unavailable.end(stop)), unavailable))
    said = "; ".join(f"{bar.label} {format.seconds(bar.seconds)}" for bar in shown)
    return (
        f'<svg viewBox="0 0 {_WIDTH:g} {bottom + 28:g}" role="img" aria-label="{format.escape(title)}">'
        f"<title>{format.escape(title)}</title><desc>{format.escape(said)}</desc>"
        '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<line x1="0" y1="0" x2="0" y2="6" stroke="var(--fence)" stroke-width="2" stroke-opacity=".28"/>'
        f"</pattern></defs>{''.join(parts)}</svg>"
    )


def zoom(bars: Sequence[Bar], fence: Optional[Span], unavailable: Optional[Span]) -> str:
    """The time around the fence by itself, if it is too short to be seen in the whole; else nothing."""
    spans = [span for span in (fence, unavailable) if span]
    if not spans or not bars:
        return ""
    begin, end = min(s.begin_s for s in spans), max(s.end() for s in spans)
    whole = max(bar.end() for bar in bars)
    if end - begin >= 0.3 * whole or end <= begin:
        return ""
    margin = (end - begin) * 0.06
    title = "The time around the fence, enlarged"
    return draw(bars, fence, unavailable, title=title, window=(max(0.0, begin - margin), end + margin), zero=begin)


def _axis(start: float, stop: float, zero: float, x: Any, top: float, bottom: float) -> str:
    step = nice_step((stop - start) / 7)
    parts = []
    tick = math.ceil((start - zero) / step) * step
    while tick + zero <= stop + step * 1e-6:
        at = x(tick + zero)
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="{top - 6:g}" x2="{at:.1f}" y2="{bottom:g}"/>')
        label = tick_label(tick, step)
        parts.append(f'<text class="t-soft" x="{at:.1f}" y="{bottom + 18:g}" text-anchor="middle">{label}</text>')
        tick += step
    parts.append(f'<line class="axis" x1="{_LEFT:g}" y1="{bottom:g}" x2="{_WIDTH - _RIGHT:g}" y2="{bottom:g}"/>')
    return "".join(parts)


def _band(left: float, right: float, top: float, bottom: float) -> str:
    width, top = max(right - left, 1.5), top - 6
    return (
        f'<rect x="{left:.1f}" y="{top:g}" width="{width:.1f}" height="{bottom - top:g}" fill="url(#hatch)"/>'
        f'<path d="M{left:.1f} {top:g}V{bottom:g}M{left + width:.1f} {top:g}V{bottom:g}" stroke="var(--fence)" '
        'stroke-opacity=".8" stroke-dasharray="3 3" fill="none"/>'
    )


def _row(bar: Bar, y: float, x: Any, stop: float) -> str:
    left, right = x(bar.begin_s), x(bar.end(stop))
    width = max(right - left, 2.5)
    failed, part = bar.state == "failed", bar.part
    length, predicted = bar.seconds, bar.predicted_s
    said = format.seconds(length) if length is not None else "still running"
    label = format.escape(bar.label)
    color = _COLORS.get(bar.state, "var(--bar)")
    thick = 8 if part else 14
    parts = [
        f'<text x="{_LEFT - 12:g}" y="{y + 17:g}" text-anchor="end"{" class=t-soft" if part else ""}>{label}</text>',
        f'<rect x="{left:.1f}" y="{y + 13 - thick / 2:g}" width="{width:.1f}" height="{thick}" rx="3" fill="{color}">'
        f"<title>{label}: {said}</title></rect>",
    ]
    edge = left + width
    if predicted is not None:
        ahead = max(x(bar.begin_s + predicted) - left, 2.5)
        parts.append(
            f'<rect x="{left:.1f}" y="{y + 21.5:g}" width="{ahead:.1f}" height="3" rx="1.5" fill="var(--bar-soft)"/>'
        )
        said += f" (predicted {format.seconds(predicted)})"
        edge = max(edge, left + ahead)
    if failed:
        said = f"failed after {said}"
    kind = "t-bad t-strong" if failed else "t-soft"
    if _WIDTH - edge - 8 > 6.4 * len(said):
        place = f'x="{edge + 8:.1f}"'
    else:
        place = f'x="{left - 8:.1f}" text-anchor="end"'
    # A halo in the colour of the card, so that grid and fence do not run through the words.
    parts.append(f'<text class="{kind} halo" {place} y="{y + 17:g}">{said}</text>')
    return "".join(parts)


def _bracket(left: float, right: float, span: Span) -> str:
    right = max(right, left + 3)
    said = f"API unavailable {format.seconds(span.seconds)}"
    middle = (left + right) / 2
    anchor, at = "middle", middle
    if middle + 90 > _WIDTH:
        anchor, at = "end", right
    return (
        f'<path d="M{left:.1f} 34V28H{right:.1f}V34" stroke="var(--warn)" stroke-width="2" fill="none"/>'
        f'<text class="t-warn t-strong" x="{at:.1f}" y="20" text-anchor="{anchor}">{said}</text>'
    )
