"""After a connection was lost at COMMIT: ask the server, through the ledger, what happened."""

from __future__ import annotations

import time
from typing import Callable, Optional

from ...core.errors import Unavailable
from .. import ledger
from .connection import Connection, Transaction

PATIENCE_S = 5.0

_ASK = f"""
SELECT EXISTS (SELECT FROM {ledger.SCHEMA}.batch WHERE run = %s AND number = %s),
       EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s AND application_name = %s)
"""


def resolve(
    session: Connection, transaction: Transaction, *, reconnect: Callable[[], None], take_lock: Callable[[], None]
) -> bool:
    """Whether ``transaction`` was committed; if so, the lock is taken again.

    Reconnects, and waits while its server process still works on it.

    The row in ``pap_deploy.batch`` was written by that transaction, so it is there exactly if the COMMIT happened. Its
    absence counts only once the old server process is gone. Raises Unavailable if that cannot be found out in time.
    """
    old_pid = session.facts.pid
    session.emit("connection_lost", transaction=transaction.number)
    pause, began = 0.1, time.monotonic()
    while True:
        problem: Optional[BaseException] = None
        try:
            if session.lost:
                reconnect()
            committed, working = _ask(session, transaction, old_pid)
            if committed or not working:
                # Absent and no session at work: read once more, because it may have committed between the two reads.
                committed = committed or _ask(session, transaction, old_pid)[0]
                session.emit("commit_resolved", transaction=transaction.number, committed=committed)
                if committed:
                    take_lock()
                return committed
            if time.monotonic() - began > PATIENCE_S:
                # It did not notice that we are gone, or waits for a standby. Ended, it has committed or it has not.
                session.query("SELECT pg_terminate_backend(%s)", (old_pid,))
        except (Unavailable, session.driver.module.Error) as error:
            problem = error
        if session.remaining() <= pause:
            raise Unavailable(
                "The connection was lost at COMMIT and the server could not be asked what happened"
                f" ({problem or 'its process is still at work'}).",
                hint="When it answers again, run `status`: what the ledger lists as applied is committed, no more.",
                outcome="unknown",
                run=session.run,
                transaction=transaction.number,
            )
        time.sleep(pause)
        pause = min(2.0, pause * 2)


def _ask(session: Connection, transaction: Transaction, old_pid: int) -> tuple[bool, bool]:
    if not session.query(f"SELECT to_regclass('{ledger.SCHEMA}.batch') IS NOT NULL")[0][0]:
        committed, working = (
            False,
            session.query(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s AND application_name = %s)",
                (old_pid, session.application_name),
            )[0][0],
        )
        return committed, bool(working)
    committed, working = session.query(_ASK, (session.run, transaction.number, old_pid, session.application_name))[0]
    return bool(committed), bool(working)
