"""What the models' metadata would execute: create_all against a driver that records instead of sending.

A real SQLAlchemy engine over a recording driver, rather than create_mock_engine, because event listeners of the models
use connections in every way there is (execute, exec_driver_sql, scalar, inspect): all of it must work, and a question
that a listener asks is answered as an empty database would.
"""

from __future__ import annotations

import re
import types
from collections.abc import Sequence
from typing import Any

from ...sql.quoting import quote_literal

_CONCURRENTLY = re.compile(r"^(\s*CREATE\s+(?:UNIQUE\s+)?INDEX\s+)CONCURRENTLY\s+", re.IGNORECASE)
_QUESTION = re.compile(r"^\s*(SELECT|SHOW|WITH)\b", re.IGNORECASE)


class RecordingError(Exception):
    """The recording driver's exception class."""


class _Cursor:
    rowcount = 0
    lastrowid = None
    arraysize = 1

    def __init__(self, statements: list[str]) -> None:
        self.statements = statements
        self.description: Any = None

    def execute(self, statement: str, parameters: Any = None) -> None:
        self.description = None
        if _QUESTION.match(statement):
            self.description = [("answer", None, None, None, None, None, None)]
        else:
            self.statements.append(_CONCURRENTLY.sub(r"\1", interpolate(statement, parameters)).strip().rstrip(";"))

    def executemany(self, statement: str, parameters: Sequence[Any]) -> None:
        for item in parameters:
            self.execute(statement, item)

    def fetchone(self) -> None:
        return None

    def fetchall(self) -> list[Any]:
        return []

    def fetchmany(self, size: int = 1) -> list[Any]:
        return []

    def close(self) -> None:
        pass


class _Connection:
    autocommit = False

    def __init__(self, statements: list[str]) -> None:
        self.statements = statements

    def cursor(self, *_: Any, **__: Any) -> _Cursor:
        return _Cursor(self.statements)

    def commit(self) -> None:
        pass

    rollback = close = commit


def interpolate(statement: str, parameters: Any) -> str:
    """``statement`` with its pyformat parameters written in, as psycopg2 does it."""
    if not parameters and "%" not in statement:
        return statement
    values = parameters if isinstance(parameters, dict) else {}
    positional = iter(parameters if isinstance(parameters, (list, tuple)) else ())

    def write(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        return literal(values[match[1]] if match[1] else next(positional))

    return re.sub(r"%%|%(?:\((\w+)\))?s", write, statement)


def literal(value: Any) -> str:
    """A Python value as an SQL literal."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'::bytea"
    if isinstance(value, (list, tuple)):
        return "ARRAY[" + ", ".join(literal(item) for item in value) + "]"
    return quote_literal(str(value))


def record(metadatas: Sequence[Any], server_version: int) -> list[str]:
    """The statements that create_all of ``metadatas`` sends to an empty database of ``server_version``."""
    from sqlalchemy.dialects.postgresql import base
    from sqlalchemy.engine import Engine, make_url
    from sqlalchemy.pool import StaticPool

    statements: list[str] = []
    version = (server_version // 10_000, server_version % 10_000)

    parent: Any = base.PGDialect

    class RecordingDialect(parent):  # type: ignore[misc]
        """PostgreSQL with a driver that only records."""

        driver = "psycopg2"
        default_paramstyle = "pyformat"
        supports_statement_cache = False
        supports_sane_rowcount = False

        def initialize(self, connection: Any) -> None:
            super().initialize(connection)
            self.server_version_info = version

        def _get_server_version_info(self, connection: Any) -> tuple[int, ...]:
            return version

        def _get_default_schema_name(self, connection: Any) -> str:
            return "public"

        def get_isolation_level(self, *_: Any) -> str:
            return "READ COMMITTED"

        get_default_isolation_level = get_isolation_level

    module = types.ModuleType("papdeploy_recording_driver")
    module.paramstyle = "pyformat"  # type: ignore[attr-defined]
    module.Error = RecordingError  # type: ignore[attr-defined]
    dialect: Any = RecordingDialect(paramstyle="pyformat")
    dialect.dbapi = module
    creator: Any = lambda: _Connection(statements)  # noqa: E731 - typed as what the pool asks for
    pool = StaticPool(creator)
    url = make_url("postgresql+psycopg2://")
    engine = Engine(pool, dialect, url)
    with engine.connect() as connection:
        dialect.initialize(connection)
        statements.clear()  # what the dialect asked when it was set up
        for metadata in metadatas:
            metadata.create_all(connection, checkfirst=False)
    return statements


def python_default(column: Any) -> str:
    """The scalar that Python gives ``column`` where an insert does not, as a literal of SQL; '' where it gives none."""
    import sqlalchemy
    from sqlalchemy.dialects import postgresql

    dialect: Any = postgresql.dialect
    default = column.default
    if default is None or not getattr(default, "is_scalar", False):
        return ""
    try:
        literal = sqlalchemy.literal(default.arg, column.type)
        return str(literal.compile(dialect=dialect(), compile_kwargs={"literal_binds": True}))
    except (sqlalchemy.exc.SQLAlchemyError, NotImplementedError):
        return ""  # a value that has no literal
