"""Baseline: what was made as the migration makes it is found whole, and whatever is otherwise is named."""

from __future__ import annotations

import pytest
from papdeploy.migrations import catalog_evidence, files
from papdeploy.migrations.catalog_evidence import Finding
from support.migration_runner import Bench
from support.postgres_servers import Server

pytestmark = pytest.mark.every_version

BASE = """
CREATE SCHEMA s; CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE teams (id serial PRIMARY KEY);
CREATE TABLE places (x int, y int, PRIMARY KEY (x, y));
CREATE TABLE users (id int NOT NULL, name varchar(50), old text, n int);
CREATE DOMAIN known AS int CHECK (VALUE <> 7); CREATE DOMAIN s.other AS text DEFAULT 'x' NOT NULL CONSTRAINT c CHECK (VALUE > 'a');
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
"""
# What PostgreSQL was told is what it has, however it prints it.
WHOLE = [
    "CREATE TABLE t (id serial PRIMARY KEY, name text NOT NULL UNIQUE, at timestamptz DEFAULT now())",
    "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a numeric(10), b numeric(8,2) DEFAULT 0.00)",
    "CREATE TABLE t (a char, b char(3), c varchar, d varchar(7)[], e timestamp(3) without time zone, f time, g bit)",
    "CREATE TABLE t (a INTEGER, b int8, c double precision, d float, e decimal(5), f bool DEFAULT TRUE, g \"char\")",
    "CREATE TABLE t (a text DEFAULT 'it''s', b int DEFAULT -1, c jsonb NOT NULL DEFAULT '{}', d text[] DEFAULT '{}')",
    "CREATE TABLE t (a date DEFAULT CURRENT_DATE, b timestamptz DEFAULT CURRENT_TIMESTAMP, c text DEFAULT NULL)",
    "CREATE TABLE t (a mood DEFAULT 'ok', b interval DEFAULT '1 day', c uuid DEFAULT gen_random_uuid(), d mood[])",
    "CREATE TABLE t (a text COLLATE \"C\" NOT NULL DEFAULT 'x' CHECK (length(a) > 0 AND a <> 'y'), b int CHECK (b IN (1, 2)))",
    "CREATE TABLE t (a int, b int, CONSTRAINT pk PRIMARY KEY (a, b), CONSTRAINT \"A b\" UNIQUE (b), CHECK (a < b))",
    "CREATE TABLE t (a int REFERENCES teams ON DELETE CASCADE, b int, c int, FOREIGN KEY (b, c) REFERENCES places (x, y)"
    " ON DELETE SET NULL ON UPDATE RESTRICT DEFERRABLE INITIALLY DEFERRED)",
    "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a * 2) STORED, EXCLUDE USING btree (a WITH =))",
    "CREATE TABLE IF NOT EXISTS s.t (id int CONSTRAINT t_pk PRIMARY KEY, \"Mixed\" text NULL) WITH (fillfactor = 70)",
    "CREATE TABLE t (a int, at date NOT NULL) PARTITION BY RANGE (at);"
    " CREATE TABLE t1 PARTITION OF t FOR VALUES FROM ('2024-01-01') TO ('2025-01-01'); CREATE INDEX ix ON ONLY t (a)",
    "CREATE TABLE t (LIKE users INCLUDING ALL, more int); CREATE UNLOGGED TABLE u AS SELECT 1 AS x",
    "ALTER TABLE users ADD team_id int REFERENCES teams (id) ON DELETE SET DEFAULT, ADD COLUMN IF NOT EXISTS x text",
    "ALTER TABLE users ADD COLUMN email varchar(255) NOT NULL DEFAULT '' UNIQUE; ALTER TABLE users ALTER email DROP DEFAULT",
    "ALTER TABLE ONLY users ADD CONSTRAINT users_pk PRIMARY KEY (id), ADD UNIQUE (name, n), ADD CHECK (n >= 0) NOT VALID",
    "ALTER TABLE users ALTER COLUMN name TYPE varchar(200) USING name::varchar(200), ALTER n SET DATA TYPE bigint",
    "ALTER TABLE users ALTER n SET DEFAULT 5, ALTER name SET NOT NULL; ALTER TABLE users RENAME old TO fresh",
    "ALTER TABLE users DROP COLUMN old; ALTER TABLE users ADD COLUMN old int; ALTER TABLE users ALTER old TYPE bigint",
    "ALTER TABLE users ADD CONSTRAINT f FOREIGN KEY (n) REFERENCES public.teams NOT VALID; ALTER TABLE users VALIDATE CONSTRAINT f",
    "CREATE UNIQUE INDEX ix ON users (name); ALTER TABLE users ADD CONSTRAINT u UNIQUE USING INDEX ix",
    "CREATE INDEX ix ON users USING btree (lower(name) text_pattern_ops, n DESC NULLS LAST, (n + 1)) WHERE name <> '' AND n > 0",
    "CREATE UNIQUE INDEX IF NOT EXISTS \"Ix\" ON public.users (name ASC, n DESC) INCLUDE (id) WITH (fillfactor = 80)",
    "CREATE INDEX ix ON users (coalesce(name, 'none'), ((n)::text), date_trunc('day', '2020-01-01 00:00:00'::timestamp without time zone))",
    "CREATE INDEX ix ON users USING hash (name); CREATE INDEX ix2 ON users (name COLLATE \"C\" varchar_pattern_ops)",
    "CREATE OR REPLACE FUNCTION f(a int, b text DEFAULT 'x') RETURNS int LANGUAGE sql AS $f$ SELECT 1; $f$",
    "CREATE FUNCTION s.f() RETURNS text LANGUAGE sql AS 'SELECT ''a'''; CREATE PROCEDURE p() LANGUAGE sql AS ''",
    "CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql RETURN a + 1",
    "CREATE TRIGGER touch BEFORE INSERT OR UPDATE OF name ON users FOR EACH ROW WHEN (NEW.n > 0) EXECUTE FUNCTION touch()",
    "ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON users USING (n = 1)",
    "CREATE POLICY p ON users AS RESTRICTIVE FOR UPDATE TO current_user USING (name = CURRENT_USER) WITH CHECK (n > 0)",
    "CREATE VIEW v AS SELECT id FROM users; CREATE MATERIALIZED VIEW m AS SELECT 1 AS x; CREATE SEQUENCE q",
    "CREATE OR REPLACE VIEW s.v (a, \"B%s\") WITH (security_barrier) AS SELECT id, name FROM users"
    " WHERE n IN (1, 2) AND name <> 'it''s 100%' WITH CHECK OPTION; CREATE EXTENSION IF NOT EXISTS plpgsql; CREATE MATERIALIZED VIEW m (k) AS SELECT n FROM users WITH NO DATA",
    "CREATE VIEW v AS SELECT n FROM users; ALTER TABLE users RENAME n TO m",
    "CREATE SEQUENCE IF NOT EXISTS s.q AS int INCREMENT BY -2 MAXVALUE 50 START WITH 9 CACHE 4 CYCLE; CREATE SEQUENCE r NO CYCLE"
    " NO MINVALUE OWNED BY NONE; CREATE SEQUENCE t; ALTER SEQUENCE t INCREMENT 3",
    "CREATE TYPE kind AS ENUM ('a', 'b, c'); ALTER TYPE kind RENAME VALUE 'a' TO 'z'; CREATE DOMAIN d AS int CHECK (VALUE > 0)",
    "CREATE DOMAIN d varchar(9)[] COLLATE \"C\" DEFAULT '{a}' NOT NULL CONSTRAINT c CHECK (VALUE <> '{}' AND 'x%' <> ALL (VALUE));"
    " CREATE DOMAIN s.e AS d; CREATE DOMAIN f AS int CHECK (VALUE > 0); ALTER DOMAIN f DROP CONSTRAINT f_check",
    "ALTER DOMAIN known SET DEFAULT 4; ALTER DOMAIN known SET NOT NULL; ALTER DOMAIN known ADD CONSTRAINT k CHECK (VALUE > 2)"
    " NOT VALID; ALTER DOMAIN known ADD CHECK (VALUE < 9); ALTER DOMAIN known VALIDATE CONSTRAINT k",
    "ALTER DOMAIN known DROP CONSTRAINT IF EXISTS known_check; ALTER DOMAIN known RENAME TO named;"
    " ALTER DOMAIN s.other RENAME CONSTRAINT c TO \"D\"; ALTER DOMAIN s.other DROP DEFAULT; ALTER DOMAIN s.other DROP NOT NULL",
    "ALTER TABLE users ADD EXCLUDE USING btree (n WITH =, (lower(name)) text_pattern_ops WITH =) WHERE (n IN (1, 2)) DEFERRABLE;"
    " CREATE TABLE t (a int, CONSTRAINT x EXCLUDE (a WITH =) INITIALLY DEFERRED)",
    "CREATE TABLE t (a int, b int UNIQUE); ALTER TABLE t DROP CONSTRAINT t_b_key; ALTER TABLE t RENAME a TO c",
    "CREATE TABLE t (a int, b int); CREATE INDEX ix ON t (a); ALTER TABLE t DROP COLUMN a; ALTER TABLE t RENAME TO t2",
    "CREATE TABLE t (a int NOT NULL DEFAULT 1); ALTER TABLE t ALTER a DROP NOT NULL, ALTER a SET DEFAULT 2",
    "CREATE TABLE t (a int CHECK (a NOT IN (1, 2) AND a BETWEEN 0 AND 9), b text CHECK (b LIKE 'x%' AND b NOT ILIKE '%y'"
    " AND b != 'z'), c varchar(9) CHECK (c IN ('a', 'b') OR c IS NOT NULL), d int CHECK (d::text <> 'x'))",
    "CREATE TABLE gone (a int); CREATE INDEX ix ON gone (a); DROP TABLE gone; CREATE TABLE here (a int)",
]  # fmt: skip
USERS = "ALTER TABLE users ADD COLUMN team_id int REFERENCES teams(id) ON DELETE CASCADE"
POLICY = "ALTER TABLE users ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON users FOR SELECT USING (n > 1)"
EXCLUDED = "ALTER TABLE users ADD CONSTRAINT apart EXCLUDE USING btree (n WITH =) WHERE (n > 0)"
INDEX = "CREATE UNIQUE INDEX ix ON users (lower(name), n DESC) WHERE n > 0"
# The migration, what the database has instead, and what is named.
OTHERWISE = [
    ("CREATE TABLE t (id serial PRIMARY KEY, name text)", "CREATE TABLE t (id serial PRIMARY KEY)", "column \"t\".name"),
    ("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE t (id int NOT NULL)", "constraint \"t\".t_pkey (primary key id)"),
    ("CREATE TABLE t (a text UNIQUE)", "CREATE TABLE t (a text)", "constraint \"t\".t_a_key (unique a)"),
    ("CREATE TABLE t (a text NOT NULL)", "CREATE TABLE t (a text)", "not null \"t\".a"),
    ("CREATE TABLE t (a text)", "CREATE TABLE t (a text NOT NULL)", "not null \"t\".a gone"),
    ("CREATE TABLE t (a int DEFAULT 1)", "CREATE TABLE t (a int DEFAULT 2)", "default \"t\".a (1)"),
    ("CREATE TABLE t (a int DEFAULT 1)", "CREATE TABLE t (a int)", "default \"t\".a (1)"),
    ("CREATE TABLE t (a int)", "CREATE TABLE t (a int DEFAULT 1)", "default \"t\".a gone"),
    ("CREATE TABLE t (id serial)", "CREATE TABLE t (id int NOT NULL)", "default \"t\".id"),
    ("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY)", "CREATE TABLE t (id serial)", "identity \"t\".id"),
    ("CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a + 1) STORED)",
     "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a + 2) STORED)", "default \"t\".b (a + 1)"),
    ("CREATE TABLE t (a int CHECK (a > 0))", "CREATE TABLE t (a int CHECK (a > 1))", "constraint \"t\".t_a_check (check a > 0)"),
    ("CREATE TABLE t (a int, CONSTRAINT c CHECK (a > 0))", "CREATE TABLE t (a int, CONSTRAINT c CHECK (a >= 0))",
     "definition of constraint \"t\".c"),
    ("CREATE TABLE t (a varchar(20))", "CREATE TABLE t (a varchar(10))", "type of column \"t\".a (varchar(20))"),
    ("CREATE TABLE t (a numeric(8,2))", "CREATE TABLE t (a numeric(8,3))", "type of column \"t\".a"),
    ("CREATE TABLE t (a timestamptz)", "CREATE TABLE t (a timestamp)", "type of column \"t\".a"),
    ("CREATE TABLE t (a int[])", "CREATE TABLE t (a int)", "type of column \"t\".a"),
    ("CREATE TABLE t (a int)", "CREATE VIEW t AS SELECT 1 AS a", ""),
    (USERS, "ALTER TABLE users ADD COLUMN team_id int", "constraint \"users\".users_team_id_fkey (foreign key team_id)"),
    (USERS, "ALTER TABLE users ADD COLUMN team_id int REFERENCES teams(id)", "users_team_id_fkey"),
    (USERS, USERS.replace("teams(id)", "others(id)"), "users_team_id_fkey"),
    (USERS, USERS.replace(" int ", " bigint "), "type of column \"users\".team_id (int)"),
    ("ALTER TABLE users ALTER name TYPE varchar(200); ALTER TABLE users ADD x int", "ALTER TABLE users ADD x int",
     "type of column \"users\".name (varchar(200))"),
    ("ALTER TABLE users ADD CONSTRAINT u UNIQUE (name, n)", "ALTER TABLE users ADD CONSTRAINT u UNIQUE (n, name)",
     "definition of constraint \"users\".u (unique name, n)"),
    ("ALTER TABLE users ADD CONSTRAINT f FOREIGN KEY (n) REFERENCES teams DEFERRABLE",
     "ALTER TABLE users ADD CONSTRAINT f FOREIGN KEY (n) REFERENCES teams", "definition of constraint \"users\".f"),
    (INDEX, INDEX.replace("UNIQUE ", ""), "definition of index \"ix\""),
    (INDEX, INDEX.replace("lower(name)", "name"), "definition of index"),
    (INDEX, INDEX.replace(" DESC", ""), "definition of index"),
    (INDEX, INDEX.replace(" WHERE n > 0", ""), "definition of index"),
    (INDEX, INDEX.replace("n > 0", "n > 1"), "definition of index"),
    (INDEX, INDEX.replace("users", "twins"), "definition of index"),
    ("CREATE INDEX ix ON users USING hash (name)", "CREATE INDEX ix ON users (name)", "definition of index"),
    ("CREATE SEQUENCE q; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE SEQUENCE q", "function \"f\"()"),
    ("CREATE SEQUENCE q; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
     "CREATE SEQUENCE q; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'", "function \"f\"()"),
    (POLICY, "ALTER TABLE users ENABLE ROW LEVEL SECURITY", "policy \"users\".p"),
    (POLICY, POLICY.replace("ENABLE", "DISABLE"), "row security \"users\""),
    (POLICY, POLICY.replace("> 1", "> 2"), "definition of policy \"users\".p"),
    (POLICY, POLICY.replace("FOR SELECT", "FOR ALL"), "definition of policy"),
    (POLICY, POLICY.replace("USING", "TO pg_monitor USING"), "definition of policy"),
    ("CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch()",
     "CREATE TRIGGER t AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch()", "definition of trigger \"users\".t"),
    ("CREATE TYPE kind AS ENUM ('a', 'b')", "CREATE TYPE kind AS ENUM ('a')", "enum label \"kind\".b"),
    ("CREATE VIEW v AS SELECT id FROM users WHERE n > 1", "CREATE VIEW v AS SELECT id FROM users", "definition of view \"v\""),
    ("CREATE VIEW v AS SELECT id AS a FROM users", "CREATE VIEW v AS SELECT id AS b FROM users", "definition of view \"v\""),
    ("CREATE MATERIALIZED VIEW v AS SELECT 1 AS a", "CREATE MATERIALIZED VIEW v AS SELECT 2 AS a", "definition of view"),
    ("CREATE DOMAIN d AS int CHECK (VALUE > 0)", "CREATE DOMAIN d AS int CHECK (VALUE > 1)", "definition of type \"d\""),
    ("CREATE DOMAIN d AS varchar(9) NOT NULL", "CREATE DOMAIN d AS varchar(9)", "definition of type"),
    ("CREATE DOMAIN d AS varchar(9)", "CREATE DOMAIN d AS varchar(8)", "definition of type"),
    ("CREATE DOMAIN d AS int", "CREATE DOMAIN d AS int DEFAULT 1", "definition of type"),
    ("CREATE DOMAIN s.d AS text COLLATE \"C\"", "CREATE DOMAIN s.d AS text", "definition of type"),
    ("CREATE DOMAIN s.d AS text CONSTRAINT c CHECK (VALUE ~ 'x') CHECK (VALUE <> '')",
     "CREATE DOMAIN s.d AS text CHECK (VALUE <> '')", "definition of type"),
    ("ALTER DOMAIN known SET DEFAULT 4", "ALTER DOMAIN known SET DEFAULT 5", "default of domain \"known\""),
    ("ALTER DOMAIN known SET DEFAULT 4", "SELECT 1", "default of domain \"known\""),
    ("ALTER DOMAIN known SET DEFAULT 4", "DROP DOMAIN known", "default of domain \"known\""),
    ("ALTER DOMAIN s.other DROP DEFAULT", "SELECT 1", "default of domain \"s\".\"other\" gone"),
    ("ALTER DOMAIN known SET NOT NULL", "SELECT 1", "not null of domain \"known\""),
    ("ALTER DOMAIN s.other DROP NOT NULL", "SELECT 1", "not null of domain \"s\".\"other\" gone"),
    ("ALTER DOMAIN known ADD CONSTRAINT k CHECK (VALUE > 2)", "SELECT 1", "constraint of domain \"known\".k"),
    ("ALTER DOMAIN known ADD CONSTRAINT k CHECK (VALUE > 2)", "ALTER DOMAIN known ADD CONSTRAINT k CHECK (VALUE > 3)",
     "definition of constraint of domain \"known\".k"),
    ("ALTER DOMAIN known ADD CHECK (VALUE > 2)", "SELECT 1", "constraint of domain \"known\""),
    ("ALTER DOMAIN known ADD CONSTRAINT k CHECK (VALUE > 2) NOT VALID; ALTER DOMAIN known VALIDATE CONSTRAINT k",
     "ALTER DOMAIN known ADD CONSTRAINT k CHECK (VALUE > 2) NOT VALID", "validated constraint of domain \"known\".k"),
    ("ALTER DOMAIN s.other DROP CONSTRAINT c", "SELECT 1", "constraint of domain \"s\".\"other\".c gone"),
    ("ALTER DOMAIN s.other RENAME CONSTRAINT c TO d", "SELECT 1", "constraint of domain \"s\".\"other\".d"),
    ("ALTER DOMAIN known RENAME TO named", "SELECT 1", "type \"named\""),
    (EXCLUDED, EXCLUDED.replace("n WITH =", "id WITH ="), "definition of constraint \"users\".apart"),
    (EXCLUDED, EXCLUDED.replace(" WHERE (n > 0)", ""), "definition of constraint"),
    (EXCLUDED, EXCLUDED.replace("EXCLUDE USING btree (n WITH =) WHERE (n > 0)", "CHECK (n > 0)"), "definition of constraint"),
    (EXCLUDED + " DEFERRABLE", EXCLUDED, "definition of constraint"),
    ("CREATE TABLE t (a int, EXCLUDE (a WITH =))", "CREATE TABLE t (a int)", "constraint \"t\".t_a_excl"),
    ("CREATE SEQUENCE q INCREMENT 5", "CREATE SEQUENCE q", "definition of sequence \"q\""),
    ("CREATE SEQUENCE q", "CREATE SEQUENCE q CYCLE", "definition of sequence"),
    ("CREATE EXTENSION plpgsql SCHEMA s", "SELECT 1", "schema of extension \"plpgsql\".\"s\""),
    ("CREATE VIEW v AS SELECT 1 AS x; CREATE SEQUENCE q", "CREATE TABLE v (x int); CREATE SEQUENCE q", "view \"v\""),
]  # fmt: skip


@pytest.fixture
def bench(server: Server, database: str) -> Bench:
    made = Bench(server, database)
    made.sql(BASE)
    return made


def judge(bench: Bench, text: str) -> Finding:
    loaded = files.load_sources({"2026_01_01_a.sql": text})
    with bench.server.connect(bench.name).cursor() as cursor:

        def query(sql: str, params: object) -> list[tuple[object, ...]]:
            cursor.execute(sql, params)
            return list(cursor.fetchall()) if cursor.description else []

        (finding,) = catalog_evidence.judge(loaded, query)
    return finding


def test_what_it_made_itself_is_whole(bench: Bench) -> None:
    wrong = {}
    for text in WHOLE:
        bench.sql("BEGIN; " + text)
        bench.sql("COMMIT")
        finding = judge(bench, text)
        if finding.verdict != "present" or finding.lacking:
            wrong[text] = finding
        bench.sql("DROP SCHEMA public, s CASCADE; CREATE SCHEMA public;" + BASE)
    assert not wrong, "\n".join(f"{key}: {value}" for key, value in wrong.items())


def test_what_is_otherwise_is_named(bench: Bench) -> None:
    wrong = {}
    for text, instead, said in OTHERWISE:
        bench.sql("CREATE TABLE others (id int PRIMARY KEY); CREATE TABLE twins (id int, name varchar(50), n int)")
        bench.sql(instead)
        finding = judge(bench, text)
        if finding.verdict == "present" or said not in "; ".join(finding.lacking):
            wrong[text, instead] = finding
        bench.sql("DROP SCHEMA public, s CASCADE; CREATE SCHEMA public;" + BASE)
    assert not wrong, "\n".join(f"{key}: {value}" for key, value in wrong.items())
