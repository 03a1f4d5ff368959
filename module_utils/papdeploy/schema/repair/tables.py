"""Statements that create or drop a whole relation, from its catalog row."""

from __future__ import annotations

from collections.abc import Container

from ...sql.quoting import quote_name, quote_names, quote_text
from ..catalog.rows import Column, Constraint, Index, Part, Place, Relation, SequenceRow, Statistics, Stored
from ..differences.comparison import Comparison
from ..differences.generated_names import made_by_server
from . import definitions

_SQL_KINDS = {"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW", "f": "FOREIGN TABLE"}


def sql_kind(row: Relation) -> str:
    """The word that ALTER, DROP and COMMENT take for it."""
    return _SQL_KINDS[row.kind]


def drop_relation(row: Relation) -> list[str]:
    name = quote_names(row.schema, row.name)
    if row.kind in "vm":
        return [f"DROP {sql_kind(row)} {name};"]
    return ["-- this destroys its rows: make sure that nothing uses it", f"DROP {sql_kind(row)} {name};"]


def create_relation(work: Comparison, row: Relation) -> list[str]:
    """CREATE with everything that belongs to it: constraints, indexes, triggers, policies, comments."""
    return [statement for _, statements in relation_pieces(work, row) for statement in statements]


Piece = tuple[Place, list[str]]


def relation_pieces(work: Comparison, row: Relation) -> list[Piece]:
    """The same in pieces, each with the place of what it makes: what a part depends on may come between them."""
    name = work.sides.written(row.schema, row.name)
    if row.kind == "f":
        return [(_place(work, row), [f"-- CREATE FOREIGN TABLE {name} (…) SERVER {quote_name(row.server[0])};"])]
    create = _create_view(work, row, name) if row.kind in "vm" else _create_table(work, row, name)
    rest = [*_rights_and_comments(work, row, name)]
    return [(_place(work, row), [*create, *rest]), *_foreign_keys(work, row, name), *_parts(work, row, name)]


def _place(work: Comparison, row: Relation, kind: str = "relation", *names: str) -> Place:
    return (kind, work.sides.home(row.schema), row.name, *names)


def _create_table(work: Comparison, row: Relation, name: str) -> list[str]:
    sides = work.sides
    lines = [column_definition(work, row, column) for column in row.columns if not column.inherited]
    for constraint in row.constraints:
        if constraint.type in ("not null", "foreign key") or constraint.inherited:
            continue
        text = definitions.constraint(constraint, sides.written, sides.sql)
        own = made_by_server(constraint.name, row.name, constraint.type)
        lines.append(text if own else f"CONSTRAINT {quote_name(constraint.name)} {text}")
    unlogged = "UNLOGGED " if row.persistence == "u" else ""
    create = f"CREATE {unlogged}TABLE {name} (\n    " + ",\n    ".join(lines) + "\n)"
    if row.inherits:
        create += f" INHERITS ({', '.join(sides.sql(parent) for parent in row.inherits)})"
    if row.partition_key:
        create += f" PARTITION BY {sides.sql(row.partition_key)}"
    sequences = [create_sequence(work, owned) for owned in _special(work, row)]
    statements = [*(text for texts in sequences for text in texts)]
    statements.append(create + definitions.storage(row.options, row.tablespace) + ";")
    statements += [owned_by(work, owned) for owned in _special(work, row)]
    return [*statements, *create_partitions(work, row)]


def drop_default(work: Comparison, table: str, column: Column) -> str:
    """No default any more, nor an identity, on the column of ``table`` in the database."""
    return f"{_default_of(work, table, column)} DROP {'IDENTITY' if column.identity else 'DEFAULT'};"


def set_default(work: Comparison, table: str, row: Relation, column: Column) -> list[str]:
    """The default that ``row`` gives the column of ``table``, and those of its partitions that are there."""
    found = []
    if column.default is not None:
        found.append(f"{_default_of(work, table, column)} SET DEFAULT {work.sides.sql(column.default)};")
    present = {(one.schema, one.name) for one in work.actual.catalog.partitions}
    return found + partition_defaults(work, row, present, column.name)


def partition_defaults(work: Comparison, row: Relation, present: Container[tuple[str, str]], column: str) -> list[str]:
    """The defaults that the partitions ``present`` have for themselves on ``column``."""
    found = []
    for schema, name, own, default in row.partition_defaults:
        where = (work.sides.home(schema), name)
        if own == column and where in present:
            how = "DROP DEFAULT" if default is None else f"SET DEFAULT {work.sides.sql(default)}"
            found.append(f"ALTER TABLE {quote_names(*where)} ALTER COLUMN {quote_name(own)} {how};")
    return found


def _default_of(work: Comparison, table: str, column: Column) -> str:
    """Children that inherit the column have defaults of their own; partitions follow their table."""
    only = "ONLY " if table in work.actual.parents else ""
    return f"ALTER TABLE {only}{table} ALTER COLUMN {quote_name(column.name)}"


def draws_from_own(work: Comparison, table: Relation, column: Column) -> bool:
    """Whether the expected column gets its numbers from a sequence that it owns: as serial does, or an identity."""
    owned = owned_sequence(work, table, column)
    drawn = work.expected.sequence_of_default(column.default)
    return bool(column.identity) or (owned is not None and drawn == (owned.schema, owned.name))


def create_partitions(work: Comparison, row: Relation) -> list[str]:
    """The partitions that the models make of ``row``, and theirs."""
    place = ("relation", row.schema, row.name)
    listed = [one for one in work.expected.catalog.partitions if one.of == place]
    if row.partitions and not listed:
        return [f"-- by hand: CREATE TABLE … PARTITION OF {work.sides.written(row.schema, row.name)} …;"]
    found = []
    for one in listed:
        name = work.sides.written(one.schema, one.name)
        text = f"PARTITION OF {work.sides.written(*one.parent)} {work.sides.sql(one.bounds)}"
        text += f" PARTITION BY {work.sides.sql(one.key)}" if one.key else ""
        if (work.sides.home(one.schema), one.name) in work.actual.relations:
            found.append(f"-- {name} is there as a table of its own: attach it by hand as {text}")
        else:
            found.append(f"CREATE TABLE {name} {text};")
    made = {(work.sides.home(one.schema), one.name) for one in listed} - work.actual.relations.keys()
    return found + [text for column in row.columns for text in partition_defaults(work, row, made, column.name)]


def _create_view(work: Comparison, row: Relation, name: str) -> list[str]:
    body = work.sides.sql(row.definition).strip().rstrip(";")
    return [
        f"CREATE {sql_kind(row)} {name}{definitions.storage(row.options)} AS {body};",
        *(
            f"ALTER VIEW {name} ALTER COLUMN {quote_name(column.name)} SET DEFAULT {work.sides.sql(column.default)};"
            for column in row.columns
            if column.default is not None
        ),
    ]


def _foreign_keys(work: Comparison, row: Relation, name: str) -> list[Piece]:
    found = []
    for key in row.constraints:
        if key.type == "foreign key" and not key.inherited:
            text = definitions.constraint(key, work.sides.written, work.sides.sql)
            statements = [f"ALTER TABLE {name} ADD CONSTRAINT {quote_name(key.name)} {text};"]
            statements += constraint_comment(name, key)
            found.append((_place(work, row, "constraint", key.name), statements))
    return found


def _parts(work: Comparison, row: Relation, name: str) -> list[Piece]:
    """Indexes, policies, triggers, rules: what may depend on functions and on other tables."""
    sides = work.sides
    found: list[Piece] = []
    for index in row.indexes:
        statements = [definitions.create_index(index, index.name, name, sides.sql, concurrently=False)]
        if index.comment:
            own = quote_names(sides.home(row.schema), index.name)
            statements.append(f"COMMENT ON INDEX {own} IS {quote_text(index.comment)};")
        statements += index_marks(name, index)
        found.append((_place(work, row, "index", index.name), statements))
    for kind, parts in (("policy", row.policies), ("trigger", row.triggers), ("rule", row.rules)):
        for part in parts:
            found.append((_place(work, row, kind, part.name), create_part(work, kind, name, part)))
    return found


def index_marks(table: str, row: Index) -> list[str]:
    """What ``table`` says of its index."""
    quoted = quote_name(row.name)
    found = [f"ALTER TABLE {table} CLUSTER ON {quoted};"] if row.clustered else []
    return found + [f"ALTER TABLE {table} REPLICA IDENTITY USING INDEX {quoted};"] * row.replica_identity


_ENABLE = {"O": "ENABLE", "D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}


def create_part(work: Comparison, kind: str, table: str, row: Part) -> list[str]:
    """CREATE of a trigger, a rule or a policy of ``table``, with its state and comment."""
    quoted = quote_name(row.name)
    if kind == "policy":
        found = [f"CREATE POLICY {quoted} ON {table} {definitions.policy(row, work.sides.sql)};"]
    else:
        found = [work.sides.sql(row.definition).rstrip(";") + ";"]
        if row.enabled not in ("", "O"):
            found.append(enable_part(kind, table, row))
    if row.comment:
        found.append(f"COMMENT ON {kind.upper()} {quoted} ON {table} IS {quote_text(row.comment)};")
    return found


def enable_part(kind: str, table: str, row: Part) -> str:
    """The statement that gives a trigger or a rule the state of ``row``."""
    return f"ALTER TABLE {table} {_ENABLE[row.enabled]} {kind.upper()} {quote_name(row.name)};"


def constraint_comment(table: str, row: Constraint) -> list[str]:
    if not row.comment:
        return []
    return [f"COMMENT ON CONSTRAINT {quote_name(row.name)} ON {table} IS {quote_text(row.comment)};"]


def _rights_and_comments(work: Comparison, row: Relation, name: str) -> list[str]:
    found = []
    if row.row_security:
        found.append(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;")
    if row.force_row_security:
        found.append(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY;")
    for right in row.public:
        found.append(f"GRANT {right.rstrip('*')} ON {name} TO PUBLIC;")
    if row.comment:
        found.append(f"COMMENT ON {sql_kind(row)} {name} IS {quote_text(row.comment)};")
    for column in row.columns:
        target = f"{name}.{quote_name(column.name)}"
        if column.comment:
            found.append(f"COMMENT ON COLUMN {target} IS {quote_text(column.comment)};")
        for right in column.public:
            found.append(f"GRANT {right.rstrip('*')} ({quote_name(column.name)}) ON {name} TO PUBLIC;")
        found += column_extras(name, column)
    for constraint in row.constraints:
        if constraint.type != "foreign key" and not constraint.inherited:
            found += constraint_comment(name, constraint)
            found += index_marks(name, constraint.index) if constraint.index else []
    identity = row.replica_identity or "d"
    if identity in "nf":
        found.append(f"ALTER TABLE {name} REPLICA IDENTITY {'FULL' if identity == 'f' else 'NOTHING'};")
    return found


def create_statistics(work: Comparison, row: Statistics) -> list[str]:
    name = f"STATISTICS {work.sides.written(row.schema, row.name)}"
    target = [] if row.target is None else [f"ALTER {name} SET STATISTICS {row.target};"]
    comment = [f"COMMENT ON {name} IS {quote_text(row.comment)};"] if row.comment else []
    return [work.sides.sql(row.definition) + ";", *target, *comment]


def reset_options(target: str, expected: Stored, actual: Stored) -> list[str]:
    """Statements that give ``target`` the storage parameters of ``expected``."""
    wanted, present = expected.options, actual.options
    gone = sorted({o.partition("=")[0] for o in present} - {o.partition("=")[0] for o in wanted})
    new = sorted(set(wanted) - set(present))
    return [
        *([f"ALTER {target} SET ({', '.join(new)});"] if new else []),
        *([f"ALTER {target} RESET ({', '.join(gone)});"] if gone else []),
    ]


def column_definition(work: Comparison, table: Relation, column: Column) -> str:
    """The column as CREATE TABLE and ADD COLUMN take it, NOT NULL included."""
    sql = work.sides.sql
    text = f"{quote_name(column.name)} {definitions.column_type(column, sql)}"
    if column.identity:
        text += " " + definitions.identity(column, owned_sequence(work, table, column))
    elif column.generated:
        text += " " + definitions.generated(column, sql)
    elif is_serial(work, table, column):
        serial = {"integer": "serial", "bigint": "bigserial", "smallint": "smallserial"}.get(column.type)
        text = f"{quote_name(column.name)} {serial or column.type}"
    elif column.default is not None:
        text += f" DEFAULT {sql(column.default)}"
    return text + (" NOT NULL" if column.not_null else "")


def column_extras(name: str, column: Column) -> list[str]:
    """What ADD COLUMN cannot say."""
    target = f"ALTER TABLE {name} ALTER COLUMN {quote_name(column.name)}"
    found = []
    storage = {"p": "PLAIN", "e": "EXTERNAL", "m": "MAIN", "x": "EXTENDED"}
    if column.storage:
        found.append(f"{target} SET STORAGE {storage[column.storage]};")
    if column.statistics is not None:
        found.append(f"{target} SET STATISTICS {column.statistics};")
    if column.options:
        found.append(f"{target} SET ({', '.join(column.options)});")
    return found


def owned_sequence(work: Comparison, table: Relation, column: Column) -> SequenceRow | None:
    """The sequence that the expected column owns (serial or identity)."""
    return work.expected.owned.get((table.schema, table.name, column.name))


def _special(work: Comparison, row: Relation) -> list[SequenceRow]:
    return [owned for column in row.columns if (owned := special_sequence(work, row, column))]


def special_sequence(work: Comparison, table: Relation, column: Column) -> SequenceRow | None:
    """The sequence that a column owns and draws from, if it is not what ``serial`` makes."""
    owned = owned_sequence(work, table, column)
    if owned is None or work.expected.sequence_of_default(column.default) != (owned.schema, owned.name):
        return None
    plain = not definitions.sequence(owned, with_type=False) and owned.type == column.type
    return None if plain and not owned.comment and not owned.public else owned


def create_sequence(work: Comparison, row: SequenceRow) -> list[str]:
    name = work.sides.written(row.schema, row.name)
    found = [f"CREATE SEQUENCE {name} {definitions.sequence(row)};".replace(" ;", ";")]
    if row.comment:
        found.append(f"COMMENT ON SEQUENCE {name} IS {quote_text(row.comment)};")
    return found + [f"GRANT {right.rstrip('*')} ON SEQUENCE {name} TO PUBLIC;" for right in row.public]


def owned_by(work: Comparison, row: SequenceRow) -> str:
    schema, table, column = row.of
    owner = f"{work.sides.written(schema, table)}.{quote_name(column)}"
    return f"ALTER SEQUENCE {work.sides.written(row.schema, row.name)} OWNED BY {owner};"


def is_serial(work: Comparison, table: Relation, column: Column) -> bool:
    """Whether the expected column draws its default from a sequence that it owns, as ``serial`` makes it."""
    if special_sequence(work, table, column):
        return False
    drawn = work.expected.sequence_of_default(column.default)
    owned = owned_sequence(work, table, column)
    return drawn is not None and owned is not None and drawn == (owned.schema, owned.name)
