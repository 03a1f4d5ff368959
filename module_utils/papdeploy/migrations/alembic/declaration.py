"""Where a release has its Alembic tree, as the inventory says it. Nothing here needs Alembic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from ...core.errors import Refused
from ...core.records import read_known

# Beside the texts of migrations: it goes wherever they go, and says that the release brings a tree of its own.
FILE = "_alembic.json"
FIRST, LAST = "first", "last"


@dataclass(frozen=True)
class Declaration:
    """``ini`` is relative to the folder in which the application runs. ``target``: head, heads or a revision.
    ``order``: whether the tree comes before (first) or after (last) the migrations with dates, where there are both.
    ``x``: what ``alembic -x`` would give. ``section`` of the ini file: as ``alembic --name``."""

    ini: str = "alembic.ini"
    target: str = "head"
    order: str = FIRST
    x: tuple[str, ...] = ()
    section: str = "alembic"

    def __post_init__(self) -> None:
        if not self.ini or not self.target:
            raise Refused("pap_alembic names no ini file.", hint="pap_alembic: {ini: alembic.ini}")
        if self.order not in (FIRST, LAST):
            raise Refused(f"The order of an Alembic tree is {FIRST} or {LAST}, not {self.order!r}.")

    @classmethod
    def of(cls, given: object) -> Declaration:
        return read_known(cls, given)


def of_sources(sources: Mapping[str, str]) -> Optional[Declaration]:
    """The declaration among the texts of migrations, if the release has a tree."""
    text = sources.get(FILE)
    return None if text is None else Declaration.of(json.loads(text))
