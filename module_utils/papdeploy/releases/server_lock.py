"""The lock on the server: one stack at a time works on a live database, whatever host or state folder it works from.

An advisory lock of two integers: a constant of ours, and the hash of the live database's name. It is taken in the
maintenance database, since the fence renames the live one and ends the sessions in it, and by the name, since a swap
gives that name to another database (OID) in the middle of a rollback. A process on the target host holds it from the
beginning of a release to its end (see ``keeper``): between two modules no process of a release runs.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Optional

from ..core.errors import CommandFailed, Refused, Unavailable
from ..core.records import as_object, plain
from ..databases.managed_names import admin_session, outside
from ..databases.psql import Database, Session, bind
from ..migrations.run.advisory_lock import STACK_CLASS as CLASS
from ..sql.quoting import quote_literal
from .holder import Holder, Remains

_PATIENCE_S = 3.0  # for a session whose client has just been killed
_QUIET_S = 0.3  # a program that lost its session may open one more before it notices the end of its caller


# Whether the asking session holds a lock of this kind.
HELD = f"""EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = {CLASS}
       AND pid = pg_backend_pid())"""

# Whether the session has a role that a stack can work with (see docs/security.md); one that cannot be seen may have.
_A_STACK = "(r.oid IS NULL OR r.rolsuper OR r.rolcreatedb)"


def key(live: str) -> int:
    """The second integer of the lock for the live database of this name."""
    return int.from_bytes(hashlib.sha256(live.encode()).digest()[:4], "big", signed=True)


@dataclass(frozen=True)
class _Session:
    pid: int
    datname: Optional[str]


@dataclass(frozen=True)
class _Other:
    """The session that holds the lock."""

    pid: int
    application: Optional[str]
    role: Optional[str]
    address: str
    since: Optional[str]


@dataclass(frozen=True)
class ServerLock:
    """The lock of one live database."""

    database: Database

    def name_of(self, held: Holder) -> str:
        """What the session that holds the lock for ``held`` is called: all that another stack can know of it."""
        text = f"pap-deploy lock {held.token} {held.release} {held.stack}".strip()
        return text.encode("ascii", "replace").decode()[:63]

    def acquire(self, session: Session, name: str) -> None:
        """Take the lock in ``session``, called ``name``. Raises Refused, naming who has it."""
        live = self.database.conninfo.dbname
        limit = time.monotonic() + _PATIENCE_S
        while not session.scalar(f"SELECT pg_try_advisory_lock({CLASS}, {key(live)}) AS taken"):
            self._end_pretenders(session)
            other = self._holder(session)
            if other and other.application == name:  # a keeper of this very lock that its run has lost sight of
                session.execute(f"SELECT pg_terminate_backend({other.pid})")
            elif time.monotonic() > limit:
                raise _refused(live, other)
            time.sleep(0.05)

    def refuse_other(self, held: Optional[Holder]) -> None:
        """Raise Refused if a session has the lock that is not that of ``held``, who holds this stack's own lock."""
        limit = time.monotonic() + _PATIENCE_S
        with outside(self.database) as session:
            while (other := self._holder(session)) and not (held and other.application == self.name_of(held)):
                if time.monotonic() > limit:
                    raise _refused(self.database.conninfo.dbname, other)
                time.sleep(0.1)

    def sessions(self, release: str) -> list[int]:
        """The sessions by which ``release`` works on this server; not the one that holds its lock."""
        with admin_session(self.database) as session:
            return [int(pid) for pid in session.column(f"SELECT pid FROM pg_stat_activity WHERE {_of(release)}")]

    def end_sessions(self, remains: Remains, *, seconds: float = 20.0) -> int:
        """End every session of a run that is over, the one that held its lock too; how many there were."""
        where = f"({_of(remains.release)}"
        if remains.token:
            where += f" OR application_name LIKE {quote_literal(f'pap-deploy lock {remains.token} %')}"
        where += ") AND pid <> pg_backend_pid()"
        ended: set[int] = set()
        limit, quiet = time.monotonic() + seconds, 0
        with admin_session(self.database) as session:
            while True:
                there = session.records(_Session, f"SELECT pid, datname FROM pg_stat_activity WHERE {where}")
                quiet = 0 if there else quiet + 1
                if quiet == 2 or (quiet and not ended):
                    return len(ended)
                if time.monotonic() > limit:
                    names = ", ".join(f"{each.pid} in {each.datname}" for each in there)
                    raise Unavailable(
                        f"Sessions of the old run {remains.release} did not end: {names}.",
                        hint="End them with pg_terminate_backend, then run this again.",
                        sessions=plain(there),
                    )
                ended |= {each.pid for each in there}
                try:
                    session.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {where}")
                except CommandFailed as error:
                    raise Refused(
                        f"The sessions of the old run {remains.release} cannot be ended: {error.message}",
                        hint="Give the administrating role pg_signal_backend, or use a superuser where the app is one.",
                        sessions=plain(there),
                    ) from error
                time.sleep(_QUIET_S if quiet else 0.05)

    def _holder(self, session: Session) -> Optional[_Other]:
        """Who has it; of those that could be a stack."""
        found = session.records(
            _Other,
            "SELECT l.pid, a.application_name AS application, a.usename AS role,"
            " coalesce(host(a.client_addr), 'a local socket') AS address,"
            " to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS since"
            f" {self._asked} AND l.granted AND {_A_STACK}",
        )
        return found[0] if found else None

    def _end_pretenders(self, session: Session) -> None:
        """End the sessions that have the lock, or wait for it, and are no stack's: an advisory lock is anybody's to
        take, and would keep a rollback waiting. Only those are ended that this role may end."""
        session.execute(
            f"SELECT pg_terminate_backend(l.pid) {self._asked} AND NOT {_A_STACK} AND (pg_has_role(a.usesysid, 'USAGE')"
            " OR pg_has_role('pg_signal_backend', 'USAGE'))"
        )

    @property
    def _asked(self) -> str:
        return (
            "FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a USING (pid)"
            " LEFT JOIN pg_roles AS r ON r.oid = a.usesysid WHERE l.locktype = 'advisory' AND l.objsubid = 2"
            "  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            f"  AND l.classid = {CLASS} AND l.objid = {key(self.database.conninfo.dbname) % (1 << 32)}"
        )


def _of(release: str) -> str:
    """A condition on pg_stat_activity: sessions of ``release``, and of what its migrations start."""
    name = f"pap-deploy:{release}"
    return bind(
        "(application_name = %s OR left(application_name, %s) = %s)", name[:63], len(name[:54]) + 1, f"{name[:54]}:"
    )


def _refused(live: str, other: Optional[_Other]) -> Refused:
    if other is None:
        return Refused(f"Another session takes and frees the lock of database {live} all the time.", hint="Try again.")
    words = (other.application or "").split(" ", 4)
    ours = words[:2] == ["pap-deploy", "lock"] and len(words) > 3
    who = f"release {words[3]}{f' of stack {words[4]}' if words[4:] else ''}" if ours else f"{other.application!r}"
    return Refused(
        f"Another stack works on database {live}: {who}, from another state folder or target host. Its session is"
        f" process {other.pid} of the server (role {other.role} from {other.address}, since {other.since}"
        " UTC).",
        hint="Wait until it has ended. One database is one stack's: compare pap_db_name and pap_state_dir of the two."
        f" If its host is gone for good: SELECT pg_terminate_backend({other.pid}).",
        other=as_object(other),
    )
