"""What prevents a backup that can be proven, asked of the catalog before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import CommandFailed, Refused
from ..core.text import few, plural
from ..databases.content_digest import not_dumped
from ..databases.content_digest.queries import no_member, user_schema
from ..databases.psql import Database, Session
from . import rights, search_paths

_SHOWN = 10

# What PostgreSQL's own dump cannot be restored with, and the statement that mends it.
_RULES = f"""
SELECT 'rule "_RETURN" on ' || c.oid::regclass::text || ' (that name is a view''s: CREATE RULE refuses it)' AS what,
       'ALTER RULE "_RETURN" ON ' || c.oid::regclass::text || ' RENAME TO "return";' AS mended
FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class
JOIN pg_namespace n ON n.oid = c.relnamespace AND {user_schema()}
WHERE w.rulename = '_RETURN' AND c.relkind NOT IN ('v', 'm') ORDER BY 1"""

_EXTENSIONS = """
SELECT 'extension ' || quote_ident(x.extname) || ' (its files are not on the server any more: CREATE EXTENSION needs'
       || ' them)' AS what,
       'install the package of ' || quote_ident(x.extname) || ', or DROP EXTENSION ' || quote_ident(x.extname) || ';'
       AS mended
FROM pg_extension x WHERE NOT EXISTS (SELECT FROM pg_available_extensions a WHERE a.name = x.extname) ORDER BY 1"""

_STRAY = f"""
SELECT name || ' (pg_dump leaves out what is in a schema of the system)' AS what, moved AS mended
FROM ({not_dumped.STRAY}) AS s WHERE needed ORDER BY 1"""

# Functions in C, by library; those of extensions are the extension's own concern.
_LIBRARIES = f"""
SELECT min(p.oid::int8) AS oid, p.probin AS library, min(p.oid::regprocedure::text) AS name, count(*) AS functions
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {user_schema()}
JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'c'
WHERE {no_member("pg_proc", "p.oid")} GROUP BY p.probin ORDER BY 2"""


@dataclass(frozen=True)
class _Unprovable:
    """What prevents a proof, and the statement that mends it."""

    what: str
    mended: str


@dataclass(frozen=True)
class _Library:
    """A library of ``functions`` in C, and one of them."""

    oid: int
    library: str
    name: str
    functions: int


def refuse_unprovable(database: Database, session: Session, proof: str) -> None:
    """Raise Refused with what is missing, and on which objects, for a backup of ``database`` with that ``proof``: a
    right, or what no dump of it could be restored without. ``session`` is one of the database's, in a snapshot."""
    rights.refuse_missing(session, restores=proof != "none")
    if proof == "none":
        return
    found = [one for query in (_RULES, _EXTENSIONS, _STRAY) for one in session.records(_Unprovable, query)]
    found += [_lost(each) for each in session.records(_Library, _LIBRARIES) if not _loads(database, each.oid)]
    if found:
        objects = [one.what for one in found]
        mended = few([one.mended for one in found], _SHOWN)
        raise Refused(
            f"PostgreSQL cannot restore what it dumps of this database: {few(objects, _SHOWN)}.",
            hint=f"Mend {'that' if len(found) == 1 else 'these'} first: {mended}",
            objects=objects,
        )
    search_paths.refuse_dependent(database)


def _lost(of: _Library) -> _Unprovable:
    others = f" and {plural(of.functions - 1, 'more function')}" if of.functions > 1 else ""
    return _Unprovable(
        f"function {of.name}{others} (library {of.library} cannot be loaded)",
        f"install that library again, or DROP FUNCTION {of.name};",
    )


def _loads(database: Database, oid: int) -> bool:
    """Whether the server loads the library of that function and finds it there (its own validator, which CREATE
    FUNCTION calls in every restore)."""
    try:
        with database.session() as session:
            session.execute("BEGIN READ ONLY")
            session.execute(f"SELECT pg_catalog.fmgr_c_validator({int(oid)})")
    except CommandFailed as error:
        return "could not access file" not in error.message and "could not load library" not in error.message
    return True
