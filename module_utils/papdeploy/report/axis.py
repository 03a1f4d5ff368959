"""A time axis, and what is marked on it."""

from __future__ import annotations

import math


def nice_step(rough: float) -> float:
    """The next of 1, 2, 5 times a power of ten; above a minute, steps of the clock."""
    for clock in (60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400):
        if 30 < rough <= clock:
            return float(clock)
    power = 10.0 ** math.floor(math.log10(max(rough, 1e-6)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def tick_label(value: float, step: float) -> str:
    """A tick of an axis with this step, in the unit that suits it."""
    if step >= 3600:
        return f"{value / 3600:g} h"
    if step >= 60:
        return f"{value / 60:g} min"
    return f"{round(value, 6):g} s"


def ticks(span: float, scale: float, floor: float, *, left: float, width: float) -> str:
    """The labels of a time axis of ``span`` seconds below ``floor``, from ``left`` on."""
    step, tick, parts = nice_step(span / 8), 0.0, []
    while tick <= span + step * 1e-6:
        x = left + tick * scale
        anchor = "end" if x > width - 40 else "middle"
        label = tick_label(tick, step)
        parts.append(f'<text class="t-soft" x="{x:.1f}" y="{floor + 18:g}" text-anchor="{anchor}">{label}</text>')
        tick += step
    return "".join(parts)


def switch(x: float, top: float, floor: float, label: float) -> str:
    """The moment of the switch, from ``top`` to ``floor``, with its name at the height ``label``."""
    return (
        f'<line x1="{x:.1f}" y1="{top:g}" x2="{x:.1f}" y2="{floor:g}" stroke="var(--ink)" stroke-width="1.5"/>'
        f'<text class="t-strong halo" x="{x + 5:.1f}" y="{label:g}">switch</text>'
    )
