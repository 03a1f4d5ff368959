"""One connection that reads the catalog: settings pinned for one message and restored, nothing else changed.

The settings decide how the server prints types, defaults and expressions, so both sides of a comparison must be read
under the same ones. Inside a transaction they are pinned behind a savepoint that is rolled back: that also frees the
locks that reading took, and costs no further round trip, because everything travels as one simple-query message.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, Optional

from ...core.errors import PapError, Refused, Unavailable
from ...core.redact import Redactor
from ...sql import lock_holders

IDLE, IN_ERROR = 0, 3  # libpq's PQTRANS_IDLE and PQTRANS_INERROR

LOCK_TIMEOUT_MS = 5_000
STATEMENT_TIMEOUT_MS = 120_000

_SAVEPOINT = "papdeploy_read"

# What concurrent DDL does to a reader of the catalog, and how often to try again: undefined_table and internal_error
# ("could not open relation with OID", "cache lookup failed for …") are over at once, lock_not_available has waited.
_ATTEMPTS = {"42P01": 12, "XX000": 12, "55P03": 4}

Rows = list[tuple[Any, ...]]


def pinned_settings() -> list[str]:
    """The statements that pin the session; the search path in force is kept in ``papdeploy.path`` first."""
    settings = {
        "search_path": "pg_catalog, pg_temp",
        "quote_all_identifiers": "off",
        "standard_conforming_strings": "on",
        "IntervalStyle": "postgres",
        "DateStyle": "ISO, YMD",
        "TimeZone": "UTC",
        "extra_float_digits": "1",
        "bytea_output": "hex",
        "lc_monetary": "C",
        "xmlbinary": "base64",
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        "statement_timeout": str(STATEMENT_TIMEOUT_MS),
        "jit": "off",  # compiling a catalog query takes longer than running it
        "transaction_read_only": "on",
    }
    calls = ", ".join(f"pg_catalog.set_config('{name}', '{value}', true)" for name, value in settings.items())
    return [
        "SELECT pg_catalog.set_config('papdeploy.path', "
        "pg_catalog.array_to_json(pg_catalog.current_schemas(false))::pg_catalog.text, true)",
        f"SELECT {calls}",
    ]


class Session:
    """A DBAPI connection of psycopg2 or psycopg 3 (one message per read), or of another driver (a few messages)."""

    def __init__(
        self, raw: Any, *, server_version: int = 0, owned: bool = False, redactor: Optional[Redactor] = None
    ) -> None:
        self.raw = raw
        self.owned = owned
        self.redactor = redactor or Redactor()
        self.messages = 0
        self._psycopg3 = hasattr(raw, "pgconn")
        self._libpq = hasattr(raw, "info") and hasattr(getattr(raw, "info", None), "transaction_status")
        self.server_version = server_version or self._version()

    @classmethod
    def of(cls, connection: Any) -> Session:
        """The session of a SQLAlchemy connection (1.4, 2.x), or ``connection`` itself when it is a Session."""
        if isinstance(connection, Session):
            return connection
        fairy = connection.connection
        raw = getattr(fairy, "dbapi_connection", None) or getattr(fairy, "connection", fairy)
        version = getattr(connection.dialect, "server_version_info", None) or ()
        number = version[0] * 10_000 + (version[1] if len(version) > 1 else 0) if version else 0
        return cls(raw, server_version=number)

    @property
    def major(self) -> int:
        return self.server_version // 10_000

    def encoding(self) -> str:
        """The encoding of the database, or '' where the driver does not state."""
        return str(self.raw.info.parameter_status("server_encoding") or "") if self._libpq else ""

    def _version(self) -> int:
        if self._libpq:
            return int(self.raw.info.server_version)
        return int(self._send("SELECT pg_catalog.current_setting('server_version_num')")[0][0])

    def _status(self) -> int:
        return int(self.raw.info.transaction_status)

    def _autocommit(self) -> bool:
        return bool(getattr(self.raw, "autocommit", False))

    def _send(self, sql: str) -> Rows:
        """One message to the server; the rows of its last SELECT."""
        self.messages += 1
        cursor = self.raw.cursor()
        try:
            cursor.execute(sql)
            rows: Rows = cursor.fetchall() if cursor.description else []
            # psycopg 3 walks through the results of one message; psycopg2 hands out those of its last statement only.
            while self._psycopg3 and cursor.nextset():
                rows = cursor.fetchall() if cursor.description else rows
            return rows
        finally:
            cursor.close()

    def ask(self, sql: str) -> Rows:
        """The rows of ``sql``, under whatever settings the session has: for questions that do not depend on them."""
        return self._send(sql)

    def execute(self, sql: str) -> None:
        """Send ``sql`` (one statement or several), keep nothing."""
        self._send(sql)

    def read(self, select: str, *, first: Sequence[str] = ()) -> Rows:
        """The rows of ``select`` read under the pinned settings, in one message where the driver can.

        ``first`` are statements that run before it in the same message; what they set is gone afterwards. Raises
        Unavailable when concurrent DDL or locks make the read fail again and again.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._read_once([*pinned_settings(), *first, select])
            except Exception as exc:
                state = sqlstate(exc)
                if attempt >= _ATTEMPTS.get(state, 1):
                    raise self._explain(exc, state) from exc
                time.sleep(0.05 * attempt + random.random() * 0.05)

    def _read_once(self, statements: Sequence[str]) -> Rows:
        if not self._libpq:
            return self._read_stepwise(statements)
        status = self._status()
        if status == IN_ERROR:
            raise Refused(
                "The connection's transaction has already failed, so the catalog cannot be read in it.",
                hint="Roll back first.",
            )
        message = "; ".join(statements)
        if status == IDLE and self._autocommit():
            return self._send(message)  # one message is one implicit transaction: the settings end with it
        release = f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}; RELEASE SAVEPOINT {_SAVEPOINT}"
        try:
            message = f"SAVEPOINT {_SAVEPOINT}; {message}"
            if self._psycopg3:
                return self._send(f"{message}; {release}")
            rows = self._send(message)
            self._send(release)
            return rows
        except Exception:
            if self._status() == IN_ERROR:
                self._send(release)
            raise
        finally:
            if status == IDLE:
                self.raw.rollback()  # the driver began a transaction for this read alone

    def _read_stepwise(self, statements: Sequence[str]) -> Rows:
        """For a driver that takes one statement at a time: a transaction is open, or it begins one by itself."""
        self._send(f"SAVEPOINT {_SAVEPOINT}")
        try:
            return [self._send(statement) for statement in statements][-1]
        finally:
            self._send(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
            self._send(f"RELEASE SAVEPOINT {_SAVEPOINT}")

    def _explain(self, exc: Exception, state: str) -> Exception:
        if isinstance(exc, PapError):
            return exc
        text = self.redactor.text(first_line(exc))
        if state == "55P03":
            held, hint = self._holders()
            return Unavailable(f"Could not read the catalog, because a table stayed locked: {held}.", hint=hint)
        return Unavailable(
            f"Could not read the catalog: {text}.", hint="Check again; if it stays, look at the server log."
        )

    def _holders(self) -> tuple[str, str]:
        try:
            return lock_holders.told(
                [(row[0], row[1]) for row in self._read_once([*pinned_settings(), lock_holders.HOLDERS])]
            )
        except Exception as exc:  # noqa: BLE001 - of any driver; what failed before is what counts
            return f"by whom cannot be asked ({self.redactor.text(first_line(exc))})", "See pg_locks."

    def close(self) -> None:
        if self.owned:
            self.raw.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sqlstate(exc: BaseException) -> str:
    """The SQLSTATE of a driver's exception (psycopg2, psycopg 3, pg8000), or ''."""
    origin = getattr(exc, "orig", None) or exc
    for attribute in ("pgcode", "sqlstate"):
        value = getattr(origin, attribute, None)
        if isinstance(value, str):
            return value
    if origin.args and isinstance(origin.args[0], dict):
        return str(origin.args[0].get("C", ""))
    return ""


def first_line(exc: BaseException) -> str:
    """The first line of what the server or driver said, without a full stop."""
    origin = getattr(exc, "orig", None) or exc
    lines = [line.strip() for line in str(origin).splitlines() if line.strip()]
    return (lines[0] if lines else type(origin).__name__).rstrip(".")
