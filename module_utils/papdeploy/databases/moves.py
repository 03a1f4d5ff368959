"""Make, swap and drop the databases of a release. Only what carries our record is ever dropped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Optional

from ..errors import PapError, Refused
from ..postgres import Database, Session, quote_ident, quote_literal
from . import properties
from .fence import alone, obstacles
from .names import (
    NEWBORN_LIMIT,
    Found,
    admin_session,
    comment_on,
    derived,
    drop,
    end_sessions,
    identity,
    look,
    maintenance,
    ours,
    record_text,
    refuse_collision,
)


def create_empty(
    database: Database,
    release: str,
    kind: str = "scratch",
    *,
    traits: Optional[dict[str, Any]] = None,
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
        traits = traits or properties.capture(session, database.conninfo.dbname)
        _make_way(session, name, live, release, kind)
        session.execute(_newborn(properties.create_like(name, traits, version)))
        _record(session, name, record_text(kind, live, release), connect=True)
        # The dump creates public's objects, not public itself; and nobody else needs to come in.
        session.execute(f"REVOKE CONNECT, TEMPORARY ON DATABASE {quote_ident(name)} FROM PUBLIC")
        made = database.named(name).as_release(release).expecting(identity(session, name))
    made.prove()
    return made


def expected(database: Database, name: str, release: str) -> Database:
    """The database ``name`` that was made before beside ``database``, with what every session on it has to prove."""
    with admin_session(database, release) as session:
        return database.named(name).as_release(release).expecting(identity(session, name))


def snapshot(database: Database, release: str, *, live: str) -> dict[str, Any]:
    """A copy of ``database`` (alone behind the fence) as ``<live>__snap_<release>``, closed to all connections.

    The server copies the files: by reflink where PostgreSQL 18 and the filesystem can (``file_copy_method = clone``),
    else whole. Returns name, seconds, bytes and ``method``.
    """
    source = database.conninfo.dbname
    name = derived(live, "snap", release)
    with admin_session(database, release) as session:
        version = int(session.scalar("SELECT current_setting('server_version_num')::int AS v"))
        traits = properties.capture(session, source)
        _make_way(session, name, live, release, "snap")
        started = time.monotonic()
        base = f"CREATE DATABASE {quote_ident(name)} TEMPLATE {quote_ident(source)}"
        statement = _newborn(base + (" STRATEGY file_copy" if version >= 150000 else ""))
        method = "copy"
        end_sessions(session, source, seconds=10)
        if version >= 180000:
            method = _clone_or_copy(database, release, statement)
        else:
            session.execute(statement)
        record = record_text("snap", live, release, traits=traits, source_oid=_oid(session, source))
        _record(session, name, record, connect=False)
        found = look(session, name)
        assert found is not None
        return {
            "kind": "snapshot",
            "database": name,
            "method": method,
            "bytes": found.bytes,
            "seconds": round(time.monotonic() - started, 3),
        }


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


def swap(
    database: Database, release: str, replacement: str, *, traits: Optional[dict[str, Any]] = None
) -> dict[str, Any]:
    """Put database ``replacement`` (ours) in the place of the live one, which is kept as ``<db>__failed_<release>``.

    Both renames, the owner, privileges, settings and connection limits of the live database (or ``traits``) and the
    records happen in one transaction: a reader sees the old database under the live name, or the new one. Repeated
    after it has happened, it says so and changes nothing. ``database`` carries the live name; the fence may be up.
    """
    live = database.conninfo.dbname
    failed = derived(live, "failed", release)
    with admin_session(database, release) as session:
        done = look(session, failed)
        fresh = look(session, replacement)
        if done is not None and done.is_ours("failed", live, release) and fresh is None:
            return {"swapped": False, "database": live, "kept": failed, "why": "the swap has already happened"}
        if done is not None:
            raise refuse_collision(failed)
        if fresh is None or fresh.record is None or fresh.record.get("of") != live:
            raise Refused(f"{replacement} is not a database that pap-deploy made for {live}.", database=replacement)
        current = look(session, derived(live, "fenced", release))
        if current is None or not current.is_ours("fenced", live, release):
            raise Refused(
                f"The fence of release {release} around {live} is not up.",
                hint="Raise it first: names are swapped only while nobody can write.",
                database=live,
            )
        problems = [*obstacles(session, current.name), *bound(session, current.name)]
        if problems:
            raise Refused(f"{live} cannot be swapped: {problems[0]}", hint=" ".join(problems[1:]), obstacles=problems)
        before = (current.record or {})["before"]
        wanted = traits or fresh.record.get("traits") or properties.capture(session, current.name)
        steps = [
            f"ALTER DATABASE {quote_ident(current.name)} RENAME TO {quote_ident(failed)}",
            f"ALTER DATABASE {quote_ident(replacement)} RENAME TO {quote_ident(live)}",
            *properties.apply(live, wanted),
            f"ALTER DATABASE {quote_ident(live)} ALLOW_CONNECTIONS {'true' if before['allow_connections'] else 'false'}"
            f" CONNECTION LIMIT {int(before['connection_limit'])}",
            comment_on(live, before["comment"]),
            # Open for a look by whoever may; no application knows this name.
            f"ALTER DATABASE {quote_ident(failed)} ALLOW_CONNECTIONS true",
            comment_on(failed, record_text("failed", live, release, oid=current.oid)),
        ]
    alone(database, release, (current.name, replacement), steps)
    return {"swapped": True, "database": live, "kept": failed, "why": ""}


def bound(session: Session, name: str) -> list[str]:
    """What is tied to a database by its OID and would stay with the one that is put aside, each with what to do."""
    slots = f"SELECT slot_name AS name FROM pg_replication_slots WHERE database = {quote_literal(name)} ORDER BY 1"
    subscriptions = (
        "SELECT s.subname AS name FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid"
        f" WHERE d.datname = {quote_literal(name)} ORDER BY 1"
    )
    stays = "belongs to it and would not follow"
    return [
        *(
            f"logical replication slot {slot['name']} {stays}: end that replication first."
            for slot in session.rows(slots)
        ),
        *(
            f"subscription {subscription['name']} {stays}: drop it (with its slot_name set to NONE, the publisher keeps"
            " what it has not sent), and create it again afterwards."
            for subscription in session.rows(subscriptions)
        ),
    ]


def restored_and_proven(database: Database, release: str, sha256: str) -> Optional[str]:
    """The database that an earlier, killed rollback of ``release`` had restored from that archive and found equal."""
    live = database.conninfo.dbname
    with admin_session(database) as session:
        found = look(session, derived(live, "restored", release))
        ours_ = found is not None and found.is_ours("restored", live, release)
        return found.name if found and ours_ and (found.record or {}).get("proven") == sha256 else None


def note_proven(database: Database, name: str, release: str, sha256: str) -> None:
    """Write into the record of a restored database that it is whole and equal to archive ``sha256``, and close it."""
    live = database.conninfo.dbname
    with admin_session(database) as session:
        found = look(session, name)
        kept = {"id": (found.record or {}).get("id", "")} if found else {}
        session.execute(
            f"BEGIN; {comment_on(name, record_text('restored', live, release, proven=sha256, **kept))};"
            f"ALTER DATABASE {quote_ident(name)} ALLOW_CONNECTIONS false; COMMIT"
        )


def drop_created(database: Database, release: Optional[str], kinds: Sequence[str]) -> list[str]:
    """Drop the databases of the given kinds that ``release`` (None: any) made for the live name; their names."""
    live = database.conninfo.dbname
    dropped: list[str] = []
    with admin_session(database, release or "cli") as session:
        for found in ours(session, live):
            record = found.record or {}
            if record["kind"] in kinds and found.name != live and release in (None, record.get("release")):
                drop(session, found)
                dropped.append(found.name)
    return dropped


def cleanup_leftovers(database: Database, release: str = "", *, keep: Sequence[str] = ()) -> list[str]:
    """Drop what is needed no more: scratch and half-restored databases of any run, and, when ``release`` has finished,
    the snapshots of earlier releases. Databases named in ``keep`` stay.

    Call it under the deploy lock. Failed and fenced databases hold data that nothing else has: they are no leftovers.
    """
    live = database.conninfo.dbname
    dropped: list[str] = []
    with admin_session(database) as session:
        for found in ours(session, live):
            record = found.record or {}
            stale = record["kind"] in ("scratch", "restored")
            stale |= record["kind"] == "snap" and bool(release) and record.get("release") != release
            if stale and found.name not in (live, *keep):
                drop(session, found)
                dropped.append(found.name)
        prefix = f"{live}__" if len(live.encode()) <= 40 else live.encode()[:40].decode("utf-8", "ignore")
        names = session.rows(
            "SELECT datname AS name FROM pg_database WHERE NOT datallowconn AND starts_with(datname,"
            f" {quote_literal(prefix)}) AND datconnlimit IN ({NEWBORN_LIMIT}, -2)"
        )
        for row in names:
            # -2 marks a database whose DROP was interrupted (since 16): only dropping it again is possible
            newborn = look(session, str(row["name"]))
            if newborn is not None and (newborn.newborn or newborn.record is not None):
                drop(session, newborn)
                dropped.append(newborn.name)
    return dropped


def existing(database: Database) -> list[dict[str, Any]]:
    """Every database of ours for this live name: name, kind, release, since, bytes. For status and retention."""
    with admin_session(database) as session:
        return [
            {
                "name": found.name,
                "kind": (found.record or {})["kind"],
                "release": (found.record or {}).get("release"),
                "since": (found.record or {}).get("at"),
                "bytes": found.bytes,
                "oid": found.oid,
            }
            for found in ours(session, database.conninfo.dbname)
        ]


def ready_for_rehearsal(database: Database, scratch: Database) -> None:
    """Give a scratch copy the owner, privileges and settings of the live database, so that the app's role meets there
    what it meets in life."""
    with admin_session(database) as session:
        traits = properties.capture(session, database.conninfo.dbname)
        session.execute("BEGIN;" + ";".join(properties.apply(scratch.conninfo.dbname, traits)) + ";COMMIT")


def _newborn(statement: str) -> str:
    return f"{statement} ALLOW_CONNECTIONS false CONNECTION LIMIT {NEWBORN_LIMIT}"


def _record(session: Session, name: str, text: str, *, connect: bool) -> None:
    session.execute(
        f"BEGIN; {comment_on(name, text)};"
        f"ALTER DATABASE {quote_ident(name)} ALLOW_CONNECTIONS {'true' if connect else 'false'} CONNECTION LIMIT -1;"
        "COMMIT"
    )


def _make_way(session: Session, name: str, live: str, release: str, kind: str) -> None:
    there: Optional[Found] = look(session, name)
    if there is None:
        return
    if not (there.newborn or there.is_ours(kind, live, release)):
        raise refuse_collision(name)
    drop(session, there)


def _oid(session: Session, name: str) -> int:
    found = look(session, name)
    return found.oid if found else 0
