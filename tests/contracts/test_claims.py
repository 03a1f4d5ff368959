"""Only what measures the live database may say that nothing happened to it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from support import ROOT

CLAIM = re.compile(
    r"nothing (?:was|is|has|had)(?: been)? (?:changed|touched)|(?:not|n't) (?:been )?touched|\bunchanged\b",
    re.IGNORECASE,
)
# What these say is about a file of migrations, a swap of names, or what they have compared themselves.
COMPARED = {"phases/live_check.py"}


def texts(path: Path) -> Iterator[str]:
    """What a program may say: its string constants, docstrings aside; of YAML every line that is no comment."""
    if path.suffix != ".py":
        yield from (line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
        return
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_only_the_claim_module_says_that_nothing_was_changed() -> None:
    package = ROOT / "module_utils" / "papdeploy"
    paths = [*package.rglob("*.py"), *(ROOT / "playbooks").rglob("*.yml"), *(ROOT / "roles").rglob("*.yml")]
    assert len(paths) > 200
    said = [
        f"{path.relative_to(ROOT)}: {text.strip()}"
        for path in paths
        if str(path.relative_to(package) if path.is_relative_to(package) else path) not in COMPARED
        for text in texts(path)
        if CLAIM.search(text)
    ]
    assert said == [], (
        "only phases/live_check.py measures this: say what was not done instead (no migration had begun, …)"
    )
