"""What the page of a release says of its rollback: how it was done, or why it was refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.text import plural
from . import format
from .format import escape
from .markup import Part, items_in_blocks, section


def how(rollback: Part) -> str:
    if not rollback:
        return ""
    rows = [("Strategy", rollback.get("sentence") or rollback.get("strategy") or format.NOT_RECORDED)]
    if rollback.get("why"):
        rows.append(("Why", rollback["why"]))
    cost = rollback.get("cost")
    if isinstance(cost, Mapping):
        said = _cost(cost, rollback.get("besides") or [])
        rows.append(("Written since the restore point and not in the database now", said or "nothing"))
    elif cost is not None:
        rows.append(("Cost", str(cost) or "nothing"))
    if rollback.get("kept"):
        rows.append(("Quarantined", str(rollback["kept"])))
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows)
    return f'<h3>How it was rolled back</h3><dl class="facts">{items_in_blocks(items)}</dl>'


def _cost(cost: Mapping[str, Any], besides: Sequence[str] = ()) -> str:
    """What a strategy loses, table by table, and besides rows."""
    said = []
    for name, found in cost.items():
        written, deleted = int(found.get("rows") or 0), int(found.get("deleted") or 0)
        parts = [plural(written, "row")] if written or not deleted else []
        parts += [plural(deleted, "deletion")] if deleted else []
        said.append(f"{name}: {' and '.join(parts)}")
    return "; ".join(filter(None, (", ".join(said), *besides)))


def refused(found: Mapping[str, Any]) -> str:
    """A rollback that would have cost too much, or cannot succeed."""
    body = f'<div class="message"><strong>{escape(found.get("refused") or format.NOT_RECORDED)}</strong>'
    body += f'<p class="soft">{format.when(found.get("at"))}, {escape(found.get("reason") or "asked for by hand")}</p>'
    cost = _cost(found.get("cost") or {}, found.get("besides") or [])
    if cost:
        body += f"<p>It would lose what was written since the restore point: {escape(cost)}.</p>"
    if found.get("hint"):
        body += f"<p>{escape(found['hint'])}</p>"
    body += "</div>"
    if found.get("lines"):
        body += f"<pre>{escape(chr(10).join(found['lines']))}</pre>"
    return section("The rollback was refused", body)
