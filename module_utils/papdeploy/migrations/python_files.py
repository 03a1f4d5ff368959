"""Migrations in Python, read without running them."""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ..core.errors import Refused

_SETTINGS = frozenset({"requires", "transactional"})
_NOT_PLAIN = 0x20 | 0x80 | 0x200  # inspect.CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR: a call runs nothing


@dataclass(frozen=True)
class Content:
    """What a migration says of itself. ``modern``: it has ``upgrade(db)``, and is no legacy script. ``remarks``: its
    docstring."""

    code: types.CodeType
    modern: bool
    transactional: bool
    requires: tuple[str, ...]
    reversible: bool
    remarks: str


def parse(source: str, where: str, identity: str, *, claims: bool) -> Optional[Content]:
    """Read a file; None if it is no migration. One that ``claims`` to be one is refused without an entry point."""
    try:
        code = compile(source, where, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        if not claims and not re.search(r"^def\s+(?:upgrade|run_migration)\b", source, re.M):
            return None
        line = getattr(error, "lineno", None)
        raise Refused(
            f"{where} is not valid Python{f' (line {line})' if line else ''}: {getattr(error, 'msg', error)}.",
            hint="Correct the file; nothing was run.",
            identity=identity,
        ) from None
    functions = {item.co_name: item for item in code.co_consts if isinstance(item, types.CodeType)}
    upgrade = functions.get("upgrade")
    if upgrade is None and "run_migration" not in functions:
        if claims:
            raise Refused(
                f"{where} is named like a migration but has neither upgrade(db) nor run_migration().",
                hint="Write upgrade(db) as in migration_template.py, or give the file an undated name.",
                identity=identity,
            )
        return None
    if upgrade is not None and {"revision", "down_revision"} <= {*code.co_names}:
        raise Refused(
            f"{where} is a revision of an Alembic tree.",
            hint="Alembic trees are run as they are, from the release: pap_alembic: {ini: alembic.ini}. Name only"
            " folders with migrations of pap-deploy in pap_migrations_dirs.",
            identity=identity,
        )
    if upgrade is not None and (upgrade.co_argcount != 1 or upgrade.co_flags & _NOT_PLAIN):
        raise Refused(
            f"{where}: upgrade() must be a plain function (no async, no yield) of exactly one argument, db.",
            hint="def upgrade(db): … as in migration_template.py.",
            identity=identity,
        )
    # The syntax tree costs as much as the rest together, and most files need it only for these.
    tree = ast.parse(source) if not _SETTINGS.isdisjoint(code.co_names) or "raise" in source else None
    constants = _constants(tree) if tree is not None else {}
    return Content(
        code=code,
        modern=upgrade is not None,
        transactional=_transactional(constants, where) if upgrade is not None else False,
        requires=_requires(constants, where),
        reversible=upgrade is not None and "downgrade" in functions and not _gives_up(tree),
        remarks=_docstring(code),
    )


def _docstring(code: types.CodeType) -> str:
    """The docstring of a module from its code: the first constant, if the first thing that happens is storing it."""
    text = code.co_consts[0] if code.co_consts and code.co_names[:1] == ("__doc__",) else ""
    return text if isinstance(text, str) else ""


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            found.update({target.id: node.value for target in node.targets if isinstance(target, ast.Name)})
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found[node.target.id] = node.value
    return found


def _literal(constants: Mapping[str, ast.expr], name: str, where: str, default: Any) -> Any:
    if name not in constants:
        return default
    try:
        return ast.literal_eval(constants[name])
    except ValueError:
        raise Refused(f"{where}: {name} must be written as a plain value, not computed.") from None


def _transactional(constants: Mapping[str, ast.expr], where: str) -> bool:
    value = _literal(constants, "transactional", where, True)
    if not isinstance(value, bool):
        raise Refused(f"{where}: transactional must be True or False, not {value!r}.")
    return value


def _requires(constants: Mapping[str, ast.expr], where: str) -> tuple[str, ...]:
    value = _literal(constants, "requires", where, [])
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise Refused(f"{where}: requires must be a list of migration names.")
    return tuple(value)


def gives_up(source: str) -> bool:
    """Whether downgrade() of a source begins by raising."""
    return _gives_up(ast.parse(source))


def _gives_up(tree: Optional[ast.Module]) -> bool:
    """Whether downgrade() begins by raising. ``tree`` is None for a file that raises nowhere."""
    for node in tree.body if tree is not None else ():
        if isinstance(node, ast.FunctionDef) and node.name == "downgrade":
            body = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
            return bool(body) and isinstance(body[0], ast.Raise)
    return False
