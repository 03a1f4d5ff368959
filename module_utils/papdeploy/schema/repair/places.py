"""Where the objects of both catalogs are: by the place that pg_depend names, and by the label of a difference.

Both sides are written with the names of the actual database after its renames, so that one place means one object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from ...sql.quoting import quote_name
from ..catalog.rows import Part, Place, Relation
from ..differences.comparison import Comparison
from ..differences.name_resolution import Side

# By the start of a difference's kind: what its object is. The first that fits.
_FAMILIES = (
    ("column_", "column"),
    ("primary_key_", "constraint"),
    ("foreign_key_", "constraint"),
    ("unique_", "constraint"),
    ("check_", "constraint"),
    ("exclusion_", "constraint"),
    ("constraint_", "constraint"),
    ("index_", "index"),
    ("trigger_", "trigger"),
    ("rule_", "rule"),
    ("policy_", "policy"),
    ("type_", "type"),
    ("enum_", "type"),
    ("domain_", "type"),
    ("sequence_", "sequence"),
    ("function_", "function"),
    ("statistics_", "statistics"),
    ("schema_", "schema"),
    ("extension_", "extension"),
)
_PARTS = ("columns", "constraints", "indexes", "triggers", "rules", "policies")
# What has no entry of its own: a default is its column's, the default and the checks of a domain its rules.
_OWNERS = {"default": "column", "rules": "type"}
_SINGULAR = {"indexes": "index", "policies": "policy"}


@dataclass(frozen=True)
class Entry:
    """An object: its place, its row, and the row of its table."""

    place: Place
    label: str
    row: Any
    table: Optional[Relation] = None


def family(kind: str) -> str:
    """What the object of a difference of ``kind`` is."""
    return next((found for start, found in _FAMILIES if kind.startswith(start)), "relation")


def owner_of(place: Place) -> Place:
    """What a part belongs to: a default to its column, rules to their domain, a column, index … to its relation."""
    if place[0] in _OWNERS:
        return (_OWNERS[place[0]], *place[1:])
    return ("relation", *place[1:3]) if len(place) == 4 and place[0] != "function" else place


class Places:
    """Both catalogs by place and by label, and the dependencies of either side."""

    def __init__(self, work: Comparison) -> None:
        self.work = work
        self.expected = {entry.place: entry for entry in self._entries(work.expected, expected=True)}
        self.actual = {entry.place: entry for entry in self._entries(work.actual, expected=False)}
        self.wanted = self._dependencies(work.expected, expected=True)
        self.present = self._dependencies(work.actual, expected=False)
        self.rights = {self._renamed(place): rights for place, rights in work.actual.catalog.rights}
        self._labels: dict[tuple[str, str], Place] = {}
        for entries in (self.actual, self.expected):
            for entry in entries.values():
                self._labels[entry.place[0], entry.label] = entry.place

    def _entries(self, side: Side, *, expected: bool) -> Iterator[Entry]:
        def home(schema: str) -> str:
            return self.work.sides.home(schema) if expected else schema

        catalog = side.catalog
        for row in catalog.relations:
            at, label = (home(row.schema), row.name), side.label(row.schema, row.name)
            yield Entry(("relation", *at), label, row, row)
            for plural in _PARTS:
                kind = _SINGULAR.get(plural, plural[:-1])
                for part in getattr(row, plural):
                    yield Entry((kind, *at, part.name), f"{label}.{part.name}", part, row)
        for kind, rows in (("type", catalog.types), ("sequence", catalog.sequences)):
            for item in rows:
                yield Entry((kind, home(item.schema), item.name), side.label(item.schema, item.name), item)
        for function in catalog.functions:
            label = side.label(function.schema, f"{function.name}({function.identity})")
            place = ("function", home(function.schema), function.name, side.name(function.identity))
            yield Entry(place, label, function)
        for statistics in catalog.statistics:
            label = side.label(statistics.schema, statistics.table, statistics.name)
            yield Entry(("statistics", home(statistics.schema), statistics.name), label, statistics)
        for other in catalog.others:
            label = other.identity.replace(f" {quote_name(side.default)}.", " ", 1)
            yield Entry(("object", other.identity), label, other)
        for of_actual, definition in () if expected else catalog.publications:
            kind, where, table, name = self._renamed(of_actual)
            part = Part(name=name, definition=definition)
            yield Entry((kind, where, table, name), f"{name} of {table}", part)
        for schema in catalog.schemas:
            yield Entry(("schema", home(schema.name)), schema.name, schema)
        for extension in catalog.extensions:
            yield Entry(("extension", extension.name), extension.name, extension)

    def _dependencies(self, side: Side, *, expected: bool) -> dict[Place, set[Place]]:
        """What each object depends on."""
        entries = self.expected if expected else self.actual
        found: dict[Place, set[Place]] = {}
        for one, other in side.catalog.dependencies:
            dependent, on = (self._place(side, place, expected=expected) for place in (one, other))
            entry = entries.get(dependent)
            if entry is not None and (dependent[0], on[0]) == ("type", "function") and entry.row.kind == "d":
                dependent = ("rules", *dependent[1:])
            if dependent != on:
                found.setdefault(dependent, set()).add(on)
        for entry in entries.values():
            if entry.place[0] == "column" and entry.row.identity:  # it has no row in pg_attrdef
                found.setdefault(("default", *entry.place[1:]), set()).add(entry.place)
        for on_columns in found.values():
            for place in [place for place in on_columns if place in entries and place[0] == "column"]:
                on_columns |= self._inherited_from(side, entries[place], expected=expected)
        for entry in entries.values() if not expected else ():
            if entry.place[0] == "column" and not entry.row.inherited:  # of its own too: its parent's goes first
                for place in self._inherited_from(side, entry, expected=expected):
                    found.setdefault(place, set()).add(entry.place)
        return found

    def _inherited_from(self, side: Side, entry: Entry, *, expected: bool) -> set[Place]:
        """The columns of all parents from which a column comes."""
        found: set[Place] = set()
        left = [entry.table] if entry.table else []
        while left:
            for parent in side.parents_of(left.pop(), entry.row.name):
                schema = self.work.sides.home(parent.schema) if expected else parent.schema
                found.add(("column", schema, parent.name, entry.row.name))
                left.append(parent)
        return found

    def _place(self, side: Side, place: Place, *, expected: bool) -> Place:
        kind, *names = place
        if kind == "extension":
            return place
        found = (kind, self.work.sides.home(names[0]), *names[1:]) if expected else self._renamed(place)
        if kind in ("column", "default"):
            return self._column(found, self.expected if expected else self.actual)
        return (*found[:3], side.name(found[3])) if expected and kind == "function" else found

    def _renamed(self, place: Place) -> Place:
        """A place of the actual catalog, with the names after its renames."""
        kind, *names = place
        if kind == "function":
            return (*place[:3], self.work.actual.name(place[3]))
        if len(names) > 1 and kind not in ("type", "sequence", "statistics"):
            columns = self.work.renames.columns.get((names[0], names[1]), {})
            if kind in ("column", "default"):
                names[2] = columns.get(names[2], names[2])
            names[1] = self.work.renames.tables.get((names[0], names[1]), names[1])
        return (kind, *names)

    @staticmethod
    def _column(place: Place, entries: dict[Place, Entry]) -> Place:
        """A view for its column; a generated column for its expression."""
        relation = entries.get(("relation", *place[1:3]))
        if relation is not None and relation.row.kind in "vm":
            return relation.place
        column = entries.get(("column", *place[1:]))
        if place[0] == "default" and column is not None and column.row.generated:
            return column.place
        return place

    def of(self, kind: str, label: str) -> Optional[Place]:
        """The place of a difference's object."""
        wanted = family(kind)
        found = self._labels.get((wanted, label))
        if kind.startswith("object_"):
            word, _, name = label.partition(" ")  # schema audit, extension citext
            return self._labels.get(("object", label)) or self._labels.get((word, name))
        if found is None and kind.startswith("enum_"):
            types = [at for at in self._labels if at[0] == "type" and label.startswith(f"{at[1]}.")]
            return self._labels[max(types, key=lambda at: len(at[1]))] if types else None
        if found is None and kind in ("unique_as_index", "constraint_comment", "index_invalid", "index_storage"):
            for other in ("constraint", "index", "trigger", "rule", "policy"):
                found = found or self._labels.get((other, label))
        if found is None and wanted == "sequence":
            found = self._labels.get(("column", label))
        return found

    def dependents(self, place: Place) -> set[Place]:
        """What depends on it, or on a part of it, in the actual database."""
        found = set()
        for dependent, on in self.present.items():
            outside = dependent != place and (owner_of(dependent) != place or dependent[0] in _OWNERS)
            if outside and (place in on or any(owner_of(item) == place for item in on)):
                found.add(dependent)
        return found
