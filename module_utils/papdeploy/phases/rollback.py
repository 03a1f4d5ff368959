"""Rollback as a phase: the facts from the journal, the strategy from the database, every step noted."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from .. import databases, rollback
from ..app import smoke
from ..app.stack import Stack
from ..backup import Encryption
from ..core import storage, text
from ..core.clock import now, seconds_between
from ..core.errors import PapError, Refused
from ..core.records import recorded
from ..databases import loss_rules
from ..logwatch import process
from ..releases import downtime, smoke_test_logins
from ..releases.journal import Journal
from ..releases.parts import Cost, Smoke, TableCost
from ..releases.records import Backup, Ended, Preflight, Rehearsed, RestorePoint, RollbackBegun, Unfence
from ..releases.run import Run
from . import data_check, health_check, live_check, retention, schema_before
from .preflight import read_kept
from .progress import Progress
from .result import Printed, Result


@dataclass(frozen=True)
class Options:
    """What the caller decides about a rollback. ``plan_only`` chooses a strategy and names its cost; ``planned`` is the
    strategy that was announced so, which is then not announced again."""

    accept_data_loss: bool = False
    strategy: str = ""
    encrypt: Mapping[str, Any] = field(default_factory=dict)
    only_unfinished: bool = False
    reason: str = ""
    take_over: bool = False
    plan_only: bool = False
    planned: str = ""


@dataclass(frozen=True)
class Chosen(Result):
    """The strategy; that is "nothing" where there is no release to roll back."""

    strategy: str


@dataclass(frozen=True)
class Planned(Chosen):
    """What a rollback of ``release`` would cost, and why it would be ``refused``."""

    changed: bool
    release: str
    cost: Mapping[str, TableCost]
    besides: Sequence[str]
    refused: str


@dataclass(frozen=True)
class Undone(Chosen):
    """What it cost; ``kept``: the failed database. ``unavailable_s`` is None while the API does not answer yet."""

    changed: bool
    release: str
    cost: Mapping[str, TableCost]
    besides: Sequence[str]
    kept: Optional[str]
    seconds: float
    unavailable_s: Optional[float]
    outcome: str


def run(stack: Stack, release: str, who: Run, options: Options, *, check_mode: bool = False) -> Chosen:
    """Take ``release`` back (empty: the interrupted one, else the newest). Converges when repeated or killed.

    Raises Refused while another run is at work, unless it may be taken over; TakenOver to a run that has been.
    """
    lock = stack.state.lock.by(who)
    lock.refuse_held(release, take_over=options.take_over)
    journal = _which(stack, release, options)
    if journal is None:
        # Without a release, what is to be taken over can only be a backup that hangs.
        if options.take_over and not (options.plan_only or check_mode):
            with lock.alone("take-over", take_over=True):
                pass
        return Chosen(Printed("rollback"), rollback.NOTHING)
    _refuse_other_stack(stack, journal)
    if options.plan_only:
        return _forecast(stack, journal, options)
    if check_mode:
        with live_check.unchanged(stack, "the plan of the rollback") as live:
            planned = _forecast(stack, journal, options)
        return replace(planned, pap=replace(planned.pap, lines=[*planned.pap.lines, live.sentence]))
    # The old run is ended first, and the strategy chosen on what it has left. Whatever comes of it, this run then ends.
    with storage.on_the_way_out(), lock.holding(journal.release, take_over=options.take_over):
        return _roll_back(stack, journal, who, options)


def _choose(stack: Stack, journal: Journal, options: Options) -> tuple[rollback.Facts, rollback.RollbackPlan]:
    facts = facts_of(stack, journal)

    def chosen(strategy: str) -> rollback.RollbackPlan:
        return rollback.choose(
            stack.database,
            facts,
            accept_data_loss=options.accept_data_loss,
            strategy=strategy,
            deep=not options.plan_only,
            encryption=Encryption.of(options.encrypt),
        )

    plan = chosen(_asked(journal, options))
    if _asked(journal, options) == "downgrade" != options.strategy and not plan.state.applied:
        plan = chosen("")  # it had been done when the rollback was interrupted: what is left is the API
    return facts, plan


def _asked(journal: Journal, options: Options) -> str:
    """The strategy that a person named: now, or for the rollback of this release that was interrupted and is now
    ended."""
    begun = journal.newest(RollbackBegun) if journal.ended() is None else None
    return options.strategy or (begun.asked if begun else "")


def _announcement(stack: Stack, plan: rollback.RollbackPlan, options: Options) -> list[str]:
    if options.planned == plan.strategy:
        return []
    asked = options.reason.split(": ")[0] or "it was asked for"
    lines = [f"release {plan.release} of {stack.label} is rolled back ({asked})", *plan.lines()]
    if plan.lost:
        lines[:2] = lines[1::-1]  # that the release lost data comes before anything else
    return lines


def _forecast(stack: Stack, journal: Journal, options: Options) -> Planned:
    """The strategy and its cost; nothing is changed."""
    _, plan = _choose(stack, journal, options)
    printed = Printed("rollback", _announcement(stack, plan, options), "warning" if options.plan_only else "")
    cost = recorded(Cost, plan.as_dict())
    would_change = not (plan.refused or options.plan_only)
    return Planned(printed, plan.strategy, would_change, plan.release, cost.cost, cost.besides, plan.refused)


def _roll_back(stack: Stack, journal: Journal, who: Run, options: Options) -> Undone:
    """Choose a strategy and execute it, under the lock."""
    facts, plan = _choose(stack, journal, options)
    lines = _announcement(stack, plan, options)
    asked = _asked(journal, options)
    if plan.refused:
        journal.append("rollback", "refused", reason=options.reason, who=who, plan=plan.as_dict())
        raise Refused(
            f"Release {journal.release} cannot be rolled back: {plan.refused}.", hint=plan.hint, lines=plan.lines()
        )
    with Progress(stack.state.folder, "rollback", stack.redactor) as say:
        journal.append("rollback", "begin", reason=options.reason, who=who, asked=asked, plan=plan.as_dict())
        hooks = rollback.Hooks(
            revert=lambda dbname: _revert(stack, journal, dbname, say),
            healthy=lambda: _healthy(stack),
            agreed=lambda: health_check.agreed(stack, journal, journal.opening().old, say, "rollback.health_check"),
            validate=lambda strategy: schema_before.validate(stack, journal, strategy),
            smoke=lambda: _smoke(stack, journal),
            checkpoint=lambda phase, event, data: journal.append(phase, event, **data),
            emit=say,
        )
        try:
            result = rollback.run(
                plan,
                database=stack.database,
                api=stack.api,
                facts=facts,
                hooks=hooks,
                accept_data_loss=options.accept_data_loss,
                asked=asked == plan.strategy,
                encryption=Encryption.of(options.encrypt),
            )
        except PapError as error:
            journal.append("rollback", "failed", **error.as_dict())
            raise
        away, noted = downtime.of_rollback(journal.records()), result.as_dict()
        journal.append("rollback", "done", **noted, unavailable_s=away)
        with contextlib.suppress(PapError):  # the next rehearsal clears a copy away as well
            databases.drop_created(stack.database, journal.release, ("scratch",))
        _end(stack, journal, result, options.reason)
        process.end(journal.folder, "the release was rolled back")
    lines += [*result.lines, _waited(away, result), f"journal {journal.path}"]
    cost = recorded(Cost, noted)
    return Undone(
        Printed("rollback", lines, "warning"),
        result.strategy,
        True,
        journal.release,
        cost.cost,
        cost.besides,
        result.kept,
        result.seconds,
        away,
        _outcome(stack, journal, result),
    )


def _which(stack: Stack, release: str, options: Options) -> Optional[Journal]:
    other_way = options.strategy not in ("", "image")  # of a release whose image went back the rest can still follow
    if release:
        journal = stack.state.journal(release)
        end = journal.ended()
        open_yet = end and end.kept_schema
        if end and end.event != "finished" and not (open_yet and other_way):
            raise Refused(
                f"Release {release} has been rolled back already ({end.event} at {end.at}).",
                hint="Only its API was rolled back. Its database can follow: -e rollback_strategy=restore"
                if open_yet
                else "There is nothing left to roll back.",
            )
        return _newest(stack, journal)
    unfinished = stack.state.unfinished()
    if unfinished or options.only_unfinished:
        return unfinished
    image_alone = stack.state.image_taken_back()
    if image_alone and other_way:
        return image_alone
    finished = stack.state.last_finished()
    if finished is None:
        raise Refused(
            f"{stack.label} has no release that could be rolled back: {_nothing_left(stack)}.",
            hint=f"ansible-playbook history.yml -l {stack.name} lists all of them.",
        )
    return _newest(stack, finished)


def _refuse_other_stack(stack: Stack, journal: Journal) -> None:
    """A state folder that two stacks once shared holds releases of both: each is rolled back by its own."""
    databases.refuse_other_stack(stack.database)
    theirs = journal.opening().stack
    if theirs and theirs != stack.name:
        raise Refused(
            f"Release {journal.release} is of another stack: {theirs}, not {stack.name}.",
            hint="Give every stack a pap_state_dir of its own, and take it back from there.",
        )


def _nothing_left(stack: Stack) -> str:
    """Why there is no release to roll back."""
    for journal in reversed(stack.state.releases()):
        end = journal.ended()
        if end:
            return f"the last one, {journal.release}, ended as {end.event.replace('_', ' ')} at {end.at}"
    return "nothing was deployed by this project yet"


def _newest(stack: Stack, journal: Journal) -> Journal:
    """Only the newest release in force can be rolled back: later ones stand on it."""
    later = [
        other.release
        for other in stack.state.later_than(journal)
        if (other.ended() or Ended(event="finished")).event == "finished"
    ]
    if later:
        raise Refused(
            f"Release {journal.release} is not the newest: {', '.join(later)} came later.",
            hint=f"Roll back {later[-1]} first.",
        )
    return journal


def facts_of(stack: Stack, journal: Journal) -> rollback.Facts:
    """What the journal says of a release, in the words of :mod:`papdeploy.rollback`."""
    backup, point = journal.newest(Backup), journal.newest(RestorePoint)
    unfence, preflight = journal.newest(Unfence), journal.newest(Preflight)
    rehearsed = journal.newest(Rehearsed)
    known = rehearsed if rehearsed and rehearsed.reversible is not None else preflight
    paths = [entry.path for entry in (backup, point) if entry]
    facts = rollback.Facts(
        release=journal.release,
        before_version=journal.opening().old,
        restore_point=point,
        backup=backup,
        removed={path: why for path in paths if (why := retention.why_removed(stack.state, path))},
        lifted=unfence.mark if unfence else None,
        reversible=bool(known and known.reversible),
        reversible_why=rehearsed.reversible_why if rehearsed else "one of them has no downgrade",
        downgrade_loses=rehearsed.downgrade_loses if rehearsed else "",
        old_works_on_new=bool(rehearsed and rehearsed.old_api_works),
        old_api_why=rehearsed.old_api.why if rehearsed else "",
        rehearsed=rehearsed is not None,
        switched=journal.has("activate", "begin"),
        own=smoke_test_logins.known(journal),
        stack=stack.name,
    )
    return data_check.noted_in(facts, journal, stack)


def _outcome(stack: Stack, journal: Journal, result: rollback.Result) -> str:
    """One sentence for the end of a failed deploy."""
    label = journal.opening().old.label
    if not journal.touched:
        return f"The API had not been stopped and no migration had begun; {stack.name} runs {label} as before."
    kept = f" The failed database is kept as {result.kept}." if result.kept else ""
    unhealthy = f" It does not answer well: {result.unhealthy}" if result.unhealthy else ""
    if not result.lost:
        return f"{stack.name} was rolled back and runs {label} again.{kept}{unhealthy}"
    back = (
        f"The data of before is back, by {result.strategy};"
        if result.strategy in rollback.BRING_BACK
        else "What it lost is NOT back: -e rollback_strategy=restore brings it back;"
    )
    lost = loss_rules.listed(result.lost)
    return f"THE RELEASE LOST DATA: {lost}. {back} {stack.name} runs {label} again.{kept}{unhealthy}"


def _end(stack: Stack, journal: Journal, result: rollback.Result, reason: str) -> None:
    journal.append(
        "release",
        "rolled_back" if journal.touched else "refused",
        message=reason,
        seconds=round(seconds_between(journal.opening().at, now()), 2),
        strategy=result.strategy,
        unhealthy=result.unhealthy,
        **schema_before.left(stack, journal, result.strategy),
    )


def _revert(stack: Stack, journal: Journal, dbname: str, say: Progress) -> object:
    header = journal.opening()
    with stack.beside_models(header.new) as app_session:
        if dbname != stack.database.conninfo.dbname:
            app_session.move(stack.database.named(dbname), app_session.environment_for(dbname, strict=False))
        return app_session.call(
            "migrations.revert",
            {
                "sources": read_kept(journal.folder, "migrations.json"),
                "since_release": journal.release,
                "release": journal.release,
                "who": header.by,
                "options": {"guard": stack.state.lock.guard(journal.release)},
            },
            deadline_s=3600,
            on_event=say,
        )


def _healthy(stack: Stack) -> rollback.Answered:
    after = smoke.wait_until_healthy(stack.smoke)
    return rollback.Answered(round(after, 3), now())


def _waited(away: Optional[float], result: rollback.Result) -> str:
    """How long users had to wait, in words."""
    if away is not None:
        return f"API unavailable for {text.seconds(away)}"
    return "the API does not answer yet" if result.unhealthy else "the API was not stopped"


def _smoke(stack: Stack, journal: Journal) -> Smoke:
    with smoke_test_logins.noted(stack.database, stack.state):
        found = _tried(stack, journal)
    stack.api.confirm(journal.opening().old)  # else what answered may have been the release that is rolled back
    return found


def _tried(stack: Stack, journal: Journal) -> Smoke:
    looked = journal.newest(Preflight)
    if looked and looked.baseline is None:
        # The API did not let the smoke user in before the release either: that it is up is all there is to ask.
        return Smoke(healthy_after_s=smoke.wait_until_healthy(stack.smoke))
    return smoke.run(stack.smoke.of_before(), looked.baseline if looked else None)
