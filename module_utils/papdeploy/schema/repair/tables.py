"""Statements that create or drop a whole relation, from its catalog row."""

from __future__ import annotations

from ...sql.quoting import quote_name, quote_names, quote_text
from ..catalog.rows import Column, Relation, SequenceRow, Stored
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
    sides = work.sides
    name = sides.written(row.schema, row.name)
    label = work.expected.label(row.schema, row.name)
    if row.kind in "vm":
        return _create_view(work, row, name)
    if row.kind == "f":
        server = row.server[0]
        return [f"-- CREATE FOREIGN TABLE {name} (…) SERVER {quote_name(server)};"]
    lines = [column_definition(work, row, column) for column in row.columns if not column.inherited]
    later = []
    for constraint in row.constraints:
        if constraint.type == "not null" or constraint.inherited:
            continue
        text = definitions.constraint(constraint, sides.written, sides.sql)
        named = f"CONSTRAINT {quote_name(constraint.name)} "
        if constraint.type == "foreign key":
            later.append(f"ALTER TABLE {name} ADD {named}{text};")
        else:
            lines.append("" if made_by_server(constraint.name, row.name, constraint.type) else named)
            lines[-1] += text
    unlogged = "UNLOGGED " if row.persistence == "u" else ""
    create = f"CREATE {unlogged}TABLE {name} (\n    " + ",\n    ".join(lines) + "\n)"
    if row.inherits:
        create += f" INHERITS ({', '.join(sides.sql(parent) for parent in row.inherits)})"
    if row.partition_key:
        create += f" PARTITION BY {sides.sql(row.partition_key)}"
    create += definitions.storage(row.options, row.tablespace)
    statements = [create + ";"]
    if row.partition_key:
        statements.append(f"-- CREATE TABLE … PARTITION OF {name} …;")
    statements += _parts(work, row, name, label)
    return statements + later


def _create_view(work: Comparison, row: Relation, name: str) -> list[str]:
    body = work.sides.sql(row.definition).strip().rstrip(";")
    statements = [f"CREATE {sql_kind(row)} {name}{definitions.storage(row.options)} AS {body};"]
    return statements + _parts(work, row, name, "")


def _parts(work: Comparison, row: Relation, name: str, label: str) -> list[str]:
    sides = work.sides
    found = [definitions.create_index(index, index.name, name, sides.sql, concurrently=False) for index in row.indexes]
    if row.row_security:
        found.append(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;")
    if row.force_row_security:
        found.append(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY;")
    for policy in row.policies:
        found.append(f"CREATE POLICY {quote_name(policy.name)} ON {name} {definitions.policy(policy, sides.sql)};")
    found += [sides.sql(trigger.definition) + ";" for trigger in row.triggers]
    found += [sides.sql(rule.definition) for rule in row.rules]
    for right in row.public:
        found.append(f"GRANT {right.rstrip('*')} ON {name} TO PUBLIC;")
    if row.comment:
        found.append(f"COMMENT ON {sql_kind(row)} {name} IS {quote_text(row.comment)};")
    for column in row.columns:
        target = f"{name}.{quote_name(column.name)}"
        if column.comment:
            found.append(f"COMMENT ON COLUMN {target} IS {quote_text(column.comment)};")
        found += column_extras(name, column)
    for index in row.indexes:
        if index.comment:
            own = quote_names(sides.home(row.schema), index.name)
            found.append(f"COMMENT ON INDEX {own} IS {quote_text(index.comment)};")
    for constraint in row.constraints:
        if constraint.comment:
            text = quote_text(constraint.comment)
            found.append(f"COMMENT ON CONSTRAINT {quote_name(constraint.name)} ON {name} IS {text};")
    identity = row.replica_identity or "d"
    if identity in "nf":
        found.append(f"ALTER TABLE {name} REPLICA IDENTITY {'FULL' if identity == 'f' else 'NOTHING'};")
    return found


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


def is_serial(work: Comparison, table: Relation, column: Column) -> bool:
    """Whether the expected column draws its default from a sequence that it owns."""
    drawn = work.expected.sequence_of_default(column.default)
    owned = owned_sequence(work, table, column)
    return drawn is not None and owned is not None and drawn == (owned.schema, owned.name)
