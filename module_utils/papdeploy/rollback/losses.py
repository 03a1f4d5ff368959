"""What a release lost, before a rollback strategy is chosen: nothing is called lossless that was not compared.

The live database is held against the baseline that was taken when the fence came down (relations, rows, content); where
there is none, against the write snapshot of the restore point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ..core.errors import CommandFailed, Refused
from ..core.text import few, plural
from ..databases import Written, loss_rules, relation_losses, write_snapshot
from ..databases.live_state import LEDGER_SCHEMA
from ..databases.psql import Database
from ..databases.relation_baseline import Baseline
from ..databases.relation_losses import Comparison, Loss
from ..databases.write_counts import Wrote
from .facts import Facts
from .state import State


@dataclass(frozen=True)
class Kept:
    """What a rollback strategy keeps that leaves the database as it is. ``lost``: what the release lost and only a
    restore brings back; ``sentence`` says what was compared."""

    lost: Sequence[Loss] = ()
    sentence: str = ""


def kept(database: Database, facts: Facts, state: State) -> Kept:
    """What the release lost, and what a rollback strategy that leaves the database as it is can be said to keep."""
    where = state.where(database)
    if state.swapped:
        return Kept((), "the old content is in place")
    if facts.data:
        try:
            return _compared(where, facts.data, facts.may_delete)
        except (CommandFailed, Refused) as error:  # a table is locked: what was found in the deploy is still known
            unknown = f"keeps the database as it is; what it lost could not be compared ({error.message.rstrip('.')})"
            return Kept(facts.noted, unknown)
    if state.running:
        return Kept((), "keeps the database as it is, once the session that is still at work has ended")
    mark = facts.lifted or (facts.restore_point.mark if facts.restore_point else None)
    if mark:
        written = write_snapshot.written_since(where, mark, ignore_schemas=(LEDGER_SCHEMA,))
        return Kept((), _by_write_snapshot(written))
    if not state.applied and not facts.switched:
        return Kept((), "keeps the database as it is: the release had no restore point yet, and had changed nothing")
    return Kept((), "keeps the database as it is; what the release lost of it was not measured")


def _compared(where: Database, baseline: Baseline, may_delete: Optional[Sequence[str]]) -> Kept:
    """Compare the database ``where`` the live data is with its baseline."""
    found = relation_losses.compare(where, baseline, ignore_schemas=(LEDGER_SCHEMA,), content=True)
    lost = [] if may_delete is None else loss_rules.intolerable(found.losses, baseline, may_delete, loss_rules.TRAFFIC)
    if lost:
        return Kept(lost, f"does not bring back what the release lost: {loss_rules.listed(lost)}")
    return Kept((), _sentence(found))


def _sentence(found: Comparison) -> str:
    what = f"{plural(found.tables, 'table')} by identity and number of rows"
    changed = [f"{counts['updated']:,} of {name}" for name, counts in found.written.items() if counts["updated"]]
    stays = f"; rows that were changed since stay as they are now: {few(changed, 6)}" if changed else ""
    if not found.losses:
        return f"loses nothing: since the fence came down no relation is gone and no row is missing ({what}){stays}"
    return (
        f"loses nothing more: no relation is gone ({what}); deleted since, as users may:"
        f" {loss_rules.listed(found.losses)}{stays}"
    )


def _by_write_snapshot(written: Written) -> str:
    """The same where only the write snapshot of the restore point tells."""
    gone = {
        name: entry for name, entry in written.tables.items() if entry.emptied or entry.deleted or not written.certain
    }
    if not gone and written.certain:
        return "loses nothing: since the restore point no table is gone and no row was deleted"
    said = Written(gone, written.certain, written.why).sentence()
    return f"keeps the database as it is; since the restore point: {said}"


def without(cost: Mapping[str, Wrote], lost: Sequence[Loss]) -> dict[str, Wrote]:
    """What a restore loses, without what it brings back: of a table that the release lost, the deletions cost nothing,
    and neither is anything of one that was made anew or emptied."""
    whole = {loss.table for loss in lost if loss.what in ("gone", "recreated", "truncated") or loss.emptied}
    part = {loss.table for loss in lost} - whole
    left = {name: replace(entry, deleted=0) if name in part else entry for name, entry in cost.items()}
    return {
        name: entry
        for name, entry in left.items()
        if name not in whole and (entry.rows or entry.deleted or entry.emptied)
    }
