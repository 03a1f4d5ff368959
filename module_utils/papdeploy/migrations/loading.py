"""All migrations of a release, in the order in which they run: those with dates and those of its Alembic tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

from .alembic.declaration import Declaration, of_sources
from .files import MigrationFile, load_folders, load_sources


def from_folders(
    folders: Sequence[Path], declared: Optional[Declaration], *, only_look: bool = False
) -> list[MigrationFile]:
    """From folders and a tree. ``only_look``: nothing is to be changed, and a tree is loaded on trial first."""
    return _with_tree(declared, load_folders(folders), only_look)


def from_sources(sources: Mapping[str, str], *, only_look: bool = False) -> list[MigrationFile]:
    """From file names and texts, as the controller sends them; the tree lies where this process runs."""
    return _with_tree(of_sources(sources), load_sources(sources), only_look)


def _with_tree(declared: Optional[Declaration], dated: Sequence[MigrationFile], only_look: bool) -> list[MigrationFile]:
    if declared is None:
        return list(dated)
    from .alembic import tree

    return tree.with_tree(declared, dated, only_look=only_look)
