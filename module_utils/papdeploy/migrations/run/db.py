"""``db``: what a migration works with. One connection, one transaction, no way around the runner."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

from ...core.errors import Unavailable
from ...sql import statements
from ...sql.quoting import quote_exact
from . import advisory_lock, drivers
from .batches import Batch, iterate
from .rows import row_type
from .step import MigrationError

if TYPE_CHECKING:
    from .session import Session
    from .step import Step

Params = Union[Mapping[str, Any], Sequence[Mapping[str, Any]], None]

_COLUMN = """
SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s AND attnum > 0
               AND NOT attisdropped)
"""
_INDEX = """
SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(%s) AND indisvalid
               AND (%s::text IS NULL OR indrelid = to_regclass(%s)))
"""
_CONSTRAINT = "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass(%s) AND conname = %s)"
_TABLE = "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(%s) AND relkind IN ('r', 'p', 'f'))"


class Db:
    """Given to ``upgrade(db)`` and ``downgrade(db)``.

    SQL is text with ``:name`` placeholders, or any SQLAlchemy construct. Names of tables may be ``schema.table``; they
    are exact (``Users`` is not ``users``) and are looked up on the search path when no schema is given.
    """

    def __init__(self, session: Session, step: Step) -> None:
        self._session = session
        self._step = step
        self._connection: Any = None
        self._op: Any = None
        self._savepoints = 0
        self.server_version = session.facts.version

    # -- statements ---------------------------------------------------------------------------------------------------

    def execute(self, statement: Any, params: Params = None) -> int:
        """Run SQL; the number of rows it affected (-1 where that means nothing).

        ``params`` is a mapping, or a list of mappings to run the statement once for each.
        """
        if not isinstance(statement, str):
            return int(self.connection.execute(statement, *([params] if params else [])).rowcount)
        return int(self._sent(statement, params).rowcount)

    def rows(self, statement: Any, params: Params = None) -> list[Any]:
        """The rows of a query: tuples whose columns can also be read by name (``row.id``)."""
        if not isinstance(statement, str):
            return list(self.connection.execute(statement, *([params] if params else [])).fetchall())
        cursor = self._sent(statement, params)
        if cursor.description is None:
            return []
        row = row_type(tuple(column[0] for column in cursor.description))
        return [row(*values) for values in cursor.fetchall()]

    def scalar(self, statement: Any, params: Params = None) -> Any:
        """The first column of the first row; None if there is no row."""
        rows = self.rows(statement, params)
        return rows[0][0] if rows else None

    def _sent(self, statement: str, params: Params) -> Any:
        """A client-side cursor that has run the statement; it holds the whole result and needs no closing."""
        self._still_running()
        cursor = self._session.raw.cursor()
        if params is None:
            cursor.execute(statement)
        elif isinstance(params, Mapping):
            self._check_names(statement, params)
            cursor.execute(statements.bind_names(statement, params), dict(params))
        elif params:
            self._check_names(statement, params[0])
            cursor.executemany(statements.bind_names(statement, params[0]), [dict(item) for item in params])
        return cursor

    def _check_names(self, statement: str, params: Mapping[str, Any]) -> None:
        unused = statements.missing_names(statement, params)
        if unused:
            raise MigrationError(
                f"Migration {self._step.identity}: the statement has no placeholder :{unused[0]}.",
                hint="Placeholders are written :name, outside of quotes.",
                identity=self._step.identity,
            )

    # -- what is there ------------------------------------------------------------------------------------------------

    def has_table(self, table: str, schema: Optional[str] = None) -> bool:
        """Whether the table exists (also partitioned and foreign ones, not views)."""
        return self._exists(_TABLE, _regclass(table, schema))

    def has_column(self, table: str, column: str, schema: Optional[str] = None) -> bool:
        """Whether the table exists and has the column."""
        return self._exists(_COLUMN, _regclass(table, schema), column)

    def has_index(self, index: str, table: Optional[str] = None, schema: Optional[str] = None) -> bool:
        """Whether the index exists and is valid (and belongs to ``table``, if given)."""
        on = _regclass(table, schema) if table else None
        return self._exists(_INDEX, _regclass(index, schema), on, on)

    def has_constraint(self, table: str, constraint: str, schema: Optional[str] = None) -> bool:
        """Whether the table has a constraint of this name."""
        return self._exists(_CONSTRAINT, _regclass(table, schema), constraint)

    def _exists(self, query: str, *params: Any) -> bool:
        return bool(self._session.query(query, params)[0][0])

    # -- SQLAlchemy and Alembic on the same connection ----------------------------------------------------------------

    @property
    def connection(self) -> Any:
        """The SQLAlchemy Connection of this migration, inside the runner's transaction.

        ``orm.Session(bind=db.connection)`` joins that transaction: its commit() flushes, the runner commits.
        """
        self._still_running()
        if self._connection is None:
            self._connection = self._session.sqlalchemy()
            if self._step.transactional:
                self._connection.begin()  # what it is in: so an ORM session joins, instead of ending it
        return self._connection

    @property
    def op(self) -> Any:
        """Alembic's operations (``db.op.add_column(…)``) on the same connection."""
        if self._op is None:
            try:
                from alembic.migration import MigrationContext
                from alembic.operations import Operations
            except ImportError:
                raise Unavailable(
                    f"Migration {self._step.identity} uses db.op, but Alembic is not installed here.",
                    hint="Write the change with db.execute(), which needs nothing.",
                ) from None
            context = MigrationContext.configure(self.connection)
            # Alembic would end the transaction. In one of the runner, the block is part of it; outside of any, every
            # statement is committed by itself as it is.
            context.autocommit_block = contextlib.nullcontext  # type: ignore[method-assign,assignment]
            self._op = Operations(context)
        return self._op

    # -- transactions inside the transaction --------------------------------------------------------------------------

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """A part that may fail: on an exception it is undone, and the exception goes on to the caller to catch."""
        if self._session.status == drivers.IDLE:
            raise MigrationError("db.savepoint() needs a transaction.", hint="Put it inside `with db.transaction():`.")
        self._savepoints += 1
        name = f"pap_deploy_{self._savepoints}"
        failures = self._step.failures
        self._session.query(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            if not self._session.lost:
                self._session.query(f"ROLLBACK TO SAVEPOINT {name}")
                self._session.query(f"RELEASE SAVEPOINT {name}")
            self._step.failures = failures  # undone, so the migration may go on
            raise
        self._session.query(f"RELEASE SAVEPOINT {name}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Statements that belong together, in a migration with ``transactional = False``; commits at the end."""
        if self._step.transactional:
            with self.savepoint():
                yield
            return
        if self._step.in_transaction:
            raise MigrationError(
                "db.transaction() inside db.transaction().", hint="Use db.savepoint() for the inner one."
            )
        self._session.query("BEGIN")
        self._step.in_transaction = True
        try:
            yield
            if self._session.status == drivers.IN_ERROR:
                raise self._step.broken("an error inside db.transaction() was caught and passed over")
            advisory_lock.assert_kept(self._session)
            self._session.query("COMMIT")
        except BaseException:
            if not self._session.lost and self._session.status != drivers.IDLE:
                self._session.query("ROLLBACK")
            raise
        finally:
            self._step.in_transaction = False

    def batches(
        self,
        select: str,
        params: Optional[Mapping[str, Any]] = None,
        *,
        size: int = 1000,
        name: str = "",
        pause_s: float = 0.0,
    ) -> Iterator[Batch]:
        """Go through the rows of ``select`` in pieces, in the order of its first column, a unique key.

        With ``transactional = False`` each piece and the note of how far it got are one transaction: after a kill the
        next run goes on with the following piece. ``pause_s`` (seconds) between pieces gives others air.
        """
        return iterate(self._session, self._step, select, params or {}, size, name, pause_s)

    def log(self, message: str) -> None:
        """Show a message while the migration runs."""
        self._session.emit("log", identity=self._step.identity, message=str(message))

    def _still_running(self) -> None:
        if self._step.closed:
            self._session.late = self._step.identity
            raise MigrationError(f"Migration {self._step.identity} has finished; `db` can no longer be used.")

    def done(self) -> None:
        """The runner is finished with this migration."""
        self._step.closed = True
        if self._connection is not None:
            connection, self._connection, self._op = self._connection, None, None
            self._session.release_sqlalchemy(connection)


def _regclass(name: str, schema: Optional[str]) -> str:
    """A name for to_regclass, quoted: exact, never folded."""
    parts = [schema, name] if schema else name.split(".", 1)
    return quote_exact(*(part for part in parts if part is not None))
