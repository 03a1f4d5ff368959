"""Which losses no release may cause, and which may be the work of users.

An application on a copy is alone there: every loss is its own. On the live database the API cannot be reached until it
is healthy, so what is lost before that is its own as well (but for the few rows that users and other programs delete
until it is looked at). Afterwards users delete rows too. docs/security.md has these rules as a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .relation_baseline import Baseline
from .relation_losses import Loss

# Until these users are not expected to delete more at once: rows, and the part of a table.
FEW_ROWS = 10
FEW_SHARE = 0.1

TRIAL, START, TRAFFIC = "trial", "start", "traffic"


def qualified(names: Iterable[str]) -> set[str]:
    """Tables as the inventory names them, with their schema."""
    return {name if "." in name else f"public.{name}" for name in names}


def intolerable(losses: Sequence[Loss], baseline: Baseline, may_delete: Iterable[str], stage: str) -> list[Loss]:
    """Those of ``losses`` that nothing explains. ``may_delete``: the tables in which a service deletes by itself;
    ``stage``: where and when it was (``TRIAL``, ``START`` or ``TRAFFIC``)."""
    declared = qualified(may_delete)
    return [loss for loss in losses if not _explained(loss, baseline, declared, stage)]


def _explained(loss: Loss, baseline: Baseline, declared: set[str], stage: str) -> bool:
    if loss.what in ("deleted", "truncated") and loss.table in declared:
        return True
    if loss.what in ("deleted", "truncated", "gone") and declared.intersection(_ancestors(loss.table, baseline)):
        return True  # retention drops whole partitions
    if loss.what != "deleted" or stage == TRIAL:
        return False
    if _turns_over(loss.table, baseline):
        return not (stage == START and loss.emptied)
    share = FEW_SHARE * int(loss.before or 0) if stage == TRAFFIC else 0
    return not loss.emptied and int(loss.rows or 0) <= max(FEW_ROWS, share)


def _ancestors(table: str, baseline: Baseline) -> Iterator[str]:
    """The tables of which it was a partition or a child, from its parent upwards."""
    while (entry := baseline.relations.get(table)) and entry.parent:
        yield entry.parent
        table = entry.parent


def _turns_over(table: str, baseline: Baseline) -> bool:
    """Whether as many rows had been deleted from it before the release as it holds: a queue, sessions, a cache."""
    entry = baseline.relations.get(table)
    return entry is not None and entry.deleted >= max(1, entry.estimate if entry.rows is None else entry.rows)


def listed(losses: Sequence[Loss], most: int = 6) -> str:
    """The losses as one line; the worst first."""
    order = ("gone", "recreated", "truncated", "column", "deleted")
    ranked = sorted(losses, key=lambda loss: (order.index(loss.what), -(loss.rows or 0)))
    more = f"; and {len(ranked) - most} more" if len(ranked) > most else ""
    return "; ".join(loss.sentence() for loss in ranked[:most]) + more
