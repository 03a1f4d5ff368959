"""Drop what rollbacks quarantined, because a person says so: failed databases and snapshots of what went back."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from .. import databases
from ..app.stack import Stack
from ..core.errors import Refused
from ..releases.run import Run
from . import retention
from .result import Printed, Result


@dataclass(frozen=True)
class Dropped(Result):
    """The names of the databases that were, or would be, dropped."""

    changed: bool
    dropped: Sequence[str]


def run(stack: Stack, release: str, who: Run, hold: Sequence[str] = (), *, check_mode: bool = False) -> Dropped:
    """Drop them (only those of ``release``, if it names one). Raises Refused while another run is at work, or a release
    unfinished."""
    if release:
        stack.state.journal(release)
    lock = stack.state.lock.by(who)
    lock.refuse_held()
    databases.refuse_other_stack(stack.database)
    with contextlib.nullcontext("drop") if check_mode else lock.alone("drop") as name:
        unfinished = stack.state.unfinished()
        if unfinished:
            raise Refused(
                f"Release {unfinished.release} of {stack.label} is unfinished, and may still need what was kept.",
                hint=f"End it first: ansible-playbook rollback.yml -l {stack.name}",
            )
        done, staying = retention.dropped(stack, release, hold, run=name, check_mode=check_mode)
    lines = [*done.lines, *staying] or [f"{stack.label}: no database of a release that was rolled back is kept"]
    status = "warning" if staying or len(done.lines) > len(done.removed) else ""
    return Dropped(Printed("drop", lines, status), bool(done.removed), [entry.name for entry in done.removed])
