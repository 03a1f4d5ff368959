"""Seeded pairs of schemas: models, and a database that lags behind them by a few changes of any kind.

A schema is a description, from which SQLAlchemy's MetaData is made. What refers to a column (checks, indexes, generated
columns, views, triggers, policies) is written from the column's present type, so that every description is valid.
"""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

TYPES = (
    "integer",
    "bigint",
    "text",
    "varchar",
    "numeric",
    "boolean",
    "timestamp",
    "timestamptz",
    "date",
    "jsonb",
    "enum",
)
_DEFAULTS = {
    "integer": "7",
    "bigint": "7",
    "text": "'new'",
    "varchar": "'new'",
    "numeric": "1.5",
    "boolean": "false",
    "timestamp": "now()",
    "timestamptz": "now()",
    "date": "'2026-01-01'",
    "jsonb": "'{}'",
}
# Types between which casts lead, in either direction; text leads everywhere.
_FAMILIES = (
    ("integer", "bigint", "numeric", "text", "varchar"),
    ("timestamp", "timestamptz", "date", "text"),
    ("boolean", "text", "varchar", "enum", "jsonb"),
)
_NUMBERS, _TEXTS = ("integer", "bigint", "numeric"), ("text", "varchar")


@dataclass
class Column:
    name: str
    type: str
    not_null: bool = False
    default: bool = False
    check: bool = False
    index: str = ""  # plain, expression or unique
    generated: bool = False  # a second column is computed from it
    made: bool = False  # the default is made by a function


@dataclass
class Table:
    name: str
    columns: list[Column] = field(default_factory=list)
    key: list[str] = field(default_factory=lambda: ["id"])
    refers: Optional[str] = None
    on_delete: str = "CASCADE"
    trigger: bool = False
    policy: bool = False
    view: list[str] = field(default_factory=list)
    view_kind: str = ""  # VIEW or MATERIALIZED VIEW
    view_over: bool = False  # a view that reads the view
    comment: str = ""


@dataclass
class Schema:
    labels: list[str]
    tables: dict[str, Table]
    result: str = "text"
    body: str = "lower(given)"

    def metadata(self) -> sa.MetaData:
        return _Maker(self).metadata()


@dataclass(frozen=True)
class Pair:
    seed: int
    models: Schema
    database: Schema
    changes: tuple[str, ...]


def pair(seed: int) -> Pair:
    """The pair of ``seed``: one to four changes lie between its two schemas, in either direction."""
    dice = random.Random(seed)
    one = _schema(dice)
    other = copy.deepcopy(one)
    changes = tuple(_change(dice, other) for _ in range(dice.randint(1, 4)))
    models, database = (one, other) if dice.random() < 0.5 else (other, one)
    return Pair(seed, models, database, changes)


def _schema(dice: random.Random) -> Schema:
    schema = Schema(["a", "b", "c", "d"][: dice.randint(3, 4)], {})
    for _ in range(dice.randint(2, 4)):
        _add_table(dice, schema)
    return schema


def _add_table(dice: random.Random, schema: Schema) -> str:
    number = len(schema.tables)
    name = next(f"t{n}" for n in range(number, number + 50) if f"t{n}" not in schema.tables)
    table = Table(name)
    for place in range(dice.randint(2, 5)):
        table.columns.append(_column(dice, f"c{place}"))
    if schema.tables and dice.random() < 0.7:
        table.refers = dice.choice(sorted(schema.tables))
    table.trigger, table.policy = dice.random() < 0.3, dice.random() < 0.3
    if dice.random() < 0.6:
        table.view = [column.name for column in table.columns if dice.random() < 0.7]
        table.view_kind = dice.choice(["VIEW", "VIEW", "MATERIALIZED VIEW"])
        table.view_over = dice.random() < 0.4
    schema.tables[name] = table
    return f"table {name}"


def _column(dice: random.Random, name: str) -> Column:
    found = Column(name, dice.choice(TYPES), not_null=dice.random() < 0.3, default=dice.random() < 0.4)
    found.check, found.generated = dice.random() < 0.3, dice.random() < 0.25
    found.index = dice.choice(["", "", "plain", "expression", "unique"])
    found.made = found.type == "text" and dice.random() < 0.3
    return found


Change = Callable[[random.Random, Schema], str]


def _change(dice: random.Random, schema: Schema) -> str:
    return dice.choice(_CHANGES)(dice, schema)


def _any_table(dice: random.Random, schema: Schema) -> Table:
    return schema.tables[dice.choice(sorted(schema.tables))]


def _retype(dice: random.Random, schema: Schema) -> str:
    table = _any_table(dice, schema)
    column = dice.choice(table.columns)
    family = next((names for names in _FAMILIES if column.type in names), TYPES)
    wanted = TYPES if dice.random() < 0.05 else family  # seldom one that no cast leads to
    before, column.type = column.type, dice.choice([name for name in wanted if name != column.type])
    column.made = column.made and column.type == "text"
    return f"{table.name}.{column.name}: {before} or {column.type}"


def _toggle(dice: random.Random, schema: Schema) -> str:
    table = _any_table(dice, schema)
    column, what = dice.choice(table.columns), dice.choice(["not_null", "default", "check", "generated"])
    setattr(column, what, not getattr(column, what))
    return f"{table.name}.{column.name}: {what}"


def _reindex(dice: random.Random, schema: Schema) -> str:
    table = _any_table(dice, schema)
    column = dice.choice(table.columns)
    column.index = dice.choice([kind for kind in ("", "plain", "expression", "unique") if kind != column.index])
    return f"{table.name}.{column.name}: index {column.index or 'gone'}"


def _add_column(dice: random.Random, schema: Schema) -> str:
    table = _any_table(dice, schema)
    name = next(f"c{n}" for n in range(20) if f"c{n}" not in {column.name for column in table.columns})
    table.columns.append(_column(dice, name))
    if table.view_kind and dice.random() < 0.5:
        table.view.append(name)
    return f"{table.name}.{name}: added"


def _drop_column(dice: random.Random, schema: Schema) -> str:
    table = _any_table(dice, schema)
    if len(table.columns) < 2:
        return _add_column(dice, schema)
    gone = dice.choice(table.columns)
    table.columns.remove(gone)
    table.view = [name for name in table.view if name != gone.name]
    return f"{table.name}.{gone.name}: dropped"


def _drop_table(dice: random.Random, schema: Schema) -> str:
    if len(schema.tables) < 2:
        return _add_table(dice, schema)
    gone = dice.choice(sorted(schema.tables))
    del schema.tables[gone]
    for table in schema.tables.values():
        table.refers = None if table.refers == gone else table.refers
    return f"table {gone} dropped"


def _labels(dice: random.Random, schema: Schema) -> str:
    before = list(schema.labels)
    how = dice.choice(["add", "remove", "order"])
    if how == "add":
        schema.labels.insert(dice.randrange(len(before) + 1), "x")
    elif how == "remove":
        schema.labels.remove(dice.choice(before))
    else:
        schema.labels.reverse()
    schema.labels = list(dict.fromkeys(schema.labels))
    return f"labels: {how}"


def _key(dice: random.Random, schema: Schema) -> str:
    table = _any_table(dice, schema)
    table.key = ["id"] if len(table.key) == 2 else ["id", "part"]
    return f"{table.name}: key {table.key}"


def _reference(dice: random.Random, schema: Schema) -> str:
    table = _any_table(dice, schema)
    others = [name for name in sorted(schema.tables) if name < table.name]
    if table.refers:
        table.on_delete = "SET NULL" if table.on_delete == "CASCADE" else "CASCADE"
    elif others:
        table.refers = dice.choice(others)
    return f"{table.name}: reference"


def _function(dice: random.Random, schema: Schema) -> str:
    if dice.random() < 0.5:
        schema.body = "upper(given)" if schema.body == "lower(given)" else "lower(given)"
        return "function: body"
    schema.result = "varchar" if schema.result == "text" else "text"
    return "function: result"


def _view(dice: random.Random, schema: Schema) -> str:
    table = _any_table(dice, schema)
    if not table.view_kind or dice.random() < 0.3:
        table.view_kind = "" if table.view_kind else dice.choice(["VIEW", "MATERIALIZED VIEW"])
    table.view = [column.name for column in table.columns if dice.random() < 0.6]
    return f"{table.name}: view"


def _parts(dice: random.Random, schema: Schema) -> str:
    table = _any_table(dice, schema)
    what = dice.choice(["trigger", "policy", "view_over"])
    setattr(table, what, not getattr(table, what))
    return f"{table.name}: {what}"


def _comment(dice: random.Random, schema: Schema) -> str:
    table = _any_table(dice, schema)
    table.comment = "It's 100% :sure" if not table.comment else ""
    return f"{table.name}: comment"


_CHANGES: tuple[Change, ...] = (
    _retype, _retype, _retype, _toggle, _toggle, _reindex, _add_column, _drop_column, _add_table, _drop_table, _labels,
    _key, _reference, _function, _view, _parts, _comment,
)  # fmt: skip


class _Maker:
    """MetaData with events from a description."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.found = sa.MetaData()
        self.enum = postgresql.ENUM(*schema.labels, name="state", metadata=self.found)

    def metadata(self) -> sa.MetaData:
        schema = self.schema
        self._event(
            "before_create",
            f"CREATE FUNCTION norm(given text) RETURNS {schema.result} LANGUAGE sql IMMUTABLE AS $$ SELECT {schema.body} $$",
        )
        self._event("before_create", "CREATE FUNCTION code() RETURNS text LANGUAGE sql AS $$ SELECT md5('1') $$")
        self._event(
            "before_create",
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        )
        for name in sorted(schema.tables):
            self._table(schema.tables[name])
        for name in sorted(schema.tables):
            self._around(schema.tables[name])
        return self.found

    def _event(self, when: str, sql: str) -> None:
        sa.event.listen(self.found, when, sa.DDL(sql.replace("%", "%%")))

    def _type(self, name: str) -> Any:
        types = {
            "integer": sa.Integer(), "bigint": sa.BigInteger(), "text": sa.Text(), "varchar": sa.String(40),
            "numeric": sa.Numeric(10, 2), "boolean": sa.Boolean(), "timestamp": sa.DateTime(),
            "timestamptz": sa.DateTime(timezone=True), "date": sa.Date(), "jsonb": postgresql.JSONB(), "enum": self.enum,
        }  # fmt: skip
        return types[name]

    def _table(self, table: Table) -> None:
        columns: list[Any] = [sa.Column("id", sa.Integer, primary_key=True)]
        if len(table.key) == 2:
            columns.append(sa.Column("part", sa.Integer, primary_key=True, autoincrement=False))
        for column in table.columns:
            columns.append(self._column(column))
            columns += self._extras(table, column)
        if table.refers:
            columns += self._reference(table, self.schema.tables[table.refers])
        made = sa.Table(table.name, self.found, *columns, comment=table.comment or None)
        for column in table.columns:
            self._index(made, column)

    def _column(self, column: Column) -> Any:
        default = None
        if column.made:
            default = "code()"
        elif column.default:
            default = f"'{self.schema.labels[0]}'" if column.type == "enum" else _DEFAULTS[column.type]
        given = None if default is None else sa.text(default)
        return sa.Column(column.name, self._type(column.type), nullable=not column.not_null, server_default=given)

    def _extras(self, table: Table, column: Column) -> list[Any]:
        found: list[Any] = []
        if column.check:
            found.append(sa.CheckConstraint(self._condition(column), name=f"ck_{table.name}_{column.name}"))
        if column.generated and column.type in _NUMBERS:
            found.append(sa.Column(f"{column.name}_g", sa.Numeric, sa.Computed(f"{column.name} + 1", persisted=True)))
        elif column.generated and column.type in _TEXTS:
            found.append(sa.Column(f"{column.name}_g", sa.Text, sa.Computed(f"norm({column.name})", persisted=True)))
        return found

    def _condition(self, column: Column) -> str:
        name = column.name
        if column.type in _NUMBERS:
            return f"{name} > 0"
        if column.type in _TEXTS:
            return f"norm({name}) <> ''"
        if column.type == "enum":
            return f"{name} <> '{self.schema.labels[-1]}'"
        return f"{name} IS NOT NULL"

    def _reference(self, table: Table, other: Table) -> list[Any]:
        names = [f"to_{name}" for name in other.key]
        columns: list[Any] = [sa.Column(name, sa.Integer) for name in names]
        key = sa.ForeignKeyConstraint(
            names, [f"{other.name}.{name}" for name in other.key], name=f"fk_{table.name}", ondelete=table.on_delete
        )
        return [*columns, key]

    def _index(self, made: sa.Table, column: Column) -> None:
        name = f"ix_{made.name}_{column.name}"
        target = made.c[column.name]
        if column.index == "unique":
            sa.Index(name, target, unique=True)
        elif column.index == "expression" and column.type in _TEXTS:
            sa.Index(name, sa.func.norm(target))
        elif column.index == "expression":
            sa.Index(name, target, postgresql_where=sa.text(self._condition(column)))
        elif column.index:
            sa.Index(name, target)

    def _around(self, table: Table) -> None:
        name = table.name
        if table.view_kind:
            listed = ", ".join(["id", *(column for column in table.view)])
            self._event("after_create", f"CREATE {table.view_kind} v_{name} AS SELECT {listed} FROM {name}")
            if table.view_over:
                self._event("after_create", f"CREATE VIEW w_{name} AS SELECT id FROM v_{name} WHERE id > 1")
        first = table.columns[0]
        if table.trigger:
            self._event(
                "after_create",
                f"CREATE TRIGGER tr_{name} BEFORE UPDATE OF {first.name} ON {name} FOR EACH ROW EXECUTE FUNCTION touch()",
            )
        if table.policy:
            self._event("after_create", f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
            self._event("after_create", f"CREATE POLICY po_{name} ON {name} USING ({self._condition(first)})")
