"""What the modules of papdeploy import of each other: also inside functions and under ``TYPE_CHECKING``."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "module_utils" / "papdeploy"


def imports(package: Path) -> dict[str, set[str]]:
    """What each module imports of the others, by dotted name below ``package``.

    A package's ``__init__`` only hands on names, so it is a module of its own called ``<folder>.__init__``.
    """
    modules = {".".join(path.relative_to(package).with_suffix("").parts): path for path in package.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        here = name.split(".")
        wanted = found.setdefault(name, set())
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            base = [*here[: len(here) - node.level], *(node.module or "").split(".")]
            full = ".".join(filter(None, base))
            for alias in node.names:
                names = [f"{full}.{alias.name}".strip("."), full, f"{full}.__init__".strip(".")]
                wanted.update([target for target in names if target in modules and target != name][:1])
    return found


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules of one circle, first and last the same; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []
