"""The SQL of a migration as far as its source tells, without running anything; a revision of an Alembic tree is run
where it reaches nothing (``alembic.offline``).

It is exact only where ``upgrade(db)`` is a straight line of ``db.execute`` calls with constant text; wherever the
migration asks the database, branches, or computes, the answer says that it is a guess and why.
"""

from __future__ import annotations

import ast
import contextlib
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from ..sql import statements as sql
from . import beside
from .files import SCRIPT, MigrationFile
from .planned_sql import Located, StaticSql

MAX_UNROLLED = 200
_QUERIES = {"has_table", "has_column", "has_index", "has_constraint", "rows", "scalar"}
_LOOKS_LIKE_SQL = re.compile(
    r"^\s*(?:alter|create|drop|update|insert|delete|comment|grant|revoke|truncate|do|select|with|reindex|vacuum)\s",
    re.IGNORECASE,
)


class _Unknown(Exception):
    """An expression whose value the source alone does not give."""


def prepare(migrations: Sequence[MigrationFile], function: str = "upgrade") -> None:
    """Read the revisions of an Alembic tree together: each needs a process, and one will do for all."""
    revisions = [migration for migration in migrations if migration.revision is not None]
    if revisions:
        from .alembic import offline

        offline.read(revisions, function)


def sql_of(migration: MigrationFile, function: str = "upgrade") -> StaticSql:
    """The SQL that ``function`` of ``migration`` seems to send."""
    if migration.revision is not None:
        from .alembic import offline

        sent = offline.sent_by(migration, function)
        return StaticSql([*sent.statements], [sent.why] if sent.why else [], [*sent.lines])
    tree = migration.tree
    if migration.flavour == SCRIPT:
        script = StaticSql(reasons=["a legacy script; this is the SQL text found in it"])
        for child in ast.walk(tree):
            if isinstance(child, ast.Constant) and isinstance(child.value, str) and _LOOKS_LIKE_SQL.match(child.value):
                script.add(textwrap.dedent(child.value).strip(), child.lineno)
        return script
    reader = _Reader(tree, migration.path)
    node = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function), None)
    if node is None:
        return StaticSql(reasons=[f"there is no {function}()"])
    reader.block(node.body, _Scope(node.args.args[0].arg if node.args.args else "db", dict(reader.constants)))
    return reader.found


@dataclass
class _Scope:
    """What is known where a statement stands: what ``db`` is called there (empty: it is not at hand), and the values of
    names that are certain."""

    db: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def inner(self) -> _Scope:
        return _Scope(self.db, dict(self.values))

    def mentions(self, node: ast.AST) -> bool:
        return any(isinstance(child, ast.Name) and child.id == self.db for child in ast.walk(node))


class _Reader:
    def __init__(self, tree: ast.Module, path: str = "") -> None:
        self.found = StaticSql()
        self.functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        module = _Scope(values={"__file__": path} if path else {})
        self.constants = module.values
        self.depth = 0
        for node in tree.body:
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                self._assign(node, module)

    def block(self, body: Sequence[ast.stmt], scope: _Scope) -> None:
        """Follow statements; those that cannot be followed are noted as guesses."""
        for node in body:
            if isinstance(node, ast.Expr):
                self._expression(node.value, scope)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                if node.value is not None and scope.mentions(node.value):
                    self._calls_in(node.value, scope)
                    self._forget(node, scope)
                else:
                    self._assign(node, scope)
            elif isinstance(node, ast.If):
                self._branch(node, scope)
            elif isinstance(node, ast.For):
                self._loop(node, scope)
            elif isinstance(node, ast.With):
                self._with(node, scope)
            elif isinstance(node, ast.Return):
                if node.value is not None and scope.mentions(node.value):
                    self._calls_in(node.value, scope)
                return
            elif isinstance(node, (ast.Pass, ast.Import, ast.ImportFrom)):
                continue
            elif isinstance(node, ast.Raise):
                self._guess("it raises")
                return
            else:
                if isinstance(node, ast.Try):
                    self._guess("it handles errors")
                    self.block(node.body, scope)
                elif scope.mentions(node):
                    self._guess(f"line {node.lineno} cannot be followed")
                    self._calls_in(node, scope)

    def _guess(self, why: str) -> None:
        self.found.reasons.append(why)

    def _expression(self, node: ast.expr, scope: _Scope) -> None:
        if not scope.mentions(node):
            return
        call = node
        if isinstance(call, ast.Call):
            if isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", None) == scope.db:
                self._db_call(call.func.attr, call, scope)
                return
            if isinstance(call.func, ast.Name) and call.func.id in self.functions:
                self._helper(self.functions[call.func.id], call, scope)
                return
        self._calls_in(node, scope)
        self._guess(f"line {node.lineno} cannot be followed")

    def _db_call(self, name: str, call: ast.Call, scope: _Scope) -> None:
        if name == "execute" and call.args:
            try:
                value = self._value(call.args[0], scope)
            except _Unknown:
                value = None
            if isinstance(value, str):
                self.found.add(textwrap.dedent(value).strip(), call.lineno)
                if len(call.args) > 1 and isinstance(call.args[1], (ast.List, ast.ListComp)):
                    self._guess(f"line {call.lineno} runs once per item of a list")
            else:
                self.found.add(f"-- line {call.lineno}: {ast.unparse(call.args[0])}", call.lineno)
                self._guess(f"the SQL of line {call.lineno} is computed")
        elif name in ("log", *_QUERIES):
            if name in ("rows", "scalar"):
                self._guess(f"line {call.lineno} asks the database")
        else:
            self.found.add(f"-- line {call.lineno}: {ast.unparse(call)}", call.lineno)
            self._guess(f"db.{name} in line {call.lineno}")

    def _calls_in(self, node: ast.AST, scope: _Scope) -> None:
        for child in ast.walk(node):
            if (
                isinstance(child, ast.Call)
                and isinstance(child.func, ast.Attribute)
                and isinstance(child.func.value, ast.Name)
                and child.func.value.id == scope.db
            ):
                self._db_call(child.func.attr, child, scope)
            elif isinstance(child, ast.Attribute) and child.attr in ("connection", "op", "batches"):
                self._guess(f"line {child.lineno} uses db.{child.attr}")

    def _helper(self, function: ast.FunctionDef, call: ast.Call, scope: _Scope) -> None:
        if self.depth > 5 or call.keywords or len(call.args) != len(function.args.args):
            self._guess(f"line {call.lineno} calls {function.name}()")
            return
        inner = _Scope("", dict(self.constants))
        for parameter, argument in zip(function.args.args, call.args):
            if isinstance(argument, ast.Name) and argument.id == scope.db:
                inner.db = parameter.arg
                continue
            try:
                inner.values[parameter.arg] = self._value(argument, scope)
            except _Unknown:
                inner.values.pop(parameter.arg, None)
        self.depth += 1
        self.block(function.body, inner)
        self.depth -= 1

    def _branch(self, node: ast.If, scope: _Scope) -> None:
        try:
            known = bool(self._value(node.test, scope))
        except _Unknown:
            before = len(self.found.statements)
            self.block(node.body, scope.inner())
            self.block(node.orelse, scope.inner())
            if len(self.found.statements) > before or self._leaves(node):
                condition = ast.unparse(node.test)
                self._guess(f"line {node.lineno} depends on `{condition}`")
                self.found.statements.insert(before, f"-- if {condition}:")
                self.found.lines.insert(before, node.lineno)
            return
        self.block(node.body if known else node.orelse, scope)

    @staticmethod
    def _leaves(node: ast.If) -> bool:
        return any(isinstance(child, (ast.Return, ast.Raise, ast.Continue, ast.Break)) for child in ast.walk(node))

    def _loop(self, node: ast.For, scope: _Scope) -> None:
        try:
            items = list(self._value(node.iter, scope))
            if len(items) > MAX_UNROLLED or self._leaves_loop(node):
                raise _Unknown
        except (_Unknown, TypeError):
            self._calls_in(node.iter, scope)
            self._guess(f"line {node.lineno} is a loop over what is found at run time")
            self.block(node.body, scope.inner())
            return
        for item in items:
            inner = scope.inner()
            self._bind(node.target, item, inner)
            self.block(node.body, inner)

    @staticmethod
    def _leaves_loop(node: ast.For) -> bool:
        return any(isinstance(child, (ast.Break, ast.Continue, ast.Return)) for child in ast.walk(node))

    def _with(self, node: ast.With, scope: _Scope) -> None:
        for item in node.items:
            call = item.context_expr
            simple = (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and isinstance(call.func.value, ast.Name)
                and call.func.value.id == scope.db
                and call.func.attr in ("savepoint", "transaction")
            )
            if not simple and scope.mentions(call):
                self._guess(f"line {node.lineno} cannot be followed")
            if item.optional_vars is not None:
                with contextlib.suppress(_Unknown):
                    self._bind(item.optional_vars, self._value(call, scope), scope)
        self.block(node.body, scope)

    def _assign(self, node: Any, scope: _Scope) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        try:
            if node.value is None:
                return
            value = self._value(node.value, scope)
        except _Unknown:
            self._forget(node, scope)
            return
        for target in targets:
            self._bind(target, value, scope)

    @staticmethod
    def _forget(node: Any, scope: _Scope) -> None:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            for child in ast.walk(target):
                if isinstance(child, ast.Name):
                    scope.values.pop(child.id, None)

    def _bind(self, target: ast.expr, value: Any, scope: _Scope) -> None:
        if isinstance(target, ast.Name):
            scope.values[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, (tuple, list)):
            for part, item in zip(target.elts, value):
                self._bind(part, item, scope)

    def _value(self, node: ast.expr, scope: _Scope) -> Any:
        """The value of an expression made of constants and known names; raises _Unknown otherwise."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            if node.id in scope.values:
                return scope.values[node.id]
            raise _Unknown
        if isinstance(node, (ast.Tuple, ast.List)):
            return [self._value(item, scope) for item in node.elts]
        if isinstance(node, ast.Dict) and all(node.keys):
            return {
                self._value(k, scope): self._value(v, scope) for k, v in zip(node.keys, node.values) if k is not None
            }
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return not self._value(node.operand, scope)
        if isinstance(node, ast.BinOp):
            left, right = self._value(node.left, scope), self._value(node.right, scope)
            if isinstance(node.op, ast.Add) and isinstance(left, str) and isinstance(right, str):
                return left + right
            if isinstance(node.op, ast.Div) and isinstance(left, Path) and isinstance(right, (str, Path)):
                return left / right
            raise _Unknown
        if isinstance(node, ast.Attribute) and node.attr == "parent":
            base = self._value(node.value, scope)
            if isinstance(base, Path):
                return base.parent
        if isinstance(node, ast.JoinedStr):
            return "".join(self._formatted(part, scope) for part in node.values)
        return self._call(node, scope)

    def _given(self, node: ast.Call, scope: _Scope) -> list[Any]:
        """The value that a method is called on, if it is known, and the arguments; nothing if one is not known."""
        try:
            given = [self._value(argument, scope) for argument in node.args]
        except _Unknown:
            return []
        if isinstance(node.func, ast.Attribute):
            try:
                value = self._value(node.func.value, scope)
            except _Unknown:
                return given  # of a module: os.path.join(…)
            return [value, *given] if isinstance(value, Path) else []
        return given

    def _formatted(self, part: ast.expr, scope: _Scope) -> str:
        if isinstance(part, ast.Constant):
            return str(part.value)
        if isinstance(part, ast.FormattedValue) and part.conversion == -1 and part.format_spec is None:
            return str(self._value(part.value, scope))
        raise _Unknown

    def _call(self, node: ast.expr, scope: _Scope) -> Any:
        """``text("…")``, ``sa.text("…")``, ``dedent("…")``, ``mapping.items()``, ``range(n)``."""
        if not isinstance(node, ast.Call):
            raise _Unknown
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        found = beside.called(name, self._given(node, scope))
        if found is not None:
            return found
        if node.keywords:
            raise _Unknown
        if name in ("text", "dedent", "cleandoc") and len(node.args) == 1:
            return self._value(node.args[0], scope)
        if name == "items" and isinstance(node.func, ast.Attribute) and not node.args:
            value = self._value(node.func.value, scope)
            if isinstance(value, dict):
                return [list(item) for item in value.items()]
        if name == "range" and isinstance(node.func, ast.Name):
            numbers = [self._value(argument, scope) for argument in node.args]
            if all(isinstance(number, int) for number in numbers):
                return list(range(*numbers))
        raise _Unknown


def statements(migration: MigrationFile, function: str = "upgrade") -> list[sql.Statement]:
    """The single statements of :func:`sql_of`, comments left out."""
    found: list[sql.Statement] = []
    for text in sql_of(migration, function).statements:
        found.extend(sql.split(text))
    return found


def located(migration: MigrationFile, function: str = "upgrade") -> list[Located]:
    """The same, each with the line of the file that sends it."""
    found = sql_of(migration, function)
    return [
        Located(migration, statement, line)
        for text, line in zip(found.statements, found.lines)
        for statement in sql.split(text)
    ]


def conditional(migration: MigrationFile) -> Optional[str]:
    """Why the static SQL is a guess, or None."""
    found = sql_of(migration)
    return None if found.exact else "; ".join(dict.fromkeys(found.reasons))
