"""``python check_db_schema.py`` as a person runs it: exit codes, formats, sources of the expected schema, silence."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from papdeploy.schema.catalog.rows import CATALOG_FORMAT
from papdeploy.schema.cli.command import main
from support import ROOT
from support.postgres_servers import Server

pytestmark = pytest.mark.every_version

PASSWORD = "correct-horse-battery"

DATABASE = """
import atexit, logging, os, subprocess, sys, threading, time
from sqlalchemy.orm import declarative_base
url = os.environ["DATABASE_URL"]
print("Connecting to", url)
print("Connecting to", url, file=sys.stderr)
os.write(1, b"straight to the descriptor\\n")
if "NOISY" in os.environ:
    logging.basicConfig(stream=sys.stdout, level="DEBUG")
    logging.getLogger("app").warning("url is %s", url)
    subprocess.run(["echo", "from a child:", url])
    atexit.register(lambda: (print("bye", url, flush=True), os.write(1, b"bye again\\n")))
    def chatter():
        while True:
            print("from a thread", url, flush=True)
            os.write(2, b"from a thread\\n")
            time.sleep(0.001)
    threading.Thread(target=chatter, daemon=True).start()
Base = declarative_base()
"""
MODELS = """
from sqlalchemy import Boolean, Column, Integer, String
from app.database import Base

class User(Base):
    __tablename__ = "users"
    id = Column(Integer, primary_key=True)
    username = Column(String(50), unique=True, nullable=False)
    api_key_sandbox = Column(String(64))
    is_active = Column(Boolean, server_default="true")
"""
CONFIG = """
from sqlalchemy import Column, ForeignKey, Integer, Text
from app.database import Base

class Setting(Base):
    __tablename__ = "settings"
    id = Column(Integer, primary_key=True)
    user_id = Column(ForeignKey("users.id"), index=True)
    value = Column(Text, server_default="100% & <new>")
"""


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@dataclass
class Stack:
    """An application's folder and its database."""

    folder: Path
    server: Server
    database: str
    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]

    @property
    def url(self) -> str:
        return self.server.url(self.database, "postgresql")

    def sql(self, statement: str) -> None:
        self.server.sql(statement, self.database)

    def arguments(self, arguments: Sequence[str], models: bool) -> list[str]:
        named = ["--models", "app.models", "--models", "app.models_config", "--models", "app.database:Base"]
        return [*(named if models else []), *arguments]

    def environment(self, env: dict[str, str] | None) -> dict[str, str]:
        return {"HOME": str(self.folder), "DATABASE_URL": self.url, "LC_ALL": "C.UTF-8", **(env or {})}

    def run(self, *arguments: str, env: dict[str, str] | None = None, models: bool = True) -> Done:
        """The command in this process, with the application's modules forgotten after: starting Python takes longer."""
        with self.monkeypatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(sys, "path", list(sys.path))
            patch.delenv("XDG_CACHE_HOME", raising=False)
            for key, value in self.environment(env).items():
                patch.setenv(key, value)
            self.capfd.readouterr()
            try:
                code = main(self.arguments(arguments, models))
            finally:
                for name in [name for name in sys.modules if name == "app" or name.startswith("app.")]:
                    del sys.modules[name]
            importlib.invalidate_caches()
            return Done(code, *self.capfd.readouterr())

    def process(self, *arguments: str, env: dict[str, str] | None = None) -> Done:
        """The command as a person starts it."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "check_db_schema.py"), *self.arguments(arguments, True)],
            cwd=self.folder, env={"PATH": os.environ["PATH"], **self.environment(env)}, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def stack(
    servers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Stack]:
    server = servers[16]
    package = tmp_path / "app"
    package.mkdir()
    for name, text in (("__init__", ""), ("database", DATABASE), ("models", MODELS), ("models_config", CONFIG)):
        (package / f"{name}.py").write_text(text)
    database = server.create("command")
    stack = Stack(tmp_path, server, database, monkeypatch, capfd)
    stack.sql(
        "CREATE TABLE users (id serial PRIMARY KEY, username varchar(50) NOT NULL UNIQUE, api_key_sandbox varchar(64), "
        "is_active boolean DEFAULT true)"
    )
    stack.sql(
        "CREATE TABLE settings (id serial PRIMARY KEY, user_id integer REFERENCES users, value text DEFAULT '100% & <new>'); "
        "CREATE INDEX ix_settings_user_id ON settings (user_id)"
    )
    yield stack
    server.drop(database)


def test_it_matches_and_then_differs(stack: Stack) -> None:
    done = stack.process()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Database '{stack.database}' matches the models (2 tables, 7 columns, 1 index).\n"
    stack.sql("ALTER TABLE users DROP COLUMN api_key_sandbox")
    done = stack.process()
    assert done.returncode == 1
    assert done.stderr == ""
    assert done.stdout.splitlines()[:6] == [
        "error  users.api_key_sandbox  column_missing",
        "    models:   api_key_sandbox character varying(64)",
        "    database: nothing",
        "    why:      login reads users.api_key_sandbox: every login fails",
        "    repair:   ALTER TABLE public.users ADD COLUMN api_key_sandbox character varying(64);",
        "",
    ]
    assert "\x1b" not in done.stdout
    assert "\x1b[31merror" in stack.run("--color", "always").stdout


def test_nothing_of_the_application_and_no_password_gets_out(stack: Stack) -> None:
    stack.sql("ALTER TABLE users DROP COLUMN api_key_sandbox")
    for arguments in ([], ["--format", "json"], ["--no-cache"]):
        done = stack.process(*arguments, env={"NOISY": "1"})
        assert done.returncode == 1
        for text in (done.stdout, done.stderr):
            assert stack.server.password not in text
            for word in ("Connecting", "bye", "thread", "child", "descriptor", "url is"):
                assert word not in text
    (stack.folder / "app" / "models.py").write_text(
        MODELS + "\nraise RuntimeError(f'no config for {__import__(\"app.database\").database.url}')\n"
    )
    done = stack.process(env={"NOISY": "1"})
    assert done.returncode == 2
    assert "RuntimeError: no config for postgresql://postgres:********@" in done.stderr
    assert stack.server.password not in done.stderr + done.stdout
    assert len(done.stderr.splitlines()) == 1


CANNOT = [
    (["--models", "app.nowhere"], "There is no module 'app.nowhere'."),
    (["--models", "app.models:Nope"], "app.models has no 'Nope'. It has Base, User."),
    (["--models", "app.models:Column"], "app.models:Column is a type, not a declarative Base or a MetaData."),
    (["--models", "app.empty:Base"], "The metadata of app.empty:Base has no tables."),
    (["--models", "app.nothing"], "app.nothing holds no declarative Base and no MetaData."),
    (["--models", "app.exits"], "The models app.exits do not import: it calls sys.exit(3) while it is imported"),
    (["--models", "app.broken"], "The models app.broken do not import: SyntaxError"),
    (["--models", "app.needs"], "The models app.needs do not import: ModuleNotFoundError: No module named 'not_installed'"),
    (["--models", "not a module"], "'not a module' is not a name of a Python module."),
    ([], "No models are named."),
    (["--models", "app.models", "--database-url", "mysql://x/y"], "The database URL starts with mysql"),
    (["--models", "app.models", "--database-url", "nonsense"], "The database URL is not of the form postgresql://user"),
    (["--models", "app.models", "--database-url", f"postgresql://u:{PASSWORD}@127.0.0.1:1/x"], "Cannot connect to x on 127.0.0.1:1"),
    (["--models", "app.models", "--database-url", "postgresql+nodriver://u@h/x"], "The database driver nodriver is not installed."),
    (["--models", "app.models", "--snapshot", "none.json"], "There is no snapshot none.json."),
    (["--models", "app.models", "--allow-file", "none.toml"], "none.toml cannot be read"),
    (["--models", "app.models", "--config", "none.toml"], "none.toml cannot be read"),
    (["--models", "app.models", "--output", "/nowhere/x.json"], "The result cannot be written"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"), CANNOT, ids=lambda v: "-".join(v)[:60] if isinstance(v, list) else ""
)
def test_what_cannot_be_checked_is_one_sentence_and_exit_2(stack: Stack, arguments: list[str], sentence: str) -> None:
    package = stack.folder / "app"
    (package / "empty.py").write_text("from sqlalchemy.orm import declarative_base\nBase = declarative_base()\n")
    (package / "nothing.py").write_text("x = 1\n")
    (package / "exits.py").write_text("import sys\nsys.exit(3)\n")
    (package / "broken.py").write_text("def (:\n")
    (package / "needs.py").write_text("import not_installed\n")
    done = stack.run(*arguments, models=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert sentence in done.stderr
    assert done.stderr.startswith("check_db_schema: ")
    assert len(done.stderr.splitlines()) == 1
    assert PASSWORD not in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_database_url(stack: Stack) -> None:
    done = stack.run(env={"DATABASE_URL": ""})
    assert done.returncode == 2
    assert "No database is named. Set DATABASE_URL, or give --database-url." in done.stderr


def damage(stack: Stack) -> None:
    stack.sql("ALTER TABLE users DROP COLUMN api_key_sandbox; ALTER TABLE settings ALTER value SET DEFAULT 'a,b: 50%'")


def test_json(stack: Stack) -> None:
    damage(stack)
    done = stack.run("--format", "json")
    result = json.loads(done.stdout)
    assert done.returncode == 1
    assert result["matches"] is False
    assert [(d["kind"], d["object"], d["severity"]) for d in result["differences"]] == [
        ("column_missing", "users.api_key_sandbox", "error"),
        ("column_default", "settings.value", "warning"),
    ]
    assert set(result["differences"][0]) == {"kind", "object", "severity", "expected", "actual", "why", "repair"}
    assert result["differences"][1]["actual"] == "DEFAULT 'a,b: 50%'::text"
    assert result["checked"]["tables"] == 2
    assert result["checked"]["fail_on"] == "note"


def test_sarif(stack: Stack) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    damage(stack)
    document = json.loads(stack.run("--format", "sarif").stdout)
    run = document["runs"][0]
    assert document["version"] == "2.1.0"
    assert [(r["ruleId"], r["level"]) for r in run["results"]] == [
        ("column_missing", "error"),
        ("column_default", "warning"),
    ]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert rules == {"column_missing", "column_default"}
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "app/models.py"}, "region": {"startLine": 5}}
    # the parts of the SARIF 2.1.0 schema that code scanning requires
    jsonschema.validate(document, SARIF)


SARIF = {
    "type": "object", "required": ["version", "runs"],
    "properties": {"runs": {"type": "array", "minItems": 1, "items": {
        "type": "object", "required": ["tool", "results"],
        "properties": {
            "tool": {"type": "object", "required": ["driver"], "properties": {"driver": {"type": "object", "required": ["name", "rules"]}}},
            "results": {"type": "array", "items": {
                "type": "object", "required": ["ruleId", "message", "locations", "level"],
                "properties": {
                    "level": {"enum": ["none", "note", "warning", "error"]},
                    "message": {"type": "object", "required": ["text"]},
                    "locations": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["physicalLocation"]}},
                }}}}}}},
}  # fmt: skip


def test_junit(stack: Stack) -> None:
    damage(stack)
    suite = ET.fromstring(stack.run("--format", "junit").stdout)
    assert (suite.tag, suite.get("tests"), suite.get("failures")) == ("testsuite", "3", "2")
    failures = {
        case.get("name"): case.find("failure") for case in suite.iter("testcase") if case.find("failure") is not None
    }
    assert set(failures) == {"users.api_key_sandbox", "settings.value"}
    assert "DEFAULT '100% & <new>'::text" in str(failures["settings.value"].text)


def test_github_annotations(stack: Stack) -> None:
    damage(stack)
    lines = stack.run("--format", "github").stdout.splitlines()
    assert lines[0].startswith(
        "::error file=app/models.py,line=5,title=Schema%3A column_missing users.api_key_sandbox::"
    )
    assert lines[1].startswith("::warning file=app/models_config.py,line=5,title=")
    assert "%25" in lines[1]
    assert re.fullmatch(r"::warning [^:]+::[^\n]*", lines[1])
    assert stack.run("--format", "github", "--ignore", "*").stdout.startswith("Database matches the models")


def test_the_proposed_repairs_as_one_script_repair(stack: Stack) -> None:
    damage(stack)
    stack.sql("DROP INDEX ix_settings_user_id; ALTER TABLE settings DROP CONSTRAINT settings_user_id_fkey")
    for statement in stack.run("--format", "sql").stdout.splitlines():
        stack.sql(statement)
    assert stack.run().returncode == 0


def test_a_repair_script_is_written_and_applied_with_psql(stack: Stack) -> None:
    """As docs/schema-check.md has it: check_db_schema.py with --format sql --output repair.sql, then psql -f repair.sql."""
    damage(stack)
    stack.sql("DROP INDEX ix_settings_user_id")
    assert stack.run("--format", "sql", "--output", "repair.sql").returncode == 1
    applied = subprocess.run(
        [stack.server.bin_dir / "psql", stack.url, "-v", "ON_ERROR_STOP=1", "-f", stack.folder / "repair.sql"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert applied.returncode == 0, applied.stderr
    assert stack.run().returncode == 0


def test_a_rename_that_is_told_keeps_the_rows(stack: Stack) -> None:
    """check_db_schema.py --format sql --rename users.login=users.username, where the old name is in the database."""
    stack.sql("ALTER TABLE settings RENAME value TO old_value")
    stack.sql("INSERT INTO settings (old_value) VALUES ('kept')")
    script = stack.run("--format", "sql", "--rename", "settings.old_value=settings.value").stdout
    assert "RENAME COLUMN old_value TO value" in script, script
    for statement in script.splitlines():
        if statement and not statement.startswith("--"):
            stack.sql(statement)
    assert stack.server.sql("SELECT value FROM settings", stack.database) == [("kept",)]
    assert stack.run().returncode == 0


@pytest.mark.parametrize(
    ("fail_on", "code"), [("note", 1), ("warning", 1), ("error", 0), ("never", 0)], ids=lambda value: str(value)
)
def test_the_threshold(stack: Stack, fail_on: str, code: int) -> None:
    stack.sql("DROP INDEX ix_settings_user_id")
    done = stack.run("--fail-on", fail_on)
    assert done.returncode == code
    assert "settings.ix_settings_user_id" in done.stdout
    assert ("none of them fails this check" in done.stdout) == (code == 0)


def test_ignored_objects(stack: Stack) -> None:
    stack.sql(
        "CREATE TABLE legacy_import (id int); ALTER TABLE users ADD COLUMN note text; DROP INDEX ix_settings_user_id"
    )
    assert stack.run("--ignore", "legacy_*", "--ignore", "users.note").returncode == 1
    assert (
        stack.run("--ignore", "legacy_*", "--ignore", "users.note", "--ignore", "index_missing:settings.*").returncode
        == 0
    )
    assert stack.run("--ignore", "legacy_*", "--ignore", "index_missing:*").returncode == 1


def test_the_allow_file(stack: Stack) -> None:
    stack.sql("ALTER TABLE users ADD COLUMN note text")
    allow = stack.folder / "allow.toml"
    entry = '[[allow]]\nobject = "{name}"\nreason = "dropped in March"\nexpires = "{day}"\n'
    allow.write_text(entry.format(name="users.note", day="2999-12-31"))
    done = stack.run("--allow-file", "allow.toml")
    assert done.returncode == 0
    assert "allowed  users.note  column_extra: dropped in March (until 2999-12-31)" in done.stdout
    allow.write_text(entry.format(name="users.note", day="2020-01-01"))
    done = stack.run("--allow-file", "allow.toml")
    assert done.returncode == 1
    assert "it was allowed until 2020-01-01 (dropped in March)" in done.stdout
    allow.write_text(
        entry.format(name="users.note", day="2999-12-31") + entry.format(name="users.gone", day="2999-12-31")
    )
    done = stack.run("--allow-file", "allow.toml")
    assert done.returncode == 0
    assert "note: The allowance for users.gone (dropped in March) matches no difference: remove it." in done.stdout
    for broken, sentence in (
        ('[[allow]]\nobject = "users.note"\nexpires = "2999-12-31"\n', "gives no reason"),
        ('[[allow]]\nobject = "users.note"\nreason = "x"\n', "has no valid expiry date"),
        ('[[allow]]\nreason = "x"\nexpires = "2999-12-31"\n', "names no object"),
        ("allow = 3\n", "allow must be a list"),
        ("[[allow\n", "cannot be read"),
    ):
        allow.write_text(broken)
        done = stack.run("--allow-file", "allow.toml")
        assert done.returncode == 2
        assert sentence in done.stderr


@pytest.mark.parametrize("name", ["pap-deploy.toml", "pyproject.toml", "pap-deploy.json"])
def test_the_configuration_file(stack: Stack, name: str) -> None:
    head = "[tool.papdeploy.schema]\n" if name == "pyproject.toml" else "[schema]\n"
    models = '["app.models", "app.models_config", "app.database:Base"]'
    if name.endswith("json"):
        text = f'{{"schema": {{"models": {models}, "ignore": ["legacy_*"], "fail_on": "warning"}}}}'
    else:
        text = f'{head}models = {models}\nignore = ["legacy_*"]\nfail_on = "warning"\n'
    (stack.folder / name).write_text(text)
    stack.sql("CREATE TABLE legacy_x (id int)")
    assert stack.run(models=False).returncode == 0
    stack.sql("CREATE TABLE other (id int)")
    done = stack.run("--format", "json", models=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["checked"]["fail_on"] == "warning"
    assert stack.run("--fail-on", "error", models=False).returncode == 0
    bad = text.replace("ignore", "ignored")
    (stack.folder / name).write_text(bad)
    done = stack.run(models=False)
    assert done.returncode == 2
    assert "unknown keys: ignored" in done.stderr


def test_snapshot_and_cache(stack: Stack) -> None:
    made = stack.run("--write-snapshot", "schema/expected.json")
    assert (made.returncode, made.stdout) == (0, "")
    assert "Wrote schema/expected.json: 2 relations for PostgreSQL" in made.stderr
    first = (stack.folder / "schema" / "expected.json").read_bytes()
    stack.run("--write-snapshot", "schema/expected.json", "--no-cache")
    assert (stack.folder / "schema" / "expected.json").read_bytes() == first
    assert b"postgres:" not in first
    # a role that may do nothing else
    stack.server.sql(
        "DO $$ BEGIN CREATE ROLE schema_cli LOGIN PASSWORD 'x12345'; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    )
    url = f"postgresql://schema_cli:x12345@{stack.server.host}:{stack.server.port}/{stack.database}"
    assert stack.run("--database-url", url, "--no-cache").returncode == 2
    assert stack.run("--database-url", url, "--snapshot", "schema/expected.json").returncode == 0
    # the first check filled the cache, which is keyed by what the models are
    assert stack.run().returncode == 0
    assert stack.run("--database-url", url).returncode == 0
    cache = list((stack.folder / ".cache" / "pap-deploy" / "schema").glob("*.json"))
    assert len(cache) == 1
    cache[0].write_text("{")
    assert stack.run().returncode == 0
    assert json.loads(cache[0].read_text())["format"] == CATALOG_FORMAT
    # other models
    (stack.folder / "app" / "models.py").write_text(MODELS.replace("String(64)", "String(65)"))
    done = stack.run("--snapshot", "schema/expected.json")
    assert done.returncode == 2
    assert "was made of other models" in done.stderr
    done = stack.run()
    assert done.returncode == 1
    assert "character varying(65)" in done.stdout


def test_a_scratch_server_elsewhere(stack: Stack, servers: Any) -> None:
    other = servers[18]
    done = stack.run("--no-cache", "--scratch-url", other.url("postgres", "postgresql"))
    assert done.returncode == 2
    assert f"The scratch server runs PostgreSQL {other.major}, the database {stack.server.major}." in done.stderr
    blank = stack.server.create("blank")
    try:
        assert stack.run("--no-cache", "--scratch-url", stack.server.url(blank, "postgresql")).returncode == 0
    finally:
        stack.server.drop(blank)


def test_the_models_are_created_in_the_encoding_of_the_database(stack: Stack) -> None:
    """Also where the server's own locale is for another one; what does not fit into it is said."""
    name = f"{stack.database}_latin"
    stack.server.sql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'")
    url = stack.server.url(name, "postgresql")
    models = stack.folder / "app" / "models.py"
    models.write_text(MODELS.replace('"true"', '"true", comment="à jour"'))
    done = stack.run("--database-url", url, "--format", "json")
    assert (done.returncode, [d["kind"] for d in json.loads(done.stdout)["differences"]]) == (1, ["table_missing"] * 2)
    models.write_text(MODELS.replace('"true"', '"true", comment="10 €"'))
    done = stack.run("--database-url", url)
    assert done.returncode == 2
    assert 'has no equivalent in encoding "LATIN1"' in done.stderr


def test_several_metadatas_and_no_name(stack: Stack) -> None:
    (stack.folder / "app" / "more.py").write_text(
        "from sqlalchemy import Column, Integer, MetaData, Table\n"
        "metadata = MetaData()\nTable('more', metadata, Column('id', Integer, primary_key=True))\n"
    )
    named = ["--models", "app.models", "--models", "app.models_config", "--models", "app.more"]
    done = stack.run(*named, models=False)
    assert done.returncode == 1
    assert "more  table_missing" in done.stdout
    assert "CREATE TABLE public.more (" in done.stdout
    stack.sql("CREATE TABLE more (id serial PRIMARY KEY)")
    assert stack.run(*named, models=False).returncode == 0
    both = ["--models", "app.models", "--models", "app.models_config:Base.metadata", "--models", "app.more:metadata"]
    assert stack.run(*both, models=False).returncode == 0


def test_a_sequence_behind_and_the_switch(stack: Stack) -> None:
    stack.sql("INSERT INTO users (id, username) VALUES (7, 'x')")
    done = stack.run()
    assert done.returncode == 1
    assert "users.id  sequence_behind" in done.stdout
    assert "next value beyond 7, the largest in the table" in done.stdout
    assert stack.run("--no-positions").returncode == 0


def test_output_to_a_file(stack: Stack) -> None:
    done = stack.run("--format", "json", "--output", "result.json")
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads((stack.folder / "result.json").read_text())["matches"] is True


def test_a_closed_pipe_is_no_traceback(stack: Stack) -> None:
    command = f"{sys.executable} {ROOT / 'check_db_schema.py'} --models app.models:Base --format json | head -c 1"
    done = subprocess.run(
        ["bash", "-c", command], cwd=stack.folder, capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": stack.url, "HOME": str(stack.folder)},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
