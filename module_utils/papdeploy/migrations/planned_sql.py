"""The SQL of a migration as it is read without running it: its statements, their lines, and whether they are exact."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..sql import statements as sql
from .files import MigrationFile


@dataclass(frozen=True)
class Located:
    """One statement of a migration, with the line of the file that sends it."""

    migration: MigrationFile
    statement: sql.Statement
    line: int


@dataclass(frozen=True)
class PlannedSql:
    """The SQL of a pending migration: ``exact``, or a guess for the reason ``why``."""

    statements: tuple[str, ...]
    exact: bool
    why: str = ""


@dataclass
class StaticSql:
    """``statements`` in source order, ``lines`` where each is sent (1 is the first line of the file).

    ``reasons`` say why they may differ from what will run; none: they are exact.
    """

    statements: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def add(self, statement: str, line: int) -> None:
        self.statements.append(statement)
        self.lines.append(line)

    @property
    def exact(self) -> bool:
        return not self.reasons

    def planned(self) -> PlannedSql:
        return PlannedSql(tuple(self.statements), self.exact, "; ".join(dict.fromkeys(self.reasons)))
