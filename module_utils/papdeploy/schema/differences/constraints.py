"""Primary keys, foreign keys, unique, check and exclusion constraints."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable

from ...sql.quoting import quote_name, quote_names, quote_text
from ..catalog.rows import NO_INDEX, Constraint, Index, Relation
from ..repair import definitions
from ..repair.tables import reset_options
from .comparison import Comparison
from .generated_names import made_by_server
from .matching import match
from .name_resolution import Side

KINDS = {
    "primary key": "primary_key",
    "foreign key": "foreign_key",
    "unique": "unique",
    "check": "check",
    "exclusion": "exclusion",
}


class _Table:
    """The two tables, and what both are called."""

    def __init__(self, work: Comparison, label: str, name: str, expected: Relation, actual: Relation) -> None:
        self.work, self.label, self.name = work, label, name
        self.expected, self.actual = expected, actual
        self.partitioned = actual.kind == "p"


def compare_constraints(work: Comparison, label: str, name: str, expected: Relation, actual: Relation) -> None:
    table = _Table(work, label, name, expected, actual)
    left: list[Constraint] = []
    right: list[Constraint] = []
    for kind in KINDS:
        ours = [row for row in expected.constraints if row.type == kind]
        theirs = [row for row in actual.constraints if row.type == kind]
        pairs, missing, extra = match(ours, theirs, _keys(table, kind))
        for ours_row, theirs_row in pairs:
            _compare(table, ours_row, theirs_row)
        left += missing
        right += extra
    _compare_not_null_constraints(table)
    _missing_and_extra(table, left, right)


def _keys(table: _Table, kind: str) -> list[tuple]:  # type: ignore[type-arg]
    def ours(part: str) -> object:
        return lambda row: _key(table.work.expected, table.expected, row, part, table.work)

    def theirs(part: str) -> object:
        return lambda row: _key(table.work.actual, table.actual, row, part, None)

    parts = ["meaning", "name", "subject"]
    if kind == "primary key":
        parts.append("kind")
    return [(ours(part), theirs(part)) for part in parts]


def _key(side: Side, table: Relation, row: Constraint, part: str, work: Comparison | None) -> Hashable:
    """``work`` is given for the expected side, whose targets are first translated to the actual side's names."""
    if part == "kind":
        return "kind"
    if part == "name":
        return str(row.name)
    columns = tuple(row.columns)
    if part == "subject":
        return tuple(sorted(columns)) if row.type in ("foreign key", "unique") else None
    if row.type == "foreign key":
        return (columns, target_key(side, row, work), tuple(row.target_columns))
    if row.type == "check":
        return repr(side.expression(row.expression, table))
    if row.type == "exclusion":
        return str(side.text(row.definition))
    return columns


def target_key(side: Side, row: Constraint, work: Comparison | None) -> tuple[str, str]:
    """The referenced table as the actual side calls it."""
    schema, name = row.target
    if work is not None:
        found = work.sides.find(work.actual.relations, schema, name)
        return (found.schema, name) if found else (work.sides.home(schema), name)
    return schema, name


def _label(table: _Table, row: Constraint) -> str:
    return f"{table.label}.{row.name}"


def _words(row: Constraint) -> str:
    text = definitions.constraint(row, lambda schema, name: name if schema == "public" else f"{schema}.{name}")
    return text + (" NOT VALID" if row.not_validated else "")


def _compare(table: _Table, ours: Constraint, theirs: Constraint) -> None:
    work, kind = table.work, KINDS[ours.type]
    label = _label(table, ours)
    changed = True
    if _substance(work.expected, table.expected, ours, work) != _substance(work.actual, table.actual, theirs, None):
        work.add(
            f"{kind}_changed", label, _words(ours), _words(theirs), replace(table, ours, theirs), table=table.label
        )
    elif (ours.deferrable, ours.deferred) != (theirs.deferrable, theirs.deferred):
        repair = replace(table, ours, theirs)
        if ours.type == "foreign key":
            how = "NOT DEFERRABLE"
            if ours.deferrable:
                how = "DEFERRABLE INITIALLY " + ("DEFERRED" if ours.deferred else "IMMEDIATE")
            repair = [f"ALTER TABLE {table.name} ALTER CONSTRAINT {quote_name(theirs.name)} {how};"]
        work.add("constraint_deferrable", label, _words(ours), _words(theirs), repair, table=table.label)
    else:
        changed = False
    _compare_state(table, label, ours, theirs)
    wanted, present = (side.name for side in (ours, theirs))
    free = made_by_server(wanted, table.expected.name, ours.type) and not work.options.exact
    if wanted != present and not free:
        repair = [f"ALTER TABLE {table.name} RENAME CONSTRAINT {quote_name(present)} TO {quote_name(wanted)};"]
        work.add("constraint_name", label, f"CONSTRAINT {wanted}", f"CONSTRAINT {present}", repair, table=table.label)
    if not changed:  # else the repair says the comment again
        target = f"CONSTRAINT {quote_name(theirs.name)} ON {table.name}"
        work.compare_comment("constraint_comment", label, ours, theirs, target, table=table.label)


def _compare_state(table: _Table, label: str, ours: Constraint, theirs: Constraint) -> None:
    """Validated, enforced, index usable: a constraint may stand in the catalog and not hold."""
    work, name = table.work, quote_name(theirs.name)
    enforced = not theirs.not_enforced, not theirs.disabled
    switched_off = theirs.disabled and not ours.disabled  # no dump keeps that: a restored one is on
    if switched_off or bool(ours.not_enforced) != bool(theirs.not_enforced):
        if enforced[0] and not enforced[1]:
            tables = sorted({table.name, quote_names(*theirs.target)}) if theirs.target else [table.name]
            repair = [f"ALTER TABLE {item} ENABLE TRIGGER ALL;" for item in tables]
            repair.append("-- then look for rows that break it: nothing was checked meanwhile")
            present = "its triggers are disabled"
        else:
            repair = [f"ALTER TABLE {table.name} ALTER CONSTRAINT {name} {'NOT ' * bool(ours.not_enforced)}ENFORCED;"]
            if ours.type == "check":
                repair = replace(table, ours, theirs)
            present = "NOT ENFORCED" if not enforced[0] else "enforced"
        wanted = "NOT ENFORCED" if ours.not_enforced else "enforced"
        work.add("constraint_not_enforced", label, wanted, present, repair, table=table.label)
    elif theirs.not_validated and not ours.not_validated:
        repair = [f"ALTER TABLE {table.name} VALIDATE CONSTRAINT {name};"]
        work.add("constraint_not_validated", label, "validated", "NOT VALID", repair, table=table.label)
    elif ours.not_validated and work.options.exact and not theirs.not_validated:
        work.add("constraint_not_validated", label, "NOT VALID", "validated", table=table.label)
    wanted_index, index = ours.index or NO_INDEX, theirs.index or NO_INDEX
    own = quote_names(table.actual.schema, theirs.name)
    if index.invalid and not wanted_index.invalid:
        whole = replace(table, ours, theirs) if table.partitioned else [f"REINDEX INDEX CONCURRENTLY {own};"]
        work.add("index_invalid", label, "valid", "INVALID", whole, table=table.label)
    options = [", ".join(side.options) for side in (wanted_index, index)]
    if options[0] != options[1]:
        repair = reset_options(f"INDEX {own}", wanted_index, index)
        work.add("index_storage", label, options[0] or "none", options[1] or "none", repair, table=table.label)
    if bool(wanted_index.clustered) != bool(index.clustered):
        words = ["CLUSTER ON" if side.clustered else "not clustered" for side in (wanted_index, index)]
        how = f"CLUSTER ON {quote_name(theirs.name)}" if wanted_index.clustered else "SET WITHOUT CLUSTER"
        work.add("index_clustered", label, words[0], words[1], [f"ALTER TABLE {table.name} {how};"], table=table.label)


def _substance(side: Side, table: Relation, row: Constraint, work: Comparison | None) -> object:
    """What the constraint says, without its name and state."""
    kind = row.type
    if kind == "foreign key":
        pairs = sorted(zip(row.columns, row.target_columns))
        return (
            pairs,
            target_key(side, row, work),
            row.on_update,
            row.on_delete,
            sorted(row.on_delete_columns),
            row.match,
            bool(row.period),
        )
    if kind == "check":
        return (side.expression(row.expression, table), bool(row.no_inherit))
    if kind == "exclusion":
        return side.text(row.definition.partition(" DEFERRABLE")[0])
    index = row.index or NO_INDEX
    keys = [(key.collation, side.name(key.opclass)) for key in index.keys]
    return (
        row.columns,
        sorted(index.include),
        bool(index.nulls_not_distinct),
        bool(row.period),
        keys,
    )


def replace(table: _Table, ours: Constraint, theirs: Constraint) -> list[str]:
    """Exchange a constraint in one statement, then check the rows where that can be done later."""
    name = quote_name(theirs.name)
    text = definitions.constraint(ours, table.work.sides.written, table.work.sides.sql)
    later = can_validate_later(table, ours)
    repair = []
    if ours.type == "primary key":
        repair = ["-- foreign keys that refer to it must be dropped first and made again after"]
    repair.append(
        f"ALTER TABLE {table.name} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {text}{' NOT VALID' if later else ''};"
    )
    if later:
        repair.append(f"ALTER TABLE {table.name} VALIDATE CONSTRAINT {name};")
    return repair + _comment(table, ours, theirs.name)


def _comment(table: _Table, row: Constraint, name: str) -> list[str]:
    if not row.comment:
        return []
    return [f"COMMENT ON CONSTRAINT {quote_name(name)} ON {table.name} IS {quote_text(row.comment)};"]


def can_validate_later(table: _Table, row: Constraint) -> bool:
    if row.not_enforced:
        return False
    return row.type == "check" or (row.type == "foreign key" and not table.partitioned)


def add_constraint(table: _Table, row: Constraint) -> list[str]:
    """Statements that add it, with the short locks first."""
    work = table.work
    text = definitions.constraint(row, work.sides.written, work.sides.sql)
    add = f"ALTER TABLE {table.name} ADD CONSTRAINT {quote_name(row.name)}"
    index = row.index or NO_INDEX
    by_index = row.type in ("primary key", "unique") and not table.partitioned and not row.period
    if by_index:
        plain = dataclasses.replace(index, name=row.name, unique=True)
        deferred = ""
        if row.deferrable:
            deferred = " DEFERRABLE" + (" INITIALLY DEFERRED" if row.deferred else "")
        found = [
            definitions.create_index(plain, row.name, table.name, work.sides.sql),
            f"{add} {row.type.upper()} USING INDEX {quote_name(row.name)}{deferred};",
        ]
    elif can_validate_later(table, row):
        found = [
            f"{add} {text} NOT VALID;",
            f"ALTER TABLE {table.name} VALIDATE CONSTRAINT {quote_name(row.name)};",
        ]
    else:
        found = [f"{add} {text};"]
    return found + _comment(table, row, row.name)


def _missing_and_extra(table: _Table, missing: list[Constraint], extra: list[Constraint]) -> None:
    work = table.work
    for row in missing:
        if row.inherited:
            continue
        index = _stand_in(table.actual, row)
        if index is not None:
            name = quote_name(index.name)
            repair = [f"ALTER TABLE {table.name} ADD CONSTRAINT {quote_name(row.name)} UNIQUE USING INDEX {name};"]
            work.add(
                "unique_as_index",
                _label(table, row),
                _words(row),
                f"unique index {index.name}",
                repair,
                table=table.label,
            )
            continue
        work.add(
            f"{KINDS[row.type]}_missing",
            _label(table, row),
            _words(row),
            "nothing",
            add_constraint(table, row),
            table=table.label,
        )
    for row in extra:
        if row.inherited or _stand_in(table.expected, row) is not None:
            continue
        repair = [f"ALTER TABLE {table.name} DROP CONSTRAINT {quote_name(row.name)};"]
        work.add(f"{KINDS[row.type]}_extra", _label(table, row), "nothing", _words(row), repair, table=table.label)


def _stand_in(table: Relation, constraint: Constraint) -> Index | None:
    """A unique index of ``table`` that says what the unique ``constraint`` says."""
    if constraint.type != "unique" or constraint.deferrable:
        return None
    wanted = same_rule(constraint.index or NO_INDEX)
    for index in table.indexes:
        if index.unique and not index.invalid and same_rule(index) == wanted:
            return index
    return None


def same_rule(index: Index) -> object:
    """What makes two rows doubles of each other, whatever else the index is good for."""
    keys = sorted(str((key.column, key.expression, key.collation)) for key in index.keys)
    return (keys, index.predicate, bool(index.nulls_not_distinct))


def _compare_not_null_constraints(table: _Table) -> None:
    """PostgreSQL 18 keeps NOT NULL as constraints, which may be unvalidated or not inherited."""
    work = table.work
    theirs = {row.columns[0]: row for row in table.actual.constraints if row.type == "not null"}
    for row in table.expected.constraints:
        if row.type != "not null":
            continue
        other = theirs.get(row.columns[0])
        if other is None:
            continue
        label = f"{table.label}.{row.columns[0]}"
        if other.not_validated and not row.not_validated:
            repair = [f"ALTER TABLE {table.name} VALIDATE CONSTRAINT {quote_name(other.name)};"]
            work.add(
                "constraint_not_validated",
                label,
                "NOT NULL, validated",
                "NOT NULL NOT VALID",
                repair,
                table=table.label,
            )
        if bool(row.no_inherit) != bool(other.no_inherit):
            words = ["NOT NULL" + " NO INHERIT" * bool(side.no_inherit) for side in (row, other)]
            how = "NO INHERIT" if row.no_inherit else "INHERIT"
            repair = [f"ALTER TABLE {table.name} ALTER CONSTRAINT {quote_name(other.name)} {how};"]
            why = "it decides whether tables that inherit get rows without a value"
            work.add("column_not_null", label, words[0], words[1], repair, table=table.label, why=why)
        chosen = [made_by_server(side.name, table.expected.name, "not null") for side in (row, other)]
        named = not chosen[0] or (work.options.exact and not chosen[1])  # a restore chooses such a name anew
        if row.inherited and other.inherited:
            named = False  # its parents name it, and of several the first, which a restore need not make first
        if named and row.name != other.name:
            repair = [f"ALTER TABLE {table.name} RENAME CONSTRAINT {quote_name(other.name)} TO {quote_name(row.name)};"]
            words = [f"CONSTRAINT {side.name} NOT NULL" for side in (row, other)]
            work.add("constraint_name", f"{table.label}.{row.name}", words[0], words[1], repair, table=table.label)
