"""What proofs found of backups later: the memory of retention says which one is damaged."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.records import recorded
from .journal import Journal, State


@dataclass(frozen=True)
class Judged:
    """What a proof found of a backup: empty ``damage`` if it is whole."""

    name: str = ""
    sha256: str = ""
    damage: str = ""


def log(state: State) -> Journal:
    """The memory of retention: what was seen, what was announced, what went."""
    return Journal(state.folder / "retention")


def found(state: State) -> dict[tuple[str, str], str]:
    """The damage of each backup that was proven again, by path and SHA-256."""
    entries = [recorded(Judged, entry) for entry in log(state).entries() if entry["event"] == "judged"]
    return {(entry.name, entry.sha256): entry.damage for entry in entries}
