"""The rehearsal itself: migrate, check, revert, compare, migrate again, try both APIs, and say what it means."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable

from .. import databases
from ..app.migration_request import MigrationRequest
from ..app.stack import AppSession, Stack
from ..backup.pipeline import Emit, silent
from ..core.errors import DeadlineExceeded, PapError
from ..core.plain_json import JsonObject
from ..core.records import recorded, whole
from ..databases import smoke_test_writes, write_snapshot
from ..migrations import server_wide
from ..releases.parts import SchemaCheck
from ..releases.rehearsed import Online, Rehearsal, Tried
from ..releases.version import Version
from . import expectations, observe, reverse, trials, verdict
from .api_effects import ApiEffects
from .copies import Copy, Maker
from .options import Options, RehearsalFailed
from .reverse import Drops, Reverted
from .verdict import Batch
from .work import Ran, Subject, Work


@dataclass(frozen=True)
class Verdict(Rehearsal):
    """What the rehearsal found, after ``seconds``. ``check``: of the migrated schema, as JSON has it."""

    seconds: float = 0.0
    check: Any = None

    def as_dict(self) -> JsonObject:
        found: dict[str, Any] = whole(self)
        found["schema"] = found.pop("check")
        return found


def rehearse(stack: Stack, subject: Subject, options: Options, emit: Emit = silent) -> Verdict:
    """Rehearse and return the verdict (see docs/rehearsal.md). The copy is gone afterwards.

    Raises RehearsalFailed if the deploy would fail.
    """
    started = time.monotonic()
    work = Work(stack, subject, options, started + options.deadline_s, emit)
    maker = Maker(
        stack.database, subject.release, options.data, options.sample_rows, subject.backup, subject.encryption, emit
    )
    try:
        with work.step("copy"):
            kept = subject.backup.scratch if subject.backup else ""
            databases.cleanup_leftovers(stack.database, keep=[kept] if kept else [])
            work.copy = copy = maker.first(work.deadline)
        found = _on_the_copy(work, maker, copy)
    except BaseException as error:
        if isinstance(error, RehearsalFailed) and options.keep:
            name = databases.derived(stack.database.conninfo.dbname, "scratch", subject.release)
            error.data["kept"] = name
            error.hint = f"{error.hint} The copy is kept as database {name} until the next deploy.".strip()
        else:
            with contextlib.suppress(PapError):  # the first error is the one to hear of; the next run finds the copy
                maker.drop()
        raise
    maker.drop()
    return replace(found, seconds=round(time.monotonic() - started, 2))


def _on_the_copy(work: Work, maker: Maker, copy: Copy) -> Verdict:
    subject = work.subject
    with copy.database.session() as session:
        existing = {table.name for table in observe.files(session).values()}
    with contextlib.ExitStack() as opened:
        with work.step("migrate"):
            on_copy = work.stack.on_copy(subject.candidate, copy.database, "the rehearsal of the migrations")
            app_session = opened.enter_context(on_copy)
            work.environments[subject.candidate.identity] = app_session.made
            app_session.refuse_live_trial(app_session.made)
            migrated, watched = _migrate(work, app_session, copy)
        with work.step("compare"):
            first = reverse.structure(copy.database)
            drops = reverse.downgrade_drops(copy.database, copy.start, first)
        back = _revert(work, app_session, copy) if migrated.applied else Reverted(seconds=0.0)
        if back.tried:
            if not back.clean:
                with work.step("copy"):  # the trials need the data as the deploy will leave it
                    work.copy = copy = maker.again(work.deadline)
                    app_session.move(copy.database)
            with work.step("migrate_again"):
                _migrate(work, app_session, copy)
                _refuse_other_schema(reverse.schema_differences(first, reverse.structure(copy.database)))
    candidate, own_writes = _candidate(work, copy)
    old = _old(work, copy, candidate)
    if migrated.applied and back.reversible:
        back = _revert_after_use(work, copy, back)
    batch = Batch(migrated.applied, migrated.transactions, existing, old, copy.data, watched, work.left_out)
    return _verdict(work, copy, migrated, batch, back, drops, candidate, own_writes)


def warm(app_session: AppSession, request: MigrationRequest) -> None:
    """Import and read once, outside of any transaction, what the migration and its check will use."""
    app_session.call("migrations.status", request.as_json())
    app_session.call("schema.check", {"expected": request.expected, "options": request.schema_options})


def _migrate(work: Work, app_session: AppSession, copy: Copy) -> tuple[Ran, bool]:
    """What was applied, and whether its locks were watched to the end."""
    application = f"pap-deploy:{work.subject.release}"
    beside_run = copy.database.as_release(f"{work.subject.release}:watch")
    with observe.LockWatch(beside_run, application) as watch, beside_run.session() as session:
        alone = observe.Alone(session, watch)
        alone.start()
        request, limit_s = work.request(), work.migrate_s()

        def heard(event: dict[str, Any]) -> None:
            alone.event(recorded(observe.Event, event))
            work.emit(event)

        warm(app_session, request)
        began = time.monotonic()
        answer = app_session.call("migrations.apply", request.as_json(), deadline_s=limit_s + 30, on_event=heard)
        ran = work.noted(answer)
        return replace(ran, applied=observe.completed(ran.applied, watch, alone, began)), watch.problem is None


def _revert(work: Work, app_session: AppSession, copy: Copy) -> Reverted:
    with work.step("revert"):
        back = reverse.revert(copy, lambda: _call_revert(work, app_session))
    if not back.reversible and work.options.require_reversible:
        raise RehearsalFailed(
            f"The deploy is not reversible: {back.why}",
            hint="Correct the downgrade, or set rehearse_require_reversible to false: rollback then restores.",
            step="revert",
            identity=back.identity,
            differences=list(back.differences),
        )
    return back


def _call_revert(work: Work, app_session: AppSession) -> None:
    request = {
        "sources": dict(work.subject.sources),
        "since_release": work.subject.release,
        "release": work.subject.release,
        "who": work.subject.who,
        "options": {"lock_timeout_s": work.options.lock_timeout_s, "deadline_s": work.left()},
    }
    work.noted(app_session.call("migrations.revert", request, deadline_s=work.left() + 30, on_event=work.emit))


def _refuse_other_schema(differences: list[str]) -> None:
    if differences:
        raise RehearsalFailed(
            f"Migrating a second time gives another schema: {differences[0]}",
            hint="After a rollback the same deploy would end elsewhere. Make upgrade() independent of what it finds.",
            step="migrate_again",
            differences=differences,
        )


def _candidate(work: Work, copy: Copy) -> tuple[Tried, list[smoke_test_writes.Rows]]:
    """The new API on the copy, which must work; and what each transaction of the smoke test writes."""
    marks: list[write_snapshot.Mark] = []

    def take_mark() -> None:
        with copy.database.session() as session:
            marks.append(write_snapshot.take(session))

    with work.step("candidate"):
        tried = _attempt(work, copy, work.subject.candidate, "the new API", "candidate", take_mark)
        if tried.works is False:
            lines = [line for line in tried.log.splitlines()[-8:] if line.strip()]
            raise RehearsalFailed(
                f"{work.subject.candidate.label} does not work on the migrated copy: {tried.why}",
                hint="The end of its log is in the journal." if lines else "",
                step="candidate",
                checks=whole(tried.checks),
                endpoints=whole(tried.endpoints),
                log=tried.log,
                lines=lines,
            )
        if tried.works is None:
            return tried, []
        return tried, smoke_test_writes.rehearsed(copy.database, marks[-1], ignore_schemas=reverse.IGNORED)


def _old(work: Work, copy: Copy, candidate: Tried) -> Tried:
    """The API that runs now, on the migrated copy."""
    if work.subject.running.identity == work.subject.candidate.identity:
        return candidate
    with work.step("old_api"):
        return _attempt(work, copy, work.subject.running, "the API that runs now", "old_api")


def _attempt(
    work: Work,
    copy: Copy,
    version: Version,
    name: str,
    step: str,
    on_healthy: Callable[[], None] = lambda: None,
) -> Tried:
    """Try ``version`` on the copy; ``wrote`` says what it did to the data there. Raises if it lost any."""
    known, identity = work.environments, version.identity
    if identity not in known:
        known[identity] = work.stack.environment_on(version, copy.name)
    obstacle = work.stack.api.trial_obstacle(version)
    if obstacle:
        return Tried(version.label, why=obstacle)
    effects = ApiEffects(copy)

    def healthy() -> None:
        on_healthy()
        effects.started()

    terms = trials.Terms(
        work.subject.release,
        known[identity],
        copy.data == "full",
        work.deadline,
        work.subject.baseline,
        candidate=identity == work.subject.candidate.identity,
    )
    tried = trials.attempt(work.stack, version, copy.database, terms, healthy)
    effects.ended()
    effects.refuse_losses(work.stack, f"{name} ({version.label})", step)
    return replace(tried, wrote=effects.wrote())


def _revert_after_use(work: Work, copy: Copy, back: Reverted) -> Reverted:
    """Whether the downgrades still run once both APIs have written to the new schema."""
    on_copy = work.stack.on_copy(work.subject.candidate, copy.database, "the last revert", verify=False)
    with work.step("revert_after_use"), on_copy as app_session:
        try:
            _call_revert(work, app_session)
        except DeadlineExceeded:
            raise
        except PapError as error:
            why = f"once the new API has written, a downgrade fails: {error.message}"
            return replace(back, reversible=False, why=why)
    return back


def _stop_s(work: Work, candidate: Tried, old: Tried) -> float:
    """Seconds in which the API that runs will stop: as its trial did, or, where it did not work on the new schema, as
    the new one did; and at least what its supervisor waits for it in vain."""
    return max(old.stop_s or candidate.stop_s or 0.0, work.stack.api.deaf_s())


def _online(work: Work, batch: Batch) -> Online:
    """Whether the deploy may run under traffic; raises RehearsalFailed where it is to, and may not."""
    online = verdict.online(batch, work.options.online_max_lock_s)
    if work.options.mode == "online" and not online.safe:
        raise RehearsalFailed(
            f"This deploy cannot run online: {online.why[0]}.",
            hint="Deploy it with pap_mode=standard, or change the migration.",
            step="online",
            lines=list(online.why),
            online=whole(online),
        )
    return online


def _verdict(
    work: Work,
    copy: Copy,
    migrated: Ran,
    batch: Batch,
    back: Reverted,
    drops: Drops,
    candidate: Tried,
    own_writes: Sequence[smoke_test_writes.Rows],
) -> Verdict:
    options, old = work.options, batch.old_api
    found = Verdict(
        verdict="good",
        data=copy.data,
        mode=options.mode,
        copy=copy.how,
        steps=work.seconds,
        migrate_s=round(migrated.seconds, 3),
        migrations=migrated.applied,
        check=migrated.check,
        schema=recorded(SchemaCheck, migrated.check) if migrated.check else None,
        locks=verdict.blocking_locks(migrated.applied, batch.existing),
        reversible=back.reversible,
        reversible_why=back.why,
        reversible_differences=back.differences,
        downgrade_loses=reverse.loses_sentence(drops, back.differences),
        downgrade_drops=whole(drops),
        candidate=candidate,
        old_api_works=old.works,
        old_api=old,
        own_writes=tuple(own_writes),
        online=_online(work, batch),
        deadline_factor=options.deadline_factor,
        left_out=tuple(work.left_out),
        outward=tuple(work.outward),
        cannot_tell=(
            *verdict.cannot_tell(copy.data),
            *map(server_wide.said, work.left_out),
        ),
    )
    return _timed(work, copy, found, back)


def _timed(work: Work, copy: Copy, found: Verdict, back: Reverted) -> Verdict:
    """``found`` with the seconds to expect. Of a copy without all rows only a failure is a fact."""
    options, stack = work.options, work.stack
    stop_s = _stop_s(work, found.candidate, found.old_api)
    usual = verdict.usual(expectations.clock(copy.database), stop_s, work.subject.measured)
    point_s, copy_s = expectations.restore_point_s(stack.database, copy.database, copy.taken, options.restore_point)
    found = replace(found, copy_s=copy_s)
    if copy.data != "full":
        return replace(found, reversible=None if back.reversible else False)
    phases = verdict.predicted_phases(
        usual,
        restore_point_s=point_s,
        migrate_s=found.migrate_s,
        start_s=found.candidate.start_s,
        mode=options.mode,
    )
    return replace(
        found,
        phases={name: seconds for name, seconds in vars(phases).items() if seconds is not None},
        expected_unavailable_s=verdict.unavailable(phases, usual, options.mode),
        recovery_s=verdict.recovery(back, found.old_api, usual, restore_s=copy.restore_s, mode=options.mode),
        deadline_s=verdict.deadline_s(found.migrate_s, options.deadline_factor, options.migrate_deadline_s),
    )
