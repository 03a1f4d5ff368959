"""Which transactions are certainly those of our own smoke test: a rollback must not take them for a user's work.

The rehearsal runs the same smoke test where nothing else writes, and remembers of each transaction how many row
versions it left in which table. After the deploy's smoke test the live database is asked for the transactions of that
moment. Only if they are the rehearsed ones, one by one and none besides, are they ours. Else none is, and the rows
count as a loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import table_reader, write_snapshot
from .psql import Database, Session
from .write_snapshot import Mark, Snapshot, Table

# Seconds for reading the row headers of the tables that a login writes to: an answer that takes longer is not worth it.
_PATIENCE_S = 10

Rows = dict[str, int]


@dataclass(frozen=True)
class _Wrote:
    """What a transaction left in a table (``number``); ``place``: how old it is among the others."""

    number: int
    xid: str
    place: int
    rows: int


def rehearsed(copy: Database, mark: Mark, *, ignore_schemas: Sequence[str] = ()) -> list[Rows]:
    """What each transaction since ``mark`` left in ``copy``: rows by "schema.table", oldest first. Call it when the API
    on trial has ended, and with it its sessions."""
    written = write_snapshot.written_since(copy, mark, ignore_schemas=ignore_schemas)
    with copy.session() as session:
        return [rows for _, rows in _transactions(session, mark, list(written.tables))]


def certainly(database: Database, mark: Snapshot, expected: Sequence[Mapping[str, int]]) -> dict[str, Rows]:
    """The transactions since ``mark`` (by id) if they did exactly what ``expected`` says, in that order; else none.

    Raises CommandFailed if reading the tables takes too long.
    """
    if not expected:
        return {}
    names = sorted({name for rows in expected for name in rows})
    with database.session({"statement_timeout": f"{_PATIENCE_S}s"}) as session:
        found = _transactions(session, mark, names)
    return dict(found) if [rows for _, rows in found] == list(expected) else {}


def _transactions(session: Session, mark: Snapshot, names: Sequence[str]) -> list[tuple[str, Rows]]:
    """The transactions since ``mark`` that left row versions in the tables ``names``, oldest first."""
    tables = [table for table in session.records(Table, write_snapshot.TABLES) if table.qualified in names]
    if not tables:
        return []
    queries = [
        table_reader.query(
            table,
            f"SELECT {number} AS number, t.xmin::text AS xid, min(-age(t.xmin)) AS place, count(*) AS rows",
            f"WHERE {write_snapshot.newer(mark)} GROUP BY t.xmin::text",
        )
        for number, table in enumerate(tables)
    ]
    found: dict[str, Rows] = {}
    rows = table_reader.records(session, _Wrote, queries)
    for row in sorted(rows, key=lambda row: (row.place, row.number)):
        found.setdefault(row.xid, {})[tables[row.number].qualified] = row.rows
    return list(found.items())
