"""The same behaviour under SQLAlchemy 1.4, 2.0 and 2.1, psycopg2 and psycopg 3, and other Pythons."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import ROOT
from support.alembic_trees import grown, made
from support.migration_runner import Bench
from support.postgres_servers import Server

CACHE = ROOT / ".artifacts" / "compat"
SQLALCHEMY = {"1.4": "sqlalchemy>=1.4.50,<2", "2.0": "sqlalchemy>=2.0,<2.1", "2.1": "sqlalchemy>=2.1,<2.2"}
DRIVERS = {"psycopg2": "psycopg2-binary", "psycopg": "psycopg[binary]>=3.1"}
BY_DAY = (("1.4", "psycopg2"), ("2.1", "psycopg"))
PAIRS = [
    pytest.param(version, driver, marks=[] if (version, driver) in BY_DAY else pytest.mark.nightly)
    for version in SQLALCHEMY
    for driver in DRIVERS
]


def pythons() -> dict[str, str]:
    """Other interpreters at hand, by version."""
    found: dict[str, str] = {}
    for version in ("3.9", "3.10", "3.12", "3.13"):
        candidates = [shutil.which(f"python{version}") or ""]
        candidates += map(str, sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python")))
        for path in filter(None, candidates):  # a shim may be there without a Python behind it
            if subprocess.run([path, "-c", "import pip"], capture_output=True, check=False, timeout=30).returncode == 0:
                found.setdefault(version, path)
    return found


def installed(python: str, *requirements: str) -> Path:
    """A folder with just these packages, installed once.

    Skips the test where that is not possible, unless PAP_REQUIRE_VERSIONS says that it is due.
    """
    version = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, check=True
    ).stdout.strip()
    folder = CACHE / re.sub(r"[^\w.]+", "_", f"py{version}-{'-'.join(requirements)}")
    if not folder.is_dir():
        partial = folder.with_suffix(f".{os.getpid()}")
        ran = subprocess.run(
            [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", partial, *requirements],
            capture_output=True, text=True, check=False, timeout=170,
        )  # fmt: skip
        if ran.returncode:
            shutil.rmtree(partial, ignore_errors=True)
            said = f"pip cannot install {', '.join(requirements)} here: {ran.stderr.strip()[-200:]}"
            assert not os.environ.get("PAP_REQUIRE_VERSIONS"), said
            pytest.skip(said)
        try:
            partial.rename(folder)
        except OSError:  # another run was faster
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def scenario(bench: Bench, python: str, packages: list[Path], url: str, connection: bool = True) -> dict[str, Any]:
    path = os.pathsep.join(map(str, [*packages, ROOT / "module_utils", ROOT / "tests"]))
    ran = subprocess.run(
        [python, "-W", "ignore", str(ROOT / "tests" / "support" / "migration_scenario.py"), url,
         "with-connection" if connection else "without"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "TEST_URL": url},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-4000:]
    answers: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return answers


EXPECTED: dict[str, Any] = {
    "applied": ["2025_01_01_a", "2025_01_02_fill", "2025_01_03_x", "2025_01_04_alone", "2025_01_05_connection"],
    "check": {"matches": True},
    "again": False,
    "COMMIT": "COMMIT was sent (line 7)",
    "swallowed": "division by zero",
    "reverted": ["2025_01_05_connection", "2025_01_04_alone", "2025_01_03_x", "2025_01_02_fill", "2025_01_01_a"],
    "commit()": "commit() was called (line 9)",
    "driver": "commit() was called (line 7)",
}


def compare(said: dict[str, Any]) -> None:
    assert {key: said[key] for key in EXPECTED} == EXPECTED
    assert said["statements"]["2025_01_01_a"] == 1 and said["statements"]["2025_01_05_connection"] >= 5
    assert said["second"].startswith("it opened a second connection (psycopg")
    assert said["error"].startswith("DataError: (psycopg")


@pytest.mark.parametrize(("version", "driver"), PAIRS)
def test_sqlalchemy_and_driver(server: Server, database: str, version: str, driver: str) -> None:
    bench = Bench(server, database)
    packages = [installed(sys.executable, SQLALCHEMY[version]), installed(sys.executable, DRIVERS[driver])]
    url = server.url(database, f"postgresql+{driver}")
    if (version, driver) == ("1.4", "psycopg"):  # that SQLAlchemy has no such dialect: db.execute is enough for most
        said = scenario(bench, sys.executable, packages, url, connection=False)
        assert said["applied"] == EXPECTED["applied"][:-1] and said["COMMIT"] == EXPECTED["COMMIT"]
        assert "has no dialect for psycopg" in said["no dialect"]
        return
    compare(scenario(bench, sys.executable, packages, url))


@pytest.mark.parametrize("version", ["3.9", pytest.param("3.13", marks=pytest.mark.nightly)])
def test_python(servers: dict[int, Server], version: str) -> None:
    python = pythons().get(version)
    if not python:
        pytest.skip(f"there is no Python {version} here")
    server = servers[16]
    name = server.create("python")
    packages = [installed(python, SQLALCHEMY["2.0"], DRIVERS["psycopg2"])]
    try:
        compare(scenario(Bench(server, name), python, packages, server.url(name, "postgresql")))
    finally:
        server.drop(name)


_TREE = """
import json, sys
from papdeploy.migrations import handlers
request = {"url": sys.argv[1], "release": "r1", "who": "tester", "alembic": {"ini": "alembic.ini", "target": "heads"}}
status, plan, apply, revert = (handlers.CALLS["migrations." + name] for name in ("status", "plan", "apply", "revert"))
guess = [name for name, sql in plan(request, print)["sql"].items() if not sql["exact"]]
done = [each["identity"] for each in apply(request, lambda _: None)["applied"]]
pending = status(request, print)["pending"]
back = [each["identity"] for each in revert({**request, "since_release": "r1"}, lambda _: None)["reverted"]]
print(json.dumps([guess, done, pending, back]))
"""


@pytest.mark.parametrize(
    ("python", "requirements"),
    [
        ("", ["alembic==1.8.1", SQLALCHEMY["1.4"]]),
        pytest.param("", ["alembic==1.13.1", SQLALCHEMY["2.0"]], marks=pytest.mark.nightly),
        pytest.param("3.9", ["alembic>=1.16,<1.17", SQLALCHEMY["2.0"]], marks=pytest.mark.nightly),
    ],
)
def test_alembic(servers: dict[int, Server], tmp_path: Path, python: str, requirements: list[str]) -> None:
    """A tree under old versions of Alembic: what is private there has stayed the same."""
    found = pythons().get(python) if python else sys.executable
    if not found:
        pytest.skip(f"there is no Python {python} here")
    tree = made(tmp_path / "release")
    grown(tree)
    name = servers[18].create("alembic")
    url = servers[18].url(name, "postgresql")
    packages = [installed(found, *requirements), installed(found, DRIVERS["psycopg2"]), ROOT / "module_utils"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, packages)), "DATABASE_URL": url}
    ran = subprocess.run([found, "-W", "ignore", "-c", _TREE, url], cwd=tree.folder, env=environment,
                         capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-4000:]
    guess, done, pending, back = json.loads(ran.stdout.splitlines()[-1])
    assert guess == ["base1", "merge1", "orm1"] and pending == [] and len(done) == 7 and back == done[::-1]
    left = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    assert servers[18].sql(left, name) == []
    servers[18].drop(name)
