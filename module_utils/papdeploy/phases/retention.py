"""Retention as part of other phases: see what there is, decide, remove what may go, and write down what went."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from .. import databases
from ..backup import folder, retention
from ..backup.retention import Decision, Owner, Release, Settings, Thing
from ..core.clock import epoch, from_epoch, now, utc_minute
from ..core.durable import private_folder
from ..core.text import age, printable, size
from ..databases.names import maintenance
from ..errors import PapError
from ..journal import Journal, State
from ..postgres import Database
from ..stack import Stack

FEW = 3  # names in a line


@dataclass(frozen=True)
class Found:
    """What there is and what was decided on it, at ``at`` (seconds since 1970). ``notes``: what could not be read, or
    is named and not there."""

    at: float
    decisions: Sequence[Decision]
    notes: Sequence[str]


def log(state: State) -> Journal:
    """The memory of retention: what was seen, what was announced, what went."""
    return Journal(state.folder / "retention")


def forecast(stack: Stack, settings: Settings, hold: Sequence[str]) -> list[str]:
    """What the next backup will remove, what is to follow, and what stays for which reason; nothing is changed. As if
    that backup were there."""
    try:
        found = _look(stack, settings, hold, coming=True)
    except PapError as error:
        return [f"what will be removed is not known: {error.message}"]
    lines = [f"the next backup removes {_about(d, found.at)}: {d.why}" for d in found.decisions if d.action == "remove"]
    return [
        *(lines or ["the next backup removes nothing"]),
        *_staying(found, "the one after it", brief=False),
        *found.notes,
    ]


def apply(stack: Stack, settings: Settings, hold: Sequence[str], *, run: str, fresh: Sequence[str] = ()) -> list[str]:
    """Remove what may go, after a backup that ``run`` has taken (``fresh``). Lines for a person; what cannot be read or
    removed is one of them, and stops nothing."""
    try:
        found = _look(stack, settings, hold, fresh=fresh)
        lines = _remove(stack, found.decisions, run, found.at)
        _remember(stack, found, run)
    except (PapError, OSError) as error:
        return [f"nothing old was removed: {error}"]
    return [*lines, *_staying(found, "the next backup", brief=True), *found.notes]


def superseded(stack: Stack, hold: Sequence[str], run: str) -> list[str]:
    """Drop the restore points of releases before ``run``, which has finished. As :func:`apply`."""
    try:
        things = _databases(stack.database, stack.state)
        found = _decided(stack, things, Settings(finished=True), hold, Owner("", "", ""), epoch(now()))
        chosen = [d for d in found.decisions if d.thing.kind == "snap" and d.action != "keep"]
        lines = _remove(stack, chosen, run, found.at)
    except (PapError, OSError) as error:
        return [f"no restore point was dropped: {error}"]
    return [*lines, *(f"left {d.thing.name}: {d.why}" for d in chosen if d.action == "report")]


def asked(stack: Stack, release: str, hold: Sequence[str]) -> Sequence[Decision]:
    """What is decided on set-aside databases where a person wants them dropped: those of ``release``, or all."""
    things = _databases(stack.database, stack.state)
    settings = Settings(asked=release or retention.EVERYTHING)
    return _decided(stack, things, settings, hold, Owner("", "", ""), epoch(now())).decisions


def needs_of(state: State) -> retention.Pins:
    """What the releases of this stack need."""
    return retention.pins([_release(journal) for journal in state.releases()])


def rows_only_in(journal: Journal, name: str) -> Optional[int]:
    """Rows in the database ``name``, which a rollback of that release set aside, that nothing else has; None if that is
    not known."""
    done = journal.last("rollback", "done")
    counted = journal.last("rollback", "counted") or done
    if done is None or counted is None or done.get("kept") != name:
        return None
    certain = counted.get("cost_certain")
    if certain is None and done.get("way") != "nothing":  # written by an earlier version
        begun = journal.last("rollback", "begin") or {}
        certain = (begun.get("plan") or {}).get("cost_certain")
    return int(counted["rows_lost"]) if certain else None


def _release(journal: Journal) -> Release:
    end = journal.end() or {}
    entries = [journal.last(phase) or {} for phase in ("backup", "restore_point")]
    needs = [str(entry[key]) for entry in entries for key in ("path", "sha256", "database") if entry.get(key)]
    return Release(journal.release, str(end.get("event") or ""), str(end.get("way") or ""), tuple(needs))


def _look(
    stack: Stack, settings: Settings, hold: Sequence[str], *, fresh: Sequence[str] = (), coming: bool = False
) -> Found:
    at = epoch(now())
    owner = Owner(stack.name, stack.database.conninfo.dbname, maintenance(stack.database).facts().identifier)
    seen = [key for entry in _entries(stack.state, "done") for key in entry.get("new") or ()]
    things = folder.numbered(_interrupted(stack.state, folder.scan(stack.state.backups_folder)), seen, at)
    if coming and settings.proof:
        newest = 1 + max((thing.number for thing in things), default=0)
        things.append(Thing("backup", "", owner=owner, at=at, number=newest, proof=settings.proof))
        fresh = ("",)
    notes = []
    try:
        things += _databases(stack.database, stack.state)
    except PapError as error:
        notes.append(f"databases that releases left were not looked at: {error.message}")
    found = _decided(stack, things, settings, hold, owner, at, fresh)
    return replace(found, notes=[*notes, *found.notes])


def _decided(
    stack: Stack,
    things: Sequence[Thing],
    settings: Settings,
    hold: Sequence[str],
    owner: Owner,
    at: float,
    fresh: Sequence[str] = (),
) -> Found:
    held = [replace(thing, hold=thing.hold or _held(thing, hold)) for thing in things]
    last = (_entries(stack.state, "done") or [{}])[-1]
    decisions = retention.decide(
        held,
        owner=owner,
        pins=needs_of(stack.state),
        fresh=fresh,
        said={key: epoch(when) for key, when in (last.get("said") or {}).items()},
        settings=settings,
        now=at,
    )
    idle = [word for word in hold if word != retention.EVERYTHING and not any(_held(thing, [word]) for thing in things)]
    notes = [f"backup_hold names {', '.join(idle)}, and nothing of that name is here"] if idle else []
    return Found(at, [decision for decision in decisions if decision.thing.name], notes)


def _held(thing: Thing, hold: Sequence[str]) -> str:
    word = next((word for word in hold if word == retention.EVERYTHING or word in thing.keys), "")
    return f"backup_hold names {word}" if word else ""


def _interrupted(state: State, things: Iterable[Thing]) -> list[Thing]:
    """``things``, with what an interrupted removal of ours left of a backup: its manifest."""
    begun = {str(entry.get("name")) for entry in _entries(state, "removing")}
    return [
        replace(thing, kind="rest") if thing.name in begun and not Path(thing.name).exists() else thing
        for thing in things
    ]


def _entries(state: State, event: str) -> list[dict[str, Any]]:
    return [entry for entry in log(state).entries() if entry.get("event") == event]


def _databases(database: Database, state: State) -> list[Thing]:
    """Restore points, and what rollbacks set aside."""
    known = {journal.release: journal for journal in state.releases()}
    found = []
    for entry in databases.existing(database):
        if entry["kind"] not in ("failed", "snap"):
            continue
        journal = known.get(str(entry["release"]))
        found.append(
            Thing(
                str(entry["kind"]),
                str(entry["name"]),
                release=str(entry["release"]),
                at=epoch(str(entry["since"])) if entry["since"] else None,
                bytes=entry["bytes"],
                rows=rows_only_in(journal, entry["name"]) if journal and entry["kind"] == "failed" else None,
            )
        )
    return found


def _remove(stack: Stack, decisions: Iterable[Decision], run: str, at: float) -> list[str]:
    """Remove what was decided so, one after the other; each is written down before it goes."""
    journal = Journal(private_folder(log(stack.state).folder))
    lines = []
    for decision in decisions:
        thing = decision.thing
        if decision.action != "remove":
            continue
        what = {**_noted(thing, at), "why": decision.why, "run": run}
        journal.append("retention", "removing", **what)
        try:
            if thing.kind in ("backup", "rest"):
                folder.remove(thing)
            else:
                databases.drop_created(stack.database, thing.release, (thing.kind,))
        except (OSError, PapError) as error:
            journal.append("retention", "failed", **what, message=str(error))
            lines.append(f"{_about(decision, at)} could not be removed: {error}")
            continue
        journal.append("retention", "removed", **what)
        lines.append(f"removed {_about(decision, at)}: {decision.why}")
    return lines


def _noted(thing: Thing, at: float) -> dict[str, Any]:
    days = round((at - thing.at) / retention.DAY_S, 2) if thing.at is not None else None
    return {
        **{key: getattr(thing, key) for key in ("kind", "name", "release", "bytes", "sha256", "proof")},
        "taken": utc_minute(thing.at) if thing.at is not None else None,
        "age_days": days,
    }


def _remember(stack: Stack, found: Found, run: str) -> None:
    """Write down which backups are here now, in their order, and what was announced."""
    seen = {key for entry in _entries(stack.state, "done") for key in entry.get("new") or ()}
    backups = sorted((d.thing for d in found.decisions if d.thing.kind == "backup"), key=lambda thing: thing.number)
    said = {d.thing.key: from_epoch(d.when) for d in found.decisions if d.when is not None}
    new = [thing.key for thing in backups if thing.key not in seen]
    Journal(private_folder(log(stack.state).folder)).append("retention", "done", run=run, new=new, said=said)


def _about(decision: Decision, at: float, *more: str) -> str:
    thing = decision.thing
    old = f"{age(at - thing.at)} old" if thing.at is not None and thing.at <= at else ""
    return f"{printable(thing.name)} ({', '.join(part for part in (size(thing.bytes), old, *more) if part)})"


def _staying(found: Found, following: str, *, brief: bool) -> list[str]:
    """What stays, and why: what goes soon and databases by name, the rest by its reason."""
    lines = []
    for decision in found.decisions:
        if decision.when is not None and decision.when <= found.at:
            lines.append(f"goes with {following}: {_about(decision, found.at, decision.why)}")
        elif decision.when is not None and not brief:
            goes = f"goes with a backup after {utc_minute(decision.when)}"
            lines.append(f"{goes}: {_about(decision, found.at, decision.why)}")
    if not brief:
        kept = [d for d in found.decisions if d.action == "keep" and d.when is None]
        backups = [d for d in kept if d.thing.kind == "backup"]
        lines += [f"kept {_named(group)}: {why}" for why, group in _by_reason(backups)]
        lines += [f"kept {_about(d, found.at)}: {d.why}" for d in kept if d.thing.kind != "backup"]
    left = [d for d in found.decisions if d.action == "report"]
    return [*lines, *(f"left {_named(group)}: {why}" for why, group in _by_reason(left))]


def _by_reason(decisions: Iterable[Decision]) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for decision in decisions:
        groups.setdefault(decision.why, []).append(decision.thing.name.rpartition("/")[2])
    return list(groups.items())


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(map(printable, names[:FEW])) + more
