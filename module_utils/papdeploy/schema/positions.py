"""Sequences whose next value is already taken: behind max(id), after a restore or an import that gave its own ids."""

from __future__ import annotations

from ..errors import Unavailable
from .catalog import Catalog, Row
from .compare_sequences import generator, set_to_maximum
from .options import CheckOptions
from .result import Difference
from .rules import RULES
from .session import Session
from .sides import Sides
from .tokens import quote_name, quote_names

# Each table that is looked at costs a lock or two until the read's savepoint is rolled back.
CHUNK = 250


def sequences_behind(
    session: Session, expected: Catalog, actual: Catalog, options: CheckOptions
) -> tuple[list[Difference], int, int]:
    """(differences, sequences looked at, sequences that the role may not read).

    Only columns of the models that draw their numbers from a sequence, and that an index leads with: max() is then one
    step into the index, whatever the size of the table.
    """
    sides = Sides(expected, actual, schema=options.schema, exact=options.exact)
    unreadable = {(schema, name) for schema, name in actual["unreadable"]}
    found, hidden = [], 0
    for schema, name in sides.expected.relations:
        table = sides.find(sides.actual.relations, schema, name)
        if table is None or table["kind"] not in "rp":
            continue
        for column in table["columns"]:
            made = generator(sides.actual, table, column)
            if made.how not in ("identity", "serial", "sequence") or made.sequence is None:
                continue
            label = f"{sides.expected.label(schema, name)}.{column['name']}"
            if not _leads_an_index(table, column["name"]) or options.ignores("sequence_behind", label):
                continue
            place = (made.sequence["schema"], made.sequence["name"])
            if place in unreadable or (table["schema"], table["name"]) in unreadable:
                hidden += 1
            else:
                found.append((label, table, column, made.sequence))
    differences = []
    for start in range(0, len(found), CHUNK):
        differences += _look(session, found[start : start + CHUNK], options)
    return differences, len(found), hidden


def _leads_an_index(table: Row, column: str) -> bool:
    indexes = [*table.get("indexes", []), *(c["index"] for c in table.get("constraints", []) if "index" in c)]
    return any(
        index["method"] == "btree" and index["keys"][0].get("column") == column and not index.get("predicate")
        and not index.get("invalid")
        for index in indexes
    )  # fmt: skip


def _look(session: Session, found: list[tuple[str, Row, Row, Row]], options: CheckOptions) -> list[Difference]:
    selects = []
    for number, (_, table, column, sequence) in enumerate(found):
        extreme = "max" if sequence["increment"] > 0 else "min"
        selects.append(
            f"SELECT {number}, s.last_value, s.is_called, (SELECT {extreme}({quote_name(column['name'])})::numeric "
            f"FROM {quote_names(table['schema'], table['name'])}) FROM {quote_names(sequence['schema'], sequence['name'])} s"
        )
    try:
        rows = session.read(" UNION ALL ".join(selects))
    except Unavailable as exc:
        raise Unavailable(
            f"Could not compare the sequences with their tables. {exc.message}",
            hint="Check again when the tables are free, or leave the values out (--no-positions).",
        ) from exc
    differences = []
    for number, last, called, extreme in rows:
        label, table, column, sequence = found[number]
        if extreme is None:
            continue
        following = int(last) + (sequence["increment"] if called else 0)
        behind = following <= int(extreme) if sequence["increment"] > 0 else following >= int(extreme)
        if behind and sequence.get("cycle"):
            behind = False  # it is meant to come round
        if behind:
            differences.append(_report(label, table, column, sequence, following, int(extreme), options))
    return differences


def _report(
    label: str, table: Row, column: Row, sequence: Row, following: int, extreme: int, options: CheckOptions
) -> Difference:
    rule = RULES["sequence_behind"]
    table_name = quote_names(table["schema"], table["name"])
    own = sequence.get("of")
    repair = set_to_maximum(table_name, column["name"])
    if not own:
        name = quote_names(sequence["schema"], sequence["name"]).replace("'", "''")
        repair = f"SELECT setval('{name}', max({quote_name(column['name'])})) FROM {table_name};"
    severity = options.severities.get("sequence_behind", rule.severity)
    word = "largest" if sequence["increment"] > 0 else "smallest"
    return Difference(
        "sequence_behind",
        label,
        severity,
        f"next value beyond {extreme}, the {word} in the table",
        f"next value {following}",
        rule.why,
        [repair],
    )
