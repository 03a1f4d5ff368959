"""Databases from a seed: schemas, types, tables, partitions, inheritance, rights, comments, policies and rows, with odd
names and values, in an order in which a person may have made and changed them."""

from __future__ import annotations

import random

from support.seeded_rarities import RARITIES

NAMES = (
    "plain", "Mixed Case", "we\"ird", "it's", "a.b", "select", "ünï", "数据", "-dash", "50%", "back\\slash", "x" * 60,
    "tab\there", "$1", "e\u0301", ";--", "new\nline", "ж" * 27, "%s%%", "\\.", "a'b\"c",
)  # fmt: skip
ROLES = ("pap_reader", "pap \"quoted' role", "pap_owner")

# A type and expressions for its values, with those that have ever broken a dump.
VALUES = {
    "int": ("0", "-2147483648", "2147483647"),
    "bigint": ("9223372036854775807", "-1"),
    "smallint": ("-32768", "7"),
    "numeric": ("'NaN'", "1.0", "1.00", "-0.000001"),
    "numeric(12,4)": ("1.5", "-99999999.9999"),
    "float8": ("'NaN'", "'-0'", "1e-300", "0.1 + 0.2::float8"),
    "real": ("'Infinity'", "1.1"),
    "text": ("''", "E'tab \\t \\\\. \\n \\r'", "'ж€𝄞'", "repeat('long ', 3000)", "'NULL'"),
    "varchar(20)": ("'v'", "' '"),
    "char(4)": ("'ab'", "''"),
    "bytea": ("'\\x00ff'", "''"),
    "boolean": ("true", "false"),
    "date": ("'infinity'", "'4713-01-01 BC'", "'2024-02-29'"),
    "timestamp": ("'-infinity'", "'1999-12-31 23:59:59.999999'"),
    "timestamptz": ("'2024-03-31 02:30+01'", "'0001-01-01 BC'"),
    "interval": ("'1 mon'", "'30 days'", "'-1 year 2 days 03:04'"),
    "uuid": ("'00000000-0000-0000-0000-000000000001'",),
    "jsonb": ("'{\"a\": [1, null]}'", "'null'"),
    "json": ('\'{"a":1,  "a":2}\'',),
    "int[]": ("'{}'", "'[2:3]={1,2}'", "'{{1,2},{3,NULL}}'"),
    "text[]": ("ARRAY['', NULL, '\"', 'NULL']",),
    "inet": ("'::1/64'", "'10.0.0.1'"),
    "bit varying": ("'1010'", "''"),
    "int4range": ("'empty'", "'[1,9)'", "'(,)'"),
    "tsvector": ("'a:1 b:2'::tsvector",),
    "point": ("'(1,2)'",),
}


def ident(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _cut(name: str, most: int) -> str:
    """PostgreSQL cuts names by bytes."""
    return name.encode()[:most].decode(errors="ignore")


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class Maker:
    """``statements`` build the database of a seed, each by itself."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.statements: list[str] = []
        self.values = dict(VALUES)
        self.schemas = ["public"]
        self.tables: list[tuple[str, dict[str, str]]] = []  # qualified name, columns with their types
        self.number = 0
        self._all()

    def _name(self) -> str:
        self.number += 1
        return _cut(self.random.choice(NAMES), 63 - len(str(self.number))) + str(self.number)

    def _new(self) -> str:
        return f"{ident(self.random.choice(self.schemas))}.{ident(self._name())}"

    def _add(self, statement: str) -> None:
        self.statements.append(statement)

    def _chance(self, of: float) -> bool:
        return self.random.random() < of

    def _all(self) -> None:
        pick = self.random
        if self._chance(0.3):
            self._add("DROP SCHEMA public; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC")
        for _ in range(pick.randint(0, 2)):
            name = self._name()
            self._add(f"CREATE SCHEMA {ident(name)} AUTHORIZATION {ident(pick.choice(ROLES))}")
            self.schemas.append(name)
        self._types()
        for _ in range(pick.randint(2, 5)):
            pick.choice((self._table, self._table, self._partitioned, self._family))()
        for _ in range(pick.randint(6, 14)):
            pick.choice((self._index, self._view, self._change, self._comment, self._right, self._policy, self._trigger,
                         self._reference, self._sequence, self._large_object, self._rows))()  # fmt: skip
        for rarity in pick.sample(RARITIES, pick.randint(0, 5)):
            self._rare(rarity)

    def _types(self) -> None:
        enum, domain, pair = self._new(), self._new(), self._new()
        labels = ["sad", "it's", "ünï", "", "so so"]
        self.random.shuffle(labels)
        self._add(f"CREATE TYPE {enum} AS ENUM ({', '.join(map(literal, labels))})")
        self._add(f"ALTER TYPE {enum} ADD VALUE 'glad' BEFORE 'sad'")
        self._add(f"CREATE DOMAIN {domain} AS int DEFAULT 1 CHECK (VALUE > 0)")
        self._add(f"CREATE TYPE {pair} AS (a int, {ident('b c')} text)")
        self.values |= {enum: ("'sad'", "''", "'it''s'"), domain: ("1", "99"), pair: ("ROW(1, 'x,y')", "'(,)'")}
        self.values[f"{enum}[]"] = ("'{sad}'", "'{}'")
        self.enum = enum

    def _columns(self) -> dict[str, str]:
        return {self._name(): self.random.choice([*self.values]) for _ in range(self.random.randint(1, 6))}

    def _column(self, name: str, kind: str) -> str:
        default = f" DEFAULT {self.random.choice(self.values[kind])}" if self._chance(0.3) else ""
        return f"{ident(name)} {kind}{default}"

    def _table(self) -> None:
        name, columns = self._new(), self._columns()
        parts = [self._column(*column) for column in columns.items()]
        if self._chance(0.6):
            key = self.random.choice(("serial", "int GENERATED ALWAYS AS IDENTITY (START 5)",
                                      "bigint GENERATED BY DEFAULT AS IDENTITY"))  # fmt: skip
            parts.insert(self.random.randint(0, len(parts)), f"id {key} PRIMARY KEY")
            parts.append("twice bigint GENERATED ALWAYS AS (id * 2) STORED")
            parts.append("CHECK (id > 0 AND id IN (1, 2) OR id > 2)")
        unlogged = "UNLOGGED " if self._chance(0.1) else ""
        self._add(f"CREATE {unlogged}TABLE {name} ({', '.join(parts)})")
        self.tables.append((name, columns))
        self._rows()

    def _partitioned(self) -> None:
        name, columns = self._new(), self._columns()
        how = self.random.choice(("RANGE", "LIST", "HASH"))
        kind = self.enum if how == "HASH" and self._chance(0.5) else "int"
        columns = {"k": kind, **columns}
        self._add(f"CREATE TABLE {name} ({', '.join(self._column(*column) for column in columns.items())})"
                  f" PARTITION BY {how} (k)")  # fmt: skip
        bounds = {
            "RANGE": ["FROM (MINVALUE) TO (0)", "FROM (0) TO (MAXVALUE)"],
            "LIST": ["IN (0)", "IN (-2147483648, NULL)"],
            "HASH": [f"WITH (MODULUS 3, REMAINDER {part})" for part in range(3)],
        }[how]
        for bound in bounds:
            self._add(f"CREATE TABLE {self._new()} PARTITION OF {name} FOR VALUES {bound}")
        if how != "HASH":
            self._add(f"CREATE TABLE {self._new()} PARTITION OF {name} DEFAULT")
        self.tables.append((name, columns))
        self._rows()

    def _family(self) -> None:
        parent, child = self._new(), self._new()
        columns, own = self._columns(), self._columns()
        self._add(f"CREATE TABLE {parent} ({', '.join(self._column(*column) for column in columns.items())})")
        self._add(f"CREATE TABLE {child} ({', '.join(self._column(*column) for column in own.items())})"
                  f" INHERITS ({parent})")  # fmt: skip
        if self._chance(0.5):
            self._add(f"ALTER TABLE {parent} ADD COLUMN {self._column(self._name(), 'int')}")
        self.tables += [(parent, columns), (child, {**columns, **own})]
        self._rows()

    def _rows(self) -> None:
        if not self.tables:
            return
        name, columns = self.random.choice(self.tables[-2:])
        for _ in range(self.random.randint(1, 12)):
            chosen = [(column, kind) for column, kind in columns.items() if self._chance(0.85)]
            values = [
                "NULL" if self._chance(0.1) and column != "k" else self.random.choice(self.values[kind])
                for column, kind in chosen
            ]
            listed = f"({', '.join(ident(column) for column, _ in chosen)}) VALUES ({', '.join(values)})"
            self._add(f"INSERT INTO {name} {listed if chosen else 'DEFAULT VALUES'}")

    def _any(self) -> tuple[str, dict[str, str], str]:
        name, columns = self.random.choice(self.tables)
        return name, columns, self.random.choice([*columns])

    def _rare(self, rarity: str) -> None:
        names = {f"§{letter}": self._new() for letter in "abcd"}
        names |= {"§x": ident(self._name()), "§r": ident(self.random.choice(ROLES)), "§s": ident(ROLES[0])}
        # One name stands in a literal too: as the text of a regclass there.
        for mark, name in names.items():
            rarity = rarity.replace(f"'{mark}'", literal(name)).replace(mark, name)
        self._add(rarity)

    def _index(self) -> None:
        table, columns, column = self._any()
        what = ident(column) if columns[column] in ("int", "text", "date", "uuid") else f"(({ident(column)} IS NULL))"
        self._add(f"CREATE INDEX {ident(self._name())} ON {table} ({what}) WHERE {ident(column)} IS NOT NULL")

    def _view(self) -> None:
        table, _, column = self._any()
        kind = self.random.choice(("VIEW", "MATERIALIZED VIEW"))
        self._add(f"CREATE {kind} {self._new()} AS SELECT {ident(column)}, count(*) OVER () AS n FROM {table}")

    def _change(self) -> None:
        table, _, column = self._any()
        self._add(self.random.choice((
            f"ALTER TABLE {table} ADD COLUMN {self._column(self._name(), 'text')}",
            f"ALTER TABLE {table} ADD COLUMN gone int; ALTER TABLE {table} DROP COLUMN gone",
            f"ALTER TABLE {table} ALTER {ident(column)} SET STATISTICS 77",
            f"ALTER TABLE {table} ADD CONSTRAINT {ident(self._name())} CHECK ({ident(column)} IS NOT NULL) NOT VALID",
            f"DELETE FROM {table} WHERE {ident(column)} IS NULL",
        )))  # fmt: skip

    def _comment(self) -> None:
        table, _, column = self._any()
        text = literal(self.random.choice(("it's", "two\nlines", "ünï -- ;", "$$")))
        on = self.random.choice((f"TABLE {table}", f"COLUMN {table}.{ident(column)}", "SCHEMA public"))
        self._add(f"COMMENT ON {on} IS {text}")

    def _right(self) -> None:
        table, _, column = self._any()
        role = ident(self.random.choice(ROLES))
        self._add(self.random.choice((
            f"GRANT SELECT, INSERT ON {table} TO {role} WITH GRANT OPTION",
            f"GRANT UPDATE ({ident(column)}) ON {table} TO PUBLIC",
            f"REVOKE ALL ON {table} FROM CURRENT_USER",
            f"ALTER TABLE {table} OWNER TO {role}",
            f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {role}",
        )))  # fmt: skip

    def _policy(self) -> None:
        table, _, column = self._any()
        self._add(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        self._add(f"CREATE POLICY {ident(self._name())} ON {table} FOR SELECT TO {ident(ROLES[0])}"
                  f" USING ({ident(column)} IS NOT NULL)")  # fmt: skip

    def _trigger(self) -> None:
        table, _, _ = self._any()
        function = self._new()
        self._add(f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
        self._add(
            f"CREATE TRIGGER {ident(self._name())} BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()"
        )

    def _reference(self) -> None:
        table, columns, _ = self._any()
        other = self._new()
        self._add(f"CREATE TABLE {other} (id int PRIMARY KEY)")
        if "int" in columns.values():
            column = next(name for name, kind in columns.items() if kind == "int")
            self._add(
                f"INSERT INTO {other} SELECT DISTINCT {ident(column)} FROM {table} WHERE {ident(column)} IS NOT NULL"
            )
            self._add(f"ALTER TABLE {table} ADD FOREIGN KEY ({ident(column)}) REFERENCES {other} ON DELETE CASCADE")

    def _sequence(self) -> None:
        name = self._new()
        self._add(
            f"CREATE SEQUENCE {name} INCREMENT {self.random.choice((1, -3, 7))} CACHE {self.random.randint(1, 5)}"
        )
        if self._chance(0.6):
            self._add(f"SELECT nextval({literal(name)})")

    def _large_object(self) -> None:
        self._add(f"SELECT lo_from_bytea({self.random.randint(1, 99999)}, '\\xdeadbeef')")
