"""Whether a view, a domain or an exclusion constraint in the catalog is as the SQL of a migration makes it.

The server makes it again under a temporary name, prints both, and the new one is gone at once: both are its words.
What it cannot make any more (a table has changed since) or may not make there tells nothing.
"""

from __future__ import annotations

from ..sql.quoting import quote_text
from .catalog_comparison import Query

_AGAIN = """DO $pap_deploy$
DECLARE told text := 'nothing';
BEGIN
  BEGIN
    {make}
    told := CASE WHEN {same} THEN 'same' ELSE 'other' END;
    RAISE EXCEPTION 'it goes';
  EXCEPTION WHEN OTHERS THEN NULL;
  END;
  PERFORM set_config('papdeploy.made_again', told, false);
END $pap_deploy$"""
_SAME_VIEW = """pg_get_viewdef('pg_temp.pap_deploy_view'::regclass) = pg_get_viewdef(to_regclass({name}))
AND NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = 'pg_temp.pap_deploy_view'::regclass AND a.attnum > 0
  AND NOT EXISTS (SELECT FROM pg_attribute AS b
    WHERE b.attrelid = to_regclass({name}) AND b.attnum = a.attnum AND b.attname = a.attname))"""
_DOMAIN = """(SELECT (t.typbasetype, t.typtypmod, t.typnotnull, t.typcollation, pg_get_expr(t.typdefaultbin, 0),
  ARRAY(SELECT pg_get_constraintdef(k.oid) FROM pg_constraint AS k WHERE k.contypid = t.oid AND k.contype = 'c'
        ORDER BY 1))::text FROM pg_type AS t WHERE t.oid = to_regtype({name}))"""
_BASE = "SELECT format_type(typbasetype, typtypmod) FROM pg_type WHERE typtype = 'd' AND oid = to_regtype(%s)"
_IN_DOMAIN = {
    "default": "ARRAY(SELECT coalesce(pg_get_expr(typdefaultbin, 0), '') FROM pg_type WHERE oid = to_regtype({name}))",
    "checks": "ARRAY(SELECT replace(pg_get_constraintdef(oid), ' NOT VALID', '') FROM pg_constraint"
    " WHERE contypid = to_regtype({name}) AND contype = 'c')",
}
_EXCLUSIONS = """(SELECT pg_get_constraintdef(k.oid) FROM pg_constraint AS k
  WHERE k.conrelid = to_regclass({name}) AND k.contype = 'x')"""


def _is_other(query: Query, statements: list[str], same: str) -> bool:
    make = "\n".join(f"EXECUTE {quote_text(statement)};" for statement in statements)
    query(_AGAIN.format(make=make, same=same).replace("%", "%%"), ())
    return str(query("SELECT current_setting('papdeploy.made_again')", ())[0][0]) == "other"


def same_view(query: Query, name: str, columns: str, wanted: str) -> bool:
    """Whether the query of the view ``name`` is ``wanted``. ``columns``: names in parentheses, or nothing."""
    make = [f"CREATE TEMPORARY VIEW pap_deploy_view {columns} AS {wanted}"]
    return not _is_other(query, make, _SAME_VIEW.format(name=quote_text(name)))


def same_domain(query: Query, name: str, wanted: str) -> bool:
    """Whether the domain ``name`` has the type, default and checks of ``wanted``, which stands behind its name."""
    again, there = (_DOMAIN.format(name=quote_text(one)) for one in ("pg_temp.pap_deploy_domain", name))
    return not _is_other(query, [f"CREATE DOMAIN pg_temp.pap_deploy_domain {wanted}"], f"{again} = {there}")


def same_in_domain(query: Query, name: str, change: str, what: str) -> bool:
    """Whether the domain ``name`` is there with what ``change`` gives it: its ``default`` or one of its ``checks``."""
    base = query(_BASE, (name,))
    if not base:
        return False
    domain = "DOMAIN pg_temp.pap_deploy_domain"
    make = [f"CREATE {domain} AS {base[0][0]}", f"ALTER {domain} {change}"]
    again, there = (_IN_DOMAIN[what].format(name=quote_text(one)) for one in ("pg_temp.pap_deploy_domain", name))
    return not _is_other(query, make, f"{again} <@ {there}")


def has_exclusion(query: Query, table: str, wanted: str) -> bool:
    """Whether the table has the exclusion constraint ``wanted``, whatever its name."""
    again, there = (_EXCLUSIONS.format(name=quote_text(one)) for one in ("pg_temp.pap_deploy_table", table))
    make = [
        f"CREATE TEMPORARY TABLE pap_deploy_table (LIKE {table})",
        f"ALTER TABLE pg_temp.pap_deploy_table ADD {wanted}",
    ]
    return not _is_other(query, make, f"{again} IN {there}")
