"""Tables and columns that are there under another name.

They are recognized first, and the actual catalog is then read with the expected names: a rename is one difference, not
one for the column and one for each key, check and index on it. Repairs, too, come after the rename in the script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import SequenceMatcher
from typing import Any

from ...sql.lexer import rename_names
from ...sql.quoting import quote_names
from ..catalog.rows import Catalog, Constraint, Elsewhere, Index, Relation, SequenceRow
from .name_resolution import Sides
from .options import CheckOptions

# Two tables are one renamed table when they share at least this part of their columns; two columns of one type are one
# renamed column when their names are this much alike, or nothing else is in question.
_TABLES_ALIKE = 0.8
_NAMES_ALIKE = 0.7

# Parts of a relation's catalog row that hold SQL text.
_TEXTS = ("expression", "definition", "predicate", "using", "check", "generation", "default")


@dataclass
class Renames:
    """``tables``: (actual schema, actual name) → expected name. ``columns``: the same key → {actual: expected}."""

    tables: dict[tuple[str, str], str] = field(default_factory=dict)
    columns: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def table_before(self, schema: str, name: str) -> str:
        """What the table that is now read as ``name`` is called in the database."""
        return next((old for (where, old), new in self.tables.items() if (where, new) == (schema, name)), name)

    def columns_before(self, schema: str, name: str) -> dict[str, str]:
        """expected → actual names of the renamed columns of the table that is now read as ``name``."""
        found = self.columns.get((schema, self.table_before(schema, name)), {})
        return {new: old for old, new in found.items()}


def find_renames(expected: Catalog, actual: Catalog, options: CheckOptions) -> Renames:
    """Pure recognition; what ``options`` ignore is left alone."""
    sides = Sides(expected, actual, schema=options.schema, exact=options.exact)
    found = Renames()
    pairs: list[tuple[Relation, Relation]] = []
    missing: list[Relation] = []
    matched = set()
    for (schema, name), row in sides.expected.relations.items():
        other = sides.find(sides.actual.relations, schema, name)
        if other is not None:
            matched.add((other.schema, other.name))
            pairs.append((row, other))
        elif find_elsewhere(sides, row) is None:
            missing.append(row)
    extra = [
        row
        for key, row in sides.actual.relations.items()
        if key not in matched
        and row.schema in sides.scope
        and not options.ignores("table_extra", sides.actual.label(*key))
    ]
    said = {new: old for old, new in options.renames.items()}
    for row in missing:
        named = said.get(sides.expected.label(row.schema, row.name))
        best = next((other for other in extra if sides.actual.label(other.schema, other.name) == named), None)
        if best is None and options.guess:
            likeliest = max(extra, key=lambda other: _likeness(sides, row, other), default=None)
            if likeliest is not None and _likeness(sides, row, likeliest) >= _TABLES_ALIKE:
                best = likeliest
        if best is not None:
            extra.remove(best)
            found.tables[best.schema, best.name] = row.name
            pairs.append((row, best))
    for row, other in pairs:
        renamed = _said(sides, row, other, said)
        if options.guess:
            renamed.update(_columns(sides, row, other, renamed))
        if renamed and row.kind not in "vm":
            found.columns[other.schema, other.name] = renamed
    return found


@dataclass(frozen=True)
class Asked:
    """A table or a column (``table`` is then what the models call its table) that may have been renamed."""

    old: str
    new: str
    schema: str
    table: str = ""


def asked(likely: Renames, known: Renames) -> list[Asked]:
    """The likely renames that were not confirmed yet."""
    found = [
        Asked(old, new, schema) for (schema, old), new in likely.tables.items() if (schema, old) not in known.tables
    ]
    for (schema, table), columns in likely.columns.items():
        said = known.columns.get((schema, table), {})
        if (schema, table) in likely.tables and (schema, table) not in known.tables:
            continue  # the table is asked about first
        name = known.tables.get((schema, table), table)
        found += [Asked(old, new, schema, name) for old, new in columns.items() if old not in said]
    return found


def find_elsewhere(sides: Sides, row: Relation) -> Relation | Elsewhere | None:
    """The expected relation ``row`` outside of its places: of its name and kind, with at least half of its columns.

    Another program may have a table of that name in a schema of its own, which was not moved there.
    """
    candidates: list[tuple[Relation | Elsewhere, set[str]]]
    candidates = [(r, set(r.columns)) for r in sides.actual.catalog.elsewhere if r.name == row.name]
    for (_, name), other in sides.actual.relations.items():
        if name == row.name:
            candidates.append((other, {column.name for column in other.columns}))
    taken = {(s, n) for s, n in sides.expected.relations if s in sides.explicit}
    ours = {column.name for column in row.columns}
    for candidate, theirs in candidates:
        in_place = isinstance(candidate, Elsewhere) and candidate.schema == sides.home(row.schema)  # a partition
        free = in_place or (candidate.schema, candidate.name) not in taken
        if free and candidate.kind == row.kind and 2 * len(ours & theirs) >= len(ours):
            return candidate
    return None


def _likeness(sides: Sides, expected: Relation, actual: Relation) -> float:
    """The part of the columns (name and type) that two relations of one kind share, 0 to 1."""
    if expected.kind != actual.kind or sides.home(expected.schema) != actual.schema:
        return 0.0
    ours = {(c.name, sides.expected.type(c.type)) for c in expected.columns}
    theirs = {(c.name, sides.actual.type(c.type)) for c in actual.columns}
    together = len(ours | theirs)
    # a table of two columns says too little to be recognized by them
    return len(ours & theirs) / together if together > 2 else 0.0


def _said(sides: Sides, expected: Relation, actual: Relation, said: Mapping[str, str]) -> dict[str, str]:
    """actual → expected name of the columns that a person has named."""
    label = sides.expected.label(expected.schema, expected.name)
    theirs = {column.name for column in actual.columns}
    found = {}
    for column in expected.columns:
        old = said.get(f"{label}.{column.name}", "").rpartition(".")[2]
        if old in theirs and column.name not in theirs:
            found[old] = column.name
    return found


def _columns(
    sides: Sides, expected: Relation, actual: Relation, known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """actual → expected name of columns with the same type that are alike in name, or the only ones in question."""
    names = {c.name for c in expected.columns} & {c.name for c in actual.columns}
    names |= {name for pair in (known or {}).items() for name in pair}
    missing = [c for c in expected.columns if c.name not in names]
    left = [c for c in actual.columns if c.name not in names]
    alone = len(missing) == 1 and len(left) == 1
    found = {}
    for column in missing:
        alike = [o for o in left if sides.expected.type(column.type) == sides.actual.type(o.type)]
        best = max(alike, key=lambda other: _similar(column.name, other.name), default=None)
        if best is not None and (alone or _similar(column.name, best.name) >= _NAMES_ALIKE):
            found[best.name] = column.name
            left.remove(best)
    return found


def _similar(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()


def translate(actual: Catalog, renames: Renames) -> Catalog:
    """The actual catalog with the expected names, in rows and in SQL texts; the given one is not changed."""
    if not renames.tables and not renames.columns:
        return actual
    tables = {old: new for (_, old), new in renames.tables.items()}
    return replace(
        actual,
        relations=tuple(_relation(row, renames) for row in actual.relations),
        sequences=tuple(_sequence(row, renames) for row in actual.sequences),
        statistics=tuple(
            replace(row, table=tables.get(row.table, row.table), definition=rename_names(row.definition, tables))
            for row in actual.statistics
        ),
    )


def _relation(row: Relation, renames: Renames) -> Relation:
    place = (row.schema, row.name)
    tables = {old: new for (_, old), new in renames.tables.items()}
    if row.kind in "vm":
        # a view is not touched by renames in tables that it does not read, whose names it has in full
        read = [names for at, names in renames.columns.items() if quote_names(*at) in row.definition]
        columns = {old: new for names in read for old, new in names.items()}
    else:
        columns = renames.columns.get(place, {})
    name, inherits = renames.tables.get(place, row.name), tuple(rename_names(item, tables) for item in row.inherits)
    found = replace(_texts(row, {**tables, **columns}) if tables or columns else row, name=name, inherits=inherits)
    if row.kind in "vm":
        return found
    return replace(
        found,
        columns=tuple(replace(c, name=columns.get(c.name, c.name)) for c in found.columns),
        constraints=tuple(_constraint(item, columns, renames) for item in found.constraints),
        indexes=tuple(_index(item, columns) for item in found.indexes),
    )


def _texts(value: Any, names: Mapping[str, str]) -> Any:
    """A copy of ``value`` with ``names`` replaced in everything that is SQL."""
    if isinstance(value, tuple):
        return tuple(_texts(item, names) for item in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    items = {item.name: getattr(value, item.name) for item in fields(value)}
    return replace(
        value,
        **{
            key: rename_names(item, names) if key in _TEXTS and isinstance(item, str) else _texts(item, names)
            for key, item in items.items()
        },
    )


def _names(listed: Sequence[str], names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(names.get(name, name) for name in listed)


def _constraint(row: Constraint, columns: Mapping[str, str], renames: Renames) -> Constraint:
    found = replace(
        row,
        columns=_names(row.columns, columns),
        on_delete_columns=_names(row.on_delete_columns, columns),
        index=_index(row.index, columns) if row.index is not None else None,
    )
    if not row.target:
        return found
    schema, name = row.target
    target_columns = _names(row.target_columns, renames.columns.get((schema, name), {}))
    target = (schema, renames.tables.get((schema, name), name))
    return replace(found, target=target, target_columns=target_columns)


def _index(row: Index, columns: Mapping[str, str]) -> Index:
    keys = (key if key.column is None else replace(key, column=columns.get(key.column, key.column)) for key in row.keys)
    return replace(row, keys=tuple(keys), include=_names(row.include, columns))


def _sequence(row: SequenceRow, renames: Renames) -> SequenceRow:
    if not row.of:
        return row
    schema, table, column = row.of
    columns = renames.columns.get((schema, table), {})
    return replace(row, of=(schema, renames.tables.get((schema, table), table), columns.get(column, column)))
