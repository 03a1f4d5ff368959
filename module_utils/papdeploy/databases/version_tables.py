"""The tables of a database in which Alembic keeps its versions.

A copy without their rows would take every revision for pending again.
"""

from __future__ import annotations

from ..sql.quoting import quote_exact
from ..sql.version_tables import is_one
from .psql import Database

_FOUND = f"""
SELECT json_agg(json_build_array(n.nspname, c.relname) ORDER BY n.nspname, c.relname)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_' AND {is_one("c.oid")}"""


def patterns(database: Database) -> list[str]:
    """Those of ``database``, as ``pg_dump --table`` takes them."""
    found = database.scalar(_FOUND) or []
    return [quote_exact(str(schema), str(name)) for schema, name in found]
