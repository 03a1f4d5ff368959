"""The rollback options: which of them lead back from a state, and of each other one why it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ..core import text

# From the cheapest: nothing to undo in the database; the API's old release on the new schema; downgrades (keep every
# row); swap to the snapshot; restore of the backup into a new database and swap.
STRATEGIES = ("nothing", "image", "downgrade", "swap", "restore")
BRING_BACK = ("swap", "restore")


@dataclass(frozen=True)
class State:
    """What the database says of a release. ``applied``: its migrations in force. ``partial``: such that run outside a
    transaction and have begun and not ended. ``running``: its sessions that are still at work."""

    fence: Optional[dict[str, Any]]
    swapped: bool
    applied: tuple[str, ...]
    partial: tuple[str, ...]
    running: tuple[dict[str, Any], ...]


def possible(state: State, facts: Mapping[str, Any]) -> list[str]:
    """The possible strategies in this state, the cheapest first."""
    return [strategy for strategy in STRATEGIES if not why_not(state, facts, strategy)]


def why_not(state: State, facts: Mapping[str, Any], strategy: str) -> str:
    """Why ``strategy`` is impossible in this state; empty if it is possible. Part of a sentence."""
    if state.swapped:  # what is left is the API
        return "" if strategy == "nothing" else "the content of before is in place already"
    if strategy in BRING_BACK:
        return _no_restore_point(facts, strategy)
    if state.partial:
        return f"{state.partial[0]} was left halfway outside a transaction, so only the content of before is certain"
    if not state.applied:
        return _nothing_applied(facts, strategy)
    if strategy == "nothing":
        return f"{state.applied[0]} of it is in force"
    if strategy == "image":
        return "" if facts.get("old_works_on_new") else _old_on_new(facts)
    return "" if facts.get("reversible") else _not_reversible(facts)


def _nothing_applied(facts: Mapping[str, Any], strategy: str) -> str:
    if strategy == "downgrade":
        return "no migration of it is in force, so there is nothing to revert"
    if (strategy == "image") == bool(facts.get("switched")):
        return ""
    return "the API was switched" if strategy == "nothing" else "the API was not switched, so there is none to put back"


def _no_restore_point(facts: Mapping[str, Any], strategy: str) -> str:
    kind = (facts.get("restore_point") or {}).get("kind")
    if strategy == "swap":
        if kind == "snapshot":
            return ""
        reason = "the restore point is a backup" if kind else "the deploy had not come to its restore point"
        return f"no snapshot was taken: {reason} (migrate_restore_point: snapshot always takes one)"
    if kind == "backup" or (facts.get("backup") or {}).get("path"):
        return ""
    if (facts.get("backup") or {}).get("engine") == "pgbackrest":
        return "the backup is one of pgBackRest, which restores whole clusters"
    return "no backup of it is noted, so there is no restore point"


def _old_on_new(facts: Mapping[str, Any]) -> str:
    if not facts.get("rehearsed"):
        return "the deploy was not rehearsed, so it is unknown whether the old release works on the new schema"
    said = facts.get("old_api_why")
    return "the old release was not seen to work on the new schema" + (f" ({said})" if said else "")


def _not_reversible(facts: Mapping[str, Any]) -> str:
    said = str(facts.get("reversible_why") or "").rstrip(".")
    return "its migrations cannot be reverted" + (f": {said}" if said else "")


def why(state: State, facts: Mapping[str, Any], strategy: str) -> str:
    count = len(state.applied)
    if strategy == "nothing":
        return "the old content is in place already" if state.swapped else "no migration of it is committed"
    if strategy == "image":
        return (
            "the old release works on this schema" if count else "no migration of it is committed; the API was switched"
        )
    if strategy == "downgrade":
        return f"{text.plural(count, 'migration')} can be reverted in place"
    if strategy == "swap":
        return "a snapshot from under the fence stands ready"
    return "the backup is restored into a new database, which then takes the live name"
