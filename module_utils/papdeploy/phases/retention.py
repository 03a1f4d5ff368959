"""Retention as part of other phases: see what there is, decide, remove what may go, and write down what went."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from .. import databases
from ..app.stack import Stack
from ..backup import folder, retention
from ..backup.retention import Decision, Owner, Release, Settings, Thing
from ..core.clock import epoch, from_epoch, now, utc_minute
from ..core.durable import private_folder
from ..core.errors import PapError
from ..core.records import whole
from ..core.text import age, few, size
from ..core.visible import visible
from ..databases import write_snapshot
from ..databases.managed_names import maintenance
from ..databases.psql import Database
from ..releases import damage as damaged
from ..releases.damage import log
from ..releases.journal import Journal, State
from ..releases.parts import Removal
from ..releases.records import (
    Backup,
    Counted,
    E,
    Ended,
    Looked,
    Removed,
    RestorePoint,
    RolledBack,
    Swapped,
    newest,
)

FEW = 3  # names in a line
_NO_OWNER = Owner("", "", "")


@dataclass(frozen=True)
class Done:
    """What a run of retention did: ``lines`` for a person, ``removed`` for a journal."""

    lines: Sequence[str] = ()
    removed: Sequence[Removal] = ()

    def noted(self, journal: Journal) -> Done:
        """Written into the journal of the release that did it, if anything went."""
        if self.removed:
            journal.append("retention", "done", removed=whole(self.removed))
        return self


@dataclass(frozen=True)
class Found:
    """What there is and what was decided on it, at ``at`` (seconds since 1970). ``notes``: what could not be read, or
    is named and not there."""

    at: float
    decisions: Sequence[Decision]
    notes: Sequence[str]


def forecast(stack: Stack, settings: Settings, hold: Sequence[str]) -> list[str]:
    """What the next backup will remove, what is to follow, and what stays for which reason; nothing is changed. As if
    that backup were there."""
    try:
        found = _look(stack, settings, hold, coming=True)
    except PapError as error:
        return [f"what will be removed is not known: {error.message}"]
    going = [decision for decision in found.decisions if decision.action == "remove"]
    lines = [f"the next backup removes {_about(decision, found.at)}: {decision.why}" for decision in going]
    lines = lines or ["the next backup removes nothing"]
    return [*lines, *_staying(found, "the one after it", brief=False), *_offered(stack.state, found), *found.notes]


def apply(stack: Stack, settings: Settings, hold: Sequence[str], *, run: str, fresh: Sequence[str] = ()) -> Done:
    """Remove what may go, after a backup that ``run`` has taken (``fresh``). What cannot be read or removed is said,
    and stops nothing."""
    try:
        found = _look(stack, settings, hold, fresh=fresh)
        done = _remove(stack, found.decisions, run, found.at)
        _remember(stack.state, found, run)
    except (PapError, OSError) as error:
        return Done([f"nothing old was removed: {error}"])
    return replace(done, lines=[*done.lines, *_staying(found, "the next backup", brief=True), *found.notes])


def superseded(stack: Stack, hold: Sequence[str], run: str) -> Done:
    """Drop the restore points of releases before ``run``, which has finished. As :func:`apply`."""
    try:
        things = _databases(stack.database, stack.state)
        found = _decided(stack.state, things, Settings(finished=True), hold, _NO_OWNER, epoch(now()))
        chosen = [d for d in found.decisions if d.thing.kind == "snap" and d.action != "keep"]
        done = _remove(stack, chosen, run, found.at)
    except (PapError, OSError) as error:
        return Done([f"no restore point was dropped: {error}"])
    left = [f"left {decision.thing.name}: {decision.why}" for decision in chosen if decision.action == "report"]
    return replace(done, lines=[*done.lines, *left])


def dropped(stack: Stack, release: str, hold: Sequence[str], *, run: str, check_mode: bool) -> tuple[Done, list[str]]:
    """Drop what rollbacks set aside and restore points of what was rolled back, because a person asks for it: those of
    ``release``, or all. Also the lines on what stays. In check mode, what would be dropped. Raises PapError."""
    settings = Settings(asked=release or retention.EVERYTHING)
    things = _databases(stack.database, stack.state)
    found = _decided(stack.state, things, settings, hold, _NO_OWNER, epoch(now()))
    going = [decision for decision in found.decisions if decision.action == "remove"]
    staying = [d for d in found.decisions if d.action != "remove" and release in ("", d.thing.release)]
    lines = [f"left {_about(decision, found.at)}: {decision.why}" for decision in staying]
    if check_mode:
        would = [f"would drop {_about(decision, found.at)}" for decision in going]
        return Done(would, [_noted(decision.thing, found.at) for decision in going]), [*lines, *found.notes]
    return _remove(stack, going, run, found.at, verb="dropped"), [*lines, *found.notes]


def why_removed(state: State, path: str) -> str:
    """When and why retention removed the backup ``path``; empty if it did not."""
    gone = next((entry for entry in reversed(_entries(state, Removed, "removed")) if entry.name == path), None)
    return f"{Path(path).name} was removed at {gone.at}: {gone.why}" if gone else ""


def judged(state: State, path: str, sha256: str, damage: str) -> None:
    """Write down that a proof found the backup ``path`` damaged, or (empty ``damage``) whole."""
    journal = Journal(private_folder(log(state).folder))
    journal.append("retention", "judged", name=path, sha256=sha256, damage=damage)


def rows_only_in(database: Database, journal: Journal, name: str) -> Optional[int]:
    """Rows in the database ``name``, which a rollback of that release set aside, that nothing else has: those that the
    rollback left behind, with whatever else went back, and what was written there since. None if that is not known."""
    entries = journal.records()
    done, counted, swapped = newest(entries, RolledBack), newest(entries, Counted), newest(entries, Swapped)
    if done is None or counted is None or done.kept != name or not counted.cost_certain:
        return None
    if swapped is None or swapped.writes is None:  # an earlier version noted nothing
        return None
    try:
        later = write_snapshot.writes(database.named(name)) - swapped.writes
    except PapError:  # it takes no connection
        return None
    return counted.rows_lost + len(counted.besides) + later if later >= 0 else None


def _look(
    stack: Stack, settings: Settings, hold: Sequence[str], *, fresh: Sequence[str] = (), coming: bool = False
) -> Found:
    at = epoch(now())
    owner = Owner(stack.name, stack.database.conninfo.dbname, maintenance(stack.database).facts().identifier)
    things = _known_of(stack.state, folder.scan(stack.state.backups_folder))
    things = folder.numbered(things, _seen(stack.state), at)
    if coming and settings.proof:
        newest = 1 + max((thing.number for thing in things), default=0)
        things.append(Thing("backup", "", owner=owner, at=at, number=newest, proof=settings.proof))
        fresh = ("",)
    notes = []
    try:
        things += _databases(stack.database, stack.state)
    except PapError as error:
        notes.append(f"databases that releases left were not looked at: {error.message}")
    found = _decided(stack.state, things, settings, hold, owner, at, fresh)
    return replace(found, notes=[*notes, *found.notes])


def _decided(
    state: State,
    things: Sequence[Thing],
    settings: Settings,
    hold: Sequence[str],
    owner: Owner,
    at: float,
    fresh: Sequence[str] = (),
) -> Found:
    decisions = retention.decide(
        [replace(thing, hold=thing.hold or _held(thing, hold)) for thing in things],
        owner=owner,
        pins=retention.pins([_release(journal) for journal in state.releases()]),
        fresh=fresh,
        said=_said(state),
        settings=settings,
        now=at,
    )
    idle = [word for word in hold if word != retention.EVERYTHING and not any(_held(thing, [word]) for thing in things)]
    notes = [f"backup_hold names {', '.join(idle)}, and nothing of that name is here"] if idle else []
    return Found(at, [decision for decision in decisions if decision.thing.name], notes)


def _held(thing: Thing, hold: Sequence[str]) -> str:
    word = next((word for word in hold if word == retention.EVERYTHING or word in thing.keys), "")
    return f"backup_hold names {word}" if word else ""


def _release(journal: Journal) -> Release:
    end, entries = journal.ended() or Ended(), journal.records()
    backup, point = newest(entries, Backup) or Backup(), newest(entries, RestorePoint) or RestorePoint()
    needs = (backup.path, backup.sha256, backup.database, point.path, point.sha256, point.database)
    return Release(journal.release, end.event, end.kept_schema, tuple(filter(None, needs)))


def _databases(database: Database, state: State) -> list[Thing]:
    """Restore points, what rollbacks set aside, and databases that only look like ours."""
    known = {journal.release: journal for journal in state.releases()}
    found = []
    for entry in (*databases.existing(database), *databases.look_alikes(database)):
        if entry.kind not in ("failed", "snap"):
            continue
        journal = known.get(entry.release) if entry.kind == "failed" and not entry.why else None
        found.append(
            Thing(
                entry.kind,
                entry.name,
                release=entry.release,
                at=_time(entry.since),
                bytes=entry.bytes,
                hold="IS_TEMPLATE is set on it" if entry.template else "",
                trouble=entry.why,
                obstacle=entry.obstacle,
                rows=rows_only_in(database, journal, entry.name) if journal else None,
            )
        )
    return found


def _time(text: Any) -> Optional[float]:
    """The time that a record gives, unless a person made it unreadable."""
    try:
        return epoch(str(text))
    except ValueError:
        return None


def _known_of(state: State, things: Iterable[Thing]) -> list[Thing]:
    """``things`` with what is written of them: a proof found one damaged, a removal was interrupted."""
    begun = {entry.name for entry in _entries(state, Removed, "removing")}
    damage = damaged.found(state)
    found = []
    for thing in things:
        kind = "rest" if thing.name in begun and not Path(thing.name).exists() else thing.kind
        trouble = thing.trouble or damage.get((thing.name, thing.sha256), "")
        found.append(replace(thing, kind=kind, trouble=trouble))
    return found


def _entries(state: State, kind: type[E], event: str) -> list[E]:
    return [entry for entry in log(state).records() if isinstance(entry, kind) and entry.event == event]


def _seen(state: State) -> list[str]:
    """The backups that earlier runs saw, in the order in which they saw them."""
    return [key for entry in _entries(state, Looked, "done") for key in entry.new]


def _said(state: State) -> dict[str, float]:
    """What the last run announced, and from when on it may go."""
    last = (_entries(state, Looked, "done") or [Looked()])[-1]
    return {key: epoch(when) for key, when in last.said.items()}


def _remember(state: State, found: Found, run: str) -> None:
    """Write down which backups are new here, in their order, and what is announced."""
    seen = set(_seen(state))
    backups = sorted((d.thing for d in found.decisions if d.thing.kind == "backup"), key=lambda thing: thing.number)
    said = {d.thing.key: from_epoch(d.when) for d in found.decisions if d.when is not None}
    new = [thing.key for thing in backups if thing.key not in seen]
    Journal(private_folder(log(state).folder)).append("retention", "done", run=run, new=new, said=said)


def _remove(stack: Stack, decisions: Iterable[Decision], run: str, at: float, *, verb: str = "removed") -> Done:
    """Remove what was decided so, one after the other; each is written down before it goes."""
    journal = Journal(private_folder(log(stack.state).folder))
    lines: list[str] = []
    removed: list[Removal] = []
    for decision in decisions:
        thing = decision.thing
        if decision.action != "remove":
            continue
        what = replace(_noted(thing, at), why=decision.why, run=run, at=now())
        noted = {name: value for name, value in vars(what).items() if name != "at"}
        journal.append("retention", "removing", **noted)
        try:
            if thing.kind in ("backup", "rest"):
                folder.remove(thing)
            else:
                databases.drop_named(stack.database, thing.name)
        except (OSError, PapError) as error:
            journal.append("retention", "failed", **noted, message=str(error))
            lines.append(f"{_about(decision, at)} could not be removed: {error}")
            continue
        journal.append("retention", "removed", **noted)
        removed.append(what)
        lines.append(f"{verb} {_about(decision, at)}: {decision.why}")
    return Done(lines, removed)


def _noted(thing: Thing, at: float) -> Removal:
    days = round((at - thing.at) / retention.DAY_S, 2) if thing.at is not None else None
    taken = utc_minute(thing.at) if thing.at is not None else None
    return Removal(thing.kind, thing.name, thing.release, thing.bytes, thing.sha256, thing.proof, taken, days)


# What a person reads.


def _about(decision: Decision, at: float, *more: str) -> str:
    thing = decision.thing
    old = f"{age(at - thing.at)} old" if thing.at is not None and thing.at <= at else ""
    return f"{visible(thing.name)} ({', '.join(part for part in (size(thing.bytes), old, *more) if part)})"


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


def _offered(state: State, found: Found) -> list[str]:
    """Which releases in force still have what a restore needs."""
    whole = {d.thing.name for d in found.decisions if d.thing.kind == "backup" and not d.thing.trouble}
    names: dict[bool, list[str]] = {True: [], False: []}
    for journal in reversed(state.releases()):
        if (journal.ended() or Ended()).event == "finished":
            point, backup = journal.newest(RestorePoint), journal.newest(Backup)
            path = (point.path if point else "") or (backup.path if backup else "")
            names[path in whole].append(journal.release)
    lines = [f"a restore can roll back {_named(names[True])}"] if names[True] else []
    return [*lines, *([f"no restore can roll back {_named(names[False])} any more"] if names[False] else [])]


def _by_reason(decisions: Iterable[Decision]) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for decision in decisions:
        groups.setdefault(decision.why, []).append(decision.thing.name.rpartition("/")[2])
    return list(groups.items())


def _named(names: Sequence[str]) -> str:
    return few([*map(visible, names)], FEW)
