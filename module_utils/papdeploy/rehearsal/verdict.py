"""What the rehearsal means for the deploy to come: how long, which locks, how to get back, with traffic or without.

Pure functions over plain data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..core import text
from ..rollback import strategies

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

# Used where nothing was measured; seconds.
USUAL = {"fence": 0.3, "restore_point": 0.0, "unfence": 0.2, "hand_over": 0.0, "start_more": 0.0}
# How many sessions, one after another, it takes to raise the fence and to take it down, besides those that note what is
# behind it: milliseconds each on a host, tenths of a second through a container.
SESSIONS = {"fence": 2, "unfence": 2}
# From the failure to the first step of the rollback: Ansible starts another module.
RESCUE_S = 1.5
DEADLINE_FLOOR_S = 30.0


def blocking_locks(migrations: Sequence[Mapping[str, Any]], existing: set[str]) -> list[dict[str, Any]]:
    """The locks that make traffic wait, one per table that exists now: the strongest mode, for how long it was seen."""
    strongest: dict[str, dict[str, Any]] = {}
    for item in migrations:
        for lock in item.get("locks") or []:
            table, mode = str(lock["table"]), str(lock["mode"])
            if mode in HARMLESS or table not in existing:
                continue
            seen = strongest.setdefault(table, {"table": table, "mode": mode, "held_s": 0.0, "by": item["identity"]})
            if _ORDER.index(mode) < _ORDER.index(seen["mode"]):
                seen.update(mode=mode, by=item["identity"])
            seen["held_s"] = max(float(seen["held_s"]), float(lock.get("held_s") or 0.0))
    return [strongest[table] for table in sorted(strongest)]


def lock_words(locks: Sequence[Mapping[str, Any]]) -> str:
    """``ACCESS EXCLUSIVE on policies, peps (0.12 s); SHARE on users (0.05 s)``."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for lock in locks:
        groups.setdefault(str(lock["mode"]), []).append(lock)
    parts = []
    for mode in sorted(groups, key=_ORDER.index):
        names = [str(lock["table"]).removeprefix("public.") for lock in groups[mode]]
        shown = text.few(names, 6)
        longest = max(float(lock["held_s"]) for lock in groups[mode])
        parts.append(f"{_WORDS[mode]} on {shown} ({text.seconds(longest)})")
    return "; ".join(parts) or "none that makes traffic wait"


def online(
    migrations: Sequence[Mapping[str, Any]],
    transactions: Sequence[Mapping[str, Any]],
    existing: set[str],
    *,
    old_api_works: Optional[bool],
    old_api_why: str,
    max_lock_s: float,
    data: str,
    watched: bool = True,
    left_out: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Whether the batch may run under traffic: ``safe`` and, if not, ``why`` (each reason one sentence).

    ``watched``: the locks were watched from beside until the end. ``left_out``: statements that act on the whole
    server, which did not run on the copy.
    """
    why: list[str] = [] if watched else ["the locks could not be watched to the end"]
    for item in left_out:
        if item["direction"] == "upgrade":
            why.append(f"{item['identity']} acts on the whole server, which was not rehearsed: {item['statement']}")
    if data != "full":
        why.append(f"the rehearsal saw {'no rows' if data == 'schema' else 'a part of the rows'}, so no time is known")
    if migrations and old_api_works is not True:
        said = f" ({old_api_why})" if old_api_why else ""
        why.append(
            f"the API that runs now does not work on the new schema{said}"
            if old_api_works is False
            else f"it is unknown whether the API that runs now works on the new schema{said}"
        )
    for item in migrations:
        rewrites = sorted(set(item.get("rewritten") or []) & existing)
        if rewrites:
            why.append(f"{item['identity']} rewrites {', '.join(rewrites)}")
        if item.get("flavour") == "script":
            why.append(f"{item['identity']} is a legacy script: its locks are those of sessions of its own")
        elif item.get("flavour") != "upgrade" or item.get("locks") is None:
            why.append(f"nothing was seen of the locks of {item['identity']}")
    together = {name: float(t.get("seconds") or 0.0) for t in transactions for name in t.get("identities") or []}
    for lock in blocking_locks(migrations, existing):
        alone = _is_alone(migrations, str(lock["by"]))
        seconds = float(lock["held_s"]) if alone else max(float(lock["held_s"]), together.get(str(lock["by"]), 0.0))
        if seconds > max_lock_s:
            whom = "readers and writers" if lock["mode"] == STOPS_READERS else "writers"
            why.append(
                f"{lock['by']} holds {_WORDS[str(lock['mode'])]} on {lock['table']} for up to {text.seconds(seconds)}:"
                f" {whom} would wait longer than {max_lock_s:g} s"
            )
    for item in migrations:
        seconds = together.get(str(item["identity"]), 0.0)
        if item.get("rows") and seconds > max_lock_s and not _is_alone(migrations, str(item["identity"])):
            why.append(
                f"{item['identity']} writes {text.plural(int(item['rows']), 'row')} in a transaction of"
                f" {text.seconds(seconds)}: writers of the same rows would wait longer than {max_lock_s:g} s"
            )
    return {"safe": not why, "why": why}


def _is_alone(migrations: Sequence[Mapping[str, Any]], identity: str) -> bool:
    return any(item["identity"] == identity and item.get("sampled") for item in migrations)


def usual(clock: Mapping[str, float], stop_s: float, measured: Mapping[str, float]) -> dict[str, float]:
    """Seconds of what the cutover does besides its migrations and the API's start. ``clock``: of the rehearsal, as
    ``expectations.clock`` gives it; ``stop_s``: what the API needs to stop; ``measured``: from earlier deploys of this
    stack, which know best."""
    if not clock:
        return {**USUAL, **measured}
    found = {
        "fence": SESSIONS["fence"] * clock["session"] + stop_s,
        "restore_point": clock["looked"],
        "unfence": SESSIONS["unfence"] * clock["session"] + clock["left"],
    }
    return {**USUAL, **found, **measured}


def predicted_phases(
    usual: Mapping[str, float],
    *,
    restore_point_s: float,
    migrate_s: float,
    start_s: Optional[float],
    mode: str,
) -> dict[str, float]:
    """Seconds that each phase of the deploy should take. ``usual``: what :func:`usual` gives."""
    phases = {"migrate": migrate_s}
    if mode == "standard":
        looked = restore_point_s + usual["restore_point"]
        phases.update(fence=usual["fence"], restore_point=looked, unfence=usual["unfence"])
    if start_s is not None:
        phases["activate"] = max(0.0, start_s + usual["start_more"])
    return {name: round(seconds, 3) for name, seconds in phases.items()}


def unavailable(phases: Mapping[str, float], usual: Mapping[str, float], mode: str) -> Optional[float]:
    """Seconds that users will wait: from stopping the API to its first healthy answer; None if its start is unknown."""
    if "activate" not in phases:
        return None
    if mode == "online":
        return phases["activate"]
    return round(sum(phases.values()) + usual["hand_over"], 2)


def recovery(
    *,
    revert_s: Optional[float],
    restore_s: Optional[float],
    old_start_s: Optional[float],
    old_api_works: Optional[bool],
    reversible: Optional[bool],
    usual: Mapping[str, float],
    mode: str,
) -> dict[str, float]:
    """Seconds that each open rollback strategy would take; the API's start counts where it is known."""
    return strategies.expected_s(
        strategies.Timings(
            start=(old_start_s or 0.0) + RESCUE_S,
            closed=usual["fence"] + usual["unfence"],
            revert=revert_s,
            restore=restore_s,
            old_api_works=bool(old_api_works),
            reversible=bool(reversible),
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
