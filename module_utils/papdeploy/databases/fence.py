"""The fence: while it is up, only the release writes to the database.

The live database is renamed to ``<db>__fenced_<release>``. Its name then does not exist: that holds for every role,
superusers included, for a container that starts itself again, through a pooler and across a restart of the server. The
release works under the other name. No setting of PostgreSQL does this (see the decision record on the fence):
CONNECTION LIMIT and CONNECT do not bind superusers or owners, anyone can switch default_transaction_read_only off,
ALLOW_CONNECTIONS false locks the release out as well.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Callable, Optional

from ..core.database_identity import Before
from ..core.errors import PapError, Refused, Unavailable
from ..core.records import plain, whole
from ..sql.quoting import quote_ident, quote_literal
from . import write_snapshot
from .managed_names import (
    CLIENT,
    Client,
    Managed,
    admin_session,
    comment_on,
    derived,
    end_sessions,
    intend,
    look,
    managed,
    ours,
    record_text,
    refuse_collision,
    why_not_ours,
)
from .psql import Database, Session


@dataclass(frozen=True)
class Foreign:
    """A session behind the fence that is not of its release."""

    pid: int
    role: Optional[str]
    application: Optional[str]
    address: Optional[str]


@dataclass(frozen=True)
class Fence:
    """The fence of ``release`` around the ``live`` name: ``database`` is the name to work under, ``oid`` what it is,
    ``id`` that of this raising of it (lifted and raised again, it is another). ``ended``: the sessions that were ended
    to raise it; ``foreign_sessions``: those behind it now that are not of the release."""

    database: str
    live: str
    release: str
    id: str
    since: Optional[str]
    before: Optional[Before]
    oid: int
    ended: tuple[Client, ...] = ()
    foreign_sessions: tuple[Foreign, ...] = ()


@dataclass(frozen=True)
class Lifted:
    """``mark``: what is written after this moment is what a rollback would lose. ``lifted`` is False where no fence was
    up; then there is none."""

    lifted: bool
    database: str
    mark: Optional[write_snapshot.Mark]
    ended: tuple[Client, ...]
    release: str = ""


def fence(database: Database, release: str, *, grace_s: float = 5.0, seconds: float = 20.0) -> Fence:
    """Raise the fence around ``database`` (the live name) for ``release``.

    Running transactions get ``grace_s`` seconds to end by themselves, then every session is ended; within ``seconds``
    the database is alone or the fence is taken down again and Unavailable raised. Calling it again for the same release
    converges.
    """
    live = database.conninfo.dbname
    name = derived(live, "fenced", release)
    with admin_session(database, release) as session:
        standing = _standing(session, database)
        if standing is not None and standing.name == name:
            if look(session, live) is not None:
                raise _both_exist(live, name)
            return _state(standing, live)
        if standing is not None:
            raise Refused(
                f"Database {live} is behind the fence of release {standing.release}.",
                hint="Finish that release first: run rollback.yml, or lift its fence by name.",
                database=standing.name,
            )
        found = look(session, live)
        if found is None:
            raise Refused(
                f"There is no database named {live}.",
                hint=stranded(database) or "Check its name in the inventory.",
                database=live,
            )
        there = look(session, name)
        if there is not None:
            raise refuse_collision(name, why_not_ours(session, database, name))
        problems = obstacles(session, live)
        if problems:
            raise Refused(
                f"The fence cannot be raised around {live}: {problems[0]}",
                hint=" ".join(problems[1:]),
                obstacles=problems,
            )
        before = Before(found.allow_connections, found.connection_limit, found.comment)
        noted = {"before": whole(before), "id": secrets.token_hex(8)}
        intend(session, database, name, "fenced", release, found.oid, **noted)
        _let_finish(session, live, grace_s)
        # One transaction: after a kill the fence is up or it is not, there is no state between.
        record = record_text(database, "fenced", live, release, found.oid, live_oid=found.oid, **noted)
        ended = alone(
            session,
            database,
            release,
            (live,),
            [f"ALTER DATABASE {quote_ident(live)} RENAME TO {quote_ident(name)}", comment_on(name, record)],
            seconds=seconds,
        )
        standing = _standing(session, database)
        assert standing is not None
        return replace(_state(standing, live), ended=ended)


def unfence(
    database: Database,
    release: Optional[str] = None,
    *,
    seconds: float = 20.0,
    last: Callable[[Session], object] = lambda _: None,
) -> Lifted:
    """Take the fence down, whichever release raised it (or only that of ``release``); nothing happens if there is none.
    ``last`` is called with a session behind it just before."""
    live = database.conninfo.dbname
    with admin_session(database, release or "cli") as session:
        standing = _standing(session, database)
        if standing is None:
            return Lifted(False, live, None, ())
        if release is not None and standing.release != release:
            raise Refused(
                f"The fence around {live} belongs to release {standing.release}, not to {release}.",
                hint=f"Lift it by that name: release={standing.release}.",
                release=standing.release,
            )
        if look(session, live) is not None:
            raise _both_exist(live, standing.name)
        with database.named(standing.name).as_release(standing.release).session() as inside:
            mark = write_snapshot.take(inside)
            last(inside)
        lifting = _lifting(standing, live)
        ended = alone(session, database, standing.release, (standing.name,), lifting, seconds=seconds)
    database.registry.gone(standing.name)
    return Lifted(True, live, mark, ended, standing.release)


def fence_state(database: Database) -> Optional[Fence]:
    """The fence around the live name, or None."""
    live = database.conninfo.dbname
    with admin_session(database) as session:
        standing = _standing(session, database)
        if standing is None:
            return None
        foreign = session.records(
            Foreign,
            "SELECT pid, usename AS role, application_name AS application, client_addr::text AS address"
            f" FROM pg_stat_activity WHERE datname = {quote_literal(standing.name)} AND {CLIENT}"
            f" AND application_name <> {quote_literal('pap-deploy:' + standing.release)}",
        )
        return replace(_state(standing, live), foreign_sessions=tuple(foreign))


@dataclass(frozen=True)
class _Me:
    name: str
    superuser: bool
    createdb: bool
    owner: Optional[bool]  # None: no such database


def obstacles(session: Session, name: str) -> list[str]:
    """Why ``name`` could not be renamed now, each with what to do; empty if nothing is in the way."""
    problems: list[str] = []
    me = session.records(
        _Me,
        "SELECT r.rolname AS name, r.rolsuper AS superuser, r.rolcreatedb AS createdb,"
        " (SELECT pg_has_role(r.oid, d.datdba, 'USAGE')"
        f" FROM pg_database d WHERE d.datname = {quote_literal(name)}) AS owner"
        " FROM pg_roles r WHERE r.rolname = current_user",
    )[0]
    if not me.superuser and not (me.createdb and me.owner):
        problems.append(f"role {me.name} may not rename it: it must own {name} and have CREATEDB, or be superuser.")
    for gid in session.column(
        f"SELECT gid FROM pg_prepared_xacts WHERE database = {quote_literal(name)} ORDER BY prepared"
    ):
        problems.append(f"a prepared transaction {gid!r} is open: COMMIT PREPARED or ROLLBACK PREPARED it.")
    for slot in session.column(
        f"SELECT slot_name FROM pg_replication_slots WHERE database = {quote_literal(name)} AND active"
    ):
        problems.append(f"replication slot {slot} is being read: stop its consumer.")
    for subscription in session.column(
        "SELECT s.subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid"
        f" WHERE d.datname = {quote_literal(name)} AND s.subenabled"
    ):
        problems.append(f"subscription {subscription} is enabled: ALTER SUBSCRIPTION … DISABLE it.")
    return problems


def stranded(database: Database) -> str:
    """What is where the live name does not exist and no fence of this stack is up, with the statements that lift a
    fence by hand; empty if the live database is there, or the fence is ours."""
    live = database.conninfo.dbname
    with admin_session(database) as session:
        if look(session, live) is not None or _standing(session, database) is not None:
            return ""
        found = [entry for entry in managed(session, database) if entry.kind == "fenced" and _original(entry, live)]
    if not found:
        return ""
    entry = found[0]
    return (
        f"{entry.name} is {live} itself, behind the fence that release {entry.release} raised at"
        f" {entry.record.at} ({entry.why}). Where that release is at work, or its state folder still is, end it"
        " from there (rollback.yml). Else lift the fence by hand, connected to another database, as superuser or owner:"
        f" {'; '.join(_lifting(entry, live))};"
    )


def _original(entry: Managed, live: str) -> bool:
    """Whether a fenced database that is not this stack's is one that was fenced, not a copy."""
    named = entry.name == derived(live, "fenced", entry.release)
    return named and entry.record.oid in (None, entry.found.oid)


def _lifting(entry: Managed, live: str) -> list[str]:
    """The statements, for one transaction, that give a fenced database its name and traits back."""
    before = entry.record.before or Before()
    allow = "true" if before.allow_connections else "false"
    return [
        f"ALTER DATABASE {quote_ident(entry.name)} RENAME TO {quote_ident(live)}",
        f"ALTER DATABASE {quote_ident(live)} ALLOW_CONNECTIONS {allow} CONNECTION LIMIT {before.connection_limit}",
        comment_on(live, before.comment),
    ]


def _standing(session: Session, database: Database) -> Optional[Managed]:
    """The database behind a standing fence of ours."""
    return next((entry for entry in ours(session, database) if entry.kind == "fenced"), None)


def _state(standing: Managed, live: str) -> Fence:
    said = standing.record
    return Fence(standing.name, live, standing.release, said.id, said.at, said.before, standing.found.oid)


def _both_exist(live: str, fenced: str) -> Refused:
    return Refused(
        f"Both {live} and its fenced form {fenced} exist.",
        hint=f"Something created {live} while the fence was up. Rename it away, then run this again.",
        database=live,
    )


def alone(
    session: Session,
    database: Database,
    release: str,
    names: Sequence[str],
    steps: Sequence[str],
    *,
    seconds: float = 20.0,
) -> tuple[Client, ...]:
    """Do ``steps`` in one transaction that needs the databases ``names`` empty (a rename), ending whoever is in them.
    ``session`` is outside of them.

    The rename locks the name first, so that no new session comes in, and then waits 5 seconds for those inside
    (``CountOtherDBBackends``); meanwhile another session ends them. Returns who they were; raises Refused or
    Unavailable, naming them, if they do not go within ``seconds``: nothing has changed then.
    """
    ended: dict[int, Client] = {}
    limit = time.monotonic() + seconds
    while True:
        failed: list[PapError] = []

        def work(failed: list[PapError] = failed) -> None:
            try:
                with admin_session(database, release) as inside:
                    inside.execute("BEGIN;" + ";".join(steps) + ";COMMIT")
            except PapError as error:
                failed.append(error)

        for name in names:
            _note(ended, end_sessions(session, name, seconds=seconds))
        renaming = threading.Thread(target=work, daemon=True)
        renaming.start()
        while renaming.is_alive():
            renaming.join(0.02)
            for name in names:
                _note(ended, end_sessions(session, name, seconds=0, once=True))
        if not failed:
            return tuple(ended.values())
        if "being accessed by other users" not in failed[0].message or time.monotonic() > limit:
            raise failed[0]


def _note(ended: dict[int, Client], sessions: Sequence[Client]) -> None:
    ended.update((client.pid, client) for client in sessions)


def _let_finish(session: Session, name: str, grace_s: float) -> None:
    """Wait until no transaction is open in ``name``, at most ``grace_s`` seconds."""
    limit = time.monotonic() + grace_s
    while time.monotonic() < limit:
        open_now = session.scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = "
            f"{quote_literal(name)} AND xact_start IS NOT NULL AND {CLIENT}"
        )
        if not open_now:
            return
        time.sleep(0.05)


def must_be_fenced(database: Database, release: str) -> Database:
    """The database behind the fence of ``release``; raises Unavailable if it is not up or has foreign sessions."""
    state = fence_state(database)
    if state is None or state.release != release:
        raise Unavailable(f"The fence of release {release} around {database.conninfo.dbname} is not up.")
    if state.foreign_sessions:
        who = state.foreign_sessions[0]
        raise Unavailable(
            f"A foreign session is behind the fence: {who.application or 'a session'} of {who.role} (pid {who.pid}).",
            hint="A client connected to the database under its fenced name; end that session and find out why.",
            foreign_sessions=plain(state.foreign_sessions),
        )
    return database.named(state.database).as_release(release)
