"""The layers of papdeploy: modules lie in the folder of their subject, nothing is imported in a circle, nothing knows Ansible.

What counts as an import: also one inside a function and one under ``TYPE_CHECKING``.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from support.module_graph import PACKAGE, circle, imports

CIRCLE = (
    "these import each other: move what both need into a module, or a folder, below them (docs/architecture.md, Layers)"
)


def by_folder(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same between the folders of the package."""
    folders: dict[str, set[str]] = {}
    for name, targets in graph.items():
        folder = name.split(".")[0]
        folders.setdefault(folder, set()).update(t.split(".")[0] for t in targets)
        folders[folder].discard(folder)
    return folders


def test_no_module_is_imported_in_a_circle() -> None:
    graph = imports(PACKAGE)
    assert len(graph) > 200 and sum(map(len, graph.values())) > 500
    assert circle({name: targets for name, targets in graph.items() if not name.endswith("__init__")}) == [], CIRCLE


def test_no_folder_reaches_up() -> None:
    folders = by_folder(imports(PACKAGE))
    assert circle(folders) == [], CIRCLE
    place = {folder: number for number, folder in enumerate(TopologicalSorter(folders).static_order())}
    spine = ["core", "sites", "databases", "backup", "rollback", "phases"]
    assert sorted(spine, key=lambda folder: place[folder]) == spine, (
        "a folder imports one that is above it: turn that around"
    )


def test_a_module_lies_in_the_folder_of_its_subject() -> None:
    there = sorted(path.name for path in PACKAGE.glob("*.py"))
    assert there == ["__init__.py", "__main__.py"], "move the others into the folder of their subject"


@pytest.mark.parametrize(
    "line",
    [
        "from .b import g",
        "def f():\n    from .b import g",
        "from . import b",
        "if TYPE_CHECKING:\n    from .b import g",
    ],
)
def test_a_planted_circle_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.py").write_text(line)
    (tmp_path / "sub" / "b.py").write_text("from ..other.c import f")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "c.py").write_text("from ..sub import a")
    found = circle(imports(tmp_path))
    assert sorted(set(found)) == ["other.c", "sub.a", "sub.b"]
    assert circle(by_folder(imports(tmp_path)))


def test_it_knows_nothing_of_ansible() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not [name for name in names if name.split(".")[0] == "ansible"], (
                f"{path} imports Ansible: that belongs into library/ or plugins/"
            )
