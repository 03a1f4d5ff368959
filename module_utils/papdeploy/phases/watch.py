"""The watch over the logs as a phase: prepared before the fence, the first minute inside the deploy, then detached."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from ..app.stack import Stack
from ..core.clock import now
from ..core.errors import PapError, Refused
from ..core.records import plain, read, unknown_names
from ..core.text import plural
from ..logwatch import (
    data_rules,
    handover,
    look_rules,
    looking,
    looks,
    process,
    promql,
    rules,
    runners,
    server_settings,
    textfile,
)
from ..logwatch.classify import totals
from ..logwatch.confidential import Confidential
from ..logwatch.kinds import KINDS
from ..logwatch.look_api import ApiAddress
from ..logwatch.promql import Gate, gate_of
from ..logwatch.sources import LogSpec
from ..logwatch.state import Alarm, Rules, WatchState
from ..releases.journal import Journal, State
from ..releases.run import Run
from ..report import looks_picture
from .result import Done, Printed, Result

UNIT = "journal:"
_PATIENCE_S = 1.5  # an API logs an error a moment after it has answered with it


class WatchAlarm(PapError):
    """The logs since the deploy are worse than before; ``data['alarms']`` has each alarm."""


@dataclass(frozen=True)
class Prepared(Result):
    prepared: bool
    changed: bool = False


@dataclass(frozen=True)
class FirstMinute(Result):
    """``counts``: the findings by kind."""

    watched: bool
    counts: Mapping[str, int]
    changed: bool = False


@dataclass(frozen=True)
class Watching(Result):
    watching: bool
    changed: bool = False


@dataclass(frozen=True)
class Standing(Result):
    """``alarm``: one that is a reason to take the release back, which not being able to read a log is not."""

    release: str
    ok: bool
    alarm: bool
    dead: bool
    blind: bool
    watch: Optional[Mapping[str, Any]] = None


@dataclass(frozen=True)
class Options:
    """What the inventory decides about the watch."""

    hours: float = 24.0
    interval_s: float = 30.0
    first_s: float = 60.0
    runner: str = runners.AUTO
    rules: Mapping[str, Any] = field(default_factory=dict)
    promql: Sequence[Mapping[str, Any]] = ()
    prometheus_url: str = ""
    prometheus_token: str = field(default="", repr=False)
    promql_unmeasured: str = "warn"

    @property
    def gate(self) -> Gate:
        return gate_of(self.prometheus_url, self.promql, self.promql_unmeasured)


def sources(stack: Stack) -> dict[str, LogSpec]:
    """Where the logs of this stack are, by name: the API's (one for each container) and the database's."""
    found: dict[str, LogSpec] = {}
    for number, name in enumerate(getattr(stack.api, "names", ())):
        found["api" if number == 0 else f"api {name}"] = LogSpec(container=name)
    found.update(_listed("api", getattr(stack.api, "log_files", ())))
    container = getattr(stack.database.site, "name", "")
    if container:
        found["database"] = LogSpec(container=container)
    found.update(_listed("database", stack.database_logs))
    return found


def _listed(name: str, entries: Sequence[str]) -> dict[str, LogSpec]:
    """Log files, or ``journal:UNIT`` for the journal of a systemd unit."""
    units = [entry[len(UNIT) :] for entry in entries if entry.startswith(UNIT)]
    files = tuple(entry for entry in entries if not entry.startswith(UNIT))
    return {name: LogSpec(files=files)} if files else {name: LogSpec(unit=units[0])} if units else {}


def prepare(stack: Stack, release: str, options: Options) -> Prepared:
    """Learn what is usual in the logs, before anything changes. Raises Unavailable if a log cannot be read."""
    specs, gate = sources(stack), options.gate
    if not specs:
        return Prepared(Printed("watch", [_nothing_to_watch(gate)], "warning"), False)
    before = _asked_before(stack, gate, options.prometheus_token)
    with stack.state.working(release) as journal:
        process.prepare(
            journal.folder,
            specs,
            hours=options.hours,
            interval_s=options.interval_s,
            rules=rules_of(options.rules),
            redactor=stack.redactor,
            database=data_rules.spec_of(stack.database, stack.may_delete, stack.environment),
            server=server_settings.ask(stack.database),
            target=textfile.Target(stack.metrics_folder, stack.name, stack.environment),
            gate=gate,
            api=ApiAddress.of(stack),
        )
        looking.keep_before(journal.folder, stack.database, now(), stack.redactor)
        if before:
            promql.save(journal.folder, promql.Figures(before, before))
    return Prepared(Printed("watch"), True, True)


def look_ahead(stack: Stack, given: Mapping[str, Any], token: str) -> list[str]:
    """What Prometheus says now, for a person. ``given``: options of the watch. Raises Refused for what would stop the
    watch, or the deploy by it, when the backup and the rehearsal are done."""
    unknown = unknown_names(Options, given)
    if unknown:
        raise Refused(f"The watch has no option {unknown[0]!r}.", hint="See the module pap_watch in the reference.")
    options = Options(**given, prometheus_token=token)
    rules_of(options.rules)
    gate = options.gate
    if not sources(stack):
        return [_nothing_to_watch(gate)]
    runners.choose(options.runner)
    return [
        f"Prometheus: {figure.sentence}"
        + ("; if it stays so, the first minute takes the release back" if figure.outside else "")
        for figure in _asked_before(stack, gate, options.prometheus_token)
    ]


def rules_of(given: Mapping[str, Any]) -> Rules:
    """The rules of the inventory. Raises Refused for one that is none, or that could never or would always hold."""
    numbers = {name: promql.number(value) for name, value in given.items()}
    found = read(Rules, numbers, "watch_rules")
    least = {"min_count": 1, "factor": 0, "fails": 1, "slow": 1, "slow_factor": 1, "connections": 0.01}
    most = {"slow": looks.WINDOW, "connections": 1}
    for name, value in numbers.items():
        low, high = least.get(name, 0), most.get(name, math.inf)
        if not low <= value <= high:
            bounds = f"from {low:g} to {high:g}" if high < math.inf else f"at least {low:g}"
            raise Refused(f"watch_rules: {name} is {value:g}, and must be {bounds}.", hint="See the reference.")
    return found


def _nothing_to_watch(gate: Gate) -> str:
    line = "no log is named (pap_api_log_files, pap_db_log_files): nothing will be watched after the deploy"
    line += ", and Prometheus will not be asked" if gate.queries else ""
    if gate.queries and gate.fails:
        raise Refused(f"{line[0].upper()}{line[1:]}.", hint="Name the logs; watch_promql is a part of the watch.")
    return line


def _asked_before(stack: Stack, gate: Gate, token: str) -> tuple[promql.Figure, ...]:
    """What Prometheus says before anything changes. Raises Refused if it says nothing where it must: after the
    activation, that would take the release back."""
    found = promql.ask(gate, token)
    missing = [figure.sentence for figure in found if figure.problem]
    if missing and gate.fails:
        raise Refused(
            f"What Prometheus says of {stack.label} cannot be measured: {missing[0]}.",
            hint="Mend the query, or to deploy nevertheless: -e watch_promql_unmeasured=warn",
            lines=missing,
        )
    return found


def first(stack: Stack, release: str, options: Options) -> FirstMinute:
    """Watch the first minute, then leave the watcher to itself. Raises WatchAlarm, which rolls the release back."""
    with stack.state.working(release) as journal:
        if rules.load(journal.folder) is None:
            return FirstMinute(Printed("watch"), False, {})
        with journal.checkpoint("watch") as done:
            state = process.first(
                journal.folder,
                seconds=options.first_s,
                redactor=stack.redactor,
                known=Confidential(
                    database_password=stack.database.conninfo.password,
                    prometheus_token=options.prometheus_token,
                    smoke=stack.smoke.kept_apart(),
                ),
            )
            counts = totals(state.findings)
            line = f"{options.first_s:g} s: {rules.told(state)}"
            lines = [line, *(each.sentence for each in state.unseen), *promql.load(journal.folder).lines]
            done.update(findings=counts, records=state.records, requests=state.requests, lines=lines)
            alarms = rules.grave(rules.open_alarms(state))
            if alarms:
                process.end(journal.folder, "the deploy failed")
                raise _alarm(stack, alarms)
    return FirstMinute(Printed("watch", lines), True, counts, True)


@contextlib.contextmanager
def explained(journal: Journal) -> Iterator[None]:
    """A PapError of the block also shows what the logs say since the activation."""
    try:
        yield
    except PapError as error:
        error.data["lines"] = [*error.data.get("lines", ()), *_logged(journal)]
        raise


def _logged(journal: Journal) -> list[str]:
    """What the logs say since the activation, for the message of a failure: the newest sample of each kind that is
    trouble. Empty if no watch was prepared, or the logs cannot be read."""
    limit = time.monotonic() + _PATIENCE_S
    while True:
        try:
            found = process.look(journal.folder, journal.redactor).findings
        except (PapError, OSError):
            return []
        trouble = [finding for finding in found if finding.kind not in ("restart", "authentication")]
        if trouble or time.monotonic() > limit:
            break
        time.sleep(0.2)
    lines = []
    for finding in sorted(trouble, key=lambda finding: list(KINDS).index(finding.kind))[:3]:
        lines.append(f"log of the {finding.source}: {KINDS[finding.kind]}")
        lines += [f"  {line}" for line in finding.last_sample.splitlines()[-12:]]
    return lines


def start(state: State, release: str, known: Confidential, *, wanted: str, stack: handover.Stack) -> Watching:
    """Have something run the watch of ``release`` after the deploy; where nothing does any more, go on where it was."""
    journal = _journal(state, release)
    found = rules.load(journal.folder) if journal else None
    if journal is None or found is None or found.ended is not None:
        return Watching(Printed("watch"), False)
    dead = rules.status(journal.folder).dead
    lines = handover.start(state, journal, known, wanted, stack) if dead else []
    return Watching(Printed("watch", lines), True, dead)


def status(state: State, release: str) -> Standing:
    """Where the watch stands. Never raises for an alarm: ``ok`` says it, so that the caller can act first."""
    journal = _journal(state, release)
    if journal is None:
        printed = Printed("watch", ["nothing was deployed yet"])
        return Standing(printed, release="", ok=True, alarm=False, dead=False, blind=False)
    found = rules.status(journal.folder)
    lines = [f"release {journal.release}: {found.summary}"]
    lines += [f"  {alarm.sample}" for alarm in found.alarms[:3] if alarm.sample]
    if found.watch:
        lines += [f"  cannot be read: {source.message}" for source in found.watch.blind.values()]
        lines += [f"  {each.sentence}" for each in found.watch.unseen]
        lines += [f"  {line}" for line in (*promql.load(journal.folder).lines, *_drawn(journal))]
        lines += [f"  {gap.what}" for gap in found.watch.gaps[-2:]]
        lines += [f"  {line}" for line in _looked(journal, found.watch)]
    lines += filter(None, [state.lock.at_work()])
    return Standing(
        Printed("watch", lines, "" if found.ok else "failed"),
        release=journal.release,
        ok=found.ok,
        alarm=bool(rules.reasons(found.alarms)),
        dead=found.dead,
        blind=bool(found.watch and (found.watch.unseen or found.watch.blind)),
        watch=found.as_json(),
    )


def _looked(journal: Journal, watch: WatchState) -> list[str]:
    """What the last look measured, or all of a watch that has ended, and what of the replication was dead before the
    deploy already."""
    before = look_rules.dead_before(looks.before(journal.folder))
    if watch.ended:
        return [*looks.summary(looks.read(journal.folder)), *before]
    return [*(line for look in looks.recent(journal.folder, 1) for line in looks.told(look)), *before]


def _drawn(journal: Journal) -> list[str]:
    """How long the requests of the looks took, before the deploy and since."""
    picture = looks_picture.gathered(looks.read(journal.folder), looks.before(journal.folder), None)
    return looks_picture.sketch(picture) if picture else []


def acknowledge(state: State, release: str, who: Run, reason: str) -> Done:
    """Close the open alarms of a release with a reason."""
    journal = _journal(state, release)
    if journal is None:
        raise Refused("Nothing was deployed yet: there is no alarm to acknowledge.")
    with rules.changing(journal.folder):
        found = rules.load(journal.folder)
        if found is None:
            raise Refused(f"Release {journal.release} has no watch: there is no alarm to acknowledge.")
        count = len(rules.open_alarms(found))
        if count:
            rules.save(journal.folder, rules.acknowledge(found, who.person, reason, now()))
    return Done(Printed("watch", [f"{plural(count, 'alarm')} acknowledged"]), bool(count))


def _journal(state: State, release: str) -> Optional[Journal]:
    return state.journal(release) if release else state.last_finished()


def _alarm(stack: Stack, alarms: list[Alarm]) -> WatchAlarm:
    more = f" (and {len(alarms) - 1} more)" if alarms[1:] else ""
    lost = any(alarm.kind == data_rules.KIND for alarm in alarms)
    what = "The release lost data of {}" if lost else "The logs of {} are worse than before the deploy"
    what = "Prometheus does not say of {} what it must" if alarms[0].source == promql.SOURCE else what
    first = next((alarm for alarm in alarms if alarm.kind == data_rules.KIND), alarms[0])
    return WatchAlarm(
        f"{what.format(stack.label)}: {first.why}{more}.",
        hint="It is in the report, with the samples of the logs.",
        alarms=plain(alarms),
        lines=[alarm.sample for alarm in alarms[:5]],
    )
