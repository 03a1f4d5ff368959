"""The releases of a stack as a list: when, who, what, verdict, how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

from ..core.clock import seconds_between
from ..core.records import FROM, TO
from ..logwatch import rules
from ..releases import downtime
from ..releases.journal import Journal, State
from ..releases.records import Begun, Ended, Entry, Failed, Migrated, newest
from . import format


@dataclass(frozen=True)
class Summary:
    """One release in a few facts; None for what its journal does not tell. ``old`` ran, ``new`` was to run;
    ``migrations`` counts those applied; ``failed`` is the phase."""

    release: str
    at: Optional[str]
    who: Optional[str]
    old: Optional[str] = field(metadata=FROM)
    new: Optional[str] = field(metadata=TO)
    migrations: int
    verdict: str
    failed: Optional[str]
    message: Optional[str]
    seconds: Optional[float]
    unavailable_s: Optional[float]
    watch: str


def releases(state: State, limit: int = 20) -> list[Summary]:
    """The newest ``limit`` releases, newest first."""
    return [row(journal) for journal in reversed(state.releases()[-limit:])]


def row(journal: Journal) -> Summary:
    """The facts of one release."""
    entries = journal.records()
    begun = next((e for e in entries if isinstance(e, Begun)), Begun())
    end = journal.ended()
    # A release that finished and was rolled back later took as long as its deploy did.
    deployed = next((e for e in entries if isinstance(e, Ended) and e.event == "finished"), end)
    failed = next((e for e in entries if isinstance(e, Failed)), None)
    migrated = newest(entries, Migrated)
    away = deployed.unavailable_s if deployed else None
    return Summary(
        release=journal.release,
        at=begun.at or None,
        who=begun.by if begun.who else None,
        old=format.short_label(begun.old.label) or None,
        new=format.short_label(begun.new.label) or None,
        migrations=len(migrated.applied) if migrated else 0,
        verdict=end.event if end else "unfinished",
        failed=failed.phase if failed else None,
        message=failed.message or None if failed else None,
        seconds=_seconds(begun, deployed),
        unavailable_s=downtime.of_failed_deploy(journal.records()) if away is None else away,
        # Before a release has finished no watcher runs yet, and none is missing.
        watch=rules.status(journal.folder).state if end and end.event == "finished" else "none",
    )


def _seconds(begun: Entry, end: Optional[Entry]) -> Optional[float]:
    if not end:
        return None
    if end.seconds is not None:
        return float(end.seconds)
    return round(seconds_between(begun.at, end.at), 1) if begun.at else None


def lines(rows: Sequence[Summary]) -> list[str]:
    """The list as a table for the terminal."""
    head = ("when", "release", "who", "what", "verdict", "took", "away", "watch")
    table = [head]
    for each in rows:
        verdict = each.verdict.replace("_", " ")
        if each.failed and each.verdict != "finished":
            verdict += f" at {each.failed.replace('_', ' ')}"
        count = each.migrations
        what = f"{each.old or '?'} → {each.new or '?'}" + (f" +{count}" if count else "")
        table.append(
            (
                f"{each.at[:10]} {each.at[11:16]}" if each.at else "?",
                each.release,
                each.who or "?",
                what,
                verdict,
                format.seconds(each.seconds) if each.seconds is not None else "-",
                format.seconds(each.unavailable_s) if each.unavailable_s is not None else "-",
                each.watch if each.watch != "none" else "-",
            )
        )
    widths = [max(len(line[column]) for line in table) for column in range(len(head))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in table]
