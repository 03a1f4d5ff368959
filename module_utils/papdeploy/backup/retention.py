"""Which backups and kept databases may go: by count and age, never what a release still refers to."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..core.text import plural
from ..databases import drop_created, existing
from ..errors import Refused
from ..postgres import Database
from .manifest import GLOBALS, SUFFIX, Backup, load_manifest

DAY_S = 86400.0


@dataclass(frozen=True)
class Judged:
    """One backup and what is to become of it. ``why`` is a reason to keep it, or empty if it may go."""

    backup: Backup
    age_days: float
    why: str


def judge(
    folder: Path | str,
    *,
    stack: str,
    keep: int,
    keep_days: float,
    pinned: Iterable[str] = (),
    now: Optional[float] = None,
) -> list[Judged]:
    """Every finished backup of ``stack`` in ``folder``, newest first. Kept: the newest ``keep``, what is younger than
    ``keep_days``, and the ``pinned`` ones (paths, file names or SHA-256). A backup whose manifest cannot be read
    is kept: a person must look at it."""
    now = time.time() if now is None else now
    names = {Path(pin).name for pin in pinned} | set(pinned)
    found: list[tuple[float, Backup]] = []
    for path in Path(folder).glob(f"[!.]*{SUFFIX}"):
        try:
            taken = load_manifest(path)
        except Refused:
            continue
        if taken.manifest["stack"] == stack:
            found.append((_started(taken), taken))
    found.sort(key=lambda entry: (entry[0], entry[1].path.name), reverse=True)
    judged: list[Judged] = []
    for place, (started, taken) in enumerate(found):
        age = (now - started) / DAY_S
        if taken.path.name in names or taken.manifest["sha256"] in names:
            why = "a release refers to it"
        elif place < keep:
            why = f"one of the newest {keep}"
        elif age < keep_days:
            why = f"younger than {plural(keep_days, 'day')}"
        else:
            why = ""
        judged.append(Judged(taken, age, why))
    return judged


def apply(
    folder: Path | str,
    *,
    stack: str,
    keep: int,
    keep_days: float,
    pinned: Iterable[str] = (),
    now: Optional[float] = None,
    check_mode: bool = False,
) -> list[str]:
    """Remove what ``judge`` lets go; the paths of the archives. The manifest goes first: what is half removed is then
    no backup any more. The newest backup always stays."""
    judged = judge(folder, stack=stack, keep=max(keep, 1), keep_days=keep_days, pinned=pinned, now=now)
    gone = [entry.backup.path for entry in judged if not entry.why]
    if not check_mode:
        for path in gone:
            for suffix in (SUFFIX, "", GLOBALS):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
    return [str(path) for path in gone]


def _started(taken: Backup) -> float:
    return float(calendar.timegm(time.strptime(taken.manifest["started"], "%Y-%m-%dT%H:%M:%SZ")))


def failed_databases(
    database: Database, *, keep_days: float, now: Optional[float] = None, check_mode: bool = False
) -> list[str]:
    """Drop databases that rollbacks kept aside more than ``keep_days`` ago; their names. Zero days means: all of them,
    because somebody asked for it."""
    now = time.time() if now is None else now
    gone: list[str] = []
    for entry in existing(database):
        if entry["kind"] != "failed":
            continue
        since = float(calendar.timegm(time.strptime(entry["since"], "%Y-%m-%dT%H:%M:%SZ")))
        if now - since < keep_days * DAY_S:
            continue
        gone.append(entry["name"])
        if not check_mode:
            drop_created(database, entry["release"], ("failed",))
    return gone
