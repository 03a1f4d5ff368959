"""Execute a rollback plan. Each step is idempotent, so an interrupted rollback can be run again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Optional

from .. import databases
from ..app.host_app import Api
from ..backup import Encryption
from ..core import text
from ..core.errors import PapError, Refused, Unhealthy, VerificationFailed
from ..core.plain_json import JsonObject
from ..core.records import as_object, plain, recorded
from ..databases import Written
from ..databases.other_losses import Change
from ..databases.psql import Database
from ..databases.relation_losses import Loss
from ..releases.version import Version
from . import strategies
from .facts import Facts
from .plan import RollbackPlan, choose
from .state import read_state
from .strategies import Cost
from .work import Answered, Hooks, Work


@dataclass(frozen=True)
class Result:
    """``kept``: the failed database, quarantined; ``unhealthy``: why the API that it went back to does not answer well,
    or nothing; ``agreed``: what the health check of its supervisor says, which was waited for ``waited_s`` seconds
    after the end; ``tried``: the strategies that failed before; ``lines``: for a person."""

    plan: RollbackPlan
    kept: Optional[str]
    unhealthy: str
    new_schema: bool
    agreed: str = ""
    waited_s: float = 0.0
    tried: tuple[str, ...] = ()
    seconds: float = 0.0
    lines: tuple[str, ...] = ()

    @property
    def strategy(self) -> str:
        return self.plan.strategy

    @property
    def cost(self) -> Cost:
        """As it was counted under the fence."""
        return self.plan.cost

    @property
    def lost(self) -> tuple[Loss, ...]:
        return self.plan.lost

    def as_dict(self) -> JsonObject:
        return {
            "release": self.plan.release,
            "strategy": self.strategy,
            "why": self.plan.why,
            "kept": self.kept,
            "lost": plain(self.lost),
            **as_object(self.cost.counted),
            "unhealthy": self.unhealthy,
            "new_schema": self.new_schema,
            "agreed": self.agreed,
            "waited_s": self.waited_s,
            "tried": list(self.tried),
            "seconds": self.seconds,
            "lines": list(self.lines),
        }


@dataclass(frozen=True)
class _Activated:
    """``old`` ran, ``new`` was started. ``answered``: its first healthy answer, or ``unhealthy``, why there is none."""

    old: Version
    new: Version
    switched: bool
    answered: Answered = field(default_factory=Answered)
    unhealthy: str = ""

    def as_json(self) -> object:
        answered = {"unhealthy": self.unhealthy} if self.unhealthy else as_object(self.answered)
        return {"from": self.old, "to": self.new, "switched": self.switched, **answered}


@dataclass(frozen=True)
class _SmokeFailure:
    """What a smoke test that failed says of itself."""

    smoke: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class _SmokeTested:
    found: object
    unhealthy: str = ""

    def as_json(self) -> object:
        return {**as_object(self.found), **({"unhealthy": self.unhealthy} if self.unhealthy else {})}


def run(
    plan: RollbackPlan,
    *,
    database: Database,
    api: Api,
    facts: Facts,
    hooks: Hooks,
    accept_data_loss: bool = False,
    asked: bool = False,
    encryption: Optional[Encryption] = None,
) -> Result:
    """Execute ``plan``; if it fails, the next safe strategy, unless a person ``asked`` for this one: then its failure
    is raised. ``database`` carries the live name.

    Under the fence the plan is made again: a migration that was still running may have committed, and what would be
    lost is counted to the row. If that changes the verdict, the fence is lifted, the API started as it was, and Refused
    raised.
    """
    if plan.refused:
        raise Refused(
            f"Release {plan.release} cannot be rolled back: {plan.refused}.", hint=plan.hint, plan=plan.as_dict()
        )
    work = Work(database, api, facts, hooks, encryption, accept_data_loss, plan.strategy if asked else "")
    started = time.monotonic()
    failures: list[tuple[str, PapError]] = []
    result = _first_that_works(work, plan, failures)
    seconds = time.monotonic() - started - result.waited_s
    by = "" if result.strategy == strategies.NOTHING else f" by {result.strategy}"
    lines = [f"{strategy} did not work: {error.message}" for strategy, error in failures]
    lines.append(f"rolled back{by} in {text.seconds(seconds)}: {result.plan.why}")
    if result.kept:
        lines.append(f"the failed database is kept as {result.kept}{_only_there(plan.cost, result.cost)}")
    if result.agreed:
        lines.append(result.agreed)
    if result.unhealthy:
        lines.append(f"but the API that it went back to does not answer well: {result.unhealthy}")
    tried = tuple(strategy for strategy, _ in failures)
    return replace(result, tried=tried, seconds=round(seconds, 3), lines=tuple(lines))


def _only_there(planned: Cost, counted: Cost) -> str:
    """What the database that was quarantined holds alone, as it was counted under the fence."""
    changes = tuple(Change(sentence) for sentence in counted.besides)
    found = Written(dict(counted.tables), counted.certain, "deletions could not be counted", besides=changes)
    if not found.anything:
        return "" if found.certain else f" ({found.why})"
    before = f", {planned.rows:,} when it was planned" if planned.rows != counted.rows else ""
    return f"; only there: {text.plural(counted.rows, 'row')}{before} ({found.sentence()})"


def _first_that_works(work: Work, current: RollbackPlan, failures: list[tuple[str, PapError]]) -> Result:
    """Try one strategy after the other; into ``failures`` goes what did not work."""
    image: Optional[Result] = None  # gone to its end, though the old API is unhealthy
    while True:
        error: PapError
        try:
            result = _go(work, current)
            if work.asked or not (result.unhealthy and result.new_schema):
                return result
            image, error = result, Unhealthy(result.unhealthy)
        except Refused as refusal:
            if image:  # it was found under the fence that the other strategy would lose rows: the fence is down again
                return image
            _call_off(work, current, refusal)
            raise
        except PapError as found:
            image, error = None, found
        work.hooks.checkpoint("rollback", "note", {"strategy": current.strategy, "failed": error.as_dict()})
        if work.asked:
            error.hint = (
                f"{error.hint} No other strategy was tried, since rollback_strategy={work.asked} was asked for.".strip()
            )
            _call_off(work, current, error)
            raise error
        # Another strategy may still work: the old API may fail on the new schema, a backup may not restore.
        tried = [*(strategy for strategy, _ in failures), current.strategy]
        following = choose(
            work.database,
            work.facts,
            accept_data_loss=work.accept_data_loss,
            skip=tried,
            encryption=work.encryption,
        )
        if following.refused or following.strategy in tried:
            if image:
                return image
            raise failures[0][1] if failures else error
        failures.append((current.strategy, error))
        current = following


def _go(work: Work, plan: RollbackPlan) -> Result:
    strategy = strategies.named(plan.strategy)
    kept: Optional[str] = None
    state = read_state(work.database, work.release)
    if strategy.under_fence and not state.swapped:
        plan = replace(_closed(work, plan), lost=plan.lost)
        # What the failed database will hold alone.
        work.hooks.checkpoint("rollback", "counted", as_object(plan.cost.counted))
        kept = strategy.execute(work)
    elif state.running:
        _end_old_run(work, plan)
    if state.swapped:
        kept = databases.derived(work.database.conninfo.dbname, "failed", work.release)
    lifted = work.step("unfence", lambda: databases.unfence(work.database, work.release))
    if lifted.mark:
        strategy.lifted(work, lifted.mark)
    active = work.step("activate", lambda: _activate(work), _Activated.as_json)
    work.step("validate", lambda: work.hooks.validate(plan.strategy))
    tested = work.step("login_smoke_test", lambda: _smoke_tested(work, active.unhealthy), _SmokeTested.as_json)
    new_schema = strategy.keeps_schema and bool(state.applied)
    return _agreed(work, Result(plan, kept, tested.unhealthy, new_schema))


def _end_old_run(work: Work, plan: RollbackPlan) -> None:
    """End what the release still runs; what it has committed meanwhile must not change the plan."""
    work.step("end_sessions", work.end_own, lambda ended: {"ended_own": ended})
    again = choose(
        work.database,
        work.facts,
        accept_data_loss=work.accept_data_loss,
        strategy=work.asked,
        encryption=work.encryption,
    )
    if again.strategy != plan.strategy:
        raise VerificationFailed(
            f"The rollback has changed from {plan.strategy} to {again.strategy} while the old run was ended.",
            hint="Run the rollback again.",
        )


def _agreed(work: Work, result: Result) -> Result:
    """What a health check of the supervisor says of an API that answers well. The rollback is over by then: waiting for
    that is told apart."""
    if result.unhealthy:
        return result
    began = time.monotonic()
    try:
        agreed, unhealthy = work.hooks.agreed(), ""
    except Unhealthy as error:
        agreed, unhealthy = "", error.message
    return replace(result, agreed=agreed, waited_s=round(time.monotonic() - began, 3), unhealthy=unhealthy)


def _smoke_tested(work: Work, unhealthy: str) -> _SmokeTested:
    """The smoke test of the old API. A rollback does not hang on what that answers: it is noted, and judged above. One
    that was waited for in vain is not waited for again."""
    if unhealthy:
        return _SmokeTested({}, unhealthy)
    try:
        return _SmokeTested(work.hooks.smoke() or {})
    except Unhealthy as error:
        return _SmokeTested(recorded(_SmokeFailure, error.data).smoke, error.message)


def _closed(work: Work, plan: RollbackPlan) -> RollbackPlan:
    """Close the database, end what the release still runs, and plan again on what is now certain."""

    def close() -> object:
        work.api.stop()
        fence = databases.fence(work.database, work.release)
        return {**as_object(fence), "ended_own": work.end_own()}

    work.step("fence", close)
    again = choose(
        work.database, work.facts, accept_data_loss=work.accept_data_loss, strategy=plan.strategy, deep=False
    )
    if not again.refused:
        return again
    _as_it_was(work)
    raise Refused(
        f"Release {plan.release} cannot be rolled back by {plan.strategy}: {again.refused}.",
        hint=again.hint,
        plan=again.as_dict(),
    )


def _as_it_was(work: Work) -> None:
    """Open the database again and start the API as it was: the rollback is called off."""
    work.step("unfence", lambda: databases.unfence(work.database, work.release))
    work.step("restart", work.api.start)


def _call_off(work: Work, plan: RollbackPlan, error: PapError) -> None:
    """Where a rollback failed before it had changed anything, behind a fence of its own, put all back as it was."""
    try:
        state = read_state(work.database, work.release)
        swaps = strategies.named(plan.strategy).brings_back
        if swaps and state.fence and not (plan.state.fence or state.swapped):
            _as_it_was(work)
            error.hint = f"{error.hint} The database is as it was, and the API runs as before.".strip()
    except PapError as problem:
        error.hint = f"{error.hint} It could not be put back as it was: {problem.message}".strip()


def _activate(work: Work) -> _Activated:
    running, before = work.api.running(), work.facts.before_version
    wanted = before if before and running.identity != before.identity else None
    if wanted:
        work.api.switch(wanted)
    else:
        work.api.start()
    activated = _Activated(running, wanted or running, wanted is not None)
    try:
        return replace(activated, answered=work.hooks.healthy())  # at once: users wait for this, not for later checks
    except Unhealthy as error:
        return replace(activated, unhealthy=error.message)
