"""The CI steps, tested by running their commands: the GitHub action's and the GitLab job's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ROOT

ACTION = ROOT / ".github" / "actions" / "validate-database-schema"
GITLAB = ROOT / "docs" / "ci" / "gitlab-schema.yml"
MODELS = """
from sqlalchemy import Column, Integer, String
from sqlalchemy.orm import declarative_base
Base = declarative_base()

class User(Base):
    __tablename__ = "users"
    id = Column(Integer, primary_key=True)
    email = Column(String(50), nullable=False)
"""
BUILD = """
import os, psycopg2
url = os.environ["DATABASE_URL"]
connection = psycopg2.connect(url)
with connection, connection.cursor() as cursor:
    cursor.execute(open("schema.sql").read())
"""
GOOD = "CREATE TABLE users (id serial PRIMARY KEY, email varchar(50) NOT NULL)"
BAD = "CREATE TABLE users (id serial PRIMARY KEY, email varchar(50))"


@pytest.fixture
def project(servers: Any, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    server = servers[16]
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    (tmp_path / "app" / "models.py").write_text(MODELS)
    (tmp_path / "build.py").write_text(BUILD)
    name = server.create("ci")
    yield tmp_path, server.url(name, "postgresql")
    server.drop(name)


def step(folder: Path, url: str, **inputs: str) -> tuple[int, str]:
    """Run the action's step as the runner does: inputs into the environment, then the command in bash."""
    action = yaml.safe_load((ACTION / "action.yml").read_text())
    given = {"models": "app.models:Base", "database-url": url, "python": sys.executable, **inputs}
    unknown = set(given) - set(action["inputs"])
    assert not unknown
    for name, spec in action["inputs"].items():
        given.setdefault(name, spec.get("default", ""))
    (only,) = action["runs"]["steps"]
    environment = {
        key: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: given[m[1]], value) for key, value in only["env"].items()
    }
    environment.update(
        PATH=os.environ["PATH"],
        HOME=str(folder),
        GITHUB_ACTION_PATH=str(ACTION),
        GITHUB_STEP_SUMMARY=str(folder / "summary.md"),
    )
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", only["run"]],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_the_action_passes_annotates_and_says_when_it_cannot(project: tuple[Path, str]) -> None:
    folder, url = project
    build = f"{sys.executable} build.py"
    (folder / "schema.sql").write_text(GOOD)
    code, output = step(folder, url, build=build)
    assert code == 0, output
    assert "Database matches the models (1 table)." in output
    (folder / "schema.sql").write_text("ALTER TABLE users ALTER email DROP NOT NULL; CREATE TABLE legacy_x ()")
    code, output = step(folder, url, build=build, arguments="--ignore legacy_*", **{"sarif-file": "schema.sarif"})
    assert code == 1
    assert "::error file=app/models.py,line=6,title=Schema%3A column_not_null users.email::" in output
    assert "legacy_x" not in output
    assert "users.email  column_not_null" in (folder / "summary.md").read_text()
    assert json.loads((folder / "schema.sarif").read_text())["runs"][0]["results"][0]["ruleId"] == "column_not_null"
    code, output = step(folder, url, arguments="--ignore legacy_*", **{"fail-on": "never"})
    assert code == 0
    code, output = step(folder, url, build="false")
    assert code == 2
    assert "::error title=Validate Database Schema::The database could not be built" in output
    code, output = step(folder, url, models="app.nothing")
    assert code == 2
    assert "There is no module 'app.nothing'" in output
    assert "::error title=Validate Database Schema::The database could not be checked" in output


@pytest.mark.parametrize(("schema", "code"), [(GOOD, 0), (BAD, 1)], ids=["matches", "differs"])
def test_the_gitlab_job(project: tuple[Path, str], schema: str, code: int) -> None:
    folder, url = project
    (folder / "schema.sql").write_text(schema)
    (folder / "pap-deploy").symlink_to(ROOT)
    (job,) = yaml.safe_load(GITLAB.read_text()).values()
    variables = {
        **job["variables"], "DATABASE_URL": url, "PAP_MODELS": "--models app.models:Base", "PAP_BUILD": "python build.py",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder),
    }  # fmt: skip
    # the runner joins the lines into one script that ends at the first failure
    script = "set -eo pipefail\n" + "\n".join(job["script"])
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=variables, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stderr
    suite = ET.parse(folder / job["artifacts"]["reports"]["junit"]).getroot()
    assert suite.get("failures") == str(code)
    assert ("users.email  column_not_null" in done.stdout) == bool(code)
