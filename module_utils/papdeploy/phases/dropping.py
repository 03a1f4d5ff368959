"""Drop what rollbacks kept aside, because a person says so: failed databases, and snapshots of what was taken back."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from .. import databases
from ..core.text import size
from ..errors import Refused
from ..stack import Stack


def run(stack: Stack, release: str, who: Mapping[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
    """Drop them (only those of ``release``, if it names one). Raises Refused while a release is unfinished or held."""
    if release:
        stack.state.journal(release)
    databases.refuse_other_stack(stack.database)
    unfinished = stack.state.unfinished()
    if unfinished:
        raise Refused(
            f"Release {unfinished.release} of {stack.label} is unfinished, and may still need what was kept.",
            hint=f"End it first: ansible-playbook rollback.yml -l {stack.name}",
        )
    with contextlib.nullcontext() if check_mode else stack.state.lock.by(who).alone("drop"):
        found = [entry for entry in databases.existing(stack.database) if _is_over(stack, entry, release)]
        dropped, lines = [], []
        for entry in found:
            try:
                databases.drop_named(stack.database, entry["name"], check_mode=check_mode)
            except Refused as error:
                lines.append(f"left {entry['name']}: {error.message}")
                continue
            dropped.append(entry["name"])
            verb = "would drop" if check_mode else "dropped"
            lines.append(f"{verb} {entry['name']} ({size(entry['bytes'])}, kept since {entry['since']})")
    lines = lines or [f"{stack.label}: no database of a release that was taken back is kept"]
    return {
        "changed": bool(dropped),
        "dropped": dropped,
        "pap": {"phase": "drop", "lines": lines, "status": "warning" if len(dropped) < len(found) else ""},
    }


def _is_over(stack: Stack, entry: Mapping[str, Any], release: str) -> bool:
    """Kept aside by a rollback, or the snapshot of a release that is not in force any more."""
    if release and entry["release"] != release:
        return False
    if entry["kind"] != "snap":
        return bool(entry["kind"] == "failed")
    known = {journal.release: journal.end() for journal in stack.state.releases()}
    end = known.get(str(entry["release"]))
    return end is not None and end["event"] != "finished"
