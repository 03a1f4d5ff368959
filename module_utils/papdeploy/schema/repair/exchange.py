"""Types that PostgreSQL cannot change as they stand: new ones take over, column by column, and the old ones go.

It cannot drop or move a label of an enum, change the base of a domain, or the type of an attribute that a column holds.
What is made of such a type (a domain over an enum, a composite type with it) is exchanged with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from ...sql.lexer import tokenize
from ...sql.quoting import quote_name, quote_names
from ..catalog.rows import Column, Place, Relation, Type
from ..differences.comparison import Comparison
from ..differences.result import Difference
from . import definitions
from .places import Places

_LABELS = ("enum_label_extra", "enum_label_order")
Found = Sequence[tuple[Difference, Optional[Place]]]


@dataclass(frozen=True)
class Exchange:
    """``types`` in the order in which they can be made. ``stuck``: why a person has to do it; '' where it can run."""

    types: tuple[Place, ...]
    stuck: str = ""


def exchanges(places: Places, found: Found) -> list[Exchange]:
    """What has to be exchanged to repair ``found``, each with what is made of it."""
    groups: list[set[Place]] = []
    for root in sorted({place for difference, place in found if place and _needed(places, difference, place)}):
        group = {root, *_made_of(places, root)}
        for other in [one for one in groups if one & group]:
            groups.remove(other)
            group |= other
        groups.append(group)
    made = [tuple(_base_first(places, group)) for group in groups]
    return [Exchange(types, _stuck(places, types)) for types in made]


def _needed(places: Places, difference: Difference, place: Place) -> bool:
    if difference.kind in _LABELS:
        return True
    if difference.kind not in ("type_changed", "domain_changed") or not _on_both_sides(places, place):
        return False
    wanted, present = places.expected[place].row, places.actual[place].row
    if wanted.kind == "d" == present.kind:
        checked = any(" VALIDATE " in text or text.endswith(" SET NOT NULL;") for text in difference.repair)
        return (checked and _within(places, place)) or all(text.startswith("--") for text in difference.repair)
    stored = any(other[0] == "column" for other in (place, *places.dependents(place)))
    return stored and any("ALTER ATTRIBUTE" in text for text in difference.repair)


def _within(places: Places, domain: Place) -> bool:
    """Whether arrays or other types hold values of the domain: PostgreSQL then cannot check those that are there."""
    columns = exchanged_columns(places.work, [domain])
    return any(_made_of(places, domain)) or any(column.type.endswith("[]") for _, column in columns)


def _on_both_sides(places: Places, place: Place) -> bool:
    return place in places.expected and place in places.actual


def _made_of(places: Places, root: Place) -> Iterator[Place]:
    left, seen = [root], {root}
    while left:
        for other in places.dependents(left.pop()):
            if other[0] == "type" and other not in seen:
                seen.add(other)
                left.append(other)
                yield other


def _base_first(places: Places, group: Iterable[Place]) -> Iterator[Place]:
    left = sorted(group)
    while left:
        waiting = {place for place in left if places.present.get(place, set()) & set(left)}
        ready = [place for place in left if place not in waiting] or left
        yield from ready
        left = [place for place in left if place not in ready]


def _stuck(places: Places, types: Sequence[Place]) -> str:
    for place in types:
        name = ".".join(place[1:])
        if not _on_both_sides(places, place):
            return f"{name} depends on it, which is not on both sides: decide what becomes of it"
        wanted, present = places.expected[place].row, places.actual[place].row
        if wanted.kind == "r" or wanted.kind != present.kind:
            return f"{name} depends on it, which has to be made anew by hand"
        if wanted.kind == "c" and [n for n, _ in wanted.attributes] != _attributes_after(wanted, present):
            return f"the attributes of {name} stand in another order: make it anew by hand"
    for table, column in exchanged_columns(places.work, types):
        if in_partition_key(table, column.name):
            return f"{table.name} is partitioned by {column.name}, which has this type: make the table anew by hand"
    return ""


def _attributes_after(wanted: Type, present: Type) -> list[str]:
    """The names of a composite type when what goes is dropped and what is new is added, at its end."""
    names = [name for name, _ in wanted.attributes]
    old = [name for name, _ in present.attributes]
    return [name for name in old if name in names] + [name for name in names if name not in old]


def in_partition_key(table: Relation, column: str) -> bool:
    """Whether rows are placed by the column: then it can neither go nor change its type."""
    return any(token.kind == "name" and token.text == column for token in tokenize(table.partition_key))


def exchanged(work: Comparison, types: Sequence[tuple[Type, Type]], *, defaults: bool = True) -> list[str]:
    """The statements; ``types`` are (expected, actual), in the order in which they can be made.

    Without ``defaults``, those of the columns are dropped before and set after these statements.
    """
    found = ["-- rewrites the tables that use it; rows with a label that goes must be changed first"]
    for wanted, present in types:
        found += _attributes(work, wanted, present)
    old = {present.name: _spare_name(work, present) for _, present in types}
    for _, present in types:
        found.append(f"ALTER {_word(present)} {_name(present)} RENAME TO {quote_name(old[present.name])};")
    for wanted, present in types:
        name = _name(present)
        found += definitions.create_type(wanted, name, work.sides.sql)
    found += _tables(work, [("type", present.schema, present.name) for _, present in types], defaults=defaults)
    for _, present in reversed(types):
        found.append(f"DROP {_word(present)} {quote_names(present.schema, old[present.name])};")
    return found


def _attributes(work: Comparison, wanted: Type, present: Type) -> list[str]:
    """A composite type with as many attributes as the new one: its values are then the same text."""
    ours, theirs = dict(wanted.attributes), dict(present.attributes)
    steps = [f"DROP ATTRIBUTE {quote_name(name)}" for name in theirs if name not in ours]
    steps += [f"ADD ATTRIBUTE {quote_name(n)} {work.sides.sql(t)}" for n, t in ours.items() if n not in theirs]
    return [f"ALTER TYPE {_name(present)} {', '.join(steps)};"] if wanted.kind == "c" and steps else []


def _tables(work: Comparison, types: Sequence[Place], *, defaults: bool) -> list[str]:
    steps: dict[str, list[str]] = {}
    for table, column in exchanged_columns(work, types):
        name = next(_name_of(place) for place in types if work.actual.type(_name_of(place)) == _plain(work, column))
        changes = steps.setdefault(quote_names(table.schema, table.name), [])
        kept = column.default if defaults else None
        changes += _column_exchanged(name, column, kept)
    return [f"ALTER TABLE {table} {', '.join(changes)};" for table, changes in steps.items()]


def exchanged_columns(work: Comparison, types: Sequence[Place]) -> Iterator[tuple[Relation, Column]]:
    """Those that hold one of ``types``, or an array of it."""
    wanted = {work.actual.type(_name_of(place)) for place in types}
    for table in work.actual.relations.values():
        for column in table.columns if table.kind in "rp" else ():
            inherited = column.inherited or work.actual.parents_of(table, column.name)
            if not column.generated and not inherited and _plain(work, column) in wanted:
                yield table, column


def _plain(work: Comparison, column: Column) -> str:
    return work.actual.type(column.type).removesuffix("[]")


def _column_exchanged(name: str, column: Column, default: Optional[str]) -> list[str]:
    array = "[]" if column.type.endswith("[]") else ""
    quoted = quote_name(column.name)
    target = f"ALTER COLUMN {quoted}"
    change = f"{target} TYPE {name}{array} USING {quoted}::text{array}::{name}{array}"
    return [change] if default is None else [f"{target} DROP DEFAULT", change, f"{target} SET DEFAULT {default}"]


def _spare_name(work: Comparison, row: Type) -> str:
    """What the old type is called until it goes."""
    taken = {(other.schema, other.name) for other in work.actual.catalog.types}
    names = (f"{row.name[:56]}_old{number or ''}" for number in range(99))
    return next(name for name in names if (row.schema, name) not in taken)


def _word(row: Type) -> str:
    return "DOMAIN" if row.kind == "d" else "TYPE"


def _name(row: Type) -> str:
    return quote_names(row.schema, row.name)


def _name_of(place: Place) -> str:
    return quote_names(*place[1:])
