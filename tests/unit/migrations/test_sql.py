"""The little of SQL's lexical rules that the runner needs: splitting, first words, parameters, transaction control."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from papdeploy.migrations.authoring import lock_impact
from papdeploy.migrations.run import concurrent_indexes
from papdeploy.sql import lexer, statements

SPLITS = {
    "SELECT 1; SELECT 2;": ["SELECT 1", "SELECT 2"],
    "SELECT ';'; SELECT 2": ["SELECT ';'", "SELECT 2"],
    "SELECT 'it''s; x'; SELECT E'a\\'; b'": ["SELECT 'it''s; x'", "SELECT E'a\\'; b'"],
    'SELECT "a;b""c;"; SELECT 2': ['SELECT "a;b""c;"', "SELECT 2"],
    "DO $$ BEGIN x; END $$; SELECT 1": ["DO $$ BEGIN x; END $$", "SELECT 1"],
    "DO $a$ $b$ ; $b$ ; $a$; SELECT $1": ["DO $a$ $b$ ; $b$ ; $a$", "SELECT $1"],
    "-- a; b\nSELECT 1 /* x; /* y; */ ; */ + 1; SELECT 2": ["SELECT 1 /* x; /* y; */ ; */ + 1", "SELECT 2"],
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; SELECT 3": [
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END", "SELECT 3",
    ],
    " ; ;; ": [],
    "SELECT 'unterminated; x": ["SELECT 'unterminated; x"],
}  # fmt: skip


@pytest.mark.parametrize("text", SPLITS)
def test_split(text: str) -> None:
    assert [statement.text for statement in statements.split(text)] == SPLITS[text]


@given(st.text(alphabet="ab;'\"$-/*\n\\E ", max_size=40))
def test_tokens_lose_nothing(text: str) -> None:
    assert "".join(token for _, token, _ in statements.tokens(text)) == text
    for statement in statements.split(text):
        assert text[statement.offset :].startswith(statement.text)


CONTROL = {
    "COMMIT": "COMMIT",
    "  commit work;": "commit work",
    "SELECT 1; ROLLBACK": "ROLLBACK",
    "END": "END",
    "abort": "abort",
    "begin isolation level serializable": "begin isolation level serializable",
    "START TRANSACTION": "START TRANSACTION",
    "PREPARE TRANSACTION 'x'": "PREPARE TRANSACTION 'x'",
    "COMMIT PREPARED 'x'": "COMMIT PREPARED 'x'",
    "/* a */COMMIT": "COMMIT",
    "-- a\n\tCOMMIT": "COMMIT",
    "SELECT 1;COMMIT": "COMMIT",
    "ROLLBACK TO SAVEPOINT a": "",
    "ROLLBACK WORK TO a": "",
    "RELEASE SAVEPOINT a": "",
    "SAVEPOINT a": "",
    "PREPARE q AS SELECT 1": "",
    "SELECT 'commit; rollback'": "",
    "DO $$ BEGIN COMMIT; END $$": "",
    "CREATE TABLE commit (begin int)": "",
    "-- commit\nSELECT 1": "",
}


@pytest.mark.parametrize("text", CONTROL)
def test_transaction_control(text: str) -> None:
    assert statements.transaction_control(text) == CONTROL[text]


@pytest.mark.parametrize(
    ("text", "changes"),
    [("SET search_path = x", True), ("RESET ALL", True), ("SELECT set_config('a', 'b', false)", True),
     ("UPDATE a SET b = 1", False), ("COMMENT ON TABLE a IS 'SET x'", False), ("DISCARD PLANS", True),
     ("DO $$ BEGIN SET ROLE x; END $$", True), ("SELECT f()", True), ("INSERT INTO a SELECT 1; set role x", True),
     ("UPDATE a\nSET b = 1", False), ("/* x */SET a = 1", True), ("SELECT 1;RESET ROLE", True),
     ("PREPARE q AS SELECT 1", True), ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", True), ("LISTEN x", True),
     ("CREATE TEMP TABLE x (id int)", True), ("CREATE TABLE pg_temp.x (id int)", True), ("CREATE TABLE temp_x ()", False),
     ("CREATE TABLE a (b text DEFAULT 'temp')", False), ("WITH x AS (SELECT f()) SELECT 1", True)],
)  # fmt: skip
def test_leaves_traces(text: str, changes: bool) -> None:
    assert statements.leaves_traces(text) is changes


@pytest.mark.parametrize(
    ("text", "writes"),
    [("DROP SCHEMA pap_deploy CASCADE", True), ('DELETE FROM "pap_deploy".ledger', True),
     ("DO $$ BEGIN DELETE FROM pap_deploy.ledger; END $$", True), ("SELECT 1; DROP TABLE PAP_DEPLOY.batch", True),
     ("SELECT identity FROM pap_deploy.applied", False), ("COMMENT ON TABLE a IS 'not in pap_deploy'", False)],
)  # fmt: skip
def test_writes_to(text: str, writes: bool) -> None:
    assert bool(statements.writes_to(text, "pap_deploy")) is writes


BOUND = {
    "SELECT :a": "SELECT %(a)s",
    "SELECT :a::int, ':a', x LIKE '5%'": "SELECT %(a)s::int, ':a', x LIKE '5%%'",
    "SELECT '12:30:00'::time, y[1:2], :a": "SELECT '12:30:00'::time, y[1:2], %(a)s",
    "SELECT :b, :a -- :a\n": "SELECT :b, %(a)s -- :a\n",
    "SELECT $$ :a $$, :a": "SELECT $$ :a $$, %(a)s",
}


@pytest.mark.parametrize("text", BOUND)
def test_bind_names(text: str) -> None:
    assert statements.bind_names(text, {"a": 1}) == BOUND[text]


def test_missing_names() -> None:
    assert statements.missing_names("SELECT :a, ':b'", {"a": 1, "b": 2}) == ["b"]


CONCURRENT = {
    "CREATE INDEX CONCURRENTLY ix ON t (a)": ("ix", ("t",)),
    'create unique index concurrently if not exists "Ix" on only s."T t" (a)': ("Ix", ("s", "T t")),
    "CREATE INDEX CONCURRENTLY ON t (a)": ("", ("t",)),
    "CREATE INDEX ix ON t (a)": None,
    "DROP INDEX CONCURRENTLY ix": None,
}


@pytest.mark.parametrize("text", CONCURRENT)
def test_concurrent_index(text: str) -> None:
    assert concurrent_indexes.concurrent_index(statements.split(text)[0]) == CONCURRENT[text]


REINDEX = {
    "REINDEX INDEX CONCURRENTLY s.ix": ("s", "ix"),
    "REINDEX TABLE CONCURRENTLY t": ("t",),
    "REINDEX (CONCURRENTLY) TABLE t": ("t",),
    "REINDEX (VERBOSE, CONCURRENTLY TRUE) INDEX ix": ("ix",),
    "REINDEX TABLE t": None,
}


@pytest.mark.parametrize("text", REINDEX)
def test_reindex_target(text: str) -> None:
    assert concurrent_indexes.reindex_target(statements.split(text)[0]) == REINDEX[text]


EFFECTS = {
    "CREATE INDEX i ON t (a)": ["index-blocks-writes"],
    "CREATE INDEX CONCURRENTLY i ON t (a)": [],
    "ALTER TABLE t ADD COLUMN a int": [],
    "ALTER TABLE t ADD a text DEFAULT 'x' NOT NULL": [],
    "ALTER TABLE t ADD COLUMN a timestamptz DEFAULT now()": [],
    "ALTER TABLE t ADD COLUMN a uuid DEFAULT gen_random_uuid()": ["rewrite"],
    "ALTER TABLE t ADD COLUMN a serial": ["rewrite"],
    "ALTER TABLE t ADD COLUMN a int GENERATED ALWAYS AS (b * 2) STORED": ["rewrite"],
    "ALTER TABLE t ADD COLUMN a int NOT NULL": ["not-null-without-default"],
    "ALTER TABLE t ADD COLUMN a int UNIQUE": ["constraint-builds-index"],
    "ALTER TABLE t ADD COLUMN a int, ADD COLUMN b int NOT NULL, DROP COLUMN c": [
        "not-null-without-default",
        "breaks-old-code",
    ],
    "ALTER TABLE t ALTER COLUMN a TYPE numeric(10, 2)": ["rewrite"],
    "ALTER TABLE t ALTER a SET DATA TYPE text": ["rewrite"],
    "ALTER TABLE t ALTER COLUMN a SET NOT NULL": ["not-null-scans"],
    "ALTER TABLE t ALTER COLUMN a DROP NOT NULL": [],
    "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)": ["constraint-scans"],
    "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID": [],
    "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u (id)": ["constraint-scans"],
    "ALTER TABLE t ADD CONSTRAINT c UNIQUE (a)": ["constraint-builds-index"],
    "ALTER TABLE t ADD CONSTRAINT c UNIQUE USING INDEX i": [],
    "ALTER TABLE t VALIDATE CONSTRAINT c": ["validate-scans"],
    "ALTER TABLE t RENAME COLUMN a TO b": ["breaks-old-code"],
    "ALTER TABLE t RENAME CONSTRAINT a TO b": [],
    "ALTER TABLE t SET UNLOGGED": ["rewrite"],
    "UPDATE t SET a = 1": ["long-row-locks"],
    "DELETE FROM ONLY t WHERE a = 1": ["long-row-locks"],
    "DROP TABLE IF EXISTS t": ["data-loss"],
    "TRUNCATE t": ["data-loss"],
    "VACUUM FULL t": ["rewrite"],
    "CLUSTER t USING i": ["rewrite"],
    "INSERT INTO t VALUES (1)": [],
}


@pytest.mark.parametrize("text", EFFECTS)
def test_effects(text: str) -> None:
    found = lock_impact.effects(statements.split(text)[0])
    assert [effect.rule for effect in found] == EFFECTS[text]
    assert {effect.table for effect in found} <= {'"t"'}


REWRITES = [
    ("character varying(20)", "varchar(50)", False), ("character varying(20)", "text", False),
    ("character varying(50)", "varchar(20)", True), ("character varying(50)", "varchar", False),
    ("text", "varchar(20)", True), ("integer", "bigint", True), ("numeric(10,2)", "numeric(12,2)", False),
    ("numeric(10,2)", "numeric(12,3)", True), ("integer", "integer", False), ("text", "jsonb USING a::jsonb", True),
]  # fmt: skip


@pytest.mark.parametrize(("current", "wanted", "rewrites"), REWRITES)
def test_needs_rewrite(current: str, wanted: str, rewrites: bool) -> None:
    assert lock_impact.needs_rewrite(current, statements.split(wanted)[0].words) is rewrites


LITERALS = {
    "unicode text": (r"U&'d\0061t\+000061'", [("string", "data")]),
    "unicode name": (r'u&"d\0061t"', [("name", "dat")]),
    "national text": ("N'x'", [("name", "n"), ("string", "x")]),
    "hexadecimal": ("0x1F", [("number", "0x1F")]),
    "digits in groups": ("1_000.5e-3", [("number", "1_000.5e-3")]),
    "range": ("1..10", [("number", "1"), ("mark", ".."), ("number", "10")]),
    "json operator": ("a->>'b'", [("name", "a"), ("operator", "->>"), ("string", "b")]),
    "operator before a comment": ("a->--x\nb", [("name", "a"), ("operator", "->"), ("name", "b")]),
    "slice": ("a[1:b]", [("name", "a"), ("mark", "["), ("number", "1"), ("mark", ":"), ("name", "b"), ("mark", "]")]),
    "bits": ("B'01'", [("operator", "B'01'")]),
    "dollar": ("$q$it's$q$", [("string", "it's")]),
}


@pytest.mark.parametrize("case", LITERALS)
def test_one_lexer_has_two_views(case: str) -> None:
    """What the strict view reads as one literal, the other does not split either."""
    text, expected = LITERALS[case]
    assert [(token.kind, token.text) for token in lexer.tokenize(text)] == expected
    assert "".join(token for _, token, _ in statements.tokens(text)) == text
    literals = [kind for kind, _ in expected if kind == "string"]
    assert [kind for kind, _, _ in statements.tokens(text) if kind == "string"] == literals or case == "bits"


@pytest.mark.parametrize("text", ["'a''", 'SELECT "x', "$q$ never", "/* never", r"E'\'", "\\", "N'x", "U&'x"])
def test_what_is_not_closed_is_not_sql_and_ends_with_the_text(text: str) -> None:
    with pytest.raises(lexer.NotSql):
        lexer.tokenize(text)
    assert "".join(token for _, token, _ in statements.tokens(text)) == text
    assert len(statements.split(f"{text}; DROP TABLE t")) == (2 if text == "\\" else 1 if "/*" not in text else 0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("--\n\\restrict abc\nCREATE TABLE a (id int);\n\\unrestrict abc\n", "\\restrict"),
        ("CREATE TABLE a (id int);\n  \\connect other\n", "\\connect"),
        ("\\i other.sql", "\\i"),
        ("\\! rm x", "\\!"),
        ("CREATE TABLE a (id int);\nCOPY a (id) FROM stdin;\n1\n\\.\n", "COPY … FROM stdin"),
        ("COPY a FROM STDIN WITH (FORMAT csv);\n'a,b\n\\.\n", "COPY … FROM stdin"),
        ("INSERT INTO a VALUES (E'x\n\\n y')", ""),
        ("INSERT INTO a VALUES ('\n\\d x')", ""),
        ("CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT '\n\\d' $$", ""),
        ("-- \\d\n/*\n\\d\n*/ SELECT 1", ""),
        ("COPY a FROM '/tmp/x'", ""),
        ("COPY a FROM STDIN", ""),  # with data of the driver's copy function
    ],
)
def test_what_only_psql_understands(text: str, named: str) -> None:
    assert statements.of_psql(text) == named
