"""The expected catalog: the server itself creates the models, in an empty database, and describes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...core.errors import PapError, Refused, Unavailable
from ...core.text import plural
from ..catalog.build import describe
from ..catalog.connection import Session, first_line, sqlstate
from ..catalog.rows import Catalog, Database
from .load import ModelSet

# A message is one transaction: this many statements keep its locks far below max_locks_per_transaction × connections.
BATCH = 200

_EMPTY = (
    "SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') "
    "AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"
)

# Which extension brings what a server may say it does not know. PostgreSQL's contrib, pgvector, PostGIS.
_PROVIDERS = {
    "citext": r"citext",
    "hstore": r"hstore",
    "ltree": r"ltree|lquery",
    "vector": r"vector|halfvec|sparsevec|hnsw|ivfflat",
    "postgis": r"geometry|geography|raster|st_\w+",
    "pg_trgm": r"gin_trgm_ops|gist_trgm_ops|similarity",
    "btree_gist": r"gist.*has no default|has no default operator class for access method \"gist\"",
    "btree_gin": r"has no default operator class for access method \"gin\"",
    "uuid-ossp": r"uuid_generate_v\w+",
    "pgcrypto": r"crypt|digest|gen_salt|hmac|gen_random_bytes",
    "unaccent": r"unaccent",
    "intarray": r"gin__int_ops|gist__int_ops",
    "cube": r"\bcube\b",
    "fuzzystrmatch": r"levenshtein|soundex|metaphone",
}


def expect(models: ModelSet, connection: Any) -> Catalog:
    """Create ``models`` in the EMPTY database of ``connection`` and describe them.

    The database is for this alone: the statements are committed in batches (one transaction would need 13 locks a
    table), and the caller drops it. The catalog carries ``digest`` and, in ``models``, the classes for the reasons.
    Raises Refused when the database is not empty, PapError when the server refuses a statement.
    """
    session = Session.of(connection)
    found = user_objects(session)
    if found:
        raise Refused(
            f"The scratch database is not empty: it has {plural(found, 'object')} (tables, views, sequences).",
            hint="The expected schema is created in a database of its own; name an empty one.",
        )
    statements = models.ddl(session.server_version)
    create(session, statements)
    catalog = describe(session, dependencies=True)
    return finish(catalog, models)


def user_objects(session: Session) -> int:
    """How many tables, views and sequences the database has that are neither the system's nor an extension's."""
    return int(session.read(_EMPTY)[0][0])


def finish(catalog: Catalog, models: ModelSet) -> Catalog:
    """The expected catalog without what only says where it was made."""
    sections = ("schemas", "relations", "sequences", "types", "functions", "statistics")
    # the owner is the role that happened to create them; the models say nothing
    ownerless: dict[str, Any] = {
        name: tuple(replace(row, owner=None) for row in getattr(catalog, name)) for name in sections
    }
    database = Database(catalog.database.server_version, catalog.database.path)
    made = replace(catalog, database=database, unreadable=(), digest=models.digest(database.major), **ownerless)
    return models.named(made)


def create(session: Session, statements: Sequence[str], *, one_transaction: bool = False) -> None:
    """Execute ``statements`` in few messages. Raises PapError naming the statement that the server refuses."""
    settings = (
        "SET search_path = public; SET check_function_bodies = off; SET client_min_messages = warning; "
        "SET synchronous_commit = off"
    )
    batches = [statements[n : n + BATCH] for n in range(0, len(statements), BATCH)]
    commit = not one_transaction and not getattr(session.raw, "autocommit", False)
    try:
        session.execute(settings)
        for batch in batches:
            session.execute(";\n".join(batch))
            if commit:
                session.raw.commit()
    except Exception as exc:
        session.raw.rollback()
        raise _explain(exc, batch if batches else []) from exc


def _explain(exc: Exception, batch: Sequence[str]) -> PapError:
    state, message = sqlstate(exc), first_line(exc)
    if not state:
        return Unavailable(f"Lost the connection to the scratch database: {message}.")
    statement = _statement_at(exc, batch)
    quoted = f" in: {' '.join(statement.split())[:200]}" if statement else ""
    if state == "42501":
        hint = (
            "Grant the right to the role, create the extension in the scratch database beforehand, or use a snapshot."
        )
        if "extension" in message:
            hint = (
                "Only a superuser may create it: name a scratch server where the role is one (--scratch-url), give an "
                "empty database that has the extension, or use a snapshot made there."
            )
        return PapError(f"The scratch database refuses the models: {message}{quoted}.", hint=hint)
    if state == "53200":
        return PapError(
            f"The scratch server has too few locks for the models: {message}.",
            hint="Raise max_locks_per_transaction, or give a role that may create databases.",
        )
    hint = "The models cannot be created in an empty database; the application could not create them either."
    for extension, pattern in _PROVIDERS.items():
        if state in ("42704", "42883", "42P17") and re.search(pattern, message, re.IGNORECASE):
            hint = f"It comes from the extension {extension}: give --extension {extension}, or configure it."
            break
    if state == "0A000" or state == "58P01":
        hint = "The scratch server does not have it: install it there, or use --scratch-url or a snapshot."
    return PapError(f"The server refuses the models: {message}{quoted}.", hint=hint)


def _statement_at(exc: Exception, batch: Sequence[str]) -> str:
    """The statement of a batch that the server's error position points into, or ''."""
    origin = getattr(exc, "orig", None) or exc
    position = getattr(getattr(origin, "diag", None), "statement_position", None)
    if position is None:
        return ""
    place = int(position) - 1
    for statement in batch:
        if place <= len(statement):
            return statement
        place -= len(statement) + 2
    return ""
