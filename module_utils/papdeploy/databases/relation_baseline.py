"""What is noted of a database to hold it against later: every relation (OID, file node, columns, counters, rows)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ..sql.quoting import quote_ident
from . import table_reader, write_snapshot
from .content_digest import queries
from .content_digest.queries import DataTable, no_member, user_schema
from .psql import Session
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
FILE = "data.json"  # in the folder of a release


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
    relations = relations_of(session, ignore_schemas)
    tables = [entry for entry in relations.values() if entry.kind == "r"]
    chosen = tables if limit_bytes is None else write_snapshot.smallest(session, tables, limit_bytes)
    counts = row_counts(session, chosen, at)
    hashed = write_snapshot.smallest(session, chosen, digest_bytes) if digest_bytes else []
    digests = row_digests(session, hashed)
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


def relations_of(session: Session, ignore_schemas: Sequence[str]) -> Relations:
    found = session.records(Relation, _RELATIONS)
    return {entry.qualified: entry for entry in found if entry.schema not in set(ignore_schemas)}


def row_counts(session: Session, tables: Sequence[Relation], baseline: Snapshot) -> dict[int, tuple[int, int]]:
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


def row_digests(session: Session, tables: Sequence[Relation]) -> dict[int, str]:
    """By table (OID) the order-independent hash of its content."""
    asked = queries.rows_queries([table.content for table in tables])
    hashes = {(row.schema, row.name): row.hash for row in table_reader.records(session, queries.RowsDigest, asked)}
    return {table.oid: hashes[table.schema, table.name] for table in tables}


def any_left(session: Session, tables: Sequence[Relation], baseline: Snapshot) -> dict[int, bool]:
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
