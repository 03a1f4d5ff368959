"""Rows of extensions' tables that no dump holds: changes made there by hand come back as the extension makes them.

pg_dump leaves out the rows of a member of an extension, unless the extension names the table as its configuration, and
then those that its condition leaves out (PostgreSQL documentation, Extension Configuration Tables).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..psql import Session
from ..table_reader import Reader
from . import queries
from .content import TableDigest, TableDigests
from .queries import DataTable, RowsDigest
from .tables import COLUMNS

_MEMBERS = f"""
SELECT n.nspname AS schema, c.relname AS name, x.extname AS extension, {COLUMNS} AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_depend e ON e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.objsubid = 0 AND e.deptype = 'e'
 AND e.refclassid = 'pg_extension'::regclass
JOIN pg_extension x ON x.oid = e.refobjid
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {queries.user_schema()}
  AND has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AND NOT row_security_active(c.oid)
  AND coalesce((SELECT k.condition FROM unnest(x.extconfig, x.extcondition) AS k(relation, condition)
                 WHERE k.relation = c.oid), '-') <> ''
ORDER BY 1, 2"""


@dataclass(frozen=True)
class _Member(DataTable):
    """A table that belongs to an extension."""

    extension: str = ""


def rows_left_out(session: Session, reader: Reader, counted: TableDigests) -> dict[str, str]:
    """A note for each table of an extension with rows that a dump leaves out: how many, and their hash. ``counted`` has
    those that it holds."""
    notes: dict[str, str] = {}
    tables = session.records(_Member, _MEMBERS)
    found = {(row.schema, row.name): row for row in reader.records(RowsDigest, queries.rows_queries(tables))}
    for table in tables:
        whole = found[table.schema, table.name]
        dumped = counted.get(table.schema, {}).get(table.name, TableDigest(0, "0"))
        rows = whole.rows - dumped.rows
        if rows:
            name = f"rows that no dump holds (extension {table.extension}, {table.schema}.{table.name})"
            notes[name] = f"{rows:,} (hash {int(whole.hash) - int(dumped.hash)})"
    return notes
