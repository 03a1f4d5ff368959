"""What all revisions of a tree share: where it lies, what it is configured to, and Alembic's own objects for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .declaration import Declaration


@dataclass(frozen=True)
class Sent:
    """What a function of a revision sends when it is run without a database, and from which line; ``why`` that may not
    be all."""

    statements: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()
    why: str = ""


if TYPE_CHECKING:
    from .environment import Learned


@dataclass(frozen=True)
class Home:
    """``folder`` is where its relative paths begin; ``config`` and ``script`` (the directory) are Alembic's."""

    declaration: Declaration
    folder: str
    config: Any = field(repr=False)
    script: Any = field(repr=False)
    learned: Learned = field(repr=False)
    context: list[Any] = field(default_factory=list, repr=False, compare=False)  # the one of a run, once there is one
    sent: dict[tuple[str, str], Sent] = field(default_factory=dict, repr=False, compare=False)  # by id and function

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """While active, relative paths begin where the tree's do."""
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            yield
        finally:
            os.chdir(before)


@dataclass(frozen=True)
class Revision:
    """One file: ``script`` is Alembic's. ``block``: it has an autocommit_block(), which commits what came before;
    ``ends``: it sends COMMIT. By direction."""

    home: Home = field(repr=False)
    script: Any = field(repr=False)
    block: frozenset[str] = frozenset()
    ends: frozenset[str] = frozenset()

    def transactional(self, direction: str) -> bool:
        return direction not in self.block | self.ends
