"""The SQL of a migration as far as its source tells, without running anything.

It is exact only where ``upgrade(db)`` is a straight line of ``db.execute`` calls with constant text; wherever the
migration asks the database, branches, or computes, the answer says that it is a guess and why.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from ..sql import statements as sql
from .files import SCRIPT, MigrationFile

MAX_UNROLLED = 200
_QUERIES = {"has_table", "has_column", "has_index", "has_constraint", "rows", "scalar"}
_LOOKS_LIKE_SQL = re.compile(
    r"^\s*(?:alter|create|drop|update|insert|delete|comment|grant|revoke|truncate|do|select|with|reindex|vacuum)\s",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Located:
    """One statement of a migration, with the line of the file that sends it."""

    migration: MigrationFile
    statement: sql.Statement
    line: int


@dataclass(frozen=True)
class PlannedSql:
    """The SQL of a pending migration: ``exact``, or a guess for the reason ``why``."""

    statements: tuple[str, ...]
    exact: bool
    why: str = ""


@dataclass
class StaticSql:
    """``statements`` in source order, ``lines`` where each is sent (1 is the first line of the file).

    ``reasons`` say why they may differ from what will run; none: they are exact.
    """

    statements: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def add(self, statement: str, line: int) -> None:
        self.statements.append(statement)
        self.lines.append(line)

    @property
    def exact(self) -> bool:
        return not self.reasons

    def planned(self) -> PlannedSql:
        return PlannedSql(tuple(self.statements), self.exact, "; ".join(dict.fromkeys(self.reasons)))


class _Unknown(Exception):
    """An expression whose value the source alone does not give."""


def sql_of(migration: MigrationFile, function: str = "upgrade") -> StaticSql:
    """The SQL that ``function`` of ``migration`` seems to send."""
    tree = migration.tree
    if migration.flavour == SCRIPT:
        script = StaticSql(reasons=["a legacy script; this is the SQL text found in it"])
        for child in ast.walk(tree):
            if isinstance(child, ast.Constant) and isinstance(child.value, str) and _LOOKS_LIKE_SQL.match(child.value):
                script.add(textwrap.dedent(child.value).strip(), child.lineno)
        return script
    reader = _Reader(tree)
    node = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function), None)
    if node is None:
        return StaticSql(reasons=[f"there is no {function}()"])
    reader.block(node.body, node.args.args[0].arg if node.args.args else "db", dict(reader.constants))
    return reader.found


class _Reader:
    def __init__(self, tree: ast.Module) -> None:
        self.found = StaticSql()
        self.functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self.constants: dict[str, Any] = {}
        self.depth = 0
        for node in tree.body:
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                self._assign(node, self.constants)

    def block(self, body: Sequence[ast.stmt], db: str, env: dict[str, Any]) -> None:
        """Follow statements; ``env`` holds the names whose values are known."""
        for node in body:
            if isinstance(node, ast.Expr):
                self._expression(node.value, db, env)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                if node.value is not None and self._mentions(node.value, db):
                    self._calls_in(node.value, db, env)
                    self._forget(node, env)
                else:
                    self._assign(node, env)
            elif isinstance(node, ast.If):
                self._branch(node, db, env)
            elif isinstance(node, ast.For):
                self._loop(node, db, env)
            elif isinstance(node, ast.With):
                self._with(node, db, env)
            elif isinstance(node, ast.Return):
                if node.value is not None and self._mentions(node.value, db):
                    self._calls_in(node.value, db, env)
                return
            elif isinstance(node, (ast.Pass, ast.Import, ast.ImportFrom)):
                continue
            elif isinstance(node, ast.Raise):
                self._guess("it raises")
                return
            else:
                if isinstance(node, ast.Try):
                    self._guess("it handles errors")
                    self.block(node.body, db, env)
                elif self._mentions(node, db):
                    self._guess(f"line {node.lineno} cannot be followed")
                    self._calls_in(node, db, env)

    def _guess(self, why: str) -> None:
        self.found.reasons.append(why)

    def _mentions(self, node: ast.AST, db: str) -> bool:
        return any(isinstance(child, ast.Name) and child.id == db for child in ast.walk(node))

    def _expression(self, node: ast.expr, db: str, env: dict[str, Any]) -> None:
        if not self._mentions(node, db):
            return
        call = node
        if isinstance(call, ast.Call):
            if isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", None) == db:
                self._db_call(call.func.attr, call, env)
                return
            if isinstance(call.func, ast.Name) and call.func.id in self.functions:
                self._helper(self.functions[call.func.id], call, db, env)
                return
        self._calls_in(node, db, env)
        self._guess(f"line {node.lineno} cannot be followed")

    def _db_call(self, name: str, call: ast.Call, env: dict[str, Any]) -> None:
        if name == "execute" and call.args:
            try:
                value = self._value(call.args[0], env)
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

    def _calls_in(self, node: ast.AST, db: str, env: dict[str, Any]) -> None:
        for child in ast.walk(node):
            if (
                isinstance(child, ast.Call)
                and isinstance(child.func, ast.Attribute)
                and isinstance(child.func.value, ast.Name)
                and child.func.value.id == db
            ):
                self._db_call(child.func.attr, child, env)
            elif isinstance(child, ast.Attribute) and child.attr in ("connection", "op", "batches"):
                self._guess(f"line {child.lineno} uses db.{child.attr}")

    def _helper(self, function: ast.FunctionDef, call: ast.Call, db: str, env: dict[str, Any]) -> None:
        if self.depth > 5 or call.keywords or len(call.args) != len(function.args.args):
            self._guess(f"line {call.lineno} calls {function.name}()")
            return
        inner = dict(self.constants)
        inner_db = ""
        for parameter, argument in zip(function.args.args, call.args):
            if isinstance(argument, ast.Name) and argument.id == db:
                inner_db = parameter.arg
                continue
            try:
                inner[parameter.arg] = self._value(argument, env)
            except _Unknown:
                inner.pop(parameter.arg, None)
        self.depth += 1
        self.block(function.body, inner_db, inner)
        self.depth -= 1

    def _branch(self, node: ast.If, db: str, env: dict[str, Any]) -> None:
        try:
            known = bool(self._value(node.test, env))
        except _Unknown:
            before = len(self.found.statements)
            self.block(node.body, db, dict(env))
            self.block(node.orelse, db, dict(env))
            if len(self.found.statements) > before or self._leaves(node):
                condition = ast.unparse(node.test)
                self._guess(f"line {node.lineno} depends on `{condition}`")
                self.found.statements.insert(before, f"-- if {condition}:")
                self.found.lines.insert(before, node.lineno)
            return
        self.block(node.body if known else node.orelse, db, env)

    @staticmethod
    def _leaves(node: ast.If) -> bool:
        return any(isinstance(child, (ast.Return, ast.Raise, ast.Continue, ast.Break)) for child in ast.walk(node))

    def _loop(self, node: ast.For, db: str, env: dict[str, Any]) -> None:
        try:
            items = list(self._value(node.iter, env))
            if len(items) > MAX_UNROLLED or self._leaves_loop(node):
                raise _Unknown
        except (_Unknown, TypeError):
            self._calls_in(node.iter, db, env)
            self._guess(f"line {node.lineno} is a loop over what is found at run time")
            self.block(node.body, db, dict(env))
            return
        for item in items:
            inner = dict(env)
            self._bind(node.target, item, inner)
            self.block(node.body, db, inner)

    @staticmethod
    def _leaves_loop(node: ast.For) -> bool:
        return any(isinstance(child, (ast.Break, ast.Continue, ast.Return)) for child in ast.walk(node))

    def _with(self, node: ast.With, db: str, env: dict[str, Any]) -> None:
        for item in node.items:
            call = item.context_expr
            simple = (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and isinstance(call.func.value, ast.Name)
                and call.func.value.id == db
                and call.func.attr in ("savepoint", "transaction")
            )
            if not simple and self._mentions(call, db):
                self._guess(f"line {node.lineno} cannot be followed")
        self.block(node.body, db, env)

    def _assign(self, node: Any, env: dict[str, Any]) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        try:
            if node.value is None:
                return
            value = self._value(node.value, env)
        except _Unknown:
            self._forget(node, env)
            return
        for target in targets:
            self._bind(target, value, env)

    @staticmethod
    def _forget(node: Any, env: dict[str, Any]) -> None:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            for child in ast.walk(target):
                if isinstance(child, ast.Name):
                    env.pop(child.id, None)

    def _bind(self, target: ast.expr, value: Any, env: dict[str, Any]) -> None:
        if isinstance(target, ast.Name):
            env[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, (tuple, list)):
            for part, item in zip(target.elts, value):
                self._bind(part, item, env)

    def _value(self, node: ast.expr, env: Mapping[str, Any]) -> Any:
        """The value of an expression made of constants and known names; raises _Unknown otherwise."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            if node.id in env:
                return env[node.id]
            raise _Unknown
        if isinstance(node, (ast.Tuple, ast.List)):
            return [self._value(item, env) for item in node.elts]
        if isinstance(node, ast.Dict) and all(node.keys):
            return {self._value(k, env): self._value(v, env) for k, v in zip(node.keys, node.values) if k is not None}
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return not self._value(node.operand, env)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = self._value(node.left, env), self._value(node.right, env)
            if isinstance(left, str) and isinstance(right, str):
                return left + right
            raise _Unknown
        if isinstance(node, ast.JoinedStr):
            return "".join(self._formatted(part, env) for part in node.values)
        return self._call(node, env)

    def _formatted(self, part: ast.expr, env: Mapping[str, Any]) -> str:
        if isinstance(part, ast.Constant):
            return str(part.value)
        if isinstance(part, ast.FormattedValue) and part.conversion == -1 and part.format_spec is None:
            return str(self._value(part.value, env))
        raise _Unknown

    def _call(self, node: ast.expr, env: Mapping[str, Any]) -> Any:
        """``text("…")``, ``sa.text("…")``, ``dedent("…")``, ``mapping.items()``, ``range(n)``."""
        if not isinstance(node, ast.Call) or node.keywords:
            raise _Unknown
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("text", "dedent", "cleandoc") and len(node.args) == 1:
            return self._value(node.args[0], env)
        if name == "items" and isinstance(node.func, ast.Attribute) and not node.args:
            value = self._value(node.func.value, env)
            if isinstance(value, dict):
                return [list(item) for item in value.items()]
        if name == "range" and isinstance(node.func, ast.Name):
            numbers = [self._value(argument, env) for argument in node.args]
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
