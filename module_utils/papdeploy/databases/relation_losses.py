"""What a database lost since a moment: relations that are gone or were made anew, tables emptied, rows deleted.

A baseline notes every relation (OID, file node, columns, counters, rows). Later the truth is what is there: names and
OIDs, and for rows how many of those that the baseline saw are still there (their ``xmin`` is one that its snapshot
knew), so that rows which were deleted and written anew are missed as well. An update takes an old row away too. Which
it was, the server's counters say; they arrive late (up to ten seconds after a session has gone idle), and count what
was rolled back. Until they explain what is missing, ``unexplained`` says how much.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from ..core.errors import CommandFailed, Refused
from ..core.text import plural
from . import relation_baseline, write_snapshot
from .psql import Database, Session
from .relation_baseline import Baseline, Relation, Relations

_KINDS = {"v": "view", "m": "materialized view", "S": "sequence", "f": "foreign table"}
_TRIES = 2


@dataclass(frozen=True)
class Loss:
    """One loss. ``what``: ``gone``, ``recreated``, ``column``, ``truncated`` or ``deleted``. ``before`` and ``after``
    are numbers of rows (None: not known); ``rows`` is how many of those before are lost, at most where ``up_to``."""

    table: str
    what: str
    before: Optional[int] = None
    after: Optional[int] = None
    rows: Optional[int] = None
    up_to: bool = False
    emptied: bool = False
    detail: str = ""

    def sentence(self) -> str:
        """``public.policies was dropped and created anew (5,000 rows before, 0 now)``."""
        if self.what == "column":
            return f"{self.table} lost its column {self.detail}"
        words = {
            "gone": f"is gone{f' ({self.detail})' if self.detail else ''}",
            "recreated": "was dropped and created anew",
            "truncated": "was truncated",
        }
        if self.what == "truncated" and self.after and self.after == self.before:
            return f"{self.table} was rewritten, and none of its rows is one of before{self._counts()}"
        if self.what == "recreated" and self.detail:
            return f"{self.table} is another table{self._counts()}; {self.detail}"
        if self.what != "deleted":
            return f"{self.table} {words[self.what]}{self._counts()}"
        if self.rows is None:
            return f"rows of {self.table} were deleted"
        number = "every row" if self.emptied else plural(self.rows, "row")
        up_to = "up to " if self.up_to and not self.emptied else ""
        verb = "were" if self.rows != 1 and not self.emptied else "was"
        return f"{up_to}{number} of {self.table} {verb} deleted{self._counts()}"

    def _counts(self) -> str:
        if self.before is None:
            return ""
        now = f", {self.after:,} now" if self.after is not None else ""
        return f" ({plural(self.before, 'row')} before{now})"


@dataclass(frozen=True)
class Comparison:
    """What a database lost since a baseline, and what else was written: ``written["schema.table"]`` holds ``inserted``
    and ``updated`` rows. ``unexplained``: old rows by table that are missing and that no counter explains as yet.
    ``same``: tables that were written to and hold what they held. ``unread``: tables whose rows were not looked at, and
    whose counters a session may still hold back."""

    losses: Sequence[Loss] = ()
    written: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unexplained: Mapping[str, int] = field(default_factory=dict)
    tables: int = 0
    same: Sequence[str] = ()
    unread: Sequence[str] = ()


def compare(
    database: Database,
    baseline: Baseline,
    *,
    ignore_schemas: Sequence[str] = (),
    content: bool = False,
    deletions_only: bool = False,
    lock_timeout_s: float = 15.0,
) -> Comparison:
    """Hold ``database`` against ``baseline``. Rows are read where the counters moved, or lie; and in the smaller tables
    while other sessions are open; with ``deletions_only``, only where the counter of deletions or the file moved (then
    a loss shows when its counters do). With ``content``, tables that hold what they held then, by the digest of the
    baseline, have lost nothing, whatever was done to their rows. Raises CommandFailed if a table stays locked, Refused
    if the baseline is of another database, in whose place a rollback has put this one."""
    settings = {"lock_timeout": f"{int(lock_timeout_s * 1000)}ms"}
    for left in range(_TRIES, -1, -1):
        try:
            with database.session(settings) as session:
                return _compared(session, baseline, ignore_schemas, content, deletions_only)
        except CommandFailed:  # a table may be dropped between the looks at the catalog and at its rows
            if not left:
                raise
            time.sleep(0.2)
    raise AssertionError


def _compared(
    session: Session, baseline: Baseline, ignore_schemas: Sequence[str], content: bool, deletions_only: bool
) -> Comparison:
    if write_snapshot.elsewhere(session, baseline.database):
        raise Refused(f"It cannot be compared with what it was: {write_snapshot.ANOTHER}.")
    others = write_snapshot.others(session)  # before the counters: who is gone has handed them over
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    certain = write_snapshot.counters(session).went_on_from(baseline.counters)
    now = relation_baseline.relations_of(session, ignore_schemas)
    pairs = _pairs(baseline, now)
    read = {after.oid for before, after in pairs if not certain or _moved(before, after, deletions_only)}
    if others and certain and not deletions_only:
        still = [after for _, after in pairs if after.oid not in read]
        read |= {after.oid for after in write_snapshot.smallest(session, still)}
    known = [after for before, after in pairs if before.rows is not None and after.oid in read]
    counts = relation_baseline.row_counts(session, [*known, *_recreated(baseline, now)], baseline)
    large = [after for before, after in pairs if before.rows is None and after.oid in read]
    remains = relation_baseline.any_left(session, large, baseline)
    hashed = [after for before, after in pairs if before.digest and after.oid in counts]
    digests = relation_baseline.row_digests(session, hashed if content else [])
    session.execute("COMMIT")
    losses = list(_relations_lost(baseline, now, counts))
    written: dict[str, dict[str, int]] = {}
    unexplained: dict[str, int] = {}
    same: list[str] = []
    for before, after in pairs:
        if before.digest and digests.get(after.oid) == before.digest:
            same.append(after.qualified)
            continue
        found = _Table(before, after, counts.get(after.oid), remains.get(after.oid), certain)
        loss = found.loss()
        losses += [loss] if loss else []
        if found.unexplained and others:
            unexplained[after.qualified] = found.unexplained
        if any(found.written(loss).values()):
            written[after.qualified] = found.written(loss)
    unread = [after.qualified for _, after in pairs if others and after.oid not in counts]
    tables = sum(1 for entry in now.values() if entry.kind == "r")
    return Comparison(losses, written, unexplained, tables, same, unread)


def _pairs(baseline: Baseline, now: Relations) -> list[tuple[Relation, Relation]]:
    """The tables that are the same ones as then, as they were and as they are."""
    return [
        (before, now[name])
        for name, before in baseline.relations.items()
        if before.kind == "r" and name in now and now[name].oid == before.oid
    ]


def _moved(before: Relation, after: Relation, deletions_only: bool) -> bool:
    if (before.file, before.deleted) != (after.file, after.deleted):
        return True
    return not deletions_only and (before.inserted, before.updated) != (after.inserted, after.updated)


def _recreated(baseline: Baseline, now: Relations) -> list[Relation]:
    return [
        now[name]
        for name, before in baseline.relations.items()
        if name in now and now[name].kind == "r" and now[name].oid != before.oid
    ]


def _relations_lost(baseline: Baseline, now: Relations, counts: Mapping[int, tuple[int, int]]) -> list[Loss]:
    """Relations that are gone or other ones than then, and columns that are gone."""
    names = {entry.oid: name for name, entry in now.items()}
    losses = []
    for name, before in baseline.relations.items():
        after, rows = now.get(name), before.rows
        if after is None:
            renamed = names.get(before.oid, "")
            words = [_KINDS.get(before.kind, ""), f"now called {renamed}" if renamed else ""]
            losses.append(Loss(name, "gone", rows, None if renamed else 0, rows, detail=", ".join(filter(None, words))))
        elif after.oid != before.oid:
            if before.kind in ("r", "p"):  # a view that was made anew holds no row of its own
                left = counts.get(after.oid, (None, None))[0]
                moved = names.get(before.oid, "")
                detail = f"the one of before is now called {moved}" if moved else ""
                losses.append(Loss(name, "recreated", rows, left, rows, detail=detail))
        else:
            there = after.columns or {}
            gone = [column for number, column in (before.columns or {}).items() if number not in there]
            losses += [Loss(name, "column", rows, detail=column) for column in gone]
    return losses


@dataclass(frozen=True)
class _Table:
    """A table that is the same one as then. ``counted``: rows and old rows now, ``remains``: whether an old one is
    there; each None where it was not read. ``certain``: the counters are those of then, gone on."""

    before: Relation
    after: Relation
    counted: Optional[tuple[int, int]]
    remains: Optional[bool]
    certain: bool

    @property
    def _inserted(self) -> int:
        return self.after.inserted - self.before.inserted if self.certain else 0

    @property
    def _updated(self) -> int:
        return self.after.updated - self.before.updated if self.certain else 0

    @property
    def _deleted(self) -> int:
        return self.after.deleted - self.before.deleted if self.certain else 0

    @property
    def _missing(self) -> int:
        """Old rows that are gone: deleted or updated."""
        return max(0, (self.before.old or 0) - self.counted[1]) if self.counted else 0

    @property
    def unexplained(self) -> int:
        known = self._updated + self._deleted
        return max(0, self._missing - known) if self.certain and not self._new_file else 0

    @property
    def _new_file(self) -> bool:
        return self.before.file != self.after.file

    def loss(self) -> Optional[Loss]:
        if self.counted is None:
            return self._large()
        rows, old = self.counted
        before = self.before.rows or 0
        fewer = max(0, before - rows)
        if self._new_file and (fewer or self._missing or not before) and not self._rewritten(fewer):
            return Loss(self.after.qualified, "truncated", before, rows, max(fewer, self._missing), emptied=old == 0)
        deleted = min(self._missing, self._deleted) if self.certain else self._missing
        lost = max(fewer, deleted)
        if not lost:
            return None
        emptied = before > 0 and old == 0 and (rows == 0 or (self.certain and lost == before))
        return Loss(self.after.qualified, "deleted", before, rows, lost, up_to=lost > fewer, emptied=emptied)

    def _rewritten(self, fewer: int) -> bool:
        """A new file with every row in it: VACUUM FULL keeps old rows old; ALTER TABLE changes the columns, and what it
        writes is in no counter."""
        whole = not fewer and (self.before.rows or 0) > 0
        altered = self.before.layout != self.after.layout
        return whole and (not self._missing or altered) and not self._inserted

    def _large(self) -> Optional[Loss]:
        before, deleted = self.before.estimate, self._deleted
        emptied = self.remains is False and before > 0 and (bool(deleted) or self._new_file or not self.certain)
        if self._new_file and emptied:
            return Loss(self.after.qualified, "truncated", before, emptied=True)
        if not deleted and not emptied:
            return None
        return Loss(self.after.qualified, "deleted", before, None, deleted or None, up_to=True, emptied=emptied)

    def written(self, loss: Optional[Loss]) -> dict[str, int]:
        """Rows that were inserted and updated, and are there."""
        if self.counted is None:
            return {"inserted": self._inserted, "updated": self._updated}
        rows, old = self.counted
        updated = max(0, self._missing - int(loss.rows or 0 if loss else 0))
        known_before = (self.before.rows or 0) - (self.before.old or 0)
        return {"inserted": max(0, rows - old - known_before - updated), "updated": updated}
