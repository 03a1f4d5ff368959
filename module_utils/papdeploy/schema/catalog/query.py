"""The one query that describes a database: every section of pg_catalog that matters, as rows of (section, JSON array).

A section is a table of field names and SQL expressions, so that what the server sends and what Python reads cannot
drift apart. Version differences (PostgreSQL 14 to 19) are spelled out where they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...sql.quoting import text_array
from .query_dependencies import repair_sections
from .query_objects import elsewhere_section, object_sections, other_sections
from .query_parts import Section, of_extension
from .query_tables import table_sections

LEDGER_SCHEMA = "pap_deploy"


def sections(version: int, elsewhere: Sequence[str] = (), *, dependencies: bool = False) -> list[Section]:
    """The sections for a server of ``version`` (server_version_num, such as 160004).

    ``elsewhere`` are relation names to look for outside the described schemas (moved, or now a partition).
    ``dependencies``: also what only a repair asks: dependencies between objects, rights of single roles, partitions.
    """
    found = [*object_sections(version), *table_sections(version), *other_sections(version)]
    found += repair_sections(version) if dependencies else []
    return [*found, elsewhere_section(elsewhere)] if elsewhere else found


def describe_query(
    version: int, schemas: Sequence[str] | None = None, elsewhere: Sequence[str] = (), *, dependencies: bool = False
) -> str:
    """The query. ``schemas``: only these and those of the search path; None means every schema but the system's."""
    scope = ""
    if schemas is not None:
        path = "(SELECT json_array_elements_text(current_setting('papdeploy.path')::json))"
        scope = f" AND (n.nspname = ANY ({text_array(schemas)}) OR n.nspname IN {path})"
    names = (
        "SELECT n.oid, n.nspname, n.nspowner, n.nspacl FROM pg_namespace n WHERE n.nspname !~ '^pg_' "
        f"AND n.nspname NOT IN ('information_schema', '{LEDGER_SCHEMA}'){scope}"
    )
    relations = (
        "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relowner, c.relacl, c.reloptions, c.relam, "
        "c.reltablespace, c.relreplident, c.relrowsecurity, c.relforcerowsecurity, c.relispopulated, c.reloftype, "
        "c.relnamespace, c.reltoastrelid FROM pg_class c JOIN ns n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND c.relpersistence <> 't' "
        f"AND NOT {of_extension('pg_class', 'c.oid')}"
    )
    extension_members = (
        "SELECT classid, objid FROM pg_depend WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass"
    )
    parts = " UNION ALL ".join(section.select() for section in sections(version, elsewhere, dependencies=dependencies))
    return (
        f"WITH ns AS MATERIALIZED ({names}), ext AS MATERIALIZED ({extension_members}), "
        f"rel AS MATERIALIZED ({relations}) {parts}"
    )
