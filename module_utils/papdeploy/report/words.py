"""Numbers and times as people read them, and text as HTML."""

from __future__ import annotations

import html
from typing import Any, Optional

NOT_RECORDED = "not recorded"

PHASES = {
    "preflight": "Preflight",
    "receipt": "Receipt",
    "backup": "Backup",
    "rehearse": "Rehearsal",
    "fence": "Fence",
    "restore_point": "Restore point",
    "migrate": "Migrate",
    "unfence": "Unfence",
    "activate": "Activate",
    "login_smoke_test": "Smoke test",
    "validate": "Validate",
    "watch": "Watch",
    "rollback": "Rollback",
}

_AT = {
    "rehearse": "the rehearsal",
    "release": "the release, after it had finished",
    "migrate": "the migration",
    "activate": "the activation",
    "login_smoke_test": "the login smoke test",
    "validate": "the schema check",
    "receipt": "the demand for a receipt",
}


def phase_noun(name: str) -> str:
    """A phase inside a sentence: ``the migration``."""
    name = name.rpartition(".")[2]
    return _AT.get(name, f"the {phase(name).lower()}")


def phase(name: str) -> str:
    """A phase as a heading; a part of a phase (``rollback.activate``) by its own name."""
    name = name.rpartition(".")[2]
    return PHASES.get(name, name.replace("_", " ").capitalize())


def escape(value: Any) -> str:
    return html.escape(str(value), quote=True)


def figure(value: Any) -> Optional[float]:
    """A number of a journal; None for anything else, which another version may have written there."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def seconds(value: Any) -> str:
    """``50 ms``, ``1.2 s``, ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    value = figure(value)
    if value is None:
        return NOT_RECORDED
    if value < 0.0995:
        return f"{value * 1000:.0f} ms"
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def size(value: Any) -> str:
    """Bytes in decimal units: ``18.4 MB``."""
    value = figure(value)
    if value is None:
        return NOT_RECORDED
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def number(value: Any) -> str:
    """With a thin group separator: ``61 204``."""
    value = figure(value)
    return NOT_RECORDED if value is None else f"{value:,.0f}".replace(",", "\u202f")


def when(at: Optional[str]) -> str:
    """``2025-03-01 12:00:05 UTC`` of an ISO time."""
    return f"{at[:10]} {at[11:19]} UTC" if at else NOT_RECORDED


def clock(at: Optional[str], beside: Optional[str] = None) -> str:
    """The time of day alone where the date is that of ``beside``."""
    return f"{at[11:19]} UTC" if at and beside and at[:10] == beside[:10] else when(at)


def minute(at: str) -> str:
    """``03-01 15:34`` of an ISO time."""
    return f"{at[5:10]} {at[11:16]}"


def short(version: Any) -> str:
    """A release by the last part of its name: ``pap:1.9.0``; a digest by its first digits."""
    name = str((version or {}).get("label") or "").rpartition("/")[2]
    head, at, digest = name.partition("@sha256:")
    return f"{head}@{digest[:12]}" if at else name


def plural(count: int, singular: str, plural_form: str = "") -> str:
    return f"{count} {singular if count == 1 else plural_form or singular + 's'}"
