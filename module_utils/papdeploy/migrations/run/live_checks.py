"""What a migration wants to hold before it runs, asked of the live database for a plan; and what must hold anyway."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Optional

from ...core import alone
from ...core.errors import PapError
from ...core.records import as_object, read
from .. import planning
from ..files import MigrationFile
from ..invariants import Invariant
from ..options import RunOptions
from ..problems import Problem
from . import checks, drivers, failures
from .apply import opened, who_am_i
from .execute import guards, load
from .step import Step
from .way_out import WayOut

if TYPE_CHECKING:
    from .session import Session

# Table, column, function, type or schema: an earlier migration that is pending may bring it.
_NOT_THERE = ("42P01", "42703", "42883", "42704", "3F000")
_MORE_S = 30.0


@dataclass(frozen=True)
class _Answer:
    """``problems``: identity, message and hint of each; ``notes`` do not stop a run."""

    problems: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = ()


def added(plan: planning.Plan, url: Any, invariants: Sequence[Invariant], options: RunOptions) -> planning.Plan:
    """The plan, with what does not hold now. It is asked in a process that reaches nothing but this database, where it
    can only read."""
    asked = any(m.checks_before for m in plan.pending)
    if plan.problems or not (asked or invariants):
        return plan
    seconds = options.deadline_s + _MORE_S
    answer = alone.run(lambda: as_object(_ask(url, plan.pending, invariants, options)), seconds, confined=False)
    found = read(_Answer, answer)
    problems = [Problem("check", *problem) for problem in found.problems]
    state = replace(plan.state, problems=[*plan.problems, *problems])
    return replace(plan, state=state, notes=(*plan.notes, *found.notes))


def _ask(url: Any, pending: Sequence[MigrationFile], invariants: Sequence[Invariant], options: RunOptions) -> _Answer:
    problems: list[tuple[str, str, str]] = []
    notes: list[str] = []
    with opened(url, release="plan", who=who_am_i(), options=options, emit=None) as session:
        session.query("SET default_transaction_read_only = on")
        WayOut().close(session)
        with guards(session):
            for migration in pending:
                error = _does_not_hold(session, migration)
                if error is None:
                    continue
                if drivers.sqlstate(error) in _NOT_THERE and migration is not pending[0]:
                    notes.append(
                        f"{migration.identity}: what it checks is not there before the ones before it have run."
                    )
                else:
                    problems.append((migration.identity, error.message, error.hint))
            for invariant in invariants:
                try:
                    checks.hold_all(session, [invariant])
                except PapError as error:
                    if pending:
                        notes.append(f"now, before this deploy: {error.message}")
                    else:
                        problems.append((invariant.name, error.message, error.hint))
    return _Answer(tuple(problems), tuple(notes))


def _does_not_hold(session: Session, migration: MigrationFile) -> Optional[PapError]:
    if not migration.checks_before:
        return None
    step = Step(migration.identity, True, checks.BEFORE)
    session.begin_step(step)
    try:
        try:
            module = load(migration)
        finally:
            session.end_step()
        checks.hold(session, migration, module, checks.BEFORE)
    except PapError as error:
        return error
    except Exception as error:  # noqa: BLE001 - of loading: whatever it is, it is the problem
        translated = failures.translated(session, migration, step, error)
        return translated if isinstance(translated, PapError) else PapError(str(translated))
    finally:
        sys.modules.pop(f"pap_migration_{migration.identity}", None)
    return None
