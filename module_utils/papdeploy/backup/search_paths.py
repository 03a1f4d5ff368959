"""Functions that work only by a search path: a dump with them cannot be restored.

pg_restore, and since PostgreSQL 17 every maintenance command, runs with a search path of pg_catalog alone. A function
in an index, a check, a generated column or a materialized view that names a table or function without its schema fails
there (PostgreSQL's release notes of 17 and of CVE-2018-1058). ``ALTER FUNCTION … SET search_path`` mends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from ..core.errors import CommandFailed, Refused
from ..core.text import plural
from ..databases import table_reader
from ..databases.content_digest.queries import no_member, user_schema
from ..databases.psql import Database, Session
from ..sql.quoting import quote_ident

# What a restore runs while it builds the object. Rules of views count where a materialized view reads through them.
_USED = f"""
WITH RECURSIVE run(classid, objid, what, rows_of) AS (
    SELECT 'pg_class'::regclass::oid, i.indexrelid, 'index ' || i.indexrelid::regclass::text, NULL::regclass
    FROM pg_index i
    UNION ALL
    SELECT 'pg_constraint'::regclass, k.oid, 'check ' || k.conrelid::regclass::text || '.' || quote_ident(k.conname),
           k.conrelid::regclass FROM pg_constraint k WHERE k.contype = 'c' AND k.conrelid <> 0
    UNION ALL
    SELECT 'pg_attrdef'::regclass, d.oid, 'generated column ' || d.adrelid::regclass::text || '.'
           || quote_ident(a.attname),
           d.adrelid::regclass
      FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
     WHERE a.attgenerated <> ''
    UNION ALL
    SELECT 'pg_rewrite'::regclass, w.oid, 'materialized view ' || c.oid::regclass::text, NULL
      FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class WHERE c.relkind = 'm' AND c.relispopulated
    UNION
    SELECT 'pg_rewrite'::regclass, w.oid, r.what, NULL FROM run r
      JOIN pg_depend p ON p.classid = r.classid AND p.objid = r.objid AND p.refclassid = 'pg_class'::regclass
      JOIN pg_class c ON c.oid = p.refobjid AND c.relkind = 'v' JOIN pg_rewrite w ON w.ev_class = c.oid
     WHERE r.classid = 'pg_rewrite'::regclass
)
SELECT p.oid::int8 AS oid, p.oid::regprocedure::text AS name, n.nspname AS schema, run.what,
       (SELECT json_build_object('schema', m.nspname, 'name', c.relname) FROM pg_class c
          JOIN pg_namespace m ON m.oid = c.relnamespace WHERE c.oid = run.rows_of) AS rows_of,
       pg_get_userbyid(p.proowner)::text AS owner
FROM run JOIN pg_depend d ON d.classid = run.classid AND d.objid = run.objid AND d.refclassid = 'pg_proc'::regclass
JOIN pg_proc p ON p.oid = d.refobjid JOIN pg_namespace n ON n.oid = p.pronamespace AND {user_schema()}
JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'sql'
WHERE {no_member("pg_proc", "p.oid")}
  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS s(setting) WHERE s.setting LIKE 'search_path=%')
ORDER BY 2, 4"""

# The application's own path: what the database stores, or the default; and every other schema after it.
_PATH = f"""
SELECT n.nspname AS name FROM pg_namespace n WHERE {user_schema()} AND has_schema_privilege(n.oid, 'USAGE')
ORDER BY n.nspname <> 'public', 1"""


@dataclass(frozen=True)
class _Table:
    schema: str
    name: str


@dataclass(frozen=True)
class _There:
    found: bool


@dataclass(frozen=True)
class _Function:
    """A function in SQL that a restore runs: for ``what``, and where that is not always, for the rows of a table."""

    oid: int
    name: str
    schema: str
    what: str
    rows_of: Optional[_Table]
    owner: str


def refuse_dependent(database: Database) -> None:
    """Raise Refused, naming each SQL function that a restore would stumble over and the statement that mends it. The
    server itself judges: it parses the function under the restore's path and under the application's."""
    with database.session() as session:
        # A check or generated column is evaluated for rows only; what a table without rows would do cannot fail.
        used = {each.oid: each for each in session.records(_Function, _USED) if _runs(session, each.rows_of)}
        schemas = session.column(_PATH) if used else []
    # To parse is to run what reads the literals: not with the rights of a superuser.
    found = list(_dependent(database, list(used.values()), schemas)) if used else []
    if found:
        raise Refused(
            f"{plural(len(found), 'function')} that a restore has to run cannot be run by it, because they name objects"
            f" without their schema: {'; '.join(f'{name} (used by {what})' for name, what, _ in found)}.",
            hint="Each needs a search path of its own: " + " ".join(statement for _, _, statement in found),
            statements=[statement for _, _, statement in found],
        )


def _runs(session: Session, rows_of: Optional[_Table]) -> bool:
    if rows_of is None:
        return True
    return bool(table_reader.records(session, _There, [table_reader.query(rows_of, "SELECT true AS found", "LIMIT 1")]))


def _dependent(live: Database, used: list[_Function], schemas: list[str]) -> Iterator[tuple[str, str, str]]:
    parsing = {owner: _parsing(live, owner) for owner in {function.owner for function in used}}
    for function in used:
        database = parsing[function.owner]
        path = [function.schema, *(name for name in schemas if name != function.schema)]
        if not _parses(database, function.oid, []) and _parses(database, function.oid, path):
            needed = _shortest(database, function.oid, path)
            yield function.name, function.what, mending(function.name, needed)


def _parsing(live: Database, owner: str) -> Database:
    """The way to parse a function of that owner; one of a superuser's goes by the owner of the database."""
    database, why = live.confinement(owner)
    return live.confined() if why else database


def _parses(database: Database, oid: int, path: list[str]) -> bool:
    """Whether PostgreSQL accepts the function's body under a search path (its own validator, which changes nothing)."""
    try:
        with database.session() as session:
            session.execute("BEGIN READ ONLY")
            session.execute(f"SET LOCAL search_path = {_listed(path)}")
            session.execute(f"SELECT pg_catalog.fmgr_sql_validator({int(oid)})")
    except CommandFailed:
        return False
    return True


def _shortest(database: Database, oid: int, path: list[str]) -> list[str]:
    """The path without the schemas that the function does not need."""
    for name in path[::-1]:
        shorter = [other for other in path if other != name]
        if _parses(database, oid, shorter):
            path = shorter
    return path


def mending(function: str, path: list[str]) -> str:
    return f"ALTER FUNCTION {function} SET search_path = {_listed(path)};"


def _listed(path: list[str]) -> str:
    return ", ".join([_plain(name) for name in path] + ["pg_catalog"])


def _plain(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else quote_ident(name)


# CONTEXT of PostgreSQL: SQL function "f" during inlining; PL/pgSQL function public.f(text) line 3 at RETURN
_CONTEXT = re.compile(r'(?:SQL function "([^"]+)"|PL/pgSQL function ([\w".$]+\([^)]*\)))')
_QUALIFIED = re.compile(r'(?:relation "[^"]+\.[^"]+"|function [\w"]+\.\S+\(.*?\)) does not exist')
_NOT_FOUND = re.compile(r"(?:relation|function|type|operator|schema) \S.* does not exist")


@dataclass(frozen=True)
class _Named:
    name: str
    schema: str


def advice(database: Database, said: str) -> str:
    """The statement that mends what pg_restore ``said`` when a function did not find something; or nothing."""
    within = _CONTEXT.search(said)
    if not within or not _NOT_FOUND.search(said):
        return ""
    short = (within[1] or within[2]).split("(")[0].rsplit(".", 1)[-1].strip('"')
    every = database.records(
        _Named,
        "SELECT p.oid::regprocedure::text AS name, n.nspname AS schema FROM pg_proc p JOIN pg_namespace n"
        f" ON n.oid = p.pronamespace AND {user_schema()} WHERE {no_member('pg_proc', 'p.oid')} ORDER BY 1",
    )
    named = [one for one in every if one.name.split("(")[0].rsplit(".", 1)[-1].strip('"') == short]
    if not named:
        return ""
    if gone := _QUALIFIED.search(said):
        return (
            f"{gone[0].removesuffix(' does not exist')} is not in the live database either, so what uses"
            f" {named[0].name} cannot be built there any more: mend the function, or drop what uses it."
        )
    statements = " ".join(mending(one.name, sorted({one.schema, "public"})) for one in named)
    return (
        "A restore runs with a search path of pg_catalog alone, and this function names an object without its schema."
        f" Give it a path of its own (with the schemas that it needs): {statements}"
    )
