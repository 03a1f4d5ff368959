"""Pairs of databases, described in transactions that are rolled back: what the corpus's models cannot hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from papdeploy.schema import CheckOptions, ModelSet, compare, describe, drift, fingerprint
from papdeploy.schema.catalog.rows import Catalog
from papdeploy.schema.models.expected import finish

pytestmark = pytest.mark.every_version(sample=3)


class Pair(NamedTuple):
    name: str
    expected: str
    actual: str
    found: tuple[tuple[str, str], ...]
    major: int = 13


T = "CREATE TABLE t (a integer, b integer, c text, d text); "
F = "CREATE FUNCTION f(x integer) RETURNS "

PAIRS = [
    Pair("set null on one column",
         "CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE t (a int, b int, FOREIGN KEY (a, b) REFERENCES p ON DELETE SET NULL (b))",
         "CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE t (a int, b int, FOREIGN KEY (a, b) REFERENCES p ON DELETE SET NULL)",
         (("foreign_key_changed", "t.t_a_b_fkey"),), 15),
    Pair("foreign key columns crossed",
         "CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE t (a int, b int, FOREIGN KEY (a, b) REFERENCES p (a, b))",
         "CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE t (a int, b int, FOREIGN KEY (a, b) REFERENCES p (b, a))",
         (("foreign_key_changed", "t.t_a_b_fkey"),)),
    Pair("foreign key written in another order",
         "CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE t (a int, b int, FOREIGN KEY (a, b) REFERENCES p (a, b))",
         "CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE t (a int, b int, FOREIGN KEY (b, a) REFERENCES p (b, a))", ()),
    Pair("two equal foreign keys of which one is gone",
         "CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p, b int REFERENCES p)",
         "CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p, b int)", (("foreign_key_missing", "t.t_b_fkey"),)),
    Pair("temporal key",
         "CREATE TABLE t (a int4range, during daterange, PRIMARY KEY (a, during WITHOUT OVERLAPS))",
         "CREATE TABLE t (a int4range, during daterange, PRIMARY KEY (a, during))", (("primary_key_changed", "t.t_pkey"),), 18),
    Pair("operator class options",
         "CREATE TABLE t (v tsvector); CREATE INDEX i ON t USING gist (v tsvector_ops (siglen = 100))",
         "CREATE TABLE t (v tsvector); CREATE INDEX i ON t USING gist (v)", (("index_changed", "t.i"),)),
    Pair("another index is the replica identity",
         "CREATE TABLE t (a int NOT NULL, b int NOT NULL); CREATE UNIQUE INDEX i ON t (a); CREATE UNIQUE INDEX j ON t (b); "
         "ALTER TABLE t REPLICA IDENTITY USING INDEX i",
         "CREATE TABLE t (a int NOT NULL, b int NOT NULL); CREATE UNIQUE INDEX i ON t (a); CREATE UNIQUE INDEX j ON t (b); "
         "ALTER TABLE t REPLICA IDENTITY USING INDEX j", (("table_replica_identity", "t"),)),
    Pair("trigger comment",
         T + "CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger(); COMMENT ON TRIGGER g ON t IS 'x'",
         T + "CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
         (("constraint_comment", "t.g"),)),
    Pair("rule comment", T + "CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING; COMMENT ON RULE r ON t IS 'x'",
         T + "CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING", (("constraint_comment", "t.r"),)),
    Pair("policy comment", T + "CREATE POLICY p ON t; COMMENT ON POLICY p ON t IS 'x'", T + "CREATE POLICY p ON t",
         (("constraint_comment", "t.p"),)),
    Pair("domain collation", 'CREATE DOMAIN d AS text COLLATE "C"', "CREATE DOMAIN d AS text", (("domain_changed", "d"),)),
    Pair("range subtype", "CREATE TYPE r AS RANGE (SUBTYPE = float8)", "CREATE TYPE r AS RANGE (SUBTYPE = float4)", (("type_changed", "r"),)),
    Pair("range difference function", "CREATE TYPE r AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = float8mi)",
         "CREATE TYPE r AS RANGE (SUBTYPE = float8)", (("type_changed", "r"),)),
    Pair("type of another kind", "CREATE TYPE x AS ENUM ('a')", "CREATE DOMAIN x AS text", (("type_changed", "x"),)),
    Pair("procedure instead of a function", F + "void LANGUAGE sql AS 'SELECT'", "CREATE PROCEDURE f(x integer) LANGUAGE sql AS 'SELECT'",
         (("function_missing", "f(x integer)"), ("function_extra", "f(IN x integer)")), 14),
    Pair("function result", F + "integer LANGUAGE sql AS 'SELECT 1'", F + "bigint LANGUAGE sql AS 'SELECT 1'", (("function_changed", "f(x integer)"),)),
    Pair("function language", F + "integer LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'", F + "integer LANGUAGE sql AS 'SELECT 1'",
         (("function_changed", "f(x integer)"),)),
    Pair("function leakproof", F + "integer LEAKPROOF LANGUAGE sql AS 'SELECT 1'", F + "integer LANGUAGE sql AS 'SELECT 1'",
         (("function_options", "f(x integer)"),)),
    Pair("function rows", F + "SETOF integer ROWS 5 LANGUAGE sql AS 'SELECT 1'", F + "SETOF integer LANGUAGE sql AS 'SELECT 1'",
         (("function_options", "f(x integer)"),)),
    Pair("function body in SQL", F + "integer LANGUAGE sql RETURN x + 1", F + "integer LANGUAGE sql RETURN x + 2",
         (("function_changed", "f(x integer)"),), 14),
    Pair("function argument renamed", F + "integer LANGUAGE sql AS 'SELECT 1'", "CREATE FUNCTION f(y integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
         (("function_missing", "f(x integer)"), ("function_extra", "f(y integer)"))),
    Pair("aggregate state function", "CREATE AGGREGATE total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = 0)",
         "CREATE AGGREGATE total(integer) (SFUNC = int4mul, STYPE = integer, INITCOND = 0)", (("function_changed", "total(integer)"),)),
    Pair("extension missing", "CREATE EXTENSION vector", "", (("extension_missing", "vector"),), 16),
    Pair("extension in another schema", "CREATE EXTENSION vector; CREATE TABLE t (v vector(3)); CREATE INDEX i ON t USING hnsw (v vector_l2_ops)",
         "CREATE SCHEMA ext; CREATE EXTENSION vector SCHEMA ext; CREATE TABLE t (v ext.vector(3)); CREATE INDEX i ON t USING hnsw (v ext.vector_l2_ops)",
         (("extension_schema", "vector"),), 16),
    Pair("vector size", "CREATE EXTENSION vector; CREATE TABLE t (v vector(3))", "CREATE EXTENSION vector; CREATE TABLE t (v vector(4))",
         (("column_type", "t.v"),), 16),
    Pair("vector operator class",
         "CREATE EXTENSION vector; CREATE TABLE t (v vector(3)); CREATE INDEX i ON t USING hnsw (v vector_l2_ops) WITH (m = 8)",
         "CREATE EXTENSION vector; CREATE TABLE t (v vector(3)); CREATE INDEX i ON t USING hnsw (v vector_cosine_ops) WITH (m = 8)",
         (("index_changed", "t.i"),), 16),
    Pair("typed table", "CREATE TYPE k AS (a integer); CREATE TABLE t OF k", "CREATE TYPE k AS (a integer); CREATE TABLE t (a integer)",
         (("table_type", "t"),)),
    Pair("array of an enum", "CREATE TYPE e AS ENUM ('a'); CREATE TABLE t (a e[] DEFAULT '{a}')", "CREATE TYPE e AS ENUM ('a'); CREATE TABLE t (a e[] DEFAULT ARRAY['a']::e[])",
         ()),
    Pair("column moved to another name and type", T, "CREATE TABLE t (a integer, b integer, c text, e bigint)",
         (("column_missing", "t.d"), ("column_extra", "t.e"))),
    Pair("two columns renamed", "CREATE TABLE t (first_name text, last_name text, n int)", "CREATE TABLE t (firstname text, lastname text, n int)",
         (("column_renamed", "t.first_name"), ("column_renamed", "t.last_name"))),
    Pair("check on a column that was renamed", "CREATE TABLE t (amount int CHECK (amount > 0))", "CREATE TABLE t (amount_eur int CHECK (amount_eur > 0))",
         (("column_renamed", "t.amount"),)),
    Pair("keys on a column that was renamed", "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE t (p_id int UNIQUE REFERENCES p); CREATE INDEX i ON t (p_id)",
         "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE t (pid int UNIQUE REFERENCES p); CREATE INDEX i ON t (pid)",
         (("column_renamed", "t.p_id"),)),
    Pair("reference to a column that was renamed", "CREATE TABLE p (key_id int PRIMARY KEY, x text, y text); CREATE TABLE t (a int REFERENCES p)",
         "CREATE TABLE p (keyid int PRIMARY KEY, x text, y text); CREATE TABLE t (a int REFERENCES p)", (("column_renamed", "p.key_id"),)),
    Pair("reference to a table that was renamed", "CREATE TABLE p (id int PRIMARY KEY, x text, y text); CREATE TABLE t (a int REFERENCES p)",
         "CREATE TABLE q (id int PRIMARY KEY, x text, y text); CREATE TABLE t (a int REFERENCES q)", (("table_renamed", "p"),)),
    Pair("division is not comparison", "CREATE TABLE t (a int CHECK (a / 2 > 1))", "CREATE TABLE t (a int CHECK (a / 2.0 > 1))",
         (("check_changed", "t.t_a_check"),)),
    Pair("a real is not a number", "CREATE TABLE t (a real CHECK (a > 0.1::real))", "CREATE TABLE t (a real CHECK (a > 0.1))",
         (("check_changed", "t.t_a_check"),)),
    Pair("padding counts", "CREATE TABLE t (a char(3) CHECK (a = 'x'))", "CREATE TABLE t (a char(3) CHECK (a::text = 'x'))",
         (("check_changed", "t.t_a_check"),)),
    Pair("case sensitive pattern", "CREATE TABLE t (a text CHECK (a ~ 'x'))", "CREATE TABLE t (a text CHECK (a ~* 'x'))",
         (("check_changed", "t.t_a_check"),)),
    Pair("minus sign", "CREATE TABLE t (a int CHECK (a > -1), b numeric DEFAULT -1)", "CREATE TABLE t (a int CHECK (a > (-1)::bigint), b numeric DEFAULT -1.0)", ()),
    Pair("order of a CASE", "CREATE TABLE t (a int CHECK (CASE WHEN a > 1 THEN true WHEN a > 0 THEN false END))",
         "CREATE TABLE t (a int CHECK (CASE WHEN a > 0 THEN false WHEN a > 1 THEN true END))", (("check_changed", "t.t_a_check"),)),
    Pair("list of numbers", "CREATE TABLE t (a int CHECK (a IN (1, 2)))", "CREATE TABLE t (a int CHECK (a IN (2::bigint, 1)))", ()),
    Pair("list of one", "CREATE TABLE t (a text CHECK (a IN ('x')))", "CREATE TABLE t (a text CHECK (a = ANY ('{x}')))", ()),
    Pair("not in a list", "CREATE TABLE t (a text CHECK (a NOT IN ('x', 'y')))", "CREATE TABLE t (a text CHECK (a <> 'y' AND a <> 'x'))", ()),
    Pair("time zone function", "CREATE TABLE t (a timestamp DEFAULT (now() AT TIME ZONE 'utc'))", "CREATE TABLE t (a timestamp DEFAULT timezone('utc', now()))", ()),
    Pair("time zone", "CREATE TABLE t (a timestamp DEFAULT (now() AT TIME ZONE 'utc'))", "CREATE TABLE t (a timestamp DEFAULT now())",
         (("column_default", "t.a"),)),
    Pair("current date", "CREATE TABLE t (a date DEFAULT CURRENT_DATE)", "CREATE TABLE t (a date DEFAULT now()::date)", ()),
    Pair("clock moves", "CREATE TABLE t (a timestamptz DEFAULT now())", "CREATE TABLE t (a timestamptz DEFAULT statement_timestamp())",
         (("column_default", "t.a"),)),
    Pair("JSON key order", "CREATE TABLE t (a json DEFAULT '{\"x\": 1, \"y\": 2}')", "CREATE TABLE t (a json DEFAULT '{\"y\": 2, \"x\": 1}')",
         (("column_default", "t.a"),)),
    Pair("JSONB key order", "CREATE TABLE t (a jsonb DEFAULT '{\"x\": 1, \"y\": 2}')", "CREATE TABLE t (a jsonb DEFAULT '{\"y\": 2, \"x\": 1}')", ()),
    Pair("text that looks like JSON", "CREATE TABLE t (a text DEFAULT '{\"x\": 1}')", "CREATE TABLE t (a text DEFAULT '{\"x\":1}')",
         (("column_default", "t.a"),)),
    Pair("text that looks like a number", "CREATE TABLE t (a text DEFAULT '1')", "CREATE TABLE t (a text DEFAULT '1.0')", (("column_default", "t.a"),)),
    Pair("empty text and NULL", "CREATE TABLE t (a text DEFAULT '')", "CREATE TABLE t (a text)", (("column_default", "t.a"),)),
    Pair("array order", "CREATE TABLE t (a text[] DEFAULT '{x,y}')", "CREATE TABLE t (a text[] DEFAULT '{y,x}')", (("column_default", "t.a"),)),
    Pair("array of arrays", "CREATE TABLE t (a int[] DEFAULT '{{1},{2}}')", "CREATE TABLE t (a int[] DEFAULT '{{1},{3}}')", (("column_default", "t.a"),)),
    Pair("array of NULL", "CREATE TABLE t (a text[] DEFAULT '{NULL}')", "CREATE TABLE t (a text[] DEFAULT '{\"NULL\"}')", (("column_default", "t.a"),)),
    Pair("array literal quoted", "CREATE TABLE t (a text[] DEFAULT '{\"x y\",z}')", "CREATE TABLE t (a text[] DEFAULT ARRAY['x y', 'z'])", ()),
    Pair("bit strings", "CREATE TABLE t (a bit(3) DEFAULT B'101')", "CREATE TABLE t (a bit(3) DEFAULT B'100')", (("column_default", "t.a"),)),
    Pair("bytes", "CREATE TABLE t (a bytea DEFAULT '\\x00ff')", "CREATE TABLE t (a bytea DEFAULT '\\x00fe')", (("column_default", "t.a"),)),
    Pair("a function's own schema", "CREATE FUNCTION n() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE t (a int DEFAULT n())",
         "CREATE SCHEMA z; CREATE FUNCTION z.n() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION n() RETURNS int LANGUAGE sql AS 'SELECT 1'; "
         "CREATE TABLE t (a int DEFAULT z.n())", (("column_default", "t.a"),)),
    Pair("an unreadable expression", "CREATE TABLE t (a xml CHECK (xpath_exists('/a', a) AND (a IS DOCUMENT)))",
         "CREATE TABLE t (a xml CHECK (xpath_exists('/b', a) AND (a IS DOCUMENT)))", (("check_changed", "t.t_a_check"),)),
    Pair("policy with a sub-select",
         T + "CREATE POLICY p ON t USING (a IN (SELECT b FROM t x WHERE c = 'y'))", T + "CREATE POLICY p ON t USING (a IN (SELECT b FROM t x WHERE c = 'z'))",
         (("policy_changed", "t.p"),)),
    Pair("view over another schema's table of the same name",
         "CREATE SCHEMA s; CREATE TABLE s.t (a int); CREATE TABLE t (a int); CREATE VIEW v AS SELECT a FROM t",
         "CREATE SCHEMA s; CREATE TABLE s.t (a int); CREATE TABLE t (a int); CREATE VIEW v AS SELECT a FROM s.t", (("view_definition", "v"),)),
    Pair("view output swapped", T + "CREATE VIEW v AS SELECT a AS x, b AS y FROM t", T + "CREATE VIEW v AS SELECT b AS x, a AS y FROM t",
         (("view_definition", "v"),)),
    Pair("union order", T + "CREATE VIEW v AS SELECT a, b FROM t UNION ALL SELECT b, a FROM t", T + "CREATE VIEW v AS SELECT b, a FROM t UNION ALL SELECT a, b FROM t",
         (("view_definition", "v"),)),
    Pair("names of 63 bytes", f"CREATE TABLE {'t' * 40} ({'c' * 40} int UNIQUE)", f"CREATE TABLE {'t' * 40} ({'c' * 40} int); ALTER TABLE {'t' * 40} ADD CONSTRAINT u UNIQUE ({'c' * 40})", ()),
    Pair("index name made up", "CREATE TABLE t (a int); CREATE INDEX ON t (a)", "CREATE TABLE t (a int); CREATE INDEX chosen ON t (a)", ()),
    Pair("a table without columns", "CREATE TABLE t ()", "CREATE TABLE t (a int)", (("column_extra", "t.a"),)),
    Pair("moved to a schema outside of the models", T, "CREATE SCHEMA z; CREATE TABLE z.t (a integer, b integer, c text, d text)", (("table_moved", "t"),)),
    Pair("moved and changed", T, "CREATE SCHEMA z; CREATE TABLE z.t (a integer, b integer, e text)", (("table_moved", "t"),)),
    Pair("another program's table of the same name", T, "CREATE SCHEMA z; CREATE TABLE z.t (sub uuid, b text)", (("table_missing", "t"),)),
    Pair("renamed beside another program's table", T, "CREATE TABLE u (a integer, b integer, c text, d text); CREATE SCHEMA z; CREATE TABLE z.t (sub uuid)",
         (("table_renamed", "t"),)),
    Pair("a check about no column", "CREATE TABLE t (f boolean, CONSTRAINT k CHECK (f))", "CREATE TABLE t (f boolean, CONSTRAINT k CHECK (true))",
         (("check_changed", "t.k"),)),
    Pair("two columns turned round", "CREATE TABLE t (a int, b int, CHECK (a > b))", "CREATE TABLE t (a int, b int, CHECK (b < a))", ()),
    Pair("two columns swapped", "CREATE TABLE t (a int, b int, CONSTRAINT k CHECK (a > b))", "CREATE TABLE t (a int, b int, CONSTRAINT k CHECK (b > a))",
         (("check_changed", "t.k"),)),
    Pair("off and false", T + "ALTER TABLE t SET (autovacuum_enabled = off)", T + "ALTER TABLE t SET (autovacuum_enabled = false)", ()),
    Pair("numbers in an OR", "CREATE TABLE t (a int CHECK (a = 1 OR a = 2))", "CREATE TABLE t (a int CHECK (a IN (1, 2)))", ()),
    Pair("numbers in an AND", "CREATE TABLE t (a int CONSTRAINT k CHECK (a <> 1 AND a <> 2))", "CREATE TABLE t (a int CONSTRAINT k CHECK (a <> 1 OR a <> 2))",
         (("check_changed", "t.k"),)),
    Pair("enum labels in an OR", "CREATE TYPE e AS ENUM ('a', 'b'); CREATE TABLE t (a e CHECK (a = 'a' OR a = 'b'))",
         "CREATE TYPE e AS ENUM ('a', 'b'); CREATE TABLE t (a e CHECK (a IN ('b', 'a')))", ()),
    Pair("a function in the standard's syntax", "CREATE TABLE t (a text CHECK (trim(a) <> '' AND substring(a from 1 for 2) <> 'x'))",
         "CREATE TABLE t (a text CHECK (btrim(a) <> '' AND substr(a, 1, 2) <> 'x'))", ()),
    Pair("length by another name", "CREATE TABLE t (a text CHECK (char_length(a) > 1))", "CREATE TABLE t (a text CHECK (length(a) > 1))", ()),
    Pair("default rounded by a cast", "CREATE TABLE t (a numeric(10,2) DEFAULT 1.25)", "CREATE TABLE t (a numeric(10,2) DEFAULT 1.25::numeric(10,1))",
         (("column_default", "t.a"),)),
    Pair("operator class of varchar", "CREATE TABLE t (a varchar(9)); CREATE INDEX i ON t (a); CREATE INDEX j ON t (a text_pattern_ops)",
         "CREATE TABLE t (a varchar(9)); CREATE INDEX i ON t (a varchar_ops); CREATE INDEX j ON t (a varchar_pattern_ops)", ()),
    Pair("storage of large values", T, T + "ALTER TABLE t SET (toast.autovacuum_enabled = false)", (("table_storage", "t"),)),
    Pair("locale of a collation", "CREATE COLLATION o (locale = 'C')", "CREATE COLLATION o (locale = 'POSIX')", (("object_changed", "collation o"),)),
    Pair("function of an operator", "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
         "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4ne)", (("object_changed", "operator ===(integer,integer)"),)),
    Pair("context of a cast", "CREATE TYPE e AS ENUM ('a'); CREATE CAST (varchar AS e) WITH INOUT AS IMPLICIT",
         "CREATE TYPE e AS ENUM ('a'); CREATE CAST (varchar AS e) WITH INOUT AS ASSIGNMENT", (("object_changed", "cast from character varying to e"),)),
    Pair("dictionaries of a text search", "CREATE TEXT SEARCH CONFIGURATION o (COPY = english)", "CREATE TEXT SEARCH CONFIGURATION o (COPY = simple)",
         (("object_changed", "text search configuration o"),)),
    Pair("statistics target", T + "CREATE STATISTICS s ON a, b FROM t; ALTER STATISTICS s SET STATISTICS 500", T + "CREATE STATISTICS s ON a, b FROM t",
         (("statistics_changed", "t.s"),)),
    Pair("statistics comment", T + "CREATE STATISTICS s ON a, b FROM t; COMMENT ON STATISTICS s IS 'x'", T + "CREATE STATISTICS s ON a, b FROM t",
         (("statistics_comment", "t.s"),)),
    Pair("rights on a serial's sequence", "CREATE TABLE t (a serial)", "CREATE TABLE t (a serial); GRANT USAGE ON SEQUENCE t_a_seq TO PUBLIC",
         (("sequence_grant", "t.a"),)),
    Pair("comment on an identity's sequence", "CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY); COMMENT ON SEQUENCE t_a_seq IS 'x'",
         "CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY)", (("sequence_comment", "t.a"),)),
    Pair("default of a view's column", T + "CREATE VIEW v AS SELECT a FROM t; ALTER VIEW v ALTER a SET DEFAULT 5", T + "CREATE VIEW v AS SELECT a FROM t",
         (("column_default", "v.a"),)),
    Pair("rights on a view's column", T + "CREATE VIEW v AS SELECT a FROM t", T + "CREATE VIEW v AS SELECT a FROM t; GRANT SELECT (a) ON v TO PUBLIC",
         (("column_grant", "v.a"),)),
    Pair("collation in a composite type", 'CREATE TYPE k AS (a text COLLATE "C")', "CREATE TYPE k AS (a text)", (("type_changed", "k"),)),
    Pair("default partition gone",
         "CREATE TABLE t (a int) PARTITION BY LIST (a); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t0 PARTITION OF t DEFAULT",
         "CREATE TABLE t (a int) PARTITION BY LIST (a); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)", (("table_partitions", "t"),)),
    Pair("not null not inherited", "CREATE TABLE t (a int NOT NULL NO INHERIT)", "CREATE TABLE t (a int NOT NULL)", (("column_not_null", "t.a"),), 18),
    Pair("dropped columns leave no trace", "CREATE TABLE t (a int)", "CREATE TABLE t (z int, a int); ALTER TABLE t DROP COLUMN z", ()),
]  # fmt: skip


# Names that the models choose count, and extensions that the models do not need do not.
# Partitions may come, but not go: what fits nowhere is refused.
ONE_WAY = ("extension missing", "names of 63 bytes", "index name made up", "default partition gone")


@pytest.fixture(scope="module")
def empty(server: Any) -> Iterator[tuple[sa.Connection, int]]:
    name = server.create("pairs")
    with sa.create_engine(server.url(name), poolclass=sa.pool.NullPool).connect() as connection:
        yield connection, server.major
    server.drop(name)


def described(connection: sa.Connection, sql: str) -> Catalog:
    with connection.begin() as transaction:
        cursor = connection.connection.cursor()
        if sql:
            cursor.execute(sql)
        catalog = describe(connection)
        transaction.rollback()
    return catalog


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: p.name.replace(" ", "-"))
def test_pair(empty: tuple[sa.Connection, int], pair: Pair) -> None:
    connection, major = empty
    if major < pair.major:
        pytest.skip(f"needs PostgreSQL {pair.major}")
    expected, actual = described(connection, pair.expected), described(connection, pair.actual)
    differences = compare(expected, actual, CheckOptions())
    assert {(d.kind, d.object) for d in differences} == set(pair.found), differences
    # the other way round a difference is a difference too, and what is quiet stays quiet
    if pair.name not in ONE_WAY:
        assert bool(compare(actual, expected, CheckOptions())) == bool(pair.found)
    assert not compare(expected, expected, CheckOptions())
    if pair.found and pair.name != "default partition gone":
        assert fingerprint(expected) != fingerprint(actual)
        assert drift(expected, actual)


def test_two_expected_catalogs_can_be_compared(empty: tuple[sa.Connection, int]) -> None:
    """What the plan does: what the models expect stands in the place of a database, and has no owners."""
    connection, _ = empty
    models = ModelSet([])
    one, other = (finish(described(connection, sql), models) for sql in (T, T + "CREATE INDEX i ON t (a)"))
    assert not compare(one, one, CheckOptions())
    assert [d.kind for d in compare(one, other, CheckOptions())] == ["index_extra"]


def test_drift_counts_what_models_leave_open(empty: tuple[sa.Connection, int]) -> None:
    connection, _ = empty
    before = described(connection, "CREATE TABLE t (id serial PRIMARY KEY, a text)")
    changes = {
        "constraint_name": "ALTER TABLE t RENAME CONSTRAINT t_pkey TO p",
        "column_identity": "ALTER TABLE t ALTER id DROP DEFAULT; DROP SEQUENCE t_id_seq; ALTER TABLE t ALTER id ADD GENERATED ALWAYS AS IDENTITY",
        "table_extra": "CREATE TABLE u ()",
        "table_missing": "DROP TABLE t",
    }
    for kind, sql in changes.items():
        after = described(connection, "CREATE TABLE t (id serial PRIMARY KEY, a text); " + sql)
        assert kind in {d.kind for d in drift(before, after)}
        assert fingerprint(before) != fingerprint(after)


def test_the_fingerprint_ignores_order_partitions_data_and_path(empty: tuple[sa.Connection, int]) -> None:
    connection, _ = empty
    base = "CREATE TABLE p (a int, b text) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p DEFAULT; "
    before = described(connection, base)
    for sql in (
        "CREATE SCHEMA pap_deploy; CREATE TABLE pap_deploy.ledger (id int)",
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (1) TO (2)",
        "INSERT INTO p VALUES (1, 'x')",
        "SET LOCAL search_path = pg_catalog",
    ):
        after = described(connection, base + sql)
        assert fingerprint(before) == fingerprint(after), sql
        assert not drift(before, after)
    one, other = "CREATE TABLE t (a int, b text)", "CREATE TABLE t (b text, a int)"
    assert fingerprint(described(connection, one)) == fingerprint(described(connection, other))
