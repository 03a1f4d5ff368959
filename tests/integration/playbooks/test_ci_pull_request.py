"""The check of a pull request, run as a pipeline runs it: in a git repository, on a real server, by its command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from papdeploy import receipts
from papdeploy.core.clock import now
from papdeploy.releases.version import Version
from support import ROOT
from support.postgres_servers import Server

SCRIPT = ROOT / "docs" / "ci" / "pull_request.py"

HEAD = '"""{name}.\n\nDate: 2026-0{month}-01\n"""\n\n\ndef upgrade(db):\n'
GOOD = HEAD.format(name="Add a note", month=2) + (
    '    db.execute("ALTER TABLE users ADD COLUMN note text")\n\n\n'
    'def downgrade(db):\n    db.execute("ALTER TABLE users DROP COLUMN note")\n'
)
DATABASE = "from sqlalchemy.orm import declarative_base\n\nBase = declarative_base()\n"
MODELS = """
from sqlalchemy import Column, Integer, Text

from app.database import Base


class User(Base):
    __tablename__ = "users"
    id = Column(Integer, primary_key=True)
    name = Column(Text)
    note = Column(Text)
"""
OF_THE_APP = ["--models", "app.models", "--models", "app.database:Base"]


class Repository:
    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        (folder / "migrations").mkdir()
        self.write(
            "2026_01_01_users.py",
            HEAD.format(name="Users", month=1)
            + '    db.execute("CREATE TABLE users (id serial PRIMARY KEY, name text)")\n\n\n'
            "def downgrade(db):\n    db.execute('DROP TABLE users')\n",
        )
        (folder / "app").mkdir()
        (folder / "app" / "database.py").write_text(DATABASE)
        (folder / "app" / "models.py").write_text(MODELS)
        self.git("init", "-q", "-b", "main")
        self.git("add", ".")
        self.git("commit", "-q", "-m", "base")
        self.git("checkout", "-q", "-b", "feature")

    def git(self, *words: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x@localhost"]
        subprocess.run(["git", "-C", self.folder, *who, *words], check=True)

    def write(self, name: str, text: str) -> None:
        (self.folder / "migrations" / name).write_text(text)

    def check(self, *words: str, base: str = "main") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, SCRIPT, "--base", base, "--database-url", self.url, *words],
            cwd=self.folder, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip


@pytest.fixture
def repository(servers: dict[int, Server], tmp_path: Path) -> Iterator[Repository]:
    server = servers[16]
    name = server.create()
    yield Repository(tmp_path, server.url(name, "postgresql"))
    server.drop(name)


@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_the_pipelines_run_it_so(repository: Repository, name: str) -> None:
    """The commands of the pipeline itself, in a shell like the runner's, with pap-deploy checked out beside the app."""
    pipeline = yaml.safe_load((SCRIPT.parent / f"{name}-pull-request.yml").read_text())
    if name == "github":
        steps = pipeline["jobs"]["migrations"]["steps"]
        commands = [step["run"] for step in steps if "pull_request.py" in step.get("run", "")]
    else:
        commands = pipeline["migrations"]["script"]
    script = "\n".join(commands)
    (stated,) = re.findall(r"postgresql://\S+", script)
    repository.git("remote", "add", "origin", str(repository.folder))
    repository.git("fetch", "-q", "origin")
    (repository.folder / "pap-deploy").symlink_to(ROOT)
    repository.write("2026_02_01_note.py", GOOD)
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script.replace(stated, repository.url)], cwd=repository.folder,
        env={**os.environ, "PYTHONPATH": ".", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
             "GITHUB_BASE_REF": "main", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the migrations are good" in done.stdout
    comment = (repository.folder / "plan.md").read_text()
    assert "- `2026_02_01_note.py`" in comment and "ADD COLUMN note text" in comment
    if name == "gitlab":
        assert json.loads((repository.folder / "quality.json").read_text()) == []


def test_nothing_new_is_good(repository: Repository) -> None:
    assert repository.check().returncode == 0


@pytest.mark.parametrize(
    ("code", "text", "said"),
    [
        (3, HEAD.format(name="x", month=2) + '    db.execute("ALTER TABLE nothing ADD COLUMN a int")\n', "nothing"),
        (4, GOOD.split("def downgrade")[0], "revert"),
        (4, GOOD.replace("DROP COLUMN note", "ALTER COLUMN note SET DEFAULT 'x'"), "another schema: table users"),
        (
            5,
            GOOD.replace("def upgrade(db):\n", "def upgrade(db):\n    import os, pathlib\n"
                         "    mark = pathlib.Path(os.environ['MARK'])\n    again = mark.exists()\n    mark.touch()\n")
            .replace("ADD COLUMN note text\"", "ADD COLUMN note \" + ('int' if again else 'text')"),
            "applied again it gives another schema",
        ),
    ],
    ids=["does-not-apply", "cannot-revert", "reverts-to-something-else", "is-not-repeatable"],
)  # fmt: skip
def test_each_way_to_fail_has_its_exit_code(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, code: int, text: str, said: str
) -> None:
    monkeypatch.setenv("MARK", str(repository.folder / "mark"))
    repository.write("2026_02_01_note.py", text)
    done = repository.check("--format", "github")
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout and "::error file=migrations/2026_02_01_note.py" in done.stdout


def test_lint_annotates_the_line_and_the_rest_is_looked_at(repository: Repository) -> None:
    repository.write("2026_02_01_note.py", GOOD.replace("ADD COLUMN note text", "ALTER COLUMN name SET NOT NULL"))
    words = ["--fail-on", "warning", "--code-quality", "quality.json", "--comment", "plan.md"]
    done = repository.check("--format", "github", *words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "::warning file=migrations/2026_02_01_note.py,line=8,title=not-null-scans::" in done.stdout
    assert "::error file=migrations/2026_02_01_note.py,line=1::revert: " in done.stdout, "its downgrade fails too"
    first = json.loads((repository.folder / "quality.json").read_text())[0]
    assert first["location"] == {"path": "migrations/2026_02_01_note.py", "lines": {"begin": 8}}
    assert "SET NOT NULL" in (repository.folder / "plan.md").read_text()


def test_what_was_merged_must_not_change(repository: Repository) -> None:
    path = repository.folder / "migrations" / "2026_01_01_users.py"
    path.write_text(path.read_text().replace("name text", "name varchar(10)"))
    repository.write("2026_02_01_note.py", GOOD)
    done = repository.check(*OF_THE_APP)
    assert done.returncode == 7 and "2026_01_01_users.py" in done.stdout
    assert done.stdout.count("error:") == 1, "the new one is good, and was looked at"


def test_models_that_do_not_match(repository: Repository) -> None:
    repository.write("2026_02_01_note.py", GOOD.replace("note", "remark"))
    done = repository.check(*OF_THE_APP)
    assert done.returncode == 6, done.stdout + done.stderr
    assert "users.note" in done.stdout


def test_what_cannot_be_checked_is_no_success(repository: Repository) -> None:
    assert repository.check(base="nowhere").returncode == 2
    repository.write("2026_02_01_note.py", GOOD)
    assert repository.check("--previous", "exit 3").returncode == 2
    repository.url = repository.url.replace("postgres:", "postgres:wrong", 1)
    done = repository.check()
    assert done.returncode == 2, done.stdout + done.stderr


@pytest.mark.nightly
def test_the_receipt_of_staging_is_for_exactly_this(
    repository: Repository, servers: dict[int, Server], tmp_path: Path
) -> None:
    name = repository.url.rpartition("/")[2]
    private, public = receipts.generate()
    (tmp_path / "key.pub").write_text(public)
    folder = tmp_path / "receipts"
    words = [*OF_THE_APP, "--receipts", str(folder), "--receipt-key", str(tmp_path / "key.pub"),
             "--release", "sha256:abc"]  # fmt: skip
    repository.write("2026_02_01_note.py", GOOD)
    folder.mkdir()
    done = repository.check(*words)
    assert done.returncode == 8 and "no receipt of staging at all" in done.stdout, done.stdout + done.stderr

    # What the deploy to staging finds out beside the models.
    program = (
        "from papdeploy.schema.handlers import CALLS; "
        "print(CALLS['schema.ddl']({'models': ['app.models', 'app.database:Base'], 'server_version': 160000}, print)['digest'])"
    )
    digest = subprocess.run(
        [sys.executable, "-c", program], cwd=repository.folder, env={**os.environ, "PYTHONPATH": "."}, check=True,
        capture_output=True, text=True,
    ).stdout.split()[-1]  # fmt: skip
    texts = {path.name: path.read_text() for path in (repository.folder / "migrations").glob("*.py")}
    subject = receipts.subject(
        texts, models_digest=digest, version=Version("pap:2", "sha256:abc"), server_version=160004
    )
    made = receipts.make(subject, release="r7", stack="pap", environment="staging", at=now())
    receipts.write(folder, receipts.sign(made, private))
    repository.url = repository.url.replace(name, servers[16].create("again"))
    done = repository.check(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "staging passed with exactly this, release r7" in done.stdout
