"""What the page of a release says of its rollback: how it was done, or why it was refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

from ..core.text import plural
from ..releases.parts import TableCost
from ..releases.records import RolledBack
from . import format
from .format import escape
from .markup import items_in_blocks, section
from .records import Refusal


def how(rollback: Optional[RolledBack]) -> str:
    if not rollback:
        return ""
    rows = [("Strategy", rollback.strategy or format.NOT_RECORDED)]
    if rollback.why:
        rows.append(("Why", rollback.why))
    said = _cost(rollback.cost, rollback.besides)
    rows.append(("Written since the restore point and not in the database now", said or "nothing"))
    if rollback.kept:
        rows.append(("Quarantined", rollback.kept))
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows)
    return f'<h3>How it was rolled back</h3><dl class="facts">{items_in_blocks(items)}</dl>'


def _cost(cost: Mapping[str, TableCost], besides: Sequence[str] = ()) -> str:
    """What a strategy loses, table by table, and besides rows."""
    said = []
    for name, found in cost.items():
        written, deleted = found.rows, found.deleted
        parts = [plural(written, "row")] if written or not deleted else []
        parts += [plural(deleted, "deletion")] if deleted else []
        said.append(f"{name}: {' and '.join(parts)}")
    return "; ".join(filter(None, (", ".join(said), *besides)))


def refused(found: Refusal) -> str:
    """A rollback that would have cost too much, or cannot succeed."""
    body = f'<div class="message"><strong>{escape(found.refused or format.NOT_RECORDED)}</strong>'
    body += f'<p class="soft">{format.when(found.at)}, {escape(found.reason or "asked for by hand")}</p>'
    cost = _cost(found.cost, found.besides)
    if cost:
        body += f"<p>It would lose what was written since the restore point: {escape(cost)}.</p>"
    if found.hint:
        body += f"<p>{escape(found.hint)}</p>"
    body += "</div>"
    if found.lines:
        body += f"<pre>{escape(chr(10).join(found.lines))}</pre>"
    return section("The rollback was refused", body)
