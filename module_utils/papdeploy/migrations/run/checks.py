"""What must hold: ``check_before(db)`` and ``check_after(db)`` of a migration, and the queries of ``invariants/*.sql``.

Each only reads, and what it finds is a violation: rows of it, or an exception that says so. It runs where it cannot
write, and nothing of it is left: in a transaction of its own that is read only, or in such a savepoint of the run's.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from ...core.database_url import MASK
from ...core.secret_names import names_a_secret
from ...core.text import plural
from ..files import MigrationFile
from ..invariants import Invariant
from . import drivers, failures
from .db import Db
from .step import MigrationError, Step

if TYPE_CHECKING:
    from .session import Session

BEFORE, AFTER = "check_before", "check_after"
SHOWN = 10  # rows of a violation
_WIDTH = 60  # characters of a value
_COULD_HOLD = (str, bytes, memoryview, dict, list, tuple)  # a secret; numbers, dates and UUIDs could not
_HINTS = {
    BEFORE: "It must hold before the migration runs: correct these rows, or have an earlier migration do so.",
    AFTER: "The migration does not leave the rows as it must: correct it and run again.",
}


@contextmanager
def read_only(session: Session) -> Iterator[None]:
    """A part in which nothing can be written, and of which nothing is left."""
    inside = session.status == drivers.IN_TRANSACTION
    if inside:
        session.query("SAVEPOINT pap_deploy_check; SET LOCAL transaction_read_only = on")
    else:
        session.query("BEGIN READ ONLY; SAVEPOINT pap_deploy_check")  # in which it cannot be made to write
    try:
        yield
    finally:
        if not session.lost:
            session.query(
                "ROLLBACK TO SAVEPOINT pap_deploy_check; RELEASE SAVEPOINT pap_deploy_check" if inside else "ROLLBACK"
            )


def hold(session: Session, migration: MigrationFile, module: types.ModuleType, name: str) -> None:
    """Run the check ``name`` of a migration, if it has one. Raises MigrationError if it does not hold."""
    function = getattr(module, name, None)
    if function is None:
        return
    step = Step(migration.identity, True, name)
    try:
        found = _rows(session, step, function)
    except BaseException as error:
        raise failures.translated(session, migration, step, error) from error
    if found is None:
        raise MigrationError(
            f"Migration {migration.identity}: {name}() returned something that is no rows.",
            hint="Return the rows that violate it, such as db.rows(…), or nothing; or raise an exception.",
            identity=migration.identity,
        )
    if found:
        what = f"Migration {migration.identity}: {name}()"
        raise _violated(session, step, what, found, _HINTS[name])


def hold_all(session: Session, invariants: Sequence[Invariant]) -> None:
    """Run the queries of ``invariants/*.sql``. Raises MigrationError for the first that returns a row."""
    for invariant in invariants:
        query = partial(Db.rows, statement=invariant.limited(SHOWN + 1))
        try:
            step = Step(invariant.name, True, "invariant")
            found = _rows(session, step, query)
        except session.driver.module.Error as error:
            raise MigrationError(
                f"The invariant {invariant.name} cannot be asked: {failures.said(session, error)}.",
                hint=_hint(session, drivers.sqlstate(error)),
                identity=invariant.name,
                sqlstate=drivers.sqlstate(error),
            ) from error
        if found:
            hint = "With these migrations it would not hold: correct them, or the rows."
            raise _violated(session, step, f"The invariant {invariant.name}", found, hint)


def _hint(session: Session, code: str) -> str:
    if code == "57014" and session.options.statement_timeout_s:
        return (
            f"It ran for longer than {session.options.statement_timeout_s:g} s: give it an index, narrow what it reads,"
            " or raise the limit."
        )
    return "Correct the query, or the migration that took from it what it reads."


def _rows(session: Session, step: Step, function: Callable[[Db], Any]) -> Any:
    """What a check found, as a list of rows; None if that is no rows."""
    outer, db = session.step, Db(session, step)
    step.before_statement = (_notice_secrets,)
    with read_only(session):
        session.begin_step(step)
        try:
            answer = function(db)
            found = [] if answer is None else _listed(answer)
        finally:
            session.end_step()
            db.done()
            if outer is not None:
                session.begin_step(outer)
        if step.violations:
            raise step.violations[0]
        if session.status == drivers.IN_ERROR:
            raise step.broken("an error of the database was caught and passed over")
    if step.leaves_traces:
        session.restore_settings()  # prepared statements stay behind a rollback
    return found


def _listed(answer: Any) -> Any:
    if isinstance(answer, (str, bytes, int, float, dict)) or not hasattr(answer, "__iter__"):
        return None
    return list(answer)


def _notice_secrets(_: object, step: Step, text: str) -> None:
    """Whether a statement of a check reads what is called like a secret: under another name, or as part of an
    expression, its value could be in any column of the rows."""
    step.reads_secrets |= any(names_a_secret(word) for word in re.findall(r"[^\W\d]\w*", text))


def _violated(session: Session, step: Step, what: str, found: Sequence[Any], hint: str) -> MigrationError:
    rows = [_shown(session, row, hide=step.reads_secrets) for row in found[:SHOWN]]
    count = f"more than {plural(SHOWN, 'row')}" if len(found) > SHOWN else plural(len(found), "row")
    return MigrationError(
        f"{what} does not hold: {count}, the first is {rows[0]}.",
        hint=hint,
        identity=step.identity,
        rows="\n".join([*rows, *(["…"] if len(found) > SHOWN else [])]),
    )


def _shown(session: Session, row: Any, *, hide: bool) -> str:
    """A row for people: name=value where it has names; without secrets, and not at any length. ``hide``: of what could
    hold a secret, nothing."""
    if hasattr(row, "_mapping"):  # of SQLAlchemy
        named = dict(row._mapping)
    elif hasattr(row, "_fields"):
        named = dict(zip(row._fields, row))
    else:
        named = {str(n): value for n, value in enumerate(row, 1)} if isinstance(row, (list, tuple)) else {"": row}
    if not named:
        return "(no columns)"
    texts = {name: MASK if hide and isinstance(value, _COULD_HOLD) else str(value) for name, value in named.items()}
    masked = session.redactor.data(texts)
    return ", ".join(f"{name}={_short(value)}" if name else _short(value) for name, value in masked.items())


def _short(value: str) -> str:
    text = " ".join(value.split())
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}…"
