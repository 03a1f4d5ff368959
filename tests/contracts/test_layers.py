"""The layers of papdeploy point one way: a lower one never imports a higher one, and none of them knows Ansible."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "module_utils" / "papdeploy"


def imports() -> dict[str, set[str]]:
    """What each part (a module or a folder of the package) imports of the other parts, also inside functions."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        here = path.relative_to(PACKAGE).with_suffix("").parts
        part = found.setdefault(here[0], set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                above = here[: len(here) - node.level]
                modules = [node.module] if node.module else [alias.name for alias in node.names]
                part.update((*above, *module.split("."))[0] for module in modules)
        part.discard(here[0])
    return found


def test_no_layer_reaches_up() -> None:
    graph = imports()
    assert len(graph) > 20
    order: list[str] = []
    while len(order) < len(graph):
        ready = [part for part in graph if part not in order and graph[part] & set(graph) <= set(order)]
        assert ready, f"these import each other in a circle: {sorted(set(graph) - set(order))}"
        order += sorted(ready)
    place = {part: number for number, part in enumerate(order)}
    spine = ["core", "sites", "databases", "backup", "rollback", "phases"]
    assert sorted(spine, key=lambda part: place[part]) == spine


def test_it_knows_nothing_of_ansible() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not [name for name in names if name.split(".")[0] == "ansible"], path
