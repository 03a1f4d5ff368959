"""From the deploy to what makes the steps of the watch after it: chosen, started, seen to work, and said."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.errors import PapError
from ..core.text import age
from ..releases.journal import Journal, State
from . import command, confidential, process, rules, runners
from .confidential import Confidential
from .runners import AUTO, CRON, PROCESS, SYSTEMD, Choice, Timer
from .state import WatchState

_FRESH_S = 150.0  # cron calls each minute


@dataclass(frozen=True)
class Stack:
    name: str
    environment: str = ""

    @property
    def unit(self) -> str:
        return runners.unit_name(self.name, self.environment)

    @property
    def former_unit(self) -> str:
        """What it was called until 0.1, for all environments; its steps are of one release."""
        return f"pap-watch-{self.name}"


def start(state: State, journal: Journal, known: Confidential, wanted: str, stack: Stack) -> list[str]:
    """Have the watch of ``journal`` go on where it was; what a person should know of it. Raises Refused or Unavailable
    if nothing runs it then."""
    choice, folder = runners.choose(wanted), journal.folder
    runners.retire(stack.former_unit, state.folder)
    rules.end_hanging(folder)
    process.install(state.folder)
    if choice.manager is not None:
        try:
            how = _by_timer(state, folder, known, choice, stack)
        except PapError as error:
            if wanted != AUTO:
                raise
            choice = Choice(PROCESS, f"{choice.why}, but {error.message.rstrip('.')}")
    if choice.manager is None:
        if runners.retire(stack.unit):
            command.forget_calls(state.folder)
        how = _by_cron(state, folder, known) if choice.runner == CRON else _by_process(folder, known)
    until = f"{_loaded(folder).until[:16].replace('T', ' ')} UTC"
    return [
        f"goes on until {until} {how} ({choice.why})",
        f"see it: ansible-playbook watch.yml -l {stack.name}; end it before its time: {_shown(state, 'end')}",
    ]


def _by_timer(state: State, folder: Path, known: Confidential, choice: Choice, stack: Stack) -> str:
    assert choice.manager is not None
    found = _takes(folder, SYSTEMD, known)
    title = f"{stack.name} ({stack.environment})" if stack.environment else stack.name
    timer = Timer(stack.unit, title, _argv(state, "step"), state.folder.owner(), found.interval_s)
    try:
        runners.start(choice.manager, timer, lambda: _has_stepped(folder, found.steps))
    except PapError:
        confidential.forget(folder)
        _takes(folder, "")  # so that nobody waits for its next step
        raise
    look = f"systemctl {'--user ' if choice.manager.user else ''}status {stack.unit}.timer"
    return f"by a timer of systemd on the target host, every {found.interval_s:g} s: {look}"


def _has_stepped(folder: Path, steps: int) -> bool:
    found = _loaded(folder)
    return found.steps > steps or found.ended is not None


def _by_cron(state: State, folder: Path, known: Confidential) -> str:
    _takes(folder, CRON, known)
    at = command.called(state.folder)
    line = f"* * * * * {_shown(state, 'step')}"
    if at is not None and time.time() - at < _FRESH_S:
        return f"by cron on the target host, which called it {age(max(0.0, time.time() - at))} ago: {line}"
    when = "never" if at is None else f"not for {age(time.time() - at)}"
    return f"ONLY IF cron of {state.folder.owner()} on the target host has this line, which was called {when}: {line}"


def _by_process(folder: Path, known: Confidential) -> str:
    confidential.forget(folder)
    _takes(folder, PROCESS)
    return f"in process {process.spawn(folder, known)} on the target host"


def _takes(folder: Path, runner: str, known: Confidential | None = None) -> WatchState:
    """The state, which names its runner; what the steps of a timer or of cron must know is there before they begin."""
    if known is not None:
        confidential.keep(folder, known)
    with rules.changing(folder):
        found = replace(_loaded(folder), runner=runner)
        rules.save(folder, found)
    return found


def _loaded(folder: Path) -> WatchState:
    found = rules.load(folder)
    assert found is not None
    return found


def _argv(state: State, verb: str) -> list[str]:
    return [sys.executable, str(state.folder / "watch.zip"), verb, str(state.folder)]


def _shown(state: State, verb: str) -> str:
    return " ".join(map(shlex.quote, _argv(state, verb)))
