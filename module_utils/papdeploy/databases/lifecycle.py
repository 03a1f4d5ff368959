"""Make, swap and drop the databases of a release. Only what is ours by the rule of :mod:`.names` is ever dropped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ..core.errors import CommandFailed, PapError, Refused
from ..core.records import as_object, read_known
from ..core.registry import LIVE
from ..sql.quoting import quote_ident, quote_literal
from . import foreign_servers, properties
from .fence import alone, obstacles
from .managed_names import (
    UNCLAIMED_LIMIT,
    Found,
    admin_session,
    comment_on,
    derived,
    drop,
    end_sessions,
    identity,
    intend,
    look,
    maintenance,
    managed,
    our,
    ours,
    record_text,
    refuse_collision,
    refuse_undroppable,
    undroppable,
    why_not_ours,
)
from .properties import Properties
from .psql import Database, Session, bind


@dataclass(frozen=True)
class Snapshot:
    """A copy of a database that the server made, by ``method``: clone (by reflink) or copy."""

    database: str
    method: str
    bytes: Optional[int]
    seconds: float


@dataclass(frozen=True)
class Swap:
    """The database with the OID ``oid`` took the live name ``database``; ``kept``, which was ``was``, was set aside.
    ``swapped`` is False where that had happened before."""

    database: str = ""
    kept: str = ""
    swapped: bool = False
    why: str = ""
    oid: Optional[int] = None
    was: Optional[int] = None


def create_empty(
    database: Database,
    release: str,
    kind: str = "scratch",
    *,
    traits: Optional[Properties] = None,
    live: str = "",
) -> Database:
    """A new empty database beside ``database`` with its owner, encoding and locale (or those of ``traits``).
    ``live`` is the live name if ``database`` is behind the fence.

    One of ours that an earlier, killed run left under the same name is dropped first; anybody else's is refused.
    """
    live = live or database.conninfo.dbname
    name = derived(live, kind, release)
    with admin_session(database, release) as session:
        version = int(session.scalar("SELECT current_setting('server_version_num')::int AS v"))
        properties.refuse_ungivable(session, database.conninfo.dbname)
        traits = traits or properties.capture(session, database.conninfo.dbname)
        _make_way(session, database, live, release, kind)
        intend(session, database, name, kind, release)
        with _refusing_collision(database, release, kind, live):
            session.execute(_unclaimed(properties.create_like(name, traits, version)))
        # No other session may connect, not even between two statements: the record opens it.
        session.execute(f"REVOKE CONNECT, TEMPORARY ON DATABASE {quote_ident(name)} FROM PUBLIC")
        _record(session, database, kind, live, release, connect=True)
        made = database.named(name).as_release(release).expecting(identity(session, name))
    made.prove()
    return made


def expected(database: Database, name: str, release: str) -> Database:
    """The database ``name`` that was made before beside ``database``, with what every session on it has to prove."""
    with admin_session(database, release) as session:
        return database.named(name).as_release(release).expecting(identity(session, name))


def snapshot(database: Database, release: str, *, live: str, source: str = "", kind: str = "snap") -> Snapshot:
    """A copy of ``database`` (alone behind the fence) as ``<live>__snap_<release>``, closed to all connections; or of
    another ``source``, as a ``kind`` of its own.

    The server copies the files: by reflink where PostgreSQL 18 and the filesystem can (``file_copy_method = clone``),
    else whole.
    """
    source = source or database.conninfo.dbname
    name = derived(live, kind, release)
    with admin_session(database, release) as session:
        version = int(session.scalar("SELECT current_setting('server_version_num')::int AS v"))
        traits = properties.capture(session, source)
        _make_way(session, database, live, release, kind)
        intend(session, database, name, kind, release)
        started = time.monotonic()
        base = f"CREATE DATABASE {quote_ident(name)} TEMPLATE {quote_ident(source)}"
        statement = _unclaimed(base + (" STRATEGY file_copy" if version >= 150000 else ""))
        method = "copy"
        end_sessions(session, source, seconds=10)
        with _refusing_collision(database, release, kind, live):
            if version >= 180000:
                method = _clone_or_copy(database, release, statement)
            else:
                session.execute(statement)
        found = _record(session, database, kind, live, release, connect=False, traits=as_object(traits))
        return Snapshot(name, method, found.bytes, round(time.monotonic() - started, 3))


def _clone_or_copy(database: Database, release: str, statement: str) -> str:
    try:
        with maintenance(database).as_release(release).session({"file_copy_method": "clone"}) as cloning:
            cloning.execute(statement)
        return "clone"
    except PapError as error:
        # Only "this filesystem or build cannot clone" leads to a copy; every other failure would fail again.
        if not any(word in str(error) + str(error.data) for word in ("clone", "file_copy_method")):
            raise
    with admin_session(database, release) as session:
        session.execute(statement)
    return "copy"


def swap(database: Database, release: str, replacement: str, *, traits: Optional[Properties] = None) -> Swap:
    """Put database ``replacement`` (ours) in the place of the live one, which is kept as ``<db>__failed_<release>``.

    Both renames, the owner, privileges, settings and connection limits of the live database (or ``traits``) and the
    records happen in one transaction: a reader sees the old database under the live name, or the new one. Repeated
    after it has happened, it says so and changes nothing. ``database`` carries the live name; the fence may be up.
    """
    live = database.conninfo.dbname
    failed = derived(live, "failed", release)
    with admin_session(database, release) as session:
        fresh = next((entry for entry in ours(session, database) if entry.name == replacement), None)
        if fresh is None and swapped(session, database, release):
            return Swap(live, failed, why="the swap has already happened")
        refuse_taken(session, database, release, ("failed",))
        if fresh is None or (fresh.kind, fresh.release) not in (("snap", release), ("restored", release)):
            raise Refused(f"{replacement} is not a database that pap-deploy made for {live}.", database=replacement)
        current = our(session, database, "fenced", release)
        if current is None:
            raise Refused(
                f"The fence of release {release} around {live} is not up.",
                hint="Raise it first: names are swapped only while no client can write.",
                database=live,
            )
        problems = [*obstacles(session, current.name), *bound(session, current.name)]
        if problems:
            raise Refused(f"{live} cannot be swapped: {problems[0]}", hint=" ".join(problems[1:]), obstacles=problems)
        before, noted = current.record.before, fresh.record.traits
        if before is None:
            raise Refused(
                f"The record of the fence around {live} does not hold what the database allowed before.",
                hint=f"Someone changed the comment of {current.name}. Lift the fence by hand and roll back again.",
                database=current.name,
            )
        wanted = traits or (read_known(Properties, noted) if noted else properties.capture(session, current.name))
        done = Swap(live, failed, True, oid=fresh.found.oid, was=current.found.oid)
        intend(session, database, failed, "failed", release, done.was)
        intend(session, database, live, LIVE, release, done.oid, was=done.was)
        steps = [
            f"ALTER DATABASE {quote_ident(current.name)} RENAME TO {quote_ident(failed)}",
            f"ALTER DATABASE {quote_ident(replacement)} RENAME TO {quote_ident(live)}",
            *properties.apply(live, wanted),
            f"ALTER DATABASE {quote_ident(live)} ALLOW_CONNECTIONS {'true' if before.allow_connections else 'false'}"
            f" CONNECTION LIMIT {before.connection_limit}",
            comment_on(live, before.comment),
            *properties.template(live, failed, wanted),
            # Open for a look by whoever may; no application knows this name.
            f"ALTER DATABASE {quote_ident(failed)} ALLOW_CONNECTIONS true",
            comment_on(failed, record_text(database, "failed", live, release, current.found.oid, live_oid=done.oid)),
        ]
        alone(session, database, release, (current.name, replacement), steps)
    for name in (current.name, replacement):
        database.registry.gone(name)
    return done


def swapped(session: Session, database: Database, release: str) -> bool:
    """Whether the content from before ``release`` is in the place of the live database already."""
    live = look(session, database.conninfo.dbname)
    noted = database.registry.known().get(database.conninfo.dbname)
    if live and noted and (noted.kind, noted.release, noted.oid) == (LIVE, release, live.oid):
        return True
    return live is not None and our(session, database, "failed", release) is not None


def refuse_taken(session: Session, database: Database, release: str, kinds: Sequence[str], live: str = "") -> None:
    """Raise Refused if a name that ``release`` needs is that of a database which is not ours, or cannot be dropped."""
    live = live or database.conninfo.dbname
    for kind in kinds:
        found = look(session, derived(live, kind, release))
        if found is None:
            continue
        mine = our(session, database, kind, release, live)
        if mine is None:
            raise refuse_collision(found.name, why_not_ours(session, database, found.name, live))
        if kind == "failed":
            raise Refused(
                f"Database {found.name} was quarantined by an earlier rollback of release {release}.",
                hint="Drop it (rollback_drop_failed=true) or rename it, then run this again.",
                database=found.name,
            )
        why = undroppable(session, mine) if kind != "fenced" else ""
        if why:
            raise Refused(
                f"Database {found.name}, which an earlier run left, cannot be replaced: {why}.",
                hint="Clear that, or drop the database by hand; then run this again.",
                database=found.name,
            )


def bound(session: Session, name: str) -> list[str]:
    """What is tied to a database by its OID and would stay with the one that is put aside, each with what to do."""
    slots = f"SELECT slot_name AS name FROM pg_replication_slots WHERE database = {quote_literal(name)} ORDER BY 1"
    subscriptions = (
        "SELECT s.subname AS name FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid"
        f" WHERE d.datname = {quote_literal(name)} ORDER BY 1"
    )
    stays = "belongs to it and would not follow"
    return [
        *(f"logical replication slot {slot} {stays}: end that replication first." for slot in session.column(slots)),
        *(
            f"subscription {subscription} {stays}: drop it (with its slot_name set to NONE, the publisher keeps"
            " what it has not sent), and create it again afterwards."
            for subscription in session.column(subscriptions)
        ),
    ]


def restored_and_proven(database: Database, release: str, sha256: str) -> Optional[str]:
    """The database that an earlier, killed rollback of ``release`` had restored from that archive and found equal."""
    with admin_session(database) as session:
        found = our(session, database, "restored", release)
    noted = database.registry.known().get(found.name) if found else None
    if found is None or found.record.proven != sha256 or (noted and noted.proven != sha256):
        return None
    return found.name


def note_proven(database: Database, name: str, release: str, sha256: str) -> None:
    """Write into the record of a restored database that it is whole and equal to archive ``sha256``, and close it."""
    live = database.conninfo.dbname
    with admin_session(database) as session:
        found = our(session, database, "restored", release)
        if found is None or found.name != name:
            raise Refused(f"{name} is not the database that pap-deploy restored for {live}.", database=name)
        oid = found.found.oid
        database.registry.made(name, oid, proven=sha256)
        kept = {"id": found.record.id, "live_oid": found.record.live_oid}
        text = record_text(database, "restored", live, release, oid, proven=sha256, **kept)
        session.execute(
            f"BEGIN; {comment_on(name, text)}; ALTER DATABASE {quote_ident(name)} ALLOW_CONNECTIONS false; COMMIT"
        )


def drop_created(database: Database, release: str, kinds: Sequence[str]) -> list[str]:
    """Drop the databases of the given kinds that ``release`` made for the live name; their names."""
    dropped: list[str] = []
    with admin_session(database, release) as session:
        for entry in ours(session, database):
            if entry.kind in kinds and entry.release == release:
                drop(session, database, entry)
                dropped.append(entry.name)
    return dropped


def drop_named(database: Database, name: str, *, check_mode: bool = False) -> None:
    """Drop the database ``name``, judged again now. Raises Refused, with nothing done to it, if it is not ours, or if
    a session is connected to it or holds it; ``check_mode`` does no more than that."""
    with admin_session(database) as session:
        entry = next((entry for entry in managed(session, database) if entry.name == name), None)
        if entry is None:
            raise Refused(f"Database {name} is not there any more, or not ours.", database=name)
        refuse_undroppable(session, entry)
        if not check_mode:
            drop(session, database, entry)


def cleanup_leftovers(database: Database, *, keep: Sequence[str] = ()) -> list[str]:
    """Drop the scratch and half-restored databases of any run of this stack that is over. Those named in ``keep`` stay.

    Call it under the deploy lock. What else a release leaves is needed, or may be: retention decides on it.
    """
    dropped: list[str] = []
    with admin_session(database) as session:
        for entry in ours(session, database):
            stale = entry.kind in ("scratch", "restored") or entry.found.unclaimed
            if stale and not entry.in_use and entry.name not in keep:
                with contextlib.suppress(Refused):  # what cannot be dropped is listed by status, and stops nothing
                    drop(session, database, entry)
                    dropped.append(entry.name)
    return dropped


def ready_for_rehearsal(database: Database, scratch: Database) -> None:
    """Give a scratch copy the owner, privileges and settings of the live database, so that the app's role meets there
    what it meets in life."""
    with admin_session(database) as session:
        properties.refuse_ungivable(session, database.conninfo.dbname)
        traits = properties.capture(session, database.conninfo.dbname)
        session.execute("BEGIN;" + ";".join(properties.apply(scratch.conninfo.dbname, traits)) + ";COMMIT")
    foreign_servers.lead_to_copy(database, scratch)


def _unclaimed(statement: str) -> str:
    return f"{statement} ALLOW_CONNECTIONS false CONNECTION LIMIT {UNCLAIMED_LIMIT}"


def _record(
    session: Session, database: Database, kind: str, live: str, release: str, *, connect: bool, **more: Any
) -> Found:
    """Write the record of an unclaimed database, open it if it is to be, and note its OID."""
    name = derived(live, kind, release)
    made = look(session, name)
    if made is None:
        raise Refused(f"Database {name} was dropped or renamed while it was made.", database=name)
    text = record_text(database, kind, live, release, made.oid, live_oid=_live_oid(session, database), **more)
    session.execute(
        f"BEGIN; {comment_on(name, text)};"
        f"ALTER DATABASE {quote_ident(name)} ALLOW_CONNECTIONS {'true' if connect else 'false'} CONNECTION LIMIT -1;"
        "COMMIT"
    )
    database.registry.made(name, made.oid)
    return made


def _live_oid(session: Session, database: Database) -> Optional[int]:
    """The OID of the database that ``database`` leads to: the live one, by its name or behind its fence."""
    found = look(session, database.conninfo.dbname)
    return found.oid if found else None


def _make_way(session: Session, database: Database, live: str, release: str, kind: str) -> None:
    """Drop what an earlier, killed run left under the name, or still has the server make; refuse what is not ours."""
    _end_creation(session, derived(live, kind, release), release)
    refuse_taken(session, database, release, (kind,), live)
    there = our(session, database, kind, release, live)
    if there is not None:
        drop(session, database, there)


def _end_creation(session: Session, name: str, release: str) -> None:
    """End a CREATE DATABASE of ``name`` that outlived the run of this release which sent it. A server goes on with it
    when its client is gone; until it commits no session sees the database, yet the name is taken."""
    only = bind(
        "application_name = %s AND state = 'active' AND starts_with(query, %s)",
        f"pap-deploy:{release}"[:63],
        f"CREATE DATABASE {quote_ident(name)} ",
    )
    end_sessions(session, str(session.scalar("SELECT current_database() AS name")), seconds=60, only=only)


@contextlib.contextmanager
def _refusing_collision(database: Database, release: str, kind: str, live: str) -> Iterator[None]:
    """Where a CREATE DATABASE fails because another session created that name at the same moment, or because this role
    may create none, say so."""
    try:
        yield
    except CommandFailed:
        with admin_session(database, release) as session:
            found = look(session, derived(live, kind, release))
            role = session.scalar("SELECT current_user::text AS role")
            mine = session.scalar("SELECT rolsuper OR rolcreatedb AS may FROM pg_roles WHERE rolname = current_user")
        if not mine:
            raise Refused(
                f"Role {role} may not create databases on {database.site.label}, and this work is done on a copy.",
                hint=f"As a superuser: ALTER ROLE {quote_ident(role)} CREATEDB;"
                " or set pap_db_admin_user to one that may.",
            ) from None
        if found is not None and not found.unclaimed:
            raise refuse_collision(found.name) from None
        raise
