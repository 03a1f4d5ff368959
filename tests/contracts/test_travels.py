"""What is sent into the app's Python: all that runs there, nothing else, and in words that Python 3.9 understands."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from papdeploy.remote import archive
from support.module_graph import PACKAGE, imports

_IMPORT_ALL = """
import importlib, pkgutil, sys
sys.path.insert(0, sys.argv[1])
import papdeploy
names = [name for _, name, _ in pkgutil.walk_packages(papdeploy.__path__, "papdeploy.")]
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not error.name.startswith(("sqlalchemy", "alembic")):  # the app brings it
            raise
foreign = {"ansible", "docker", "requests", "yaml", "psycopg2"} & set(sys.modules)
print(len(names), sorted(foreign))
"""


def sent() -> set[str]:
    with zipfile.ZipFile(io.BytesIO(archive.travels())) as package:
        return {name.removeprefix("papdeploy/") for name in package.namelist()}


def needed(entry: str) -> set[str]:
    """The files of all modules that ``entry`` leads to, with the ``__init__`` of their folders."""
    graph, seen, todo = imports(PACKAGE), set[str](), [entry]
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += graph[module]
            folder = module.rpartition(".")[0]
            while folder:
                todo.append(f"{folder}.__init__")
                folder = folder.rpartition(".")[0]
    return {module.replace(".", "/") + ".py" for module in seen} | {"__init__.py"}


def test_what_runs_there_is_sent_and_nothing_else() -> None:
    assert len(sent()) > 50
    assert needed("remote.server") - sent() == set(), "these run in the app's Python: add them to archive.TRAVELS"
    assert sent() - needed("remote.server") == set(), "these do not: take them out of archive.TRAVELS"


@pytest.mark.parametrize("path", sorted(sent()))
def test_python_39_understands_it(path: str) -> None:
    ast.parse((PACKAGE / path).read_text(), feature_version=(3, 9))


def test_it_needs_the_standard_library_only(tmp_path: Path) -> None:
    (tmp_path / "papdeploy.zip").write_bytes(archive.travels())
    command = [sys.executable, "-I", "-S", "-c", _IMPORT_ALL, str(tmp_path / "papdeploy.zip")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split(maxsplit=1)[1].strip() == "[]"
