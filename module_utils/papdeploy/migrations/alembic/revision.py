"""One revision file, read as the runner reads its own migrations."""

from __future__ import annotations

import ast
import dis
import linecache
import os
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import python_files
from ..files import MODERN, MigrationFile, checksum
from .home import Home, Revision

# A statement by which a revision ends the transaction that Alembic has begun: the way of before autocommit_block().
_ENDS_TRANSACTION = re.compile(r"\s*(?:COMMIT|END)(?:\s+(?:WORK|TRANSACTION))?\s*;?\s*", re.IGNORECASE)


def read(home: Home, script: Any) -> MigrationFile:
    """The migration that a revision is."""
    module = script.module
    functions = {name: getattr(module, name, None) for name in ("upgrade", "downgrade")}
    code = {name: found.__code__ for name, found in functions.items() if isinstance(found, types.FunctionType)}
    reached = {name: list(_reached(each, module)) for name, each in code.items()}
    block = {name for name, codes in reached.items() if any("autocommit_block" in each.co_names for each in codes)}
    ends = {name for name, codes in reached.items() if any(map(_ends_transaction, codes))} - block
    path = Path(str(script.path))
    text = path.read_text(encoding="utf-8") if path.suffix == ".py" else ""
    revision = Revision(home, script, frozenset(block), frozenset(ends))
    return MigrationFile(
        identity=script.revision,
        source=text,
        code=code.get("upgrade") or compile("", str(path), "exec"),
        checksum=checksum(text or path.read_bytes().hex()),
        dated=None,
        flavour=MODERN,
        transactional=revision.transactional("upgrade"),
        requires=tuple(sorted({*script._all_down_revisions})),
        reversible=_reversible(code, text),
        description=(script.doc or "").strip(),
        author="",
        path=str(path),
        revision=revision,
    )


def _reversible(code: dict[str, types.CodeType], text: str) -> bool:
    """Not where downgrade() is not there, does nothing although upgrade() does, or begins by raising."""
    down = code.get("downgrade")
    if down is None or (_empty(down) and not ("upgrade" in code and _empty(code["upgrade"]))):
        return False
    return "raise" not in text or not python_files.gives_up(text)


def _empty(code: types.CodeType) -> bool:
    return not code.co_names and not any(isinstance(constant, types.CodeType) for constant in code.co_consts)


def _reached(code: types.CodeType, module: types.ModuleType) -> Iterator[types.CodeType]:
    """A function's code, and that of the functions of the project that it may call by name."""
    seen, todo = set[types.CodeType](), [(code, vars(module))]
    while todo:
        one, names = todo.pop()
        if one in seen:
            continue
        seen.add(one)
        yield one
        todo += [(constant, names) for constant in one.co_consts if isinstance(constant, types.CodeType)]
        found = [names.get(name) for name in one.co_names]
        inside = [vars(each).get(name) for each in found if isinstance(each, types.ModuleType) for name in one.co_names]
        todo += [
            (each.__code__, each.__globals__)
            for each in (*found, *inside)
            if isinstance(each, types.FunctionType)
            and (each.__code__.co_filename == code.co_filename or _of_the_project(each.__code__.co_filename))
        ]


def _of_the_project(path: str) -> bool:
    """Not of Python, nor of a package that is installed, as Alembic's own functions are."""
    return not path.startswith(("<", _PYTHON)) and "/site-packages/" not in path and "/dist-packages/" not in path


_PYTHON = str(Path(os.__file__).parent)


def _ends_transaction(code: types.CodeType) -> bool:
    if not any(isinstance(text, str) and _ENDS_TRANSACTION.fullmatch(text) for text in code.co_consts):
        return False
    lines = {line for _, line in dis.findlinestarts(code)}
    linecache.checkcache(code.co_filename)
    sources = ast.parse("".join(linecache.getlines(code.co_filename)))
    return any(_sends_end(node) and not lines.isdisjoint(_lines(node)) for node in ast.walk(sources))


def _lines(node: ast.AST) -> range:
    first = getattr(node, "lineno", 0)
    return range(first, (getattr(node, "end_lineno", None) or first) + 1)


def _sends_end(node: ast.AST) -> bool:
    """Whether this is a call that sends COMMIT: the word alone says nothing, a column may be called so."""
    if not isinstance(node, ast.Call) or _name(node.func) not in ("execute", "exec_driver_sql"):
        return False
    sent = next(iter((*node.args, *(keyword.value for keyword in node.keywords))), None)
    while isinstance(sent, ast.Call):  # text("COMMIT"), and text("COMMIT").execution_options(…)
        wraps = _name(sent.func) == "text" and sent.args
        sent = sent.args[0] if wraps else sent.func.value if isinstance(sent.func, ast.Attribute) else None
    return (
        isinstance(sent, ast.Constant)
        and isinstance(sent.value, str)
        and _ENDS_TRANSACTION.fullmatch(sent.value) is not None
    )


def _name(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
