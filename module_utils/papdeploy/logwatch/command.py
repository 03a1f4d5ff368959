"""The command line of ``watch.zip``: the watcher of a release, one step of a stack's watch, or the end of it.

``run <release folder>`` steps until its time is over; what is confidential comes from standard input. ``step <state
folder>`` is for a timer and for cron: one command for every release. ``end <state folder>`` ends the watch for good.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from pathlib import Path
from typing import Optional

from ..core.clock import now
from ..core.errors import PapError, Refused
from ..core.redact import Redactor
from ..core.visible import visible
from ..releases.journal import Journal, State
from . import confidential, process, rules
from .runners import CALLED_BY, STEPPED, SYSTEMD

_WELL, _FAILED, _USAGE, _OVER = 0, 1, 2, 3
_CALLED = ".watch-called"


def main(arguments: list[str]) -> int:
    """Exit codes: 0 well, 1 it could not be done, 2 wrong arguments, 3 (of ``step``) there is nothing to watch, and a
    timer may stop until the next deploy."""
    verbs = {"run": _run, "step": _step, "end": _end}
    if len(arguments) != 2 or arguments[0] not in verbs:
        print("usage: watch.zip run <release folder> | step <state folder> | end <state folder>", file=sys.stderr)
        return _USAGE
    with contextlib.suppress(KeyboardInterrupt):
        try:
            return verbs[arguments[0]](Path(arguments[1]))
        except (PapError, OSError) as error:
            print(visible(f"{now()} {Redactor().text(str(error))}"), file=sys.stderr)
            return _FAILED
    return _WELL


def _run(folder: Path) -> int:
    process.run(folder, confidential.from_text(sys.stdin.read()))
    return _WELL


def _step(folder: Path) -> int:
    _note_call(folder)
    journal = _in_force(folder)
    state = rules.load(journal.folder) if journal else None
    if journal is None or state is None or state.ended is not None:
        return _OVER
    if state.runner not in STEPPED or rules.is_watched(journal.folder):  # or the call before still works
        return _WELL
    known = confidential.kept(journal.folder)
    os.environ.update(known.environment)
    with rules.being_watcher(journal.folder):
        return _WELL if process.one_step(journal.folder, known).ended is None else _OVER


def _end(folder: Path) -> int:
    journal = _in_force(folder)
    state = rules.load(journal.folder) if journal else None
    if journal is None or state is None:
        raise Refused(f"There is no watch in {folder}.")
    if state.ended is None:
        process.end(journal.folder, f"ended by {getpass.getuser()}")
    print(rules.status(journal.folder).summary)
    return _WELL


def _in_force(folder: Path) -> Optional[Journal]:
    if not folder.is_dir():
        raise Refused(f"{folder} is no folder.", hint="Name the state folder of the stack (pap_state_dir).")
    return State(folder).last_finished()


def _note_call(folder: Path) -> None:
    """When ``step`` was called last, but for the timer: whether cron does is seen by nothing else."""
    if os.environ.get(CALLED_BY) == SYSTEMD:
        return
    with contextlib.suppress(OSError):  # a full disk is said by the step itself
        os.close(os.open(folder / _CALLED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        os.utime(folder / _CALLED)


def called(folder: Path) -> Optional[float]:
    """When cron called ``step`` last for this stack, in seconds since 1970; None for never."""
    try:
        return (folder / _CALLED).stat().st_mtime
    except FileNotFoundError:
        return None


def forget_calls(folder: Path) -> None:
    """They may have been those of a timer that is no more: a version before this one noted them too."""
    (folder / _CALLED).unlink(missing_ok=True)
