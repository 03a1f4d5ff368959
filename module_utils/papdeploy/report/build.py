"""From a release's journal, and what was kept beside it, to the dictionary that the page is made of.

Fields that a journal does not have (an older version wrote it, or the release ended before) are None.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Optional

from ..core.clock import seconds_between
from ..core.records import plain
from ..core.text import plural
from ..logwatch import rules
from ..releases import downtime, parts
from ..releases.api_absence import absence, sentence
from ..releases.journal import Journal
from ..releases.records import (
    Backup,
    Begun,
    Ended,
    Entry,
    Failed,
    Migrated,
    Preflight,
    Rehearsed,
    RollbackBegun,
    RollbackRefused,
    SmokeTested,
    entry_of,
    newest,
)
from ..releases.rehearsed import RehearsedMigration
from ..releases.version import Version
from . import data_loss, format, schema_text, spans
from .records import ApiAbsence, Endpoint, Migration, Report, Smoke, Step, Verdict

FORMAT = 1
Raw = Sequence[Mapping[str, Any]]  # entries as the journal has them: what is shown of some is all there is
Entries = Sequence[Entry]


def build(journal: Journal) -> dict[str, Any]:
    """The report of the release with this journal."""
    kept = {name: _kept(journal.folder / f"{name}.json") for name in ("before", "catalog", "differences", "expected")}
    state = rules.load(journal.folder)
    status = rules.status(journal.folder) if state else None
    made = build_from(journal.entries(), kept, state.as_json() if state else None, status.as_json() if status else None)
    return {**made, "journal": str(journal.path)}


def _kept(path: Path) -> Any:
    with contextlib.suppress(FileNotFoundError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def build_from(
    journal: Raw,
    kept: Mapping[str, Any],
    watch_state: Optional[Mapping[str, Any]] = None,
    watch_status: Optional[Mapping[str, Any]] = None,
) -> dict[str, Any]:
    """The same from plain data: the journal's entries, the kept files by name, the state of the watch."""
    everything = [entry_of(value) for value in journal]
    entries, later = _deploy_and_later(everything)
    told, told_later = journal[: len(entries)], journal[len(entries) :]
    header = next((e for e in entries if isinstance(e, Begun)), Begun(at=entries[0].at if entries else ""))
    end = next((e for e in reversed(entries) if e.phase == "release" and e.event != "begin"), None)
    undone = next((e for e in reversed(later) if e.phase == "release"), None)
    rehearsed = newest(entries, Rehearsed) or Rehearsed()
    migrated = newest(entries, Migrated) or Migrated()
    origin = spans.origin_of(entries)
    gone = absence(entries)
    away = ApiAbsence(gone.since, sentence(gone)) if gone else None
    unavailable_s = end.unavailable_s if isinstance(end, Ended) else None
    if unavailable_s is None and end:
        unavailable_s = downtime.of_failed_deploy(entries)
    report: dict[str, Any] = {
        "format": FORMAT,
        "release": header.release or None,
        "stack": header.stack or None,
        "environment": header.environment or None,
        "who": header.by if header.who else None,
        "started": header.at or None,
        "ended": end.at if end else None,
        "seconds": (end.seconds or seconds_between(header.at, end.at)) if end else None,
        "unavailable_s": unavailable_s,
        "expected_unavailable_s": rehearsed.expected_unavailable_s,
        "from": _label(header.old),
        "to": _label(header.new),
        "server_version": header.server_version,
        "versions": header.versions,
        "failed": _failed(entries) or _taken_back(later),
        "rollback": _done(told_later, "rollback") or _done(told, "rollback"),
        "rollback_refused": None if undone else _rollback_refused(later),
        "rolled_back_at": undone.at if undone else None,
        "data": _all(data_loss.gather(everything)),
        "timeline": [asdict(bar) for bar in spans.timeline(entries, origin, rehearsed.phases)],
        "timeline_later": [asdict(bar) for bar in spans.timeline(later, spans.origin_of(later), {})],
        "fence": _all(spans.fence(entries, origin)),
        "unavailable": _all(spans.unavailable(entries, origin, unavailable_s, away.since if away else None)),
        "api_absence": _all(away),
        "migrations": [asdict(each) for each in _migrations(header.pending, migrated, rehearsed)],
        "schema": _schema(kept, _done(told, "migrate"), _done(told, "validate")),
        "backup": _backup(_done(told, "backup"), newest(entries, Backup)),
        "restore_point": _done(told, "restore_point"),
        "rehearsal": _done(told, "rehearse") or _rehearsal_failed(entries),
        "smoke": _all(_smoke(entries)),
        "receipt": _done(told, "receipt"),
        "watch": _watch(watch_state, watch_status, _done(told, "watch")),
        "found": {e.phase: list(e.lines) for e in entries if e.event == "done" and e.lines},
    }
    found = Report.of(report)
    verdict = _verdict(found, undone or end)
    steps = _next(replace(found, verdict=verdict))
    return {**report, "verdict": asdict(verdict), "next": [asdict(step) for step in steps]}


def _all(record: Any) -> Optional[dict[str, Any]]:
    """A record with its defaults."""
    return None if record is None else asdict(record)


def _deploy_and_later(entries: Entries) -> tuple[Entries, Entries]:
    """The deploy itself, and what was done to the release after it had finished (a rollback, hours later)."""
    for number, entry in enumerate(entries):
        if entry.is_of("release", "finished"):
            return entries[: number + 1], entries[number + 1 :]
    return entries, []


def _taken_back(later: Entries) -> Optional[dict[str, Any]]:
    """Why a release that had finished was rolled back."""
    begin = next((e for e in later if isinstance(e, RollbackBegun)), None)
    if begin is None:
        return None
    message = begin.reason or "it was rolled back by hand"
    return _failed(later) or {"phase": "release", "at": begin.at, "message": message, "hint": None, "lines": []}


def _rollback_refused(later: Entries) -> Optional[dict[str, Any]]:
    """The last rollback of the finished release that would have cost too much: why, and what it would lose."""
    found = newest(later, RollbackRefused)
    if found is None:
        return None
    plan = found.plan
    return {
        "at": found.at,
        "reason": found.reason or None,
        "strategy": plan.strategy or None,
        "refused": plan.refused or None,
        "hint": plan.hint or None,
        "cost": {table: asdict(cost) for table, cost in plan.cost.items()},
        "besides": list(plan.besides),
        "lines": list(plan.lines),
        "loses": bool(plan.cost or plan.besides),
    }


def _done(entries: Raw, phase: str) -> Optional[dict[str, Any]]:
    found = next((e for e in reversed(entries) if e["phase"] == phase and e["event"] == "done"), None)
    return {key: value for key, value in found.items() if key not in ("phase", "event")} if found else None


def _label(version: Version) -> Optional[dict[str, Optional[str]]]:
    if version == Version():
        return None
    return {"label": version.label or None, "identity": version.identity or None}


def _failed(entries: Entries) -> Optional[dict[str, Any]]:
    """The first failure: what comes after it is its consequence."""
    found = next((e for e in entries if isinstance(e, Failed)), None)
    if found is None:
        return None
    return {
        "phase": found.phase,
        "at": found.at,
        "error": found.error or None,
        "message": found.message or None,
        "hint": found.hint or None,
        "lines": list(found.data.lines),
        "statement": found.data.statement or found.data.sql or None,
        "differences": plain(found.data.differences) or None,
    }


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


def _backup(told: Optional[dict[str, Any]], found: Optional[Backup]) -> Optional[dict[str, Any]]:
    """Times by name, whichever way the journal has them."""
    if told is None or found is None:
        return None
    times = found.times
    if times:
        told = {**told, "seconds": times.dump, "restore_seconds": times.restore, "times": asdict(times)}
    return {**told, "sentence": found.sentence or next(iter(found.lines), None)}


def _schema(
    kept: Mapping[str, Any], migrate: Optional[Mapping[str, Any]], validated: Optional[Mapping[str, Any]]
) -> dict[str, Any]:
    verdict = validated or (migrate or {}).get("check") or (migrate or {}).get("schema") or {}
    before, after = kept.get("before"), kept.get("catalog")
    return {
        "matches": verdict.get("matches"),
        "checked": verdict.get("checked") or {},
        "differences_before": kept.get("differences"),
        "differences_after": verdict.get("differences"),
        "diff": [asdict(change) for change in schema_text.diff(before, after)] if before and after else None,
    }


def _rehearsal_failed(entries: Entries) -> Optional[dict[str, Any]]:
    found = next((e for e in entries if isinstance(e, Failed) and e.phase == "rehearse"), None)
    return {"failed": found.message or "it failed"} if found else None


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


def _watch(
    state: Optional[Mapping[str, Any]], status: Optional[Mapping[str, Any]], first: Optional[Mapping[str, Any]]
) -> Optional[dict[str, Any]]:
    if state is None:
        return {"first": dict(first)} if first else None
    shown = ("started", "until", "steps", "requests", "records", "findings", "alarms", "series", "bucket_s", "baseline",
             "gaps", "ended", "heartbeat", "unseen")  # fmt: skip
    return {
        **{key: state.get(key) for key in shown},
        "state": (status or {}).get("state"),
        "ok": (status or {}).get("ok"),
        "summary": (status or {}).get("summary"),
        "first": dict(first) if first else None,
    }


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
