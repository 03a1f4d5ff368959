"""The dependents of what changes: which of them are in the way, how they are dropped and how they are made again."""

from __future__ import annotations

from collections.abc import Mapping

from ...sql.quoting import quote_name, quote_names, quote_text
from ..catalog.rows import Place
from ..differences.comparison import Comparison
from ..differences.functions import create_function, function_target
from . import definitions
from .places import Entry, Places, owner_of
from .tables import (
    column_definition,
    column_extras,
    create_part,
    create_relation,
    create_statistics,
    drop_default,
    drop_relation,
    index_marks,
    set_default,
)

# How a change disturbs its dependents.
REPLACE, RETYPE, WIDEN, SWAP = "replace", "retype", "widen", "swap"
_READERS = ("relation", "rule", "policy", "trigger", "function")
_PARTS = ("trigger", "rule", "policy")


def in_the_way(places: Places, changes: Mapping[Place, str]) -> list[Place]:
    """What must be dropped before ``changes`` (a place and how it is disturbed) and made again after them."""
    found: dict[Place, None] = {}
    left = list(changes.items())
    seen = set(left)
    while left:
        place, how = left.pop(0)
        for dependent in sorted(places.dependents(place)):
            more = _disturbed(places, place, how, dependent)
            if more == REPLACE:
                found[dependent] = None
            if more and (dependent, more) not in seen:
                seen.add((dependent, more))
                left.append((dependent, more))
    return list(found)


def _disturbed(places: Places, place: Place, how: str, dependent: Place) -> str:
    """How ``dependent`` is disturbed in its turn; '' where it is not."""
    entry = entry_of(places, dependent, expected=False)
    kind = dependent[0]
    if kind == "default":
        follows = how == (RETYPE if place[0] == "column" else SWAP)
        return REPLACE if place[0] == "function" or follows else ""
    if entry is None or kind in ("sequence", "schema", "type", "extension"):
        return ""
    if kind == "rules":
        return REPLACE if place[0] == "function" else ""
    if kind == "relation":
        return REPLACE if entry.row.kind in "vm" else ""
    if kind == "column" and (entry.row.inherited or not entry.row.generated):
        return RETYPE if how == SWAP else ""
    if kind == "constraint" and (entry.row.type == "not null" or entry.row.inherited):
        return ""
    if how == REPLACE or kind in _READERS or kind == "column":
        return REPLACE
    if kind == "publication":
        return REPLACE
    if kind == "statistics":  # ALTER TABLE makes them again, but forgets their target
        return REPLACE if entry.row.target is not None else ""
    bound = how != WIDEN and kind in ("constraint", "index") and _has_expression(entry)
    return REPLACE if bound else ""


def _has_expression(entry: Entry) -> bool:
    """Whether it is more than a list of columns, which the server carries over by itself."""
    row = entry.row
    if entry.place[0] == "constraint":
        return row.type in ("check", "foreign key", "exclusion")
    return row.predicate is not None or any(key.expression is not None for key in row.keys)


def dropped(work: Comparison, entry: Entry) -> list[str]:
    kind, row = entry.place[0], entry.row
    if kind == "relation":
        return drop_relation(row)
    if kind == "function":
        return [f"DROP {function_target(row)};"]
    if kind == "statistics":
        return [f"DROP STATISTICS {quote_names(*entry.place[1:3])};"]
    if kind == "rules":
        return definitions.drop_rules(row, quote_names(*entry.place[1:]))
    if kind == "default":
        return [drop_default(work, quote_names(*entry.place[1:3]), row)]
    table = quote_names(*entry.place[1:3])
    quoted = quote_name(entry.place[3])
    if kind == "constraint":
        return [f"ALTER TABLE {table} DROP CONSTRAINT {quoted};"]
    if kind == "index":
        return [f"DROP INDEX {quote_names(entry.place[1], entry.place[3])};"]
    if kind == "publication":
        return [f"ALTER PUBLICATION {quoted} DROP TABLE {table};"]
    if kind in _PARTS:
        return [f"DROP {kind.upper()} {quoted} ON {table};"]
    return [f"ALTER TABLE {table} DROP COLUMN {quoted};"]


def made(work: Comparison, entry: Entry) -> list[str]:
    kind, row = entry.place[0], entry.row
    if kind == "relation":
        return create_relation(work, row)
    if kind == "function":
        return create_function(work, row)
    if kind == "statistics":
        return create_statistics(work, row)
    if kind == "rules":
        return definitions.add_rules(row, quote_names(*entry.place[1:]), work.sides.sql)
    if kind == "default" and entry.table is not None:
        return set_default(work, quote_names(*entry.place[1:3]), entry.table, row)
    table = quote_names(*entry.place[1:3])
    quoted = quote_name(entry.place[3])
    if kind == "publication":
        return [f"ALTER PUBLICATION {quoted} ADD TABLE {table}{row.definition};"]
    if kind == "constraint":
        text = definitions.constraint(row, work.sides.written, work.sides.sql)
        found = [f"ALTER TABLE {table} ADD CONSTRAINT {quoted} {text}{' NOT VALID' * row.not_validated};"]
        found += index_marks(table, row.index) if row.index else []
        comment = f"CONSTRAINT {quoted} ON {table}"
    elif kind == "index":
        found = [definitions.create_index(row, row.name, table, work.sides.sql, concurrently=False)]
        comment = f"INDEX {quote_names(entry.place[1], entry.place[3])}"
        found += index_marks(table, row)
    elif kind in _PARTS:
        return create_part(work, kind, table, row)
    else:
        assert entry.table is not None, entry.place
        found = [f"ALTER TABLE {table} ADD COLUMN {column_definition(work, entry.table, row)};"]
        found += column_extras(table, row)
        comment = f"COLUMN {table}.{quoted}"
    return found + [f"COMMENT ON {comment} IS {quote_text(row.comment)};"] * bool(row.comment)


def entry_of(places: Places, place: Place, *, expected: bool) -> Entry | None:
    """The object at ``place`` on one side; a default is its column, if that or one on a partition has one."""
    entries = places.expected if expected else places.actual
    if place[0] == "rules":
        domain = entries.get(owner_of(place))
        return domain and Entry(place, domain.label, domain.row)
    if place[0] != "default":
        return entries.get(place)
    column = entries.get(owner_of(place))
    if column is None or column.table is None:
        return None
    of_partitions = any(own == place[3] for _, _, own, _ in column.table.partition_defaults)
    filled = column.row.identity or column.row.default is not None or of_partitions
    return Entry(place, column.label, column.row, column.table) if filled and not column.row.generated else None
