"""The rehearsal itself: migrate, check, revert, compare, migrate again, try both APIs, and say what it means."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from .. import databases
from ..app.stack import AppSession, Stack
from ..backup.pipeline import Emit, silent
from ..core.errors import DeadlineExceeded, PapError
from ..databases import smoke_test_writes, write_snapshot
from ..environment.copy_environment import CopyEnvironment
from ..migrations import server_wide
from ..releases.version import Version
from . import expectations, observe, reverse, trials, verdict
from .api_effects import ApiEffects
from .copies import Copy, Maker
from .options import Options, RehearsalFailed


@dataclass(frozen=True)
class Subject:
    """What is rehearsed. ``running`` and ``candidate`` are versions of the API; ``baseline`` what the endpoints
    answered before; ``backup`` the summary of the release's backup; ``measured`` seconds of earlier deploys."""

    release: str
    sources: Mapping[str, str]
    who: str
    expected: Mapping[str, Any]
    running: Version
    candidate: Version
    pending: Sequence[str]
    baseline: Optional[Sequence[Mapping[str, Any]]] = None
    backup: Optional[dict[str, Any]] = None
    encryption: Any = None
    measured: Mapping[str, float] = field(default_factory=dict)


# The steps as a person reads them while they run.
_STEPS = {
    "copy": "making the copy ready",
    "migrate": "migrating the copy",
    "compare": "comparing the copy with its start",
    "revert": "reverting the migrations on the copy",
    "migrate_again": "migrating the copy again",
    "candidate": "trying the new API on the copy",
    "old_api": "trying the API that runs now on the copy",
    "revert_after_use": "reverting once more, after both APIs have written",
}


@dataclass
class _Work:
    stack: Stack
    subject: Subject
    options: Options
    deadline: float
    emit: Emit = silent
    environments: dict[str, CopyEnvironment] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    copy: Optional[Copy] = None
    left_out: list[dict[str, Any]] = field(default_factory=list)
    outward: list[dict[str, str]] = field(default_factory=list)

    def note(self, result: Mapping[str, Any]) -> None:
        """Keep what a run of migrations left out, because it acts on the whole server, and what it reached beyond its
        session."""
        self.left_out += [item for item in result["left_out"] if item not in self.left_out]
        self.outward += [item for item in result["outward"] if item not in self.outward]
        self.stack.seen_on_live.started = [f"{item['identity']} {item['what']}" for item in self.outward]

    def left(self) -> float:
        """Seconds until the deadline of the rehearsal; raises DeadlineExceeded when it has passed."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(
                f"The rehearsal did not end within {self.options.deadline_s:g} s.", hint="Raise rehearse_deadline_s."
            )
        return left

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One step: timed; what fails in it fails the rehearsal and says where."""
        started = time.monotonic()
        self.left()
        self.emit({"event": "step", "step": _STEPS[name]})
        try:
            yield
            self._refuse_lost(name)
        except RehearsalFailed:
            self._refuse_lost(name)
            raise
        except PapError as error:
            self._refuse_lost(name)
            raise _failed(name, error) from error
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 3)

    def _refuse_lost(self, name: str) -> None:
        """Raise if the copy is not there any more: what then failed on it says nothing of the deploy."""
        if self.copy is None or name == "copy":
            return
        try:
            self.copy.database.prove()
        except PapError as error:
            raise RehearsalFailed(
                f"The copy {self.copy.name} was lost while it was rehearsed on: {error.message}",
                hint="Find out who dropped or renamed it, or why the server went away; then deploy again.",
                step=name,
            ) from error

    def request(self) -> dict[str, Any]:
        """What the runner gets: the same as in the deploy, and the wish to be watched."""
        return {
            "sources": dict(self.subject.sources),
            "release": self.subject.release,
            "who": self.subject.who,
            "expected": self.subject.expected,
            "schema_options": dict(self.options.schema),
            "options": {
                "lock_timeout_s": self.options.lock_timeout_s,
                "deadline_s": min(self.options.migrate_deadline_s, self.left()),
                "allow_out_of_order": self.options.allow_out_of_order,
                "observe": True,
            },
        }


def rehearse(stack: Stack, subject: Subject, options: Options, emit: Emit = silent) -> dict[str, Any]:
    """Rehearse and return the verdict as plain data (see docs/rehearsal.md). The copy is gone afterwards.

    Raises RehearsalFailed if the deploy would fail.
    """
    started = time.monotonic()
    work = _Work(stack, subject, options, started + options.deadline_s, emit)
    maker = Maker(
        stack.database, subject.release, options.data, options.sample_rows, subject.backup, subject.encryption, emit
    )
    try:
        with work.step("copy"):
            kept = str((subject.backup or {}).get("scratch") or "")
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
    found["seconds"] = round(time.monotonic() - started, 2)
    return found


def _on_the_copy(work: _Work, maker: Maker, copy: Copy) -> dict[str, Any]:
    subject = work.subject
    with copy.database.session() as session:
        existing = {str(row["name"]) for row in observe.files(session).values()}
    with contextlib.ExitStack() as opened:
        with work.step("migrate"):
            on_copy = work.stack.on_copy(subject.candidate, copy.database, "the rehearsal of the migrations")
            app_session = opened.enter_context(on_copy)
            work.environments[subject.candidate.identity] = app_session.made
            app_session.refuse_live_trial(app_session.made)
            migrated = _migrate(work, app_session, copy)
        with work.step("compare"):
            first = reverse.structure(copy.database)
            drops = reverse.downgrade_drops(copy.database, copy.start, first)
        back = _revert(work, app_session, copy) if migrated["applied"] else _nothing_to_revert()
        if migrated["applied"]:
            if back["tried"] and not back["clean"]:
                with work.step("copy"):  # the trials need the data as the deploy will leave it
                    work.copy = copy = maker.again(work.deadline)
                    app_session.move(copy.database)
            if back["tried"]:
                with work.step("migrate_again"):
                    _migrate(work, app_session, copy)
                    _refuse_other_schema(reverse.schema_differences(first, reverse.structure(copy.database)))
    candidate, own_writes = _candidate(work, copy)
    old = _old(work, copy, candidate)
    after_use = _revert_after_use(work, copy, back) if migrated["applied"] and back["reversible"] else None
    if after_use is False:
        back.update(reversible=False)
    return _verdict(work, copy, existing, migrated, back, drops, candidate, old, own_writes)


def warm(app_session: AppSession, request: Mapping[str, Any]) -> None:
    """Import and read once, outside of any transaction, what the migration and its check will use."""
    app_session.call("migrations.status", request)
    check = {"expected": request["expected"], "options": request["schema_options"]}
    app_session.call("schema.check", check)


def _migrate(work: _Work, app_session: AppSession, copy: Copy) -> dict[str, Any]:
    application = f"pap-deploy:{work.subject.release}"
    beside_run = copy.database.as_release(f"{work.subject.release}:watch")
    with observe.LockWatch(beside_run, application) as watch, beside_run.session() as session:
        alone = observe.Alone(session, watch)
        alone.start()
        request = work.request()

        def heard(event: dict[str, Any]) -> None:
            alone.event(event)
            work.emit(event)

        warm(app_session, request)
        began = time.monotonic()
        result = app_session.call(
            "migrations.apply",
            request,
            deadline_s=float(request["options"]["deadline_s"]) + 30,
            on_event=heard,
        )
        work.note(result)
        result["applied"] = observe.completed(result["applied"], watch, alone, began)
        result["watched"] = watch.problem is None
    return result


def _revert(work: _Work, app_session: AppSession, copy: Copy) -> dict[str, Any]:
    with work.step("revert"):
        back = reverse.revert(copy, lambda: _call_revert(work, app_session))
    if not back["reversible"] and work.options.require_reversible:
        raise RehearsalFailed(
            f"The deploy is not reversible: {back['why']}",
            hint="Correct the downgrade, or set rehearse_require_reversible to false: rollback then restores.",
            step="revert",
            identity=back["identity"],
            differences=back["differences"],
        )
    return back


def _call_revert(work: _Work, app_session: AppSession) -> dict[str, Any]:
    request = {
        "sources": dict(work.subject.sources),
        "since_release": work.subject.release,
        "release": work.subject.release,
        "who": work.subject.who,
        "options": {"lock_timeout_s": work.options.lock_timeout_s, "deadline_s": work.left()},
    }
    result = app_session.call("migrations.revert", request, deadline_s=work.left() + 30, on_event=work.emit)
    work.note(result)
    return result


def _nothing_to_revert() -> dict[str, Any]:
    return {"reversible": True, "claimed": True, "tried": False, "clean": True, "why": "", "differences": [],
            "seconds": 0.0, "identity": None}  # fmt: skip


def _refuse_other_schema(differences: list[str]) -> None:
    if differences:
        raise RehearsalFailed(
            f"Migrating a second time gives another schema: {differences[0]}",
            hint="After a rollback the same deploy would end elsewhere. Make upgrade() independent of what it finds.",
            step="migrate_again",
            differences=differences,
        )


def _candidate(work: _Work, copy: Copy) -> tuple[dict[str, Any], list[smoke_test_writes.Rows]]:
    """The new API on the copy, which must work; and what each transaction of the smoke test writes."""
    marks: list[write_snapshot.Mark] = []

    def take_mark() -> None:
        with copy.database.session() as session:
            marks.append(write_snapshot.take(session))

    with work.step("candidate"):
        tried = _attempt(work, copy, work.subject.candidate, "the new API", "candidate", take_mark)
        if tried["works"] is False:
            lines = [line for line in str(tried.get("log", "")).splitlines()[-8:] if line.strip()]
            raise RehearsalFailed(
                f"{work.subject.candidate.label} does not work on the migrated copy: {tried['why']}",
                hint="The end of its log is in the journal." if lines else "",
                step="candidate",
                checks=tried.get("checks"),
                endpoints=tried.get("endpoints"),
                log=tried.get("log", ""),
                lines=lines,
            )
        if tried["works"] is None:
            return tried, []
        return tried, smoke_test_writes.rehearsed(copy.database, marks[-1], ignore_schemas=reverse.IGNORED)


def _old(work: _Work, copy: Copy, candidate: Mapping[str, Any]) -> dict[str, Any]:
    """The API that runs now, on the migrated copy."""
    if work.subject.running.identity == work.subject.candidate.identity:
        return dict(candidate)
    with work.step("old_api"):
        return _attempt(work, copy, work.subject.running, "the API that runs now", "old_api")


def _attempt(
    work: _Work,
    copy: Copy,
    version: Version,
    name: str,
    step: str,
    on_healthy: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Try ``version`` on the copy; ``wrote`` says what it did to the data there. Raises if it lost any."""
    known, identity = work.environments, version.identity
    if identity not in known:
        known[identity] = work.stack.environment_on(version, copy.name)
    effects = ApiEffects(copy)

    def healthy() -> None:
        on_healthy()
        effects.started()

    tried = trials.attempt(
        work.stack,
        version,
        copy.database,
        release=work.subject.release,
        baseline=work.subject.baseline,
        made=known[identity],
        rows=copy.data == "full",
        deadline=work.deadline,
        on_healthy=healthy,
    )
    if "pointed" in tried:  # it was started
        effects.ended()
        effects.refuse_losses(work.stack, f"{name} ({version.label})", step)
        tried["wrote"] = effects.as_dict()
    return tried


def _revert_after_use(work: _Work, copy: Copy, back: dict[str, Any]) -> bool:
    """Whether the downgrades still run once both APIs have written to the new schema."""
    on_copy = work.stack.on_copy(work.subject.candidate, copy.database, "the last revert", verify=False)
    with work.step("revert_after_use"), on_copy as app_session:
        try:
            _call_revert(work, app_session)
        except DeadlineExceeded:
            raise
        except PapError as error:
            back["why"] = f"once the new API has written, a downgrade fails: {error.message}"
            return False
    return True


def _failed(step: str, error: PapError) -> RehearsalFailed:
    """The same failure, as that of the rehearsal: what would have happened to production."""
    words = {
        "copy": "The copy for the rehearsal could not be made",
        "migrate": "The rehearsal on the copy failed",
        "migrate_again": "Migrating a second time, after the downgrades, failed",
    }
    data = {key: value for key, value in error.data.items() if key != "step"}
    lines = [line for line in str(data.get("statement") or "").strip().splitlines()[:8] if line.strip()]
    check = data.get("check") if isinstance(data.get("check"), dict) else {}
    differences = (check or {}).get("differences") or data.get("differences") or []
    lines += [_difference(item) for item in differences[:10]]
    data.update(differences=differences, lines=lines)
    what = words.get(step, "The rehearsal failed")
    return RehearsalFailed(f"{what}: {error.message}", hint=error.hint, step=step, **data)


def _difference(item: Any) -> str:
    if not isinstance(item, Mapping):
        return str(item)
    return f"{item.get('severity')}: {item.get('object')}: {item.get('kind')}"


def _stop_s(work: _Work, candidate: Mapping[str, Any], old: Mapping[str, Any]) -> float:
    """Seconds in which the API that runs will stop: as its trial did, or, where it did not work on the new schema, as
    the new one did; and at least what its supervisor waits for it in vain."""
    return max(float(old.get("stop_s") or candidate.get("stop_s") or 0.0), work.stack.api.deaf_s())


def _verdict(
    work: _Work,
    copy: Copy,
    existing: set[str],
    migrated: Mapping[str, Any],
    back: Mapping[str, Any],
    drops: Mapping[str, Any],
    candidate: Mapping[str, Any],
    old: Mapping[str, Any],
    own_writes: Sequence[smoke_test_writes.Rows],
) -> dict[str, Any]:
    subject, options = work.subject, work.options
    applied = migrated["applied"]
    online = verdict.online(
        applied,
        migrated.get("transactions") or [],
        existing,
        old_api_works=old["works"],
        old_api_why=str(old.get("why") or ""),
        max_lock_s=options.online_max_lock_s,
        data=copy.data,
        watched=bool(migrated["watched"]),
        left_out=work.left_out,
    )
    if options.mode == "online" and not online["safe"]:
        raise RehearsalFailed(
            f"This deploy cannot run online: {online['why'][0]}.",
            hint="Deploy it with pap_mode=standard, or change the migration.",
            step="online",
            lines=list(online["why"]),
            online=online,
        )
    timed = copy.data == "full"
    migrate_s = float(migrated["seconds"])
    usual = verdict.usual(expectations.clock(copy.database), _stop_s(work, candidate, old), subject.measured)
    point_s, copy_s = expectations.restore_point_s(
        work.stack.database, copy.database, copy.taken, options.restore_point
    )
    phases = verdict.predicted_phases(
        usual,
        restore_point_s=point_s,
        migrate_s=migrate_s,
        start_s=candidate.get("start_s"),
        mode=options.mode,
    )
    away = verdict.unavailable(phases, usual, options.mode)
    seconds = copy.taken.manifest["seconds"] if copy.taken else {}
    recovery = verdict.recovery(
        revert_s=back["seconds"],
        restore_s=float(seconds["restore"]) + float(seconds["content_digest"]) if seconds else None,
        old_start_s=old.get("start_s"),
        old_api_works=old["works"],
        reversible=back["reversible"],
        usual=usual,
        mode=options.mode,
    )
    return {
        "verdict": "good",
        "data": copy.data,
        "mode": options.mode,
        "copy": copy.how,
        "steps": work.seconds,
        "phases": phases if timed else {},
        "migrate_s": round(migrate_s, 3),
        "copy_s": copy_s,
        "migrations": [dict(item) for item in applied],
        "schema": migrated.get("check"),
        "locks": verdict.blocking_locks(applied, existing),
        # Of a copy without all rows only a failure is a fact.
        "reversible": bool(back["reversible"]) if timed or not back["reversible"] else None,
        "reversible_why": back["why"],
        "reversible_differences": list(back["differences"]),
        "downgrade_loses": reverse.loses_sentence(drops, list(back["differences"])),
        "downgrade_drops": dict(drops),
        "candidate": dict(candidate),
        "old_api_works": old["works"],
        "old_api": dict(old),
        "own_writes": list(own_writes),
        "online": online,
        "expected_unavailable_s": away if timed else None,
        "recovery_s": recovery if timed else {},
        "deadline_s": verdict.deadline_s(migrate_s, options.deadline_factor, options.migrate_deadline_s)
        if timed
        else None,
        "deadline_factor": options.deadline_factor,
        "left_out": list(work.left_out),
        "outward": list(work.outward),
        "cannot_tell": [*verdict.cannot_tell(copy.data), *map(server_wide.said, work.left_out)],
    }
