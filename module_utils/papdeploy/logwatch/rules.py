"""The watch over the logs after a deploy: what is new, what is more than before, and whether the watcher still lives.

The state is one file, ``<release>/watch.json``: marks, counts and the last heartbeat are written together, so that a
watcher that is killed at any instant neither counts a line twice nor passes one over. A step is pure but for reading
the logs; ``watcher`` runs the steps in a process of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Optional

from ..core.clock import later, now, seconds_between
from ..core.durable import write_durably
from ..core.errors import PapError, Refused, Unavailable, VerificationFailed
from ..core.reasons import stated
from ..core.records import in_file
from ..core.redact import Redactor
from ..core.text import age, plural
from ..core.visible import json_text
from . import blindness, log_rules, look_rules
from .classify import NOTHING_KNOWN, Known, Scan, merge, scan, totals
from .files import LogSource
from .records import Seen
from .runners import BY, CRON, PROCESS, STEPPED
from .state import Acknowledged, Alarm, Blind, Counted, Ended, Gap, Point, Rules, Status, Usual, WatchState

_BASELINE_BYTES = 4 << 20
_PIECES, _PIECES_S = 16, 60.0  # what is left then is read by the next step
_POINTS = 720  # of the plot
_ALIVE = ".watch.alive"
_PATIENCE_S = 5.0


def begin(
    release: str,
    sources: Mapping[str, LogSource],
    *,
    hours: float,
    interval_s: float,
    rules: Rules,
    at: str,
    redactor: Optional[Redactor] = None,
    known: Known = NOTHING_KNOWN,
) -> WatchState:
    """The state at the start: where the logs end now, and what was usual in them before.

    Raises Unavailable if a log cannot be read: a watch that sees nothing must not look like one that found nothing.
    """
    if not sources:
        raise Unavailable(
            "There is no log to watch.",
            hint="Set pap_api_log_files and pap_database_log_files (or the containers), or watch_enabled: false.",
        )
    marks = {name: source.now() for name, source in sources.items()}
    recent = {name: source.recent(_BASELINE_BYTES) for name, source in sources.items()}
    before = {
        name: scan(text, name, at=at, final=True, redactor=redactor, known=known) for name, text in recent.items()
    }
    return WatchState(
        release=release,
        started=at,
        until=later(at, hours * 3600),
        interval_s=interval_s,
        bucket_s=max(60.0, hours * 3600 / _POINTS),
        rules=rules,
        labels={name: source.label for name, source in sources.items()},
        marks=marks,
        carry=dict.fromkeys(sources, ""),
        baseline={name: _usual(found, at) for name, found in before.items()},
        expected_restarts=dict.fromkeys(sources, 0),
        steps=0,
        heartbeat=at,
        requests=0,
        records=0,
        findings=(),
        series=(),
        alarms=(),
        blind={},
        gaps=(),
        ended=None,
    )


def _usual(before: Scan, at: str) -> Usual:
    return Usual(
        records=before.records,
        requests=before.requests,
        seconds=seconds_between(before.first, at) if before.first else 0,
        kinds=totals(before.findings.values()),
        subjects=tuple(sorted({f"{f.kind}|{f.subject}" for f in before.findings.values()})),
    )


def step(
    state: WatchState,
    sources: Mapping[str, LogSource],
    at: str,
    *,
    settling: bool = False,
    redactor: Optional[Redactor] = None,
    known: Known = NOTHING_KNOWN,
) -> WatchState:
    """The state after reading what was logged since. With ``settling`` (after the smoke test has passed) the starts so
    far were caused by the activation itself and are harmless."""
    findings = {finding.key: replace(finding) for finding in state.findings}
    for name, source in sources.items():
        state, found, error = _read(state, name, source, at, redactor, known)
        merge(findings, found.findings)
        blind = {key: value for key, value in state.blind.items() if key != name}
        if error:
            since = state.blind[name].since if name in state.blind else at
            blind[name] = Blind(since, error.message)
        state = replace(
            state,
            requests=state.requests + found.requests,
            records=state.records + found.records,
            elsewhere=state.elsewhere + found.elsewhere,
            seen={**state.seen, name: state.seen.get(name, Seen()).plus(found.seen)},
            series=_plot(state, at, name, found),
            blind=blind,
        )
    state = replace(state, findings=tuple(findings.values()), steps=state.steps + 1, heartbeat=at)
    state = replace(state, unseen=blindness.of(state.labels, state.seen, known.server, state.answered))
    if settling:
        state = replace(state, expected_restarts={name: log_rules.times(state, "restart", name) for name in sources})
    alarms = list(state.alarms)
    raised = {_identity(alarm) for alarm in alarms}
    for alarm in log_rules.judge(state, at):
        if _identity(alarm) not in raised:
            raised.add(_identity(alarm))
            alarms.append(alarm)
    over = state.ended is None and at >= state.until
    return replace(state, alarms=tuple(alarms), ended=Ended(at, "its time is over") if over else state.ended)


def _identity(alarm: Alarm) -> tuple[str, str]:
    """What both logs tell of the same column is one alarm; a rate is one alarm for each log."""
    return alarm.kind, alarm.subject or alarm.source


def _read(
    state: WatchState, name: str, source: LogSource, at: str, redactor: Optional[Redactor], known: Known
) -> tuple[WatchState, Scan, Optional[PapError]]:
    """What came since the mark; what was read before an error counts, because the mark has moved past it."""
    whole, limit = Scan(), time.monotonic() + _PIECES_S
    for _ in range(_PIECES):
        try:
            reading = source.since(state.marks[name])
        except PapError as error:
            return state, whole, error
        final = at >= state.until and not reading.more  # a record that still grew at the end is not waited for
        found = scan(reading.text, name, at=at, carry=state.carry[name], final=final, redactor=redactor, known=known)
        state = replace(
            state,
            marks={**state.marks, name: reading.mark},
            carry={**state.carry, name: found.carry},
            gaps=(*state.gaps, *(Gap(at, what) for what in reading.gaps)),
        )
        merge(whole.findings, found.findings)
        whole.requests += found.requests
        whole.records += found.records
        whole.elsewhere += found.elsewhere
        whole.seen = whole.seen.plus(found.seen)
        if not reading.more or time.monotonic() > limit:
            break
    return state, whole, None


def _plot(state: WatchState, at: str, name: str, found: Scan) -> tuple[Point, ...]:
    """Counts by time and source: for the plot, and for the rate of the last minutes."""
    if not found.records:
        return state.series
    number = int(seconds_between(state.started, at) // state.bucket_s)
    bucket = later(state.started, number * state.bucket_s)
    before, logs = state.series, dict[str, Counted]()
    if before and before[-1].at == bucket:
        before, logs = before[:-1], before[-1].logs
    counted = logs.get(name, Counted(0, {}))
    kinds = dict(counted.kinds)
    for kind, count in totals(found.findings.values()).items():
        kinds[kind] = kinds.get(kind, 0) + count
    return (*before, Point(bucket, {**logs, name: Counted(counted.requests + found.requests, kinds)}))


def open_alarms(state: WatchState) -> list[Alarm]:
    """The unacknowledged alarms."""
    return [alarm for alarm in state.alarms if alarm.acknowledged is None]


def grave(alarms: Iterable[Alarm]) -> list[Alarm]:
    """Those that fail a deploy in its first minute: not what a look found well again, or what no release causes."""
    return [alarm for alarm in alarms if alarm.over is None and alarm.kind not in look_rules.INFRASTRUCTURE]


def reasons(alarms: Iterable[Alarm]) -> list[Alarm]:
    """Those for which a release is taken back later: a log that cannot be read by then is none."""
    return [alarm for alarm in grave(alarms) if alarm.kind != "blind"]


def acknowledge(state: WatchState, who: str, reason: str, at: str) -> WatchState:
    """The state with its open alarms acknowledged. A reason is required: it goes into the report."""
    said = stated(reason, "Acknowledging an alarm", "Say why it is harmless: -e 'watch_acknowledge=…'.")
    closed = Acknowledged(at=at, who=who, reason=said)
    return replace(
        state,
        alarms=tuple(
            replace(alarm, acknowledged=closed) if alarm.acknowledged is None else alarm for alarm in state.alarms
        ),
    )


# The state on disk.


def state_file(folder: Path) -> Path:
    return folder / "watch.json"


def load(folder: Path) -> Optional[WatchState]:
    """The state in a release's folder, or None if there was no watch. Raises VerificationFailed if it is damaged."""
    found = in_file(state_file(folder))
    return None if found is None else WatchState.from_json(found)


def save(folder: Path, state: WatchState) -> None:
    write_durably(state_file(folder), json_text(state.as_json()).encode())


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Hold the state for one read and write: the watcher and a person who acknowledges must not undo each other."""
    with _locked(folder / ".watch.guard", wait=True):
        yield


@contextlib.contextmanager
def being_watcher(folder: Path) -> Iterator[None]:
    """Be the one watcher of this release while the block runs; raises Refused if there is one already."""
    with _locked(folder / _ALIVE, wait=False) as descriptor:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield


def is_watched(folder: Path) -> bool:
    """Whether a watcher process holds its lock now. The kernel gives it back however the process ended."""
    try:
        with _locked(folder / _ALIVE, wait=False):
            return False
    except Refused:
        return True


def end_hanging(folder: Path) -> None:
    """End a watcher that holds its lock and does not look any more: another one cannot take its place. Raises
    Unavailable if it stays."""
    deadline = time.monotonic() + _PATIENCE_S
    while is_watched(folder):
        said = (folder / _ALIVE).read_text(encoding="ascii", errors="replace")
        if not said.isdigit() or time.monotonic() > deadline:
            raise Unavailable(
                f"A watcher hangs, and does not end (process {said or 'of an older version'}).",
                hint=f"End what has {folder / _ALIVE} open on the target host (fuser -v), and run watch.yml again.",
            )
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(int(said), signal.SIGKILL)
        time.sleep(0.05)


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Refused("A watcher of this release runs already.") from None
        yield descriptor
    finally:
        os.close(descriptor)


def _clock(at: str) -> str:
    return f"{at[:10]} {at[11:16]} UTC"


def told(state: WatchState) -> str:
    """What the logs said since the deploy, in one sentence."""
    counts = totals(state.findings)
    what = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items()) or "nothing to report"
    if state.elsewhere:
        what += f"; {plural(state.elsewhere, 'error')} of other databases on this server, not counted"
    if state.unseen:
        what += f"; BLIND: {state.unseen[0].what}" + (
            f" (and {len(state.unseen) - 1} more)" if state.unseen[1:] else ""
        )
    return f"{plural(state.requests, 'request')}, {plural(state.records, 'log record')}: {what}"


def silence_s(state: WatchState) -> float:
    """Seconds after its last look within which a watch that works looks again."""
    return max(5 * state.interval_s, 300.0 if state.runner == CRON else 60.0)


def status(folder: Path, at: str = "") -> Status:
    """Where the watch of a release stands."""
    at = at or now()
    try:
        state = load(folder)
    except VerificationFailed as error:
        return Status("damaged", False, f"the watch cannot go on, until a later release: {error.message.rstrip('.')}")
    if state is None:
        return Status("none", True, "no watch was started for this release")
    alarms = open_alarms(state)
    silent_s = seconds_between(state.heartbeat, at)
    gone = state.runner not in STEPPED and not is_watched(folder)
    dead = state.ended is None and (gone or silent_s > silence_s(state))
    counts, seen = totals(state.findings), told(state)
    if alarms:
        name, summary = (
            "alarm",
            f"ALARM: {alarms[0].sentence}" + (f" (and {len(alarms) - 1} more)" if alarms[1:] else ""),
        )
    elif dead:
        how = "is gone" if gone else f"({BY.get(state.runner, BY[PROCESS])}) is silent"
        name, summary = (
            "dead",
            f"the watcher {how}: last heartbeat {_clock(state.heartbeat)} ({age(silent_s)} ago)",
        )
    elif state.ended:
        name, summary = "ended", f"ended at {_clock(state.ended.at)}, {state.ended.why}; {seen}"
    else:
        name, summary = "watching", f"watching until {_clock(state.until)}; {seen}"
    return Status(name, not alarms and not dead, summary, tuple(alarms), dead, counts, state)
