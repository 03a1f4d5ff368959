"""Apply what is pending: whole, once, proven, or not at all.

What runs a migration is imported only when there is one to run: finding nothing to do is the most frequent of all runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Callable, Optional

from ...core.database_url import of_sqlalchemy
from ...core.errors import PapError, Refused
from ...core.records import plain, recorded, whole
from .. import ledger
from ..files import SCRIPT, MigrationFile
from ..invariants import Invariant
from ..options import RunOptions
from ..planning import State, beside_versions, compare, refuse_if
from ..server_wide import LeftOut
from . import drivers
from .connection import Transaction
from .records import Ran
from .session import Session

if TYPE_CHECKING:
    from .execute import Check
    from .way_out import WayOut

Emit = Callable[[dict[str, Any]], None]

# Not "nothing has changed": a migration may have worked past its transaction.
ROLLED_BACK = "The transaction was rolled back; what went past it (dblink, other connections, files, programs) was not."


@dataclass
class ApplyResult:
    """What a run did. ``applied`` has one entry per migration: identity, seconds, statements (SQL, rows, ms).
    ``left_out``: statements that were not run on a copy, because they act on the whole server. ``outward``: on a copy,
    by ``identity``, ``what`` a migration did to reach more than its connection."""

    run: str
    release: str
    applied: list[Ran] = field(default_factory=list)
    reverted: list[Ran] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    transactions: list[Transaction] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    outward: list[dict[str, str]] = field(default_factory=list)
    check: Optional[dict[str, Any]] = None
    seconds: float = 0.0
    dry_run: bool = False

    @property
    def changed(self) -> bool:
        return bool(self.applied or self.reverted or (self.dry_run and self.pending))

    def as_json(self) -> Any:
        """The same as plain data: of each migration what there is to say, of all else everything."""
        ran = {"applied": plain(self.applied), "reverted": plain(self.reverted)}
        return {**whole(replace(self, applied=[], reverted=[])), **ran, "changed": self.changed}


@dataclass(frozen=True)
class _Told:
    """What the error of a migration tells beside its message."""

    identity: str = ""
    outcome: str = ""
    sqlstate: str = ""
    statement: str = ""


def who_am_i() -> str:
    """``user@host`` of the person or service that started this process."""
    user = next(filter(None, map(os.environ.get, ("SUDO_USER", "LOGNAME", "USER"))), "")
    if not user:
        import pwd

        try:
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # a container's user without a name
            user = f"uid {os.getuid()}"
    return f"{user}@{os.uname().nodename}"


def target_of(url_or_engine: Any, options: RunOptions) -> tuple[drivers.Target, RunOptions]:
    """Where to connect. Of an engine only the URL and the driver count, not its pool or connect_args."""
    if isinstance(url_or_engine, str):
        return drivers.target_of(url_or_engine), options
    return drivers.target_of(of_sqlalchemy(url_or_engine.url).render()), options


@contextmanager
def opened(
    url_or_engine: Any, *, release: str, who: str, options: RunOptions, emit: Optional[Emit]
) -> Iterator[Session]:
    """A session on the database, closed at the end whatever happens."""
    target, options = target_of(url_or_engine, options)
    with Session(target, options, release=release, who=who, emit=emit or (lambda _: None)) as session:
        session.open()
        from .way_out import heard

        try:
            with heard(session) if options.forbid_database or options.stop_at_scripts else nullcontext():
                yield session
        except session.driver.module.Error as error:
            from .failures import presentable

            raise presentable(session, error) from error


def book_of(session: Session, files: Sequence[MigrationFile]) -> ledger.Ledger:
    """The ledger as the session sees it now, with the version rows of an Alembic tree."""
    return beside_versions(ledger.read(session.query, exists=session.facts.ledger_exists or None), files, session.query)


def lock_for_change(session: Session) -> None:
    """Refuse a server that cannot be changed; take the lock of the run."""
    if session.facts.in_recovery:
        raise Refused(
            f"{session.target.url.label} is a standby: it cannot be changed.",
            hint="Point the URL at the primary.",
        )
    session.acquire_lock()
    session.remember_settings()


def apply(
    url_or_engine: Any,
    files: Sequence[MigrationFile],
    *,
    release: str = "cli",
    who: str = "",
    check: Optional[Check] = None,
    invariants: Sequence[Invariant] = (),
    options: Optional[RunOptions] = None,
    emit: Optional[Emit] = None,
    dry_run: bool = False,
    way_out: Optional[WayOut] = None,
) -> ApplyResult:
    """Apply all pending migrations.

    Consecutive migrations that can run in a transaction share one, with their ledger rows. Before the last COMMIT,
    ``check`` is asked (given an SQLAlchemy Connection, it returns an object with ``matches`` and ``as_dict()``), and
    each of the ``invariants``: a mismatch, or a row, rolls everything back. ``dry_run`` only says what is pending.
    ``way_out`` (of a plan) is closed as soon as the session is open; the run then ends before a migration that fails
    for want of it.

    Raises Refused (before anything ran) or another PapError whose ``data['committed']`` lists what stays applied.
    """
    options = options or RunOptions()
    began = time.monotonic()
    with opened(url_or_engine, release=release, who=who or who_am_i(), options=options, emit=emit) as session:
        result = ApplyResult(
            run=session.run, release=release, events=session.events, left_out=session.left_out, dry_run=dry_run
        )
        state = compare(files, book_of(session, files), options)
        refuse_if(state.problems)
        if not dry_run:
            if state.pending:
                lock_for_change(session)
                state = compare(files, book_of(session, files), options)  # another run may have ended while we waited
                refuse_if(state.problems)
            if options.stop_at_scripts:
                state, result.pending = before_scripts(state)
            if state.pending and way_out is not None:
                _apply_closed(session, state, way_out, result)
            elif state.pending and result.pending:
                _apply(session, state, None, (), result)
            elif state.pending:
                _apply(session, state, check, invariants, result)
            elif not result.pending:
                result.check = _check_only(session, check, invariants)
        result.outward = outward_of(session)
        if dry_run:
            result.pending = [m.identity for m in state.pending]
        result.transactions = session.transactions
        result.seconds = round(time.monotonic() - began, 3)
        return result


def _apply(
    session: Session, state: State, check: Optional[Check], invariants: Sequence[Invariant], result: ApplyResult
) -> None:
    from . import execute

    groups = list(grouped(state.pending, session.options.transaction))
    for number, group in enumerate(groups, 1):
        last = number == len(groups)
        try:
            if alone(group[0]):
                result.applied.append(_alone(session, group[0]))
                if last:
                    result.check = _check_only(session, check, invariants)
            else:
                proof = (check, invariants) if last else (None, ())
                entries, result.check = execute.run_together(session, group, "upgrade", *proof)
                result.applied += entries
        except PapError as error:
            failed(session, error, group, [ran.identity for ran in result.applied])
            raise


def _apply_closed(session: Session, state: State, way_out: WayOut, result: ApplyResult) -> None:
    """Apply what needs no way out of the session, up to the first migration that fails for want of one."""
    way_out.close(session)
    try:
        _apply(session, state, None, (), result)
    except PapError as error:
        names = [migration.identity for migration in state.pending]
        failing = recorded(_Told, error.data).identity
        if failing not in session.outward or session.lost:
            raise
        place, done = names.index(failing), {ran.identity for ran in result.applied}
        result.pending = [*names[place:], *result.pending]
        before = [migration for migration in state.pending[:place] if migration.identity not in done]
        if before:
            _apply(session, replace(state, pending=before), None, (), result)


def outward_of(session: Session) -> list[dict[str, str]]:
    return [{"identity": name, "what": what} for name, what in session.outward.items()]


def before_scripts(state: State) -> tuple[State, list[str]]:
    """The state with what is pending before the first legacy script only, and the names of the rest."""
    first = next((n for n, m in enumerate(state.pending) if m.flavour == SCRIPT), len(state.pending))
    return replace(state, pending=state.pending[:first]), [m.identity for m in state.pending[first:]]


def _alone(session: Session, migration: MigrationFile) -> Ran:
    if migration.flavour != SCRIPT:
        from .execute import run_alone

        return run_alone(session, migration)
    from .legacy_scripts import run_script

    return run_script(session, migration)


def alone(migration: MigrationFile) -> bool:
    """Whether a migration cannot share a transaction."""
    return migration.flavour == SCRIPT or not migration.transactional


def grouped(migrations: Sequence[MigrationFile], transaction: str) -> Iterator[list[MigrationFile]]:
    """Runs of migrations that share a transaction, in order."""
    group: list[MigrationFile] = []
    for migration in migrations:
        if group and (alone(migration) or transaction == "each" or group[-1].own_transaction):
            yield group
            group = []
        group.append(migration)
        if alone(migration):
            yield group
            group = []
    if group:
        yield group


def failed(session: Session, error: PapError, group: Sequence[MigrationFile], committed: list[str]) -> None:
    """Complete the error with what stays committed, and note the failure in the ledger where that is possible."""
    error.data.update(committed=committed, run=session.run)
    told = recorded(_Told, error.data)
    if committed:
        error.hint = f"{error.hint} Committed before and still in force: {', '.join(committed)}.".strip()
    elif not alone(group[0]) and told.outcome != "unknown" and "rolled back" not in str(error):
        error.hint = f"{error.hint} {ROLLED_BACK}".strip()
    if session.left_out:
        error.data.update(left_out=whole(session.left_out))
        named = ", ".join(f"{item.statement} of {item.identity}" for item in session.left_out)
        error.hint = (
            f"{error.hint} Not run on this copy, because it acts on the whole server: {named}. If this needed it, run"
            " it on the server by hand, before the deploy."
        ).strip()
    identity = told.identity or group[-1].identity
    session.emit("failed", identity=identity, message=error.message)
    if session.lost or told.outcome == "unknown":
        return
    by_name = {migration.identity: migration for migration in group}
    details = {
        "error": session.redactor.text(error.message),
        "sqlstate": told.sqlstate,
        "statement": told.statement,
    }
    try:
        session.restore_settings()  # a role that may not write here, perhaps
        session.ensure_ledger()
        session.record(
            [ledger.NewEntry(ledger.FAILED, identity, by_name[identity].checksum if identity in by_name else "",
                             details=details)]
        )  # fmt: skip
    except session.driver.module.Error as problem:
        session.rollback()
        session.emit("failure_not_recorded", why=session.redactor.text(str(problem).strip()))


def _check_only(session: Session, check: Optional[Check], invariants: Sequence[Invariant]) -> Any:
    """Invariants and check where there is nothing left to commit: in a read-only transaction that is rolled back."""
    if check is None and not invariants:
        return None
    from .checks import hold_all
    from .execute import run_check

    session.query("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY")
    try:
        hold_all(session, invariants)
        return run_check(session, check, [])
    finally:
        session.rollback()
