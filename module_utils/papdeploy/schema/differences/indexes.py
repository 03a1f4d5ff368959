"""Indexes that back no constraint."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ...sql.quoting import quote_name, quote_names, quote_text
from ..catalog.rows import NO_INDEX, Constraint, Index, Relation
from ..repair import definitions
from ..repair.tables import reset_options, sql_kind
from .comparison import Comparison
from .constraints import same_rule
from .generated_names import made_by_server
from .matching import match
from .name_resolution import Side


def compare_indexes(work: Comparison, label: str, name: str, expected: Relation, actual: Relation) -> None:
    def ours(row: Index) -> Hashable:
        return repr(_substance(work.expected, expected, row))

    def theirs(row: Index) -> Hashable:
        return repr(_substance(work.actual, actual, row))

    def named(row: Index) -> Hashable:
        return str(row.name)

    pairs, missing, extra = match(expected.indexes, actual.indexes, [(ours, theirs), (named, named)])
    for row, other in pairs:
        _compare(work, label, name, (expected, row), (actual, other))
    concurrently = actual.kind != "p"
    for row in missing:
        if row.invalid:
            continue  # of no use to anybody, and in no dump
        constraint = _stand_in(actual, row)
        if constraint is not None:
            text = f"unique constraint {constraint.name}"
            own = quote_name(constraint.name)
            repairs = []
            if constraint.name == row.name:  # the rule holds all the time, under another name
                repairs = [f"ALTER TABLE {name} RENAME CONSTRAINT {own} TO {quote_name(f'{row.name[:58]}_old')};"]
                own = quote_name(f"{row.name[:58]}_old")
            repairs.append(definitions.create_index(row, row.name, name, work.sides.sql, concurrently=concurrently))
            repairs.append(f"ALTER TABLE {name} DROP CONSTRAINT {own};")
            work.add("unique_as_index", f"{label}.{row.name}", _words(row), text, repairs, table=label)
            continue
        kind = "index_unique_missing" if row.unique else "index_missing"
        create = definitions.create_index(row, row.name, name, work.sides.sql, concurrently=concurrently)
        repairs = [create, *_comment(row, quote_names(actual.schema, row.name))]
        work.add(kind, f"{label}.{row.name}", _words(row), "nothing", repairs, table=label)
    for row in extra:
        if _stand_in(expected, row) is not None:
            continue  # reported with the unique constraint that it stands for
        own = quote_names(actual.schema, row.name)
        kind = "index_unique_extra" if row.unique else "index_extra"
        how = " CONCURRENTLY" if concurrently else ""
        work.add(kind, f"{label}.{row.name}", "nothing", _words(row), [f"DROP INDEX{how} {own};"], table=label)


def _stand_in(table: Relation, index: Index) -> Constraint | None:
    """A unique constraint of ``table`` that says what the unique ``index`` says."""
    if not index.unique:
        return None
    for row in table.constraints:
        if row.type == "unique" and not row.deferrable and same_rule(row.index or NO_INDEX) == same_rule(index):
            return row
    return None


def _words(row: Index) -> str:
    unique = "UNIQUE " if row.unique else ""
    return f"{unique}INDEX {definitions.index(row)}" + (" INVALID" if row.invalid else "")


def _substance(side: Side, table: Relation, row: Index) -> Any:
    """What the index can do, without its name, state and storage."""
    keys = [
        (
            key.column,
            side.expression(key.expression, table),
            side.name(key.collation),
            side.name(key.opclass),
            sorted(key.options),
            bool(key.desc),
            key.nulls,
        )
        for key in row.keys
    ]
    return (
        bool(row.unique),
        row.method,
        keys,
        sorted(row.include),
        side.expression(row.predicate, table),
        bool(row.nulls_not_distinct),
    )


def _compare(
    work: Comparison, label: str, name: str, ours: tuple[Relation, Index], theirs: tuple[Relation, Index]
) -> None:
    (expected_table, expected), (actual_table, actual) = ours, theirs
    object_name = f"{label}.{expected.name}"
    own = quote_names(actual_table.schema, actual.name)
    concurrently = actual_table.kind not in "p"
    changed = _substance(work.expected, expected_table, expected) != _substance(work.actual, actual_table, actual)
    if changed:
        how = " CONCURRENTLY" if concurrently else ""
        temporary = f"{expected.name[:58]}_new"
        repair = [
            definitions.create_index(expected, temporary, name, work.sides.sql, concurrently=concurrently),
            f"DROP INDEX{how} {own};",
            f"ALTER INDEX {quote_names(actual_table.schema, temporary)} RENAME TO {quote_name(expected.name)};",
        ]
        repair += _comment(expected, quote_names(actual_table.schema, expected.name))
        unique = bool(expected.unique) or bool(actual.unique)
        work.add(
            "index_changed",
            object_name,
            _words(expected),
            _words(actual),
            repair,
            table=label,
            severity="error" if unique else "",
            why="other rows count as doubles than the models say" if unique else "",
        )
    elif actual.invalid and not expected.invalid:
        repair, why = [f"REINDEX INDEX CONCURRENTLY {own};"], ""
        if not concurrently:
            create = definitions.create_index(expected, expected.name, name, work.sides.sql, concurrently=False)
            repair = ["-- builds the index of every partition while writes wait", f"DROP INDEX {own};", create]
            repair += _comment(expected, quote_names(actual_table.schema, expected.name))
            why = "partitions lack their part of it (ON ONLY builds none): queries do not use it as a whole"
        work.add("index_invalid", object_name, "valid", "INVALID", repair, table=label, why=why)
    _compare_state(
        work, label, name, object_name, own, (expected_table, expected), (actual_table, actual), changed=changed
    )


def _compare_state(
    work: Comparison,
    label: str,
    name: str,
    object_name: str,
    own: str,
    ours: tuple[Relation, Index],
    theirs: tuple[Relation, Index],
    *,
    changed: bool,
) -> None:
    (expected_table, expected), (actual_table, actual) = ours, theirs
    wanted, present = (list(side.options) for side in (expected, actual))
    if wanted != present:
        repair = [*reset_options(f"INDEX {own}", expected, actual), f"REINDEX INDEX CONCURRENTLY {own};"]
        words = [", ".join(side) or "none" for side in (wanted, present)]
        work.add("index_storage", object_name, words[0], words[1], repair, table=label)
    if expected.name != actual.name:
        free = made_by_server(expected.name, expected_table.name, "index") and not work.options.exact
        if not free:
            repair = [f"ALTER INDEX {own} RENAME TO {quote_name(expected.name)};"]
            work.add("index_name", object_name, f"INDEX {expected.name}", f"INDEX {actual.name}", repair, table=label)
    if expected.tablespace and expected.tablespace != actual.tablespace:
        space = expected.tablespace
        repair = [f"ALTER INDEX {own} SET TABLESPACE {quote_name(space)};"]
        work.add("index_tablespace", object_name, space, actual.tablespace or "pg_default", repair, table=label)
    if bool(expected.clustered) != bool(actual.clustered):
        words = ["CLUSTER ON" if side.clustered else "not clustered" for side in (expected, actual)]
        how = f"CLUSTER ON {quote_name(actual.name)}" if expected.clustered else "SET WITHOUT CLUSTER"
        repair = [f"ALTER {sql_kind(actual_table)} {name} {how};"]
        work.add("index_clustered", object_name, words[0], words[1], repair, table=label)
    by_another = actual_table.replica_identity == "i" and not actual.replica_identity
    if expected.replica_identity and by_another:
        repair = [f"ALTER TABLE {name} REPLICA IDENTITY USING INDEX {quote_name(actual.name)};"]
        work.add("table_replica_identity", label, f"USING INDEX {expected.name}", "another index", repair, table=label)
    if not changed:  # else the repair says the comment again
        work.compare_comment("index_comment", object_name, expected, actual, f"INDEX {own}", table=label)


def _comment(row: Index, name: str) -> list[str]:
    return [f"COMMENT ON INDEX {name} IS {quote_text(row.comment)};"] if row.comment else []
