"""A run's session: its connection with the lock, the watchdog, the transactions and the ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

from ...core.errors import PapError, Refused, Unavailable, VerificationFailed
from .. import ledger
from ..options import RunOptions
from . import advisory_lock, commit_outcome, drivers
from .connection import Connection, Emit, Transaction
from .engine import engine_on
from .watchdog import Watch

if TYPE_CHECKING:
    from .step import Step

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


# Not ALL: the guard of COMMIT is deferred too, and ALL would hold for constraints that are yet to be made.
_DEFERRABLE = f"""EXISTS (SELECT FROM pg_constraint WHERE condeferrable
                AND connamespace <> '{ledger.SCHEMA}'::regnamespace)"""
_CHECK_DEFERRED = f"""
DO $$
DECLARE
    every text;
    deferred text;
BEGIN
    SELECT string_agg(k.name, ', '), string_agg(k.name, ', ') FILTER (WHERE k.later) INTO every, deferred
    FROM (SELECT pg_catalog.format('%I.%I', n.nspname, c.conname) AS name, bool_or(c.condeferred) AS later
          FROM pg_catalog.pg_constraint AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.connamespace
          WHERE c.condeferrable AND n.nspname <> '{ledger.SCHEMA}' AND NOT pg_is_other_temp_schema(n.oid)
            AND has_schema_privilege(n.oid, 'USAGE')
          GROUP BY 1) AS k;
    IF every IS NOT NULL THEN
        EXECUTE 'SET CONSTRAINTS ' || every || ' IMMEDIATE';
    END IF;
    IF deferred IS NOT NULL THEN
        EXECUTE 'SET CONSTRAINTS ' || deferred || ' DEFERRED';
    END IF;
END $$
"""


class Session(Connection):
    """Opened with :meth:`open`, always closed with :meth:`close`. Not for use from several threads."""

    def __init__(self, target: drivers.Target, options: RunOptions, *, release: str, who: str, emit: Emit) -> None:
        super().__init__(target, options, release=release, who=who, emit=emit)
        self.watch = Watch(self)
        self.transactions: list[Transaction] = []
        self.late = ""  # a migration that used db when it was over
        self._engine: Any = None
        self._locked = False
        self._settings: dict[str, str] = {}
        self.heads: Optional[tuple[str, ...]] = None  # Alembic's version rows, while only this transaction moves them
        self.may_defer = True  # whether there may be a deferrable constraint

    def open(self) -> Session:
        super().open()
        return self

    def close(self) -> None:
        """End the session; the server rolls back what was not committed and frees the lock."""
        self.watch.stop()
        self._forget_engine()
        super().close()

    def _reconnect(self) -> None:
        """Open a new connection after the old one was lost; the lock has to be taken again."""
        self.watch.stop()
        self._forget_engine()
        self._locked = False
        self.watch = Watch(self)
        self.open()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin_step(self, step: Step) -> None:
        """From here on, what passes through the connection is ``step``'s."""
        super().begin_step(step)
        self.watch.start()

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

    def lock_holder(self) -> Optional[advisory_lock.Holder]:
        """Who holds the runner's lock, if anybody does."""
        return advisory_lock.holder(self)

    # -- transactions -------------------------------------------------------------------------------------------------

    def begin(self) -> Transaction:
        """Start a transaction of the run, armed so that only :meth:`commit` can end it well."""
        self.heads = None
        self.query("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        self.ensure_ledger()
        number = len(self.transactions) + 1
        xid, pid, self.may_defer = self.query(
            f"INSERT INTO {ledger.SCHEMA}.batch (run, number, xid, release) VALUES (%s, %s, txid_current(), %s)"
            f" RETURNING xid, pg_backend_pid(), {_DEFERRABLE}",
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

    def record(self, entries: Sequence[ledger.NewEntry]) -> None:
        """Write ledger rows (in the transaction if there is one, else each call for itself)."""
        rows = ledger.rows_as_json(entries, release=self.release, who=self.who, run=self.run)
        self.query(ledger.INSERT, (rows,))

    def record_start(self, identity: str, checksum: str, direction: str) -> None:
        """Note that something outside a transaction begins, so that an interruption can be seen afterwards."""
        self.record([ledger.NewEntry(ledger.STARTED, identity, checksum, details={"direction": direction})])

    def verify(self) -> None:
        """Raise unless the transaction is still the one that was begun, alone, and under the run's lock."""
        transaction = self.transaction
        assert transaction is not None
        same, pid_same, locked, foreign_sessions = self.query(
            _VERIFY, (transaction.xid, self.facts.pid, self.child_name)
        )[0]
        if not pid_same:
            raise _pooler(self.facts.pid, 0)
        if not same:
            raise VerificationFailed(
                "The transaction is not the one that was begun: a migration ended it.",
                hint="What ran before that point may be committed; compare with `status` and the schema check.",
            )
        if not locked:
            raise VerificationFailed(
                "The runner's advisory lock is gone: a migration released it (pg_advisory_unlock_all, DISCARD ALL).",
                hint="Remove that call; everything was rolled back.",
            )
        if self.late:
            raise VerificationFailed(
                f"Migration {self.late} went on working after its function had returned.",
                hint="Wait for your threads: join() them before upgrade() returns. Everything was rolled back.",
                identity=self.late,
            )
        if foreign_sessions:
            raise VerificationFailed(
                f"A migration opened a second connection (process {foreign_sessions}) that is still there.",
                hint="Use db only: work on another connection is not part of the transaction. All was rolled back.",
            )

    def commit(self) -> None:
        """COMMIT the transaction that was begun; resolve a lost connection.

        Raises Unavailable with ``data['outcome']`` 'unknown' if the server cannot be reached again before the deadline.
        """
        transaction = self.transaction
        assert transaction is not None
        advisory_lock.assert_kept(self)
        self.query(f"SELECT set_config('{ledger.SCHEMA}.commit', %s, true)", (self.run,))
        try:
            self.query("COMMIT")
        except self.driver.module.Error as error:
            if not self.lost:
                raise
            if not commit_outcome.resolve(self, transaction, reconnect=self._reconnect, take_lock=self.acquire_lock):
                raise Unavailable(
                    "The connection was lost at COMMIT; the ledger shows that nothing was committed"
                    f" ({_first(error)}).",
                    hint="Look at the server's log, then run again.",
                    outcome="rolled back",
                ) from None
        self.facts.ledger_exists = self.facts.schema_exists = True
        self.transactions.append(transaction)
        self.transaction = self.heads = None

    def rollback(self) -> None:
        """Undo the current transaction; a lost connection has done so by itself."""
        self.transaction = self.heads = None
        self._forget_engine()
        if self.lost:
            return
        if self.status != drivers.IDLE:
            with contextlib.suppress(self.driver.module.Error):
                self.query("ROLLBACK")

    def check_deferred(self) -> None:
        """Check now what is deferred to COMMIT: what fails is known by its migration, and the next one can ALTER what
        this one wrote."""
        if self.may_defer:
            self.query(_CHECK_DEFERRED)

    def remember_settings(self) -> None:
        """Note the settings of the session, for :meth:`restore_settings`."""
        self._settings = dict(self.query(_SETTINGS))

    def restore_settings(self) -> None:
        """Undo what a migration SET for the session, and end its cursors, prepared statements and temporary tables, so
        that the next one starts as the first did."""
        self.query("CLOSE ALL; DEALLOCATE ALL; UNLISTEN *; RESET SESSION AUTHORIZATION; RESET ROLE; DISCARD TEMP")
        now = dict(self.query(_SETTINGS))
        for name in now.keys() - self._settings.keys():
            self.query("RESET " + ".".join(f'"{part}"' for part in str(name).split(".")))
        for name, value in self._settings.items():
            if now.get(name) != value:
                self.query("SELECT set_config(%s, %s, false)", (name, value))


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _pooler(before: int, now: int) -> PapError:
    return Refused(
        f"The server process behind the connection changed ({before}, then {now or 'another'}): a transaction pooler is"
        " in between, and the lock of the run does not hold there.",
        hint="Point the URL at PostgreSQL itself, or at a pooler in session mode.",
    )
