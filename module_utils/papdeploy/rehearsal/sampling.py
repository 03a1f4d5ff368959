"""A copy with a part of the rows: small tables whole, the ends of large ones, and all that those refer to.

The last rows are those written last (in the order of the pages): among them the user who has just logged in. Foreign
keys hold in the copy, so migrations meet the shape of real data; what only the rows left out would show (a duplicate, a
NULL, the time that a scan takes) stays unknown.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Optional

from ..databases import content_digest, table_reader
from ..databases.content_digest import queries
from ..databases.psql import Database, Session, bind
from ..databases.table_reader import Reader
from ..sql import version_tables
from ..sql.quoting import quote_ident, quote_literal

_TABLES = f"""
SELECT c.oid::int8 AS oid, n.nspname AS schema, c.relname AS name,
       pg_relation_size(c.oid) / current_setting('block_size')::int8 AS pages,
       CASE WHEN c.relpages > 0 THEN greatest(c.reltuples / c.relpages, 1) ELSE 10 END AS density,
       (SELECT coalesce(json_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_attribute a WHERE a.attrelid = c.oid
          AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
       CASE WHEN NOT r.rolsuper THEN r.rolname::text END AS owner
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> 'pap_deploy' AND {queries.user_schema()}
  AND {queries.no_member("pg_class", "c.oid")} AND NOT {version_tables.is_one("c.oid")}
ORDER BY 2, 3"""


@dataclass(frozen=True)
class _Table:
    """A table of which rows are copied. ``owner``: whose login reads it; None: a superuser's."""

    oid: int
    schema: str
    name: str
    pages: int
    density: float
    columns: tuple[str, ...]
    owner: Optional[str]

    def __str__(self) -> str:
        return f"{quote_ident(self.schema)}.{quote_ident(self.name)}"


@dataclass(frozen=True)
class _Reference:
    """A foreign key."""

    child: int
    parent: int
    child_columns: tuple[str, ...]
    parent_columns: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    id: str


@dataclass(frozen=True)
class _Values:
    found: str


_REFERENCES = """
SELECT k.conrelid::int8 AS child, k.confrelid::int8 AS parent,
       (SELECT json_agg(a.attname ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY AS u(num, n)
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num) AS child_columns,
       (SELECT json_agg(a.attname ORDER BY u.n) FROM unnest(k.confkey) WITH ORDINALITY AS u(num, n)
          JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num) AS parent_columns
FROM pg_constraint k WHERE k.contype = 'f'"""

_SETVAL = """
SELECT setval(c.oid::regclass, %s, %s) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s"""

Stream = Callable[[Database, Database, list[str]], None]


def copy_sample(live: Database, copy: Database, rows: int, stream: Stream) -> int:
    """Fill the empty ``copy`` with the first and last ``rows`` rows of each table of ``live``, and what they refer to,
    all of one snapshot. Returns the number of rows copied.

    Raises CommandFailed if a table cannot be read or its rows do not fit the copy.
    """
    stream(live, copy, ["--section=pre-data"])
    total = 0
    # What reads rows and what checks them may call functions of the application.
    with live.session() as source, _Writers(copy) as into, copy.session() as admin:
        source.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        tables = source.records(_Table, _TABLES)
        reader = Reader(source)
        picked = {table.oid: _pick(reader, table, int(rows)) for table in tables}
        _follow(reader, source.records(_Reference, _REFERENCES), {table.oid: table for table in tables}, picked)
        for table in tables:
            total += _carry(reader, into, table, picked[table.oid])
        for schema, names in content_digest.read_sequences(source, ("pap_deploy",), reader).items():
            for name, position in names.items():
                admin.execute(bind(_SETVAL, *position.order, schema, name))
        into.commit()
        source.execute("COMMIT")
    stream(live, copy, ["--section=post-data"])
    return total


class _Writers(contextlib.ExitStack):
    """Sessions in the copy, one an owner of tables, whose transactions end together."""

    def __init__(self, copy: Database) -> None:
        super().__init__()
        self._copy = copy
        self._sessions: dict[Optional[str], Session] = {}

    def of(self, owner: Optional[str]) -> Session:
        if owner not in self._sessions:
            database = self._copy if owner is None else self._copy.confined(owner=owner)
            self._sessions[owner] = self.enter_context(database.session())
            self._sessions[owner].execute("BEGIN")
        return self._sessions[owner]

    def commit(self) -> None:
        for session in self._sessions.values():
            session.execute("COMMIT")


def _among(ids: Iterable[str]) -> str:
    return f"t.ctid = ANY ({quote_literal('{' + ','.join(json.dumps(one) for one in sorted(ids)) + '}')}::tid[])"


def _pick(reader: Reader, table: _Table, rows: int) -> set[str]:
    """The places of the first rows, and of the last ones where there are more."""

    def found(condition: str) -> set[str]:
        asked = table_reader.query(table, "SELECT t.ctid::text AS id", condition)
        return {row.id for row in reader.records(_Row, [asked])}

    first = found(f"LIMIT {rows}")
    if len(first) < rows:
        return first
    tail = max(0, table.pages - math.ceil(rows / table.density) - 2)
    return first | found(f"WHERE t.ctid >= '({tail},0)'::tid ORDER BY t.ctid DESC LIMIT {rows}")


def _follow(
    reader: Reader,
    references: Sequence[_Reference],
    tables: Mapping[int, _Table],
    picked: Mapping[int, set[str]],
) -> None:
    """Add the rows that picked rows refer to, until nothing is missing; cycles end because nothing is picked twice. No
    query reads child and parent at once: they may belong to two owners."""
    known = [reference for reference in references if reference.child in tables and reference.parent in tables]
    fresh = {oid: set(ids) for oid, ids in picked.items()}
    while any(fresh.values()):
        later: dict[int, set[str]] = {}
        for reference in known:
            child, parent = reference.child, reference.parent
            if not fresh.get(child):
                continue
            values = _referred(reader, tables[child], reference.child_columns, fresh[child])
            new = _holding(reader, tables[parent], reference.parent_columns, values) - picked[parent]
            picked[parent].update(new)
            later.setdefault(parent, set()).update(new)
        fresh = later


def _referred(reader: Reader, child: _Table, columns: Sequence[str], ids: set[str]) -> list[list[str]]:
    """What those rows have in ``columns``, as text; without NULLs, which refer to nothing."""
    names = [f"t.{quote_ident(column)}" for column in columns]
    select = f"SELECT DISTINCT json_build_array({', '.join(f'{name}::text' for name in names)})::text AS found"
    condition = f"WHERE {_among(ids)} AND {' AND '.join(f'{name} IS NOT NULL' for name in names)}"
    return [json.loads(row.found) for row in reader.records(_Values, [table_reader.query(child, select, condition)])]


def _holding(reader: Reader, parent: _Table, columns: Sequence[str], values: list[list[str]]) -> set[str]:
    names = ", ".join(f"t.{quote_ident(column)}" for column in columns)
    found: set[str] = set()
    for start in range(0, len(values), 1000):
        listed = ", ".join(f"({', '.join(map(quote_literal, value))})" for value in values[start : start + 1000])
        condition = f"WHERE ({names}) IN ({listed})"
        rows = reader.records(_Row, [table_reader.query(parent, "SELECT t.ctid::text AS id", condition)])
        found.update(row.id for row in rows)
    return found


def _carry(reader: Reader, into: _Writers, table: _Table, ids: set[str]) -> int:
    """Copy the picked rows of one table in PostgreSQL's text format, where each row is one line."""
    columns = ", ".join(quote_ident(column) for column in table.columns)
    if not columns or not ids:
        return 0
    lines = reader.lines(table, f"COPY (SELECT {columns} FROM ONLY {table} AS t WHERE {_among(ids)}) TO STDOUT")
    if lines:
        body = "\n".join(lines)
        into.of(table.owner).execute(f"COPY {table} ({columns}) FROM STDIN;\n{body}\n\\.")
    return len(lines)
