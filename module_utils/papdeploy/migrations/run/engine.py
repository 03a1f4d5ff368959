"""SQLAlchemy on a connection that is already open and already in a transaction."""

from __future__ import annotations

from typing import Any

from ...core.database_url import DatabaseUrl
from ...core.errors import Unavailable


def engine_on(raw: Any, url: DatabaseUrl, driver: str) -> Any:
    """An engine whose only connection is ``raw``. Its pool never resets, closes or rolls back (versions 1.4 to 2.1).

    Raises Unavailable if SQLAlchemy is not there or has no dialect for the driver.
    """
    try:
        import sqlalchemy
        from sqlalchemy.pool import StaticPool
    except ImportError:
        raise Unavailable(
            "SQLAlchemy is not installed here, so db.connection, db.op and the schema check cannot be had.",
            hint="Run with the application's own Python.",
        ) from None
    try:
        return sqlalchemy.create_engine(
            url.sqlalchemy(driver), creator=lambda: raw, poolclass=StaticPool, pool_reset_on_return=None, future=True
        )
    except sqlalchemy.exc.NoSuchModuleError:
        raise Unavailable(
            f"SQLAlchemy {sqlalchemy.__version__} has no dialect for {driver}.",
            hint="Install psycopg2-binary, or use db.execute() instead of db.connection.",
        ) from None
