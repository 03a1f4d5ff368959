"""The releases of a stack as a list: when, who, what, verdict, how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.clock import seconds_between
from ..logwatch import rules
from ..releases import downtime
from ..releases.journal import Journal, State
from . import format


def releases(state: State, limit: int = 20) -> list[dict[str, Any]]:
    """The newest ``limit`` releases, newest first."""
    return [row(journal) for journal in reversed(state.releases()[-limit:])]


def row(journal: Journal) -> dict[str, Any]:
    """One release in a few facts; None for what its journal does not tell."""
    entries = journal.entries()
    header: Mapping[str, Any] = next((e for e in entries if (e["phase"], e["event"]) == ("release", "begin")), {})
    end = journal.end()
    # A release that finished and was rolled back later took as long as its deploy did.
    deployed = next((e for e in entries if (e["phase"], e["event"]) == ("release", "finished")), end)
    failed = next((e for e in entries if e["event"] == "failed"), None)
    migrated = journal.last("migrate") or {}
    who = header.get("who") or {}
    watched = rules.status(journal.folder)
    return {
        "release": journal.release,
        "at": header.get("at"),
        "who": f"{who['user']}@{who.get('host', '?')}" if who.get("user") else None,
        "from": format.short(header.get("from")) or None,
        "to": format.short(header.get("to")) or None,
        "migrations": len(migrated.get("applied") or []),
        "verdict": end["event"] if end else "unfinished",
        "failed": failed["phase"] if failed else None,
        "message": failed.get("message") if failed else None,
        "seconds": _seconds(header, deployed),
        "unavailable_s": deployed["unavailable_s"]
        if deployed and "unavailable_s" in deployed
        else downtime.of_failed_deploy(entries),
        # Before a release has finished no watcher runs yet, and none is missing.
        "watch": watched.state if end and end["event"] == "finished" else "none",
    }


def _seconds(header: Mapping[str, Any], end: Mapping[str, Any] | None) -> float | None:
    if not end:
        return None
    if end.get("seconds") is not None:
        return float(end["seconds"])
    return round(seconds_between(header["at"], end["at"]), 1) if header.get("at") else None


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The list as a table for the terminal."""
    head = ("when", "release", "who", "what", "verdict", "took", "away", "watch")
    table = [head]
    for each in rows:
        verdict = str(each["verdict"]).replace("_", " ")
        if each["failed"] and each["verdict"] != "finished":
            verdict += f" at {each['failed'].replace('_', ' ')}"
        count = each["migrations"]
        what = f"{each['from'] or '?'} → {each['to'] or '?'}" + (f" +{count}" if count else "")
        table.append(
            (
                f"{each['at'][:10]} {each['at'][11:16]}" if each["at"] else "?",
                each["release"],
                each["who"] or "?",
                what,
                verdict,
                format.seconds(each["seconds"]) if each["seconds"] is not None else "-",
                format.seconds(each["unavailable_s"]) if each["unavailable_s"] is not None else "-",
                each["watch"] if each["watch"] != "none" else "-",
            )
        )
    widths = [max(len(line[column]) for line in table) for column in range(len(head))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in table]
