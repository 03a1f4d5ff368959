"""All migrations of a release, in the order in which they run: those with dates and those of its Alembic tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

from .alembic.declaration import Declaration, of_sources
from .files import MigrationFile, load_folders, load_sources


def from_folders(folders: Sequence[Path], declared: Optional[Declaration]) -> list[MigrationFile]:
    return _with_tree(declared, load_folders(folders))


def from_sources(sources: Mapping[str, str]) -> list[MigrationFile]:
    """From file names and texts, as the controller sends them; the tree lies where this process runs."""
    return _with_tree(of_sources(sources), load_sources(sources))


def _with_tree(declared: Optional[Declaration], dated: Sequence[MigrationFile]) -> list[MigrationFile]:
    if declared is None:
        return list(dated)
    from .alembic import tree

    return tree.with_tree(declared, dated)
