"""Where a database stands: the rows of Alembic's version table, and the ledger beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable

from ...core.errors import Refused
from ...core.records import recorded
from ...core.text import few
from ...sql import version_tables
from ...sql.quoting import quote_exact, quote_literal
from ..ledger import APPLIED, BASELINED, REVERTED, Entry, Ledger
from ..problems import Problem
from .home import Home
from .tree import Tree

Query = Callable[[str], Sequence[Sequence[Any]]]


@dataclass(frozen=True)
class Standing:
    """``applied``: by identity, in an order in which they could have run; ``pending``: in the order to run."""

    applied: dict[str, Entry]
    pending: list[str]
    problems: list[Problem]


def table(home: Home, query: Query) -> str:
    """The quoted name of the tree's version table; empty where the database has none."""
    name, schema = home.learned.version_table, home.learned.version_schema
    there = f"n.nspname = {quote_literal(schema)}" if schema else "pg_catalog.pg_table_is_visible(c.oid)"
    found = query(
        "SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        f" WHERE c.relname = {quote_literal(name)} AND c.relkind IN ('r', 'p', 'v') AND {there}"
    )
    return quote_exact(*filter(None, (schema, name))) if found else ""


def unseen(home: Home, query: Query) -> str:
    """A version table of the tree's name in a schema that this connection does not look into, where it sees none and
    the tree names no schema: env.py sets the search path where it connects, perhaps."""
    name = home.learned.version_table
    if home.learned.version_schema or table(home, query):
        return ""
    found = query(
        "SELECT n.nspname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        f" WHERE c.relname = {quote_literal(name)} AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'"
        f" AND {version_tables.is_one('c.oid')} ORDER BY 1 LIMIT 1"
    )
    return f"{found[0][0]}.{name}" if found else ""


def read(home: Home, query: Query) -> tuple[str, ...]:
    """The rows of the tree's version table; none where there is no such table."""
    name = table(home, query)
    if not name:
        return ()
    return tuple(sorted(str(row[0]) for row in query(f"SELECT version_num FROM {name}")))


def below(home: Home, rows: Sequence[str]) -> set[str]:
    """The revisions that these rows stand for: these, and all that they stand on."""
    found, todo = set[str](), list(rows)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += home.script.get_revision(name)._all_down_revisions
    return found


def standing(tree: Tree, book: Ledger) -> Standing:
    """What the version rows of ``book`` say, which decide; and where the ledger says something else."""
    known = {each.identity: each for each in tree.files}
    if book.unseen:
        problem = Problem(
            "version",
            "",
            f"The versions are in {book.unseen}, which this connection does not see: all revisions would run again, in"
            " another schema.",
            "Put the search_path of env.py into the URL or the role, or set version_table_schema in env.py (also where"
            " that table is another service's).",
        )
        return Standing(book.applied, [], [problem])
    strange = [version for version in book.versions if version not in known]
    if strange:
        where = tree.home.learned.version_table
        problem = Problem(
            "version",
            strange[0],
            f"The database is at the Alembic revision {few(strange, 3)} (table {where}), which is not in the tree of"
            " this release.",
            "Is this an older release than the one that was deployed? Deploy one whose tree has the revision; if the"
            " row is wrong, correct it with `alembic stamp`.",
        )
        return Standing(book.applied, [], [problem])
    there = tree.applied(book.versions)
    noted, unrecorded = _with_unrecorded(book, there)
    problems = [
        Problem(
            "downgraded",
            name,
            f"{name} is applied by the ledger (release {entry.release}, {entry.at[:19]} UTC), but not by the rows of"
            f" {tree.home.learned.version_table}: it was downgraded or stamped past pap-deploy.",
            f"If the schema has it, `alembic stamp {name}` says so; if it was downgraded, accept that with `repair`.",
        )
        for name, entry in noted.items()
        if name in known and name not in there and name not in unrecorded
    ]
    last = {entry.identity: entry for entry in book.entries if entry.event in (REVERTED, *_IN_FORCE)}
    problems += [
        Problem(
            "upgraded",
            name,
            f"{name} was reverted by release {last[name].release} ({last[name].at[:19]} UTC), but the rows of"
            f" {tree.home.learned.version_table} have it: it was upgraded or stamped past pap-deploy.",
            "If the schema has it, accept that with `repair`; if not, `alembic stamp` the revision before it.",
        )
        for name in known
        if name in there and name not in unrecorded and name in last and last[name].event == REVERTED
    ]
    applied = {name: noted.get(name) or _adopted(name, known[name].checksum) for name in known if name in there}
    try:
        pending = tree.pending(book.versions)
    except Refused as refused:
        pending = []
        problems.append(Problem("target", tree.home.declaration.target, refused.message, refused.hint))
    return Standing(_in_order(noted, applied), pending, problems)


_IN_FORCE = ("applied", "baselined")


@dataclass(frozen=True)
class _Started:
    """What is read of the details of a start."""

    direction: str = ""


def _with_unrecorded(book: Ledger, there: set[str]) -> tuple[dict[str, Entry], set[str]]:
    """What the ledger has as applied, and what it would have if the run that moved the version row had not ended before
    it could say so; and of which revisions that holds."""
    noted, unrecorded = book.applied, set[str]()
    for name, started in book.unrecorded.items():
        up = recorded(_Started, started.details).direction == "upgrade"
        if up and name in there and name not in noted:
            noted[name] = replace(started, event=APPLIED)
        elif up or name in there:
            continue
        unrecorded.add(name)
    return noted, unrecorded


def _adopted(name: str, checksum: str) -> Entry:
    """Of a revision that was applied before pap-deploy, or beside it: the version table alone knows of it."""
    return Entry(0, BASELINED, name, checksum, "", "alembic", "", 0.0, "", {"by": "the version table"})


def _in_order(noted: dict[str, Entry], applied: dict[str, Entry]) -> dict[str, Entry]:
    """The ledger's order; in the places of revisions, the tree's: what only the version table knows comes first."""
    revisions = iter(applied.items())
    adopted = len(applied) - sum(name in noted for name in applied)
    result = dict(next(revisions) for _ in range(adopted))
    for name, entry in noted.items():
        if name in applied:
            name, entry = next(revisions)
        result[name] = entry
    return result
