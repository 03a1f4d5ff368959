"""Names of the databases that a release makes, and the record by which each is known to be ours.

A database of ours carries a record as its comment (``pap-deploy {json}``). The comment is stored with the database, so
it survives crashes, restarts and renames. Nothing without such a record is ever touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from ..core.database_identity import IDENTITY, RECORD_PREFIX, DatabaseIdentity, record_of
from ..core.text import plural
from ..errors import CommandFailed, Refused, Unavailable
from ..postgres import MAX_NAME_BYTES, Database, Session, bind, quote_ident, quote_literal

KINDS = ("scratch", "failed", "snap", "fenced", "restored")
# A database that CREATE DATABASE has just made, before its record is written: nobody can have connected to it.
NEWBORN_LIMIT = 4711
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
    """One database of the server. ``record`` is ours or None; ``comment`` is the raw text; ``connections`` counts
    sessions."""

    name: str
    oid: int
    bytes: Optional[int]
    allow_connections: bool
    connection_limit: int
    comment: Optional[str]
    owner: str
    connections: int

    @property
    def record(self) -> Optional[dict[str, Any]]:
        return record_of(self.comment)

    @property
    def newborn(self) -> bool:
        """Made by CREATE DATABASE of ours and not yet recorded: no session can ever have been in it."""
        return self.comment is None and not self.allow_connections and self.connection_limit == NEWBORN_LIMIT

    def is_ours(self, kind: str, live: str, release: str) -> bool:
        record = self.record
        return record is not None and (record["kind"], record.get("of"), record.get("release")) == (kind, live, release)


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


def ours(session: Session, live: str) -> list[Found]:
    """Every database that carries our record and was made for the live database ``live``."""
    pattern = RECORD_PREFIX.replace("_", "\\_") + "{%"
    found = _query(session, f"shobj_description(d.oid, 'pg_database') LIKE {quote_literal(pattern)}")
    return [entry for entry in found if entry.record is not None and entry.record.get("of") == live]


def _query(session: Session, condition: str) -> list[Found]:
    rows = session.rows(
        "SELECT d.datname AS name, d.oid::int8 AS oid, d.datallowconn AS allow_connections,"
        " CASE WHEN has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) END AS bytes,"
        " d.datconnlimit AS connection_limit, shobj_description(d.oid, 'pg_database') AS comment,"
        " pg_get_userbyid(d.datdba) AS owner,"
        " (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid) AS connections"
        f" FROM pg_database d WHERE {condition} ORDER BY 1"
    )
    return [Found(**row) for row in rows]


def record_text(kind: str, live: str, release: str, **more: Any) -> str:
    """The record of a new database; its ``id`` is random, so that no other database has the same one."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    body = {"kind": kind, "of": live, "release": release, "at": at, "id": secrets.token_hex(8), **more}
    return RECORD_PREFIX + json.dumps(body, ensure_ascii=False, sort_keys=True)


def comment_on(name: str, text: Optional[str]) -> str:
    return f"COMMENT ON DATABASE {quote_ident(name)} IS {quote_literal(text)}"


def refuse_collision(name: str) -> Refused:
    return Refused(
        f"A database named {name} exists, and pap-deploy did not make it.",
        hint="Rename or drop it, or deploy under another release id.",
        database=name,
    )


def end_sessions(
    session: Session, name: str, *, seconds: float, only: str = "true", once: bool = False
) -> list[dict[str, Any]]:
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
    ended: dict[int, dict[str, Any]] = {}
    limit = time.monotonic() + seconds
    while True:
        there = session.rows(listing)
        if not there:
            return list(ended.values())
        for entry in there:
            ended[int(entry["pid"])] = entry
        if time.monotonic() > limit and not once:
            names = ", ".join(f"{e['application'] or e['type']} of {e['role']} (pid {e['pid']})" for e in there[:5])
            raise Unavailable(f"{plural(len(there), 'session')} in {name} did not end: {names}.", sessions=there)
        try:
            session.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {where}")
        except CommandFailed as error:
            raise Refused(
                f"The sessions in {name} cannot be ended: {error.message}",
                hint="Give the administrating role pg_signal_backend, or use a superuser where the app is one.",
                sessions=there,
            ) from error
        if once:
            return list(ended.values())
        time.sleep(0.02)


def drop(session: Session, found: Found) -> None:
    """Drop a database that is ours, sessions and all. ``WITH (FORCE)`` is refused to roles that are not superuser."""
    if found.record is None and not found.newborn:
        raise refuse_collision(found.name)
    if found.connections:
        end_sessions(session, found.name, seconds=15)
    session.execute(f"DROP DATABASE IF EXISTS {quote_ident(found.name)}")
