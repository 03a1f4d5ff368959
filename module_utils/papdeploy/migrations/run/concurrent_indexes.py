"""CONCURRENTLY: what a failed attempt left behind is found, dropped and built again.

A failed CREATE INDEX CONCURRENTLY leaves an invalid index that costs writes, serves no query, makes IF NOT EXISTS skip
the new attempt, and is not in a dump (PostgreSQL documentation, CREATE INDEX, "Building Indexes Concurrently").
"""

from __future__ import annotations

import re
from typing import Any

from ...sql import statements
from ...sql.quoting import quote_exact
from .connection import Connection
from .step import MigrationError, Step

_WORD = re.compile(r"\bconcurrently\b", re.IGNORECASE)

_INDEX = """
SELECT i.indisvalid, quote_ident(n.nspname) || '.' || quote_ident(c.relname),
       (SELECT p.pid FROM pg_stat_progress_create_index AS p WHERE p.index_relid = c.oid AND p.pid <> pg_backend_pid())
FROM pg_class AS t JOIN pg_class AS c ON c.relnamespace = t.relnamespace
JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_index AS i ON i.indexrelid = c.oid
WHERE t.oid = to_regclass(%s) AND c.relname = %s
"""
_REINDEX_LEFT = """
SELECT false, quote_ident(n.nspname) || '.' || quote_ident(c.relname),
       (SELECT p.pid FROM pg_stat_progress_create_index AS p WHERE p.index_relid = c.oid AND p.pid <> pg_backend_pid())
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$'
  AND (i.indrelid = to_regclass(%s)
       OR i.indrelid = (SELECT x.indrelid FROM pg_index AS x WHERE x.indexrelid = to_regclass(%s)))
"""


def name_at(words: tuple[str, ...], position: int) -> tuple[tuple[str, ...], int]:
    """The possibly qualified name that starts at ``position``, unquoted and folded, and the position after it."""
    parts: list[str] = []
    while position < len(words):
        word = words[position]
        parts.append(word[1:-1].replace('""', '"') if word.startswith('"') else word.lower())
        position += 1
        if position >= len(words) or words[position] != ".":
            break
        position += 1
    return tuple(parts), position


def concurrent_index(statement: statements.Statement) -> tuple[str, tuple[str, ...]] | None:
    """(index name, table name) of a CREATE INDEX CONCURRENTLY; the index name is empty where the author gave none."""
    words = statement.words
    position = 2 if words[:2] == ("CREATE", "INDEX") else 3 if words[:3] == ("CREATE", "UNIQUE", "INDEX") else 0
    if not position or words[position : position + 1] != ("CONCURRENTLY",):
        return None
    position += 1
    if words[position : position + 3] == ("IF", "NOT", "EXISTS"):
        position += 3
    index: tuple[str, ...] = ()
    if words[position : position + 1] != ("ON",):
        index, position = name_at(words, position)
    position += 1
    if words[position : position + 1] == ("ONLY",):
        position += 1
    table, _ = name_at(words, position)
    return (index[-1] if index else ""), table


def reindex_target(statement: statements.Statement) -> tuple[str, ...] | None:
    """The table or index of a REINDEX … CONCURRENTLY."""
    words = statement.words
    if words[:1] != ("REINDEX",) or "CONCURRENTLY" not in words:
        return None
    position = words.index("CONCURRENTLY") + 1
    for kind in ("TABLE", "INDEX"):
        if kind in words:
            position = max(words.index(kind) + 1, position if words.index(kind) < position else 0)
            if words[position : position + 1] == ("CONCURRENTLY",):
                position += 1
            return name_at(words, position)[0]
    return None


def before(session: Connection, step: Step, text: str) -> None:
    """Before a CONCURRENTLY statement runs: drop what an earlier attempt left, lift the lock timeout for it.

    The statement takes no lock that others would queue behind, but waits for every older transaction: it is bounded by
    the deadline of the run instead.
    """
    for statement in statements.split(text) if _WORD.search(text) else ():
        if "CONCURRENTLY" not in statement.words:
            continue
        found = concurrent_index(statement)
        if found is not None:
            index, table = found
            if not index:
                step.violate(
                    "CREATE INDEX CONCURRENTLY without a name: a second attempt could not find the first one's rest"
                )
            _drop_invalid(session, step, session.query(_INDEX, (quote_exact(*table), index)))
            step.concurrent_indexes.append((quote_exact(*table), index))
        target = reindex_target(statement)
        if target is not None:
            _drop_invalid(session, step, session.query(_REINDEX_LEFT, (quote_exact(*target), quote_exact(*target))))
        if session.options.lock_timeout_s and not step.lock_timeout_lifted:
            session.query("SET lock_timeout = 0")
            step.lock_timeout_lifted = True


def _drop_invalid(session: Connection, step: Step, rows: list[tuple[Any, ...]]) -> None:
    for valid, name, builder in rows:
        if valid:
            continue
        if builder:
            raise MigrationError(
                f"Migration {step.identity}: index {name} is being built by process {builder} right now.",
                hint="Wait until it is done (pg_stat_progress_create_index), then run again.",
                identity=step.identity,
            )
        session.query(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        session.emit("invalid_index_dropped", identity=step.identity, index=name)


def verify(session: Connection, step: Step) -> None:
    """After the migration: every index it built concurrently is there and valid."""
    for table, index in step.concurrent_indexes:
        rows = session.query(_INDEX, (table, index))
        if rows and not rows[0][0]:
            raise MigrationError(
                f"Migration {step.identity} left index {rows[0][1]} invalid.",
                hint="Run again: the invalid index is dropped and built anew. Unique? Then look for duplicates first.",
                identity=step.identity,
                index=rows[0][1],
            )
