"""Reading a content digest: rows by table in groups that give their locks back, the catalog in one pass."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from .. import table_reader
from ..psql import Database, Session, bind
from . import extensions, known_differences, not_dumped, queries
from .catalog_queries import catalog_queries
from .content import ContentDigest, LargeObjectsDigest, Nested, Position, Positions, TableDigest, TableDigests
from .queries import DataTable, RowsDigest
from .rare_objects import rare_queries
from .tables import TABLES


@dataclass(frozen=True)
class _Object:
    kind: str
    schema: str
    name: Optional[str]
    definition: Mapping[str, Any]


@dataclass(frozen=True)
class _Note:
    name: str
    value: Optional[str]


@dataclass(frozen=True)
class _Sequence:
    schema: str
    name: str


@dataclass(frozen=True)
class _At:
    schema: str
    name: str
    last_value: str
    is_called: bool


def take(
    database: Database,
    *,
    snapshot: Optional[str] = None,
    session: Optional[Session] = None,
    ignore_schemas: Sequence[str] = (),
    lock_timeout_s: float = 30.0,
    rows: bool = True,
    sequences: Optional[Positions] = None,
    itself: bool = False,
) -> ContentDigest:
    """The content digest of ``database`` as of one snapshot: an exported one (``snapshot``), that of a ``session``
    which is inside a REPEATABLE READ transaction, or a new one. ``itself``: that session reads the rows as well, and
    finds what it has not committed.

    ``ignore_schemas`` are left out whole; ``rows=False`` reads the catalog and counts nothing (a schema-only proof).
    ``sequences``: their positions, where they were read before (no snapshot holds them).
    Raises CommandFailed where a table cannot be read (row security, privileges): never a content digest of a part.
    """
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        session = session or stack.enter_context(snapshot_session(database, snapshot))
        shared = snapshot or ""
        if rows and not (itself or shared):
            shared = str(session.scalar("SELECT pg_export_snapshot() AS id"))
        session.execute(f"SET LOCAL lock_timeout = '{int(lock_timeout_s * 1000)}ms'")
        reader = table_reader.Reader(session, shared, lock_timeout_s, itself=itself)
        return _read(session, reader, set(ignore_schemas), rows, sequences, started)


def _read(
    session: Session,
    reader: table_reader.Reader,
    skip: set[str],
    rows: bool,
    sequences: Optional[Positions],
    started: float,
) -> ContentDigest:
    found = session.records(DataTable, TABLES) if rows else []
    tables = [table for table in found if table.schema not in skip]
    counted = _counted(reader.records(RowsDigest, queries.rows_queries(tables)))
    if sequences is None:
        sequences = read_sequences(session, tuple(skip), reader) if rows else {}
    large = session.records(LargeObjectsDigest, queries.LARGE_OBJECTS)[0] if rows else LargeObjectsDigest()
    session.execute("SET LOCAL jit = off")  # compiling the catalog's queries takes longer than running them
    version = int(session.scalar("SELECT current_setting('server_version_num')::int AS version"))
    catalog: Nested = {}
    described = " UNION ALL ".join([*catalog_queries(version), *rare_queries(), *not_dumped.queries()])
    for entry in session.records(_Object, described):
        if entry.schema not in skip:
            catalog.setdefault(entry.schema, {})[f"{entry.kind} {entry.name}".strip()] = dict(entry.definition)
    notes = {note.name: note.value or "" for note in session.records(_Note, known_differences.NOTES)}
    if rows:
        notes.update(extensions.rows_left_out(session, reader, counted))
    return ContentDigest(counted, sequences, large, catalog, notes, time.monotonic() - started)


@contextlib.contextmanager
def snapshot_session(database: Database, snapshot: Optional[str] = None) -> Iterator[Session]:
    """A session inside a read-only REPEATABLE READ transaction, on an exported ``snapshot`` where one is given."""
    with database.session() as session:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        if snapshot is not None:
            session.execute(bind("SET TRANSACTION SNAPSHOT %s", snapshot))
        yield session


def read_sequences(
    session: Session, ignore_schemas: Sequence[str] = (), reader: Optional[table_reader.Reader] = None
) -> Positions:
    """The position of every sequence now (no snapshot holds sequences)."""
    found = [one for one in session.records(_Sequence, queries.SEQUENCES) if one.schema not in set(ignore_schemas)]
    result: dict[str, dict[str, Position]] = {}
    reader = reader or table_reader.Reader(session)
    for row in reader.records(_At, [queries.sequence_query(sequence) for sequence in found]):
        result.setdefault(row.schema, {})[row.name] = Position(row.last_value, row.is_called)
    return result


def _counted(rows: Iterable[RowsDigest]) -> TableDigests:
    """By table; partitions among which a restore may place rows otherwise are summed up at their root."""
    result: dict[str, dict[str, TableDigest]] = {}
    for row in rows:
        tables = result.setdefault(row.schema, {})
        before = tables.get(row.name, TableDigest(0, "0"))
        tables[row.name] = TableDigest(before.rows + row.rows, str(int(before.hash) + int(row.hash)))
    return result
