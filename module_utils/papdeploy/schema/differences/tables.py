"""Tables and views: missing, extra, renamed, moved, of another kind; what a table is apart from its parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Optional

from ...core.text import plural
from ...sql.quoting import quote_name, quote_names
from ..catalog.rows import Column, Elsewhere, Relation
from ..repair.definitions import column_type
from ..repair.tables import create_partitions, create_relation, drop_relation, reset_options, sql_kind
from .columns import compare_columns
from .comparison import Comparison
from .constraints import compare_constraints
from .indexes import compare_indexes
from .pairs import ColumnPair
from .renames import find_elsewhere
from .sequences import compare_default, compare_drawn
from .triggers_and_policies import compare_parts

KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}
_PERSISTENCE = {"p": "logged", "u": "unlogged", "t": "temporary"}
# What two rows of the same table share where nothing differs; partitions come and go.
_rest = attrgetter(
    *(item.name for item in dataclasses.fields(Relation) if item.name not in ("owner", "columns", "partitions"))
)
_IDENTITY = {"d": "DEFAULT", "n": "NOTHING", "f": "FULL", "i": "USING INDEX"}


def compare_relations(work: Comparison) -> None:
    """All tables and views of both sides."""
    missing: list[Relation] = []
    matched: set[tuple[str, str]] = set()
    pairs: list[tuple[Relation, Relation]] = []
    for (schema, name), row in work.expected.relations.items():
        found = work.sides.find(work.actual.relations, schema, name)
        if found is None:
            missing.append(row)
        else:
            matched.add((found.schema, found.name))
            pairs.append((row, found))
    extra = [row for key, row in work.actual.relations.items() if key not in matched and row.schema in work.sides.scope]
    for row in missing:
        _compare_missing(work, row, extra)
    for row in extra:
        _report_extra(work, row)
    for expected, actual in pairs:
        compare_relation(work, expected, actual)


def _compare_missing(work: Comparison, row: Relation, extra: list[Relation]) -> None:
    """Missing, or in another schema."""
    label = work.expected.label(row.schema, row.name)
    moved = find_elsewhere(work.sides, row)
    if moved is not None:
        schema = moved.schema
        if isinstance(moved, Elsewhere) and moved.partition:
            work.add("table_attached", label, KINDS[row.kind], "a partition of another table", table=label)
            return
        home = quote_names(schema, row.name)
        where = quote_name(work.sides.home(row.schema))
        repair = [
            f"-- what it has, and of which types, is compared once it is in {where}: run the check again after it",
            f"ALTER {sql_kind(row)} {home} SET SCHEMA {where};",
        ]
        work.add("table_moved", label, f"in schema {where}", f"in schema {schema}", repair, table=label)
        extra[:] = [other for other in extra if (other.schema, other.name) != (schema, row.name)]
        return
    kind = "view_missing" if row.kind in "vm" else "table_missing"
    work.add(kind, label, _summary(row), "nothing", create_relation(work, row), table=label)


def _report_rename(work: Comparison, expected: Relation, actual: Relation) -> None:
    """The table's name in the database, where it is not the models'."""
    before = work.renames.table_before(actual.schema, actual.name)
    if before == actual.name:
        return
    label = work.expected.label(expected.schema, expected.name)
    repair = [f"ALTER {sql_kind(expected)} {quote_names(actual.schema, before)} RENAME TO {quote_name(expected.name)};"]
    words = KINDS[expected.kind]
    present = work.actual.label(actual.schema, before)
    kind = "table_renamed"
    work.add(kind, label, f"{words} {label}", f"{words} {present}", repair, table=label)


def _summary(row: Relation) -> str:
    if row.kind == "v":
        return "view"
    columns = ", ".join(f"{column.name} {column_type(column)}" for column in row.columns)
    return f"{KINDS[row.kind]} ({columns})"


def _report_extra(work: Comparison, row: Relation) -> None:
    label = work.actual.label(row.schema, row.name)
    kind = "view_extra" if row.kind in "vm" else "table_extra"
    partitions = {(work.sides.home(one.schema), one.name): one for one in work.expected.catalog.partitions}
    one = partitions.get((row.schema, row.name))
    repair = drop_relation(row)
    if one is not None:
        of = work.expected.label(*one.parent)
        repair = [f"-- {label} is a partition of {of} in the models: attach it by hand, it keeps its rows"]
    work.add(kind, label, "nothing", _summary(row), repair, table=label)


def compare_relation(work: Comparison, expected: Relation, actual: Relation) -> None:
    """Two relations that stand for one another."""
    label = work.expected.label(expected.schema, expected.name)
    name = quote_names(actual.schema, actual.name)
    if work.options.ignores("*", label):
        return
    _report_rename(work, expected, actual)
    renamed = work.renames.columns_before(actual.schema, actual.name)
    if work.sides.same_words and not renamed and _equal(expected, actual):
        compare_drawn(work, label, name, expected, actual)
        return
    if expected.kind != actual.kind and {expected.kind, actual.kind} != {"r", "p"}:
        if actual.kind in "vm":
            aside = drop_relation(actual)
        else:
            old = f"{actual.name[:58]}_old"
            aside = [
                f"-- {old} keeps the rows: decide what becomes of them, then drop it by hand",
                f"ALTER {sql_kind(actual)} {name} RENAME TO {quote_name(old)};",
            ]
        repair = [*aside, *create_relation(work, expected)]
        work.add("table_kind", label, KINDS[expected.kind], KINDS[actual.kind], repair, table=label)
        return
    _compare_properties(work, label, name, expected, actual)
    if expected.kind in "vm":
        _compare_view(work, label, name, expected, actual)
    else:
        compare_columns(work, label, name, expected, actual)
        compare_constraints(work, label, name, expected, actual)
    compare_indexes(work, label, name, expected, actual)
    compare_parts(work, label, name, expected, actual)
    work.compare_common("table", label, expected, actual, f"{sql_kind(actual)} {name}")


def _equal(expected: Relation, actual: Relation) -> bool:
    """Whether two rows are the same but for the owner: then no rule can tell them apart, and most tables are so."""
    if expected.columns != actual.columns:
        return False
    return _rest(expected) == _rest(actual) and bool(expected.partitions) == bool(actual.partitions)


def _compare_properties(work: Comparison, label: str, name: str, expected: Relation, actual: Relation) -> None:
    def differ(kind: str, wanted: str, present: str, *repair: str) -> None:
        if wanted != present:
            work.add(kind, label, wanted or "none", present or "none", repair, table=label)

    keys = tuple(f"PARTITION BY {side.partition_key}" if side.partition_key else "" for side in (expected, actual))
    if work.expected.text(keys[0]) != work.actual.text(keys[1]):
        hint = "-- a table cannot change this: create it anew by hand, copy the rows, swap the names"
        work.add(
            "table_partitioning", label, keys[0] or "not partitioned", keys[1] or "not partitioned", [hint], table=label
        )
    elif expected.partitions and not actual.partitions:
        words = plural(expected.partitions, "partition")
        work.add("table_partitions", label, words, "no partition", create_partitions(work, expected), table=label)
    elif expected.default_partition and not actual.default_partition:
        default = quote_names(actual.schema, f"{actual.name[:55]}_default")
        create = f"CREATE TABLE {default} PARTITION OF {name} DEFAULT;"
        work.add("table_partitions", label, "a DEFAULT partition", "no DEFAULT partition", [create], table=label)
    _compare_partition_defaults(work, label, expected, actual)
    persistence = [_PERSISTENCE[side.persistence] for side in (expected, actual)]
    differ("table_persistence", *persistence, f"ALTER TABLE {name} SET {persistence[0].upper()}; -- rewrites the table")
    parents = (
        [work.expected.name(parent) for parent in expected.inherits],
        [work.actual.name(parent) for parent in actual.inherits],
    )
    repair = [f"ALTER TABLE {name} INHERIT {work.sides.sql(p)};" for p in expected.inherits]
    repair = repair or [f"ALTER TABLE {name} NO INHERIT {p};" for p in actual.inherits]
    differ("table_inheritance", *(", ".join(side) and f"inherits {', '.join(side)}" for side in parents), *repair)
    differ("table_type", work.expected.name(expected.of_type), work.actual.name(actual.of_type))
    if expected.kind not in "v":
        options = [", ".join(sorted(side.options)) for side in (expected, actual)]
        differ("table_storage", *options, *reset_options(f"{sql_kind(actual)} {name}", expected, actual))
    if expected.tablespace or work.options.exact:
        spaces = [(side.tablespace or "pg_default") for side in (expected, actual)]
        differ(
            "table_tablespace",
            *spaces,
            f"ALTER TABLE {name} SET TABLESPACE {quote_name(spaces[0])}; -- copies the table",
        )
    if expected.kind == actual.kind:
        differ("table_method", expected.method, actual.method)
    differ("table_server", _server(expected), _server(actual))
    _compare_replica_identity(work, label, name, expected, actual)
    _compare_row_security(work, label, name, expected, actual)


def _compare_partition_defaults(work: Comparison, label: str, expected: Relation, actual: Relation) -> None:
    """An insert into a partition itself gets the partition's default: the table's, if the models say no other."""
    ours = {(work.sides.home(row[0]), *row[1:3]): row[3] for row in expected.partition_defaults}
    theirs = {row[:3]: row[3] for row in actual.partition_defaults}
    there = {(one.schema, one.name) for one in work.actual.catalog.elsewhere if one.partition}
    pairs = [(column, other) for column in expected.columns for other in actual.columns if column.name == other.name]
    for key, wanted, default, row in _partition_defaults(pairs, ours, theirs):
        schema, table, column = key
        sides = work.expected.default_of(wanted, row.type, expected), work.actual.default_of(default, row.type, actual)
        if sides[0] == sides[1] or (key not in theirs and (schema, table) not in there):
            continue
        how = "DROP DEFAULT" if wanted is None else f"SET DEFAULT {work.sides.sql(wanted)}"
        change = f"ALTER TABLE {quote_names(schema, table)} ALTER COLUMN {quote_name(column)} {how};"
        repair = [] if row.generated else [change]
        words = [f"DEFAULT {text}" if text is not None else "no default" for text in (wanted, default)]
        where = f"on its partition {table}"
        why = f"inserts into {table} itself get something else than inserts into {label}"
        name = f"{label}.{column}"
        work.add("column_default", name, f"{words[0]} {where}", f"{words[1]} {where}", repair, table=label, why=why)


Defaults = dict[tuple[str, str, str], Optional[str]]


def _partition_defaults(
    pairs: Sequence[tuple[Column, Column]], ours: Defaults, theirs: Defaults
) -> Iterator[tuple[tuple[str, str, str], Optional[str], Optional[str], Column]]:
    """(partition and column, what the models say, what the database has, the table's column)."""
    for row, other in pairs:
        for key in sorted(key for key in ours.keys() | theirs.keys() if key[2] == row.name):
            wanted, default = ours.get(key, row.default or row.generation), other.default or other.generation
            yield key, wanted, theirs.get(key, default), row


def _server(row: Relation) -> str:
    return str(list(row.server)) if row.server else ""


def _compare_replica_identity(work: Comparison, label: str, name: str, expected: Relation, actual: Relation) -> None:
    def identity(side: Relation) -> str:
        return _IDENTITY[side.replica_identity or "d"]

    def chosen(side: Relation) -> str:
        return next((index.name for index in side.all_indexes() if index.replica_identity), "")

    wanted, present = identity(expected), identity(actual)
    if wanted != present:
        index = f" {quote_name(chosen(expected))}" if wanted == "USING INDEX" else ""
        work.add(
            "table_replica_identity",
            label,
            f"REPLICA IDENTITY {wanted}{index}",
            f"REPLICA IDENTITY {present}",
            [f"ALTER TABLE {name} REPLICA IDENTITY {wanted}{index};"],
            table=label,
        )


def _compare_row_security(work: Comparison, label: str, name: str, expected: Relation, actual: Relation) -> None:
    forced = (expected.force_row_security, actual.force_row_security)
    for (ours, theirs), word, on, off in (
        ((expected.row_security, actual.row_security), "ROW LEVEL SECURITY", "ENABLE", "DISABLE"),
        (forced, "ROW LEVEL SECURITY for the owner too", "FORCE", "NO FORCE"),
    ):
        if ours != theirs:
            wanted, present = (on, off) if ours else (off, on)
            repair = [f"ALTER TABLE {name} {wanted} ROW LEVEL SECURITY;"]
            work.add("row_security", label, f"{wanted} {word}", f"{present} {word}", repair, table=label)


def _compare_view(work: Comparison, label: str, name: str, expected: Relation, actual: Relation) -> None:
    definitions = (
        view_key(work.expected.text(expected.definition)),
        view_key(work.actual.text(actual.definition)),
    )
    if definitions[0] != definitions[1]:
        create = create_relation(work, expected)
        if expected.kind == "v" and _replaceable(work, expected, actual):
            repair = ["-- CREATE OR REPLACE keeps rights and dependents where the columns stay the same"]
            repair += [create[0].replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1), *create[1:]]
        else:
            repair = [f"DROP {sql_kind(actual)} {name};", *create]
        work.add("view_definition", label, expected.definition.strip(), actual.definition.strip(), repair, table=label)
    if expected.kind == "v":
        wanted, present = (", ".join(sorted(side.options)) for side in (expected, actual))
        if wanted != present:
            repair = reset_options(f"VIEW {name}", expected, actual)
            work.add("view_options", label, wanted or "no options", present or "no options", repair, table=label)
    elif actual.populated == "no" and expected.populated != "no":
        work.add(
            "view_unpopulated", label, "filled", "WITH NO DATA", [f"REFRESH MATERIALIZED VIEW {name};"], table=label
        )
    for column in expected.columns:
        other = next((c for c in actual.columns if c.name == column.name), None)
        if other is not None:
            quoted, column_label = quote_name(column.name), f"{label}.{column.name}"
            work.compare_comment("column_comment", column_label, column, other, f"COLUMN {name}.{quoted}", table=label)
            work.compare_grants("column_grant", column_label, column, other, f"TABLE {name}", quoted)
            work.compare_role_grants(column_label, column, other, name, quoted)
            compare_default(work, ColumnPair(label, name, expected, column, actual, other))


def _replaceable(work: Comparison, expected: Relation, actual: Relation) -> bool:
    """CREATE OR REPLACE VIEW may only add columns behind those that are there."""
    ours = [(column.name, work.expected.type(column.type)) for column in expected.columns]
    theirs = [(column.name, work.actual.type(column.type)) for column in actual.columns]
    return ours[: len(theirs)] == theirs


def view_key(text: str | None) -> str | None:
    """The tokens of a view's query, its output columns in one order: it follows ``SELECT *`` and migrations."""
    if text is None or not text.startswith("select "):
        return text
    words = text.split(" ")
    items: list[str] = []
    current: list[str] = []
    depth, start = 0, 1
    for place in range(start, len(words)):
        word = words[place]
        depth += (word in ("(", "[")) - (word in (")", "]"))
        if depth == 0 and word == "from":
            items.append(" ".join(current))
            rest = " ".join(words[place:])
            if any(f" {word} " in f" {rest} " for word in ("union", "intersect", "except")):
                return text
            return f"select {' , '.join(sorted(items))} {rest}"
        if depth == 0 and word == ",":
            items.append(" ".join(current))
            current = []
        else:
            current.append(word)
    return text
