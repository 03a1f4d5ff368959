"""From a release's journal, and what was kept beside it, to the dictionary that the page is made of.

Fields that a journal does not have (an older version wrote it, or the release ended before) are None.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from ..core.clock import seconds_between
from ..core.text import plural
from ..logwatch import rules
from ..releases import downtime
from ..releases.api_absence import absence, sentence
from ..releases.journal import Journal
from . import data_loss, format, schema_text, spans

FORMAT = 1
Entries = Sequence[Mapping[str, Any]]


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
    entries: Entries,
    kept: Mapping[str, Any],
    watch_state: Optional[Mapping[str, Any]] = None,
    watch_status: Optional[Mapping[str, Any]] = None,
) -> dict[str, Any]:
    """The same from plain data: the journal's entries, the kept files by name, the state of the watch."""
    entries, later = _deploy_and_later(entries)
    header = spans.first(entries, "release", "begin") or (entries[0] if entries else {})
    end = next((e for e in reversed(entries) if e["phase"] == "release" and e["event"] != "begin"), None)
    undone = next((e for e in reversed(later) if e["phase"] == "release"), None)
    rehearsal = _done(entries, "rehearse")
    migrate = _done(entries, "migrate")
    origin = spans.origin_of(entries)
    bars = spans.timeline(entries, origin, (rehearsal or {}).get("phases") or {})
    unavailable_s = (end or {}).get("unavailable_s")
    if unavailable_s is None and end:
        unavailable_s = downtime.of_failed_deploy(entries)
    report: dict[str, Any] = {
        "format": FORMAT,
        "release": header.get("release"),
        "stack": header.get("stack"),
        "environment": header.get("environment"),
        "who": _who(header.get("who")),
        "started": header.get("at"),
        "ended": end["at"] if end else None,
        "seconds": (end or {}).get("seconds") or (seconds_between(header["at"], end["at"]) if end else None),
        "unavailable_s": unavailable_s,
        "expected_unavailable_s": (rehearsal or {}).get("expected_unavailable_s"),
        "from": _label(header.get("from")),
        "to": _label(header.get("to")),
        "server_version": header.get("server_version"),
        "versions": header.get("versions") or {},
        "failed": _failed(entries) or _taken_back(later),
        "rollback": _done(later, "rollback") or _done(entries, "rollback"),
        "rollback_refused": None if undone else _rollback_refused(later),
        "rolled_back_at": undone["at"] if undone else None,
        "data": data_loss.gather([*entries, *later]),
        "timeline": bars,
        "timeline_later": spans.timeline(later, spans.origin_of(later), {}),
        "fence": spans.fence(entries, origin),
        "unavailable": spans.unavailable(entries, origin, unavailable_s),
        "migrations": _migrations(header, migrate, rehearsal),
        "schema": _schema(kept, migrate, _done(entries, "validate")),
        "backup": _backup(_done(entries, "backup")),
        "restore_point": _done(entries, "restore_point"),
        "rehearsal": rehearsal or _rehearsal_failed(entries),
        "smoke": _smoke(entries),
        "receipt": _done(entries, "receipt"),
        "watch": _watch(watch_state, watch_status, _done(entries, "watch")),
        "found": {e["phase"]: e["lines"] for e in entries if e.get("event") == "done" and e.get("lines")},
    }
    gone = absence(entries)
    report["api_absence"] = {"since": gone["since"], "sentence": sentence(gone)} if gone else None
    report["verdict"] = _verdict(report, undone or end)
    report["next"] = _next(report)
    return report


def _deploy_and_later(entries: Entries) -> tuple[Entries, Entries]:
    """The deploy itself, and what was done to the release after it had finished (a rollback, hours later)."""
    for number, entry in enumerate(entries):
        if (entry["phase"], entry["event"]) == ("release", "finished"):
            return entries[: number + 1], entries[number + 1 :]
    return entries, []


def _taken_back(later: Entries) -> Optional[dict[str, Any]]:
    """Why a release that had finished was rolled back."""
    begin = spans.first(later, "rollback", "begin")
    if begin is None:
        return None
    failed = _failed(later)
    message = begin.get("reason") or "it was rolled back by hand"
    return failed or {"phase": "release", "at": begin["at"], "message": message, "hint": None, "lines": []}


def _rollback_refused(later: Entries) -> Optional[dict[str, Any]]:
    """The last rollback of the finished release that would have cost too much: why, and what it would lose."""
    found = next((e for e in reversed(later) if (e["phase"], e["event"]) == ("rollback", "refused")), None)
    if found is None:
        return None
    plan = found.get("plan") or {}
    shown = ("strategy", "refused", "hint", "cost", "besides", "lines")
    loses = bool(plan.get("cost") or plan.get("besides"))
    return {"at": found["at"], "reason": found.get("reason"), **{key: plan.get(key) for key in shown}, "loses": loses}


def _done(entries: Entries, phase: str) -> Optional[dict[str, Any]]:
    found = next((e for e in reversed(entries) if e["phase"] == phase and e["event"] == "done"), None)
    return {key: value for key, value in found.items() if key not in ("phase", "event")} if found else None


def _who(who: Any) -> Optional[str]:
    return f"{who.get('user', '?')}@{who.get('host', '?')}" if isinstance(who, dict) else None


def _label(version: Any) -> Optional[dict[str, Any]]:
    if not isinstance(version, dict):
        return None
    return {"label": version.get("label"), "identity": version.get("identity")}


def _failed(entries: Entries) -> Optional[dict[str, Any]]:
    """The first failure: what comes after it is its consequence."""
    found = next((e for e in entries if e["event"] == "failed"), None)
    if found is None:
        return None
    data = found.get("data") or {}
    return {
        "phase": found["phase"],
        "at": found["at"],
        "error": found.get("error"),
        "message": found.get("message"),
        "hint": found.get("hint"),
        "lines": [str(line) for line in data.get("lines", [])] if isinstance(data, dict) else [],
        "statement": data.get("statement") or data.get("sql") if isinstance(data, dict) else None,
        "differences": data.get("differences") if isinstance(data, dict) else None,
    }


def _migrations(
    header: Mapping[str, Any], migrate: Optional[Mapping[str, Any]], rehearsal: Optional[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Applied ones with what they did, next to what the rehearsal saw; pending ones that never ran are named too."""
    rehearsed = {item.get("identity"): item for item in (rehearsal or {}).get("migrations") or []}
    applied = list((migrate or {}).get("applied") or [])
    names = [item.get("identity") for item in applied]
    result = []
    for item in [*applied, *({"identity": name} for name in header.get("pending") or [] if name not in names)]:
        before = rehearsed.get(item["identity"], {})
        statements = item.get("statements") or []
        rows = [statement["rows"] for statement in statements if statement.get("rows") is not None]
        result.append(
            {
                "identity": item["identity"],
                "applied": item in applied,
                "seconds": item.get("seconds"),
                "rehearsed_s": before.get("seconds"),
                "statements": statements or before.get("statements") or [],
                "statement_count": item.get("statement_count") or len(statements),
                "rows": sum(rows) if rows else None,
                "locks": _known(item.get("locks"), before.get("locks")),
                "rewritten": _known(item.get("rewritten"), before.get("rewritten"), before.get("rewrites")),
                "wal_bytes": _known(item.get("wal_bytes"), before.get("wal_bytes")),
            }
        )
    return result


def _backup(found: Optional[dict[str, Any]]) -> Optional[dict[str, Any]]:
    """Times by name, whichever way the journal has them."""
    if found is None:
        return None
    times = found.get("seconds")
    if isinstance(times, dict):
        found = {**found, "seconds": times.get("dump"), "restore_seconds": times.get("restore"), "times": times}
    lines = found.get("lines") or []
    return {**found, "sentence": found.get("sentence") or (lines[0] if lines else None)}


def _known(*values: Any) -> Any:
    """The first that was recorded."""
    return next((value for value in values if value is not None), None)


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
        "diff": schema_text.diff(before, after) if before and after else None,
    }


def _rehearsal_failed(entries: Entries) -> Optional[dict[str, Any]]:
    entry = spans.first(entries, "rehearse", "failed")
    return {"failed": entry.get("message") or "it failed"} if entry else None


def _smoke(entries: Entries) -> Optional[dict[str, Any]]:
    found = _done(entries, "login_smoke_test")
    if found is None:
        failed = next(
            (e for e in reversed(entries) if (e["phase"], e["event"]) == ("login_smoke_test", "failed")), None
        )
        found = ((failed or {}).get("data") or {}).get("smoke")
    if found is None:
        return None
    preflight = _done(entries, "preflight") or {}
    before = {item["path"]: item for item in preflight.get("baseline") or []}
    checks = {check["name"]: check for check in found.get("checks") or []}
    endpoints = []
    for item in found.get("endpoints") or []:
        old, check = before.get(item["path"]) or {}, checks.pop(f"GET {item['path']}", {})
        endpoints.append(
            {
                "path": item["path"],
                "before": item.get("before", old.get("status")),
                "after": item.get("after", item.get("status")),
                "ms_before": old.get("ms"),
                "ms": item.get("ms"),
                "ok": check.get("ok", True),
                "detail": check.get("detail", ""),
            }
        )
    return {"checks": list(checks.values()), "endpoints": endpoints, "healthy_after_s": found.get("healthy_after_s")}


def _watch(
    state: Optional[Mapping[str, Any]], status: Optional[Mapping[str, Any]], first: Optional[Mapping[str, Any]]
) -> Optional[dict[str, Any]]:
    if state is None:
        return {"first": dict(first)} if first else None
    shown = ("started", "until", "steps", "requests", "records", "findings", "alarms", "series", "bucket_s", "baseline",
             "gaps", "ended", "heartbeat")  # fmt: skip
    return {
        **{key: state.get(key) for key in shown},
        "state": (status or {}).get("state"),
        "ok": (status or {}).get("ok"),
        "summary": (status or {}).get("summary"),
        "first": dict(first) if first else None,
    }


def _verdict(report: Mapping[str, Any], end: Optional[Mapping[str, Any]]) -> dict[str, Any]:
    """``kind`` (finished, rolled_back, refused, abandoned, unfinished), whether it is good, and the one line."""
    kind = end["event"] if end else "unfinished"
    where = f"{report['stack'] or 'the stack'} ({report['environment'] or '?'})"
    new = format.short(report["to"]) or "the new release"
    old = format.short(report["from"]) or "the old release"
    failed = report["failed"]
    at = f" at {format.phase_noun(failed['phase'])}" if failed else ""
    if kind == "finished":
        count = sum(1 for item in report["migrations"] if item["applied"])
        did = f"{plural(count, 'migration')} applied" if count else "no migration"
        away = report["unavailable_s"]
        line = f"{where} runs {new}: {did}, API unavailable for {format.seconds(away)}"
    elif kind == "rolled_back" and report["rolled_back_at"]:
        line = f"{where} runs {old} again: {new} was deployed, and rolled back later"
    elif kind == "rolled_back":
        line = f"{where} runs {old} again: the deploy of {new} failed{at} and was rolled back"
    elif kind == "refused":
        line = f"{where} is as it was: the deploy of {new} stopped{at}, before anything was changed"
    elif kind == "abandoned":
        line = f"{where}: the deploy of {new} was abandoned{at}"
    else:
        line = f"{where}: the deploy of {new} is unfinished" + (f", it failed{at}" if failed else "")
    if kind == "rolled_back" and (report["rollback"] or {}).get("unhealthy"):
        line += f"; {old} does not answer well"
    if report["api_absence"]:
        line += f"; {report['api_absence']['sentence']}"
    alarm = kind == "finished" and report["watch"] and report["watch"].get("state") == "alarm"
    if alarm:
        line += "; the watch over its logs raised an alarm"
    if kind == "finished" and report["rollback_refused"]:
        line += ", and it could not be rolled back"
        line += " without loss" if report["rollback_refused"]["loses"] else ""
    line = data_loss.headline(report["data"]) + line
    return {"kind": kind, "ok": kind == "finished" and not alarm, "alarm": bool(alarm), "line": line}


def _next(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a person does next: sentence and command."""
    stack = report["stack"] or "STACK"
    kind = report["verdict"]["kind"]
    if kind == "unfinished":
        return [{"say": "End it: what it began is rolled back", "type": f"ansible-playbook rollback.yml -l {stack}"}]
    if kind != "finished":
        return [
            {"say": "See what would be deployed now", "type": f"ansible-playbook deploy.yml -l {stack} --check --diff"},
            {"say": "When the cause is mended, deploy again", "type": f"ansible-playbook deploy.yml -l {stack}"},
        ]
    steps = [{"say": "See how it does", "type": f"ansible-playbook watch.yml -l {stack}"}]
    if report["verdict"]["alarm"]:
        steps.append(
            {
                "say": "If the alarm is harmless, say why",
                "type": f"ansible-playbook watch.yml -l {stack} -e 'watch_acknowledge=\"the reason\"'",
            }
        )
    back = f"ansible-playbook rollback.yml -l {stack}"
    if report["rollback_refused"]:
        steps.append({"say": "See the rollback, and what it costs now", "type": f"{back} --check"})
    if (report["rollback_refused"] or {}).get("loses"):
        steps.append({"say": "Go back although it loses that", "type": f"{back} -e rollback_accept_data_loss=true"})
    else:
        steps.append({"say": "Go back", "type": back})
    return steps
