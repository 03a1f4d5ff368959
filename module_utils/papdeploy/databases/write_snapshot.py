"""What was written since a moment: a mark is taken, and later every row version is held against it.

A mark is a snapshot (transaction ids) and per table the counters and the file node. Row versions inserted or updated
since then carry a transaction id that the mark does not know: they are counted exactly, in the tables that the
counters say were touched. Deleted rows are gone; they are known by the counters alone. Where those were reset in
between, every table is read and the answer says that deletions cannot be counted.

Sequences and large objects are part of a mark as well (:mod:`.other_losses`).

A session hands its counters over at most once a second, an idle one after ten, and always before it is gone. While
sessions of others are open, the smaller tables are therefore read as well, and the answer says that it is not the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional, Protocol, TypeVar

from ..core.text import plural
from ..sql.quoting import quote_literal
from . import other_losses, table_reader
from .content_digest.queries import no_member, unlocked, user_schema
from .managed_names import CLIENT
from .other_losses import Change, LargeObjects, Position
from .psql import Database, Session
from .write_counts import NO_OWN, Own, Written, Wrote

TABLES = f"""
SELECT n.nspname AS schema, c.relname AS name, c.oid::int8 AS oid, c.relfilenode::int8 AS file,
       pg_stat_get_tuples_inserted(c.oid) AS inserted, pg_stat_get_tuples_updated(c.oid) AS updated,
       pg_stat_get_tuples_deleted(c.oid) AS deleted
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {user_schema()}
  AND ({no_member("pg_class", "c.oid")} OR has_table_privilege(c.oid, 'SELECT'))
ORDER BY 1, 2"""

# Bytes of tables to read although their counters stand still, while sessions of others are open.
LOOK_BYTES = 256 * 1024 * 1024

OTHERS = f"""
SELECT count(*) AS others FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND {CLIENT}"""

# What a session has locked, or waits to lock, against readers: asking for its size would wait as well.
_SIZES = f"""
SELECT c.oid::int8 AS oid, pg_relation_size(c.oid) AS bytes FROM pg_class c
WHERE c.oid IN ({{oids}}) AND {unlocked("c.oid")}
ORDER BY 2, 1"""

COUNTERS = """
SELECT current_setting('track_counts')::bool AS counting, pg_postmaster_start_time()::text AS started,
       (SELECT stats_reset::text FROM pg_stat_database WHERE datname = current_database()) AS reset"""

# What transactions that are still open hold: tables that no other session can read, and tables that they have written
# to. A prepared transaction has no process.
OPEN_WORK = f"""
SELECT DISTINCT ON (1, a.pid) format('%s.%s', n.nspname, c.relname) AS name, a.pid, a.usename AS user,
       a.application_name AS application, l.mode = 'AccessExclusiveLock' AS locked,
       coalesce(a.xact_start::text, l.virtualtransaction) AS began,
       extract(epoch FROM clock_timestamp() - a.xact_start)::int AS seconds
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND (l.mode = 'AccessExclusiveLock' OR (l.mode = 'RowExclusiveLock' AND (a.backend_xid IS NOT NULL OR l.pid IS NULL)))
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND c.relkind IN ('r', 'p')
  AND {user_schema()} AND {CLIENT}
ORDER BY 1, a.pid, locked DESC"""


@dataclass(frozen=True)
class OpenWork:
    """A table on which a session works in a transaction that is still open, ``locked`` or written to; of a prepared
    transaction (without ``pid``) no more is known."""

    name: str
    pid: Optional[int]
    user: Optional[str]
    application: Optional[str]
    locked: bool
    began: Optional[str]
    seconds: Optional[int]


_SNAPSHOT = """
SELECT pg_snapshot_xmin(s)::text AS xmin, pg_snapshot_xmax(s)::text AS xmax,
       (SELECT coalesce(json_agg(x::text), '[]') FROM pg_snapshot_xip(s) AS x) AS xip,
       (SELECT oid::int8 FROM pg_database WHERE datname = current_database()) AS database
FROM pg_current_snapshot() AS s"""

ANOTHER = "a rollback has put another database in its place since"


class Snapshot(Protocol):
    """What tells older transactions from newer ones."""

    @property
    def xmin(self) -> str: ...

    @property
    def xmax(self) -> str: ...

    @property
    def xip(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Moment:
    """A snapshot alone. ``database``: the OID of the one that it was taken in; older versions noted none."""

    xmin: str
    xmax: str
    xip: tuple[str, ...]
    database: Optional[int] = None


@dataclass(frozen=True)
class Counters:
    """Whether the server counts, and since when: two equal ones, counting, have gone on from each other."""

    counting: bool
    started: str
    reset: Optional[str]

    def went_on_from(self, before: Counters) -> bool:
        return self.counting and self == before


@dataclass(frozen=True)
class Table:
    """A table with its file node and counters."""

    schema: str
    name: str
    oid: int
    file: int
    inserted: int
    updated: int
    deleted: int

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def writes(self) -> int:
        return self.inserted + self.updated


@dataclass(frozen=True)
class Mark:
    """The mark of a moment: its snapshot, the server's counters, the tables by "schema.table". Older versions noted
    neither sequences nor large objects."""

    xmin: str
    xmax: str
    xip: tuple[str, ...]
    counters: Counters
    tables: Mapping[str, Table]
    database: Optional[int] = None
    sequences: Optional[Mapping[str, Position]] = None
    large_objects: Optional[LargeObjects] = None


class Sized(Protocol):
    @property
    def oid(self) -> int: ...


S = TypeVar("S", bound=Sized)


@dataclass(frozen=True)
class _Size:
    oid: int
    bytes: Optional[int]  # None: it was dropped a moment ago


@dataclass(frozen=True)
class _Recent:
    oid: int
    rows: int
    mine: int


def take(session: Session) -> Mark:
    """The mark of this moment in the session's database. Reads no rows: a few milliseconds, and one for each forty
    sequences."""
    at = moment(session)
    server = counters(session)
    tables = {table.qualified: table for table in session.records(Table, TABLES)}
    sequences, large = other_losses.positions(session), other_losses.of_large_objects(session)
    return Mark(at.xmin, at.xmax, at.xip, server, tables, at.database, sequences, large)


def writes(database: Database) -> int:
    """How many row versions were ever written in ``database``, by its counters: two equal numbers, with no crash of the
    server between them, mean that nothing was written."""
    with database.session() as session:
        return other_losses.writes(session) + sum(
            table.writes + table.deleted for table in session.records(Table, TABLES)
        )


def moment(session: Session) -> Moment:
    """Of a mark only what tells older transactions from newer ones."""
    return session.records(Moment, _SNAPSHOT)[0]


def counters(session: Session) -> Counters:
    return session.records(Counters, COUNTERS)[0]


def elsewhere(session: Session, noted: Optional[int]) -> bool:
    """Whether something was noted in another database (OID), in whose place a rollback put this one. Then OIDs,
    counters and transactions say nothing: all of them are new here, and no client wrote that. Older snapshots cannot
    tell (None)."""
    return noted is not None and noted != moment(session).database


def newer(mark: Snapshot) -> str:
    """A condition on row version ``t``: its transaction began after ``mark``, or was running then."""
    # xid is 32 bits and wraps: age() compares modulo. Newer than xmax, or running when the mark was taken.
    low, high = (int(xid) % (1 << 32) for xid in (mark.xmin, mark.xmax))
    condition = f"age(t.xmin) <= age('{high}'::xid)"
    running = [str(int(xid) % (1 << 32)) for xid in mark.xip]
    if running:
        condition += f" OR (age(t.xmin) <= age('{low}'::xid) AND t.xmin::text IN ({', '.join(map(repr, running))}))"
    return f"({condition})"


def written_since(database: Database, mark: Mark, *, ignore_schemas: Sequence[str] = (), own: Own = NO_OWN) -> Written:
    """The same as :func:`since`, in a session for this alone."""
    with database.session() as session:
        return since(session, mark, ignore_schemas=ignore_schemas, own=own)


def since(session: Session, mark: Mark, *, ignore_schemas: Sequence[str] = (), own: Own = NO_OWN) -> Written:
    """What was written to the database of ``session`` since ``mark``, per table: one pass over the row headers of the
    tables whose counters moved (of all, where the counters are not those of the mark's server any more).

    Exact under the fence, where no other session is connected; else ``so_far`` says what may be missing. Deletions that
    were rolled back are counted like others, so that number is an upper limit.

    Rows of the transactions in ``own`` are counted apart: those of our smoke tests. Where the counters show more writes
    than these and the rows of others, a user's change may lie below one of them, and they count as anybody's.
    """
    if elsewhere(session, mark.database):
        return Written({}, False, f"what was written cannot be counted: {ANOTHER}")
    skip = set(ignore_schemas)
    open_now = others(session)  # before the counters: who is gone by now has handed them over
    certain = counters(session).went_on_from(mark.counters)
    tables = [table for table in session.records(Table, TABLES) if table.schema not in skip]
    # Reading every row header takes as long as the database is large: only where the counters moved, or lie.
    still = [table for table in tables if certain and _untouched(table, mark)]
    touched = [table for table in tables if not (certain and _untouched(table, mark))]
    small = smallest(session, still) if open_now else []
    recent = _recent(session, [*touched, *small], mark, list(own.writes) if certain else ())
    changes, own_numbers = _besides(session, mark, own, skip, certain, open_now)
    found, apart = _by_table(tables, mark, recent, own, certain)
    found.update(_gone(tables, mark, skip))
    why = (
        "row versions newer than the mark, and the server's counters of deletions"
        if certain
        else "deletions cannot be counted: the server was restarted, its statistics were reset or are switched off"
    )
    so_far = _open(open_now, len(still) - len(small)) if open_now else ""
    return Written(found, certain, why, so_far, apart, own_numbers, changes)


def others(session: Session) -> int:
    """How many sessions of others are in the database of ``session``."""
    beside = session.processes_beside()
    return int(session.scalar(OTHERS + (f" AND pid NOT IN ({', '.join(map(str, beside))})" if beside else "")))


def _by_table(
    tables: Sequence[Table], mark: Mark, recent: Mapping[int, _Recent], own: Own, certain: bool
) -> tuple[dict[str, Wrote], int]:
    """The tables that were written to, and how many rows are our own. ``recent``: as :func:`_recent` gives it."""
    found: dict[str, Wrote] = {}
    apart = 0
    for table in tables:
        key = table.qualified
        before = mark.tables.get(key)
        if before is not None and before.oid != table.oid:
            before = None
        seen = recent.get(table.oid)
        rows, mine = (seen.rows, seen.mine) if seen else (0, 0)
        # A login overwrites the row of the last one.
        ours = max(mine, sum(wrote.get(key, 0) for wrote in own.writes.values()))
        if mine and table.writes - (before.writes if before else 0) > rows + ours:
            rows, mine = rows + mine, 0
        apart += mine
        deleted = table.deleted - (before.deleted if before else 0) if certain else None
        # TRUNCATE or a rewrite: the old rows are not in the counters
        emptied = before is not None and before.file != table.file
        if rows or deleted or emptied:
            found[key] = Wrote(rows, deleted, emptied)
    return found, apart


def _gone(tables: Sequence[Table], mark: Mark, skip: set[str]) -> dict[str, Wrote]:
    """The tables of the mark that are not there any more."""
    there = {table.qualified for table in tables}
    return {
        key: Wrote(0, None, emptied=True)
        for key, before in mark.tables.items()
        if before.schema not in skip and key not in there
    }


def _besides(
    session: Session, mark: Mark, own: Own, skip: set[str], certain: bool, open_now: int
) -> tuple[tuple[Change, ...], int]:
    if mark.sequences is None or mark.large_objects is None:
        return (Change("sequences and large objects, of which an earlier version of pap-deploy noted nothing"),), 0
    now = other_losses.positions(session)
    changes, mine = other_losses.moved(mark.sequences, now, own=own.numbers, ignore_schemas=tuple(skip))
    before = mark.large_objects
    large = other_losses.large_objects(session, before, newer(mark), certain=certain, others=open_now, most=LOOK_BYTES)
    return (*large, *changes), mine


def smallest(session: Session, tables: Sequence[S], limit_bytes: Optional[int] = None) -> list[S]:
    """Of ``tables`` the smallest unlocked ones, until their bytes together are what may be read."""
    if not tables:
        return []
    by_oid = {table.oid: table for table in tables}
    chosen: list[S] = []
    left = LOOK_BYTES if limit_bytes is None else limit_bytes
    for size in session.records(_Size, _SIZES.format(oids=", ".join(map(str, by_oid)))):
        left -= size.bytes or 0
        if left < 0:
            break
        chosen.append(by_oid[size.oid])
    return chosen


def _open(others: int, unread: int) -> str:
    sessions = "a session is" if others == 1 else f"{others:,} sessions are"
    late = "their last deletions" if others > 1 else "its last deletions"
    tables = f", and what went into {plural(unread, 'large or locked table')}," if unread else ""
    return f"{sessions} open, {late}{tables} may not show yet; counted again under the fence"


def _untouched(table: Table, mark: Mark) -> bool:
    return table == mark.tables.get(table.qualified)


def _recent(session: Session, tables: Sequence[Table], mark: Mark, own: Sequence[str]) -> dict[int, _Recent]:
    """By table (OID) the row versions newer than ``mark``: of others, and of the transactions ``own``."""
    mine = f"t.xmin::text IN ({', '.join(map(quote_literal, own))})" if own else "false"
    queries = [
        table_reader.query(
            table,
            f"SELECT {table.oid} AS oid, count(*) FILTER (WHERE NOT {mine}) AS rows,"
            f" count(*) FILTER (WHERE {mine}) AS mine",
            f"WHERE {newer(mark)}",
        )
        for table in tables
    ]
    return {row.oid: row for row in table_reader.records(session, _Recent, queries)}
