"""From a database URL to a session, with whichever driver is there, and one sentence when that fails."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import Any

from ..core import database_identity
from ..core.database_identity import DatabaseIdentity
from ..core.redact import Redactor
from ..errors import PapError, Unavailable
from .session import Session, first_line

CONNECT_TIMEOUT_SECONDS = 10

# Drivers whose connections can be used outside of an event loop, by preference.
_DRIVERS = ("psycopg2", "psycopg")


def database_url(url: str | None, environment: Mapping[str, str] | None = None) -> str:
    """``url``, or DATABASE_URL of the environment. Raises PapError when neither is there."""
    found = url or (os.environ if environment is None else environment).get("DATABASE_URL", "")
    if not found:
        raise PapError("No database is named.", hint="Set DATABASE_URL, or give --database-url.")
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
    parsed = _parse(url)
    if database is not None:
        parsed = parsed.set(database=database)
    redactor = Redactor([url, str(parsed.password or "")])
    dialect = parsed.get_dialect()()
    try:
        arguments, keywords = dialect.create_connect_args(parsed)
        module = type(dialect).import_dbapi() if hasattr(type(dialect), "import_dbapi") else type(dialect).dbapi()
        keywords.setdefault("application_name", application)
        keywords.setdefault("connect_timeout", CONNECT_TIMEOUT_SECONDS)
        keywords.setdefault("client_encoding", "utf8")  # whatever the database's: the server translates
        keywords.pop("context", None)  # psycopg's adapters of SQLAlchemy: not needed to read text
        raw: Any = module.connect(*arguments, **keywords)
    except Exception as exc:
        where = f"{parsed.host or 'the local socket'}:{parsed.port or 5432}, database {parsed.database!r}"
        raise Unavailable(
            f"Cannot connect to {where}: {redactor.text(first_line(exc))}.",
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


def _parse(url: str) -> Any:
    """The URL with a driver that is installed. A bare postgresql:// takes whichever is there."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    if url.startswith("postgres://"):
        url = "postgresql://" + url[len("postgres://") :]
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as exc:
        hint = "Write postgresql://user:password@host:port/database."
        raise PapError("The database URL cannot be read.", hint=hint) from exc
    backend, _, driver = parsed.drivername.partition("+")
    if backend != "postgresql":
        raise PapError(f"The database URL is for {backend}; the schema check knows PostgreSQL only.")
    installed = [name for name in _DRIVERS if importlib.util.find_spec(name)]
    if driver in ("", "asyncpg", "psycopg_async", "psycopg2cffi", "pg8000"):
        driver = installed[0] if installed else driver
    if driver not in installed:
        raise PapError(
            f"The database driver {driver or 'psycopg2 or psycopg'} is not installed.",
            hint="Install psycopg2-binary or psycopg[binary] beside the application.",
        )
    return parsed.set(drivername=f"postgresql+{driver}")
