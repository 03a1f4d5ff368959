"""Migrations in plain SQL, beside those in Python: one order, one ledger, the same commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from papdeploy.cli.command import main
from papdeploy.core.errors import PapError
from papdeploy.migrations import files, static_sql
from papdeploy.migrations.run import baseline
from support.migration_runner import Bench, migration
from support.postgres_servers import Server

pytestmark = pytest.mark.every_version

SOURCES = {
    "2026_01_01_users.sql": """-- Users, and what they may do.
-- Author: Ada
CREATE TABLE users (id int PRIMARY KEY, name text);
INSERT INTO users VALUES (1, 'a; -- migrate: down ; 100% :name');

-- migrate: down
DROP TABLE users;
""",
    "2026_01_02_plan.py": migration(
        'db.execute("ALTER TABLE users ADD plan text")', 'db.execute("ALTER TABLE users DROP plan")'
    ),
    "2026_01_03_shout.sql": """CREATE FUNCTION shout(text) RETURNS text LANGUAGE plpgsql AS $$
-- migrate: down
BEGIN RETURN upper($1); END; $$;
UPDATE users SET plan = shout(name);
-- migrate: down
UPDATE users SET plan = NULL;
DROP FUNCTION shout(text);
""",
    "2026_01_04_index.sql": """-- transactional: false
CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_users_plan ON users (plan);
-- migrate: down
DROP INDEX CONCURRENTLY IF EXISTS ix_users_plan;
""",
}


@pytest.fixture
def bench(server: Server, database: str) -> Bench:
    return Bench(server, database)


def test_applied_in_one_order_and_reverted(bench: Bench) -> None:
    result = bench.apply(SOURCES)
    assert [ran.identity for ran in result.applied] == [name.rpartition(".")[0] for name in SOURCES]
    assert [ran.statement_count for ran in result.applied] == [2, 1, 2, 1]
    assert bench.sql("SELECT plan FROM users") == [("A; -- MIGRATE: DOWN ; 100% :NAME",)]
    assert not bench.apply(SOURCES).changed
    assert len(bench.revert(SOURCES, count=4).reverted) == 4
    assert bench.tables() == [] and bench.scalar("SELECT to_regproc('shout') IS NULL")


def test_a_failure_names_the_line(bench: Bench) -> None:
    broken = {"2026_01_01_a.sql": "CREATE TABLE a (id int);\n\n\nALTER TABLE a\n  ADD COLUMN id int;\n"}
    with pytest.raises(PapError, match=r"2026_01_01_a failed \(line 4\): DuplicateColumn"):
        bench.apply(broken)
    with pytest.raises(PapError, match=r"COMMIT was sent \(line 2\)"):
        bench.apply({"2026_01_01_a.sql": "CREATE TABLE a (id int);\nCOMMIT;"})
    assert bench.tables() == []


def test_without_a_downgrade_it_is_not_reverted(bench: Bench) -> None:
    source = {"2026_01_01_a.sql": "CREATE TABLE a (id int);\n-- migrate: down\n"}
    bench.apply(source)
    with pytest.raises(PapError, match="2026_01_01_a cannot be reverted: it has no downgrade"):
        bench.revert(source, count=1)


def test_adopted_by_what_the_catalog_shows(bench: Bench) -> None:
    loaded = files.load_sources({"2026_01_01_users.sql": "CREATE TABLE users (id int PRIMARY KEY, name text);"})
    bench.sql("CREATE TABLE users (id int PRIMARY KEY, name text)")
    assert baseline.baseline(bench.url, loaded).marked == ["2026_01_01_users"]


def test_the_commands_take_them(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "dump.sql").write_text("\\restrict x\n")  # lies there for something else
    place = ["--migrations", str(tmp_path), "--database-url", bench.url]
    assert main(["plan", *place]) == 0
    assert "CREATE TABLE users" in capsys.readouterr().out
    assert main(["migrate", *place, "--only", "2026_01_02_plan.py", "--only", "2026_01_01_users.sql"]) == 0
    assert bench.applied() == ["2026_01_01_users", "2026_01_02_plan"]
    assert main(["lint", "--offline", *place, str(tmp_path / "2026_01_03_shout.sql")]) == 0
    assert "2026_01_03_shout.sql:4" in capsys.readouterr().out
    allowed = SOURCES["2026_01_03_shout.sql"].replace(
        "\nUPDATE", "\n-- lint: allow long-row-locks: few rows\nUPDATE", 1
    )
    (tmp_path / "2026_01_03_shout.sql").write_text(allowed)
    assert main(["lint", "--offline", *place, str(tmp_path / "2026_01_03_shout.sql")]) == 0
    assert "long-row-locks" not in capsys.readouterr().out


def test_the_plan_reads_the_same_statements() -> None:
    (loaded,) = files.load_sources({"2026_01_03_shout.sql": SOURCES["2026_01_03_shout.sql"]})
    found = static_sql.sql_of(loaded)
    assert found.exact and found.lines == [1, 4]
    assert static_sql.sql_of(loaded, "downgrade").statements == [
        "UPDATE users SET plan = NULL",
        "DROP FUNCTION shout(text)",
    ]
