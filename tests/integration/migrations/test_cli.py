"""The command line and ``python migrations/FILE.py``: same lock, ledger and checks, clear words, exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import ROOT
from support.migration_runner import ADD_X, CREATE_A, FILL_A, Bench
from support.postgres_servers import Server

TAIL = (
    '\n\nif __name__ == "__main__":\n    import sys\n'
    f"    sys.path.insert(0, {str(ROOT / 'module_utils')!r})\n"
    "    from papdeploy.migrations.cli.file import main\n\n    raise SystemExit(main(__file__))\n"
)
THREE = {"2025_01_01_a.py": CREATE_A, "2025_01_02_fill.py": FILL_A, "2025_01_03_x.py": ADD_X}


@pytest.fixture
def bench(server: Server, database: str) -> Bench:
    return Bench(server, database)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    folder.mkdir()
    shutil.copy(ROOT / "migrations" / "migration_template.py", folder)
    for name, source in THREE.items():
        (folder / name).write_text(source + TAIL)
    return folder


def run(bench: Bench, folder: Path, *argv: str, url: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "module_utils"),
        "DATABASE_URL": url if url is not None else bench.url,
    }
    return subprocess.run(
        [sys.executable, *argv], env=env, cwd=folder.parent, capture_output=True, text=True, timeout=60, check=False
    )


def papdeploy(bench: Bench, folder: Path, *argv: str, **rest: Any) -> subprocess.CompletedProcess[str]:
    return run(bench, folder, "-m", "papdeploy", *argv, **rest)


def test_from_plan_to_revert(bench: Bench, folder: Path) -> None:
    said = papdeploy(bench, folder, "plan")
    assert said.returncode == 0 and "CREATE TABLE a (id int PRIMARY KEY, n int);" in said.stdout
    said = papdeploy(bench, folder, "status")
    assert "0 applied, 3 pending (the database has no ledger yet)" in said.stdout
    said = papdeploy(bench, folder, "migrate", "--dry-run")
    assert said.returncode == 0 and "Would apply:\n  2025_01_01_a" in said.stdout and bench.tables() == []
    said = papdeploy(bench, folder, "migrate", "--release", "r1", "--json")
    assert [entry["identity"] for entry in json.loads(said.stdout)["applied"]] == [name[:-3] for name in THREE]
    assert "applying 2025_01_01_a" in said.stderr
    said = papdeploy(bench, folder, "migrate")
    assert said.returncode == 0 and said.stdout.strip() == "Nothing to do."
    said = papdeploy(bench, folder, "status")
    assert "3 applied, 0 pending" in said.stdout and "release r1" in said.stdout
    said = papdeploy(bench, folder, "revert", "--since-release", "r1")
    assert said.returncode == 0 and "3 reverted" in said.stdout and bench.tables() == []
    bench.sql("CREATE TABLE a (id int PRIMARY KEY, n int)")
    said = papdeploy(bench, folder, "baseline", "2025_01_01_a")
    assert said.returncode == 0 and "1 marked as applied: 2025_01_01_a" in said.stdout and '"a"' in said.stdout


def test_edited_then_repaired(bench: Bench, folder: Path) -> None:
    papdeploy(bench, folder, "migrate")
    with (folder / "2025_01_01_a.py").open("a") as file:
        file.write("# more\n")
    said = papdeploy(bench, folder, "migrate")
    assert said.returncode == 1 and "error: 2025_01_01_a was edited" in said.stderr and "repair" in said.stderr
    assert papdeploy(bench, folder, "status").returncode == 1
    assert "needs a reason" in papdeploy(bench, folder, "repair").stderr
    assert papdeploy(bench, folder, "repair", "--reason", "a comment").returncode == 0
    assert papdeploy(bench, folder, "migrate").stdout.strip() == "Nothing to do."


def test_a_failure_shows_statement_and_next_step(bench: Bench, folder: Path) -> None:
    (folder / "2025_01_04_bad.py").write_text(ADD_X.replace("TABLE a ", "TABLE missing "))
    said = papdeploy(bench, folder, "migrate")
    assert said.returncode == 1 and said.stdout == ""
    assert "Migration 2025_01_04_bad failed (line 6): UndefinedTable" in said.stderr
    assert "statement:\n    ALTER TABLE missing ADD COLUMN x text" in said.stderr and "next:" in said.stderr
    said = papdeploy(bench, folder, "status")
    assert "failed last time: Migration 2025_01_04_bad failed" in said.stdout


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("", 1, "DATABASE_URL is not set"),
        ("postgresql://nobody:secret-pw@127.0.0.1:1/none", 2, "did not accept the connection"),
        ("sqlite:///x", 1, "starts with sqlite"),
    ],
)
def test_exit_codes_without_a_database(bench: Bench, folder: Path, url: str, code: int, message: str) -> None:
    said = papdeploy(bench, folder, "migrate", url=url)
    assert said.returncode == code and message in said.stderr
    assert "secret-pw" not in said.stderr + said.stdout and "Traceback" not in said.stderr


def test_one_file_by_itself(bench: Bench, folder: Path) -> None:
    file = folder / "2025_01_03_x.py"
    file.write_text(file.read_text().replace('"""A migration."""', '"""A migration."""\nrequires = ["2025_01_01_a"]'))
    said = run(bench, folder, str(file), "--plan")
    assert said.returncode == 0 and "ADD COLUMN x text" in said.stdout and "INSERT" not in said.stdout
    said = run(bench, folder, str(file))
    assert said.returncode == 0 and "2 applied" in said.stdout
    assert bench.applied() == ["2025_01_01_a", "2025_01_03_x"]
    assert "still pending although earlier: 2025_01_02_fill" in said.stderr
    assert run(bench, folder, str(file)).stdout.strip() == "Nothing to do."
    said = run(bench, folder, str(file), "--revert")
    assert said.returncode == 0 and bench.columns() == ["id", "n"]


def test_the_template_is_never_run(bench: Bench, folder: Path) -> None:
    said = run(bench, folder, str(folder / "migration_template.py"))
    assert said.returncode == 1 and "This is the template" in said.stderr
    assert "migration_template" not in papdeploy(bench, folder, "plan").stdout


def test_a_copy_of_the_template_is_a_migration(bench: Bench, folder: Path) -> None:
    for name in THREE:
        (folder / name).unlink()
    bench.sql("CREATE TABLE example (id int)")
    source = (folder / "migration_template.py").read_text()
    (folder / "2026_01_01_note.py").write_text(source)
    said = papdeploy(bench, folder, "migrate")
    assert said.returncode == 0, said.stderr
    assert bench.columns("example") == ["id", "note"]
    assert papdeploy(bench, folder, "revert", "--last", "1").returncode == 0
    assert bench.columns("example") == ["id"]


def test_new_writes_a_file_that_runs(bench: Bench, folder: Path) -> None:
    papdeploy(bench, folder, "migrate")
    said = papdeploy(bench, folder, "new", "Add API key!", "--author", "me")
    path = folder.parent / said.stdout.strip()
    assert said.returncode == 0 and path.name.endswith("_add_api_key.py") and path.parent.name == "migrations"
    assert papdeploy(bench, folder, "new", "add_api_key").returncode == 1  # not twice
    said = papdeploy(bench, folder, "migrate")
    assert said.returncode == 1 and "NotImplementedError" in said.stderr  # it says that it has to be written
    path.write_text(path.read_text().replace('raise NotImplementedError("write the change")', 'db.execute("SELECT 1")'))
    assert papdeploy(bench, folder, "migrate").returncode == 0


MODELS = """
from sqlalchemy import Column, Enum, ForeignKey, Integer, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import declarative_base
Base = declarative_base()
class Mood(Base):
    __tablename__ = "moods"
    id = Column(Integer, primary_key=True)
    mood = Column(JSONB, server_default="{}")
    other = Column(Enum("b", "a", name="mood"), server_default="b")
class User(Base):
    __tablename__ = "users"
    id = Column(Integer, primary_key=True)
    name = Column(String(50), nullable=False, index=True)
    plan = Column(String(20), nullable=False, server_default="free")
class Item(Base):
    __tablename__ = "items"
    id = Column(Integer, primary_key=True)
    user_id = Column(ForeignKey("users.id"), nullable=False)
"""


def test_new_from_the_models_there_and_back(bench: Bench, folder: Path) -> None:
    for name in THREE:
        (folder / name).unlink()
    (folder.parent / "models.py").write_text(MODELS)
    (folder.parent / "pap-deploy.toml").write_text('models = ["models:Base"]\nignore = ["ours_*"]\n')
    bench.sql("CREATE TABLE users (id serial PRIMARY KEY, name varchar(20)); CREATE TABLE ours_alone (id int)")
    bench.sql("CREATE TABLE outsider (id int); CREATE TYPE mood AS ENUM ('a', 'b')")
    bench.sql("CREATE TABLE moods (id serial PRIMARY KEY, mood mood DEFAULT 'a', other mood DEFAULT 'a')")
    said = papdeploy(bench, folder, "new", "drop", "--from-models")
    (proposal, *_) = said.stdout.splitlines()
    text = (folder.parent / proposal).read_text()
    assert (
        '    # db.execute("DROP TABLE public.outsider")' in text and "ours_alone" not in text
    )  # for a person to decide
    for path in said.stdout.splitlines():
        (folder.parent / path).unlink()
    bench.sql("DROP TABLE outsider")
    before = papdeploy(bench, folder, "check", "--models", "models:Base", "--format", "json")
    said = papdeploy(bench, folder, "migrate", "--models", "models:Base")
    assert said.returncode == 1 and "does not match the models" in said.stderr
    said = papdeploy(bench, folder, "new", "follow the models", "--from-models")
    assert said.returncode == 0, said.stderr
    written = sorted(path.name for path in folder.glob("*_follow_the_models*.py"))
    assert len(written) == 2  # the index is built outside the transaction
    assert sorted(Path(line).name for line in said.stdout.splitlines()) == written
    assert "cannot-run-again" not in papdeploy(bench, folder, "lint").stdout
    said = papdeploy(bench, folder, "migrate", "--models", "--release", "r1")
    assert said.returncode == 0 and "The schema matches the models." in said.stdout, said.stderr
    assert papdeploy(bench, folder, "check", "--models", "models:Base").returncode == 0
    assert papdeploy(bench, folder, "revert", "--since-release", "r1").returncode == 0
    after = papdeploy(bench, folder, "check", "--models", "models:Base", "--format", "json")
    assert json.loads(after.stdout)["differences"] == json.loads(before.stdout)["differences"] != []
    said = papdeploy(bench, folder, "new", "nothing", "--from-models", "models:None")
    assert said.returncode != 0 and "Traceback" not in said.stderr


def test_lint_weighs_by_size(bench: Bench, folder: Path) -> None:
    papdeploy(bench, folder, "migrate")
    bench.sql("CREATE TABLE large AS SELECT g AS id FROM generate_series(1, 60000) AS g; CREATE TABLE small (id int)")
    bench.sql("ANALYZE large; ANALYZE small")
    body = 'db.execute("CREATE INDEX l ON large (id)")\n    db.execute("CREATE INDEX s ON small (id)")'
    (folder / "2026_01_01_ix.py").write_text(f'"""Indexes."""\n\n\ndef upgrade(db):\n    {body}\n')
    said = papdeploy(bench, folder, "lint", "--format", "json")
    found = {
        (f["table"], f["severity"], f["line"])
        for f in json.loads(said.stdout)["findings"]
        if f["source"] == "papdeploy"
    }
    assert found == {('"large"', "warning", 5), ('"small"', "note", 6)} and said.returncode == 0
    assert papdeploy(bench, folder, "lint", "--fail-on", "warning").returncode == 1
    said = papdeploy(bench, folder, "lint", "--format", "sarif")
    assert {r["level"] for r in json.loads(said.stdout)["runs"][0]["results"]} >= {"warning", "note"}
    (folder / "2026_01_01_ix.py").write_text(
        '"""Indexes."""\n\n\ndef upgrade(db):\n    for t in db.rows("SELECT relname FROM pg_class WHERE relname = \'large\'"):\n'
        '        db.execute("CREATE INDEX l ON " + t.relname + " (id)")\n'
    )
    said = papdeploy(bench, folder, "lint")
    assert "computed statement could not be judged" in said.stdout and "index-blocks-writes" not in said.stdout
    copy = bench.server.create("copy")
    bench.connection.close()
    bench.server.drop(copy)
    bench.server.sql(f'CREATE DATABASE "{copy}" TEMPLATE "{bench.name}"')
    said = papdeploy(bench, folder, "lint", "--format", "github", "--scratch-url", bench.server.url(copy))
    bench.server.drop(copy)
    assert "::warning file=migrations/2026_01_01_ix.py,line=4,title=index-blocks-writes::large" in said.stdout


LARGE_MODELS = """
from sqlalchemy import Boolean, Column, Integer, String
from sqlalchemy.orm import declarative_base
Base = declarative_base()
class Large(Base):
    __tablename__ = "large"
    id = Column(Integer, primary_key=True)
    name = Column(String(9), nullable=False)
    seen = Column(Boolean, nullable=False, default=False)
class Small(Base):
    __tablename__ = "small"
    id = Column(Integer, primary_key=True)
    seen = Column(Boolean, nullable=False, default=False)
"""


@pytest.mark.parametrize("way", [[], ["--sql"]], ids=["python", "sql"])
def test_new_fills_a_large_table_in_pieces(bench: Bench, folder: Path, way: list[str]) -> None:
    for name in THREE:
        (folder / name).unlink()
    (folder.parent / "models.py").write_text(LARGE_MODELS)
    bench.sql("CREATE TABLE large (id serial PRIMARY KEY, name varchar(9)); CREATE TABLE small (id serial PRIMARY KEY)")
    bench.sql(
        "INSERT INTO large (name) SELECT 'n' || g FROM generate_series(1, 60000) AS g; INSERT INTO small DEFAULT VALUES"
    )
    bench.sql("ANALYZE large; ANALYZE small")
    said = papdeploy(bench, folder, "new", "seen", "--from-models", "models:Base", *way)
    assert said.returncode == 0, said.stderr
    main, late = ((folder.parent / line).read_text() for line in said.stdout.splitlines())
    assert "public.small SET seen" in main and "public.large SET" not in main and "large_is_set" not in main
    assert "public.large SET seen" in late and late.count("VALIDATE CONSTRAINT") == 2
    assert ("db.batches('SELECT id FROM public.large WHERE seen IS NULL', size=5000)" in late) == (not way)
    assert ("LIMIT 5000" in late and "COMMIT;" in late) == bool(way)
    assert "cannot-run-again" not in papdeploy(bench, folder, "lint").stdout
    said = papdeploy(bench, folder, "migrate", "--release", "r1")
    assert said.returncode == 0, said.stderr
    assert papdeploy(bench, folder, "check", "--models", "models:Base").returncode == 0
    assert bench.scalar("SELECT count(*) FROM large WHERE NOT seen") == 60000
    said = papdeploy(bench, folder, "revert", "--since-release", "r1")
    assert said.returncode == 0, said.stderr
    assert bench.columns("large") == ["id", "name"]
