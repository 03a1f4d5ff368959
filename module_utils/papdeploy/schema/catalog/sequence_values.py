"""Sequences whose next value is already taken: behind max(id), after a restore or an import that gave its own ids."""

from __future__ import annotations

from typing import NamedTuple

from ...core.errors import Unavailable
from ...sql.quoting import quote_literal, quote_name, quote_names
from ..differences.name_resolution import Sides
from ..differences.options import CheckOptions
from ..differences.result import Difference
from ..differences.rules import RULES
from ..differences.sequences import generator, set_to_maximum
from .connection import Session
from .rows import Catalog, Column, Relation, SequenceRow

# Each table that is looked at costs two locks until the message is over; a default server has 6,400.
CHUNK = 1_000
# So many in a statement of it: planning takes time with the square, and 1,000 in one take three times as long.
STATEMENT = 50


class Place(NamedTuple):
    """A column of the models and the sequence that it draws from."""

    label: str
    table: Relation
    column: Column
    sequence: SequenceRow


def sequences_behind(
    session: Session, expected: Catalog, actual: Catalog, options: CheckOptions
) -> tuple[list[Difference], int, int]:
    """(differences, sequences looked at, sequences that the role may not read).

    Only columns of the models that draw their numbers from a sequence, and that an index leads with: max() is then one
    step into the index, whatever the size of the table.
    """
    sides = Sides(expected, actual, schema=options.schema, exact=options.exact)
    unreadable = {(schema, name) for schema, name in actual.unreadable}
    found: list[Place] = []
    hidden = 0
    for schema, name in sides.expected.relations:
        table = sides.find(sides.actual.relations, schema, name)
        if table is None or table.kind not in "rp":
            continue
        for column in table.columns:
            if not (column.identity or "nextval(" in (column.default or "")):
                continue
            made = generator(sides.actual, table, column)
            label = f"{sides.expected.label(schema, name)}.{column.name}"
            if made.sequence is None or options.ignores("sequence_behind", label):
                continue
            if not _leads_an_index(table, column.name):
                continue
            place = (made.sequence.schema, made.sequence.name)
            if place in unreadable or (table.schema, table.name) in unreadable:
                hidden += 1
            else:
                found.append(Place(label, table, column, made.sequence))
    differences = []
    for start in range(0, len(found), CHUNK):
        differences += _look(session, found[start : start + CHUNK], options)
    return differences, len(found), hidden


def _leads_an_index(table: Relation, column: str) -> bool:
    return any(
        index.method == "btree" and index.keys[0].column == column and not index.predicate and not index.invalid
        for index in table.all_indexes()
    )


def _look(session: Session, found: list[Place], options: CheckOptions) -> list[Difference]:
    # pg_sequence_last_value() would be quicker, but its lock on the sequence stays until the transaction ends
    selects = [
        f"SELECT {number}, s.last_value, s.is_called, {_extreme(place)} FROM {_name(place.sequence)} s"
        for number, place in enumerate(found)
    ]
    differences = []
    for line in _read(session, selects).split():
        number, last, called, *extreme = line.split(",")
        if extreme:  # an empty table has none
            differences += _judge(found[int(number)], int(last), called == "t", int(extreme[0]), options)
    return differences


def _name(row: Relation | SequenceRow) -> str:
    return quote_names(row.schema, row.name)


def _extreme(place: Place) -> str:
    """The number that is farthest in the sequence's direction: one step into the index."""
    function = "max" if place.sequence.increment > 0 else "min"
    return f"(SELECT trunc({function}({quote_name(place.column.name)})::numeric) FROM {_name(place.table)})"


def _read(session: Session, selects: list[str]) -> str:
    """The rows of ``selects``, a line each. They gather in a setting, for a message answers with its last rows only."""
    gathered = "current_setting('papdeploy.positions', true)"
    statements = []
    for start in range(0, len(selects), STATEMENT):
        rows = f"({' UNION ALL '.join(selects[start : start + STATEMENT])}) r(n, last, called, extreme)"
        lines = f"(SELECT string_agg(concat_ws(',', n, last, called, extreme), ' ') FROM {rows})"
        statements.append(f"SELECT set_config('papdeploy.positions', concat_ws(' ', {gathered}, {lines}), true)")
    try:
        return str(session.read(f"SELECT {gathered}", first=statements)[0][0])
    except Unavailable as exc:
        raise Unavailable(
            f"Could not compare the sequences with their tables. {exc.message}",
            hint="Check again when the tables are free, or leave the values out (--no-positions).",
        ) from exc


def _judge(place: Place, last: int, called: bool, extreme: int, options: CheckOptions) -> list[Difference]:
    sequence = place.sequence
    following = last + (sequence.increment if called else 0)
    behind = following <= extreme if sequence.increment > 0 else following >= extreme
    if not behind or sequence.cycle:  # one that cycles is meant to come round
        return []
    return [_report(place, following, extreme, options)]


def _report(place: Place, following: int, extreme: int, options: CheckOptions) -> Difference:
    label, table, column, sequence = place
    kind = "sequence_behind"
    rule = RULES[kind]
    repair = set_to_maximum(_name(table), column.name)
    if not sequence.of:
        repair = f"SELECT setval({quote_literal(_name(sequence))}, max({quote_name(column.name)})) FROM {_name(table)};"
    severity = options.severities.get(kind, rule.severity)
    word = "largest" if sequence.increment > 0 else "smallest"
    return Difference(
        kind,
        label,
        severity,
        f"next value beyond {extreme}, the {word} in the table",
        f"next value {following}",
        rule.why,
        (repair,),
    )
