"""Migrations in plain SQL (``2026_01_02_name.sql``), read as the ``upgrade(db)`` and ``downgrade(db)`` they stand for.

Comments at the start of a line say what a Python migration says in its head::

    -- Why it is so.
    -- transactional: false
    -- requires: 2026_01_01_other
    ALTER TABLE users ADD COLUMN api_key text;
    -- migrate: down
    ALTER TABLE users DROP COLUMN api_key;
    -- migrate: check_before
    SELECT id FROM users WHERE name IS NULL;

The queries of ``check_before`` and ``check_after`` return the rows that violate what must hold.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..core.errors import Refused
from ..sql import statements
from .python_files import Content

SUFFIX = ".sql"
_UP, _DOWN, _CHECKS = "up", "down", ("check_before", "check_after")
_SETTING = re.compile(r"--[ \t]*(migrate|transactional|requires)[ \t]*:[ \t]*(.*?)[ \t]*$", re.IGNORECASE)
_MARKED = re.compile(
    r"^--[ \t]*migrate[ \t]*:[ \t]*(?:up|down|check_before|check_after)\b", re.IGNORECASE | re.MULTILINE
)
_TRUTH = {"true": True, "false": False}


@dataclass
class SqlFile:
    """Statements, and queries of ``checks``, with the line where each begins; ``remarks``: the comments above."""

    up: list[tuple[str, int]] = field(default_factory=list)
    down: list[tuple[str, int]] = field(default_factory=list)
    checks: dict[str, list[tuple[str, int]]] = field(default_factory=lambda: {name: [] for name in _CHECKS})
    transactional: bool = True
    requires: tuple[str, ...] = ()
    remarks: str = ""

    def tree(self) -> ast.Module:
        """The module of Python that does the same; its lines are those of the SQL."""
        body = [_function("upgrade", self.up)]
        if self.down:
            body.append(_function("downgrade", self.down))
        body += [_function(name, queries) for name, queries in self.checks.items() if queries]
        return ast.Module(body=[*body], type_ignores=[])

    def content(self, where: str) -> Content:
        code = compile(self.tree(), where, "exec", dont_inherit=True)
        return Content(code, True, self.transactional, self.requires, bool(self.down), self.remarks)


def is_marked(text: str) -> bool:
    """Whether a text says that it is a migration: one without a dated name has to."""
    return _MARKED.search(text) is not None


def parse(text: str, where: str) -> SqlFile:
    """Read a file. Raises Refused for a comment that is not understood, naming its line, and what only psql reads."""
    command = statements.of_psql(text) or statements.copies_with_client(text)
    if command:
        raise Refused(
            f"{where} has {command}, which only psql understands.",
            hint="Leave out psql's commands (a backslash and a word); have pg_dump write data as INSERT (--inserts).",
        )
    file = SqlFile()
    directions = {_UP: file.up, _DOWN: file.down, **file.checks}
    into, start = file.up, 0
    for offset, name, value in _settings(text):
        line = text.count("\n", 0, offset) + 1
        if name == "migrate":
            if value.lower() not in directions:
                raise _unknown(where, line, f"-- migrate: and one of {', '.join(directions)}")
            into += _located(text, start, offset)
            into, start = directions[value.lower()], offset
        elif name == "transactional":
            if value.lower() not in _TRUTH:
                raise _unknown(where, line, "-- transactional: true, or -- transactional: false")
            file.transactional = _TRUTH[value.lower()]
        else:
            file.requires += tuple(item.strip() for item in value.split(",") if item.strip())
    into += _located(text, start, len(text))
    first = min((line for _, line in [*file.up, *file.down]), default=0)
    above = [line for line in text.splitlines()[: first - 1] if line.startswith("--") and not _SETTING.match(line)]
    file.remarks = "\n".join(line[2:].strip() for line in above)
    if not file.up:
        raise Refused(
            f"{where} is named like a migration but has no statement"
            + (" to go up." if file.down or any(file.checks.values()) else "."),
            hint="Write its SQL, or give the file an undated name.",
        )
    return file


def comments(text: str) -> Iterator[tuple[int, int, str]]:
    """(line, column, text) of every ``--`` comment."""
    for kind, token, offset in statements.tokens(text):
        if kind == "space" and token.startswith("--"):
            line = text.count("\n", 0, offset) + 1
            yield line, offset - (text.rfind("\n", 0, offset) + 1), token.rstrip("\n")


def _settings(text: str) -> Iterator[tuple[int, str, str]]:
    """(offset, name, value) of every comment that sets something: at the start of a line, and not inside a statement's
    strings."""
    if "--" not in text:
        return
    for kind, token, offset in statements.tokens(text):
        if kind == "space" and token.startswith("--") and text[offset - 1 : offset] in ("", "\n"):
            found = _SETTING.match(token.rstrip("\n"))
            if found:
                yield offset, found[1].lower(), found[2]


def _located(text: str, start: int, end: int) -> list[tuple[str, int]]:
    return [
        (statement.text, text.count("\n", 0, start + statement.offset) + 1)
        for statement in statements.split(text[start:end])
    ]


def _unknown(where: str, line: int, wanted: str) -> Refused:
    return Refused(f"{where}, line {line}: this comment is not understood.", hint=f"Write {wanted}.")


def _function(name: str, sent: list[tuple[str, int]]) -> ast.stmt:
    function = ast.parse(f"def {name}(db): pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    ast.increment_lineno(function, (sent[0][1] if sent else 1) - 1)
    say = "db.execute({!r})" if name not in _CHECKS else "rows = db.rows({!r})\nif rows: return rows"
    function.body = [statement for text, line in sent for statement in _at(line, say.format(text))]
    return function


def _at(line: int, source: str) -> list[ast.stmt]:
    """The statements of ``source``, which count as written in ``line``."""
    function = ast.parse("def f():\n" + textwrap.indent(source, " ")).body[0]
    assert isinstance(function, ast.FunctionDef)
    for node in (inner for statement in function.body for inner in ast.walk(statement)):
        if isinstance(node, (ast.expr, ast.stmt)):
            node.lineno = node.end_lineno = line
    return function.body
