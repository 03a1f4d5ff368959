"""Columns: type, emptiness, default, what draws their ids, collation, storage."""

from __future__ import annotations

from ...sql.quoting import quote_name, quote_text
from ..catalog.rows import Column, Relation
from ..repair import definitions
from ..repair.exchange import in_partition_key
from ..repair.tables import (
    column_definition,
    column_extras,
    create_sequence,
    draws_from_own,
    drop_default,
    owned_by,
    set_default,
    special_sequence,
)
from .comparison import Comparison
from .conversions import conversion, type_risk
from .pairs import ColumnPair
from .sequences import compare_generator

_STORAGES = {"p": "PLAIN", "e": "EXTERNAL", "m": "MAIN", "x": "EXTENDED"}
_COMPRESSIONS = {"p": "pglz", "l": "lz4"}


def compare_columns(work: Comparison, label: str, name: str, expected: Relation, actual: Relation) -> None:
    theirs = {column.name: column for column in actual.columns}
    ours = {column.name: column for column in expected.columns}
    missing = [column for key, column in ours.items() if key not in theirs]
    extra = [column for key, column in theirs.items() if key not in ours]
    pairs = [(column, theirs[key]) for key, column in ours.items() if key in theirs]
    for after, before in work.renames.columns_before(actual.schema, actual.name).items():
        text = definitions.column_type(ours[after])
        work.add(
            "column_renamed",
            f"{label}.{after}",
            f"{after} {text}",
            f"{before} {text}",
            [f"ALTER TABLE {name} RENAME COLUMN {quote_name(before)} TO {quote_name(after)};"],
            table=label,
        )
    for column in missing:
        _report_missing(work, label, name, expected, column)
    for column in extra:
        _report_extra(work, label, name, column)
    for column, other in pairs:
        if column != other or column.default or column.identity:
            _compare_column(work, ColumnPair(label, name, expected, column, actual, other))


def _words(column: Column) -> str:
    """The column's definition for a person."""
    text = f"{column.name} {definitions.column_type(column)}"
    if column.identity:
        text += " " + definitions.identity(column)
    elif column.generated:
        text += " " + definitions.generated(column)
    elif column.default is not None:
        text += f" DEFAULT {column.default}"
    return text + (" NOT NULL" if column.not_null else "")


def _report_missing(work: Comparison, label: str, name: str, table: Relation, column: Column) -> None:
    definition = column_definition(work, table, column)
    fills_itself = column.default is not None or column.identity or column.generated
    value = "" if fills_itself else work.python_defaults.get(f"{label}.{column.name}", "")
    if column.not_null and not fills_itself:
        definition = definition[: -len(" NOT NULL")]
    owned = special_sequence(work, table, column)
    repair = create_sequence(work, owned) if owned else []
    repair.append(f"ALTER TABLE {name} ADD COLUMN {definition};")
    repair += [owned_by(work, owned)] if owned else []
    if column.not_null and not fills_itself:
        repair += set_not_null(name, column.name, value)
    elif value:
        repair += _filled(name, column.name, value)
    repair += column_extras(name, column)
    if column.comment:
        target = f"{name}.{quote_name(column.name)}"
        repair.append(f"COMMENT ON COLUMN {target} IS {quote_text(column.comment)};")
    work.add("column_missing", f"{label}.{column.name}", _words(column), "nothing", repair, table=label)


def _filled(name: str, column: str, value: str) -> list[str]:
    """The value that the models give new rows, for those that are there; without one, a remark."""
    quoted = quote_name(column)
    fill = f"UPDATE {name} SET {quoted} = {value or '…'} WHERE {quoted} IS NULL;"
    if not value:
        return [f"-- fill the empty rows first: {fill}"]
    return ["-- rows that are there get the models' default", fill]


def set_not_null(name: str, column: str, value: str = "") -> list[str]:
    """NOT NULL without a long lock: a check is validated first, and SET NOT NULL then trusts it (PostgreSQL 12)."""
    quoted = quote_name(column)
    check = quote_name(f"{column[:48]}_is_set")
    return [
        *_filled(name, column, value),
        f"ALTER TABLE {name} ADD CONSTRAINT {check} CHECK ({quoted} IS NOT NULL) NOT VALID;",
        f"ALTER TABLE {name} VALIDATE CONSTRAINT {check};",
        f"ALTER TABLE {name} ALTER COLUMN {quoted} SET NOT NULL;",
        f"ALTER TABLE {name} DROP CONSTRAINT {check};",
    ]


def _report_extra(work: Comparison, label: str, name: str, column: Column) -> None:
    quoted = quote_name(column.name)
    fills_itself = column.default is not None or column.identity or column.generated
    drop = [
        "-- this destroys its values: make sure that nothing uses them",
        f"ALTER TABLE {name} DROP COLUMN {quoted};",
    ]
    if column.not_null and not fills_itself:
        work.add(
            "column_extra",
            f"{label}.{column.name}",
            "nothing",
            _words(column),
            [f"ALTER TABLE {name} ALTER COLUMN {quoted} DROP NOT NULL;", *drop],
            table=label,
            severity="error",
            why="no model fills it, and it may not be empty: every insert fails",
        )
    else:
        work.add("column_extra", f"{label}.{column.name}", "nothing", _words(column), drop, table=label)


def _compare_column(work: Comparison, pair: ColumnPair) -> None:
    expected, actual = pair.expected, pair.actual
    label, target, table_label = pair.label, pair.target, pair.table_label
    same_type = _compare_type(work, pair)
    _compare_not_null(work, pair)
    if expected.generated or actual.generated:
        _compare_generated(work, pair)
    else:
        compare_generator(work, pair)
    collations = [side.name(row.collation) for side, row in ((work.expected, expected), (work.actual, actual))]
    if collations[0] != collations[1] and same_type:
        collate = f" COLLATE {work.sides.sql(expected.collation)}" if expected.collation else ""
        work.add(
            "column_collation",
            label,
            collations[0] or "the database's collation",
            collations[1] or "the database's collation",
            [f"{target} TYPE {work.sides.sql(expected.type)}{collate};"],
            table=table_label,
        )
    _compare_storage(work, pair)
    name = f"{pair.table}.{pair.quoted}"
    work.compare_comment("column_comment", label, expected, actual, f"COLUMN {name}", table=table_label)
    work.compare_grants("column_grant", label, expected, actual, f"TABLE {pair.table}", pair.quoted)
    work.compare_role_grants(label, expected, actual, pair.table, pair.quoted)


def _compare_type(work: Comparison, pair: ColumnPair) -> bool:
    expected, actual = pair.expected, pair.actual
    wanted, present = work.expected.type(expected.type), work.actual.type(actual.type)
    if wanted == present:
        return True
    severity, why = type_risk(wanted, present)
    types = expected.type, actual.type
    anew = expected.generated or actual.generated == "v"
    repair = _made_anew(work, pair) if anew else _retyped(work, pair, wanted, present)
    work.add("column_type", pair.label, *types, repair, table=pair.table_label, severity=severity, why=why)
    return False


def _retyped(work: Comparison, pair: ColumnPair, wanted: str, present: str) -> list[str]:
    expected, actual, target = pair.expected, pair.actual, pair.target
    text = definitions.column_type(expected, work.sides.sql)
    found = conversion(wanted, present, quote_name(actual.name), work.sides.sql(expected.type))
    if found.using is None or in_partition_key(pair.actual_table, actual.name):
        why = found.remark if found.using is None else "the table is partitioned by it: make the table anew"
        return [f"-- {pair.label}: {why}", f"-- {target} TYPE {text} USING …;"]
    using = f" USING {found.using}" if found.using else ""
    remarks = [f"-- {found.remark}"] if found.remark else []
    change = [f"{target} TYPE {text}{using};"]
    if using and (actual.default is not None or actual.identity):
        change.insert(0, drop_default(work, pair.table, actual))
        if not draws_from_own(work, pair.expected_table, expected):
            change += set_default(work, pair.table, pair.expected_table, expected)
    return [
        "-- rewrites or scans the table under an exclusive lock, unless the new type is only wider",
        *remarks,
        *change,
    ]


def _compare_not_null(work: Comparison, pair: ColumnPair) -> None:
    wanted, present = pair.expected.not_null, pair.actual.not_null
    if wanted == present:
        return
    if wanted:
        default = pair.expected.default and work.sides.sql(pair.expected.default)
        repair = set_not_null(pair.table, pair.actual.name, work.python_defaults.get(pair.label) or default or "")
        why = "rows without a value get in, which the models never expect"
        work.add("column_not_null", pair.label, "NOT NULL", "may be empty", repair, table=pair.table_label, why=why)
    else:
        why = "rows without a value are refused, which the models allow"
        work.add(
            "column_not_null",
            pair.label,
            "may be empty",
            "NOT NULL",
            [f"{pair.target} DROP NOT NULL;"],
            table=pair.table_label,
            why=why,
        )


def _compare_generated(work: Comparison, pair: ColumnPair) -> None:
    expected, actual, target = pair.expected, pair.actual, pair.target
    same_kind = expected.generated == actual.generated
    wanted = work.expected.expression(expected.generation, pair.expected_table)
    if same_kind and wanted == work.actual.expression(actual.generation, pair.actual_table):
        return

    def words(column: Column) -> str:
        if column.generated:
            return definitions.generated(column)
        return f"DEFAULT {column.default}" if column.default is not None else "not generated"

    if not expected.generated:
        # a virtual column has no values to keep, so it is made anew
        repair = [f"{target} DROP EXPRESSION;"]
        if actual.generated == "v":
            repair = _made_anew(work, pair)
        elif expected.default is not None:
            repair += set_default(work, pair.table, pair.expected_table, expected)
    elif same_kind and work.major >= 17 and work.expected.type(expected.type) == work.actual.type(actual.type):
        repair = [f"{target} SET EXPRESSION AS ({work.sides.sql(expected.generation or '')}); -- rewrites the table"]
    else:
        repair = _made_anew(work, pair)
    work.add("column_generated", pair.label, words(expected), words(actual), repair, table=pair.table_label)


def _made_anew(work: Comparison, pair: ColumnPair) -> list[str]:
    definition = column_definition(work, pair.expected_table, pair.expected)
    return [
        "-- the column is made anew; indexes and constraints on it too",
        f"ALTER TABLE {pair.table} DROP COLUMN {pair.quoted}, ADD COLUMN {definition};",
    ]


def _compare_storage(work: Comparison, pair: ColumnPair) -> None:
    expected, actual = pair.expected, pair.actual
    label, target, table = pair.label, pair.target, pair.table_label
    if expected.storage != actual.storage and expected.type == actual.type:
        wanted, present = (_STORAGES.get(side.storage, "the type's") for side in (expected, actual))
        word = wanted if wanted in _STORAGES.values() else "DEFAULT" if work.major >= 16 else "EXTENDED"
        work.add(
            "column_storage",
            label,
            f"STORAGE {wanted}",
            f"STORAGE {present}",
            [f"{target} SET STORAGE {word};"],
            table=table,
        )
    if expected.compression != actual.compression:
        wanted, present = (_COMPRESSIONS.get(side.compression, "default") for side in (expected, actual))
        repair = [f"{target} SET COMPRESSION {wanted};"]
        work.add("column_storage", label, f"COMPRESSION {wanted}", f"COMPRESSION {present}", repair, table=table)
    if expected.statistics != actual.statistics:
        most, now = ((-1 if side.statistics is None else side.statistics) for side in (expected, actual))
        repair = [f"{target} SET STATISTICS {most};"]
        work.add("column_statistics", label, f"STATISTICS {most}", f"STATISTICS {now}", repair, table=table)
    if expected.options != actual.options:
        wanted, present = (", ".join(side.options) or "no options" for side in (expected, actual))
        gone = [option.partition("=")[0] for option in actual.options]
        repair = [f"{target} SET ({wanted});"] if expected.options else [f"{target} RESET ({', '.join(gone)});"]
        work.add("column_options", label, wanted, present, repair, table=table)
