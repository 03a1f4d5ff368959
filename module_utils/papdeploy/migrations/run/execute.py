"""Running migrations: one in its step, several in one transaction, one outside of any."""

from __future__ import annotations

import linecache
import os
import sys
import time
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

from ...core.errors import DeadlineExceeded, PapError, Unavailable
from ...core.processes import Process
from ...core.records import recorded, whole
from ...core.text import plural
from .. import ledger
from ..files import MigrationFile
from ..invariants import Invariant
from . import advisory_lock, checks, concurrent_indexes, drivers, failures, left_running
from .connection_guard import no_second_connection, no_silent_end
from .db import Db
from .lock_statistics import observer
from .records import Ran
from .step import Failure, MigrationError, Step

if TYPE_CHECKING:
    from .session import Session

REFUSED_OPTION = "a_migration_must_not_open_a_second_connection"

Check = Callable[[Any], Any]


class CheckFailed(PapError):
    """The schema does not match the new models; ``data['check']`` holds the differences."""


@contextmanager
def guards(session: Session) -> Iterator[None]:
    """While migrations run, only the runner connects (and no child of it through libpq), and it is not ended."""

    def refuse(how: str) -> Optional[PapError]:
        step = session.step
        if step is None or session.watch.is_current_thread:
            return None
        return step.violation(f"it opened a second connection ({how})")

    def refuse_end(how: str) -> Optional[PapError]:
        return session.step.violation(how) if session.step is not None else None

    # The server refuses the option, and names it; a child that sets options of its own is told by its name at COMMIT.
    ours = {"PGAPPNAME": session.child_name, "PGOPTIONS": f"-c {REFUSED_OPTION}=on"}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        with no_second_connection(refuse), no_silent_end(refuse_end):
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def load(migration: MigrationFile) -> types.ModuleType:
    """Execute the file as a module. Its folder is importable meanwhile; tracebacks show its lines."""
    if migration.revision is not None:  # reading its tree has loaded it
        module: types.ModuleType = migration.revision.script.module
        return module
    filename = migration.path or migration.filename
    module = types.ModuleType(f"pap_migration_{migration.identity}")
    module.__file__ = filename
    if not migration.path:
        lines = migration.source.splitlines(keepends=True)
        linecache.cache[filename] = (len(migration.source), None, lines, filename)
    folder = migration.path.rpartition("/")[0]
    sys.modules[module.__name__] = module
    if folder:
        sys.path.insert(0, folder)
    try:
        exec(migration.code, module.__dict__)
    finally:
        if folder:
            sys.path.remove(folder)
    return module


def run_step(session: Session, migration: MigrationFile, direction: str = "upgrade") -> Ran:
    """Run one function of one migration and judge how it behaved. Returns its entry for result and ledger."""
    prepare = () if migration.transactional else (concurrent_indexes.before,)
    step = Step(migration.identity, migration.transactional, direction, before_statement=prepare)
    step.revision = migration.path if migration.revision else ""
    session.emit("migration_started", identity=migration.identity, direction=direction)
    began_at, began = session.now(), time.perf_counter()
    db = Db(session, step)
    running = left_running.children()
    checked = direction == "upgrade" and not session.options.stop_at_scripts  # a plan's copy has no rows
    session.begin_step(step)
    try:
        try:
            module = load(migration)
            if checked:
                checks.hold(session, migration, module, checks.BEFORE)
            answer = _call(session, db, step, migration, module)
        finally:
            session.end_step()
            db.done()
        _settle(session, step)
        _accept(session, step, answer, running)
        if checked:
            checks.hold(session, migration, module, checks.AFTER)
    except BaseException as error:
        raise failures.translated(session, migration, step, error) from error
    finally:
        sys.modules.pop(f"pap_migration_{migration.identity}", None)
    seconds = time.perf_counter() - began
    # From here on they are a record for people: what was executed, without secrets.
    sent = tuple(replace(each, sql=session.redactor.text(each.sql)) for each in step.statements)
    seconds = round(seconds, 6)
    session.emit("migration_done", identity=migration.identity, direction=direction, seconds=seconds)
    return Ran(
        migration.identity, migration.checksum, migration.flavour, began_at, seconds, sent, step.count, step.details
    )


def _call(session: Session, db: Db, step: Step, migration: MigrationFile, module: types.ModuleType) -> Any:
    if migration.revision is None:
        return getattr(module, step.direction)(db)
    from . import revisions

    return revisions.run(session, db, step, migration.revision)


def _accept(session: Session, step: Step, answer: Any, running: list[Process]) -> None:
    """The function returned: what it returned, what it left running, and whether it kept the rules."""
    if hasattr(answer, "send"):
        raise step.broken(f"{step.direction}() returned a {type(answer).__name__}, whose code was never run")
    if answer is False:
        raise MigrationError(
            f"Migration {step.identity}: {step.direction}() returned False.",
            hint="Raise an exception that says what is wrong; return nothing when all is well.",
            identity=step.identity,
        )
    left = left_running.end(running)
    if left:
        raise MigrationError(
            f"Migration {step.identity} left a program running ({'; '.join(left)}), which was ended.",
            hint="Let it wait for what it starts: what goes on after its function is no part of the transaction.",
            identity=step.identity,
        )
    _judge(session, step)
    concurrent_indexes.verify(session, step)
    if step.leaves_traces:
        session.restore_settings()
    if not step.transactional and not session.has_lock():
        raise step.broken("it released the runner's advisory lock (pg_advisory_unlock_all, DISCARD ALL)")


def _settle(session: Session, step: Step) -> None:
    """What PostgreSQL would do at COMMIT is done at the end of each migration: so a constraint that does not hold fails
    the one that broke it."""
    if not step.transactional or session.status != drivers.IN_TRANSACTION or step.violations:
        return
    try:
        session.check_deferred()
    except session.driver.module.Error as error:
        step.at_end = True
        step.failed("", 0.0, error)
        raise


def _judge(session: Session, step: Step) -> None:
    """The function returned. Did it keep the rules?"""
    if step.violations:
        raise step.violations[0]
    status = session.status
    failure = step.failure or Failure()
    if status == drivers.UNKNOWN:
        raise MigrationError(f"Migration {step.identity} lost the connection and went on.", identity=step.identity)
    swallowed = status == drivers.IN_ERROR or (not step.transactional and step.failures)
    if swallowed:
        raise MigrationError(
            f"Migration {step.identity} swallowed an error and went on: {failure.error}.",
            hint="Let errors through. For a statement that may fail: `with db.savepoint():` inside try/except.",
            identity=step.identity,
            statement=session.redactor.text(failure.sql),
            sqlstate=failure.sqlstate,
        )
    wanted = drivers.IN_TRANSACTION if step.transactional else drivers.IDLE
    if status != wanted:
        raise step.broken("it ended the transaction" if step.transactional else "it left a transaction open")


def run_together(
    session: Session,
    migrations: Sequence[MigrationFile],
    direction: str,
    check: Optional[Check],
    invariants: Sequence[Invariant] = (),
) -> tuple[list[Ran], Any]:
    """All of them, their ledger rows, invariants and check in one transaction; whole again after a lock timeout."""

    def attempt() -> tuple[list[Ran], Any]:
        began = time.perf_counter()
        transaction = session.begin()
        observe = observer(session)  # of this attempt: the locks of one that was rolled back are gone
        entries = []
        with guards(session):
            for migration in migrations:
                ran = run_step(session, migration, direction)
                entries.append(observe(session, ran) if observe is not None else ran)
        session.verify()
        event = ledger.APPLIED if direction == "upgrade" else ledger.REVERTED
        session.record([_row(entry, event) for entry in entries])
        checks.hold_all(session, invariants)
        verdict = run_check(session, check, [migration.identity for migration in migrations])
        transaction.identities = [migration.identity for migration in migrations]
        session.commit()
        transaction.seconds = round(time.perf_counter() - began, 6)
        return entries, verdict

    result = _retried(session, attempt)
    session.emit("committed", identities=[migration.identity for migration in migrations])
    return result


def run_alone(session: Session, migration: MigrationFile, direction: str = "upgrade") -> Ran:
    """A migration outside a transaction: its start is on record, so that an interruption is seen."""
    event = ledger.APPLIED if direction == "upgrade" else ledger.REVERTED

    def attempt() -> Ran:
        session.heads = None  # others may have moved the version rows since
        advisory_lock.assert_kept(session)
        session.ensure_ledger()
        session.record_start(migration.identity, migration.checksum, direction)
        with guards(session):
            return run_step(session, migration, direction)

    ran = _retried(session, attempt)
    record_alone(session, ran, event)
    return ran


def record_alone(session: Session, ran: Ran, event: str) -> None:
    """The ledger row of what was done outside a transaction, in one of its own."""
    try:
        transaction = session.begin()
        session.record([_row(ran, event)])
        session.query(f"DELETE FROM {ledger.SCHEMA}.progress WHERE identity = %s", (ran.identity,))
        transaction.identities = [ran.identity]
        session.commit()
    except (session.driver.module.Error, Unavailable) as error:
        if not session.lost and getattr(error, "data", {}).get("outcome") != "rolled back":
            raise
        raise MigrationError(
            f"Migration {ran.identity} has run, but the connection was lost before the ledger could say so.",
            hint="Run again: what is outside a transaction is made to be run twice. An old script is not: look first.",
            identity=ran.identity,
            outcome="not recorded",
        ) from error
    session.emit("committed", identities=[ran.identity])


def _row(ran: Ran, event: str) -> ledger.NewEntry:
    details = dict(ran.details or {})
    if ran.statement_count > len(ran.statements):
        details["statement_count"] = ran.statement_count
    return ledger.NewEntry(event, ran.identity, ran.checksum, ran.at, ran.seconds, ran.statements, details)


@dataclass(frozen=True)
class _Difference:
    kind: Optional[str] = None
    object: Optional[str] = None


@dataclass(frozen=True)
class _Differences:
    """What is told here of the answer of a check."""

    differences: tuple[_Difference, ...] = ()


def run_check(session: Session, check: Optional[Check], identities: Sequence[str]) -> Any:
    """Call the schema check on the session's connection; raise CheckFailed if the schema does not match."""
    if check is None:
        return None
    began = time.perf_counter()
    connection = session.sqlalchemy()
    try:
        verdict = check(connection)
    finally:
        session.release_sqlalchemy(connection)
    plain = verdict.as_dict()
    session.emit("checked", matches=bool(verdict.matches), seconds=round(time.perf_counter() - began, 3))
    if not verdict.matches:
        differences = recorded(_Differences, plain).differences
        first = f", the first is {differences[0].kind} of {differences[0].object}" if differences else ""
        raise CheckFailed(
            "With these migrations the schema does not match the models:"
            f" {plural(len(differences), 'difference')}{first}.",
            hint="Complete the migration, or correct the models; `new --from-models` writes what is missing.",
            check=plain,
            identities=list(identities),
        )
    return plain


_Result = TypeVar("_Result")


def _retried(session: Session, attempt: Callable[[], _Result]) -> _Result:
    tries = 0
    while True:
        tries += 1
        try:
            result = attempt()
        except BaseException as caught:
            in_transaction = session.transaction is not None
            session.rollback()
            error = failures.presentable(session, caught)
            code = drivers.sqlstate(caught)
            blockers = session.watch.take_blockers()
            if code not in failures.RETRYABLE or isinstance(error, DeadlineExceeded) or session.lost:
                failures.explain_loss(session, error, in_transaction)
                raise error from caught
            if isinstance(error, PapError):
                error.data.update(blockers=whole(blockers), attempts=tries)
                if blockers:
                    error.hint = f"It was blocked by {'; '.join(map(str, blockers))}."
            from random import uniform

            pause = min(10.0, 0.25 * 2**tries) * uniform(0.5, 1.0)
            if tries > session.options.lock_retries or session.remaining() <= pause:
                if isinstance(error, PapError):
                    error.message = (
                        f"Gave up after {plural(tries, 'attempt')}, {failures.RETRYABLE[code]}. {error.message}"
                    )
                raise error from caught
            session.emit(
                "retry", attempt=tries, of=session.options.lock_retries, why=failures.RETRYABLE[code], sqlstate=code,
                pause_s=round(pause, 2), blockers=whole(blockers),
            )  # fmt: skip
            session.restore_settings()  # outside a transaction, the attempt may have left its own
            time.sleep(pause)
        else:
            if session.transactions:
                session.transactions[-1].attempts = tries
            return result
