"""What went wrong in a run, as the operator should read it: which migration, line and statement, and what to do."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from ...core.errors import DeadlineExceeded, PapError
from ...sql import statements as sql
from ..files import MigrationFile
from . import drivers
from .connection import TimeUp
from .step import Failure, MigrationError, Step

if TYPE_CHECKING:
    from .session import Session

# lock_not_available, deadlock_detected, serialization_failure: the only errors that trying again can cure.
RETRYABLE = {"55P03": "a lock could not be had in time", "40P01": "a deadlock", "40001": "a serialization failure"}
_ADVICE = {
    "53200": "The server's lock table is full: raise max_locks_per_transaction, or run with transaction='each'.",
    "53100": "The server's disk is full.",
    "42501": "The role in DATABASE_URL may not do this: use the owner of the tables.",
    "57014": "A timeout cancelled the statement: statement_timeout_s of the run, or one of the server.",
    "25006": "The session is read-only: a standby, or default_transaction_read_only is set.",
    "25001": "The statement cannot run inside a transaction: write transactional = False in the migration.",
    "55006": "The object is in use by another statement of this session, or by another session.",
    "55P04": "A new enum label (enum value) can be used only after the commit of the transaction that adds it: write"
    " transactional = False in the migration that adds it, or run with --transaction each if another one uses it.",
}
# The same of a revision of an Alembic tree.
_ADVICE_OF_REVISIONS = {
    "25001": "The statement cannot run inside a transaction: put it into a block,"
    " `with op.get_context().autocommit_block():`.",
    "55P04": "A new enum label (enum value) can be used only after the commit of the transaction that adds it: add it"
    " in `with op.get_context().autocommit_block():`, or set transaction_per_migration=True in env.py.",
}
_THERE_ALREADY = ("42P07", "42701", "42710", "42P06")  # duplicate table (or index), column, object, schema


def translated(session: Session, migration: MigrationFile, step: Step, error: BaseException) -> BaseException:
    """The error as the operator should read it: which migration, which line, which statement, what to do."""
    if session.remaining() <= 0 and isinstance(error, (TimeUp, Exception)):
        try:
            session.check_deadline()
        except DeadlineExceeded as deadline:
            deadline.data["identity"] = migration.identity
            deadline.message = f"{deadline.message[:-1]}, in migration {migration.identity}."
            return deadline
    if step.violations:
        return step.violations[0]
    if isinstance(error, SystemExit):
        return MigrationError(
            f"Migration {migration.identity} called sys.exit({error.code!r}).",
            hint="Return when done; raise an exception when something is wrong.",
            identity=migration.identity,
        )
    if isinstance(error, (PapError, KeyboardInterrupt)):
        return error
    line = next(
        (
            frame.lineno
            for frame in reversed(traceback.extract_tb(error.__traceback__))
            if frame.filename == (migration.path or migration.filename)
        ),
        0,
    )
    code = drivers.sqlstate(error)
    told = session.redactor.text(": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])).rstrip(".")
    failure = step.failure or Failure()
    what = f": {step.direction}()" if step.direction.startswith("check") else ""
    where = f" (line {line})" if line else " at its end, where deferred constraints are checked" if step.at_end else ""
    return MigrationError(
        f"Migration {migration.identity}{what} failed{where}: {told}.",
        hint=_advice(error, code, step),
        identity=migration.identity,
        direction=step.direction,
        line=line,
        sqlstate=code,
        statement=session.redactor.text(failure.sql) if code else "",
        traceback=session.redactor.text("".join(traceback.format_exception(type(error), error, error.__traceback__)))[
            -4000:
        ],
    )


def _advice(error: BaseException, code: str, step: Step) -> str:
    sent = step.failure or Failure()
    if type(error).__name__ == "InvalidRequestError" and "begin()" in str(error):
        return "db.connection is in the runner's transaction: leave begin() out, or write begin_nested()."
    if code in _THERE_ALREADY and step.revision:
        return (
            "If the database has what this revision makes, its version table is behind its schema: `alembic stamp` the"
            " revision at which it really is. If an interrupted attempt left it: write IF NOT EXISTS."
        )
    if code in _THERE_ALREADY and not step.transactional:
        return (
            "If an interrupted attempt left it: write IF NOT EXISTS, so that the migration can run again. A file that"
            " is not applied yet may be edited."
        )
    if code == "55006" and "pending trigger events" in str(error):
        return (
            "This migration changed rows whose deferred constraints are not checked yet: send SET CONSTRAINTS ALL"
            " IMMEDIATE before this statement."
        )
    copying = sql.copies_with_client(sent.sql)
    if copying:
        return (
            f"{copying} is of the client's input and output, which psql has and a migration has not: write INSERT"
            " (pg_dump --inserts), or use the driver's own copy function."
        )
    advice = {**_ADVICE, **_ADVICE_OF_REVISIONS} if step.revision else _ADVICE
    return advice.get(code, "Correct it and run again.")


def presentable(session: Session, error: BaseException) -> BaseException:
    """An error of the driver outside of any migration (COMMIT, ledger, check) as a PapError; others as they are."""
    if isinstance(error, TimeUp):
        return DeadlineExceeded("The deadline of the run passed; everything was rolled back.")
    original = getattr(error, "orig", None) or error
    if not isinstance(original, session.driver.module.Error):
        return error
    code = drivers.sqlstate(error)
    return PapError(
        f"PostgreSQL refused: {said(session, original)}.",
        hint=_ADVICE.get(code, "The transaction was rolled back."),
        sqlstate=code,
    )


def said(session: Session, error: BaseException) -> str:
    """The first line of the server's words, without secrets."""
    return session.redactor.text((str(error).strip().splitlines() or [type(error).__name__])[0]).rstrip(".")


def explain_loss(session: Session, error: BaseException, in_transaction: bool) -> None:
    if not session.lost or not isinstance(error, PapError) or "outcome" in error.data:
        return
    error.data["outcome"] = "rolled back" if in_transaction else "interrupted"
    lost = "The connection to the server was lost"
    error.hint = (
        f"{lost} before COMMIT: the server rolls the transaction back. Look at its log, then run again."
        if in_transaction
        else f"{lost} in a migration outside a transaction: look at the server's log, then run it again."
    )
