"""Report, history and status of a stack: they read, and change nothing but the report's own two files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from .. import databases, report
from ..app.stack import Stack
from ..core import storage
from ..core.clock import now, seconds_between
from ..core.durable import write_durably
from ..core.errors import PapError
from ..core.records import whole
from ..core.text import plural
from ..core.visible import json_text
from ..logwatch import rules
from ..releases.holder import alive
from ..releases.journal import Journal, State
from ..report import format, history
from ..report.overview import row
from . import live_check, preflight, retention, schema_ahead


def write(state: State, release: str) -> dict[str, Any]:
    """Write ``report.json`` and ``report.html`` beside the journal of ``release`` (the newest one if empty)."""
    journals = state.releases()
    if not release and not journals:
        return {"written": False, "files": [], "release": "", "pap": _pap("report", [])}
    journal = state.journal(release) if release else journals[-1]
    made = state.redactor.data(report.build(journal))
    files = {"report.json": json_text(made, indent=1), "report.html": report.render(made)}
    for name, text in files.items():
        write_durably(journal.folder / name, text.encode(), vital=False)
    return {
        "changed": False,  # a report says what is; writing it anew is no change of the stack
        "written": True,
        "release": journal.release,
        "files": [str(journal.folder / name) for name in files],
        "row": row(made),
        "pap": _pap("report", []),
    }


def releases(state: State, limit: int) -> dict[str, Any]:
    """The newest releases of this stack."""
    rows = history.releases(state, limit)
    said = history.lines(rows) if rows else ["nothing was deployed yet"]
    said += filter(None, [state.lock.at_work()])
    return {"releases": [row.as_dict() for row in rows], "pap": _pap("history", said)}


def status(
    stack: Stack,
    sources: Mapping[str, str],
    options: preflight.Options,
    *,
    acknowledge: str = "",
    who: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What runs, what is pending, whether anything is unfinished, held or drifting, and the next command to type.

    Never raises for what it finds: ``attention`` lists what a person has to look at. ``acknowledge``: the id of a
    change of the live database that ``who`` has dealt with. Raises Refused if there is none with that id.
    """
    lines = [live_check.acknowledge(stack.state, acknowledge, who or {})] if acknowledge else []
    attention: list[str] = []
    found: dict[str, Any] = {"stack": stack.name, "environment": stack.environment}
    command = ""
    held = stack.state.lock.holder()
    unfinished = stack.state.unfinished()
    if held and alive(held):
        found["holder"] = held.as_dict()
        attention.append(f"held by {stack.state.lock.sentence(held)}")
        command = f"wait until it has ended; only if it hangs: {stack.state.lock.command(held)}"
    elif unfinished:
        found["unfinished"] = unfinished.release
        attention.append(f"unfinished: {_interrupted(unfinished)}")
        command = f"ansible-playbook rollback.yml -l {stack.name}"
    last = _last(stack.state)
    found["last"] = last
    lines.append(f"last release {last['release']}: {_verdict(last)}" if last else "nothing was deployed yet")
    lines += _kept(stack, found)
    if not attention:
        looked, command = _look(stack, sources, options, found, attention)
        lines = [*looked, *lines]
    attention += _schema_ahead(stack)
    journal = stack.state.last_finished()
    if journal:
        watched = rules.status(journal.folder)
        found["watch"] = watched.state
        if watched.ok:
            lines.append(f"watch: {watched.summary}")
        else:
            attention.append(f"watch: {watched.summary}")
            if not ("holder" in found or unfinished):  # an alarm comes before the next deploy
                command = f"ansible-playbook watch.yml -l {stack.name}"
    changed = live_check.open_changes(stack.state)
    if changed:  # what pap-deploy itself may have done to production comes before everything that can wait
        attention += map(live_check.described, changed)
        found["live_changes"] = changed
        if not ("holder" in found or unfinished):
            command = f"look into it, then: {live_check.acknowledge_command(stack.name, str(changed[0]['id']))}"
    attention += filter(None, [_unhealthy(stack.state), stack.state.clock_went_back()])
    attention += storage.warning(stack.state.folder)
    lines += [f"! {line}" for line in attention]
    lines.append(f"next: {command or 'nothing to do'}")
    found.update(attention=attention, next=command)
    return {"status": found, "pap": _pap("status", lines, "warning" if attention else "")}


def _interrupted(journal: Journal) -> str:
    """What was interrupted, the release or its rollback, and in which phase: the last that it began."""
    begun = [entry.phase for entry in journal.records() if entry.event == "begin" and entry.phase != "release"]
    what = "the rollback of release" if begun and begun[-1].startswith("rollback") else "release"
    return f"{what} {journal.release} was interrupted " + (
        f"in {format.phase_noun(begun[-1])}" if begun else "before its first phase"
    )


def _look(
    stack: Stack,
    sources: Mapping[str, str],
    options: preflight.Options,
    found: dict[str, Any],
    attention: list[str],
) -> tuple[list[str], str]:
    """What the preflight says: a refusal is a finding here."""
    try:
        databases.refuse_absent(stack.database)
        looked = preflight.look(stack, sources, options, with_baseline=False)
    except PapError as error:
        attention.append(f"a deploy would be refused: {error.message}")
        return [], error.hint
    found["running"], found["candidate"] = looked.running.label, looked.candidate.label
    found["pending"] = [item["identity"] for item in looked.pending]
    version = f"PostgreSQL {looked.server_version // 10000}.{looked.server_version % 10000}"
    lines = [f"{stack.label}: {looked.running.label} on {version}, database {stack.database.conninfo.dbname}"]
    if looked.nothing_to_do:
        return [*lines, f"nothing to deploy: {looked.schema}"], ""
    if looked.switches:
        lines.append(f"to deploy: {looked.candidate.label}")
    names = ", ".join(found["pending"])
    lines.append(f"pending migrations: {names}" if names else "no migration is pending")
    return lines, f"ansible-playbook deploy.yml -l {stack.name}"


def _last(state: State) -> dict[str, Any] | None:
    journals = state.releases()
    return history.row(journals[-1]).as_dict() if journals else None


def _schema_ahead(stack: Stack) -> list[str]:
    try:
        ahead = schema_ahead.now(stack)
    except PapError as error:
        return [f"whether the schema is ahead of the API that runs cannot be told: {error.message}"]
    return [ahead.sentence] if ahead else []


def _unhealthy(state: State) -> str:
    """What the last rollback found of the API that it went back to, as long as no release came after it."""
    journals = state.releases()
    end = journals[-1].ended() if journals else None
    if end is None or not end.unhealthy:
        return ""
    return f"when release {journals[-1].release} was rolled back, the API did not answer well: {end.unhealthy}"


def _verdict(last: Mapping[str, Any]) -> str:
    when = f"{format.seconds(seconds_between(last['at'], now()))} ago" if last["at"] else "?"
    what = str(last["verdict"]).replace("_", " ")
    return f"{what}, {last['from']} → {last['to']}, begun {when} by {last['who']}"


def _kept(stack: Stack, found: dict[str, Any]) -> list[str]:
    """Databases that releases left: restore points, and failed ones that were quarantined."""
    try:
        others = databases.existing(stack.database)
    except PapError as error:
        found["databases"] = None
        return [f"databases of releases: {error.message}"]
    known = {journal.release: journal for journal in stack.state.releases()}
    rows: dict[str, Optional[int]] = {}
    for other in others:
        if other.kind == "failed":
            journal = known.get(other.release)
            rows[other.name] = retention.rows_only_in(stack.database, journal, other.name) if journal else None
    counts = [{"rows": rows[other.name]} if other.name in rows else {} for other in others]
    found["databases"] = [{**whole(other), **count} for other, count in zip(others, counts)]
    kinds = {"snap": "restore point", "failed": "quarantined after a failure", "fenced": "fenced now"}
    lines = [
        f"database {other.name}: {kinds.get(other.kind, other.kind)} of release {other.release}"
        f"{_alone(rows.get(other.name, 0), other.release)}"
        for other in others
    ]
    lines += preflight.look_alike_lines(stack)
    if any(other.kind == "failed" for other in others):
        drop = f"ansible-playbook rollback.yml -l {stack.name} -e rollback_drop_failed=true"
        lines.append(f"when what was quarantined is no longer needed: {drop}")
    return lines


def _alone(rows: Optional[int], release: str) -> str:
    """What a database that was quarantined holds and nothing else does."""
    if rows == 0:
        return ""
    count = (
        "an unknown number of rows" if rows is None else plural(rows, "row or other change", "rows or other changes")
    )
    return f", with {count} that nothing else has: it goes only by name (-e rollback_release={release})"


def _pap(phase: str, lines: list[str], status_: str = "") -> dict[str, Any]:
    return {"phase": phase, "lines": lines, "status": status_}
