"""PostgreSQL at the database site through its own client programs: no Python driver, no published port needed."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional, TypeVar

from ..core import conninfo, database_identity, encodings
from ..core.database_identity import IDENTITY, DatabaseIdentity
from ..core.errors import CommandFailed, DeadlineExceeded, PapError, Unavailable
from ..core.records import read
from ..core.registry import Registry
from ..core.text import plural
from ..sites.host import Process, Site, deadline
from ..sql import lock_holders
from ..sql.quoting import quote_literal
from . import owner_login
from .session_settings import LIBPQ, PINNED, pin_what_is_known

R = TypeVar("R")

# The first thing that every session says: in which encoding the database keeps its text.
_ENCODING = "SELECT pg_catalog.current_setting('server_encoding') AS encoding"

# What ANALYZE takes by itself, but for the parents of foreign tables.
_ANALYZED = """
WITH RECURSIVE above(oid) AS (
    SELECT h.inhparent FROM pg_inherits h JOIN pg_foreign_table f ON f.ftrelid = h.inhrelid
    UNION SELECT h.inhparent FROM pg_inherits h JOIN above a ON h.inhrelid = a.oid)
SELECT coalesce(json_agg(quote_ident(n.nspname) || '.' || quote_ident(c.relname)), '[]') AS names
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'p') AND NOT c.relisshared AND n.nspname !~ '^pg_(toast|temp_)'
  AND c.oid NOT IN (SELECT oid FROM above)"""
_AT_ONCE = 100  # tables a statement


def bind(statement: str, *values: object) -> str:
    """``statement`` with each ``%s`` replaced by the literal of the next value (psql has no parameters before 16)."""
    parts = statement.split("%s")
    if len(parts) - 1 != len(values):
        raise ValueError(f"{plural(len(parts) - 1, 'placeholder')}, {plural(len(values), 'value')}")
    return "".join(part + quote_literal(value) for part, value in zip(parts, values)) + parts[-1]


@dataclass(frozen=True)
class Conninfo:
    """How to reach one database. The password never becomes part of an argument list."""

    dbname: str
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    application_name: str = "pap-deploy:cli"

    def string(self) -> str:
        """The libpq connection string for argument lists: every value escaped, without the password."""
        values = {
            "dbname": self.dbname,
            "host": self.host,
            "port": str(self.port or ""),
            "user": self.user,
            "application_name": self.application_name,
            "connect_timeout": "10",
        }
        return conninfo.render(values)

    def environment(self) -> dict[str, str]:
        """What libpq takes from the environment: the password, and nothing that could redirect the connection."""
        return {"PGPASSWORD": self.password} if self.password else {}


class Session:
    """One open connection, held by a psql process. Every statement waits for its end; an error ends the session.
    What it reads with the rights of other roles, it reads by sessions of theirs, which last as long as it does.
    ``expired``: its time was up, and the process was ended."""

    def __init__(
        self,
        process: Process,
        label: str,
        database: Database,
        settings: Mapping[str, str] | None,
        expired: threading.Event,
    ) -> None:
        self._process, self._expired = process, expired
        self._label = label
        self.database, self.settings = database, settings
        self._beside: dict[str, Session] = {}
        self._opened = contextlib.ExitStack()
        self._codec = ""
        self._write(f"{_ENCODING} \\gset\n\\echo :encoding")

    def beside(self, database: Database) -> Session:
        """A second session in the same database, by the role of ``database``; the same one whenever it is asked for."""
        role = database.conninfo.user
        if role not in self._beside:
            self._beside[role] = self._opened.enter_context(database.session(self.settings))
        return self._beside[role]

    def processes_beside(self) -> list[int]:
        """The server's processes of the sessions beside this one."""
        return [int(each.scalar("SELECT pg_backend_pid() AS pid")) for each in self._beside.values()]

    def send(self, text: str) -> None:
        """Hand psql input that prints nothing, without waiting for it."""
        self._write(text)

    def execute(self, statement: str) -> list[str]:
        """Run SQL (several statements with ``;`` between them); the lines that it returned, unaligned."""
        marker = f"--done-{secrets.token_hex(8)}--"
        self._write(f"{statement}\n;\n\\echo {marker}")
        codec = self._read_codec()
        lines: list[str] = []
        for raw in iter(self._line, b"") if codec else ():
            line = encodings.decoded(raw, codec).rstrip("\n")
            if line == marker:
                return lines
            lines.append(line)
        raise self._failed(statement)

    def _write(self, text: str) -> None:
        assert self._process.stdin is not None
        data = text.encode() if text.isascii() else encodings.encoded(text, self._read_codec() or "utf-8")
        with contextlib.suppress(BrokenPipeError, ConnectionError, ValueError):  # the next read says why
            self._process.stdin.write(data + b"\n")
            self._process.stdin.flush()

    def _line(self) -> bytes:
        """The next line of psql; empty at the end, and of a session that is closed."""
        try:
            return self._process.stdout.readline()
        except ValueError:
            return b""

    def _read_codec(self) -> str:
        """How the database's bytes are read: what the server answered first. Empty if the session is none."""
        if not self._codec:
            said = self._line().decode("ascii", "replace").strip()
            self._codec = encodings.codec(said) if said else ""
        return self._codec

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of one query as dictionaries of JSON values."""
        lines = self.execute(f"SELECT coalesce(json_agg(q), '[]') FROM (\n{query}\n) AS q")
        result: list[dict[str, Any]] = json.loads("\n".join(lines))
        return result

    def records(self, record: type[R], query: str) -> list[R]:
        """The rows of one query, each a ``record`` with its columns for fields."""
        return [read(record, row) for row in self.rows(query)]

    def column(self, query: str) -> list[Any]:
        """The first column of every row."""
        return [next(iter(row.values())) for row in self.rows(query)]

    def scalar(self, query: str) -> Any:
        """The first column of the first row, or None."""
        return next(iter(self.column(query)), None)

    def close(self) -> None:
        """End the session and those beside it; what was not committed is rolled back by the server."""
        self._opened.close()
        if self._process.stdin:
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.close()
        with contextlib.suppress(PapError):
            self._process.wait(5)
        self._process.kill()

    def _failed(self, statement: str) -> PapError:
        if self._expired.is_set():
            return DeadlineExceeded(
                f"PostgreSQL on {self._label} did not answer within {self.database.patience_s:g} s.",
                hint="See whether the server hangs, and what it waits for: pg_stat_activity.",
                statement=statement[:2000],
            )
        with contextlib.suppress(PapError):
            self._process.wait(5)
        said = self._process.errors().strip()
        message = next(
            (line for line in said.splitlines() if "ERROR:" in line or "FATAL:" in line), said or "psql ended"
        )
        if "FATAL:" in message or "could not connect" in said or "connection to server" in said:
            return Unavailable(
                f"PostgreSQL on {self._label} did not accept or keep the connection: {_short(message)}",
                hint="Check that the database runs and that host, port, user and password in the inventory are right.",
                stderr=said,
            )
        if "due to lock timeout" in message:
            held, hint = self._holders()
            return CommandFailed(
                f"A table stayed locked on {self._label}: {held}.",
                hint=hint,
                stderr=said[-4000:],
                statement=statement[:2000],
            )
        return CommandFailed(
            f"SQL failed on {self._label}: {_short(message)}",
            stderr=said[-4000:],
            statement=statement[:2000],
        )

    def _holders(self) -> tuple[str, str]:
        try:
            return holders(self.database)
        except PapError as error:
            return f"by whom cannot be asked ({error.message.rstrip('.')})", "See pg_locks and pg_stat_activity."


@dataclass(frozen=True)
class _Holder:
    said: str
    ended: str


def holders(database: Database) -> tuple[str, str]:
    """Who holds a table of ``database``, as the end of a sentence, and the next step."""
    return lock_holders.told([(one.said, one.ended) for one in database.records(_Holder, lock_holders.HOLDERS)])


def _short(message: str) -> str:
    for mark in ("ERROR:", "FATAL:"):
        if mark in message:
            return message.split(mark, 1)[1].strip()
    return message.strip()[-400:]


def identity_of(session: Session) -> DatabaseIdentity:
    """Which database of which server the session is in."""
    return DatabaseIdentity.from_row(**session.rows(IDENTITY)[0])


@dataclass(frozen=True)
class ServerFacts:
    """What the server says of itself. ``version`` is server_version_num, for example 180003."""

    version: int
    identifier: str
    in_recovery: bool
    superuser: bool

    @property
    def major(self) -> int:
        return self.version // 10000


@dataclass(frozen=True)
class Database:
    """One database at its site, reached by psql as the administrating role. ``bin_dir`` holds the client programs.
    ``expect``: every session proves that it is in this database, before it sends anything else."""

    site: Site
    conninfo: Conninfo
    bin_dir: str = ""
    expect: Optional[DatabaseIdentity] = None
    # What the stack wrote down of the databases it made; without a state folder, what this object's user made.
    registry: Registry = field(default_factory=Registry, compare=False, repr=False)
    # Settings of its sessions besides the pinned ones.
    settings: tuple[tuple[str, str], ...] = ()
    # Seconds for which a session of its may last, whatever the server does; None for as long as it takes.
    patience_s: Optional[float] = None

    @property
    def label(self) -> str:
        return f"{self.site.label}, database {self.conninfo.dbname}"

    def program(self, name: str) -> str:
        return f"{self.bin_dir.rstrip('/')}/{name}" if self.bin_dir else name

    def named(self, dbname: str) -> Database:
        """The same server and role, another database."""
        return replace(self, conninfo=replace(self.conninfo, dbname=dbname), expect=None)

    def expecting(self, identity: DatabaseIdentity) -> Database:
        """The same way, which must lead to ``identity``: sessions that are elsewhere are closed and refused."""
        return replace(self, expect=identity)

    def as_release(self, release: str) -> Database:
        """The same, with sessions that can be recognised (and ended) as belonging to ``release``."""
        return replace(self, conninfo=replace(self.conninfo, application_name=f"pap-deploy:{release}"))

    def tool(self, name: str, *arguments: str, dbname_option: Optional[str] = "--dbname") -> list[str]:
        """The argument list of a client program, connected to this database by an escaped connection string."""
        connect = [f"{dbname_option}={self.conninfo.string()}"] if dbname_option else []
        return [self.program(name), "--no-password", *connect, *arguments]

    def environment(self, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment for a client program: the pinned session settings, with ``settings`` over them."""
        options = " ".join(
            "-c " + f"{key}={value}".replace("\\", "\\\\").replace(" ", "\\ ")
            for key, value in {**PINNED, **dict(self.settings), **(settings or {})}.items()
        )
        return {**LIBPQ, "LC_ALL": "C.UTF-8", **self.conninfo.environment(), "PGOPTIONS": options}

    def confined(self, session: Optional[Session] = None, owner: Optional[str] = None) -> Database:
        """The same database as a login with the rights of ``owner`` (None: of its own) and no more, where this role is
        a superuser; else this one. What restores or reads rows goes through it. ``session`` is one that is there."""
        return owner_login.confined(self, session, owner)[0]

    def logged_in(self, login: owner_login.OwnerLogin) -> Database:
        """The same database, by that login."""
        way = replace(self.conninfo, user=login.name, password=login.password, host=login.host, port=login.port)
        return replace(self, conninfo=way, settings=())

    def confinement(self, owner: Optional[str] = None) -> tuple[Database, str]:
        """The same, and why a superuser has to restore and read the rows of this database; empty if it need not."""
        return owner_login.confined(self, None, owner)

    @contextlib.contextmanager
    def session(self, settings: Mapping[str, str] | None = None) -> Iterator[Session]:
        """A connection for several statements, closed at the end. Raises WrongDatabase if it is not in ``expect``."""
        argv = self.tool("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-")
        process = self.site.popen(argv, env=self.environment(settings), stdin=True)
        with deadline(process, self.patience_s) as expired:
            session = Session(process, self.label, self, settings, expired)
            try:
                if self.expect is not None:
                    database_identity.refuse_other(self.expect, identity_of(session))
                session.send(f"{pin_what_is_known()} \\gset")
                yield session
            finally:
                session.close()

    def rows(self, query: str) -> list[dict[str, Any]]:
        with self.session() as session:
            return session.rows(query)

    def records(self, record: type[R], query: str) -> list[R]:
        with self.session() as session:
            return session.records(record, query)

    def scalar(self, query: str) -> Any:
        with self.session() as session:
            return session.scalar(query)

    def execute(self, statements: str | Sequence[str]) -> None:
        with self.session() as session:
            for statement in [statements] if isinstance(statements, str) else statements:
                session.execute(statement)

    def analyze(self) -> None:
        """Gather the planner's statistics of every table: a dump carries none, so a restored database has none. Not of
        what foreign tables are a part of: a sample of theirs is asked of another server."""
        with self.session() as session:
            tables = [str(name) for name in session.scalar(_ANALYZED)]
            for start in range(0, len(tables), _AT_ONCE):
                session.execute(f"ANALYZE {', '.join(tables[start : start + _AT_ONCE])}")

    def identity(self) -> DatabaseIdentity:
        """Which database of which server this is: equal only where two ways lead to the same one."""
        with self.session() as session:
            return identity_of(session)

    def prove(self) -> None:
        """Raise WrongDatabase unless this leads to ``expect``: before and after a program that connects by itself."""
        self.scalar("SELECT 1 AS one")

    def facts(self) -> ServerFacts:
        """Version, identity and role of the server; raises Unavailable if it does not answer."""
        return self.records(
            ServerFacts,
            "SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS in_recovery,"
            " (SELECT system_identifier::text FROM pg_control_system()) AS identifier,"
            " (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser",
        )[0]

    def tool_version(self, name: str) -> int:
        """The major version of a client program, for example 18."""
        text = self.site.run([self.program(name), "--version"]).text
        found = re.search(r"\) (\d+)", text)
        if not found:
            raise Unavailable(f"{name} on {self.site.label} did not say its version: {text.strip()[:200]!r}.")
        return int(found[1])
