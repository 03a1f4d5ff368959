"""What proofs found of backups later: the memory of retention says which one is damaged."""

from __future__ import annotations

from .journal import Journal, State
from .records import Judged


def log(state: State) -> Journal:
    """The memory of retention: what was seen, what was announced, what went."""
    return Journal(state.folder / "retention")


def found(state: State) -> dict[tuple[str, str], str]:
    """The damage of each backup that was proven again, by path and SHA-256."""
    judged = (entry for entry in log(state).records() if isinstance(entry, Judged))
    return {(entry.name, entry.sha256): entry.damage for entry in judged}
