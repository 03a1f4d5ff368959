"""Catalog rows as SQL: for a person to read and for repair statements.

``qualify`` turns (schema, table) into a name; what a person reads leaves the default schema out, what a statement
needs has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...sql.quoting import quote_name, quote_text
from ..catalog.rows import NO_INDEX, Column, Constraint, Index, IndexKey, Part, SequenceRow, Type

Qualify = Callable[..., str]
Words = Callable[[str], str]


def columns(names: Sequence[str]) -> str:
    return ", ".join(quote_name(name) for name in names)


def constraint(row: Constraint, qualify: Qualify, sql: Words = str) -> str:
    """The constraint without its name, as in ALTER TABLE … ADD CONSTRAINT name …"""
    kind = row.type
    period = " WITHOUT OVERLAPS" if row.period and kind != "foreign key" else ""
    if kind in ("primary key", "unique"):
        index = row.index or NO_INDEX
        distinct = " NULLS NOT DISTINCT" if index.nulls_not_distinct else ""
        text = f"{kind.upper()}{distinct} ({columns(row.columns)}{period})"
        if index.include:
            text += f" INCLUDE ({columns(index.include)})"
        text += storage(index.options)
    elif kind == "foreign key":
        text = _foreign_key(row, qualify)
    elif kind == "check":
        text = f"CHECK ({sql(row.expression)})" + (" NO INHERIT" if row.no_inherit else "")
    elif kind == "not null":
        text = f"NOT NULL {columns(row.columns)}"
    else:
        return sql(row.definition)  # pg_get_constraintdef says all of it
    if row.deferrable:
        text += " DEFERRABLE" + (" INITIALLY DEFERRED" if row.deferred else "")
    if row.not_enforced:
        text += " NOT ENFORCED"
    return text


def _foreign_key(row: Constraint, qualify: Qualify) -> str:
    own, target = columns(row.columns), columns(row.target_columns)
    if row.period:
        own, target = (", PERIOD ".join(part.rsplit(", ", 1)) for part in (own, target))
    text = f"FOREIGN KEY ({own}) REFERENCES {qualify(*row.target)} ({target})"
    if row.match != "SIMPLE":
        text += f" MATCH {row.match}"
    if row.on_update != "NO ACTION":
        text += f" ON UPDATE {row.on_update}"
    if row.on_delete != "NO ACTION":
        text += f" ON DELETE {row.on_delete}"
        if row.on_delete_columns:
            text += f" ({columns(row.on_delete_columns)})"
    return text


def index_key(key: IndexKey, sql: Words = str) -> str:
    text = f"({sql(key.expression or '')})" if key.column is None else quote_name(key.column)
    if key.collation:
        text += f" COLLATE {key.collation}"
    if key.opclass or key.options:
        opclass = sql(key.opclass).replace("pg_catalog.", "")
        text += f" {opclass}" + (f" ({', '.join(key.options)})" if key.options else "")
    if key.desc:
        text += " DESC"
    if key.nulls:
        text += f" NULLS {key.nulls.upper()}"
    return text


def storage(options: Sequence[str], tablespace: str = "") -> str:
    """How a relation or an index is kept: its storage parameters and its tablespace."""
    text = f" WITH ({', '.join(options)})" if options else ""
    return text + (f" TABLESPACE {quote_name(tablespace)}" if tablespace else "")


def index(row: Index, sql: Words = str) -> str:
    """What follows the table's name in CREATE INDEX."""
    method = "" if row.method == "btree" else f" USING {row.method}"
    text = f"{method} ({', '.join(index_key(key, sql) for key in row.keys)})".strip()
    if row.include:
        text += f" INCLUDE ({columns(row.include)})"
    if row.nulls_not_distinct:
        text += " NULLS NOT DISTINCT"
    text += storage(row.options, row.tablespace)
    if row.predicate:
        text += f" WHERE {sql(row.predicate)}"
    return text


def create_index(row: Index, name: str, table: str, sql: Words = str, *, concurrently: bool = True) -> str:
    unique = "UNIQUE " if row.unique else ""
    how = "CONCURRENTLY " if concurrently else ""
    return f"CREATE {unique}INDEX {how}{quote_name(name)} ON {table} {index(row, sql)};"


_TYPE_LIMITS = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}


def sequence_options(row: SequenceRow) -> dict[str, str]:
    """The options of a sequence that differ from what its type gives."""
    limit = _TYPE_LIMITS[row.type]
    rising = row.increment > 0
    low, high = (1, limit) if rising else (-limit - 1, -1)
    return {
        "AS": row.type,
        "INCREMENT BY": str(row.increment),
        "MINVALUE": "" if row.minimum == low else str(row.minimum),
        "MAXVALUE": "" if row.maximum == high else str(row.maximum),
        "START WITH": "" if row.start == (row.minimum if rising else row.maximum) else str(row.start),
        "CACHE": "" if row.cache == 1 else str(row.cache),
        "CYCLE": "CYCLE" if row.cycle else "",
    }


def sequence(row: SequenceRow, *, with_type: bool = True) -> str:
    """The options as CREATE SEQUENCE takes them."""
    parts = []
    for word, value in sequence_options(row).items():
        if not value or (word == "INCREMENT BY" and value == "1") or (word == "AS" and not with_type):
            continue
        parts.append("CYCLE" if word == "CYCLE" else f"{word} {value}")
    return " ".join(parts)


def alter_sequence(row: SequenceRow) -> str:
    """The options as ALTER SEQUENCE must be told to reach them from anywhere."""
    found = sequence_options(row)
    parts = [f"AS {found['AS']}", f"INCREMENT BY {found['INCREMENT BY']}"]
    parts += [f"MINVALUE {row.minimum}", f"MAXVALUE {row.maximum}"]
    parts += [f"START WITH {row.start}", f"CACHE {row.cache}", "CYCLE" if row.cycle else "NO CYCLE"]
    return " ".join(parts)


def column_type(row: Column, sql: Words = str) -> str:
    text = sql(row.type)
    return text + (f" COLLATE {sql(row.collation)}" if row.collation else "")


def generated(row: Column, sql: Words = str) -> str:
    how = "VIRTUAL" if row.generated == "v" else "STORED"
    return f"GENERATED ALWAYS AS ({sql(row.generation or '')}) {how}"


def identity(row: Column, options: SequenceRow | None = None) -> str:
    how = "ALWAYS" if row.identity == "a" else "BY DEFAULT"
    details = sequence(options, with_type=False) if options else ""
    return f"GENERATED {how} AS IDENTITY" + (f" ({details})" if details else "")


def policy(row: Part, sql: Words = str) -> str:
    """What follows the table's name in CREATE POLICY."""
    commands = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "*": "ALL"}
    text = "" if row.permissive else "AS RESTRICTIVE "
    text += f"FOR {commands[row.command]} TO {', '.join(_role(role) for role in row.roles)}"
    if row.using:
        text += f" USING ({sql(row.using)})"
    if row.check:
        text += f" WITH CHECK ({sql(row.check)})"
    return text


def _role(role: str) -> str:
    return "PUBLIC" if role == "public" else quote_name(role)


def create_type(row: Type, name: str, sql: Words = str) -> list[str]:
    """CREATE TYPE or CREATE DOMAIN, with its comment and what PUBLIC may not do."""
    target = f"{'DOMAIN' if row.kind == 'd' else 'TYPE'} {name}"
    comment = [f"COMMENT ON {target} IS {quote_text(row.comment)};"] if row.comment else []
    hidden = [] if "USAGE" in row.public else [f"REVOKE USAGE ON {target} FROM PUBLIC;"]
    return [*_create_type(row, name, sql), *comment, *hidden]


def drop_rules(row: Type, name: str) -> list[str]:
    """The default and the checks of the domain ``name``."""
    found = [f"ALTER DOMAIN {name} DROP DEFAULT;"] if row.expression else []
    return found + [f"ALTER DOMAIN {name} DROP CONSTRAINT {quote_name(check)};" for check, _, _ in row.checks]


def add_rules(row: Type, name: str, sql: Words) -> list[str]:
    """The same again."""
    found = [f"ALTER DOMAIN {name} SET DEFAULT {sql(row.expression)};"] if row.expression else []
    for check, expression, validated in row.checks:
        found += add_domain_check(name, check, sql(expression))[: 1 + validated]
    return found


def add_domain_check(name: str, check: str, expression: str) -> list[str]:
    """Added, then validated."""
    quoted = quote_name(check)
    return [
        f"ALTER DOMAIN {name} ADD CONSTRAINT {quoted} CHECK ({expression}) NOT VALID;",
        f"ALTER DOMAIN {name} VALIDATE CONSTRAINT {quoted};",
    ]


def _create_type(row: Type, name: str, sql: Words) -> list[str]:
    kind = row.kind
    if kind == "e":
        return [f"CREATE TYPE {name} AS ENUM ({', '.join(quote_text(label) for label in row.labels)});"]
    if kind == "c":
        attributes = ", ".join(f"{quote_name(item)} {sql(type_)}" for item, type_ in row.attributes)
        return [f"CREATE TYPE {name} AS ({attributes});"]
    if kind == "r":
        return [f"CREATE TYPE {name} AS RANGE (SUBTYPE = {sql(row.range[0])});"]
    text = f"CREATE DOMAIN {name} AS {sql(row.base)}"
    if row.collation:
        text += f" COLLATE {sql(row.collation)}"
    if row.expression:
        text += f" DEFAULT {sql(row.expression)}"
    if row.not_null:
        text += " NOT NULL"
    for check, expression, _ in row.checks:
        text += f" CONSTRAINT {quote_name(check)} CHECK ({sql(expression)})"
    return [text + ";"]
