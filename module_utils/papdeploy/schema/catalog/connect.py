"""From a database URL to a session, with whichever driver is there, and one sentence when that fails."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from typing import Any

from ...core import database_identity
from ...core.database_identity import DatabaseIdentity
from ...core.database_url import read
from ...core.errors import Refused, Unavailable
from ...core.redact import Redactor
from .connection import Session, first_line

CONNECT_TIMEOUT_SECONDS = 10

# Drivers whose connections can be used outside of an event loop, by preference.
_DRIVERS = ("psycopg2", "psycopg")


def database_url(url: str | None, environment: Mapping[str, str] | None = None) -> str:
    """``url``, or DATABASE_URL of the environment. Raises PapError when neither is there."""
    found = url or (os.environ if environment is None else environment).get("DATABASE_URL", "")
    if not found:
        raise Refused("No database is named.", hint="Set DATABASE_URL, or give --database-url.")
    return found


def open_session(
    url: str,
    *,
    application: str = "pap-deploy:cli",
    database: str | None = None,
    expect: DatabaseIdentity | None = None,
) -> Session:
    """A session of its own in autocommit mode; ``database`` instead of the URL's. ``expect``: the database that it must
    be in; it is closed, and WrongDatabase raised, where it is in another.

    The driver is connected directly, not through an engine: an engine asks the server several things first. Raises
    PapError for a URL that is none and a driver that is not installed, Unavailable when the server does not answer.
    """
    parsed = read(url)
    if database is not None:
        parsed = parsed.with_database(database)
    redactor = Redactor(parsed.secrets)
    module = importlib.import_module(_driver(parsed.driver))
    keywords: dict[str, Any] = {
        "application_name": application,
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "client_encoding": "utf8",  # whatever the database's: the server translates
        **parsed.libpq(),
    }
    try:
        raw: Any = module.connect(**keywords)
    except module.Error as exc:
        raise Unavailable(
            f"Cannot connect to {parsed.label}: {redactor.text(first_line(exc))}.",
            hint="Check the URL, that the server runs and accepts this host, and the role's right to connect.",
        ) from exc
    raw.autocommit = True
    session = Session(raw, owned=True, redactor=redactor)
    try:
        database_identity.prove(session.ask, expect)
    except BaseException:
        session.close()
        raise
    return session


def _driver(named: str) -> str:
    """The driver that a URL names, or where it names none or an asynchronous one, whichever is installed."""
    installed = [name for name in _DRIVERS if importlib.util.find_spec(name)]
    if named in ("", "asyncpg", "psycopg_async", "psycopg2cffi", "pg8000") and installed:
        return installed[0]
    if named not in installed:
        raise Refused(
            f"The database driver {named or 'psycopg2 or psycopg'} is not installed.",
            hint="Install psycopg2-binary or psycopg[binary] beside the application.",
        )
    return named
