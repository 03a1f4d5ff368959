"""What the release lost of the live database, before anything else in the report; and what else was deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from ..databases.relation_losses import Loss
from ..releases.records import DataChecked, Entry, Failed, RollbackBegun, RollbackRefused, RolledBack
from ..rollback import BRING_BACK
from .format import escape
from .records import Losses


def gather(entries: Sequence[Entry]) -> Optional[Losses]:
    """What was lost that no user can have deleted, how it came back, and what was deleted while the release took over
    and is explained."""
    lost: tuple[Loss, ...] = ()
    deleted: tuple[Loss, ...] = ()
    back = ""
    for entry in entries:
        if isinstance(entry, Failed) and entry.phase == "data_check":
            lost = entry.data.lost
        elif isinstance(entry, DataChecked):
            deleted = entry.losses
        elif isinstance(entry, (RollbackBegun, RollbackRefused)):
            lost = entry.plan.lost or lost
        elif isinstance(entry, RolledBack) and entry.strategy in BRING_BACK:
            back = entry.strategy
    if not lost and not deleted:
        return None
    return Losses(
        lost=tuple(loss.sentence() for loss in lost),
        back=back,
        deleted=() if lost else tuple(loss.sentence() for loss in deleted),
    )


def headline(data: Optional[Losses]) -> str:
    """What leads the report's one line; nothing if nothing was lost."""
    if not data or not data.lost:
        return ""
    return f"The release lost data, which is back by {data.back}. " if data.back else "The release lost data. "


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
