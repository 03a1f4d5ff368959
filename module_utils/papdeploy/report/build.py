"""From a release's journal, and what was kept beside it, to the report that the page is made of.

Fields that a journal does not have (an older version wrote it, or the release ended before) are None.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Optional

from ..core.clock import seconds_between
from ..core.records import recorded
from ..core.text import plural
from ..logwatch import looks, promql, rules
from ..releases import downtime, parts
from ..releases.api_absence import absence, sentence
from ..releases.journal import Journal
from ..releases.records import (
    Activated,
    Backup,
    Begun,
    Ended,
    Entry,
    Failed,
    Migrated,
    Preflight,
    Received,
    Rehearsed,
    RestorePoint,
    RollbackBegun,
    RollbackRefused,
    RolledBack,
    SmokeTested,
    Validated,
    Watched,
    newest,
)
from ..releases.rehearsed import RehearsedMigration
from ..releases.version import Version
from . import data_loss, format, looks_picture, schema_text, spans
from .records import (
    ApiAbsence,
    Endpoint,
    Failure,
    Migration,
    Refusal,
    Report,
    Schema,
    Smoke,
    Step,
    Verdict,
    Watch,
)

Entries = Sequence[Entry]


@dataclass(frozen=True)
class Kept:
    """What was kept beside the journal: the catalogs before and after the release, as JSON has them, and how the models
    differed from the former."""

    before: Any = None
    catalog: Any = None
    differences: tuple[parts.Difference, ...] = ()


def build(journal: Journal) -> Report:
    """The report of the release with this journal."""
    files = {item.name: _kept(journal.folder / f"{item.name}.json") for item in fields(Kept)}
    status = rules.status(journal.folder)
    watch = recorded(Watch, status.watch.as_json()) if status.watch else Watch() if not status.ok else None
    if watch:
        watch = replace(watch, state=status.state, summary=status.summary)
    made = build_from(journal.records(), recorded(Kept, files), watch)
    picture = looks_picture.gathered(looks.read(journal.folder), looks.before(journal.folder), made.switched)
    figures = tuple(promql.load(journal.folder).lines)
    return replace(made, answers=picture, figures=figures, journal=str(journal.path))


def _kept(path: Path) -> object:
    with contextlib.suppress(FileNotFoundError):
        found: object = json.loads(path.read_text(encoding="utf-8"))
        return found
    return None


def build_from(everything: Entries, kept: Kept, watch: Optional[Watch] = None) -> Report:
    """The same from the journal's entries, what was kept beside it, and the state of the watch."""
    entries, later = _deploy_and_later(everything)
    header = next((e for e in entries if isinstance(e, Begun)), Begun(at=entries[0].at if entries else ""))
    end = next((e for e in reversed(entries) if e.phase == "release" and e.event != "begin"), None)
    undone = next((e for e in reversed(later) if e.phase == "release"), None)
    rehearsed, migrated = newest(entries, Rehearsed), newest(entries, Migrated) or Migrated()
    predicted, activated = rehearsed or Rehearsed(), newest(entries, Activated) or Activated()
    origin = spans.origin_of(entries)
    gone = absence(entries)
    away = ApiAbsence(gone.since, sentence(gone)) if gone else None
    unavailable_s = end.unavailable_s if isinstance(end, Ended) else None
    if unavailable_s is None and end:
        unavailable_s = downtime.of_failed_deploy(entries)
    report = Report(
        release=header.release or None,
        stack=header.stack or None,
        environment=header.environment or None,
        who=header.by if header.who else None,
        started=header.at or None,
        ended=end.at if end else None,
        seconds=(end.seconds or seconds_between(header.at, end.at)) if end else None,
        unavailable_s=unavailable_s,
        expected_unavailable_s=predicted.expected_unavailable_s,
        old=Version(header.old.label, header.old.identity),
        new=Version(header.new.label, header.new.identity),
        server_version=header.server_version,
        versions=header.versions,
        failed=_failed(entries) or _taken_back(later),
        rollback=newest(later, RolledBack) or newest(entries, RolledBack),
        rollback_refused=None if undone else _rollback_refused(later),
        rolled_back_at=undone.at if undone else None,
        data=data_loss.gather(everything),
        timeline=tuple(spans.timeline(entries, origin, predicted.phases)),
        timeline_later=tuple(spans.timeline(later, spans.origin_of(later), {})),
        origin=origin,
        origin_later=spans.origin_of(later),
        fence=spans.fence(entries, origin),
        unavailable=spans.unavailable(entries, origin, unavailable_s, away.since if away else None),
        api_absence=away,
        migrations=tuple(_migrations(header.pending, migrated, predicted)),
        schema=_schema(kept, newest(entries, Validated) or migrated.check or migrated.schema),
        backup=_backup(newest(entries, Backup)),
        restore_point=newest(entries, RestorePoint),
        rehearsal=rehearsed,
        rehearsal_failed="" if rehearsed else _rehearsal_failed(entries),
        smoke=_smoke(entries),
        receipt=newest(entries, Received) or Received(),
        watch=watch or (Watch() if newest(entries, Watched) else None),
        switched=activated.healthy_at or activated.at or None,
        found={e.phase: e.lines for e in entries if e.event == "done" and e.lines},
    )
    report = replace(report, verdict=_verdict(report, undone or end))
    return replace(report, next=tuple(_next(report)))


def _deploy_and_later(entries: Entries) -> tuple[Entries, Entries]:
    """The deploy itself, and what was done to the release after it had finished (a rollback, hours later)."""
    for number, entry in enumerate(entries):
        if entry.is_of("release", "finished"):
            return entries[: number + 1], entries[number + 1 :]
    return entries, []


def _taken_back(later: Entries) -> Optional[Failure]:
    """Why a release that had finished was rolled back."""
    begin = next((e for e in later if isinstance(e, RollbackBegun)), None)
    if begin is None:
        return None
    return _failed(later) or Failure("release", begin.at, message=begin.reason or "it was rolled back by hand")


def _rollback_refused(later: Entries) -> Optional[Refusal]:
    """The last rollback of the finished release that would have cost too much: why, and what it would lose."""
    found = newest(later, RollbackRefused)
    if found is None:
        return None
    plan = found.plan
    return Refusal(
        refused=plan.refused or None,
        at=found.at,
        reason=found.reason or None,
        strategy=plan.strategy or None,
        cost=plan.cost,
        besides=plan.besides,
        hint=plan.hint or None,
        lines=plan.lines,
        loses=bool(plan.cost or plan.besides),
    )


def _failed(entries: Entries) -> Optional[Failure]:
    """The first failure: what comes after it is its consequence."""
    found = next((e for e in entries if isinstance(e, Failed)), None)
    if found is None:
        return None
    return Failure(
        phase=found.phase,
        at=found.at,
        error=found.error or None,
        message=found.message or None,
        hint=found.hint or None,
        statement=found.data.statement or found.data.sql or None,
        lines=found.data.lines,
        differences=found.data.differences,
    )


def _migrations(pending: Sequence[str], migrated: Migrated, rehearsed: Rehearsed) -> list[Migration]:
    """Applied ones with what they did, next to what the rehearsal saw; pending ones that never ran are named too."""
    seen = {each.identity: each for each in rehearsed.migrations}
    names = [each.identity for each in migrated.applied]
    left = [parts.Migration(name) for name in pending if name not in names]
    found = []
    for each in [*migrated.applied, *left]:
        before = seen.get(each.identity, RehearsedMigration())
        rows = [statement.rows for statement in each.statements if statement.rows is not None]
        found.append(
            Migration(
                identity=each.identity,
                applied=each.identity in names,
                seconds=each.seconds,
                rehearsed_s=before.seconds,
                statements=each.statements or before.statements,
                statement_count=each.statement_count or len(each.statements),
                rows=sum(rows) if rows else None,
                locks=(before.locks or ()) if each.locks is None else each.locks,
                rewritten=before.rewritten if each.rewritten is None else each.rewritten,
                wal_bytes=before.wal_bytes if each.wal_bytes is None else each.wal_bytes,
            )
        )
    return found


def _backup(found: Optional[Backup]) -> Optional[Backup]:
    """Times by name, whichever way the journal has them."""
    times = found.times if found else None
    return replace(found, seconds=times.dump, restore_seconds=times.restore) if found and times else found


def _schema(kept: Kept, verdict: Optional[parts.SchemaCheck]) -> Schema:
    found, before, after = verdict or parts.SchemaCheck(), kept.before, kept.catalog
    return Schema(
        matches=found.matches,
        checked=found.checked,
        differences_before=kept.differences,
        differences_after=found.differences,
        diff=tuple(schema_text.diff(before, after)) if before and after else None,
    )


def _rehearsal_failed(entries: Entries) -> str:
    found = next((e for e in entries if isinstance(e, Failed) and e.phase == "rehearse"), None)
    return found.message or "it failed" if found else ""


def _smoke(entries: Entries) -> Optional[Smoke]:
    found: Optional[parts.Smoke] = newest(entries, SmokeTested)
    if found is None:
        failed = next((e for e in reversed(entries) if e.is_of("login_smoke_test", "failed")), None)
        found = failed.data.smoke if isinstance(failed, Failed) else None
    if found is None:
        return None
    preflight = newest(entries, Preflight) or Preflight()
    before = {each.path: each for each in preflight.baseline or ()}
    checks = {check.name: check for check in found.checks}
    endpoints = []
    for each in found.endpoints:
        old, check = before.get(each.path), checks.pop(f"GET {each.path}", None)
        status = old.status if old else None
        endpoints.append(
            Endpoint(
                path=each.path,
                before=status if each.before is None else each.before,
                after=each.status if each.after is None else each.after,
                ms_before=old.ms if old else None,
                ms=each.ms,
                ok=check.ok if check else True,
                detail=check.detail if check else "",
            )
        )
    return Smoke(tuple(checks.values()), tuple(endpoints), found.healthy_after_s)


def _verdict(report: Report, end: Optional[Entry]) -> Verdict:
    """``kind`` (finished, rolled_back, refused, abandoned, unfinished), whether it is good, and the one line."""
    kind = end.event if end else "unfinished"
    where = f"{report.stack or 'the stack'} ({report.environment or '?'})"
    new = format.short_label(report.new.label) or "the new release"
    old = format.short_label(report.old.label) or "the old release"
    failed = report.failed
    at = f" at {format.phase_noun(failed.phase)}" if failed else ""
    if kind == "finished":
        count = sum(1 for each in report.migrations if each.applied)
        did = f"{plural(count, 'migration')} applied" if count else "no migration"
        line = f"{where} runs {new}: {did}, API unavailable for {format.seconds(report.unavailable_s)}"
    elif kind == "rolled_back" and report.rolled_back_at:
        line = f"{where} runs {old} again: {new} was deployed, and rolled back later"
    elif kind == "rolled_back":
        line = f"{where} runs {old} again: the deploy of {new} failed{at} and was rolled back"
    elif kind == "refused":
        line = f"{where} is as it was: the deploy of {new} stopped{at}, before anything was changed"
    elif kind == "abandoned":
        line = f"{where}: the deploy of {new} was abandoned{at}"
    else:
        line = f"{where}: the deploy of {new} is unfinished" + (f", it failed{at}" if failed else "")
    if kind == "rolled_back" and report.rollback and report.rollback.unhealthy:
        line += f"; {old} does not answer well"
    if report.api_absence:
        line += f"; {report.api_absence.sentence}"
    alarm = kind == "finished" and report.watch is not None and report.watch.state == "alarm"
    if alarm:
        line += "; the watch over its logs raised an alarm"
    if kind == "finished" and report.rollback_refused:
        line += ", and it could not be rolled back"
        line += " without loss" if report.rollback_refused.loses else ""
    line = data_loss.headline(report.data) + line
    return Verdict(kind, kind == "finished" and not alarm, alarm, line)


def _next(report: Report) -> list[Step]:
    """What a person does next: sentence and command."""
    stack = report.stack or "STACK"
    kind = report.verdict.kind
    if kind == "unfinished":
        return [Step("End it: what it began is rolled back", f"ansible-playbook rollback.yml -l {stack}")]
    if kind != "finished":
        return [
            Step("See what would be deployed now", f"ansible-playbook deploy.yml -l {stack} --check --diff"),
            Step("When the cause is mended, deploy again", f"ansible-playbook deploy.yml -l {stack}"),
        ]
    steps = [Step("See how it does", f"ansible-playbook watch.yml -l {stack}")]
    if report.verdict.alarm:
        acknowledge = f"ansible-playbook watch.yml -l {stack} -e 'watch_acknowledge=\"the reason\"'"
        steps.append(Step("If the alarm is harmless, say why", acknowledge))
    back = f"ansible-playbook rollback.yml -l {stack}"
    if report.rollback_refused:
        steps.append(Step("See the rollback, and what it costs now", f"{back} --check"))
    if report.rollback_refused and report.rollback_refused.loses:
        steps.append(Step("Go back although it loses that", f"{back} -e rollback_accept_data_loss=true"))
    else:
        steps.append(Step("Go back", back))
    return steps
