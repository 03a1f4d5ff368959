"""Who restores which entry of an archive: its owner what it has made, a superuser what no owner can make.

To parse a definition, to check a row, to build an index is to run functions of whoever made the table. So each owner's
entries are restored by a login with the rights of that owner (``owner_login``), and a superuser makes no more than the
frame (schemas, extensions), what superusers own, privileges and event triggers.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import not_
from pathlib import Path
from typing import Optional

from ..core.errors import PapError, Refused
from ..core.records import recorded
from ..core.text import few
from ..databases.content_digest import ContentDigest
from ..databases.content_digest.queries import user_schema
from ..databases.owner_login import DATABASE_OWNER
from ..databases.psql import Database, Session, bind
from . import archive, rights
from .encryption import Encryption
from .pipeline import Pipeline

SUPERUSER = ""
_ENTRY = r"\d+; \d+ \d+ "
_FRAME = re.compile(
    _ENTRY + r"(?:SCHEMA|EXTENSION|PROCEDURAL LANGUAGE) |" + _ENTRY + r"COMMENT - (?:SCHEMA|EXTENSION) "
)
_PRIVILEGES = re.compile(_ENTRY + "(?:DEFAULT )?ACL ")
_FOREIGN_KEY = re.compile(_ENTRY + "FK CONSTRAINT ")
# One of these does not need another that stands beside it: by owner, they take fewer steps.
_INDEPENDENT = re.compile(_ENTRY + "(TABLE DATA|SEQUENCE SET|CONSTRAINT|INDEX|FK CONSTRAINT|TRIGGER|COMMENT) ")
_ROWS = re.compile(_ENTRY + "(?:TABLE DATA|SEQUENCE SET|BLOBS) ")
_REFRESH = re.compile(_ENTRY + "MATERIALIZED VIEW DATA ")
# What pg_dump names no owner of. To make them runs nothing, and takes more than one owner's rights.
_OWNERLESS = re.compile(
    _ENTRY + r"(?:COMMENT \S+ )?(?:CAST|TRANSFORM|ACCESS METHOD|BLOBS|TEXT SEARCH (?:PARSER|TEMPLATE)) .* $"
)


@dataclass(frozen=True)
class Step:
    """Lines of the archive's list that are restored in one go by the login of role ``by``, or by the superuser."""

    by: str
    entries: list[str]


@dataclass(frozen=True)
class Owners:
    """Who restores what a role owns: by name as an archive's list has it, the role whose login does, or SUPERUSER.
    ``unnamed``: who restores what no known role owns; None: nobody may."""

    makers: Mapping[str, str]
    unnamed: Optional[str] = None

    def of(self, line: str) -> str:
        """The list names the owner last, and names may hold blanks. Raises Refused where that leaves a choice."""
        found = sorted((name for name in self.makers if line.endswith(f" {name}")), key=len)
        logins = {self.makers[name] for name in found} - {SUPERUSER}
        if len(logins) == 1 and self.makers[found[-1]] != SUPERUSER:
            return self.makers[found[-1]]
        if found and not logins:
            return SUPERUSER
        if not found and _OWNERLESS.match(line):
            return SUPERUSER
        if not found and self.unnamed is not None:
            return self.unnamed
        if found:
            raise Refused(
                f"Whether it belongs to {' or to '.join(map(repr, found))} cannot be told of an entry of the archive:"
                f" {line}",
                hint="Rename one of the roles (ALTER ROLE … RENAME TO …), so that no name ends in a blank and another.",
            )
        raise Refused(
            f"An entry of the archive belongs to a role that the server does not have: {line}",
            hint="Create that role again (CREATE ROLE …), or restore by hand (papdeploy restore), which does.",
        )


def steps(listed: Sequence[str], owners: Owners) -> list[Step]:
    """The list of an archive (pg_restore --list) in the order in which it is restored. Privileges come after the rows,
    before foreign keys and what is refreshed, which need them; event triggers last."""
    parts: list[list[str]] = [[], [], [], [], [], [], []]
    kinds = (_FRAME, None, _PRIVILEGES, _FOREIGN_KEY, archive.CONSTRAINT_COMMENT, _REFRESH, archive.EVENT_TRIGGER)
    for line in listed:
        if re.match(_ENTRY, line):
            parts[next((at for at, kind in enumerate(kinds) if kind and kind.match(line)), 1)].append(line)

    def divided(lines: Sequence[str]) -> list[Step]:
        ordered: list[str] = []
        for independent, run in itertools.groupby(lines, _independent):
            together = list(run)
            ordered += sorted(together, key=owners.of) if independent else together
        return [Step(by, list(run)) for by, run in itertools.groupby(ordered, owners.of)]

    frame, rows, privileges, keys, comments, refreshed, events = parts
    # Apart, because a parallel pg_restore knows of no order between a parent's NOT VALID constraint and a child's rows.
    filled = max((at for at, line in enumerate(rows, 1) if _ROWS.match(line)), default=0)
    of_schemas = [" ACL - SCHEMA " in line for line in privileges]  # first: who grants may need the schema for it
    given = [
        Step(SUPERUSER, list(itertools.compress(privileges, chosen))) for chosen in (of_schemas, map(not_, of_schemas))
    ]
    owned = [
        *divided(rows[:filled]),
        *divided(rows[filled:]),
        *given,
        *divided(keys),
        *divided(comments),
        *divided(refreshed),
    ]
    return [step for step in (Step(SUPERUSER, frame), *owned, Step(SUPERUSER, events)) if step.entries]


def events_last(listed: Sequence[str]) -> list[Step]:
    """The list of an archive for one who may restore all of it: event triggers alone, after all that they fire for."""
    entries = [line for line in listed if re.match(_ENTRY, line)]
    events = [line for line in entries if archive.EVENT_TRIGGER.match(line)]
    others = [line for line in entries if not archive.EVENT_TRIGGER.match(line)]
    return [Step(SUPERUSER, part) for part in (others, events) if part]


# Before PostgreSQL 17, sessions of a restore (archive.restoring) switch off those only that fire in ordinary sessions.
_FIRING = (
    "SELECT FROM pg_event_trigger"
    " WHERE evtenabled IN ('A', 'R') AND current_setting('server_version_num')::int < 170000"
)


@dataclass(frozen=True)
class _EventTrigger:
    enabled: str = ""


def fire(original: ContentDigest, major: int) -> bool:
    """The same by the content digest of the original."""
    triggers = [one for key, one in original.of_database.items() if key.startswith("event trigger ")]
    return major < 17 and any(recorded(_EventTrigger, one).enabled in ("A", "R") for one in triggers)


def _independent(line: str) -> Optional[str]:
    found = _INDEPENDENT.match(line)
    return found[1] if found else None


@dataclass(frozen=True)
class RestoreMethod:
    """How a copy is restored: in one go by ``login``, or ``in_steps``; those all by the superuser, if ``whole``.
    ``owners``: who owns something in the original, where that is known. ``unconfined``: whose functions may run as a
    superuser (None: everybody's), each with why."""

    login: Database
    in_steps: bool
    owners: Collection[str] = ()
    unconfined: dict[Optional[str], str] = field(default_factory=dict)
    whole: bool = False


def method_for(original: Session, target: Database, *, parted: bool) -> RestoreMethod:
    """How the database of session ``original`` is restored into the empty ``target``; ``parted``: what follows the rows
    is restored from the finished file in any case, so that event triggers come last."""
    fires = not parted and bool(original.scalar(f"SELECT EXISTS ({_FIRING}) AS found"))
    beyond, who = rights.beyond_owners(original), rights.owners(original)
    return method_by(target, beyond, who, needs_steps=rights.needs_steps(original), fires=fires)


def method_by(
    target: Database, beyond: Sequence[str], owners: Collection[str], *, needs_steps: bool, fires: bool
) -> RestoreMethod:
    """The same by what was noted of the original: what takes a superuser although it belongs to none (``beyond``), who
    owns something, and whether event triggers would fire in a restore in one go."""
    if not target.facts().superuser:
        return RestoreMethod(target, fires, whole=True)
    if beyond:
        return RestoreMethod(
            target, fires, owners, {None: f"only a superuser can restore {few(beyond, 3)}"}, whole=True
        )
    if needs_steps and owners:
        return RestoreMethod(target, True, owners)
    login, why = target.confinement()
    return RestoreMethod(login, fires and login is target, owners, {None: why} if why else {}, whole=True)


def restore_in_steps(
    target: Database,
    method: RestoreMethod,
    path: Path,
    encryption: Optional[Encryption],
    pipeline: Pipeline,
    *options: str,
) -> None:
    """Restore the finished archive at ``path``, or the part of it that ``options`` choose, into the empty database
    ``target``, reached as the superuser. Raises as ``Pipeline`` does; ``method.unconfined`` gets the owners whose
    login is not let in."""
    listed = pipeline.listed(target, path, encryption, *options).splitlines()
    ways: dict[str, Database] = {SUPERUSER: target}
    found = events_last(listed) if method.whole else steps(listed, _owners(target, method.owners))
    for step in found:
        if step.by not in ways:
            ways[step.by], why = target.confinement(step.by)
            if why:
                method.unconfined[step.by] = why
        by = ways[step.by]
        if by is not target and step.entries and _FOREIGN_KEY.match(step.entries[0]):
            by = target.confined(owner=step.by)  # row-level security may be forced on the owner by now
        lent = _lend(target, step) if by is not target else []
        with _listed_at(by, step.entries, path, encryption) as argv:
            pipeline.step(by, argv, path, encryption, step.entries)
        target.execute(lent)


# Every role as pg_restore lists it (bytes, in one line), and by whose login that one's objects are restored.
_ROLES = f"""
SELECT encode(textsend(r.rolname::text), 'hex') AS raw, e.rolname::text AS name, e.rolsuper AS superuser,
       r.oid = d.datdba AS of_database, r.oid < 16384 AS built_in
FROM pg_database d, pg_roles r
JOIN pg_roles e ON e.oid = CASE r.rolname WHEN '{DATABASE_OWNER}'
    THEN (SELECT datdba FROM pg_database WHERE datname = current_database()) ELSE r.oid END
WHERE d.datname = current_database()"""


@dataclass(frozen=True)
class _Role:
    """``raw``: its name in hex."""

    raw: str
    name: str
    superuser: bool
    of_database: bool
    built_in: bool


def _owners(target: Database, known: Collection[str]) -> Owners:
    makers: dict[str, str] = {}
    unnamed: Optional[str] = None
    for role in target.records(_Role, _ROLES):
        maker = SUPERUSER if role.superuser else role.name
        if role.of_database and maker != SUPERUSER:
            unnamed = maker
        if not known or role.superuser or role.built_in or role.name in known:
            makers[_as_listed(role.raw)] = maker
    return Owners(makers, unnamed)


def _as_listed(raw: str) -> str:
    """A name, of which the server gave the bytes in hex, as pg_restore lists it: in one line."""
    return re.sub("[\r\n]", " ", bytes.fromhex(raw).decode("utf-8", "surrogateescape"))


# What an owner has by privileges that come later, or once had, and needs for one step: CREATE and USAGE of schemas, of
# foreign data and of the database; REFERENCES to its own tables alone: whoever may refer to a table can have the rights
# of the table's owner, because the server checks foreign keys as that one, by casts of the type that refers.
_LENT = f"""
SELECT l.what, l.who, encode(textsend(l.named::text), 'hex') AS named FROM (
SELECT p.name || ' ON SCHEMA ' || quote_ident(n.nspname) AS what, quote_ident(r.rolname) AS who, n.nspname AS named
FROM pg_namespace n, pg_roles r, (VALUES ('CREATE'), ('USAGE')) AS p(name)
WHERE {user_schema()} AND r.rolname = %s AND NOT has_schema_privilege(r.oid, n.oid, p.name)
UNION ALL
SELECT 'REFERENCES ON TABLE ' || c.oid::regclass, quote_ident(r.rolname), 'FK CONSTRAINT'
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND {user_schema()} JOIN pg_roles r ON r.oid = c.relowner
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND r.rolname = %s
  AND NOT has_table_privilege(r.oid, c.oid, 'REFERENCES')
UNION ALL
SELECT 'USAGE ON FOREIGN SERVER ' || quote_ident(s.srvname), quote_ident(r.rolname), 'FOREIGN TABLE'
FROM pg_foreign_server s, pg_roles r WHERE r.rolname = %s AND NOT has_server_privilege(r.oid, s.oid, 'USAGE')
UNION ALL
SELECT 'USAGE ON FOREIGN DATA WRAPPER ' || quote_ident(w.fdwname), quote_ident(r.rolname), 'SERVER'
FROM pg_foreign_data_wrapper w, pg_roles r
WHERE r.rolname = %s AND NOT has_foreign_data_wrapper_privilege(r.oid, w.oid, 'USAGE')
UNION ALL
SELECT 'CREATE ON DATABASE ' || quote_ident(d.datname), quote_ident(r.rolname), 'PUBLICATION'
FROM pg_database d, pg_roles r
WHERE d.datname = current_database() AND r.rolname = %s AND NOT has_database_privilege(r.oid, d.oid, 'CREATE')) AS l"""


@dataclass(frozen=True)
class _Right:
    """A right (``what``) for the role ``who``, as SQL has them; ``named`` in hex: which entries take it."""

    what: str
    who: str
    named: str


def _lend(target: Database, step: Step) -> list[str]:
    """Give the owner what this step takes, and no more; the statements that take it back."""
    text = "".join(f"{line} " for line in step.entries)
    offered = target.records(_Right, bind(_LENT, *[step.by] * 5))
    wanted = [right for right in offered if f" {_as_listed(right.named)} " in text]
    if wanted:
        target.execute([f"GRANT {right.what} TO {right.who}" for right in wanted])
    return [f"REVOKE {right.what} FROM {right.who}" for right in wanted]


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
