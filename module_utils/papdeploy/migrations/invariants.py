"""``invariants/*.sql`` beside the migrations: what holds after every deploy, one query a file that returns no row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import Refused
from ..core.text import plural
from ..sql import statements

FOLDER = "invariants"
_QUERIES = ("SELECT", "WITH", "TABLE", "VALUES")


@dataclass(frozen=True)
class Invariant:
    """One query; ``name`` is its file, ``invariants/….sql``."""

    name: str
    sql: str

    def limited(self, rows: int) -> str:
        """The query, but for so many rows at most."""
        return f"SELECT * FROM (\n{self.sql}\n) AS invariant LIMIT {rows}"


def load_folders(folders: Sequence[Path]) -> list[Invariant]:
    """The invariants of several folders of migrations. Raises Refused for a file that is not one query."""
    paths = sorted(path for folder in folders for path in Path(folder).glob(f"{FOLDER}/*.sql"))
    return [_read(f"{FOLDER}/{path.name}", path.read_text(encoding="utf-8")) for path in paths]


def load_sources(sources: Mapping[str, str]) -> list[Invariant]:
    """The same from names and texts."""
    return [_read(name, text) for name, text in sorted(sources.items()) if name.startswith(f"{FOLDER}/")]


def _read(name: str, text: str) -> Invariant:
    command = statements.of_psql(text)
    found = statements.split(text.lstrip("\ufeff"))
    if command or len(found) != 1 or found[0].head not in (*_QUERIES, "("):
        what = f"{command}, which only psql understands" if command else plural(len(found), "statement")
        what = f"a statement that begins with {found[0].head}" if not command and len(found) == 1 else what
        raise Refused(
            f"{name} has {what}; an invariant is one query.",
            hint="Write one SELECT that returns the rows that must not be there, and one file for each rule.",
        )
    return Invariant(name, found[0].text)
