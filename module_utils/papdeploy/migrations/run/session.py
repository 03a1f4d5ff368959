"""The one connection of a run: its settings, its lock, its transactions, and the record of what passes through it."""

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

from ...core.errors import DeadlineExceeded, PapError, Refused, Unavailable
from ...core.redact import Redactor
from .. import ledger, server_wide
from ..options import RunOptions
from . import advisory_lock, drivers
from .engine import engine_on
from .watchdog import Watch

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
_SETTINGS = f"""
SELECT name, setting FROM pg_settings
WHERE source = 'session' AND name NOT LIKE '{ledger.SCHEMA}.%'
  AND name NOT IN ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable')
"""
_VERIFY = f"""
SELECT txid_current() = %s, pg_backend_pid() = %s, {advisory_lock.HELD},
       coalesce((SELECT string_agg(pid::text, ', ') FROM pg_stat_activity
                 WHERE application_name = %s AND datname = current_database()), '')
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

    def as_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


class TimeUp(BaseException):
    """The deadline passed while a migration was in Python code; becomes DeadlineExceeded where it arrives."""


class Session(drivers.Hooks):
    """Opened with :meth:`open`, always closed with :meth:`close`. Not for use from several threads."""

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
        self.watch = Watch(self)
        self.transaction: Optional[Transaction] = None
        self.transactions: list[Transaction] = []
        self.events: list[dict[str, Any]] = []
        self.left_out: list[dict[str, Any]] = []  # on a copy: the statements that act on the whole server
        self._emit = emit
        self._emit_lock = threading.Lock()
        self.redactor = Redactor(target.url.secrets, environment=os.environ)
        self._step_lock = threading.Lock()
        self._worker = 0
        self._quiet = 0
        self.late = ""  # a migration that used db when it was over
        self._engine: Any = None
        self._locked = False
        self._settings: dict[str, str] = {}
        self._clock_at = 0.0
        self.raw: Any = None
        self.driver: Any = None
        self.facts: Any = None

    # -- opening and closing ------------------------------------------------------------------------------------------

    def open(self) -> Session:
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
        self.watch.stop()
        self._forget_engine()
        if self.raw is not None and not self.raw.closed:
            with self.internal(), contextlib.suppress(self.driver.module.Error):
                self.raw.close()

    def reopen(self) -> None:
        """A new connection after the old one was lost; the lock has to be taken again."""
        self.watch.stop()
        self._forget_engine()
        self._locked = False
        self.watch = Watch(self)
        self.open()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        self.watch.start()

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
        watch = self.watch
        if step is None:
            watch.waiting_since = time.monotonic()
            try:
                return call()
            finally:
                watch.waiting_since = None
        self.check_deadline()
        step.before(self, sql)
        if self.options.on_copy and (rest := step.leave_out(self, sql)) != sql:
            if not rest:
                with self.internal():
                    return cursor.execute(server_wide.NOTHING)
            sql, call = rest, partial(call, rest)
        started = time.perf_counter()
        watch.waiting_since = time.monotonic()
        try:
            result = call()
        except BaseException as error:
            watch.waiting_since = None
            step.failed(sql, time.perf_counter() - started, error)
            self.check_deadline()  # a statement that the watch cancelled is a deadline, not an error of its own
            raise
        finally:
            watch.waiting_since = None
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

    # -- the SQLAlchemy face of the same connection -------------------------------------------------------------------

    def sqlalchemy(self) -> Any:
        """A new SQLAlchemy Connection on this session's one database connection, inside its transaction."""
        with self.internal():
            if self._engine is None:
                self._engine = engine_on(self.raw, self.target.url, self.driver.name)
            return self._engine.connect()

    def release_sqlalchemy(self, connection: Any) -> None:
        """Give a Connection back; the transaction stays as it is."""
        with self.internal():
            connection.close()

    def _forget_engine(self) -> None:
        self._engine = None

    # -- the lock -----------------------------------------------------------------------------------------------------

    def acquire_lock(self) -> None:
        """Take the advisory lock of this database. Raises Refused, naming the holder, if another run keeps it."""
        if not self._locked:
            advisory_lock.acquire(self)
            self._locked = True

    def has_lock(self) -> bool:
        """Whether this session still holds the lock, asked of the server."""
        return bool(self.query(f"SELECT {advisory_lock.HELD}")[0][0])

    def lock_holder(self) -> dict[str, Any]:
        """Who holds the runner's lock, or an empty dictionary."""
        return advisory_lock.holder(self)

    # -- transactions -------------------------------------------------------------------------------------------------

    def begin(self) -> Transaction:
        """Start a transaction of the run, armed so that only :meth:`commit` can end it well."""
        self.query("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        self.ensure_ledger()
        number = len(self.transactions) + 1
        xid, pid = self.query(
            f"INSERT INTO {ledger.SCHEMA}.batch (run, number, xid, release) VALUES (%s, %s, txid_current(), %s)"
            " RETURNING xid, pg_backend_pid()",
            (self.run, number, self.release),
        )[0]
        if pid != self.facts.pid:
            raise _pooler(self.facts.pid, pid)
        self.transaction = Transaction(number=number, xid=int(xid))
        return self.transaction

    def ensure_ledger(self) -> None:
        """Create schema and ledger where they are missing, in the current transaction or in one of its own."""
        if self.facts.ledger_exists:
            return
        if self.status == drivers.IDLE:
            self.query("BEGIN")
            self.ensure_ledger()
            self.query("COMMIT")
            self.facts.ledger_exists = True
            return
        schema, table = self.query(f"SELECT to_regnamespace('{ledger.SCHEMA}') IS NOT NULL, {ledger.EXISTS}")[0]
        if not schema:
            self.query(ledger.CREATE_SCHEMA)
        if not table:
            self.query(ledger.CREATE)

    def record(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write ledger rows (in the transaction if there is one, else each call for itself)."""
        defaults = {"checksum": "", "seconds": 0.0, "statements": [], "details": {}, "at": None}
        complete = [{**defaults, **row, "release": self.release, "who": self.who, "run": self.run} for row in rows]
        self.query(ledger.INSERT, (ledger.rows_as_json(complete),))

    def record_start(self, identity: str, checksum: str, direction: str) -> None:
        """Note that something outside a transaction begins, so that an interruption can be seen afterwards."""
        details = {"direction": direction}
        self.record([{"event": ledger.STARTED, "identity": identity, "checksum": checksum, "details": details}])

    def verify(self) -> None:
        """Raise unless the transaction is still the one that was begun, alone, and under the run's lock."""
        transaction = self.transaction
        assert transaction is not None
        same, pid_same, locked, strangers = self.query(_VERIFY, (transaction.xid, self.facts.pid, self.child_name))[0]
        if not pid_same:
            raise _pooler(self.facts.pid, 0)
        if not same:
            raise PapError(
                "The transaction is not the one that was begun: a migration ended it.",
                hint="What ran before that point may be committed; compare with `status` and the schema check.",
            )
        if not locked:
            raise PapError(
                "The runner's advisory lock is gone: a migration released it (pg_advisory_unlock_all, DISCARD ALL).",
                hint="Remove that call; everything was rolled back.",
            )
        if self.late:
            raise PapError(
                f"Migration {self.late} went on working after its function had returned.",
                hint="Wait for your threads: join() them before upgrade() returns. Everything was rolled back.",
                identity=self.late,
            )
        if strangers:
            raise PapError(
                f"A migration opened a second connection (process {strangers}) that is still there.",
                hint="Use db only: work on another connection is not part of the transaction. All was rolled back.",
            )

    def commit(self) -> None:
        """COMMIT the transaction that was begun; resolve a lost connection.

        Raises Unavailable with ``data['outcome']`` 'unknown' if the server cannot be reached again before the deadline.
        """
        from .commit_outcome import resolve

        transaction = self.transaction
        assert transaction is not None
        advisory_lock.assert_kept(self)
        self.query(f"SELECT set_config('{ledger.SCHEMA}.commit', %s, true)", (self.run,))
        try:
            self.query("COMMIT")
        except self.driver.module.Error as error:
            if not self.lost:
                raise
            if not resolve(self, transaction):
                raise Unavailable(
                    "The connection was lost at COMMIT; the ledger shows that nothing was committed"
                    f" ({_first(error)}).",
                    hint="Look at the server's log, then run again.",
                    outcome="rolled back",
                ) from None
        self.facts.ledger_exists = self.facts.schema_exists = True
        self.transactions.append(transaction)
        self.transaction = None

    def rollback(self) -> None:
        """Undo the current transaction; a lost connection has done so by itself."""
        self.transaction = None
        self._forget_engine()
        if self.lost:
            return
        if self.status != drivers.IDLE:
            with contextlib.suppress(self.driver.module.Error):
                self.query("ROLLBACK")

    def remember_settings(self) -> None:
        """Note the settings of the session, for :meth:`restore_settings`."""
        self._settings = dict(self.query(_SETTINGS))

    def restore_settings(self) -> None:
        """Undo what a migration SET for the session, so that the next one starts as the first did."""
        self.query("RESET SESSION AUTHORIZATION; RESET ROLE")
        now = dict(self.query(_SETTINGS))
        for name in now.keys() - self._settings.keys():
            self.query("RESET " + ".".join(f'"{part}"' for part in str(name).split(".")))
        for name, value in self._settings.items():
            if now.get(name) != value:
                self.query("SELECT set_config(%s, %s, false)", (name, value))

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


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _pooler(before: int, now: int) -> PapError:
    return Refused(
        f"The server process behind the connection changed ({before}, then {now or 'another'}): a transaction pooler is"
        " in between, and the lock of the run does not hold there.",
        hint="Point the URL at PostgreSQL itself, or at a pooler in session mode.",
    )
