"""psycopg2 and psycopg 3 behind one face: connections whose every statement passes through a :class:`Hooks`.

The connection stays in autocommit mode and the runner sends BEGIN and COMMIT itself, so that a migration which reaches
for ``commit()`` by any road (driver, SQLAlchemy, Alembic) meets the hook first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Callable, Optional

from ...core import database_identity
from ...core.database_identity import DatabaseIdentity
from ...core.database_url import DatabaseUrl, read
from ...core.errors import Unavailable
from ...core.redact import Redactor

# pq.TransactionStatus; the same numbers in libpq, psycopg2 and psycopg 3.
IDLE, ACTIVE, IN_TRANSACTION, IN_ERROR, UNKNOWN = range(5)


@dataclass(frozen=True)
class Target:
    """Where to connect: the URL as it was given, what it says, and the keyword arguments of libpq."""

    text: str = field(repr=False)
    url: DatabaseUrl
    arguments: Mapping[str, str] = field(repr=False)


def target_of(text: str) -> Target:
    """The target of a database URL. Raises Refused if it cannot be read."""
    url = read(text)
    return Target(text, url, url.libpq())


class Hooks:
    """What a guarded connection asks before and after each statement. The default allows everything."""

    def statement(self, sql: str, call: Callable[..., Any], cursor: Any) -> Any:
        """Run ``call``, which sends ``sql``, or the text that it is given in the place of that."""
        return call()

    def control(self, what: str) -> bool:
        """``what`` (commit, rollback, close, autocommit) was asked for: True allows it, False makes it do nothing."""
        return True


@dataclass(frozen=True)
class Driver:
    """One driver. ``open`` connects; ``module`` is where its exceptions live."""

    name: str
    module: Any
    open: Callable[[Mapping[str, Any], Hooks], Any]

    def status(self, raw: Any) -> int:
        """libpq's transaction status, known to the client without a round trip."""
        if raw.closed:
            return UNKNOWN
        return int(raw.info.transaction_status)


def sqlstate(error: Optional[BaseException]) -> str:
    """The SQLSTATE behind an exception of a driver or of SQLAlchemy, or an empty string."""
    seen = 0
    while error is not None and seen < 10:
        for source in (getattr(error, "orig", None), error):
            code = getattr(source, "sqlstate", None) or getattr(source, "pgcode", None)
            if code:
                return str(code)
        error, seen = error.__cause__ or error.__context__, seen + 1
    return ""


def choose(target: Target) -> str:
    """The driver to use: the one the URL names if we know it, else psycopg2, else psycopg 3."""
    from importlib.util import find_spec

    named = target.url.driver
    wanted = [named] if named in ("psycopg2", "psycopg") else ["psycopg2", "psycopg"]
    for name in wanted:
        if find_spec(name):
            return name
    raise Unavailable(
        f"No PostgreSQL driver is installed here: {' or '.join(wanted)} is needed.",
        hint="Run where the application's own Python is (its container), or install psycopg2-binary.",
    )


def connect(
    target: Target, hooks: Hooks, *, application_name: str, driver: str = "", expect: Optional[DatabaseIdentity] = None
) -> tuple[Driver, Any]:
    """Open a guarded connection in autocommit mode. Raises Unavailable with the server's own words.

    ``expect``: the database that it must be in; it is closed, and WrongDatabase raised, where it is in another.
    """
    name = driver or choose(target)
    kind = _psycopg2() if name == "psycopg2" else _psycopg()
    arguments = {
        "connect_timeout": 10,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        **target.arguments,
        "application_name": application_name[:63],
    }
    try:
        raw = kind.open(arguments, hooks)
    except kind.module.Error as error:
        said = " ".join(Redactor(target.url.secrets).text(str(error)).split())
        raise Unavailable(
            f"PostgreSQL did not accept the connection to {target.url.label}: {said}",
            hint="Check that the server runs and that the URL's host, port, user, password and database are right.",
        ) from None
    try:
        database_identity.prove(lambda query: _rows(raw, query), expect)
    except BaseException:
        raw.close()
        raise
    return kind, raw


def _rows(raw: Any, query: str) -> list[tuple[Any, ...]]:
    cursor = raw.cursor()
    try:
        cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]
    finally:
        cursor.close()


def _mixed(base: Any, mixin: Any, cache: dict[Any, Any]) -> Any:
    if issubclass(base, mixin):
        return base
    if base not in cache:
        cache[base] = type(f"Guarded{base.__name__}", (mixin, base), {})
    return cache[base]


def _text_of(composable: Any) -> Callable[[Any, Any], str]:
    """What makes a text of a query: it may be text, bytes, or an object of the driver's module ``sql``."""

    def text(query: Any, cursor: Any) -> str:
        if isinstance(query, composable):
            return str(query.as_string(cursor))
        return query.decode("utf-8", "replace") if isinstance(query, bytes) else str(query)

    return text


def _psycopg2_cursor() -> Any:
    """What a cursor of psycopg2 gets: each statement asks the hooks of its connection."""
    text = _text_of(import_module("psycopg2.sql").Composable)

    class Cursor:
        def execute(self, query: Any, vars: Any = None) -> Any:
            run = super().execute  # type: ignore[misc]
            return self.connection.pap_hooks.statement(text(query, self), lambda sent=query: run(sent, vars), self)  # type: ignore[attr-defined]

        def executemany(self, query: Any, vars_list: Any) -> Any:
            run = super().executemany  # type: ignore[misc]
            return self.connection.pap_hooks.statement(text(query, self), lambda sent=query: run(sent, vars_list), self)  # type: ignore[attr-defined]

        def copy_expert(self, sql: Any, *rest: Any, **named: Any) -> Any:
            run = super().copy_expert  # type: ignore[misc]
            hooks: Hooks = self.connection.pap_hooks  # type: ignore[attr-defined]
            return hooks.statement(text(sql, self), lambda sent=sql: run(sent, *rest, **named), self)

    return Cursor


def _psycopg2() -> Driver:
    module = import_module("psycopg2")
    extensions = import_module("psycopg2.extensions")
    mixin = _psycopg2_cursor()
    cursors: dict[Any, Any] = {}

    class Connection(extensions.connection):  # type: ignore[misc,name-defined]
        pap_hooks = Hooks()

        def cursor(self, *rest: Any, **named: Any) -> Any:
            factory = named.pop("cursor_factory", None) or self.cursor_factory or extensions.cursor
            if rest or named.get("name"):  # of the server: psycopg2 sees no transaction, because the BEGIN is ours
                named["withhold"] = True
            return super().cursor(*rest, cursor_factory=_mixed(factory, mixin, cursors), **named)

        def commit(self) -> None:
            if self.pap_hooks.control("commit"):
                super().commit()

        def rollback(self) -> None:
            if self.pap_hooks.control("rollback"):
                super().rollback()

        def close(self) -> None:
            if self.pap_hooks.control("close"):
                super().close()

        def reset(self) -> None:
            if self.pap_hooks.control("rollback"):
                super().reset()

        def set_session(self, *rest: Any, **named: Any) -> None:
            if self.pap_hooks.control("autocommit"):
                super().set_session(*rest, **named)

        def set_isolation_level(self, level: Any) -> None:
            if self.pap_hooks.control("autocommit"):
                super().set_isolation_level(level)

        def _set_autocommit(self, value: bool) -> None:
            if self.pap_hooks.control("autocommit"):
                extensions.connection.autocommit.__set__(self, value)

        autocommit = property(lambda self: extensions.connection.autocommit.__get__(self), _set_autocommit)

    def open_(arguments: Mapping[str, Any], hooks: Hooks) -> Any:
        raw = module.connect(connection_factory=Connection, **arguments)
        raw.autocommit = True
        raw.pap_hooks = hooks
        return raw

    return Driver("psycopg2", module, open_)


def _psycopg() -> Driver:
    module = import_module("psycopg")
    text = _text_of(import_module("psycopg.sql").Composable)

    class Cursor(module.Cursor):  # type: ignore[misc,name-defined]
        def execute(self, query: Any, params: Any = None, **named: Any) -> Any:
            run = super().execute
            return self.connection.pap_hooks.statement(
                text(query, self), lambda sent=query: run(sent, params, **named), self
            )

        def executemany(self, query: Any, params_seq: Any, **named: Any) -> Any:
            run = super().executemany
            return self.connection.pap_hooks.statement(
                text(query, self), lambda sent=query: run(sent, params_seq, **named), self
            )

        def copy(self, statement: Any, *rest: Any, **named: Any) -> Any:
            run = super().copy
            return self.connection.pap_hooks.statement(
                text(statement, self), lambda sent=statement: run(sent, *rest, **named), self
            )

    class Connection(module.Connection):  # type: ignore[misc,name-defined]
        pap_hooks = Hooks()

        def cursor(self, *rest: Any, **named: Any) -> Any:
            return super().cursor(*rest, **named)

        def commit(self) -> None:
            if self.pap_hooks.control("commit"):
                super().commit()

        def rollback(self) -> None:
            if self.pap_hooks.control("rollback"):
                super().rollback()

        def close(self) -> None:
            if self.pap_hooks.control("close"):
                super().close()

        def set_autocommit(self, value: bool) -> None:
            if self.pap_hooks.control("autocommit"):
                super().set_autocommit(value)

        def _set_autocommit(self, value: bool) -> None:
            self.set_autocommit(value)

        autocommit = property(lambda self: module.Connection.autocommit.__get__(self), _set_autocommit)

    def open_(arguments: Mapping[str, Any], hooks: Hooks) -> Any:
        # No server-side prepared statements: DDL in between makes their plans fail.
        raw = Connection.connect(autocommit=True, prepare_threshold=None, cursor_factory=Cursor, **_plain(arguments))
        raw.pap_hooks = hooks
        return raw

    return Driver("psycopg", module, open_)


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if value is not None}
