"""Which backups and set-aside databases go, which stay, and why: one pure function over what there is.

Nothing is removed by any other rule, and what a run only lists (``backup.yml --check``, ``status.yml``) is what the
next one does. ADR 84 has the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from ..core.clock import utc_minute
from ..core.text import plural

DAY_S = 86400.0
# What a backup has proven, the least first.
PROOFS = ("none", "schema", "full")
# Kinds of things: a backup, what an interrupted removal left of one, a database that a rollback quarantined, a restore
# point, a file that is not ours.
KINDS = ("backup", "rest", "failed", "snap", "file")
EVERYTHING = "all"


@dataclass(frozen=True)
class Owner:
    """Whose backup it is. Only those of one owner replace each other."""

    stack: str
    database: str
    system_identifier: str

    def __str__(self) -> str:
        return f"database {self.database} of stack {self.stack} on server {self.system_identifier}"


@dataclass(frozen=True)
class Thing:
    """Something that exists. ``name``: the path of an archive or file, the name of a database. ``at``: when it was
    taken or set aside (seconds since 1970), as it says itself. ``number``: its place in the order in which this stack
    saw its backups, which a wrong clock does not change.

    ``trouble`` says why it cannot be told for certain to be ours and whole, ``obstacle`` why it cannot be dropped now.
    ``rows``: of a database that was set aside, those that are nowhere else; None if that is not known.
    """

    kind: str
    name: str
    owner: Optional[Owner] = None
    release: str = ""
    at: Optional[float] = None
    number: int = 0
    proof: str = "none"
    bytes: Optional[int] = None
    sha256: str = ""
    hold: str = ""
    trouble: str = ""
    obstacle: str = ""
    rows: Optional[int] = 0

    @property
    def keys(self) -> tuple[str, ...]:
        """By which a pin may name it."""
        return tuple(key for key in (self.name, self.name.rpartition("/")[2], self.sha256, self.release) if key)

    @property
    def key(self) -> str:
        """By which it is known again: nothing else can ever have it."""
        return f"{self.kind} {self.name} {self.sha256}".strip()


@dataclass(frozen=True)
class Settings:
    """What the inventory says: numbers of backups, and days. ``proof`` is what the next backup will have; empty if it
    is none that is counted here. ``asked``: what a person wants dropped, a release's id or ``EVERYTHING``.
    ``finished``: this run has finished a release, so the restore points of earlier ones are over."""

    keep: int = 10
    keep_days: float = 14
    keep_failed_days: float = 0
    proof: str = "full"
    asked: str = ""
    finished: bool = False


@dataclass(frozen=True)
class Release:
    """A release, for what it needs. ``end`` is empty until it ends. ``kept_schema``: its image alone went back."""

    id: str
    end: str
    kept_schema: bool = False
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pins:
    """What may not go, by name (path, file name, SHA-256, release), with the reason; and which release would lose its
    restore with it (``offered``)."""

    pinned: Mapping[str, str] = field(default_factory=dict)
    offered: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What becomes of a thing: ``action`` is "keep", "remove", or "report" (it stays, and a person should look).
    ``when``: the time from which the next run removes it, if nothing changes; None if nothing is to be expected."""

    thing: Thing
    action: str
    why: str
    when: Optional[float] = None


def pins(releases: Sequence[Release]) -> Pins:
    """What the rollbacks of ``releases`` (oldest first) need.

    Pinned is what could be needed at once: all of an unfinished release, of the newest one in force, and of later ones
    whose image alone went back, since their schema stayed. Releases below can be rolled back one after the other; their
    backups go by the numbers, and it is said what that ends.
    """
    pinned: dict[str, str] = {}
    offered: dict[str, str] = {}
    in_force = False
    for release in reversed(releases):
        why = ""
        if not release.end:
            why = f"release {release.id} is unfinished"
        elif release.end == "finished" and in_force:
            for need in (release.id, *release.needs):
                offered.setdefault(need, release.id)
        elif release.end == "finished":
            in_force, why = True, f"a rollback of release {release.id}, which is in force, needs it"
        elif release.kept_schema and not in_force:
            why = f"only the image of release {release.id} was rolled back: kept until another release has finished"
        for need in (release.id, *release.needs) if why else ():
            pinned.setdefault(need, why)
    return Pins(pinned, offered)


def decide(
    things: Sequence[Thing],
    *,
    owner: Owner,
    pins: Pins,
    fresh: Sequence[str] = (),
    said: Mapping[str, float],
    settings: Settings,
    now: float,
) -> list[Decision]:
    """What becomes of each of ``things``, in their order.

    ``fresh``: what this run has just made. ``said``: by key, what an earlier run announced, and from when on it may go;
    nothing goes that was not announced, so that a slip in the settings can be noticed.
    """
    whole = [t for t in things if t.kind == "backup" and not t.trouble and t.owner == owner and not _ahead(t, now)]
    judge = _Judge(owner, pins, frozenset(fresh), said, settings, now, whole)
    return [judge.decide(thing) for thing in things]


@dataclass(frozen=True)
class _Judge:
    owner: Owner
    pins: Pins
    fresh: frozenset[str]
    said: Mapping[str, float]
    settings: Settings
    now: float
    whole: Sequence[Thing]

    def decide(self, thing: Thing) -> Decision:
        if thing.kind == "rest":
            return Decision(thing, "remove", "its removal was interrupted")
        if thing.trouble or thing.kind == "file":
            return Decision(thing, "report", thing.trouble)
        if thing.kind == "backup" and thing.owner != self.owner:
            return Decision(thing, "report", f"of {thing.owner}, which is not counted here")
        if thing.hold:
            return Decision(thing, "keep", f"held: {thing.hold}")
        pin = next((self.pins.pinned[key] for key in thing.keys if key in self.pins.pinned), "")
        if pin:
            return Decision(thing, "keep", pin)
        if thing.kind == "backup":
            return self._backup(thing)
        if self._just_made(thing):
            return Decision(thing, "keep", "just made")
        return self._failed(thing) if thing.kind == "failed" else self._snapshot(thing)

    def _just_made(self, thing: Thing) -> bool:
        return not self.fresh.isdisjoint(thing.keys)

    def _backup(self, thing: Thing) -> Decision:
        ahead = _ahead(thing, self.now)
        if ahead and not self._just_made(thing):
            return Decision(thing, "report", ahead)
        assert thing.at is not None
        keep = max(self.settings.keep, 1)
        newer = sum(1 for t in self.whole if t.number > thing.number and _worth(t.proof) >= _worth(thing.proof))
        following = newer + (_worth(self.settings.proof) >= _worth(thing.proof))
        oldest = thing.at + self.settings.keep_days * DAY_S
        when = max(oldest, self.now) if following >= keep else None
        if self._just_made(thing):
            return Decision(thing, "keep", "just made", when)
        proven = {"full": "fully proven", "schema": "proven by its schema", "none": "of any proof"}[thing.proof]
        if newer < keep:
            of = f"the newest {keep}" if keep > 1 else "the newest"
            return Decision(thing, "keep", f"among {of} {proven}" if keep > 1 else f"{of} {proven}", when)
        if self.now < oldest:
            return Decision(thing, "keep", f"younger than {plural(self.settings.keep_days, 'day')}", when)
        ends = next((self.pins.offered[key] for key in thing.keys if key in self.pins.offered), "")
        why = f"{newer} newer with at least its proof ({thing.proof})"
        if self.settings.keep_days:
            why += f", older than {plural(self.settings.keep_days, 'day')}"
        if ends:
            why += f"; release {ends} can then no longer be rolled back by a restore"
        return self._announced(thing, why)

    def _failed(self, thing: Thing) -> Decision:
        asked, days = self.settings.asked, self.settings.keep_failed_days
        if thing.rows != 0 and asked != thing.release:
            count = (
                "an unknown number of rows"
                if thing.rows is None
                else plural(thing.rows, "row or other change", "rows or other changes")
            )
            by_name = f"-e rollback_drop_failed=true -e rollback_release={thing.release}"
            return Decision(thing, "keep", f"holds {count} that nothing else has; drops only by name: {by_name}")
        if asked:
            return self._asked(thing)
        if days <= 0:
            return Decision(thing, "keep", "until it is dropped by hand (rollback_drop_failed=true)")
        ahead = _ahead(thing, self.now)
        if ahead:
            return Decision(thing, "report", ahead)
        assert thing.at is not None
        until = thing.at + days * DAY_S
        if self.now < until:
            return Decision(thing, "keep", f"quarantined less than {plural(days, 'day')} ago", until)
        return self._announced(
            thing, f"quarantined more than {plural(days, 'day')} ago, nothing in it is missing elsewhere"
        )

    def _snapshot(self, thing: Thing) -> Decision:
        if self.settings.asked:
            return self._asked(thing)
        if self.settings.finished:
            return self._droppable(thing, f"restore point of release {thing.release}, and a later one has finished")
        return Decision(thing, "keep", "goes when the next release has finished")

    def _asked(self, thing: Thing) -> Decision:
        if self.settings.asked not in (EVERYTHING, thing.release):
            return Decision(thing, "keep", "not of the release that was named")
        return self._droppable(thing, "requested by the caller")

    def _announced(self, thing: Thing, why: str) -> Decision:
        earliest = self.said.get(thing.key)
        if earliest is None or earliest > self.now:
            return Decision(thing, "keep", why, max(earliest or 0.0, self.now))
        return self._droppable(thing, why)

    def _droppable(self, thing: Thing, why: str) -> Decision:
        if thing.obstacle:
            return Decision(thing, "report", thing.obstacle)
        return Decision(thing, "remove", why)


def _worth(proof: str) -> int:
    return PROOFS.index(proof) if proof else -1


def _ahead(thing: Thing, now: float) -> str:
    """Why the date of ``thing`` counts for nothing."""
    if thing.at is None:
        return "its date cannot be read"
    return f"dated {utc_minute(thing.at)}, which is still to come: it takes no place" if thing.at > now else ""
