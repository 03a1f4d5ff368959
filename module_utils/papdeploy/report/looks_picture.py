"""The looks of the watch as a picture: how long requests took before the deploy and after it, and which failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from ..core.clock import seconds_between
from ..core.text import plural
from ..core.text import seconds as duration
from ..logwatch.looks import Asked, Look
from . import axis, format, markup
from .format import escape

_BINS = 120
_CURVES = 3
_WIDTH, _LEFT, _BEFORE, _RIGHT = 1000.0, 58.0, 74.0, 16.0
_TOP, _HEIGHT, _GAP, _STRIP = 24.0, 110.0, 22.0, 16.0
# Told apart without colours too: the dashes of a curve, and the border of its key.
_STROKES = (("var(--bar)", "", "solid"), ("#9a6fd0", "7 3", "dashed"), ("#2f9faf", "2 3", "dotted"))


@dataclass(frozen=True)
class Curve:
    """``before_ms``: the p95 before the deploy; ``p95_ms``: by bin, the highest since."""

    path: str = ""
    before_ms: Optional[float] = None
    p95_ms: tuple[Optional[float], ...] = ()

    @property
    def last_ms(self) -> Optional[float]:
        return next((value for value in reversed(self.p95_ms) if value is not None), None)

    @property
    def rise(self) -> float:
        return (self.last_ms or 0.0) / self.before_ms if self.before_ms else 0.0

    @property
    def sentence(self) -> str:
        most = max((value for value in self.p95_ms if value is not None), default=None)
        return f"{self.path}: p95 {_ms(self.before_ms)} before, {_ms(self.last_ms)} now, {_ms(most)} at most"


@dataclass(frozen=True)
class Picture:
    """Looks by bins of ``bin_s`` seconds from ``begin`` on: how many there were (``looks``), in how many a request
    ``failed``; ``switch``: the first healthy answer of the new version; ``omitted``: curves that are not shown."""

    begin: str = ""
    bin_s: float = 60.0
    looks: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    curves: tuple[Curve, ...] = ()
    switch: Optional[str] = None
    omitted: int = 0

    @property
    def counted(self) -> str:
        failed = sum(self.failed)
        return f"{plural(sum(self.looks), 'look')}, in {failed or 'none'} of them a request failed"

    @property
    def sentence(self) -> str:
        switch = f"; the switch was at {format.when(self.switch)}" if self.switch else ""
        return ". ".join([self.counted + switch, *(curve.sentence for curve in self.curves)])


def gathered(looks: Sequence[Look], before: Optional[Look], switch: Optional[str]) -> Optional[Picture]:
    """The picture of these looks, oldest first; None if there were none. Of many requests those whose p95 rose most."""
    asking = [look for look in looks if look.asked]
    if not asking:
        return None
    begin = min(asking[0].at, switch or asking[0].at)
    span = max(seconds_between(begin, asking[-1].at), 0.0) + 1.0
    bin_s = max(60.0, math.ceil(span / _BINS / 60.0) * 60.0)
    number = [int(seconds_between(begin, look.at) // bin_s) for look in asking]
    bins = range(max(number) + 1)
    at = {n: [look for look, its in zip(asking, number) if its == n] for n in bins}
    usual = {asked.path: asked.p95_ms for asked in before.asked} if before else {}
    paths = dict.fromkeys(asked.path for look in asking for asked in look.asked)
    curves = [Curve(path, usual.get(path), tuple(_highest(at[n], path) for n in bins)) for path in paths]
    curves = sorted((curve for curve in curves if curve.last_ms is not None), key=lambda curve: -curve.rise)
    return Picture(
        begin,
        bin_s,
        tuple(len(at[n]) for n in bins),
        tuple(sum(not all(map(_good, look.asked)) for look in at[n]) for n in bins),
        tuple(curves[:_CURVES]),
        switch,
        len(curves[_CURVES:]),
    )


def _good(asked: Asked) -> bool:
    return asked.answered and asked.status < 500 and not asked.worse


def _highest(looks: Sequence[Look], path: str) -> Optional[float]:
    values = [asked.p95_ms for look in looks for asked in look.asked if asked.path == path and asked.p95_ms is not None]
    return max(values, default=None)


def _ms(value: Optional[float]) -> str:
    return format.NOT_RECORDED if value is None else duration(value / 1000)


# Drawing.


def section(picture: Optional[Picture], figures: Sequence[str]) -> str:
    """The section of the page, with what Prometheus said (``figures``); nothing without either."""
    body = f"<p>{escape(picture.counted)}.</p>{draw(picture)}" if picture and picture.looks else ""
    if figures:
        said = "".join(f"<li><code>{escape(figure)}</code></li>" for figure in figures)
        body += f"<h3>Prometheus, when it was last asked</h3><ul>{said}</ul>"
    return markup.section("Answers since the deploy", body) if body else ""


def draw(picture: Picture) -> str:
    """An SVG with its legend; what it shows is in its description too."""
    span = max(len(picture.looks), 1) * picture.bin_s
    scale = (_WIDTH - _LEFT - _BEFORE - _RIGHT) / span
    values = [value for curve in picture.curves for value in (curve.before_ms, *curve.p95_ms) if value is not None]
    most = max([*values, 1.0]) * 1.05
    base = _TOP + _HEIGHT
    floor = base + _GAP + _STRIP
    parts = [_frame(base, most)]
    for curve, (ink, dash, _) in zip(picture.curves, _STROKES):
        parts += _curve(curve, picture.bin_s * scale, base, most, f'stroke="{ink}" stroke-dasharray="{dash}"')
    parts += _strip(picture, picture.bin_s * scale, base + _GAP)
    if picture.switch:
        parts.append(axis.switch(_x(seconds_between(picture.begin, picture.switch) * scale), _TOP - 4, floor, _TOP - 8))
    parts.append(axis.ticks(span, scale, floor, left=_x(0), width=_WIDTH))
    title = "How long requests took, before the deploy and after it"
    shown = "".join(
        f'<span><i style="width:24px;height:0;border-radius:0;border-top:3px {border} {ink};vertical-align:4px"></i>'
        f"{escape(curve.sentence)}</span>"
        for curve, (ink, _, border) in zip(picture.curves, _STROKES)
    )
    more = f"<span>{plural(picture.omitted, 'more request')}, whose p95 rose less</span>" if picture.omitted else ""
    return (
        f'<div class="scroll"><svg viewBox="0 0 {_WIDTH:g} {floor + 26:g}" role="img" aria-label="{title}">'
        f"<title>{title}</title><desc>{escape(picture.sentence)}</desc>{''.join(parts)}</svg></div>"
        f'<div class="legend">{shown}{more}</div>'
    )


def _x(offset: float) -> float:
    return _LEFT + _BEFORE + offset


def _frame(base: float, most: float) -> str:
    return (
        f'<rect x="{_LEFT:g}" y="{_TOP:g}" width="{_BEFORE:g}" height="{_HEIGHT:g}" fill="var(--code)"/>'
        f'<text class="t-soft" x="{_LEFT + _BEFORE / 2:g}" y="{_TOP - 8:g}" text-anchor="middle">before</text>'
        f'<line class="grid" x1="{_LEFT:g}" y1="{_TOP:g}" x2="{_WIDTH - _RIGHT:g}" y2="{_TOP:g}"/>'
        f'<line class="axis" x1="{_LEFT:g}" y1="{base:g}" x2="{_WIDTH - _RIGHT:g}" y2="{base:g}"/>'
        f'<text class="t-soft" x="{_LEFT - 8:g}" y="{_TOP + 4:g}" text-anchor="end">{_ms(most)}</text>'
        f'<text class="t-soft" x="{_LEFT - 8:g}" y="{base + 4:g}" text-anchor="end">0</text>'
        f'<text class="t-soft" x="{_LEFT - 8:g}" y="{_TOP + _HEIGHT / 2:g}" text-anchor="end">p95</text>'
        f'<text class="t-soft" x="{_LEFT - 8:g}" y="{base + _GAP + 12:g}" text-anchor="end">looks</text>'
    )


def _curve(curve: Curve, step: float, base: float, most: float, stroke: str) -> list[str]:
    """The level of before, and what came after; where nothing was answered there is a gap."""

    def y(value: float) -> float:
        return base - value / most * _HEIGHT

    def line(points: Sequence[tuple[float, float]]) -> str:
        spots = points if len(points) > 1 else [points[0], (points[0][0] + 4, points[0][1])]
        return (
            f'<polyline fill="none" stroke-width="2.5" {stroke} points="'
            + " ".join(f"{x:.1f},{y_:.1f}" for x, y_ in spots)
            + f'"><title>{escape(curve.sentence)}</title></polyline>'
        )

    parts, run = [], list[tuple[float, float]]()
    if curve.before_ms is not None:
        level = y(curve.before_ms)
        parts.append(line([(_LEFT + 6, level), (_LEFT + _BEFORE - 6, level)]))
    for number, value in enumerate([*curve.p95_ms, None]):
        if value is not None:
            run.append((_x((number + 0.5) * step), y(value)))
        elif run:
            parts.append(line(run))
            run = []
    return parts


def _strip(picture: Picture, step: float, top: float) -> list[str]:
    """A box for each bin that had a look; one in which a request failed is higher, and red."""
    parts = []
    for number, (count, failed) in enumerate(zip(picture.looks, picture.failed)):
        if count:
            ink, height = ("var(--bad)", _STRIP) if failed else ("var(--bar-soft)", _STRIP / 2)
            said = f"{plural(count, 'look')}, {failed} with a request that failed"
            parts.append(
                f'<rect x="{_x(number * step):.1f}" y="{top + _STRIP - height:.1f}" width="{max(step - 1, 1.2):.1f}"'
                f' height="{height:g}" fill="{ink}"><title>{said}</title></rect>'
            )
    return parts


_BLOCKS = "▁▂▃▄▅▆▇█"
_COLUMNS = 40


def sketch(picture: Picture) -> list[str]:
    """The same for a terminal: a line for each curve, each letter a stretch of time; a failure is an ``x``."""
    lines = []
    wide = math.ceil(len(picture.looks) / _COLUMNS) or 1
    for curve in picture.curves:
        most = max((value for value in (curve.before_ms, *curve.p95_ms) if value is not None), default=0.0) or 1.0
        drawn = ""
        for begin in range(0, len(curve.p95_ms), wide):
            values = [value for value in curve.p95_ms[begin : begin + wide] if value is not None]
            failed = any(picture.failed[begin : begin + wide])
            level = min(int(max(values, default=0.0) / most * 8), 7)
            drawn += "x" if failed else _BLOCKS[level] if values else " "
        lines.append(f"{drawn} {curve.sentence}")
    return lines
