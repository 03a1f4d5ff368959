"""Drop what rollbacks quarantined, because a person says so: failed databases and snapshots of what went back."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from .. import databases
from ..app.stack import Stack
from ..core.errors import Refused
from . import retention


def run(
    stack: Stack, release: str, who: Mapping[str, Any], hold: Sequence[str] = (), *, check_mode: bool = False
) -> dict[str, Any]:
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
    lines = [*done.lines, *staying]
    return {
        "changed": bool(done.removed),
        "dropped": [entry.name for entry in done.removed],
        "pap": {
            "phase": "drop",
            "lines": lines or [f"{stack.label}: no database of a release that was rolled back is kept"],
            "status": "warning" if staying or len(done.lines) > len(done.removed) else "",
        },
    }
