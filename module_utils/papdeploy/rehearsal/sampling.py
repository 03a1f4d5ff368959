"""A copy with a part of the rows: small tables whole, the ends of large ones, and all that those refer to.

The last rows are those written last (in the order of the pages): among them the user who has just logged in. Foreign
keys hold in the copy, so migrations meet the shape of real data; what only the rows left out would show (a duplicate, a
NULL, the time that a scan takes) stays unknown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Callable

from ..databases import content_digest
from ..databases.content_digest import queries
from ..databases.psql import Database, Session, bind
from ..sql.quoting import quote_ident

_TABLES = f"""
SELECT c.oid::int8 AS oid, n.nspname AS schema, c.relname AS name,
       pg_relation_size(c.oid) / current_setting('block_size')::int8 AS pages,
       CASE WHEN c.relpages > 0 THEN greatest(c.reltuples / c.relpages, 1) ELSE 10 END AS density,
       (SELECT coalesce(json_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_attribute a WHERE a.attrelid = c.oid
          AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
       (SELECT NOT pg_has_role(d.datdba, c.relowner, 'USAGE') FROM pg_database d WHERE d.datname = current_database())
         AS foreign
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> 'pap_deploy' AND {queries.user_schema()}
  AND {queries.no_member("pg_class", "c.oid")}
ORDER BY 2, 3"""

_REFERENCES = """
SELECT k.conrelid::int8 AS child, k.confrelid::int8 AS parent,
       (SELECT json_agg(a.attname ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY AS u(num, n)
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num) AS child_columns,
       (SELECT json_agg(a.attname ORDER BY u.n) FROM unnest(k.confkey) WITH ORDINALITY AS u(num, n)
          JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num) AS parent_columns
FROM pg_constraint k WHERE k.contype = 'f'"""

Stream = Callable[[Database, Database, list[str]], None]


def copy_sample(live: Database, copy: Database, rows: int, stream: Stream) -> int:
    """Fill the empty ``copy`` with the first and last ``rows`` rows of each table of ``live``, and what they refer to.

    The chosen rows are noted in temporary tables of one session, in one snapshot. Returns the number of rows copied.
    Raises CommandFailed if a table cannot be read or its rows do not fit the copy.
    """
    stream(live, copy, ["--section=pre-data"])
    total = 0
    # What reads rows and what checks them may call functions of the application.
    with live.confined().session() as source, copy.confined().session() as into, copy.session() as admin:
        source.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        tables = source.rows(_TABLES)
        for table in tables:
            _pick(source, table, int(rows))
        _follow(source, tables)
        into.execute("BEGIN")
        for table in tables:
            total += _carry(source, admin if table["foreign"] else into, table)
        for schema, names in content_digest.read_sequences(source, ("pap_deploy",)).items():
            for name, position in names.items():
                quoted = f"{quote_ident(schema)}.{quote_ident(name)}"
                last, called = int(position["last_value"]), bool(position["is_called"])
                admin.execute(bind("SELECT setval(%s::regclass, %s, %s)", quoted, last, called))
        into.execute("COMMIT")
        source.execute("ROLLBACK")  # and what an event trigger wrote for the temporary tables
    stream(live, copy, ["--section=post-data"])
    return total


def _name(table: dict[str, Any]) -> str:
    return f"{quote_ident(table['schema'])}.{quote_ident(table['name'])}"


def _picked(table: dict[str, Any]) -> str:
    return f"pg_temp.pap_picked_{int(table['oid'])}"


def _pick(source: Session, table: dict[str, Any], rows: int) -> None:
    """Note the first rows, and the last ones where there are more."""
    picked, name = _picked(table), _name(table)
    source.execute(f"CREATE TEMP TABLE {picked} ON COMMIT DROP AS SELECT ctid AS id FROM ONLY {name} LIMIT {rows}")
    if int(source.scalar(f"SELECT count(*) AS n FROM {picked}")) < rows:
        return
    tail = max(0, int(table["pages"]) - math.ceil(rows / float(table["density"])) - 2)
    source.execute(
        f"INSERT INTO {picked} SELECT id FROM (SELECT ctid AS id FROM ONLY {name} WHERE ctid >= '({tail},0)'::tid"
        f" ORDER BY ctid DESC LIMIT {rows}) AS last WHERE id NOT IN (SELECT id FROM {picked})"
    )


def _follow(source: Session, tables: Sequence[dict[str, Any]]) -> None:
    """Add the rows that picked rows refer to, until nothing is missing; cycles end because nothing is picked twice."""
    by_oid = {int(table["oid"]): table for table in tables}
    references = [r for r in source.rows(_REFERENCES) if int(r["child"]) in by_oid and int(r["parent"]) in by_oid]
    while references:
        added = 0
        for reference in references:
            child, parent = by_oid[int(reference["child"])], by_oid[int(reference["parent"])]
            joined = " AND ".join(
                f"c.{quote_ident(ours)} = p.{quote_ident(theirs)}"
                for ours, theirs in zip(reference["child_columns"], reference["parent_columns"])
            )
            found = source.execute(
                f"WITH more AS (INSERT INTO {_picked(parent)} SELECT p.ctid FROM ONLY {_name(parent)} AS p"
                f" WHERE p.ctid NOT IN (SELECT id FROM {_picked(parent)}) AND EXISTS (SELECT FROM ONLY {_name(child)}"
                f" AS c JOIN {_picked(child)} AS k ON k.id = c.ctid WHERE {joined}) RETURNING 1)"
                " SELECT count(*) FROM more"
            )
            added += int(found[0])
        if not added:
            return


def _carry(source: Session, into: Session, table: dict[str, Any]) -> int:
    """Copy the picked rows of one table in PostgreSQL's text format, where each row is one line."""
    columns = ", ".join(quote_ident(column) for column in table["columns"])
    if not columns:
        return 0
    lines = source.execute(
        f"COPY (SELECT {columns} FROM ONLY {_name(table)} WHERE ctid IN (SELECT id FROM {_picked(table)})) TO STDOUT"
    )
    if lines:
        body = "\n".join(lines)
        into.execute(f"COPY {_name(table)} ({columns}) FROM STDIN;\n{body}\n\\.")
    return len(lines)
