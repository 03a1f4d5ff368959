"""Execute a rollback plan. Each step is idempotent, so an interrupted rollback can be run again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from .. import backup as backups
from .. import databases
from ..app.host_app import Api
from ..backup.pipeline import Emit, silent
from ..core import text
from ..core.errors import PapError, Refused, Unhealthy
from ..core.records import as_object
from ..databases import Written, write_snapshot
from ..databases.managed_names import admin_session, end_sessions
from ..databases.other_losses import Change
from ..databases.psql import Database
from ..releases.version import Version
from ..sql.quoting import quote_literal
from .plan import RollbackPlan, backup_path, choose, count_before_downgrade, read_state

Checkpoint = Callable[[str, str, dict[str, Any]], None]


@dataclass(frozen=True)
class Hooks:
    """What lies outside: ``revert(dbname)`` runs the downgrades of the release in database ``dbname``; ``healthy()``
    waits for the old API's first healthy answer, ``healthy_at`` in what it returns, and raises Unhealthy; ``agreed()``
    waits for a health check that its supervisor has, says how long, and raises Unhealthy;
    ``validate(strategy)`` holds the schema against the old models and ``smoke()`` logs in, both raising what is wrong
    (Unhealthy: the old API runs and does not answer well); ``checkpoint(phase, event, data)`` writes to the journal,
    durably."""

    revert: Callable[[str], dict[str, Any]]
    validate: Callable[[str], Any]
    smoke: Callable[[], Any]
    checkpoint: Checkpoint
    healthy: Callable[[], dict[str, Any]] = dict
    agreed: Callable[[], str] = str
    emit: Emit = silent


@dataclass(frozen=True)
class _Work:
    database: Database
    api: Api
    facts: dict[str, Any]
    hooks: Hooks
    encryption: backups.Encryption | Mapping[str, Any] | None
    accept_data_loss: bool
    asked: str = ""

    @property
    def release(self) -> str:
        return str(self.facts["release"])

    def step(self, name: str, work: Callable[[], Optional[dict[str, Any]]]) -> dict[str, Any]:
        """One step with its checkpoints."""
        phase = f"rollback.{name}"
        self.hooks.checkpoint(phase, "begin", {})
        self.hooks.emit({"event": "step", "step": name.replace("_", " ")})
        try:
            found = work() or {}
        except PapError as error:
            self.hooks.checkpoint(phase, "failed", error.as_dict())
            raise
        except BaseException as error:
            self.hooks.checkpoint(phase, "failed", {"error": type(error).__name__, "message": str(error)})
            raise
        self.hooks.checkpoint(phase, "done", found)
        return found


def run(
    plan: RollbackPlan,
    *,
    database: Database,
    api: Api,
    facts: Mapping[str, Any],
    hooks: Hooks,
    accept_data_loss: bool = False,
    asked: bool = False,
    encryption: backups.Encryption | Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Execute ``plan``; if it fails, the next safe strategy, unless a person ``asked`` for this one: then its failure
    is raised. ``database`` carries the live name.

    Under the fence the plan is made again: a migration that was still running may have committed, and what would be
    lost is counted to the row. If that changes the verdict, the fence is lifted, the API started as it was, and Refused
    raised. Returns strategy, cost, ``kept`` (the failed database, quarantined), ``unhealthy`` (why the API that it went
    back to does not answer well, or nothing), seconds and lines for a person.
    """
    if plan.refused:
        raise Refused(
            f"Release {plan.release} cannot be rolled back: {plan.refused}.", hint=plan.hint, plan=plan.as_dict()
        )
    work = _Work(database, api, dict(facts), hooks, encryption, accept_data_loss, plan.strategy if asked else "")
    started = time.monotonic()
    failures: list[tuple[str, PapError]] = []
    current, result = _first_that_works(work, plan, failures)
    seconds = time.monotonic() - started - result["waited_s"]
    kept, unhealthy = result.get("kept"), result["unhealthy"]
    return {
        **result,
        "release": plan.release,
        "strategy": current.strategy,
        "why": current.why,
        "tried": [strategy for strategy, _ in failures],
        "seconds": round(seconds, 3),
        "lines": [
            *(f"{strategy} did not work: {error.message}" for strategy, error in failures),
            "rolled back"
            + ("" if current.strategy == "nothing" else f" by {current.strategy}")
            + f" in {text.seconds(seconds)}: {current.why}",
            *([f"the failed database is kept as {kept}{_only_there(plan, result)}"] if kept else []),
            *([result["agreed"]] if result["agreed"] else []),
            *([f"but the API that it went back to does not answer well: {unhealthy}"] if unhealthy else []),
        ],
    }


def _only_there(planned: RollbackPlan, result: Mapping[str, Any]) -> str:
    """What the database that was quarantined holds alone, as it was counted under the fence."""
    changes = tuple(Change(sentence) for sentence in result["besides"])
    found = Written(result["cost"], bool(result["cost_certain"]), "deletions could not be counted", besides=changes)
    if not found.anything:
        return "" if found.certain else f" ({found.why})"
    rows = text.plural(result["rows_lost"], "row")
    before = f", {planned.rows_lost:,} when it was planned" if planned.rows_lost != result["rows_lost"] else ""
    return f"; only there: {rows}{before} ({found.sentence()})"


def _first_that_works(
    work: _Work, current: RollbackPlan, failures: list[tuple[str, PapError]]
) -> tuple[RollbackPlan, dict[str, Any]]:
    """Try one strategy after the other; into ``failures`` goes what did not work."""
    image: Optional[tuple[RollbackPlan, dict[str, Any]]] = None  # gone to its end, though the old API is unhealthy
    while True:
        error: PapError
        try:
            result = _go(work, current)
            if not (result["unhealthy"] and result["new_schema"]):
                return current, result
            if work.asked:
                return current, result
            image, error = (current, result), Unhealthy(str(result["unhealthy"]))
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
            skip=tuple(tried),
            encryption=work.encryption,
        )
        if following.refused or following.strategy in tried:
            if image:
                return image
            raise failures[0][1] if failures else error
        failures.append((current.strategy, error))
        current = following


def _go(work: _Work, plan: RollbackPlan) -> dict[str, Any]:
    lost = [loss.as_dict() for loss in plan.lost]
    result: dict[str, Any] = {"kept": None, "lost": lost, **_counted(plan)}
    before = work.facts.get("before_version")
    counted: Optional[dict[str, Any]] = None
    state = read_state(work.database, work.release)
    if plan.strategy in ("downgrade", "swap", "restore") and not state.swapped:
        plan = _closed(work, plan)
        work.hooks.checkpoint("rollback", "counted", _counted(plan))  # what the failed database will hold alone
        result.update(_counted(plan))
        if plan.strategy == "downgrade":
            counted = count_before_downgrade(work.database, work.facts)
            work.facts.update(data=None, definitions=None)  # what the downgrade removes, no other session did
            result["reverted"] = work.step("downgrade", lambda: work.hooks.revert(_behind(work).conninfo.dbname))
        elif plan.strategy == "swap":
            snapshot = str(work.facts["restore_point"]["database"])
            result.update(work.step("swap", lambda: _swap(work, snapshot)))
        else:
            replacement = work.step("restore", lambda: _restore(work))["database"]
            traits = backups.load_manifest(backup_path(work.facts)).manifest["properties"]
            result.update(work.step("swap", lambda: _swap(work, str(replacement), traits)))
    elif state.running:
        work.step("end_sessions", lambda: _end_own(work))
        again = choose(
            work.database,
            work.facts,
            accept_data_loss=work.accept_data_loss,
            strategy=work.asked,
            encryption=work.encryption,
        )
        if again.strategy != plan.strategy:
            raise PapError(
                f"The rollback has changed from {plan.strategy} to {again.strategy} while the old run was ended.",
                hint="Run the rollback again.",
            )
    if state.swapped:
        result["kept"] = databases.derived(work.database.conninfo.dbname, "failed", work.release)
    lifted = work.step("unfence", lambda: databases.unfence(work.database, work.release))
    if plan.strategy == "downgrade" and lifted.get("mark"):
        # If what follows fails, another strategy may be tried: no client wrote the rows that the downgrade rewrote.
        work.facts.update(unfence=lifted, written_before=counted)
    active = work.step("activate", lambda: _activate(work, before))
    work.step("validate", lambda: _as_dict(work.hooks.validate(plan.strategy)))
    tried = work.step("login_smoke_test", lambda: _tried(work, str(active.get("unhealthy") or "")))
    new_schema = plan.strategy == "image" and bool(state.applied)
    return {**result, "unhealthy": tried.get("unhealthy", ""), "new_schema": new_schema, **_agreed(work, tried)}


def _agreed(work: _Work, tried: Mapping[str, Any]) -> dict[str, Any]:
    """What a health check of the supervisor says of an API that answers well. The rollback is over by then: waiting for
    that is told apart."""
    began = time.monotonic()
    try:
        said = "" if tried.get("unhealthy") else work.hooks.agreed()
        return {"agreed": said, "waited_s": round(time.monotonic() - began, 3)}
    except Unhealthy as error:
        return {"agreed": "", "waited_s": round(time.monotonic() - began, 3), "unhealthy": error.message}


def _counted(plan: RollbackPlan) -> dict[str, Any]:
    whole = plan.as_dict()
    return {key: whole[key] for key in ("cost", "besides", "rows_lost", "cost_certain")}


def _tried(work: _Work, unhealthy: str) -> dict[str, Any]:
    """The smoke test of the old API. A rollback does not hang on what that answers: it is noted, and judged above. One
    that was waited for in vain is not waited for again."""
    if unhealthy:
        return {"unhealthy": unhealthy}
    try:
        return _as_dict(work.hooks.smoke())
    except Unhealthy as error:
        return {**error.data.get("smoke", {}), "unhealthy": error.message}


def _closed(work: _Work, plan: RollbackPlan) -> RollbackPlan:
    """Close the database, end what the release still runs, and plan again on what is now certain."""

    def close() -> dict[str, Any]:
        work.api.stop()
        fence = databases.fence(work.database, work.release)
        ended = _end_own(work)
        return {**fence, **ended}

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


def _as_it_was(work: _Work) -> None:
    """Open the database again and start the API as it was: the rollback is called off."""
    work.step("unfence", lambda: databases.unfence(work.database, work.release))
    work.step("restart", lambda: work.api.start())


def _call_off(work: _Work, plan: RollbackPlan, error: PapError) -> None:
    """Where a rollback failed before it had changed anything, behind a fence of its own, put all back as it was."""
    try:
        state = read_state(work.database, work.release)
        if plan.strategy in ("swap", "restore") and state.fence and not (plan.state.fence or state.swapped):
            _as_it_was(work)
            error.hint = f"{error.hint} The database is as it was, and the API runs as before.".strip()
    except PapError as problem:
        error.hint = f"{error.hint} It could not be put back as it was: {problem.message}".strip()


def _end_own(work: _Work) -> dict[str, Any]:
    """End the sessions of the release itself: a migration whose deploy was killed may still be at work."""
    live = work.database.conninfo.dbname
    state = databases.fence_state(work.database)
    name = state["database"] if state else live
    with admin_session(work.database) as session:
        own = f"application_name = {quote_literal('pap-deploy:' + work.release)}"
        return {"ended_own": end_sessions(session, name, seconds=20, only=own)}


def _behind(work: _Work) -> Database:
    return databases.must_be_fenced(work.database, work.release)


def _swap(work: _Work, replacement: str, traits: Optional[dict[str, Any]] = None) -> dict[str, Any]:
    done = databases.swap(work.database, work.release, replacement, traits=traits)
    # What is written to it from now on is nowhere else. A repeated swap cannot tell what was written meanwhile.
    return {
        **done,
        "writes": write_snapshot.writes(work.database.named(str(done["kept"]))) if done["swapped"] else None,
    }


def _restore(work: _Work) -> dict[str, Any]:
    path = backup_path(work.facts)
    ready = databases.restored_and_proven(work.database, work.release, backups.load_manifest(path).manifest["sha256"])
    if ready:
        return {"database": ready, "reused": True}
    restored = backups.restore(
        work.database,
        path,
        release=work.release,
        encryption=work.encryption,
        emit=work.hooks.emit,
    )
    return {**restored.as_dict(), "reused": False}


def _activate(work: _Work, before: Optional[Version]) -> dict[str, Any]:
    running = work.api.running()
    wanted = before if before and running.identity != before.identity else None
    if wanted:
        work.api.switch(wanted)
    else:
        work.api.start()
    try:
        answered = work.hooks.healthy()  # at once: users wait for this, and not for what is checked then
    except Unhealthy as error:
        answered = {"unhealthy": error.message}
    return {"from": as_object(running), "to": as_object(wanted or running), "switched": wanted is not None, **answered}


def _as_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    convert = getattr(value, "as_dict", None)
    return dict(convert()) if convert else {}
