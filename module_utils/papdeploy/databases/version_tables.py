"""The tables in which Alembic keeps its versions, known by their form: one column, ``version_num``, under any name.

A copy without their rows would take every revision for pending again.
"""

from __future__ import annotations

from ..sql.quoting import quote_exact
from .psql import Database


def is_one(oid: str) -> str:
    """SQL: whether the relation ``oid`` has the form of a version table."""
    return f"""EXISTS (SELECT 1 FROM pg_attribute AS v WHERE v.attrelid = {oid} AND v.attnum > 0 AND NOT v.attisdropped
           HAVING count(*) = 1 AND bool_and(v.attname = 'version_num' AND v.atttypid IN (25, 1043)))"""


_FOUND = f"""
SELECT json_agg(json_build_array(n.nspname, c.relname) ORDER BY n.nspname, c.relname)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_' AND {is_one("c.oid")}"""


def patterns(database: Database) -> list[str]:
    """Those of ``database``, as ``pg_dump --table`` takes them."""
    found = database.scalar(_FOUND) or []
    return [quote_exact(str(schema), str(name)) for schema, name in found]
