"""The advisory lock of a run: one run per database, held by the connection that does the work."""

from __future__ import annotations

import time
from typing import Any, NamedTuple, Optional

from ...core.errors import Refused
from .. import ledger
from .connection import Connection

_HOLDER = f"""
SELECT l.pid, coalesce(a.application_name, ''), coalesce(a.usename, ''),
       coalesce(date_trunc('second', a.backend_start AT TIME ZONE 'UTC') || ' UTC', ''),
       coalesce(a.client_addr::text, 'local'), coalesce(a.state, '')
FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.classid = {ledger.LOCK_HIGH} AND l.objid = {ledger.LOCK_LOW}
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

# The first integer of the advisory lock that a stack holds while it works on a live database, in the maintenance
# database (see ``releases``).
STACK_CLASS = 0x70617064

# Whether a session called %s holds that lock: what a run that belongs to a release asks before COMMIT.
KEPT = f"""EXISTS (SELECT FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a USING (pid)
       WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid = {STACK_CLASS}
         AND a.application_name = %s)"""

KEEPER_S = 15.0

# Whether the asking session holds it.
HELD = f"""EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
       AND pid = pg_backend_pid() AND classid = {ledger.LOCK_HIGH} AND objid = {ledger.LOCK_LOW})"""


def acquire(session: Connection) -> None:
    """Take the lock by polling; name its holder while waiting and when giving up.

    Polling, because a session blocked in pg_advisory_lock holds a snapshot, which CREATE INDEX CONCURRENTLY awaits.
    """
    from random import uniform

    gives_up_at = time.monotonic() + min(session.options.lock_wait_s, session.remaining())
    told = 0
    while not session.query(f"SELECT pg_try_advisory_lock({ledger.LOCK_KEY})")[0][0]:
        found = holder(session)
        if found and found.pid != told:
            told = found.pid
            session.emit("waiting_for_lock", holder=as_json(found))
        if time.monotonic() >= gives_up_at:
            raise Refused(
                f"Another migration run holds the lock of this database: {_describe(found)}.",
                hint="Wait for it. If its program is dead, end its session: SELECT pg_terminate_backend("
                f"{found.pid if found else 'pid'}).",
                holder=as_json(found),
            )
        time.sleep(uniform(0.1, 0.5))


def assert_kept(session: Connection) -> None:
    """Raise Refused unless the release, if this run belongs to one, still has its lock on the server: a run that was
    taken over commits nothing. One whose keeper was ended gets another one within seconds, which is waited for."""
    name = session.options.guard
    limit = time.monotonic() + min(KEEPER_S, session.remaining())
    while name and not session.query(f"SELECT {KEPT}", (name,))[0][0]:
        if time.monotonic() > limit:
            raise Refused(
                "The lock of this release on the server is held no more: another run has taken the stack over.",
                hint="This run changes nothing more; status.yml says who works on the stack.",
            )
        time.sleep(0.2)
        session.query("SELECT pg_stat_clear_snapshot()")  # a transaction sees the sessions of its first look


class Holder(NamedTuple):
    """Who holds the lock. ``since``: when it connected; ``client``: from where."""

    pid: int
    application: str
    user: str
    since: str
    client: str
    state: str


def holder(session: Connection) -> Optional[Holder]:
    """Who holds the lock; None if it is free."""
    return next((Holder(*row) for row in session.query(_HOLDER)), None)


def as_json(found: Optional[Holder]) -> Any:
    return dict(zip(("pid", "application", "user", "since", "from", "state"), found or ()))


def _describe(found: Optional[Holder]) -> str:
    if not found:
        return "a session that has just ended"
    return (
        f"process {found.pid} ({found.application or 'no application name'}, user {found.user} from {found.client},"
        f" connected since {found.since}, now {found.state or 'unknown'})"
    )
