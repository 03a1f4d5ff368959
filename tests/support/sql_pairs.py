"""Pairs of schemas in SQL (tests/corpus/schema/pairs.txt), each in a schema of its own so that one script repairs all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "corpus" / "schema" / "pairs.txt"
ROLES = ("reader", "writer", "owner_two", "odd ro.le%")

# What an object has beside its definition: comments, owners, rights of single roles, memberships in publications.
BESIDE = """
WITH rel AS (SELECT * FROM pg_class WHERE relnamespace::regnamespace::text LIKE 'case%'),
routine AS (SELECT * FROM pg_proc WHERE pronamespace::regnamespace::text LIKE 'case%'),
type AS (SELECT * FROM pg_type WHERE typnamespace::regnamespace::text LIKE 'case%' AND typtype IN ('e', 'd')),
acl AS (SELECT oid::regclass::text AS name, relowner AS owner, relacl AS acl FROM rel UNION ALL
        SELECT attrelid::regclass || '.' || attname, relowner, attacl FROM pg_attribute JOIN rel ON rel.oid = attrelid
        UNION ALL SELECT 'function ' || pronamespace::regnamespace || '.' || proname, proowner, proacl FROM routine
        UNION ALL SELECT 'type ' || oid::regtype, typowner, typacl FROM type)
SELECT 'rights of ' || grantee::regrole || ' on ' || name,
       string_agg(privilege_type || is_grantable, ', ' ORDER BY privilege_type)
  FROM acl, aclexplode(acl) WHERE grantee NOT IN (0, owner) GROUP BY name, grantee
UNION ALL SELECT 'owner of ' || name, owner::regrole::text FROM acl WHERE name NOT LIKE '%\\_%old%'
UNION ALL SELECT 'comment on ' || pg_describe_object(classoid, objoid, objsubid), description FROM pg_description
 WHERE pg_describe_object(classoid, objoid, objsubid) LIKE '%case%'
UNION ALL SELECT pubname || ' of ' || prrelid::regclass, pg_get_expr(prqual, prrelid)
  FROM pg_publication_rel JOIN pg_publication p ON p.oid = prpubid
"""
_OWNED = """DO $$ DECLARE r record; BEGIN
FOR r IN SELECT format('%s %s', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END,
    oid::regclass) AS name FROM pg_class WHERE relkind IN ('r', 'v', 'm', 'p') AND relnamespace::regnamespace::text LIKE 'case%'
  UNION ALL SELECT format('SEQUENCE %s', oid::regclass) FROM pg_class s WHERE relkind = 'S'
    AND relnamespace::regnamespace::text LIKE 'case%' AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = s.oid AND deptype IN ('a', 'i'))
  UNION ALL SELECT format('ROUTINE %s', oid::regprocedure) FROM pg_proc WHERE pronamespace::regnamespace::text LIKE 'case%'
  UNION ALL SELECT format('TYPE %s', t.oid::regtype) FROM pg_type t LEFT JOIN pg_class c ON c.oid = typrelid
    WHERE typnamespace::regnamespace::text LIKE 'case%' AND (typtype IN ('e', 'd') OR c.relkind = 'c')
LOOP EXECUTE format('ALTER %s OWNER TO owner_two', r.name); END LOOP; END $$;"""


@dataclass(frozen=True)
class SqlPair:
    """``told``: its script may leave something to a person, and says so."""

    name: str
    schema: str
    database: str
    models: str
    told: bool


def sql_pairs() -> list[SqlPair]:
    found = []
    for number, chunk in enumerate(re.split(r"^=== ", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]):
        name, _, body = chunk.partition("\n")
        both, database, models = re.split(r"^--- (?:database|models)\n", body, flags=re.MULTILINE)
        schema = f"case{number}"
        head = f"CREATE SCHEMA {schema}; SET search_path = {schema}, public;\n{both}"
        found.append(SqlPair(name, schema, head + database, head + models, name.endswith("(told)")))
    return found


def database_sql(pairs: list[SqlPair]) -> str:
    """All databases of ``pairs`` in one, which belong to another role than the one that repairs."""
    return "\n".join(pair.database for pair in pairs) + "\nRESET search_path;\n" + _OWNED


def models_sql(pairs: list[SqlPair]) -> str:
    return "\n".join(pair.models for pair in pairs) + "\nRESET search_path;\n"


def roles_sql() -> str:
    made = (f'BEGIN CREATE ROLE "{role}"; EXCEPTION WHEN duplicate_object THEN NULL; END;' for role in ROLES)
    return f"DO $$ BEGIN {' '.join(made)} END $$"
