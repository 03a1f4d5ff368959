"""A column of the models and the one of the database that stands for it."""

from __future__ import annotations

from dataclasses import dataclass

from ...sql.quoting import quote_name
from ..catalog.rows import Column, Relation


@dataclass(frozen=True)
class ColumnPair:
    """``table_label`` names the table as the models do, ``table`` as a statement takes it."""

    table_label: str
    table: str
    expected_table: Relation
    expected: Column
    actual_table: Relation
    actual: Column

    @property
    def label(self) -> str:
        return f"{self.table_label}.{self.expected.name}"

    @property
    def quoted(self) -> str:
        return quote_name(self.actual.name)

    @property
    def target(self) -> str:
        return f"ALTER TABLE {self.table} ALTER COLUMN {self.quoted}"
