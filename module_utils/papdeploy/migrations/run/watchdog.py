"""A thread beside the run: sees who blocks a waiting statement, and ends the work at the deadline."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from typing import Any, Optional

from ...core.errors import PapError
from ...core.records import whole
from . import drivers
from .connection import Connection
from .records import Blocker

INTERVAL_S = 0.2
GRACE_S = 5.0
MAX_QUERY = 200

_BLOCKERS = """
SELECT b.pid, coalesce(a.application_name, ''), coalesce(a.usename, ''), coalesce(a.state, ''),
       coalesce(date_trunc('second', a.xact_start AT TIME ZONE 'UTC') || ' UTC', ''), coalesce(a.query, '')
FROM unnest(pg_blocking_pids(%s)) AS b(pid) LEFT JOIN pg_stat_activity AS a USING (pid)
"""


class Watch:
    """Started with the first statement that may wait; has a connection of its own only once it needs one."""

    def __init__(self, session: Connection) -> None:
        self._session = session
        self._thread: Optional[threading.Thread] = None
        self._stop = threading.Event()
        self._raw: Any = None
        self.blockers: list[Blocker] = []

    @property
    def is_current_thread(self) -> bool:
        return self._thread is not None and threading.get_ident() == self._thread.ident

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="pap-deploy-watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None and not self.is_current_thread:
            self._thread.join(5)
        if self._raw is not None:
            with contextlib.suppress(Exception):  # a broken connection needs no closing
                self._raw.close()
            self._raw = None

    def take_blockers(self) -> list[Blocker]:
        """Who was seen blocking the last statement that waited; forgotten by being asked."""
        seen, self.blockers = self.blockers, []
        return seen

    def _run(self) -> None:
        session = self._session
        patience = min(1.0, (session.options.lock_timeout_s or 4.0) / 4)
        interval = min(INTERVAL_S, patience / 2)
        looked_at = 0.0
        told: set[int] = set()
        cancelled_at = 0.0
        while not self._stop.wait(interval if session.remaining() > interval else 0.05):
            since = session.waiting_since
            try:
                if session.remaining() <= 0:
                    now = time.monotonic()
                    if since is not None and not cancelled_at:
                        session.raw.cancel()
                        cancelled_at = now
                    elif cancelled_at and now - cancelled_at > GRACE_S:
                        self._rows("SELECT pg_terminate_backend(%s)", (session.facts.pid,))
                        return
                    elif not cancelled_at and session.interrupt():
                        cancelled_at = now
                elif since is not None and time.monotonic() - max(since, looked_at) > patience:
                    looked_at = time.monotonic()
                    self._look(told)
            except (PapError, session.driver.module.Error):
                # Watching is a help, not a condition: the limits of the server hold without it.
                self._raw = None
                looked_at = time.monotonic() + 5

    def _look(self, told: set[int]) -> None:
        session = self._session
        rows = self._rows(_BLOCKERS, (session.facts.pid,))
        if not rows:
            return
        self.blockers = [
            Blocker(pid, application, user, state, since, " ".join(query.split())[:MAX_QUERY])
            for pid, application, user, state, since, query in rows
        ]
        fresh = [blocker for blocker in self.blockers if blocker.pid not in told]
        if fresh:
            told.update(blocker.pid for blocker in fresh)
            session.emit("blocked", by=whole(fresh))

    def _rows(self, query: str, params: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._raw is None:
            target = self._session.target
            _, self._raw = drivers.connect(
                # Options of its own, because PGOPTIONS keeps the children of migrations from connecting.
                replace(target, arguments={"options": "", **target.arguments}),
                drivers.Hooks(),
                application_name=self._session.application_name,
                driver=self._session.driver.name,
                expect=self._session.options.expect_database,
            )
        cursor = self._raw.cursor()
        try:
            cursor.execute(query, params)
            return list(cursor.fetchall())
        finally:
            cursor.close()
