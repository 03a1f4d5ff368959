"""Who restores which entry of an archive: its owner what the owner has made, a superuser what no owner can make.

To parse a definition, to check a row, to build an index is to run functions of whoever made the table. So a superuser
makes no more than the frame (schemas, extensions), what superusers own, privileges and event triggers.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import not_
from pathlib import Path
from typing import Any, Optional

from ..core.errors import PapError
from ..core.text import few
from ..databases.content_digest.queries import user_schema
from ..databases.psql import Database, Session
from ..sql.quoting import quote_literal
from . import archive, rights
from .encryption import Encryption
from .pipeline import Pipeline

_ENTRY = r"\d+; \d+ \d+ "
_FRAME = re.compile(
    _ENTRY + r"(?:SCHEMA|EXTENSION|PROCEDURAL LANGUAGE) |" + _ENTRY + r"COMMENT - (?:SCHEMA|EXTENSION) "
)
_PRIVILEGES = re.compile(_ENTRY + "(?:DEFAULT )?ACL ")
_REFRESH = re.compile(_ENTRY + "MATERIALIZED VIEW DATA ")


@dataclass(frozen=True)
class Step:
    """Lines of the archive's list that are restored in one go: by the owner's login, or by the superuser."""

    by_owner: bool
    entries: list[str]


def steps(listed: Sequence[str], owners: Collection[str], others: Collection[str]) -> list[Step]:
    """The list of an archive (pg_restore --list) in the order in which it is restored. For the superuser is only what
    no role owns, or one of ``others`` (that are none of ``owners``). Privileges come after the rows, before what is
    refreshed by them; event triggers last."""
    owned, foreign = _ends(owners), (" ", *_ends(others))
    parts: list[list[str]] = [[], [], [], [], [], []]
    for line in listed:
        if re.match(_ENTRY, line):
            kinds = (_FRAME, None, archive.CONSTRAINT_COMMENT, _PRIVILEGES, _REFRESH, archive.EVENT_TRIGGER)
            place = next((at for at, kind in enumerate(kinds) if kind and kind.match(line)), 1)
            parts[place].append(line)

    def divided(lines: Sequence[str]) -> list[Step]:
        runs = itertools.groupby(lines, lambda line: line.endswith(owned) or not line.endswith(foreign))
        return [Step(by_owner, list(run)) for by_owner, run in runs]

    frame, rows, comments, privileges, refreshed, events = parts
    of_schemas = [" ACL - SCHEMA " in line for line in privileges]  # first: who grants may need the schema for it
    given = [
        Step(False, list(itertools.compress(privileges, chosen))) for chosen in (of_schemas, map(not_, of_schemas))
    ]
    found = [Step(False, frame), *divided(rows), *divided(comments), *given, *divided(refreshed), Step(False, events)]
    return [step for step in found if step.entries]


def events_last(listed: Sequence[str]) -> list[Step]:
    """The list of an archive for one who may restore all of it: event triggers alone, after all that they fire for."""
    entries = [line for line in listed if re.match(_ENTRY, line)]
    events = [line for line in entries if archive.EVENT_TRIGGER.match(line)]
    others = [line for line in entries if line not in set(events)]
    return [Step(False, part) for part in (others, events) if part]


def needed(session: Session, target: Database, login: Database, *, parted: bool) -> bool:
    """Whether the database of ``session`` is restored in steps: by ``login`` and the superuser of ``target`` in turn,
    or by that one alone, where event triggers would fire in a restore that is not ``parted`` either."""
    if login is not target:
        return rights.needs_steps(session)
    return not parted and bool(session.scalar(f"SELECT EXISTS ({_FIRING}) AS found"))


# Before PostgreSQL 17, sessions of a restore (archive.restoring) switch off those only that fire in ordinary sessions.
_FIRING = (
    "SELECT FROM pg_event_trigger"
    " WHERE evtenabled IN ('A', 'R') AND current_setting('server_version_num')::int < 170000"
)


def fire(catalog: Mapping[str, Any], major: int) -> bool:
    """The same of the catalog of a content digest."""
    objects = catalog.get("", {}).items()
    return major < 17 and any(key.startswith("event trigger ") and one["enabled"] in "AR" for key, one in objects)


def _ends(roles: Collection[str]) -> tuple[str, ...]:
    """How the line of an entry ends that belongs to one of ``roles``."""
    return tuple(" " + re.sub("[\r\n]", " ", name) for name in roles)


def by_whom(target: Database, beyond: Sequence[str]) -> tuple[Database, str]:
    """The connection to ``target`` by which its rows are restored, and why that is a superuser's, if it is. ``beyond``:
    what takes one although it belongs to none (rights.beyond_owners)."""
    if beyond:
        return target, f"only a superuser can restore {few(beyond, 3)}"
    return target.confinement()


def restore_in_steps(
    target: Database,
    login: Database,
    path: Path,
    encryption: Optional[Encryption],
    pipeline: Pipeline,
    *options: str,
) -> None:
    """Restore the finished archive at ``path``: ``target`` is the empty database as the superuser reaches it, ``login``
    the same by the owner's login, or ``target`` where a superuser restores all of it; ``options`` choose a part.
    Raises as ``Pipeline`` does."""
    listed = pipeline.listed(target, path, encryption, *options).splitlines()
    roles = login.rows(_ROLES) if login is not target else []
    owners = [str(row["name"]) for row in roles if row["ours"]]
    others = [str(row["name"]) for row in roles if not row["ours"]]
    lent: list[str] = []
    for step in steps(listed, owners, others) if roles else events_last(listed):
        if any(kind.match(step.entries[0]) for kind in (_PRIVILEGES, _REFRESH, archive.EVENT_TRIGGER)):
            target.execute(lent)
            lent.clear()
        elif step.by_owner:
            lent += _lend(target, owners)
        by = login if step.by_owner else target
        with _listed_at(by, step.entries, path, encryption) as argv:
            pipeline.step(by, argv, path, encryption, step.entries)
    target.execute(lent)


# Whose rights the login has: those of the owner of the database, and of the roles that that one is a member of.
_ROLES = (
    "SELECT rolname::text AS name, pg_has_role(oid, 'USAGE') AS ours FROM pg_roles WHERE rolname <> current_user"
    " AND (NOT pg_has_role(oid, 'USAGE') OR oid >= 16384)"
)

# What the owners have by privileges that come later, or once had: CREATE in a schema, REFERENCES to another's table,
# USAGE of another's server.
_LENT = f"""
SELECT p.name || ' ON SCHEMA ' || quote_ident(n.nspname) AS what, quote_ident(r.rolname) AS who
FROM pg_namespace n, pg_roles r, (VALUES ('CREATE'), ('USAGE')) AS p(name)
WHERE {user_schema()} AND r.rolname IN ({{owners}}) AND NOT has_schema_privilege(r.oid, n.oid, p.name)
UNION ALL
SELECT 'REFERENCES ON TABLE ' || c.oid::regclass, quote_ident(r.rolname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND {user_schema()}, pg_roles r
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND r.rolname IN ({{owners}})
  AND NOT has_table_privilege(r.oid, c.oid, 'REFERENCES')
UNION ALL
SELECT 'USAGE ON FOREIGN SERVER ' || quote_ident(s.srvname), quote_ident(r.rolname) FROM pg_foreign_server s, pg_roles r
WHERE r.rolname IN ({{owners}}) AND NOT has_server_privilege(r.oid, s.oid, 'USAGE')
UNION ALL
SELECT 'USAGE ON FOREIGN DATA WRAPPER ' || quote_ident(w.fdwname), quote_ident(r.rolname)
FROM pg_foreign_data_wrapper w, pg_roles r
WHERE r.rolname IN ({{owners}}) AND NOT has_foreign_data_wrapper_privilege(r.oid, w.oid, 'USAGE')"""


def _lend(target: Database, owners: Sequence[str]) -> list[str]:
    """Give the owners what they need while they restore; the statements that take it back."""
    named = ", ".join(map(quote_literal, owners))
    rows = [(row["what"], row["who"]) for row in target.rows(_LENT.format(owners=named))] if named else []
    if rows:
        target.execute([f"GRANT {what} TO {who}" for what, who in rows])
    return [f"REVOKE {what} FROM {who}" for what, who in rows]


@contextlib.contextmanager
def _listed_at(
    target: Database, entries: Sequence[str], path: Path, encryption: Optional[Encryption]
) -> Iterator[list[str]]:
    """pg_restore of ``entries``: from the file, with the list on its standard input, where it can open that; else from
    its standard input, with the list in a file at the site."""
    if archive.in_parts(target, encryption):
        yield archive.rest_argv(target, path)
        return
    text = "".join(f"{line}\n" for line in entries).encode("utf-8", "surrogateescape")
    put = 'umask 077; f=$(mktemp) && cat >"$f" && echo "$f"'
    name = target.site.run(["sh", "-c", put], input=text).text.strip()
    try:
        yield archive.restore_argv(target, f"--use-list={name}")
    finally:
        with contextlib.suppress(PapError):
            target.site.run(["rm", "-f", "--", name])
