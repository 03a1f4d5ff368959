"""The queries behind ``digest``: one pass over a table, sequences, large objects, and what those of the catalog share.

Everything is identified by name, never by OID, so that a restored copy can be compared with the original. What a dump
does not carry (members of extensions, temporary objects, physical layout) is left out here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from ...sql.quoting import quote_ident, quote_literal
from ..psql import bind
from ..table_reader import Query, Relation

_USER_SCHEMA = (
    "{n}.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND {n}.nspname !~ '^pg_(toast_)?temp_'"
)


def user_schema(alias: str = "n") -> str:
    return _USER_SCHEMA.format(n=alias)


def no_member(catalog: str, oid: str) -> str:
    """A condition: the object is not a member of an extension (CREATE EXTENSION brings those back)."""
    return (
        f"NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '{catalog}'::regclass AND e.objid = {oid}"
        " AND e.objsubid = 0 AND e.deptype = 'e')"
    )


def unlocked(oid: str) -> str:
    """A condition: no session has locked the relation, or waits to lock it, against readers."""
    return (
        f"NOT EXISTS (SELECT FROM pg_locks l WHERE l.relation = {oid} AND l.mode = 'AccessExclusiveLock'"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
    )


SEQUENCES = f"""
SELECT n.nspname AS schema, c.relname AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND {user_schema()} AND {no_member("pg_class", "c.oid")}
ORDER BY 1, 2"""

# Large objects in slices of 1 MiB: holes read as zeros, as they do in a dump; also those above 1 GB.
LARGE_OBJECTS = """
WITH RECURSIVE slice(loid, start, bytes, hash) AS (
    SELECT m.oid, 0::int8, length(d.data), hashtextextended(encode(d.data, 'hex'), m.oid::int8)
    FROM pg_largeobject_metadata m CROSS JOIN LATERAL (SELECT lo_get(m.oid, 0, 1048576) AS data OFFSET 0) AS d
    UNION ALL
    SELECT s.loid, s.start + 1048576, length(d.data), hashtextextended(encode(d.data, 'hex'), s.loid::int8 + s.start)
    FROM slice s CROSS JOIN LATERAL (SELECT lo_get(s.loid, s.start + 1048576, 1048576) AS data OFFSET 0) AS d
    WHERE s.bytes = 1048576)
SELECT (SELECT count(*) FROM pg_largeobject_metadata) AS count, coalesce(sum(bytes), 0)::text AS bytes,
       coalesce(sum(hash), 0)::text AS hash,
       (SELECT coalesce(sum(hashtextextended(m.oid::text || ' ' || pg_get_userbyid(m.lomowner) || ' ' || coalesce((
            SELECT string_agg(concat_ws(' ', pg_get_userbyid(a.grantee), a.privilege_type, a.is_grantable), ',' ORDER BY
                   pg_get_userbyid(a.grantee), a.privilege_type) FROM aclexplode(m.lomacl) a), ''), 0)), 0)::text
          FROM pg_largeobject_metadata m) AS owners
FROM slice"""

# Types whose binary hash distinguishes exactly what their text distinguishes; all others are hashed as text. Not here:
# numeric (1.0 = 1.00), floats (0 = -0), interval (1 month = 30 days), char(n) (blanks), enums (hashed by OID), jsonb.
_FAST = {
    16: "hashint4extended(t.{c}::int4, {s})",  # boolean
    20: "hashint8extended(t.{c}, {s})",
    21: "hashint2extended(t.{c}, {s})",
    23: "hashint4extended(t.{c}, {s})",
    25: 'hashtextextended(t.{c} COLLATE "C", {s})',
    1043: 'hashtextextended(t.{c}::text COLLATE "C", {s})',  # varchar
    1114: "timestamp_hash_extended(t.{c}, {s})",
    1184: "timestamp_hash_extended(t.{c}::timestamp, {s})",  # TimeZone is UTC: nothing is lost
    2950: "uuid_hash_extended(t.{c}, {s})",
}


def _seed(name: str, salt: str) -> int:
    """A number for one column, by its name: the same values under two columns hash differently."""
    return int.from_bytes(hashlib.sha256(f"{salt}{name}".encode()).digest()[:7], "big")


@dataclass(frozen=True)
class DataTable:
    """A table whose rows are hashed. ``columns``: name and type (OID) of each, by name; ``condition``: which of its
    rows count; ``root``: under which name they do, where that is not its own."""

    schema: str
    name: str
    columns: tuple[tuple[str, int], ...]
    condition: Optional[str] = None
    root: Optional[tuple[str, str]] = None


@dataclass(frozen=True)
class RowsDigest:
    """The number of rows of a table, and the sum of their hashes."""

    schema: str
    name: str
    rows: int
    hash: str


def rows_query(table: DataTable) -> str:
    """Count and order-independent hash of one table. Columns go by name, not by position: a column that was dropped and
    added again is the same content."""
    parts: list[str] = []
    slow: list[str] = []
    for name, kind in table.columns:
        column = quote_ident(name)
        if kind in _FAST:
            value = _FAST[kind].format(c=column, s=_seed(name, "value "))
            parts.append(f"coalesce({value}, {_seed(name, 'null ')})")
        else:
            slow.append(column)
    if slow:
        values = ", ".join(f"t.{column}" for column in slow)
        names = _seed(",".join(slow), "slow ")
        parts.append(f'hashtextextended(ROW({values})::text COLLATE "C", {names})')
    value = " # ".join(parts) or "0"
    return (
        bind("SELECT %s AS schema, %s AS name,", *(table.root or (table.schema, table.name)))
        + f" count(*) AS rows, coalesce(sum({value}), 0)::text AS hash"
        + f" FROM ONLY {quote_ident(table.schema)}.{quote_ident(table.name)} AS t {table.condition or ''}"
    )


def rows_queries(tables: Sequence[DataTable]) -> list[Query]:
    """The same for each table, with the schema and name of the one that it reads."""
    return [(table.schema, table.name, rows_query(table)) for table in tables]


def sequence_query(sequence: Relation) -> Query:
    """Position of one sequence. It is read outside any snapshot: sequences are not transactional."""
    asked = (
        bind("SELECT %s AS schema, %s AS name,", sequence.schema, sequence.name)
        + " last_value::text AS last_value, is_called"
        + f" FROM {quote_ident(sequence.schema)}.{quote_ident(sequence.name)}"
    )
    return sequence.schema, sequence.name, asked


def acl_list(column: str, owner: str, kind: str, of: str = "true") -> str:
    """Privileges as a sorted list ``grantee=PRIVILEGE/grantor``; the built-in default is spelled out.
    ``of`` is a condition on its entries ``a``."""
    return (
        "(SELECT coalesce(jsonb_agg(x ORDER BY x COLLATE \"C\"), '[]')"
        " FROM (SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC'"
        " ELSE pg_get_userbyid(a.grantee) END || '=' || a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE ''"
        f" END || '/' || pg_get_userbyid(a.grantor) AS x FROM aclexplode(coalesce({column}, acldefault({kind},"
        f" {owner}))) AS a WHERE {of}) AS acl)"
    )


def row(kind: str, schema: str, key: str, attributes: Sequence[tuple[str, str]], source: str) -> str:
    pairs = ", ".join(f"{quote_literal(name)}, {value}" for name, value in attributes)
    return (
        f"SELECT {quote_literal(kind)}::text AS kind, {schema}::text AS schema, ({key})::text AS name,"
        f" jsonb_strip_nulls(jsonb_build_object({pairs})) AS definition {source}"
    )
