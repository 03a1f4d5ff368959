"""The calls that the agent answers, by name. A call is ``f(request, emit) -> result``, all plain data."""

from __future__ import annotations

from typing import Any, Callable

from ..core.errors import Refused

Call = Callable[[dict[str, Any], Callable[[dict[str, Any]], None]], dict[str, Any]]


def resolve(name: str) -> Call:
    """The function behind a name such as ``schema.check``; imported only now, because it needs the app's SQLAlchemy."""
    calls: dict[str, Call] = {"ping": ping}
    if name.startswith("schema."):
        from ..schema import handlers as schema_calls

        calls = schema_calls.CALLS
    elif name.startswith("migrations."):
        from ..migrations import handlers as migration_calls

        calls = migration_calls.CALLS
    elif name.startswith("environment."):
        from ..environment import copy_process, installed, reached, settings, started

        calls = {**settings.CALLS, **started.CALLS, **reached.CALLS, **copy_process.CALLS, **installed.CALLS}
    if name not in calls:
        raise Refused(f"There is no agent call named {name}.")
    return calls[name]


def ping(request: object, emit: object) -> dict[str, str]:
    """Which Python, SQLAlchemy and drivers are there: what the preflight shows of an API site."""
    import importlib.util
    import sys

    found = {"python": sys.version.split()[0]}
    for package in ("sqlalchemy", "psycopg2", "psycopg"):
        if importlib.util.find_spec(package):
            module = __import__(package)
            found[package] = str(module.__version__).split()[0]
    return found
