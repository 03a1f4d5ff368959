"""Plain data is typed: reads by string key and mappings of anything in signatures become fewer, never more."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from support.module_graph import PACKAGE

# Lower these with what you convert; core/records.py says how records come in and leave.
READS_BY_KEY = 115
UNTYPED_MAPPINGS = 59

_UNTYPED = re.compile(r"(dict|Mapping|MutableMapping)\[str, (Any|object)\]|\bRow\b")


def reads_by_key(tree: ast.AST) -> Iterator[ast.expr]:
    """``x["name"]`` and ``x.get("name")``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            key: ast.expr = node.slice
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and node.args
        ):
            key = node.args[0]
        else:
            continue
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield node


def untyped_mappings(tree: ast.AST) -> Iterator[ast.expr]:
    """Annotations of parameters and results that say ``dict[str, Any]`` or the like."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            args = node.args
            parameters = (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg)
            annotations = [parameter.annotation for parameter in parameters if parameter is not None]
            for annotation in (*annotations, node.returns):
                if annotation is not None and _UNTYPED.search(ast.unparse(annotation)):
                    yield annotation


def trees() -> list[ast.Module]:
    return [ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))]


@pytest.mark.parametrize(("count", "ceiling"), [(reads_by_key, READS_BY_KEY), (untyped_mappings, UNTYPED_MAPPINGS)])
def test_they_only_become_fewer(count: object, ceiling: int) -> None:
    assert callable(count)
    found = sum(1 for tree in trees() for _ in count(tree))
    assert found <= ceiling, f"{found} instead of {ceiling}: make it a record (a frozen dataclass), see core/records.py"
    assert found > ceiling - 20, f"only {found} are left: lower the ceiling ({ceiling})"


def test_both_are_counted() -> None:
    """Planted ones are found, and what is typed is not."""
    planted = ast.parse(
        'def f(a: dict[str, Any], *, b: Row) -> Mapping[str, object]:\n    return a["x"], b.get("y"), c[0]\n'
    )
    assert len(list(untyped_mappings(planted))) == 3
    assert len(list(reads_by_key(planted))) == 2
    typed = ast.parse('def f(a: dict[str, str], b: Narrow) -> int:\n    a["x"] = b.x\n    return a[b.y]\n')
    assert not list(untyped_mappings(typed)) and not list(reads_by_key(typed))
