"""One revision of an Alembic tree on the runner's connection: its function, and its row of the version table.

Alembic begins and ends no transaction here: the runner's holds both, with the ledger's row. A revision that leaves its
transaction by ``autocommit_block()`` runs as under Alembic: what came before the block is committed, each statement in
it is one of its own, and what follows is committed with the version row.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Optional

from ..alembic import versions
from ..alembic.home import Home, Revision
from ..ledger import SCHEMA
from . import drivers
from .step import MigrationError, Step

if TYPE_CHECKING:
    from .db import Db
    from .session import Session


# In the ledger, of the revision with which the version table came: it goes when that is reverted.
MADE = "made_version_table"
_WAS_MADE = f"SELECT 1 FROM {SCHEMA}.ledger WHERE event = 'applied' AND details ->> '{MADE}' = %s LIMIT 1"


def run(session: Session, db: Db, step: Step, revision: Revision) -> Any:
    """Call the step's direction of the revision and move the version rows. Returns what it returned."""
    from alembic.operations import Operations
    from alembic.runtime.migration import HeadMaintainer, MigrationStep

    home = revision.home
    # Plain, where it commits by itself: then every statement is its own transaction.
    piece = _Pieces(db) if step.direction in revision.block else None
    with contextlib.ExitStack() as stack:
        if piece:
            stack.enter_context(piece)
        stack.enter_context(home.entered())
        with session.internal():
            context = _context(home, _connection(session, db, home))
            stack.enter_context(context.environment_context)
            context.autocommit_block = _block(step, piece)
            heads = session.heads if session.heads is not None else _heads(session, step, home, context)
        up = step.direction == "upgrade"
        if not step.transactional and up == (step.identity in versions.below(home, heads)):
            raise _moved(step, home)
        make = MigrationStep.upgrade_from_script if up else MigrationStep.downgrade_from_script
        move = make(home.script.revision_map, revision.script)
        with Operations.context(context):
            answer = move.migration_fn(**home.learned.arguments)
        if session.status == drivers.IN_ERROR:
            return answer  # it swallowed an error: the runner says so
        maintainer = HeadMaintainer(context, heads)
        with session.internal():
            maintainer.update_to_step(move)
            session.heads = tuple(maintainer.heads)
            if not up and not maintainer.heads:
                _drop_own_table(session, home)
        for callback in context.on_version_apply_callbacks:
            callback(ctx=context, step=move.info, heads=set(maintainer.heads), run_args=dict(home.learned.arguments))
    return answer


def _block(step: Step, piece: Optional[_Pieces]) -> Any:
    """What ``autocommit_block()`` is in this step."""
    if piece:
        return piece.outside
    return contextlib.nullcontext if not step.transactional else functools.partial(_unforeseen, step)


def _unforeseen(step: Step) -> Any:
    raise MigrationError(
        f"Migration {step.identity} reaches an autocommit_block() that its file does not show, in the transaction which"
        " it shares.",
        hint="Write `with op.get_context().autocommit_block():` into the revision itself, or into a function of the"
        " project that it calls by name.",
        identity=step.identity,
    )


def _moved(step: Step, home: Home) -> MigrationError:
    """Of a revision that commits as it goes: Alembic would find out when it moves the row, after the first COMMIT."""
    is_it = "have it already" if step.direction == "upgrade" else "do not have it"
    return MigrationError(
        f"Migration {step.identity} was not run: the rows of {home.learned.version_table} {is_it}. Somebody else has"
        " moved them since this run began.",
        hint="Look who runs Alembic beside pap-deploy (the application at its start?), then run again.",
        identity=step.identity,
    )


class _Pieces(contextlib.ExitStack):
    """The transactions of a revision with autocommit blocks."""

    def __init__(self, db: Db) -> None:
        super().__init__()
        self._db = db

    def __enter__(self) -> _Pieces:
        super().__enter__()
        self._begin()
        return self

    def _begin(self) -> None:
        self.enter_context(self._db.transaction())
        if not self._db.connection.in_transaction():
            self._db.connection.begin()  # so an ORM session joins, instead of ending it

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """``autocommit_block()``: commits, and begins anew behind the block."""
        self.close()
        yield
        self._begin()


def _context(home: Home, connection: Any) -> Any:
    """Alembic's context on this connection. One serves all steps of a run, as it does under Alembic: what SQLAlchemy
    compiles for it is compiled once."""
    from alembic.runtime.environment import EnvironmentContext

    if not home.context:
        environment = EnvironmentContext(home.config, home.script)
        environment.configure(connection=connection, **home.learned.options)
        home.context.append(environment.get_context())
    context = home.context[0]
    context.connection = context.impl.connection = connection
    return context


def _heads(session: Session, step: Step, home: Home, context: Any) -> Any:
    """The rows of the version table, which is made where it is missing."""
    if not versions.table(home, session.query):
        context._ensure_version_table()
        step.details = {MADE: versions.table(home, session.query)}
    return versions.read(home, session.query)


def _drop_own_table(session: Session, home: Home) -> None:
    """The version table has no row left: one that came with a migration goes with it."""
    name = versions.table(home, session.query)
    if session.query(_WAS_MADE, (name,)):
        session.query(f"DROP TABLE {name}")
        session.heads = None


def _connection(session: Session, db: Db, home: Home) -> Any:
    """SQLAlchemy's face of the connection. For a tree that talks to asyncpg, SQL without parameters is sent as it
    is: this driver would take its percent signs for places of parameters."""
    connection = db.connection
    if (home.learned.drivername or f"+{session.target.url.driver}").endswith("+asyncpg"):
        from sqlalchemy import event

        event.listen(connection, "before_cursor_execute", _literal, retval=True)
    return connection


def _literal(_: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> tuple[str, Any]:
    raw = context is not None and context.compiled is None and not parameters and not many
    return (statement.replace("%", "%%") if raw else statement), parameters
