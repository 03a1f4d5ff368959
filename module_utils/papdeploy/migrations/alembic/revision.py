"""One revision file, read as the runner reads its own migrations."""

from __future__ import annotations

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
    if down is None or (_empty(down) and not _empty(code["upgrade"])):
        return False
    return "raise" not in text or not python_files.gives_up(text)


def _empty(code: types.CodeType) -> bool:
    return not code.co_names and not any(isinstance(constant, types.CodeType) for constant in code.co_consts)


def _reached(code: types.CodeType, module: types.ModuleType) -> Iterator[types.CodeType]:
    """A function's code, and that of the functions of the same file that it may call."""
    seen, todo = set[types.CodeType](), [code]
    while todo:
        one = todo.pop()
        if one in seen:
            continue
        seen.add(one)
        yield one
        todo += [constant for constant in one.co_consts if isinstance(constant, types.CodeType)]
        for name in one.co_names:
            found = vars(module).get(name)
            if isinstance(found, types.FunctionType) and found.__code__.co_filename == code.co_filename:
                todo.append(found.__code__)


def _ends_transaction(code: types.CodeType) -> bool:
    return any(isinstance(text, str) and _ENDS_TRANSACTION.fullmatch(text) for text in code.co_consts)
