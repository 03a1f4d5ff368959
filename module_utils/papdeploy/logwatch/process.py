"""The steps of the watch, and the process that makes them: in a session of its own it outlives the connection that
started it. The program and its packages are in a zip: nothing of the controller's temporary files is needed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from ..core.clock import now, seconds_between
from ..core.durable import write_durably
from ..core.errors import PapError, Refused, StorageFailed, Unavailable, VerificationFailed
from ..core.records import as_object, in_file, read_known
from ..core.redact import Redactor
from ..core.visible import visible
from ..notify import webhook
from ..releases.journal import Journal, State
from ..remote import archive
from . import confidential, look_api, looking, looks, metrics, promql
from .classify import Known
from .confidential import NO_ALERT, NOTHING, Alert, Confidential
from .data_rules import NO_DATABASE, DatabaseSpec
from .files import LogSource
from .look_api import ApiAddress
from .promql import NO_GATE, Gate
from .rules import begin, being_watcher, changing, grave, is_watched, load, open_alarms, save, step
from .server_log import UNKNOWN, ServerLog
from .sources import LogSpec, from_spec
from .state import Alarm, Ended, Rules, WatchState
from .textfile import NOWHERE, Target


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@dataclass(frozen=True)
class Config:
    """What :func:`prepare` keeps for the steps: where each log is, by name (``api``, ``database``), the database to
    compare, how its server logs, where the figures for monitoring go, what Prometheus is asked, and where the API is.
    (Until 0.1 the webhook too.)"""

    sources: dict[str, LogSpec]
    database: DatabaseSpec = NO_DATABASE
    server: ServerLog = UNKNOWN
    metrics: Target = NOWHERE
    alert: Alert = NO_ALERT
    promql: Gate = NO_GATE
    api: ApiAddress = look_api.UNKNOWN

    def opened(self) -> dict[str, LogSource]:
        return {name: from_spec(spec) for name, spec in self.sources.items()}


@dataclass(frozen=True)
class Message:
    """What a webhook gets: the same keys as the notifications of the deploy itself."""

    stack: str
    release: str
    message: str
    alarm: Alarm
    event: str


_LOG = "watch.log"
_MAIN = "import sys\nfrom papdeploy.logwatch.command import main\nsys.exit(main(sys.argv[1:]))\n"


def prepare(
    folder: Path,
    specs: Mapping[str, LogSpec],
    *,
    hours: float,
    interval_s: float,
    rules: Rules,
    redactor: Optional[Redactor] = None,
    database: DatabaseSpec = NO_DATABASE,
    server: ServerLog = UNKNOWN,
    target: Target = NOWHERE,
    gate: Gate = NO_GATE,
    api: ApiAddress = look_api.UNKNOWN,
) -> WatchState:
    """Take the marks and the baseline, before the new version starts."""
    config = Config(dict(specs), database, server, target, promql=gate, api=api)
    limits = {"hours": hours, "interval_s": interval_s}
    known = Known(server)
    state = begin(folder.name, config.opened(), **limits, rules=rules, at=now(), redactor=redactor, known=known)
    write_durably(folder / "watch-config.json", json.dumps(as_object(config)).encode())
    save(folder, state)
    return state


def remark(folder: Path) -> bool:
    """Move the marks to the present end of the logs, when the new version is about to start: what the old one logged
    while it was stopped is no finding. False if no watch was prepared, or a log cannot be read just now (the steps say
    so when it stays that way)."""
    if load(folder) is None:
        return False
    sources = configured(folder).opened()
    with changing(folder):
        try:
            marks = {name: source.now() for name, source in sources.items()}
        except PapError:
            return False
        save(folder, replace(_loaded(folder), marks=marks, started=now(), heartbeat=now()))
    return True


def look(folder: Path, redactor: Optional[Redactor] = None) -> WatchState:
    """Read once what was logged since the activation; starts so far were caused by the activation itself."""
    sources = configured(folder).opened()
    with changing(folder):
        state, known = _loaded(folder), _known(folder)
        for _ in range(2):  # once more for a record that still grew
            state = step(state, sources, now(), settling=True, redactor=redactor, known=known)
        save(folder, state)
    return state


def first(
    folder: Path,
    *,
    seconds: float,
    poll_s: float = 1.0,
    redactor: Optional[Redactor] = None,
    known: Confidential = NOTHING,
) -> WatchState:
    """The first minute, within the deploy: step until ``seconds`` are over or an alarm is raised; the state then."""
    config, redactor = configured(folder), redactor or known.redactor()
    sources = config.opened()
    look(folder, redactor)
    with changing(folder):
        save(folder, replace(_loaded(folder), answered=True))  # the login smoke test has passed
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        time.sleep(max(0.0, min(poll_s, left)))
        found = looking.look(folder, config.api, config.database, _loaded(folder), known, now())
        with changing(folder):
            state = step(_loaded(folder), sources, now(), redactor=redactor, known=_known(folder))
            state = _judged(folder, state, found, redactor)
            save(folder, state)
        if grave(open_alarms(state)):
            return state
        if left <= poll_s:  # by now Prometheus knows something of the new version
            return _asked(folder, known.prometheus_token, patience_s=0.0)


def _asked(folder: Path, token: str, patience_s: float) -> WatchState:
    """The state after Prometheus was asked, unless another run has the API in its hands. Without the lock while it
    answers."""
    gate = configured(folder).promql
    found = () if looking.at_work(folder) else promql.look(folder, gate, token)
    with changing(folder):
        state = _loaded(folder)
        if found and state.ended is None:
            state = promql.judged(state, found, gate, now(), patience_s)
            save(folder, state)
    return state


def spawn(folder: Path, known: Confidential = NOTHING, python: str = "") -> int:
    """Start the watcher of a release, detached from this process and its terminal; what is confidential goes through a
    pipe. Returns its process id, once it shows that it lives; raises Unavailable if it does not."""
    if is_watched(folder):
        raise Refused("A watcher of this release runs already.")
    program = install(folder)
    with open(folder / _LOG, "ab", opener=_private) as log:
        process = subprocess.Popen(
            [python or sys.executable, str(program), "run", str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin:  # it may have ended: its log says why
        process.stdin.write(known.text().encode())
    deadline = time.monotonic() + 20
    while not is_watched(folder):
        if process.poll() is not None or time.monotonic() > deadline:
            said = (folder / _LOG).read_text(encoding="utf-8", errors="replace").strip()
            raise Unavailable(
                f"The watcher did not start: {said.splitlines()[-1] if said else 'it said nothing'}",
                hint=f"Look at {folder / _LOG} on the target host.",
            )
        time.sleep(0.05)
    return process.pid


def install(folder: Path) -> Path:
    """Put the program beside the state: this package with a ``__main__``."""
    buffer = io.BytesIO(archive.whole())
    with zipfile.ZipFile(buffer, "a") as package:
        package.writestr("__main__.py", _MAIN)
    program = folder / "watch.zip"
    write_durably(program, buffer.getvalue())
    return program


def run(
    folder: Path, known: Confidential, clock: Callable[[], str] = now, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Step until the watch ends. What was not read when the watcher died is read now: the marks are in the state."""
    with being_watcher(folder):
        while True:
            began = clock()
            try:
                if one_step(folder, known, clock).ended is not None:
                    return
            except (OSError, StorageFailed) as error:  # it may pass; meanwhile the missing heartbeat is the alarm
                print(f"{now()} {error}", file=sys.stderr, flush=True)
            sleep(max(0.0, _loaded(folder).interval_s - seconds_between(began, clock())))


def one_step(folder: Path, known: Confidential, clock: Callable[[], str] = now) -> WatchState:
    """One step of the watch on disk: end it if a later release has taken over, else read on; send what is new."""
    config, redactor = configured(folder), known.redactor()
    sources = config.opened()
    # Without the lock: a person who acknowledges waits for that, and this may take seconds.
    found = looking.look(folder, config.api, config.database, _loaded(folder), known, clock())
    with changing(folder):
        state = _loaded(folder)
        if state.ended is None:
            why = overtaken(Journal(folder))
            if why:
                state = replace(state, ended=Ended(clock(), why))
            else:
                state = step(state, sources, clock(), redactor=redactor, known=_known(folder))
                state = _judged(folder, state, found, redactor)
            save(folder, state)
    if state.ended is not None:
        confidential.forget(folder)
    else:
        state = _asked(folder, known.prometheus_token, state.rules.blind_s)
    _send_alarms(folder, known.alert if known.alert.url else config.alert)
    _publish(folder, redactor)
    return state


def _publish(folder: Path, redactor: Redactor) -> None:
    problem = metrics.publish(State(folder.parent.parent, redactor), configured(folder).metrics)
    if problem:
        _note(folder, visible(problem))


def _note(folder: Path, said: str) -> None:
    """Add a line to the watch's log, unless it is the last one already: cron would send a mail a minute."""
    with contextlib.suppress(OSError), open(folder / _LOG, "ab+", opener=_private) as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
        if not log.read().rstrip().endswith(said.encode()):
            log.write(f"{now()} {said}\n".encode())


def _judged(folder: Path, state: WatchState, found: Optional[looking.Found], redactor: Redactor) -> WatchState:
    """The state after a look, which is recorded; a look that was not due changes nothing."""
    if found is None:
        return state
    state, look = looking.judged(folder, state, found, redactor)
    looks.append(folder, look)
    return state


def end(folder: Path, why: str) -> None:
    """End the watch deliberately, if there is one: its silence is then no alarm."""
    with changing(folder), contextlib.suppress(VerificationFailed):  # one that is damaged goes on with nothing
        state = load(folder)
        if state is not None and state.ended is None:
            save(folder, replace(state, ended=Ended(now(), why)))
    confidential.forget(folder)


def overtaken(journal: Journal) -> str:
    """Why this release is no longer the one in force, or nothing: it was rolled back, or a later one was activated."""
    ended = journal.ended()
    if ended and ended.event != "finished":
        return f"the release was {ended.event.replace('_', ' ')}"
    for later in State(journal.folder.parent.parent).later_than(journal):
        if later.has("activate", "begin") or later.has("rollback", "begin"):
            return f"release {later.release} took over"
    return ""


def _send_alarms(folder: Path, alert: Alert) -> None:
    """Tell the webhook of each alarm once; what could not be told is tried again at the next step."""
    if not alert.url:
        return
    state = _loaded(folder)
    for number, alarm in enumerate(state.alarms):
        if alarm.told or alarm.acknowledged:
            continue
        try:
            post(alert, message(alert.stack, state.release, alarm))
            told = replace(alarm, told=now())
        except PapError as error:
            told = replace(alarm, not_told=f"{now()}: {error.message}")
        with changing(folder):
            state = _loaded(folder)
            alarms = list(state.alarms)
            alarms[number] = replace(told, acknowledged=alarms[number].acknowledged)
            save(folder, replace(state, alarms=tuple(alarms)))


def message(stack: str, release: str, alarm: Alarm) -> Message:
    text = visible(f"{stack}: alarm after release {release}: {alarm.why}")
    return Message(stack, release, text, alarm, event="alarm")


def post(alert: Alert, body: Message) -> None:
    """Tell the webhook. Raises Unavailable if it was not taken."""
    headers = {name: str(value) for name, value in alert.headers.items()}
    webhook.post(alert.url, as_object(body), form=alert.format or "json", headers=headers)


def configured(folder: Path) -> Config:
    """What :func:`prepare` kept. Raises Refused if there is nothing."""
    config = in_file(folder / "watch-config.json")
    if config is None:
        raise Refused("No watch was prepared for this release.")
    return read_known(Config, config, "watch-config.json")


def _known(folder: Path) -> Known:
    """How the server logs, and when this release had its fence up: sessions that it ended are no trouble."""
    fences: list[tuple[str, str]] = []
    begun = ""
    for entry in Journal(folder).records():
        phase = entry.phase.rpartition(".")[2]
        if entry.event == "begin" and phase == "fence":
            begun = entry.at
        elif entry.event == "begin" and phase == "activate" and begun:
            fences.append((begun, entry.at))
            begun = ""
    return Known(configured(folder).server, (*fences, (begun, now())) if begun else tuple(fences))


def _loaded(folder: Path) -> WatchState:
    state = load(folder)
    if state is None:
        raise Refused("No watch was prepared for this release.")
    return state
