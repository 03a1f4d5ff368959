"""The end of a successful release: record its schema, clean up, release the deploy lock, say what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from .. import databases
from ..app.stack import Stack
from ..core import storage, text
from ..core.clock import now, seconds_between
from ..core.errors import PapError
from ..releases import downtime
from ..releases.api_absence import absence, sentence
from ..releases.journal import Journal
from ..releases.records import Backup, Begun, Migrated, Rehearsed, newest
from ..schema import fingerprint
from . import catalogs, data_check, rehearsal_limits, retention
from .result import Printed, Result


@dataclass(frozen=True)
class Finished(Result):
    """Seconds; ``unavailable_s`` is None where that is not known."""

    changed: bool
    unavailable_s: Optional[float]
    seconds: float


def run(stack: Stack, release: str, keep_containers: int = 1, hold: Sequence[str] = ()) -> Finished:
    """End ``release`` as finished. What it made for itself is dropped, and the restore points of earlier releases but
    for those in ``hold``; its backup stays, and the last ``keep_containers`` former containers of the API."""
    with stack.state.working(release) as journal:
        header = journal.opening()
        lost = data_check.check(stack, journal, data_check.AT_END, final=True)
        catalog = catalogs.left_by(stack, journal, header.new)
        databases.cleanup_leftovers(stack.database)
        away = unavailable_s(journal)
        seconds = seconds_between(header.at, now())
        journal.append(
            "release",
            "finished",
            seconds=round(seconds, 2),
            unavailable_s=away,
            schema_fingerprint=fingerprint(catalog),
        )
        # Its own snapshot stays: the restore point until the next release has finished.
        dropped = retention.superseded(stack, hold, release).noted(journal)
        tidied = [*dropped.lines, *_tidy(stack, keep_containers)]
    stack.state.lock.release(release)
    full = storage.warning(stack.state.folder)
    lines = [*_lines(stack, journal, header, away, seconds), *lost, *tidied, *full]
    return Finished(Printed("finished", lines, "warning" if full else ""), True, away, round(seconds, 2))


def _tidy(stack: Stack, keep: int) -> list[str]:
    """What was removed, as a line; or why not: that is no reason to take a good release back."""
    try:
        gone = stack.api.tidy(keep)
    except PapError as error:
        return [f"former containers could not be removed: {error}"]
    return [f"removed  {', '.join(gone)}"] if gone else []


def unavailable_s(journal: Journal) -> Optional[float]:
    """Seconds for which the deploy kept users waiting."""
    return downtime.of_deploy(journal.records())


def _lines(stack: Stack, journal: Journal, header: Begun, away: Optional[float], seconds: float) -> list[str]:
    entries = journal.records()
    migrated, backup = newest(entries, Migrated), newest(entries, Backup)
    count, gone = len(migrated.applied) if migrated else 0, absence(entries)
    return [
        f"{stack.label} runs {header.new.label}; {text.plural(count, 'migration')} applied,"
        f" {text.seconds(seconds)} in all, API unavailable for {'?' if away is None else text.seconds(away)}"
        f"{rehearsal_limits.expected(newest(entries, Rehearsed), away)}",
        *([sentence(gone)] if gone else []),
        f"backup   {backup.path if backup and backup.path else 'none'}",
        f"journal  {journal.path}",
        f"back     ansible-playbook rollback.yml -l {stack.name}",
    ]
