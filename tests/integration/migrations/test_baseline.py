"""Baseline: of a database that was migrated by hand, only what its catalog shows is marked as applied."""

from __future__ import annotations

from typing import Any

import pytest
from papdeploy.core.errors import Refused
from papdeploy.migrations import files
from papdeploy.migrations.options import RunOptions
from papdeploy.migrations.run import baseline as baseline_module
from support.migration_runner import Bench, migration
from support.postgres_servers import Server

pytestmark = pytest.mark.every_version

SQL = {
    "2025_01_01_users": "CREATE TABLE users (id int PRIMARY KEY, name text)",
    "2025_01_02_plan": "ALTER TABLE users ADD COLUMN plan text NOT NULL DEFAULT 'free'",
    "2025_01_03_kind": "CREATE TYPE kind AS ENUM ('a', 'b')",
    "2025_01_04_index": "CREATE INDEX ix_users_plan ON users (plan)",
    "2025_01_05_check": "ALTER TABLE users ADD CONSTRAINT ck CHECK (id > 0)",
    "2025_01_06_label": "ALTER TYPE kind ADD VALUE IF NOT EXISTS 'c'",
}
SOURCES = {f"{name}.py": migration(f'db.execute("""{text}""")') for name, text in SQL.items()}


@pytest.fixture
def bench(server: Server, database: str) -> Bench:
    return Bench(server, database)


def baseline(
    bench: Bench, sources: dict[str, str] = SOURCES, assume_applied: tuple[str, ...] = (), **rest: Any
) -> baseline_module.AdoptResult:
    loaded = files.load_sources(sources)
    return baseline_module.baseline(
        bench.url, loaded, release="adopt", who="me", options=RunOptions(assume_applied=assume_applied), **rest
    )


@pytest.mark.parametrize("done", range(len(SQL) + 1))
def test_as_far_as_the_catalog_shows(bench: Bench, done: int) -> None:
    names = list(SQL)
    for name in names[:done]:
        bench.sql(SQL[name])
    dry = baseline(bench, dry_run=True)
    assert dry.marked == names[:done] and bench.ledger() == []
    assert baseline(bench).marked == names[:done]
    assert bench.ledger() == [("baselined", name) for name in names[:done]]
    assert [ran.identity for ran in bench.apply(SOURCES).applied] == names[done:]  # the rest is run for real
    assert baseline(bench).marked == []


def test_a_half_done_one_is_refused(bench: Bench) -> None:
    two = migration('db.execute("ALTER TABLE users ADD COLUMN one int, ADD COLUMN two int")')
    bench.sql("CREATE TABLE users (id int PRIMARY KEY, name text, one int)")
    sources = {"2025_01_01_users.py": SOURCES["2025_01_01_users.py"], "2025_01_02_two.py": two}
    with pytest.raises(Refused, match=r"only in part: column \"users\".two is lacking, column \"users\".one is there"):
        baseline(bench, sources)
    assert bench.ledger() == []
    assert baseline(bench, sources, assume_applied=("2025_01_02_two",)).marked == ["2025_01_01_users", "2025_01_02_two"]


def test_what_the_catalog_cannot_show_needs_a_word(bench: Bench) -> None:
    sources = {**SOURCES, "2025_01_01_z_data.py": migration('db.execute("UPDATE users SET name = upper(name)")')}
    for text in SQL.values():
        bench.sql(text)
    with pytest.raises(Refused, match="2025_01_01_z_data, which comes before it, the catalog shows nothing") as caught:
        baseline(bench, sources)
    verdicts = {item["identity"]: item["verdict"] for item in caught.value.data["findings"]}
    assert verdicts["2025_01_01_z_data"] == "unknown" and verdicts["2025_01_06_label"] == "present"
    result = baseline(bench, sources, assume_applied=("2025_01_01_z_data",))
    assert len(result.marked) == 7
    assert bench.sql("SELECT identity FROM pap_deploy.ledger WHERE details->>'believed' = 'true'") == [
        ("2025_01_01_z_data",)
    ]


def test_what_a_later_one_undid_proves_nothing(bench: Bench) -> None:
    sources = {
        "2025_01_01_users.py": SOURCES["2025_01_01_users.py"],
        "2025_01_02_add.py": migration('db.execute("ALTER TABLE users ADD COLUMN old text")'),
        "2025_01_03_rename.py": migration('db.execute("ALTER TABLE users RENAME COLUMN old TO fresh")'),
    }
    bench.sql("CREATE TABLE users (id int PRIMARY KEY, name text, fresh text)")
    with pytest.raises(Refused, match="2025_01_02_add, which comes before it"):
        baseline(bench, sources)
    assert len(baseline(bench, sources, assume_applied=("2025_01_02_add",)).marked) == 3
    assert not bench.apply(sources).changed


def test_an_invalid_index_is_not_there(bench: Bench) -> None:
    bench.sql("CREATE TABLE users (id int PRIMARY KEY, name text, plan text NOT NULL DEFAULT 'free')")
    bench.sql("CREATE TYPE kind AS ENUM ('a', 'b'); CREATE INDEX ix_users_plan ON users (plan)")
    bench.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_users_plan'::regclass")
    assert baseline(bench).marked == ["2025_01_01_users", "2025_01_02_plan", "2025_01_03_kind"]
