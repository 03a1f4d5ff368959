"""Counts, durations and sizes as people read them: the one home of both, for every message, report and table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional


def plural(count: float, noun: str, many: str = "") -> str:
    """``1 row``, ``0 rows``, ``63,806 rows``, ``0.5 days``; ``many`` where the plural is not the noun with an s."""
    return f"{int(count) if count == int(count) else count:,} {noun if count == 1 else many or noun + 's'}"


def few(names: Sequence[str], most: int) -> str:
    """The first ``most`` of them, and how many more there are: ``a, b and 3 more``."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def seconds(value: float) -> str:
    """A duration that was measured, given in seconds: ``50 ms``, ``1.2 s``, ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if value < 0.0995:
        return f"{value * 1000:.0f} ms"
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def age(value: float) -> str:
    """A duration in seconds, roughly: ``45 s``, ``5 min``, ``3 h``, ``2 days``."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if value >= 2 * size:
            return f"{value / size:.0f} {unit}"
    return f"{value:.0f} s"


def size(value: Optional[float]) -> str:
    """Bytes in decimal units: ``999 B``, ``18.4 MB``."""
    if value is None:
        return "of unknown size"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
