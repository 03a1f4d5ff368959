"""What the sources alone tell: their SQL (exact or a guess), what it leaves in the catalog, what is wrong with it."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from papdeploy.core.errors import Refused
from papdeploy.migrations import catalog_evidence, files, ledger, planning, static_sql
from papdeploy.migrations.authoring import lint, lint_formats, squawk
from papdeploy.migrations.authoring.lock_impact import TableSize
from papdeploy.migrations.options import RunOptions


def one(body: str, head: str = "", name: str = "2025_01_01_a") -> files.MigrationFile:
    inner = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    code = f'"""Doc."""\n{textwrap.dedent(head)}\n\ndef upgrade(db):\n{inner}\n'
    migration = files.read(f"{name}.py", code)
    assert migration is not None
    return migration


# body, head -> statements, why it is a guess (empty: exact)
READABLE = {
    "a straight line": ('db.execute("A")\ndb.execute("""\n    B\n    """)', "", ["A", "B"], ""),
    "constants": ('db.execute(SQL)\ndb.execute("X " + SQL)\ndb.execute(f"Y {SQL}")', 'SQL = "A"',
                  ["A", "X A", "Y A"], ""),
    "local names": ('t = "t1"\ndb.execute(f"DROP TABLE {t}")', "", ["DROP TABLE t1"], ""),
    "a loop over constants": ('for t, c in [("a", "b"), ("c", "d")]:\n    db.execute(f"{t}.{c}")', "",
                              ["a.b", "c.d"], ""),
    "a loop over a dictionary": ('for k, v in D.items():\n    db.execute(f"{k}={v}")', 'D = {"a": 1}', ["a=1"], ""),
    "a range": ('for n in range(2):\n    db.execute(f"T{n}")', "", ["T0", "T1"], ""),
    "text()": ('from sqlalchemy import text\ndb.execute(text("A"))', "", ["A"], ""),
    "a known condition": ('if True:\n    db.execute("A")\nelse:\n    db.execute("B")', "", ["A"], ""),
    "a helper": ('add(db, "t")', 'def add(db, t):\n    db.execute(f"ADD {t}")', ["ADD t"], ""),
    "a savepoint": ('with db.savepoint():\n    db.execute("A")', "", ["A"], ""),
    "log": ('db.log("x")\ndb.execute("A")', "", ["A"], ""),
    "a question": ('if not db.has_table("t"):\n    db.execute("A")', "",
                   ["-- if not db.has_table('t'):", "A"], "depends on"),
    "an early return": ('if db.has_table("t"):\n    return\ndb.execute("A")', "",
                        ["-- if db.has_table('t'):", "A"], "depends on"),
    "computed SQL": ('db.execute(make())', "", ["-- line 5: make()"], "is computed"),
    "a value from the database": ('n = db.scalar("Q")\ndb.execute(f"A {n}")', "",
                                  ["-- line 6: f'A {n}'"], "asks the database"),
    "a loop over rows": ('for r in db.rows("Q"):\n    db.execute("A")', "", ["A"], "found at run time"),
    "batches": ('for b in db.batches("Q"):\n    db.execute("A")', "",
                ["-- line 5: db.batches('Q')", "A"], "found at run time"),
    "errors handled": ('try:\n    db.execute("A")\nexcept Exception:\n    pass', "", ["A"], "handles errors"),
    "Alembic": ('db.op.drop_table("t")', "", [], "db.op"),
    "SQLAlchemy": ("db.connection.execute(1)", "", [], "db.connection"),
    "executemany": ('db.execute("A :x", [{"x": 1}])', "", ["A :x"], "once per item"),
}  # fmt: skip


@pytest.mark.parametrize("case", READABLE)
def test_static_sql(case: str) -> None:
    body, head, statements, why = READABLE[case]
    found = static_sql.sql_of(one(body, head))
    assert found.statements == statements
    assert found.exact is (not why) and why in "; ".join(found.reasons)
    assert len(found.lines) == len(found.statements)


def test_the_sql_of_a_script_is_a_guess() -> None:
    source = '"""Old.\n\nDate: 2025-01-01\n"""\n\ndef run_migration():\n    run("ALTER TABLE a ADD x int", "no sql")\n'
    migration = files.read("a.py", source)
    assert migration is not None
    found = static_sql.sql_of(migration)
    assert found.statements == ["ALTER TABLE a ADD x int"] and not found.exact


FACTS = {
    "CREATE TABLE IF NOT EXISTS s.t (id int)": [
        'table "s"."t"', 'column "s"."t".id', 'type of column "s"."t".id (int)', 'not null "s"."t".id gone',
        'default "s"."t".id gone',
    ],
    "CREATE TEMP TABLE t (id int)": [],
    "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ix ON s.t (a)": ['index "s"."ix"', 'definition of index "s"."ix"'],
    "CREATE INDEX ON t (a)": [],
    "ALTER TABLE t ADD COLUMN IF NOT EXISTS a numeric(10, 2) NOT NULL DEFAULT f(1, 2), DROP COLUMN b": [
        'column "t".a', 'type of column "t".a (numeric(10, 2))', 'not null "t".a', 'default "t".a (f(1, 2))',
        'column "t".b gone',
    ],
    'ALTER TABLE ONLY "T" ADD "C d" int': [
        'column "T".C d', 'type of column "T".C d (int)', 'not null "T".C d gone', 'default "T".C d gone',
    ],
    "ALTER TABLE t ADD CONSTRAINT c CHECK (a IN (1, 2)), ADD FOREIGN KEY (a) REFERENCES u": [
        'constraint "t".c', 'definition of constraint "t".c (check a IN (1, 2))',
        'constraint "t".t_a_fkey (foreign key a)',
    ],
    "ALTER TABLE t DROP CONSTRAINT IF EXISTS c": ['constraint "t".c gone'],
    "ALTER TABLE t RENAME COLUMN a TO b": ['column "t".a gone', 'column "t".b'],
    "ALTER TABLE s.t RENAME TO u": ['table "s"."t" gone', 'table "s"."u"'],
    "ALTER TABLE t ALTER COLUMN a SET NOT NULL, ALTER b DROP DEFAULT": ['not null "t".a', 'default "t".b gone'],
    "ALTER TABLE t VALIDATE CONSTRAINT c": ['validated constraint "t".c'],
    "CREATE TYPE k AS ENUM ('a')": ['type "k"', 'enum label "k".a'],
    "ALTER TYPE k ADD VALUE IF NOT EXISTS 'it''s' AFTER 'a'": ['enum label "k".it\'s'],
    "ALTER TYPE k RENAME VALUE 'a' TO 'b'": ['enum label "k".a gone', 'enum label "k".b'],
    "DROP TABLE IF EXISTS a, s.b CASCADE": ['table "a" gone', 'table "s"."b" gone'],
    "CREATE OR REPLACE VIEW v AS SELECT 1": ['view "v"', 'definition of view "v"'],
    "CREATE TRIGGER tr BEFORE INSERT ON t EXECUTE FUNCTION f()": ['trigger "t".tr', 'definition of trigger "t".tr'],
    "CREATE EXTENSION IF NOT EXISTS pgcrypto": ['extension "pgcrypto"'],
    "UPDATE t SET a = 1": [],
    "COMMENT ON TABLE t IS 'x'": [],
}  # fmt: skip


@pytest.mark.parametrize("text", FACTS)
def test_facts(text: str) -> None:
    assert [str(fact) for fact in catalog_evidence.facts_of(one(f"db.execute({text!r})"))] == FACTS[text]


def entry(number: int, event: str, identity: str = "a", checksum: str = "c") -> ledger.Entry:
    return ledger.Entry(number, event, identity, checksum, "r1", "me", "2025-01-01 00:00:00+00", 0.0, "run")


STATES = {
    ("applied",): (["a"], [], []),
    ("applied", "reverted"): ([], [], []),
    ("applied", "reverted", "applied"): (["a"], [], []),
    ("baselined",): (["a"], [], []),
    ("baselined", "repaired"): (["a"], [], []),
    ("applied", "forgotten"): ([], [], []),
    ("failed",): ([], [], ["a"]),
    ("failed", "applied"): (["a"], [], []),
    ("applied", "failed"): (["a"], [], ["a"]),
    ("started",): ([], ["a"], []),
    ("started", "failed"): ([], [], ["a"]),
    ("started", "applied"): (["a"], [], []),
    ("repaired",): ([], [], []),
}


@pytest.mark.parametrize("events", STATES)
def test_the_ledger_folds_into_a_state(events: tuple[str, ...]) -> None:
    book = ledger.Ledger(True, tuple(entry(n, event) for n, event in enumerate(events)))
    assert (list(book.applied), list(book.interrupted), list(book.last_failures)) == STATES[events]


def test_a_repair_changes_the_expected_checksum() -> None:
    book = ledger.Ledger(True, (entry(1, "applied"), entry(2, "repaired", checksum="d")))
    assert book.applied["a"].checksum == "d" and book.applied["a"].release == "r1"


def test_all_problems_are_found_at_once() -> None:
    migrations = files.load_sources({f"2025_01_0{n}_{n}.py": "def upgrade(db):\n    pass\n" for n in (1, 2, 3)})
    book = ledger.Ledger(
        True, (entry(1, "applied", "2025_01_01_1", "other"),
               entry(2, "applied", "2025_01_03_3", migrations[2].checksum),
               entry(3, "applied", "2024_01_01_gone"))
    )  # fmt: skip
    state = planning.compare(migrations, book)
    assert [(p.kind, p.identity) for p in state.problems] == [
        ("edited", "2025_01_01_1"), ("missing", "2024_01_01_gone"), ("out_of_order", "2025_01_02_2"),
    ]  # fmt: skip
    with pytest.raises(Refused, match=r"\(2 more\)"):
        planning.refuse_if(state.problems)
    allowed = planning.compare(migrations, book, RunOptions(allow_out_of_order=True))
    assert [p.kind for p in allowed.problems] == ["edited", "missing"]


@pytest.mark.parametrize(
    ("values", "message"),
    [({"lock_timeout": 3}, "Unknown option 'lock_timeout'"), ({"lock_timeout_s": -1}, "must not be negative"),
     ({"deadline_s": 0}, "more than 0"), ({"transaction": "some"}, "'all' or 'each'")],
)  # fmt: skip
def test_options_are_checked(values: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        RunOptions.from_dict(values)
    assert RunOptions.from_dict({"only": ["a.py"], "deadline_s": 5}) == RunOptions(only=("a",), deadline_s=5)


LARGE, MEDIUM, SMALL = (
    TableSize(r, b, {"a": "character varying(20)"}) for r, b in ((10**7, 4 << 30), (10**5, 80 << 20), (40, 8192))
)
SIZES = {'"large"': LARGE, '"medium"': MEDIUM, '"small"': SMALL, '"empty"': TableSize(0, 0, {})}

VERDICTS = {
    "CREATE INDEX i ON large (a)": ["error index-blocks-writes"],
    "CREATE INDEX i ON medium (a)": ["warning index-blocks-writes"],
    "CREATE INDEX i ON small (a)": ["note index-blocks-writes"],
    "CREATE TABLE t (a int); CREATE INDEX i ON t (a); UPDATE t SET a = 1": [],
    "ALTER TABLE large ALTER a TYPE text": [],
    "ALTER TABLE large ALTER a TYPE int USING a::int": ["error rewrite"],
    "ALTER TABLE small ADD b int NOT NULL": ["error not-null-without-default"],
    "ALTER TABLE empty ADD b int NOT NULL": ["note not-null-without-default"],
    "ALTER TABLE large VALIDATE CONSTRAINT c": ["note validate-scans"],
    "ALTER TABLE small DROP COLUMN a": ["warning breaks-old-code"],
    "DROP TABLE large": ["warning data-loss"],
    "ALTER TABLE unknown SET UNLOGGED": [],
}


def judged(migration: files.MigrationFile, sizes: dict[str, TableSize] = SIZES) -> list[str]:
    report = lint.judge([migration], sizes)
    return [f"{finding.severity} {finding.rule}" for finding in report.live if finding.source == "papdeploy"]


@pytest.mark.parametrize("text", VERDICTS)
def test_the_size_decides(text: str) -> None:
    assert judged(one(f"db.execute({text!r})")) == VERDICTS[text]


AGAIN = {
    "CREATE INDEX CONCURRENTLY ix ON small (id)": True,
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix ON small (id)": False,
    "DROP INDEX CONCURRENTLY ix": True,
    "DROP INDEX CONCURRENTLY IF EXISTS ix": False,
    "ALTER TABLE small ADD COLUMN n int": True,
    "ALTER TABLE small ADD COLUMN IF NOT EXISTS n int": False,
    "ALTER TABLE small VALIDATE CONSTRAINT c": False,
    "CREATE OR REPLACE VIEW v AS SELECT 1": False,
    "VACUUM small": False,
}


@pytest.mark.parametrize("text", AGAIN)
def test_outside_a_transaction_statements_must_bear_to_run_again(text: str) -> None:
    def rules(body: str, head: str) -> list[str]:
        found = lint.judge([one(body, head)], SIZES).findings
        return [f"{f.rule} {f.severity}" for f in found if f.rule == "cannot-run-again"]

    body = f'db.execute("{text}")'
    alone = "transactional = False"
    assert rules(body, alone) == (["cannot-run-again warning"] if AGAIN[text] else [])
    assert rules(body, "") == []
    asked = f'if not db.has_index("ix"):\n    {body}'
    assert rules(asked, alone) == (["cannot-run-again note"] if AGAIN[text] else [])


def test_without_a_database_the_size_is_said_to_be_unknown() -> None:
    report = lint.judge([one('db.execute("CREATE INDEX i ON t (a)")')], None)
    own = [finding for finding in report.live if finding.source == "papdeploy"]
    assert [finding.severity for finding in own] == ["warning"] and "not known" in own[0].message
    assert "no database was asked" in lint_formats.text(report)


def test_computed_sql_is_not_passed_over_in_silence() -> None:
    assert judged(one("db.execute(make())")) == ["note unread-sql"]


SUPPRESSIONS = {
    "on the line": ('db.execute("CREATE INDEX i ON large (a)")  # lint: allow index-blocks-writes: at night', [], 1),
    "above": ('# lint: allow index-blocks-writes: at night\n# more\ndb.execute("CREATE INDEX i ON large (a)")', [], 1),
    "elsewhere": (
        'db.execute("CREATE INDEX i ON large (a)")\n\n# lint: allow index-blocks-writes: at night',
        ["error index-blocks-writes", "warning unused-suppression"], 0,
    ),
    "without a reason": (
        'db.execute("CREATE INDEX i ON large (a)")  # lint: allow index-blocks-writes',
        ["error index-blocks-writes", "error suppression-without-reason"], 0,
    ),
    "of another rule": (
        'db.execute("CREATE INDEX i ON large (a)")  # lint: allow rewrite: because',
        ["error index-blocks-writes", "warning unused-suppression"], 0,
    ),
    "in a string": (
        "db.execute(\"CREATE INDEX i ON large (a) -- # lint: allow index-blocks-writes: no\")",
        ["error index-blocks-writes"], 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SUPPRESSIONS)
def test_suppressions_need_a_place_and_a_reason(case: str) -> None:
    body, expected, suppressed = SUPPRESSIONS[case]
    report = lint.judge([one(body)], SIZES)
    own = [finding for finding in report.findings if finding.source == "papdeploy"]
    assert [f"{f.severity} {f.rule}" for f in report.live if f.source == "papdeploy"] == expected
    assert sum(bool(finding.suppressed) for finding in own) == suppressed


def test_a_suppression_at_the_margin_is_for_the_whole_file() -> None:
    migration = one(
        'db.execute("CREATE INDEX i ON large (a)")', "# lint: allow index-blocks-writes: read only at night"
    )
    assert judged(migration) == []


def test_formats() -> None:
    report = lint.judge(
        [one('db.execute("CREATE INDEX i ON large (a)")\ndb.execute("ALTER TABLE small DROP COLUMN a")')], SIZES
    )
    assert json.loads(lint_formats.as_json(report))["findings"][0]["rule"]
    sarif = json.loads(lint_formats.sarif(report))
    assert sarif["version"] == "2.1.0"
    place = sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "2025_01_01_a.py"}, "region": {"startLine": 5}}
    lines = lint_formats.github(report).splitlines()
    assert lines[0].startswith("::error file=2025_01_01_a.py,line=5,title=index-blocks-writes::large: builds an index")
    assert "%" not in lines[0] and lines[1].startswith("::warning ")
    assert "2025_01_01_a.py:5: error: large: builds an index" in lint_formats.text(report)
    assert report.worse_than("error") and not report.worse_than("never")


def test_squawk_is_asked_where_it_is_installed() -> None:
    if not squawk.find():
        pytest.skip("squawk is not installed")
    body = 'db.execute("ALTER TABLE small ADD n int")\ndb.execute("CREATE INDEX CONCURRENTLY i ON small (n)")'
    report = lint.judge([one(body)], SIZES, version=160000)
    found = [f.rule for f in report.findings if f.source == "squawk"]  # and nothing of types, which the models decide
    assert found == ["ban-concurrent-index-creation-in-transaction"]
    assert report.squawk[0].isdigit()


def test_squawk_that_is_named_but_not_there_is_refused() -> None:
    with pytest.raises(Refused, match="There is no program"):
        lint.judge([one('db.execute("SELECT 1")')], SIZES, program="/no/such/squawk")


def test_squawk_that_fails_is_not_taken_for_silence(tmp_path: Path) -> None:
    program = tmp_path / "squawk"
    program.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(Exception, match="squawk ended with exit code 3: broken"):
        lint.judge([one('db.execute("SELECT 1")')], SIZES, program=str(program))
