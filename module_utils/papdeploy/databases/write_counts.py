"""What was written, as it was counted: rows by table, what of it is our own, and what is no row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Optional

from ..core.plain_json import JsonObject
from ..core.records import as_object, read_known
from ..core.text import plural
from .other_losses import Change


@dataclass(frozen=True)
class Wrote:
    """What was written to a table: ``rows``, inserted or updated and still there, and ``deleted`` (None where the
    counters cannot say). ``emptied``: it has another file, or is gone."""

    rows: int
    deleted: Optional[int]
    emptied: bool = False

    def plus(self, other: Wrote) -> Wrote:
        known = self.deleted is not None and other.deleted is not None
        deleted = (self.deleted or 0) + (other.deleted or 0) if known else None
        return Wrote(self.rows + other.rows, deleted, self.emptied or other.emptied)

    def __str__(self) -> str:
        deleted = f", up to {self.deleted:,} deleted" if self.deleted else ""
        return f"{self.rows:,} written{deleted}{', emptied' if self.emptied else ''}"


@dataclass(frozen=True)
class Own:
    """What our own smoke tests did: ``writes``, by transaction (id) the rows by "schema.table"; ``numbers``, how many
    they can have taken from each sequence."""

    writes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)


NO_OWN = Own()


@dataclass(frozen=True)
class Written:
    """What was written since a mark, by "schema.table". ``certain`` is False if deletions could not be counted.
    ``so_far`` says why it is only the number so far, to be counted again under the fence; empty if it is the last.
    ``own``: rows of our own smoke tests, ``own_numbers``: what they took from sequences; they are in no other number.
    ``besides``: what is not as it was and is no row."""

    tables: Mapping[str, Wrote]
    certain: bool
    why: str
    so_far: str = ""
    own: int = 0
    own_numbers: int = 0
    besides: tuple[Change, ...] = ()

    @property
    def rows(self) -> int:
        """Rows that rolling back would lose or bring back, at least."""
        return sum(wrote.rows + (wrote.deleted or 0) for wrote in self.tables.values())

    def plus(self, other: Written) -> Written:
        """Both together: what was counted at two times."""
        both = {name: self.tables[name].plus(wrote) for name, wrote in other.tables.items() if name in self.tables}
        tables = {**self.tables, **other.tables, **both}
        why = self.why if other.certain else other.why
        certain, so_far = self.certain and other.certain, self.so_far or other.so_far
        own, numbers = self.own + other.own, self.own_numbers + other.own_numbers
        besides = tuple(dict.fromkeys((*self.besides, *other.besides)))
        return Written(tables, certain, why, so_far, own, numbers, besides)

    @property
    def anything(self) -> bool:
        """Whether anything is known to have been written or changed."""
        return bool(self.tables or self.besides)

    @property
    def nothing(self) -> bool:
        """Proven: nothing was written."""
        return self.certain and not self.anything and not self.so_far

    def as_dict(self) -> JsonObject:
        return {
            "tables": as_object(self.tables),
            "rows": self.rows,
            "certain": self.certain,
            "why": self.why,
            "so_far": self.so_far,
            "besides": [asdict(change) for change in self.besides],
        }

    @classmethod
    def from_dict(cls, value: object) -> Written:
        """What :meth:`as_dict` gave."""
        return replace(read_known(cls, value), so_far="")

    def sentence(self) -> str:
        """One line for a person."""
        parts = [f"{name}: {wrote}" for name, wrote in self.tables.items()]
        said = "; ".join(parts[:12]) + (f"; and {plural(len(parts) - 12, 'more table')}" if len(parts) > 12 else "")
        said = "; ".join(filter(None, (said, *(change.sentence for change in self.besides[:12]))))
        said += f"; and {plural(len(self.besides) - 12, 'more change')}" if len(self.besides) > 12 else ""
        notes = [note for note in (self.so_far and f"so far: {self.so_far}", "" if self.certain else self.why) if note]
        return (said or "nothing was written") + "".join(f" ({note})" for note in notes)
