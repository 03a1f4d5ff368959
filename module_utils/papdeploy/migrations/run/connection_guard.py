"""While migrations run, no code of this process opens a connection beside the runner's, or ends the process; and no
legacy script that works on a copy gets a session in the live database."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, Optional

from ...core.database_identity import IDENTITY, DatabaseIdentity
from ...core.errors import PapError, Refused, WrongDatabase
from ...core.records import as_object, read_known

Refuse = Callable[[str], Optional[PapError]]

# Where each driver opens connections, below what applications import by name.
_DRIVERS = ("psycopg2", "psycopg", "asyncpg.connect_utils")


@contextlib.contextmanager
def no_silent_end(refuse: Refuse) -> Iterator[None]:
    """While active, ``os._exit`` in this thread asks ``refuse(how)`` first.

    It would end the run with the exit code of a success and without a word. Forked children, and the threads that end
    an agent at its deadline, may call it.
    """
    end, process, thread = os._exit, os.getpid(), threading.get_ident()

    def guarded(status: int) -> NoReturn:
        if os.getpid() == process and threading.get_ident() == thread:
            error = refuse(f"os._exit({status!r}) was called")
            if error is not None:
                raise error
        end(status)

    os._exit = guarded
    try:
        yield
    finally:
        os._exit = end


@contextlib.contextmanager
def no_second_connection(refuse: Refuse) -> Iterator[None]:
    """While active, opening a connection with psycopg2, psycopg or asyncpg asks ``refuse(how)`` first.

    An error that it returns is raised. This catches what the engine of an application, a ``create_engine`` of the
    migration and the drivers' own ``connect`` have in common, also where ``connect`` was imported by name before. A
    driver that is imported only now is guarded as it is imported: importing it here would cost more than the rest.
    """
    undo: list[Callable[[], None]] = []
    gate = _Gate(lambda name, module: _guard(name, module, refuse, undo))
    for name in _DRIVERS:
        if name in sys.modules:
            _guard(name, sys.modules[name], refuse, undo)
    sys.meta_path.insert(0, gate)
    try:
        yield
    finally:
        sys.meta_path.remove(gate)
        while undo:
            undo.pop()()


def forbid_database(live: Mapping[str, Any]) -> None:
    """For the rest of this process, a session of psycopg2, psycopg or asyncpg in database ``live`` (an identity) is
    closed before anybody can use it, and WrongDatabase raised: whatever address led there."""
    forbidden = read_known(DatabaseIdentity, live)
    for name in _DRIVERS:
        if name in sys.modules:
            _forbid(name, sys.modules[name], forbidden)
    sys.meta_path.insert(0, _Gate(lambda name, module: _forbid(name, module, forbidden)))


def _forbid(name: str, module: Any, live: DatabaseIdentity) -> None:
    if name == "psycopg":
        for owner in {_owner(kind) for kind in (module.Connection, module.AsyncConnection)}:
            owner._connect_gen = classmethod(_of_psycopg(owner.__dict__["_connect_gen"].__func__, live))
    elif name == "psycopg2":
        module._connect = _of_psycopg2(module._connect, module, live)
    else:
        module._connect = _of_asyncpg(module._connect, live)


def _of_psycopg(original: Any, live: DatabaseIdentity) -> Any:
    def connect(*rest: Any, **named: Any) -> Any:
        connection = yield from original(*rest, **named)
        found = connection.pgconn.exec_(IDENTITY.encode())
        row = [(found.get_value(0, column) or b"").decode() for column in range(4)]
        _refuse_live(DatabaseIdentity.from_row(*row), live, connection.pgconn.finish)
        return connection

    return connect


def _of_psycopg2(original: Any, module: Any, live: DatabaseIdentity) -> Any:
    def connect(*rest: Any, **named: Any) -> Any:
        connection = original(*rest, **named)
        if getattr(connection, "async_", 0):
            connection.close()
            raise Refused("An asynchronous connection of psycopg2 cannot be proven to be in no live database.")
        cursor = module.extensions.cursor(connection)
        cursor.execute(IDENTITY)
        found = DatabaseIdentity.from_row(*cursor.fetchone())
        cursor.close()
        connection.rollback()
        _refuse_live(found, live, connection.close)
        return connection

    return connect


def _of_asyncpg(original: Any, live: DatabaseIdentity) -> Any:
    async def connect(*rest: Any, **named: Any) -> Any:
        connection = await original(*rest, **named)
        row = await connection.fetchrow(IDENTITY)
        _refuse_live(DatabaseIdentity.from_row(*row), live, connection.terminate)
        return connection

    return connect


def _refuse_live(found: DatabaseIdentity, live: DatabaseIdentity, close: Callable[[], Any]) -> None:
    if found.is_database(live):
        close()
        raise WrongDatabase(
            f"A session in the live database {found.name} was closed before it was used: this work is for a copy.",
            hint="Take the address from the environment, which leads to the copy.",
            found=as_object(found),
        )


class _Gate:
    """A finder for ``sys.meta_path`` that finds the drivers as usual and calls ``done`` when one has been loaded."""

    def __init__(self, done: Callable[[str, Any], None]) -> None:
        self._done = done
        self._busy = False

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname not in _DRIVERS or self._busy:
            return None
        self._busy = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._busy = False
        if spec is not None and spec.loader is not None:
            load, done = spec.loader.exec_module, self._done

            def exec_module(module: Any) -> None:
                load(module)
                done(fullname, module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _guard(name: str, module: Any, refuse: Refuse, undo: list[Callable[[], None]]) -> None:
    if name == "psycopg":
        for kind in (module.Connection, module.AsyncConnection):
            _replace(_owner(kind), "_connect_gen", "psycopg.connect", refuse, undo)
    else:
        _replace(module, "_connect", f"{name.split('.')[0]}.connect", refuse, undo)


def _owner(kind: Any) -> Any:
    """The class that has psycopg's way to connect: that of both kinds, or each its own."""
    return next(owner for owner in kind.__mro__ if "_connect_gen" in owner.__dict__)


def _replace(owner: Any, name: str, how: str, refuse: Refuse, undo: list[Callable[[], None]]) -> None:
    before = owner.__dict__[name]
    is_class_method = isinstance(before, classmethod)
    original = before.__func__ if is_class_method else before

    def guarded(*rest: Any, **named: Any) -> Any:
        error = refuse(how)
        if error is not None:
            raise error
        return original(*rest, **named)

    setattr(owner, name, classmethod(guarded) if is_class_method else guarded)
    undo.append(lambda: setattr(owner, name, before))
