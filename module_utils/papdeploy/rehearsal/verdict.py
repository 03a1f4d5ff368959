"""What the rehearsal means for the deploy to come: how long, which locks, how to get back, with traffic or without.

Pure functions over records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Optional

from ..core import text
from ..migrations.server_wide import LeftOut
from ..releases.rehearsed import BlockingLock, Online, RehearsedMigration, Tried
from ..rollback import strategies
from .expectations import Clock
from .reverse import Reverted

# What the server grants while traffic goes on; every other table lock stops writers, AccessExclusive also readers.
HARMLESS = {"AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock"}
STOPS_READERS = "AccessExclusiveLock"
_WORDS = {
    "AccessExclusiveLock": "ACCESS EXCLUSIVE",
    "ExclusiveLock": "EXCLUSIVE",
    "ShareRowExclusiveLock": "SHARE ROW EXCLUSIVE",
    "ShareLock": "SHARE",
}
_ORDER = list(_WORDS)


@dataclass(frozen=True)
class Usual:
    """Seconds of what the cutover does besides its migrations and the API's start: these, if nothing was measured."""

    fence: float = 0.3
    restore_point: float = 0.0
    unfence: float = 0.2
    hand_over: float = 0.0
    start_more: float = 0.0


# How many sessions, one after another, it takes to raise the fence and to take it down, besides those that note what is
# behind it: milliseconds each on a host, tenths of a second through a container.
SESSIONS_TO_FENCE = SESSIONS_TO_UNFENCE = 2
# From the failure to the first step of the rollback: Ansible starts another module.
RESCUE_S = 1.5
DEADLINE_FLOOR_S = 30.0


@dataclass(frozen=True)
class Transaction:
    """Migrations that were committed together, and how long that took."""

    identities: tuple[str, ...] = ()
    seconds: float = 0.0


def blocking_locks(migrations: Sequence[RehearsedMigration], existing: Collection[str]) -> tuple[BlockingLock, ...]:
    """The locks that make traffic wait, one per table that exists now: the strongest mode, for how long it was seen."""
    strongest: dict[str, BlockingLock] = {}
    for item in migrations:
        for lock in item.locks or ():
            if lock.mode in HARMLESS or lock.table not in existing:
                continue
            seen = strongest.get(lock.table) or BlockingLock(lock.table, lock.mode, 0.0, item.identity)
            if _ORDER.index(lock.mode) < _ORDER.index(seen.mode):
                seen = replace(seen, mode=lock.mode, by=item.identity)
            strongest[lock.table] = replace(seen, held_s=max(seen.held_s or 0.0, lock.held_s or 0.0))
    return tuple(strongest[table] for table in sorted(strongest))


def lock_words(locks: Sequence[BlockingLock]) -> str:
    """``ACCESS EXCLUSIVE on policies, peps (0.12 s); SHARE on users (0.05 s)``."""
    groups: dict[str, list[BlockingLock]] = {}
    for lock in locks:
        groups.setdefault(lock.mode, []).append(lock)
    parts = []
    for mode in sorted(groups, key=_ORDER.index):
        shown = text.few([lock.table.removeprefix("public.") for lock in groups[mode]], 6)
        longest = max(lock.held_s or 0.0 for lock in groups[mode])
        parts.append(f"{_WORDS[mode]} on {shown} ({text.seconds(longest)})")
    return "; ".join(parts) or "none that makes traffic wait"


@dataclass(frozen=True)
class Batch:
    """What the rehearsal saw of the migrations, for whether they may run under traffic. ``existing``: the tables that
    traffic knows. ``old_api``: the API that runs now, on the migrated copy. ``data``: which rows were copied.
    ``watched``: the locks were watched from beside until the end. ``left_out``: statements that act on the whole
    server, which did not run on the copy."""

    migrations: Sequence[RehearsedMigration]
    transactions: Sequence[Transaction]
    existing: Collection[str]
    old_api: Tried
    data: str = "full"
    watched: bool = True
    left_out: Sequence[LeftOut] = ()

    def runs_alone(self, identity: str) -> bool:
        """Whether it ran in no transaction with others, so that its own locks were seen again and again."""
        return any(item.identity == identity and item.sampled for item in self.migrations)

    def transaction_s(self, identity: str) -> float:
        """Seconds of the transaction that it ran in."""
        return {name: each.seconds for each in self.transactions for name in each.identities}.get(identity, 0.0)


def online(batch: Batch, max_lock_s: float) -> Online:
    """Whether the batch may run under traffic and, if not, why (each reason one sentence)."""
    why = [*_unknown(batch), *_unseen(batch), *_long_locks(batch, max_lock_s), *_long_writes(batch, max_lock_s)]
    return Online(not why, tuple(why))


def _unknown(batch: Batch) -> Iterator[str]:
    """What the rehearsal as a whole leaves open."""
    if not batch.watched:
        yield "the locks could not be watched to the end"
    for item in batch.left_out:
        if item.direction == "upgrade":
            yield f"{item.identity} acts on the whole server, which was not rehearsed: {item.statement}"
    if batch.data != "full":
        saw = "no rows" if batch.data == "schema" else "a part of the rows"
        yield f"the rehearsal saw {saw}, so no time is known"
    if batch.migrations and batch.old_api.works is not True:
        detail = f" ({batch.old_api.why})" if batch.old_api.why else ""
        if batch.old_api.works is False:
            yield f"the API that runs now does not work on the new schema{detail}"
        else:
            yield f"it is unknown whether the API that runs now works on the new schema{detail}"


def _unseen(batch: Batch) -> Iterator[str]:
    """What of each migration rules it out, or was not seen."""
    for item in batch.migrations:
        rewrites = sorted({*(item.rewritten or ())}.intersection(batch.existing))
        if rewrites:
            yield f"{item.identity} rewrites {', '.join(rewrites)}"
        if item.flavour == "script":
            yield f"{item.identity} is a legacy script: its locks are those of sessions of its own"
        elif item.flavour != "upgrade" or item.locks is None:
            yield f"nothing was seen of the locks of {item.identity}"


def _long_locks(batch: Batch, max_lock_s: float) -> Iterator[str]:
    for lock in blocking_locks(batch.migrations, batch.existing):
        seconds = lock.held_s or 0.0
        if not batch.runs_alone(lock.by):
            seconds = max(seconds, batch.transaction_s(lock.by))
        if seconds > max_lock_s:
            whom = "readers and writers" if lock.mode == STOPS_READERS else "writers"
            yield (
                f"{lock.by} holds {_WORDS[lock.mode]} on {lock.table} for up to {text.seconds(seconds)}:"
                f" {whom} would wait longer than {max_lock_s:g} s"
            )


def _long_writes(batch: Batch, max_lock_s: float) -> Iterator[str]:
    for item in batch.migrations:
        seconds = batch.transaction_s(item.identity)
        if item.rows and seconds > max_lock_s and not batch.runs_alone(item.identity):
            yield (
                f"{item.identity} writes {text.plural(item.rows, 'row')} in a transaction of {text.seconds(seconds)}:"
                f" writers of the same rows would wait longer than {max_lock_s:g} s"
            )


def usual(clock: Optional[Clock], stop_s: float, measured: Mapping[str, float]) -> Usual:
    """What is usual of this stack. ``clock``: of the rehearsal; ``stop_s``: what the API needs to stop; ``measured``:
    from earlier deploys of this stack, which know best."""
    found = Usual()
    if clock:
        found = Usual(
            fence=SESSIONS_TO_FENCE * clock.session + stop_s,
            restore_point=clock.looked,
            unfence=SESSIONS_TO_UNFENCE * clock.session + clock.left,
        )
    return replace(found, **measured)


@dataclass(frozen=True)
class Phases:
    """Seconds that each phase of the deploy should take; without a fence, there are only two. ``activate`` is None
    where it is not known."""

    migrate: float
    fence: Optional[float] = None
    restore_point: Optional[float] = None
    unfence: Optional[float] = None
    activate: Optional[float] = None

    def together(self) -> float:
        return sum(seconds or 0.0 for seconds in astuple(self))


def predicted_phases(
    usual: Usual,
    *,
    restore_point_s: float,
    migrate_s: float,
    start_s: Optional[float],
    mode: str,
) -> Phases:
    """Seconds that each phase of the deploy should take."""
    activate = None if start_s is None else round(max(0.0, start_s + usual.start_more), 3)
    if mode != "standard":
        return Phases(round(migrate_s, 3), activate=activate)
    return Phases(
        round(migrate_s, 3),
        round(usual.fence, 3),
        round(restore_point_s + usual.restore_point, 3),
        round(usual.unfence, 3),
        activate,
    )


def unavailable(phases: Phases, usual: Usual, mode: str) -> Optional[float]:
    """Seconds that users will wait: from stopping the API to its first healthy answer; None if its start is unknown."""
    if mode == "online" or phases.activate is None:
        return phases.activate
    return round(phases.together() + usual.hand_over, 2)


def recovery(
    back: Reverted, old_api: Tried, usual: Usual, *, restore_s: Optional[float], mode: str
) -> dict[str, float]:
    """Seconds that each open rollback strategy would take; the API's start counts where it is known."""
    return strategies.expected_s(
        strategies.Timings(
            start=(old_api.start_s or 0.0) + RESCUE_S,
            closed=usual.fence + usual.unfence,
            revert=back.seconds,
            restore=restore_s,
            old_api_works=bool(old_api.works),
            reversible=back.reversible,
            online=mode == "online",
        )
    )


def deadline_s(migrate_s: float, factor: float, limit_s: float) -> float:
    """When the real migration is ended: ``factor`` times the rehearsed seconds, at least 30 s, at most ``limit_s``."""
    return round(min(limit_s, max(DEADLINE_FLOOR_S, factor * migrate_s)), 1)


def strays(predicted_s: float, actual_s: float) -> bool:
    """Whether a phase took so much longer than rehearsed that a person should know: twice as long and a second more."""
    return actual_s > 2 * predicted_s and actual_s > predicted_s + 1.0


def cannot_tell(data: str) -> list[str]:
    """What a rehearsal without all rows leaves open."""
    if data == "schema":
        return ["no rows were copied: what real rows break, times, sizes, rewritten bytes and logins are unknown"]
    if data == "sample":
        return ["a part of the rows was copied: duplicates and NULLs among the others, times and sizes are unknown"]
    return []
