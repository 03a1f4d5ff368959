"""The one database connection of a run: what passes through it, its deadline, and what is told of it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Optional

from ...core.errors import DeadlineExceeded
from ...core.redact import Redactor
from .. import ledger, server_wide
from ..options import RunOptions
from . import drivers

if TYPE_CHECKING:
    from .step import Step

Emit = Callable[[dict[str, Any]], None]

_HELLO = f"""
SELECT pg_backend_pid(), current_setting('server_version_num')::int, pg_is_in_recovery(), current_database(),
       session_user, to_regnamespace('{ledger.SCHEMA}') IS NOT NULL, {ledger.EXISTS},
       extract(epoch FROM clock_timestamp())::float8,
       (SELECT count(*) FROM (
           SELECT set_config(s.name, s.value, false)
           FROM (VALUES ('lock_timeout', %s), ('statement_timeout', %s), ('idle_in_transaction_session_timeout', %s),
                        ('transaction_timeout', %s), ('idle_session_timeout', '0'),
                        ('client_connection_check_interval', '5s')) AS s(name, value)
           JOIN pg_settings USING (name)) AS done)
"""


@dataclass
class Facts:
    """What the server said when the session began."""

    pid: int
    version: int
    in_recovery: bool
    database: str
    user: str
    schema_exists: bool
    ledger_exists: bool
    clock: float


@dataclass
class Transaction:
    """One transaction of the run, as it goes into the result."""

    number: int
    xid: int
    identities: list[str] = field(default_factory=list)
    seconds: float = 0.0
    attempts: int = 1


class TimeUp(BaseException):
    """The deadline passed while a migration was in Python code; becomes DeadlineExceeded where it arrives."""


class Connection(drivers.Hooks):
    """Opened with :meth:`open`. Every statement passes :meth:`statement`, whoever sends it. Not for several threads."""

    def __init__(self, target: drivers.Target, options: RunOptions, *, release: str, who: str, emit: Emit) -> None:
        self.target = target
        self.options = options
        self.release = release
        self.who = who
        self.run = _new_uuid()
        self.application_name = f"pap-deploy:{release}"[:63]
        # What sessions of child processes are called (PGAPPNAME), so that they can be told from all others.
        self.child_name = f"pap-deploy:{release}"[:54] + f":{self.run[:8]}"
        self.ends_at = time.monotonic() + options.deadline_s
        self.step: Optional[Step] = None
        self.waiting_since: Optional[float] = None  # when the running statement was sent
        self.transaction: Optional[Transaction] = None
        self.events: list[dict[str, Any]] = []
        self.left_out: list[server_wide.LeftOut] = []  # on a copy: the statements that act on the whole server
        self.outward: dict[str, str] = {}  # on a copy, by migration: what it did to reach more than this session
        self._emit = emit
        self._emit_lock = threading.Lock()
        self.redactor = Redactor(target.url.secrets, environment=os.environ)
        self._step_lock = threading.Lock()
        self._worker = 0
        self._quiet = 0
        self._clock_at = 0.0
        self.raw: Any = None
        self.driver: Any = None
        self.facts: Any = None

    def open(self) -> Connection:
        """Connect and apply the limits. Raises Unavailable with the server's own words, WrongDatabase if it is not the
        database of ``options.expect_database``."""
        self.driver, self.raw = drivers.connect(
            self.target,
            self,
            application_name=self.application_name,
            driver=self.options.driver,
            expect=self.options.expect_database,
        )
        options = self.options
        left = max(1, int(self.remaining()))
        row = self.query(
            _HELLO,
            (
                f"{int(options.lock_timeout_s * 1000)}ms",
                f"{int(options.statement_timeout_s * 1000)}ms",
                f"{left + 30}s",
                f"{left + 30}s",
            ),
        )[0]
        self.facts = Facts(*row[:8])
        self._clock_at = time.monotonic()
        return self

    def close(self) -> None:
        """End the session; the server rolls back what was not committed and frees the lock."""
        if self.raw is not None and not self.raw.closed:
            with self.internal(), contextlib.suppress(self.driver.module.Error):
                self.raw.close()

    # -- time ---------------------------------------------------------------------------------------------------------

    def remaining(self) -> float:
        """Seconds until the deadline of the run."""
        return self.ends_at - time.monotonic()

    def check_deadline(self) -> None:
        if self.remaining() <= 0:
            raise DeadlineExceeded(
                f"The run did not end within {self.options.deadline_s:g} s and was stopped.",
                hint="What is not in the ledger did not happen. Raise deadline_s, or move the backfill to batches.",
                seconds=self.options.deadline_s,
            )

    def begin_step(self, step: Step) -> None:
        """From here on, what passes through the connection is ``step``'s."""
        self._worker = threading.get_ident()
        self.step = step

    def end_step(self) -> None:
        with self._step_lock:
            self.step = None
        for _ in range(20):  # an interrupt that was sent before the lock was taken arrives here, not in our own code
            pass

    def interrupt(self) -> bool:
        """Raise :class:`TimeUp` in a migration that spends its time in Python. Called by the watch."""
        import ctypes

        with self._step_lock:
            if self.step is None or self._quiet:
                return False
            return bool(
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._worker), ctypes.py_object(TimeUp))
            )

    # -- statements ---------------------------------------------------------------------------------------------------

    def query(self, sql: str, params: Optional[Sequence[Any]] = None) -> list[tuple[Any, ...]]:
        """Run a statement of the runner itself (positional ``%s``); its rows, if any."""
        with self.internal():
            cursor = self.raw.cursor()
            try:
                cursor.execute(sql, params) if params is not None else cursor.execute(sql)
                return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            finally:
                cursor.close()

    def statement(self, sql: str, call: Callable[..., Any], cursor: Any) -> Any:
        """Hook of the guarded connection: every statement, of the runner or of a migration, comes through here."""
        step = None if self._quiet else self.step
        if step is None:
            self.waiting_since = time.monotonic()
            try:
                return call()
            finally:
                self.waiting_since = None
        self.check_deadline()
        step.before(self, sql)
        if self.options.on_copy and (rest := step.leave_out(self, sql)) != sql:
            if not rest:
                with self.internal():
                    return cursor.execute(server_wide.NOTHING)
            sql, call = rest, partial(call, rest)
        started = time.perf_counter()
        self.waiting_since = time.monotonic()
        try:
            result = call()
        except BaseException as error:
            self.waiting_since = None
            step.failed(sql, time.perf_counter() - started, error)
            self.check_deadline()  # a statement that the watch cancelled is a deadline, not an error of its own
            raise
        finally:
            self.waiting_since = None
            if step.lock_timeout_lifted:
                step.after(self)
        step.done(sql, time.perf_counter() - started, getattr(cursor, "rowcount", -1))
        return result

    def control(self, what: str) -> bool:
        """Hook: commit, rollback, close and autocommit belong to the runner."""
        if self._quiet:
            return what == "close"  # SQLAlchemy's own tidying up must not end our transaction
        if self.step is not None:
            return self.step.control(what)
        return self.transaction is None or what == "close"  # the check, too, leaves the transaction to the runner

    @contextlib.contextmanager
    def internal(self) -> Iterator[None]:
        """While active, statements are the runner's own: not recorded, not judged."""
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1

    @property
    def status(self) -> int:
        return int(self.driver.status(self.raw))

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return self.raw is None or self.status == drivers.UNKNOWN

    # -- telling ------------------------------------------------------------------------------------------------------

    def emit(self, event: str, **data: Any) -> None:
        """Tell the caller, in texts without secrets; notable events also go into the result."""
        message = {"event": event, **self.redactor.record(data)}
        with self._emit_lock:
            if event not in ("migration_started", "migration_done", "output", "progress"):
                self.events.append(message)
            self._emit(message)

    def now(self) -> str:
        """The server's clock in UTC (ISO 8601), kept by ours between round trips."""
        seconds = float(self.facts.clock) + time.monotonic() - self._clock_at
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat()


def _new_uuid() -> str:
    """A random UUID (RFC 9562, version 4); the module ``uuid`` takes longer to import than all else here."""
    number = bytearray(os.urandom(16))
    number[6], number[8] = number[6] & 0x0F | 0x40, number[8] & 0x3F | 0x80
    text = number.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
