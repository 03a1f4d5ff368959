"""The backup as a phase: taken, proven, noted in the release's journal; or by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import backup
from ..journal import now, private_folder
from ..stack import Stack
from .progress import Progress


@dataclass(frozen=True)
class Options:
    """What the inventory decides about backups."""

    proof: str = "full"
    keep_copy: bool = False
    verify: str = ""
    encrypt: Mapping[str, Any] = field(default_factory=dict)
    keep: int = 10
    keep_days: int = 14


def run(stack: Stack, release: str, options: Options) -> dict[str, Any]:
    """Take a backup and prove it, or prove an existing one. Raises what is wrong with it."""
    if options.verify:
        with Progress(private_folder(stack.state.folder), "backup") as say:
            backup.verify(stack.database, Path(options.verify), emit=say)
        proven = backup.load_manifest(options.verify)
        return {"backup": proven.as_dict(), "pap": _pap(f"{proven.path}: {proven.sentence()}")}
    if release:
        with stack.state.working(release) as journal, journal.checkpoint("backup") as done:
            made = _take(stack, release, options)
            done.update(made.as_dict())
    else:
        private_folder(stack.state.folder)
        made = _take(stack, "manual-" + now().replace(":", "").replace("-", "")[:15], options)
    return {"changed": True, "backup": made.as_dict(), "pap": _pap(made.sentence())}


def _take(stack: Stack, release: str, options: Options) -> backup.Backup:
    with Progress(stack.state.folder, "backup") as say:
        return backup.take(
            stack.database.as_release(release),
            private_folder(stack.state.backups_folder),
            stack=stack.name,
            release=release,
            proof=options.proof,
            keep_scratch=options.keep_copy,
            encryption=backup.Encryption(**options.encrypt) if options.encrypt else None,
            emit=say,
        )


def _pap(line: str) -> dict[str, Any]:
    return {"phase": "backup", "lines": [line]}
