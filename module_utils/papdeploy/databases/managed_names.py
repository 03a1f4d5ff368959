"""Names of the databases that a release makes, and the one rule by which each is known to be ours.

A database of ours carries a record as its comment (``pap-deploy {json}``), which survives crashes and restarts, but is
also carried along by whoever copies or renames a database, and can be written by its owner. So the record alone proves
nothing: a database is ours when its derived name, its own OID and its stack all agree with what this stack has written
down (:class:`~papdeploy.core.registry.Registry`). Nothing else is ever renamed or dropped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional

from ..core.database_identity import IDENTITY, RECORD_PREFIX, DatabaseIdentity, Record, record_of
from ..core.errors import CommandFailed, Refused, Unavailable
from ..core.records import whole
from ..core.registry import Known, Registry
from ..core.text import plural
from ..sql.quoting import MAX_NAME_BYTES, quote_ident, quote_literal
from .psql import Database, Session, bind

KINDS = ("scratch", "failed", "snap", "fenced", "restored")
# A database that CREATE DATABASE has just made, before its record is written: no session can have connected to it.
UNCLAIMED_LIMIT = 4711
# A condition on pg_stat_activity. backend_type is hidden from roles without pg_read_all_stats.
CLIENT = "coalesce(backend_type, 'client backend') = 'client backend'"


def derived(dbname: str, kind: str, release: str) -> str:
    """``<db>__<kind>_<release>``; cut with a hash of the whole where PostgreSQL's 63 bytes are too few."""
    if kind not in KINDS:
        raise ValueError(kind)
    full = f"{dbname}__{kind}_{release}"
    if len(full.encode()) <= MAX_NAME_BYTES:
        return full
    digest = hashlib.sha256(full.encode()).hexdigest()[:10]
    tail = f"__{kind}_{digest}"
    head = dbname.encode()[: MAX_NAME_BYTES - len(tail)].decode("utf-8", "ignore")
    return head + tail


@dataclass(frozen=True)
class Found:
    """One database of the server. ``record`` is that of its comment, or None; ``comment`` is the raw text;
    ``connections`` counts sessions, ``sessions`` those that ever ended in it."""

    name: str
    oid: int
    bytes: Optional[int]
    allow_connections: bool
    connection_limit: int
    comment: Optional[str]
    owner: str
    connections: int
    template: bool = False
    sessions: int = 0

    @property
    def record(self) -> Optional[Record]:
        return record_of(self.comment)

    @property
    def unclaimed(self) -> bool:
        """Made by CREATE DATABASE of ours and not yet recorded: no session can ever have been in it. Where its DROP was
        interrupted (-2), only dropping it again is possible."""
        closed = not self.allow_connections and self.connection_limit in (UNCLAIMED_LIMIT, -2)
        return self.comment is None and closed and not self.connections and not self.sessions


def plain_comment(comment: Optional[str]) -> Optional[str]:
    """The comment that a database has in life: what the record of a fence keeps of it, and no record of ours."""
    record = record_of(comment)
    if record is None:
        return comment
    return record.before.comment if record.before else None


@dataclass(frozen=True)
class Client:
    """A session in a database, as the server lists it. What the role may not see of it is None."""

    pid: int
    role: Optional[str]
    application: Optional[str]
    address: Optional[str]
    state: Optional[str]
    type: Optional[str]

    def __str__(self) -> str:
        return f"{self.application or self.type} of {self.role} (pid {self.pid})"


@dataclass(frozen=True)
class Managed:
    """A database that says of itself that it was made for a live one: for ``release``, as a ``kind``. ``why`` is empty
    if that is true, else it says why it is not ours: then it must not be touched."""

    found: Found
    kind: str
    release: str
    record: Record
    why: str
    in_use: bool = False

    @property
    def name(self) -> str:
        return self.found.name

    @property
    def ours(self) -> bool:
        return not self.why

    def is_for(self, kind: str, release: str) -> bool:
        """Whether it is ours, of that kind and release."""
        return self.ours and (self.kind, self.release) == (kind, release)


def judge(found: Found, live: str, registry: Registry, known: Mapping[str, Known]) -> Optional[Managed]:
    """The rule. None if ``found`` says nothing of the live name ``live``, and nothing is known of it. ``known``: what
    the registry knows by now."""
    noted, record = known.get(found.name), found.record
    if noted is not None and noted.kind == "fenced" and noted.oid == found.oid:
        # The live database itself, under the name that we gave it: whatever its owner has done to the comment.
        return Managed(found, "fenced", noted.release, replace(noted, of=live), "", noted.in_use)
    if record is None:
        if noted is not None and noted.oid is None and found.unclaimed:
            return Managed(found, noted.kind, noted.release, noted, "", noted.in_use)
        if noted is not None and noted.oid == found.oid:
            return Managed(found, noted.kind, noted.release, noted, "its record was replaced")
        return None
    if record.of != live:
        return None
    why = _doubt(found, live, registry, noted, record)
    return Managed(found, record.kind, record.release, record, why, bool(noted and noted.in_use))


def _doubt(found: Found, live: str, registry: Registry, noted: Optional[Known], record: Record) -> str:
    """Why the record of ``found`` does not prove that it is ours; empty if it does."""
    kind, release = record.kind, record.release
    if kind not in KINDS or not release:
        return "its record is damaged"
    name = derived(live, kind, release)
    if found.name != name:
        return f"a copy of {name}, or that one renamed by hand"
    if record.stack is None:  # written by an earlier version
        if record.oid not in (None, found.oid):
            return f"a copy: the original has OID {record.oid}"
        told = registry.explains(kind, release, found.name, found.oid)
        return "" if told else "recorded by an earlier version, and no journal here tells of it"
    if record.oid != found.oid:
        return f"a copy: the original has OID {record.oid}"
    if record.stack != registry.id:
        return f"made from another state folder, by stack {record.stack_name or '?'} ({record.stack})"
    if noted is None or (noted.kind, noted.release) != (kind, release) or noted.oid not in (None, found.oid):
        return "this stack's state folder does not know it"
    return ""


def maintenance(database: Database) -> Database:
    """The same server through a database that is not the live one: a database cannot be renamed from within."""
    with admin_session(database) as session:
        return database.named(str(session.scalar("SELECT current_database() AS name")))


@contextlib.contextmanager
def admin_session(database: Database, release: str = "cli") -> Iterator[Session]:
    """A session of the release outside the live database, whose commits survive a crash of the server."""
    with outside(database.as_release(release)) as session:
        yield session


@contextlib.contextmanager
def outside(database: Database) -> Iterator[Session]:
    """The same under the application name that ``database`` has."""
    names = [name for name in ("postgres", "template1") if name != database.conninfo.dbname]
    for name in names:
        with database.named(name).session() as session:
            try:
                # A server may run with synchronous_commit = off; a fence that a crash undoes is none.
                session.execute(
                    "SELECT set_config('synchronous_commit', 'local', false)"
                    " WHERE current_setting('synchronous_commit') = 'off'"
                )
            except Unavailable as error:
                absent = "does not exist" in error.message or "not currently accepting" in error.message
                if name == names[-1] or not absent:
                    raise
                continue
            yield session
            return


def look(session: Session, name: str) -> Optional[Found]:
    """One database by its exact name, or None."""
    return next(iter(_query(session, bind("d.datname = %s", name))), None)


def identity(session: Session, name: str) -> DatabaseIdentity:
    """Which database of the session's server ``name`` is now: what every session on it has to prove."""
    query = IDENTITY.replace("pg_catalog.current_database()", quote_literal(name))
    rows = session.rows(query)
    if not rows:
        raise Refused(f"There is no database named {name}.", database=name)
    return DatabaseIdentity.from_row(**rows[0])


def managed(session: Session, database: Database, live: str = "") -> list[Managed]:
    """Every database that says it was made for the live name (that of ``database``, if ``live`` does not name another),
    with the verdict whether that is true."""
    live = live or database.conninfo.dbname
    known = database.registry.known()
    pattern = quote_literal(RECORD_PREFIX.replace("_", "\\_") + "{%")
    names = ", ".join(quote_literal(name) for name in known) or "NULL"
    found = _query(session, f"shobj_description(d.oid, 'pg_database') LIKE {pattern} OR d.datname IN ({names})")
    judged = [judge(entry, live, database.registry, known) for entry in found]
    return [entry for entry in judged if entry is not None and entry.name != live]


def ours(session: Session, database: Database, live: str = "") -> list[Managed]:
    """Those of :func:`managed` that are ours."""
    return [entry for entry in managed(session, database, live) if entry.ours]


def our(session: Session, database: Database, kind: str, release: str, live: str = "") -> Optional[Managed]:
    """Our database of that kind and release, or None."""
    return next((entry for entry in ours(session, database, live) if entry.is_for(kind, release)), None)


def why_not_ours(session: Session, database: Database, name: str, live: str = "") -> str:
    """Why the database ``name``, which has one of our names, is not ours; empty if it says nothing of us."""
    return next((entry.why for entry in managed(session, database, live) if entry.name == name), "")


def _query(session: Session, condition: str) -> list[Found]:
    return session.records(
        Found,
        "SELECT d.datname AS name, d.oid::int8 AS oid, d.datallowconn AS allow_connections,"
        " CASE WHEN has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) END AS bytes,"
        " d.datconnlimit AS connection_limit, shobj_description(d.oid, 'pg_database') AS comment,"
        " pg_get_userbyid(d.datdba) AS owner, d.datistemplate AS template,"
        " coalesce((SELECT s.sessions FROM pg_stat_database s WHERE s.datid = d.oid), 0) AS sessions,"
        " (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid) AS connections"
        f" FROM pg_database d WHERE {condition} ORDER BY 1",
    )


def intend(
    session: Session, database: Database, name: str, kind: str, release: str, oid: Optional[int] = None, **data: Any
) -> None:
    """Write down, before it happens, that a database gets ``name``. The first time, the state folder becomes this
    stack's."""
    database.registry.claim(str(session.scalar("SELECT system_identifier::text AS i FROM pg_control_system()")))
    database.registry.intend(name, kind, release, oid, **data)


def record_text(database: Database, kind: str, live: str, release: str, oid: int, **more: Any) -> str:
    """The record of the database with ``oid``, as its comment; its ``id`` is random, so that no other has the same."""
    registry = database.registry
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    body = {"kind": kind, "of": live, "release": release, "at": at, "id": secrets.token_hex(8), "oid": oid, **more}
    body["stack"] = registry.id
    if registry.name:
        body["stack_name"] = registry.name
    return RECORD_PREFIX + json.dumps(body, ensure_ascii=False, sort_keys=True)


def comment_on(name: str, text: Optional[str]) -> str:
    return f"COMMENT ON DATABASE {quote_ident(name)} IS {quote_literal(text)}"


def refuse_collision(name: str, why: str = "") -> Refused:
    return Refused(
        f"A database named {name} exists, and pap-deploy did not make it{f': {why}' if why else ''}.",
        hint="That database stays as it is. Rename it (or drop it), and run this again.",
        database=name,
    )


def end_sessions(
    session: Session, name: str, *, seconds: float, only: str = "true", once: bool = False
) -> list[Client]:
    """End every session in database ``name`` (that matches the condition ``only``) and wait until they are gone.

    With ``once`` it only asks them to end. Returns who they were. Raises Unavailable, naming them, if some are still
    there after ``seconds``, Refused if they cannot be ended for want of privilege.
    """
    where = (
        f"datname = {quote_literal(name)} AND pid <> pg_backend_pid()"
        f" AND backend_type IS DISTINCT FROM 'autovacuum worker' AND ({only})"
    )
    listing = (
        "SELECT pid, usename AS role, application_name AS application, client_addr::text AS address, state,"
        f" backend_type AS type FROM pg_stat_activity WHERE {where} ORDER BY pid"
    )
    ended: dict[int, Client] = {}
    limit = time.monotonic() + seconds
    while True:
        there = session.records(Client, listing)
        if not there:
            return list(ended.values())
        ended.update((client.pid, client) for client in there)
        if time.monotonic() > limit and not once:
            names, sessions = ", ".join(map(str, there[:5])), plural(len(there), "session")
            raise Unavailable(f"{sessions} in {name} did not end: {names}.", sessions=whole(there))
        try:
            session.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {where}")
        except CommandFailed as error:
            raise Refused(
                f"The sessions in {name} cannot be ended: {error.message}",
                hint="Give the administrating role pg_signal_backend, or use a superuser where the app is one.",
                sessions=whole(there),
            ) from error
        if once:
            return list(ended.values())
        time.sleep(0.02)


def undroppable(session: Session, managed: Managed) -> str:
    """Why DROP DATABASE would fail, or must not be tried; empty if nothing is in the way."""
    found = managed.found
    name = quote_literal(found.name)
    if found.template:
        return "a person holds it as a template (ALTER DATABASE … IS_TEMPLATE false releases it)"
    for query, said in (
        (f"SELECT gid FROM pg_prepared_xacts WHERE database = {name}", "prepared transaction {} is open in it"),
        (f"SELECT slot_name FROM pg_replication_slots WHERE database = {name}", "replication slot {} belongs to it"),
        (f"SELECT s.subname FROM pg_subscription s WHERE s.subdbid = {found.oid}", "subscription {} belongs to it"),
    ):
        first = session.scalar(f"{query} ORDER BY 1")
        if first is not None:
            return said.format(first)
    if managed.kind == "failed" and found.connections:
        return "a session is connected to it"
    mine = session.scalar(f"SELECT pg_has_role(datdba, 'USAGE') AS mine FROM pg_database WHERE oid = {found.oid}")
    return "" if mine else f"its owner is {found.owner}, and this role may not drop it"


def refuse_undroppable(session: Session, managed: Managed) -> Optional[Found]:
    """Raise Refused, with nothing done to it, if a database is not ours, if it cannot be dropped, or if it was kept
    aside and is inspected. Returns it as it stands now; None if it is gone."""
    found = look(session, managed.name)
    if found is None:
        return None
    if not managed.ours or found.oid != managed.found.oid:
        raise refuse_collision(managed.name, managed.why)
    why = undroppable(session, replace(managed, found=found))
    if why:
        raise Refused(
            f"Database {found.name} cannot be dropped: {why}.", hint="It was left as it is.", database=found.name
        )
    return found


def drop(session: Session, database: Database, managed: Managed) -> None:
    """Drop a database that is ours, with the sessions in it. ``WITH (FORCE)`` is refused to roles that are not
    superuser. Raises as :func:`refuse_undroppable`, with no session ended."""
    found = refuse_undroppable(session, managed)
    if found is None:
        return
    if found.connections:
        end_sessions(session, found.name, seconds=15)
    session.execute(f"DROP DATABASE IF EXISTS {quote_ident(found.name)}")
    database.registry.gone(found.name)
