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
from dataclasses import dataclass, field, replace
from typing import Optional

from ..core.errors import CommandFailed, Refused
from ..core.text import plural
from ..sql.quoting import quote_ident
from . import table_reader, write_snapshot
from .content_digest import queries
from .content_digest.queries import DataTable, no_member, user_schema
from .psql import Database, Session
from .write_snapshot import Counters, Snapshot

_RELATIONS = f"""
SELECT n.nspname AS schema, c.relname AS name, c.oid::int8 AS oid, c.relkind::text AS kind, c.relfilenode::int8 AS file,
       pg_stat_get_tuples_inserted(c.oid) AS inserted, pg_stat_get_tuples_updated(c.oid) AS updated,
       pg_stat_get_tuples_deleted(c.oid) AS deleted, pg_stat_get_live_tuples(c.oid) AS estimate,
       a.columns, a.typed, a.layout,
       (SELECT pn.nspname || '.' || p.relname FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
        JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE i.inhrelid = c.oid ORDER BY i.inhseqno LIMIT 1) AS parent
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT json_object_agg(attnum, attname) AS columns, json_agg(json_build_array(attname, atttypid::int8)) AS typed,
           md5(string_agg(concat_ws(' ', attnum, atttypid, atttypmod), ',' ORDER BY attnum)) AS layout
    FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS a ON c.relkind IN ('r', 'p')
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't' AND {user_schema()}
  AND {no_member("pg_class", "c.oid")}
  AND NOT (c.relkind = 'S' AND EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')))
ORDER BY 1, 2"""

_KINDS = {"v": "view", "m": "materialized view", "S": "sequence", "f": "foreign table"}
_TRIES = 2
_DIGEST_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Relation:
    """A relation, its file node and counters. Of tables: ``columns`` by number, ``layout`` (what a rewrite changes),
    ``estimate``, the rows that the counters tell; ``rows`` and ``old``, those of them that the snapshot of the baseline
    knew, where they were counted, and the ``digest`` of their content, where it was taken. ``parent``: the relation of
    which it is a partition or child. ``typed``: names and types of the columns; in no baseline."""

    schema: str
    name: str
    oid: int
    kind: str
    file: int
    inserted: int
    updated: int
    deleted: int
    estimate: int
    columns: Optional[Mapping[str, str]] = None
    typed: Optional[tuple[tuple[str, int], ...]] = None
    layout: Optional[str] = None
    parent: Optional[str] = None
    rows: Optional[int] = None
    old: Optional[int] = None
    digest: str = ""

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def content(self) -> DataTable:
        """The table as its content is hashed."""
        return DataTable(self.schema, self.name, tuple(sorted(self.typed or ())))


Relations = Mapping[str, Relation]


@dataclass(frozen=True)
class Baseline:
    """A moment (its snapshot and the server's counters) and every relation then, by "schema.name"."""

    xmin: str
    xmax: str
    xip: tuple[str, ...]
    counters: Counters
    relations: Relations
    database: Optional[int] = None


@dataclass(frozen=True)
class _Count:
    oid: int
    rows: int
    old: int


@dataclass(frozen=True)
class _Remains:
    oid: int
    there: bool


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


def take(
    session: Session,
    *,
    limit_bytes: Optional[int] = None,
    digest_bytes: int = 0,
    ignore_schemas: Sequence[str] = (),
) -> Baseline:
    """The baseline of this moment. With ``limit_bytes`` only the smallest tables are counted, until they
    are that large together: for a moment in which users wait. Of the others only relation and counters are known. Of
    the smallest up to ``digest_bytes`` the content is hashed as well."""
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    at = write_snapshot.moment(session)
    counters = write_snapshot.counters(session)
    relations = _relations(session, ignore_schemas)
    tables = [entry for entry in relations.values() if entry.kind == "r"]
    chosen = tables if limit_bytes is None else write_snapshot.smallest(session, tables, limit_bytes)
    counts = _counts(session, chosen, at)
    hashed = write_snapshot.smallest(session, chosen, digest_bytes) if digest_bytes else []
    digests = _digests(session, hashed)
    session.execute("COMMIT")

    def noted(entry: Relation) -> Relation:
        rows, old = counts.get(entry.oid, (None, None))
        return replace(entry, typed=None, rows=rows, old=old, digest=digests.get(entry.oid, ""))

    kept = {name: noted(entry) for name, entry in relations.items()}
    return Baseline(at.xmin, at.xmax, at.xip, counters, kept, at.database)


def take_briefly(session: Session, ignore_schemas: Sequence[str] = ()) -> Baseline:
    """The baseline for a moment in which users wait: content is hashed up to 32 MB; counting is cheaper."""
    return take(
        session, limit_bytes=write_snapshot.LOOK_BYTES, digest_bytes=_DIGEST_BYTES, ignore_schemas=ignore_schemas
    )


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
    now = _relations(session, ignore_schemas)
    pairs = _pairs(baseline, now)
    read = {after.oid for before, after in pairs if not certain or _moved(before, after, deletions_only)}
    if others and certain and not deletions_only:
        still = [after for _, after in pairs if after.oid not in read]
        read |= {after.oid for after in write_snapshot.smallest(session, still)}
    known = [after for before, after in pairs if before.rows is not None and after.oid in read]
    counts = _counts(session, [*known, *_recreated(baseline, now)], baseline)
    large = [after for before, after in pairs if before.rows is None and after.oid in read]
    remains = _remains(session, large, baseline)
    hashed = [after for before, after in pairs if before.digest and after.oid in counts]
    digests = _digests(session, hashed if content else [])
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


def _relations(session: Session, ignore_schemas: Sequence[str]) -> Relations:
    found = session.records(Relation, _RELATIONS)
    return {entry.qualified: entry for entry in found if entry.schema not in set(ignore_schemas)}


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


def _counts(session: Session, tables: Sequence[Relation], baseline: Snapshot) -> dict[int, tuple[int, int]]:
    """By table (OID): its rows, and those of them that the baseline's snapshot knew."""
    queries = [
        table_reader.query(
            table,
            f"SELECT {table.oid} AS oid, count(*) AS rows,"
            f" count(*) FILTER (WHERE NOT {write_snapshot.newer(baseline)}) AS old",
        )
        for table in tables
    ]
    return {row.oid: (row.rows, row.old) for row in table_reader.records(session, _Count, queries)}


def _digests(session: Session, tables: Sequence[Relation]) -> dict[int, str]:
    """By table (OID) the order-independent hash of its content."""
    asked = queries.rows_queries([table.content for table in tables])
    hashes = {(row.schema, row.name): row.hash for row in table_reader.records(session, queries.RowsDigest, asked)}
    return {table.oid: hashes[table.schema, table.name] for table in tables}


def _remains(session: Session, tables: Sequence[Relation], baseline: Snapshot) -> dict[int, bool]:
    """By table (OID) that is too large to be counted: whether any row that the baseline's snapshot knew is there."""
    queries = [
        (
            table.schema,
            table.name,
            f"SELECT {table.oid} AS oid,"
            f" EXISTS (SELECT FROM ONLY {quote_ident(table.schema)}.{quote_ident(table.name)} AS t"
            f" WHERE NOT {write_snapshot.newer(baseline)}) AS there",
        )
        for table in tables
    ]
    return {row.oid: row.there for row in table_reader.records(session, _Remains, queries)}


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
