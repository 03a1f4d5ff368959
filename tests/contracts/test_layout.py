"""Where tests live: those of a subject in its folder, what several share in ``tests/support``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from support import ROOT

TESTS = ROOT / "tests"
FOLDERS = ("contracts", "integration", "nightly", "scenarios", "support", "unit")
FILES = sorted(path for folder in FOLDERS for path in (TESTS / folder).rglob("*.py"))


@pytest.mark.parametrize("kind", ["unit", "integration"])
def test_every_test_lies_in_the_folder_of_its_subject(kind: str) -> None:
    astray = [path.name for path in (TESTS / kind).glob("*.py")]
    assert astray == [], f"move them to tests/{kind}/<subject>/, helpers to tests/support/"
    assert [path.name for path in TESTS.glob("*.py")] == ["conftest.py"], "move the others into a folder of tests/"


def test_helpers_are_imported_from_where_they_are() -> None:
    missing = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            missing += [f"{path.relative_to(ROOT)}: {name}" for name in names if not _exists(name)]
    assert missing == [], "no such module: helpers are imported from the package support (tests/support/)"


def test_what_is_parametrized_is_an_argument() -> None:
    """Otherwise the file cannot be collected, and none of its tests runs."""
    unknown = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                arguments = {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
                given = {name for decorator in node.decorator_list for name in _parametrized(decorator)}
                unknown += [f"{path.relative_to(ROOT)}: {node.name}: {name}" for name in sorted(given - arguments)]
    assert unknown == [], (
        "a parametrized name that the test function does not take: add the argument, or correct the name"
    )


def _parametrized(decorator: ast.expr) -> list[str]:
    """The names that a ``pytest.mark.parametrize`` gives values to."""
    if not (isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.parametrize"):
        return []
    names = ast.literal_eval(decorator.args[0])
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)


def _exists(name: str) -> bool:
    """Helpers are in the package ``support``; other packages are ruff's and mypy's business."""
    top = name.split(".")[0]
    if top in ("support", "tests"):
        return any(_file(base.joinpath(*name.split("."))) for base in (TESTS, ROOT))
    return not (top.startswith("test_") or "support" in top or _file(TESTS / "support" / top))


def _file(path: Path) -> bool:
    return path.with_suffix(".py").is_file() or path.is_dir()
