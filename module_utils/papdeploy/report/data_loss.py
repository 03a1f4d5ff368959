"""What the release lost of the live database, before anything else in the report; and what else was deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from ..databases.relation_losses import Loss
from ..rollback import BRING_BACK
from .format import escape
from .records import Losses

Entries = Sequence[Mapping[str, Any]]


def gather(entries: Entries) -> Optional[dict[str, Any]]:
    """``lost``: sentences, of what no user can have deleted; ``back``: how it came back, or nothing; ``deleted``:
    sentences of what was deleted while the release took over, and is explained."""
    lost: list[Loss] = []
    deleted: list[Loss] = []
    back = ""
    for entry in entries:
        told = (entry["phase"], entry["event"])
        if told == ("data_check", "failed"):
            lost = _losses(entry.get("lost"))
        elif told == ("data_check", "done"):
            deleted = _losses(entry.get("losses"))
        elif entry["phase"] == "rollback" and entry["event"] in ("begin", "refused"):
            lost = _losses((entry.get("plan") or {}).get("lost")) or lost
        elif told == ("rollback", "done") and entry.get("strategy") in BRING_BACK:
            back = str(entry["strategy"])
    if not lost and not deleted:
        return None
    return {
        "lost": [loss.sentence() for loss in lost],
        "back": back,
        "deleted": [loss.sentence() for loss in deleted if not lost],
    }


def _losses(values: Optional[Iterable[Mapping[str, Any]]]) -> list[Loss]:
    return [Loss.from_dict(value) for value in values or []]


def headline(data: Optional[Mapping[str, Any]]) -> str:
    """What leads the report's one line; nothing if nothing was lost."""
    if not data or not data["lost"]:
        return ""
    return f"The release lost data, which is back by {data['back']}. " if data["back"] else "The release lost data. "


def section(data: Optional[Losses]) -> str:
    """The losses as HTML."""
    if not data:
        return ""
    if not data.lost:
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in data.deleted)
        return (
            '<div class="message warn-box"><strong>Deleted while the release took over</strong><p class="soft">'
            f"By users, or as pap_api_may_delete declares; no reason to go back.</p><ul>{items}</ul></div>"
        )
    how = (
        f"It is back, by {escape(data.back)}; the database that lost it is quarantined."
        if data.back
        else "It is NOT back. ansible-playbook rollback.yml -e rollback_strategy=restore brings it back."
    )
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in data.lost)
    return f'<div class="message"><strong>The release lost data</strong><p>{how}</p><ul>{items}</ul></div>'
