"""Where the ticks of a time axis go."""

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
