"""Report, history and status of a stack: they read, and change nothing but the report's own two files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from .. import databases, report
from ..app.stack import Stack
from ..core import storage
from ..core.clock import now, seconds_between
from ..core.durable import write_durably
from ..core.errors import PapError
from ..core.records import whole
from ..core.text import plural
from ..core.visible import json_text
from ..databases.listed import Listed
from ..logwatch import rules
from ..releases import downtime
from ..releases.holder import Holder, alive
from ..releases.journal import Journal, State
from ..releases.run import Run
from ..report import format, history
from ..report.overview import Line, line
from . import live_check, preflight, retention, schema_ahead
from .result import Printed, Result


@dataclass(frozen=True)
class Written(Result):
    """``row``: the stack's line of the table in the terminal, where there is a release."""

    written: bool
    files: Sequence[str]
    release: str
    row: Optional[Line] = None


@dataclass(frozen=True)
class History(Result):
    releases: Sequence[history.Summary]


@dataclass(frozen=True)
class Left(Listed):
    """A database that a release left; ``rows`` of one that was quarantined: those that nothing else has."""

    rows: Optional[int] = None


@dataclass
class Status:
    """``attention``: what a person has to look at; ``next``: the command to type. None: not looked at, or not there."""

    stack: str
    environment: str
    attention: list[str] = field(default_factory=list)
    next: str = ""
    holder: Optional[Holder] = None
    unfinished: Optional[str] = None
    last: Optional[history.Summary] = None
    running: Optional[str] = None
    candidate: Optional[str] = None
    pending: Optional[Sequence[str]] = None
    watch: Optional[str] = None
    databases: Optional[Sequence[Left]] = None
    live_changes: Sequence[live_check.Change] = ()


@dataclass(frozen=True)
class Standing(Result):
    status: Status


def write(state: State, release: str) -> Written:
    """Write ``report.json`` and ``report.html`` beside the journal of ``release`` (the newest one if empty)."""
    journals = state.releases()
    if not release and not journals:
        return Written(Printed("report"), False, (), "")
    journal = state.journal(release) if release else journals[-1]
    made = state.redactor.data(whole(report.build(journal)))
    files = {"report.json": json_text(made, indent=1), "report.html": report.render(made)}
    for name, text in files.items():
        write_durably(journal.folder / name, text.encode(), vital=False)
    # A report says what is; writing it anew is no change of the stack.
    return Written(Printed("report"), True, [str(journal.folder / name) for name in files], journal.release, line(made))


def releases(state: State, limit: int) -> History:
    """The newest releases of this stack."""
    rows = history.releases(state, limit)
    said = history.lines(rows) if rows else ["nothing was deployed yet"]
    said += filter(None, [state.lock.at_work()])
    return History(Printed("history", said), rows)


def status(
    stack: Stack,
    sources: Mapping[str, str],
    options: preflight.Options,
    *,
    acknowledge: str = "",
    who: Optional[Run] = None,
) -> Standing:
    """What runs, what is pending, whether anything is unfinished, held or drifting, and the next command to type.

    Never raises for what it finds: ``attention`` lists what a person has to look at. ``acknowledge``: the id of a
    change of the live database that ``who`` has dealt with. Raises Refused if there is none with that id.
    """
    lines = [live_check.acknowledge(stack.state, acknowledge, who or Run())] if acknowledge else []
    found = Status(stack.name, stack.environment)
    found.holder, found.last = _alive(stack.state), _last(stack.state)
    unfinished = None if found.holder else stack.state.unfinished()
    if found.holder:
        lock = stack.state.lock
        found.attention.append(f"held by {lock.sentence(found.holder)}")
        found.next = f"wait until it has ended; only if it hangs: {lock.command(found.holder)}"
    elif unfinished:
        found.unfinished = unfinished.release
        found.attention.append(f"unfinished: {_interrupted(unfinished)}")
        found.next = f"ansible-playbook rollback.yml -l {stack.name}"
    found.attention += _down(stack, found)
    busy = bool(found.holder or unfinished)
    last = found.last
    lines.append(f"last release {last.release}: {_verdict(last)}" if last else "nothing was deployed yet")
    lines += _kept(stack, found)
    if not busy:
        lines = [*_look(stack, sources, options, found), *lines]
    found.attention += _schema_ahead(stack)
    lines += _watched(stack, found, busy=busy)
    found.live_changes = live_check.open_changes(stack.state)
    if found.live_changes:  # what pap-deploy itself may have done to production comes before everything that can wait
        found.attention += map(live_check.described, found.live_changes)
        if not busy:
            first = live_check.acknowledge_command(stack.name, found.live_changes[0].id)
            found.next = f"look into it, then: {first}"
    found.attention += filter(None, [_unhealthy(stack.state), stack.state.clock_went_back()])
    found.attention += storage.warning(stack.state.folder)
    lines += [*(f"! {line}" for line in found.attention), f"next: {found.next or 'nothing to do'}"]
    return Standing(Printed("status", lines, "warning" if found.attention else ""), found)


def _down(stack: Stack, found: Status) -> list[str]:
    """That the API is down because a release has stopped it, since when, and what ends that."""
    journals = stack.state.releases()
    since = downtime.down_since(journals[-1].records()) if journals and not journals[-1].ended() else ""
    if not since:
        return []
    passed = format.seconds(seconds_between(since, now()))
    release = journals[-1].release
    ends = f"{found.next} ends that" if found.unfinished else "its run goes on, and ends that"
    fenced = " and fenced the database" if journals[-1].has("fence") else ""
    return [f"the API is down since {format.when(since)} ({passed}): release {release} stopped it{fenced}; {ends}"]


def _alive(state: State) -> Optional[Holder]:
    """Who works on the stack."""
    held = state.lock.holder()
    return held if held and alive(held) else None


def _watched(stack: Stack, found: Status, *, busy: bool) -> list[str]:
    journal = stack.state.last_finished()
    if journal is None:
        return []
    watched = rules.status(journal.folder)
    found.watch = watched.state
    if watched.ok:
        return [f"watch: {watched.summary}"]
    found.attention.append(f"watch: {watched.summary}")
    if not busy:  # an alarm comes before the next deploy
        found.next = f"ansible-playbook watch.yml -l {stack.name}"
    return []


def _interrupted(journal: Journal) -> str:
    """What was interrupted, the release or its rollback, and in which phase: the last that it began."""
    begun = [entry.phase for entry in journal.records() if entry.event == "begin" and entry.phase != "release"]
    what = "the rollback of release" if begun and begun[-1].startswith("rollback") else "release"
    return f"{what} {journal.release} was interrupted " + (
        f"in {format.phase_noun(begun[-1])}" if begun else "before its first phase"
    )


def _look(stack: Stack, sources: Mapping[str, str], options: preflight.Options, found: Status) -> list[str]:
    """What the preflight says: a refusal is a finding here."""
    try:
        databases.refuse_absent(stack.database)
        looked = preflight.look(stack, sources, options, with_baseline=False)
    except PapError as error:
        found.attention.append(f"a deploy would be refused: {error.message}")
        found.next = error.hint
        return []
    found.running, found.candidate, found.pending = looked.running.label, looked.candidate.label, looked.names
    version = f"PostgreSQL {looked.server_version // 10000}.{looked.server_version % 10000}"
    lines = [f"{stack.label}: {looked.running.label} on {version}, database {stack.database.conninfo.dbname}"]
    if looked.nothing_to_do:
        return [*lines, f"nothing to deploy: {looked.schema}"]
    if looked.switches:
        lines.append(f"to deploy: {looked.candidate.label}")
    names = ", ".join(looked.names)
    lines.append(f"pending migrations: {names}" if names else "no migration is pending")
    found.next = f"ansible-playbook deploy.yml -l {stack.name}"
    return lines


def _last(state: State) -> Optional[history.Summary]:
    journals = state.releases()
    return history.row(journals[-1]) if journals else None


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


def _verdict(last: history.Summary) -> str:
    when = f"{format.seconds(seconds_between(last.at, now()))} ago" if last.at else "?"
    return f"{last.verdict.replace('_', ' ')}, {last.old} → {last.new}, begun {when} by {last.who}"


def _kept(stack: Stack, found: Status) -> list[str]:
    """Databases that releases left: restore points, and failed ones that were quarantined."""
    try:
        others = databases.existing(stack.database)
    except PapError as error:
        return [f"databases of releases: {error.message}"]
    known = {journal.release: journal for journal in stack.state.releases()}
    rows: dict[str, Optional[int]] = {}
    for other in others:
        if other.kind == "failed":
            journal = known.get(other.release)
            rows[other.name] = retention.rows_only_in(stack.database, journal, other.name) if journal else None
    found.databases = [Left(**vars(other), rows=rows.get(other.name)) for other in others]
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
