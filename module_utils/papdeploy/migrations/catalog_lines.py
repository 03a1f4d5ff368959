"""A plain description of the catalog, one line per thing: enough to see that something changed, and what.

Not the schema check: that one compares with models. This one only compares a database with itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .run.session import Session

_OURS = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pap_deploy') AND n.nspname !~ '^pg_(toast|temp)'"
_DESCRIBE = f"""
SELECT CASE c.relkind WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view'
       WHEN 'm' THEN 'materialized view' WHEN 'c' THEN 'type' ELSE 'table' END
       || ' ' || n.nspname || '.' || c.relname,
       concat_ws(' ', c.relkind, c.relpersistence, pg_get_userbyid(c.relowner), c.reloptions::text, c.relacl::text,
                 c.relrowsecurity, c.relforcerowsecurity, c.relreplident,
                 CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid)
                      WHEN c.relkind IN ('i', 'I') THEN pg_get_indexdef(c.oid) END,
                 (SELECT i.indisvalid FROM pg_index AS i WHERE i.indexrelid = c.oid),
                 (SELECT (s.seqtypid, s.seqstart, s.seqincrement, s.seqmax, s.seqmin, s.seqcycle)::text
                  FROM pg_sequence AS s WHERE s.seqrelid = c.oid))
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE {_OURS}
UNION ALL
SELECT 'column ' || n.nspname || '.' || c.relname || '.' || a.attname,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attcollation,
                 a.attstorage, a.attacl::text, pg_get_expr(d.adbin, d.adrelid))
FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND {_OURS}
UNION ALL
SELECT 'constraint ' || n.nspname || '.' || coalesce(c.relname || '.', '') || k.conname,
       concat_ws(' ', pg_get_constraintdef(k.oid), k.convalidated, k.condeferrable, k.condeferred)
FROM pg_constraint AS k JOIN pg_namespace AS n ON n.oid = k.connamespace LEFT JOIN pg_class AS c ON c.oid = k.conrelid
WHERE {_OURS}
UNION ALL
SELECT 'enum label ' || n.nspname || '.' || t.typname || '.' || e.enumlabel, e.enumsortorder::text
FROM pg_enum AS e JOIN pg_type AS t ON t.oid = e.enumtypid JOIN pg_namespace AS n ON n.oid = t.typnamespace
WHERE {_OURS}
UNION ALL
SELECT 'type ' || n.nspname || '.' || t.typname, concat_ws(' ', t.typtype, format_type(t.typbasetype, t.typtypmod),
       t.typnotnull, t.typdefault)
FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace WHERE t.typtype IN ('d', 'e', 'r') AND {_OURS}
UNION ALL
SELECT 'function ' || n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
       concat_ws(' ', md5(p.prosrc), p.proconfig::text, p.proacl::text, p.provolatile, p.prosecdef)
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE {_OURS}
UNION ALL
SELECT 'trigger ' || n.nspname || '.' || c.relname || '.' || t.tgname,
       concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled)
FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND {_OURS}
UNION ALL
SELECT 'policy ' || n.nspname || '.' || c.relname || '.' || p.polname,
       concat_ws(' ', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
                 pg_get_expr(p.polwithcheck, p.polrelid))
FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE {_OURS}
UNION ALL
SELECT 'rule ' || n.nspname || '.' || c.relname || '.' || r.rulename, pg_get_ruledef(r.oid)
FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND {_OURS}
UNION ALL
SELECT 'comment ' || pg_describe_object(d.classoid, d.objoid, d.objsubid), md5(d.description)
FROM pg_description AS d
WHERE d.classoid = 'pg_class'::regclass
  AND d.objoid IN (SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE {_OURS})
UNION ALL
SELECT 'extension ' || e.extname, e.extversion FROM pg_extension AS e
UNION ALL
SELECT 'schema ' || n.nspname, n.nspacl::text FROM pg_namespace AS n WHERE {_OURS}
"""


def describe(session: Session) -> dict[str, str]:
    """The things of the database by name, each with a text that changes when the thing does."""
    return {str(name): str(text) for name, text in session.query(_DESCRIBE)}


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What was added, removed or altered, as phrases such as ``column public.users.plan added``."""
    found = [f"{name} removed" for name in before if name not in after]
    found += [f"{name} added" for name in after if name not in before]
    found += [f"{name} altered" for name in before if name in after and before[name] != after[name]]
    return sorted(found)
