"""Random models: created, they match themselves, in any order of columns; one random change, and they do not."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from papdeploy.schema import CheckOptions, ModelSet, compare, describe, fingerprint
from papdeploy.schema.catalog.rows import Catalog
from papdeploy.schema.models.expected import finish
from sqlalchemy.dialects import postgresql as pg

pytestmark = pytest.mark.every_version

TYPES: list[Callable[[], Any]] = [
    sa.Integer, sa.BigInteger, sa.SmallInteger, sa.Text, sa.Boolean, sa.Date, sa.Float, sa.LargeBinary, pg.JSONB, pg.UUID, pg.INET,
    lambda: sa.String(20), lambda: sa.String(255), lambda: sa.Numeric(10, 2), lambda: sa.Numeric(5, 0), sa.Interval, sa.Time,
    lambda: sa.DateTime(timezone=True), sa.DateTime, lambda: sa.ARRAY(sa.Integer), lambda: sa.ARRAY(sa.String(9)),
    lambda: sa.Enum("a", "b", "it's", name="kind"), lambda: pg.CHAR(3), lambda: pg.TIMESTAMP(precision=3), pg.TSVECTOR, pg.DATERANGE,
]  # fmt: skip
DEFAULTS = {
    sa.Integer: ["0", "-1", "7"], sa.BigInteger: ["0", "9999999999"], sa.Text: ["''", "'it''s'", "'100%'", "'{\"a\": 1}'"],
    sa.Boolean: ["true", "false"], sa.Float: ["0.5", "1e10"], sa.Numeric: ["0", "1.50"], sa.DateTime: ["now()", "CURRENT_TIMESTAMP"],
    pg.JSONB: ["'{}'", "'[1, 2]'"], pg.UUID: ["gen_random_uuid()"], sa.String: ["'x'", "'a b'"], sa.Date: ["CURRENT_DATE", "'2026-01-01'"],
    sa.ARRAY: ["'{}'"], sa.Interval: ["'1 day'", "'90 minutes'"], pg.CHAR: ["'x'"],
}  # fmt: skip
# No shrinking: each step would create tables, and a test may not take minutes.
PHASES = (Phase.explicit, Phase.generate)
NAMES = ["id", "name", "Mixed Case", "order", "user", "value", "état", "a" * 60, "created_at", "x"]


@st.composite
def metadatas(draw: Any) -> sa.MetaData:
    metadata = sa.MetaData()
    for number in range(draw(st.integers(1, 3))):
        names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
        columns = [
            sa.Column("pk", draw(st.sampled_from([sa.Integer, sa.BigInteger, sa.SmallInteger])), primary_key=True)
        ]
        if draw(st.booleans()):
            columns = [sa.Column("pk", sa.Integer, sa.Identity(always=draw(st.booleans())), primary_key=True)]
        for name in names:
            kind = draw(st.sampled_from(TYPES))()
            defaults = DEFAULTS.get(type(kind), [])
            default = draw(st.sampled_from([None, *defaults])) if defaults else None
            columns.append(
                sa.Column(
                    name, kind, nullable=draw(st.booleans()), comment=draw(st.sampled_from([None, "it's a comment"])),
                    server_default=None if default is None else sa.text(default.replace(":", "\\:")),
                )
            )  # fmt: skip
        if number and draw(st.booleans()):
            target = metadata.tables[f"t{number - 1}"].c.pk
            columns.append(
                sa.Column(
                    "ref",
                    target.type,
                    sa.ForeignKey(target, ondelete=draw(st.sampled_from([None, "CASCADE", "SET NULL"]))),
                )
            )
        table = sa.Table(f"t{number}", metadata, *columns)
        plain = [c for c in table.c if not isinstance(c.type, (pg.JSONB, pg.TSVECTOR)) and c.name != "pk"]
        for position, column in enumerate(plain):
            wanted = draw(st.sampled_from(["nothing", "index", "unique", "desc", "partial", "pair", "check"]))
            if wanted == "index":
                sa.Index(f"ix{number}_{position}", column)
            elif wanted == "unique":
                table.append_constraint(sa.UniqueConstraint(column))
            elif wanted == "desc":
                sa.Index(f"ix{number}_{position}", column.desc())
            elif wanted == "partial":
                sa.Index(f"ix{number}_{position}", column, postgresql_where=column.isnot(None))
            elif wanted == "pair":
                sa.Index(f"ix{number}_{position}", column, table.c.pk, unique=True)
            elif wanted == "check":
                table.append_constraint(
                    sa.CheckConstraint(column.isnot(None) | (table.c.pk > 5), name=f"ck{number}_{position}")
                )
    return metadata


@pytest.fixture(scope="module")
def empty(server: Any) -> Iterator[sa.Connection]:
    name = server.create("random")
    with sa.create_engine(server.url(name), poolclass=sa.pool.NullPool).connect() as connection:
        yield connection
    server.drop(name)


def described(connection: sa.Connection, *statements: str) -> Catalog:
    with connection.begin() as transaction:
        cursor = connection.connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        catalog = describe(connection)
        transaction.rollback()
    return catalog


def shuffled(metadata: sa.MetaData, seed: int) -> sa.MetaData:
    """The same models with the columns in another order."""
    dice = random.Random(seed)
    other = sa.MetaData()
    for table in metadata.sorted_tables:
        columns = [column._copy() for column in table.columns]
        dice.shuffle(columns)
        copy = sa.Table(table.name, other, *columns)
        for constraint in table.constraints:
            if not isinstance(constraint, sa.PrimaryKeyConstraint):
                copy.append_constraint(constraint._copy(target_table=copy))
        for index in table.indexes:
            sa.Index(
                index.name, *[sa.text(str(e.compile(dialect=pg.dialect())).replace(f"{table.name}.", "", 1)) if not isinstance(e, sa.Column) else copy.c[e.name] for e in index.expressions if not isinstance(e, str)],
                unique=index.unique, _table=copy,
                postgresql_where=None if index.dialect_options["postgresql"]["where"] is None
                else sa.text(str(index.dialect_options["postgresql"]["where"].compile(dialect=pg.dialect()))),
            )  # fmt: skip
    return other


def changes(metadata: sa.MetaData) -> list[str]:
    """Single statements that make the created models different."""
    quote = pg.dialect().identifier_preparer.quote
    found = ["CREATE TABLE one_more (id integer)", "CREATE TYPE one_more AS ENUM ('x')"]
    for table in metadata.sorted_tables:
        name = quote(table.name)
        found += [f"DROP TABLE {name} CASCADE", f"ALTER TABLE {name} RENAME TO renamed", f"ALTER TABLE {name} ADD COLUMN one_more int",
                  f"ALTER TABLE {name} SET UNLOGGED", f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY", f"GRANT SELECT ON {name} TO PUBLIC"]  # fmt: skip
        for column in table.columns:
            target = f"ALTER TABLE {name} ALTER COLUMN {quote(column.name)}"
            found.append(f"ALTER TABLE {name} RENAME COLUMN {quote(column.name)} TO one_more")
            found.append(f"COMMENT ON COLUMN {name}.{quote(column.name)} IS 'other'")
            if column.primary_key:
                continue
            found.append(f"ALTER TABLE {name} DROP COLUMN {quote(column.name)} CASCADE")
            found.append(f"{target} {'SET' if column.nullable else 'DROP'} NOT NULL")
            if column.server_default is not None:
                found.append(f"{target} DROP DEFAULT")
            elif isinstance(column.type, (sa.Text, sa.String)) and not isinstance(column.type, sa.Enum):
                found.append(f"{target} SET DEFAULT 'other'")
            if isinstance(column.type, sa.Integer) and not column.foreign_keys:
                found.append(f"{target} TYPE numeric")
            if isinstance(column.type, sa.Text) and column.server_default is None:
                found.append(f"{target} TYPE varchar(300)")
        found += [f"DROP INDEX {quote(str(index.name))}" for index in table.indexes]
        found += [
            f"ALTER TABLE {name} DROP CONSTRAINT {quote(str(c.name))}"
            for c in table.constraints
            if isinstance(c, sa.CheckConstraint)
        ]
    return found


@given(metadata=metadatas(), seed=st.integers(0, 1000), choice=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None, derandomize=True, phases=PHASES, suppress_health_check=list(HealthCheck))
def test_random_models(empty: sa.Connection, metadata: sa.MetaData, seed: int, choice: random.Random) -> None:
    models = ModelSet([metadata])
    statements = models.ddl(int(empty.dialect.server_version_info[0]))
    expected = finish(described(empty, *statements), models)
    options = CheckOptions()

    actual = described(empty, *statements)
    assert compare(expected, actual, options) == []

    reordered = described(empty, *ModelSet([shuffled(metadata, seed)]).ddl(16))
    assert compare(expected, reordered, options) == []

    change = choice.choice(changes(metadata))
    changed = described(empty, *statements, change)
    differences = compare(expected, changed, options)
    assert differences, f"unseen: {change}"
    assert fingerprint(changed) != fingerprint(actual)
