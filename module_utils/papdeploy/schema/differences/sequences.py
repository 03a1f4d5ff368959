"""What draws numbers: serial and identity columns, and sequences that stand for themselves."""

from __future__ import annotations

from typing import NamedTuple, Optional

from ...sql.quoting import quote_name, quote_names, quote_text
from ..catalog.rows import Column, Relation, SequenceRow
from ..repair import definitions
from ..repair.tables import create_sequence, drop_default, set_default
from .comparison import Comparison
from .name_resolution import Side
from .pairs import ColumnPair


class Generator(NamedTuple):
    """How a column gets its number: ``how`` is none, default, serial, sequence (not owned) or identity."""

    how: str
    sequence: Optional[SequenceRow] = None
    words: str = ""


def generator(side: Side, table: Relation, column: Column) -> Generator:
    owned = side.owned.get((table.schema, table.name, column.name))
    if column.identity:
        return Generator("identity", owned, definitions.identity(column))
    default = column.default
    if default is None:
        return Generator("none", owned)
    drawn = side.sequence_of_default(default)
    if drawn is None:
        return Generator("default", owned, f"DEFAULT {default}")
    if owned is not None and drawn == (owned.schema, owned.name):
        return Generator("serial", owned, f"DEFAULT {default}")
    return Generator("sequence", side.sequences.get(drawn), f"DEFAULT {default}")


def compare_generator(work: Comparison, pair: ColumnPair) -> None:
    """Default, serial, identity: what fills the column when the insert does not."""
    expected, actual, label = pair.expected, pair.actual, pair.label
    wanted = generator(work.expected, pair.expected_table, expected)
    present = generator(work.actual, pair.actual_table, actual)
    if {wanted.how, present.how} <= {"none", "default", "sequence"} or (
        wanted.how in ("none", "default") and present.how == "serial"
    ):
        compare_default(work, pair)
    elif wanted.how == "identity":
        if present.how != "identity" or expected.identity != actual.identity:
            _report_identity(work, pair, wanted, present, _to_identity(pair, present))
    elif wanted.how == "serial":
        _compare_serial(work, pair, wanted, present)
    elif present.how == "identity":
        repair = [f"{pair.target} DROP IDENTITY;"]
        if expected.default is not None:
            repair.append(f"{pair.target} SET DEFAULT {work.sides.sql(expected.default)};")
        always = actual.identity == "a"
        why = "inserts that give a value are refused" if always else "inserts without a value get a number"
        work.add(
            "column_identity",
            label,
            wanted.words or "no default",
            present.words,
            repair,
            table=pair.table_label,
            severity="error" if always else "warning",
            why=why,
        )
    elif wanted.how == "sequence" and present.how == "serial":
        compare_default(work, pair)
    if wanted.how in ("serial", "identity") and present.sequence is not None and wanted.sequence is not None:
        compare_options(work, "column_sequence", label, wanted.sequence, present.sequence, pair.table_label)
        name = f"SEQUENCE {quote_names(present.sequence.schema, present.sequence.name)}"
        work.compare_comment("sequence_comment", label, wanted.sequence, present.sequence, name, table=pair.table_label)
        work.compare_grants("sequence_grant", label, wanted.sequence, present.sequence, name)


def compare_drawn(work: Comparison, label: str, table: str, expected: Relation, actual: Relation) -> None:
    """Only the columns of two equal tables that draw numbers: their sequences are rows of their own."""
    for ours, theirs in zip(expected.columns, actual.columns):
        if ours.identity or "nextval(" in (ours.default or ""):
            compare_generator(work, ColumnPair(label, table, expected, ours, actual, theirs))


def _compare_serial(work: Comparison, pair: ColumnPair, wanted: Generator, present: Generator) -> None:
    """The models leave open whether a serial column is an identity, so either is right."""
    table, label, table_label, target = pair.table, pair.label, pair.table_label, pair.target
    if present.how == "serial" or (present.how == "identity" and not work.options.exact):
        if work.options.exact:
            compare_default(work, pair)
        return
    if present.how == "sequence" and present.sequence is not None and not _shared(work, present.sequence):
        name = quote_names(present.sequence.schema, present.sequence.name)
        work.add(
            "column_sequence_owner",
            label,
            f"sequence owned by {label}",
            f"sequence {present.sequence.name}, not owned by it",
            [f"ALTER SEQUENCE {name} OWNED BY {table}.{pair.quoted};"],
            table=table_label,
        )
        return
    if present.how == "identity":
        repair = [f"{target} DROP IDENTITY;"]
        _report_identity(work, pair, wanted, present, repair)
        return
    owned = work.actual.owned.get((pair.actual_table.schema, pair.actual_table.name, pair.actual.name))
    if owned is not None:  # the default is gone or another, the sequence is still there
        name = quote_text(quote_names(owned.schema, owned.name))
        repair = [f"{target} SET DEFAULT nextval({name}::regclass);"]
    else:
        drop = [f"{target} DROP DEFAULT;"] if present.how == "default" else []
        repair = [
            *drop,
            f"{target} ADD GENERATED BY DEFAULT AS IDENTITY;",
            set_to_maximum(table, pair.actual.name),
        ]
    work.add(
        "column_default",
        label,
        wanted.words,
        present.words or "no default",
        repair,
        table=table_label,
        severity="error",
        why="rows inserted without an id get none",
    )


def _shared(work: Comparison, sequence: SequenceRow) -> bool:
    """Whether the column that owns the sequence draws from it too."""
    schema, table, name = sequence.of or ("", "", "")
    owner = work.actual.relations.get((schema, table))
    columns = owner.columns if owner else []
    default = next((column.default for column in columns if column.name == name), None)
    return work.actual.sequence_of_default(default) == (sequence.schema, sequence.name)


def _report_identity(
    work: Comparison, pair: ColumnPair, wanted: Generator, present: Generator, repair: list[str]
) -> None:
    both = wanted.how == present.how or present.how == "serial"
    why = "who may give a value himself differs" if both else ""
    severity = "warning" if both else ""
    work.add(
        "column_identity",
        pair.label,
        wanted.words,
        present.words or "no default",
        repair,
        table=pair.table_label,
        severity=severity,
        why=why,
    )


def set_to_maximum(table: str, column: str) -> str:
    """A statement that moves the column's sequence behind the largest number in use."""
    return (
        f"SELECT setval(pg_get_serial_sequence({quote_text(table)}, {quote_text(column)}), "
        f"greatest(coalesce(max({quote_name(column)}), 0), 1), max({quote_name(column)}) IS NOT NULL) FROM {table};"
    )


def _to_identity(pair: ColumnPair, present: Generator) -> list[str]:
    target = pair.target
    how = "ALWAYS" if pair.expected.identity == "a" else "BY DEFAULT"
    if present.how == "identity":
        return [f"{target} SET GENERATED {how};"]
    repair = [f"{target} DROP DEFAULT;"] if present.how != "none" else []
    if not pair.actual.not_null:
        repair.append(f"{target} SET NOT NULL;")
    if present.sequence is not None and present.how != "sequence":
        repair.append(f"DROP SEQUENCE {quote_names(present.sequence.schema, present.sequence.name)};")
    return [*repair, f"{target} ADD GENERATED {how} AS IDENTITY;", set_to_maximum(pair.table, pair.actual.name)]


def compare_default(work: Comparison, pair: ColumnPair) -> None:
    """What a column gets that an insert leaves out; of a view's column too."""
    expected, actual = pair.expected, pair.actual
    texts = expected.default, actual.default
    keys = (
        work.expected.default_of(texts[0], expected.type, pair.expected_table),
        work.actual.default_of(texts[1], actual.type, pair.actual_table),
    )
    if texts[0] == texts[1] or keys[0] == keys[1]:
        return
    severity, why = "", ""
    if keys[0] is None:
        repair = [drop_default(work, pair.table, actual)]
        severity, why = "note", "rows inserted without this column get a value that the models do not know"
    else:
        repair = set_default(work, pair.table, pair.expected_table, expected)
        if keys[1] is None and expected.not_null:
            severity, why = "error", "the models leave the value to the database, which has none: inserts fail"
    words = tuple(f"DEFAULT {text}" if text is not None else "no default" for text in texts)
    work.add(
        "column_default", pair.label, words[0], words[1], repair, table=pair.table_label, severity=severity, why=why
    )


def compare_options(
    work: Comparison, kind: str, label: str, expected: SequenceRow, actual: SequenceRow, table: str = ""
) -> None:
    """Type, increment, bounds, cache, cycle of a sequence."""
    wanted, present = definitions.sequence_options(expected), definitions.sequence_options(actual)
    differing = [word for word in wanted if wanted[word] != present[word]]
    if expected.persistence != actual.persistence:
        words = {"p": "LOGGED", "u": "UNLOGGED"}
        work.add(
            kind,
            label,
            f"{words[expected.persistence]} sequence",
            f"{words[actual.persistence]} sequence",
            [f"ALTER SEQUENCE {quote_names(actual.schema, actual.name)} SET {words[expected.persistence]};"],
            table=table,
            why="an unlogged sequence starts anew after a crash: duplicate keys",
        )
    if not differing:
        return
    runs_out = _room(actual) < _room(expected)

    def words_of(options: dict[str, str]) -> str:
        return ", ".join(f"{word} {options[word] or 'default'}" for word in differing)

    name = quote_names(actual.schema, actual.name)
    work.add(
        kind,
        label,
        words_of(wanted),
        words_of(present),
        [f"ALTER SEQUENCE {name} {definitions.alter_sequence(expected)};"],
        table=table,
        severity="error" if runs_out else "",
        why="the numbers run out earlier, and inserts then fail" if runs_out else "",
    )


def _room(sequence: SequenceRow) -> int:
    numbers: int = sequence.maximum - sequence.minimum
    return numbers


def compare_sequences(work: Comparison) -> None:
    """Sequences that stand for themselves; those of serial and identity columns belong to their columns."""
    used = set()
    for (schema, name), row in work.expected.sequences.items():
        if row.of:
            continue
        label = work.expected.label(schema, name)
        found = work.sides.find(work.actual.sequences, schema, name)
        if found is None:
            options = definitions.sequence(row)
            work.add("sequence_missing", label, f"sequence {options}", "nothing", create_sequence(work, row))
            continue
        used.add((found.schema, found.name))
        if found.of and not found.internal:
            owner = ".".join(found.of[1:])
            repair = [f"ALTER SEQUENCE {quote_names(found.schema, found.name)} OWNED BY NONE;"]
            why = "dropping the column drops the sequence"
            work.add("sequence_options", label, "owned by no column", f"owned by {owner}", repair, why=why)
        compare_options(work, "sequence_options", label, row, found)
        sql_name = f"SEQUENCE {quote_names(found.schema, found.name)}"
        work.compare_common("sequence", label, row, found, sql_name)
    drawn = {
        work.actual.sequence_of_default(column.default)
        for relation in work.actual.relations.values()
        for column in relation.columns
        if column.default is not None
    }
    for key, row in work.actual.sequences.items():
        if key in used or key in drawn or row.of or row.schema not in work.sides.scope:
            continue
        label = work.actual.label(*key)
        repair = [f"DROP SEQUENCE {quote_names(*key)};"]
        work.add("sequence_extra", label, "nothing", f"sequence {definitions.sequence(row)}", repair)
