"""Numbers and times as people read them, and text as HTML."""

from __future__ import annotations

import html
from typing import Any, Optional

from ..core import text
from ..core.visible import visible_block

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
    "data_check": "Data check",
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
    "data_check": "the comparison of the live data",
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
    """A text as HTML: no markup, and nothing that reverses or hides what is written."""
    return html.escape(visible_block(str(value)), quote=True)


def figure(value: Any) -> Optional[float]:
    """A number of a journal; None for anything else, which another version may have written there."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def seconds(value: Any) -> str:
    """A duration in seconds, as ``text.seconds`` spells it."""
    value = figure(value)
    return NOT_RECORDED if value is None else text.seconds(value)


def size(value: Any) -> str:
    """Bytes, as ``text.size`` spells them."""
    value = figure(value)
    return NOT_RECORDED if value is None else text.size(value)


def number(value: Any) -> str:
    """With a thin group separator: ``61 204``."""
    value = figure(value)
    return NOT_RECORDED if value is None else f"{value:,.0f}".replace(",", "\u202f")


def when(at: Optional[str]) -> str:
    """``2025-03-01 12:00:05 UTC`` of an ISO time."""
    return f"{at[:10]} {at[11:19]} UTC" if at else NOT_RECORDED


def clock(at: Optional[str], app_session: Optional[str] = None) -> str:
    """The time of day alone where the date is that of ``beside``."""
    return f"{at[11:19]} UTC" if at and app_session and at[:10] == app_session[:10] else when(at)


def minute(at: str) -> str:
    """``03-01 15:34`` of an ISO time."""
    return f"{at[5:10]} {at[11:16]}"


def short(version: Any) -> str:
    """A release by the last part of its name: ``pap:1.9.0``; a digest by its first digits."""
    return short_label((version or {}).get("label"))


def short_label(label: Any) -> str:
    """The same of the name itself."""
    name = str(label or "").rpartition("/")[2]
    head, at, digest = name.partition("@sha256:")
    return f"{head}@{digest[:12]}" if at else name
