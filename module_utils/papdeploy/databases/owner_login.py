"""A login for one process, with the rights of a database's owner and no more; gone when the process ends.

PostgreSQL runs functions of whoever made a table for whoever restores or reads it: CHECK constraints, domains and
generated columns for each row; literals of array, composite and range types while a definition is parsed; the
predicates and expressions of indexes and statistics while a query is planned. ``SET ROLE`` is no barrier to them, since
a function can reset it. A session that logged in without more rights is.

A login that a killed process has left can do nothing without its password, which is lost; the next
process that makes one drops it.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Optional, Protocol, TypeVar

from ..core.errors import PapError, Unavailable
from ..core.processes import Place, Process

_PREFIX = "pap_deploy_rows_"
_RECORD = "pap-deploy login "
D = TypeVar("D", bound="Database")
# The server's own decision who comes in, and how. What an application could bring about is none of these.
_NOT_LET_IN = re.compile(r"pg_hba\.conf|authentication failed|no password supplied|Connection refused")
_LOGIN_REJECTED = "pg_hba.conf rejects every login that pap-deploy creates for it"
# Whoever has the password, which is in the memory of one process only, can open sessions for so long.
_VALID_S = 24 * 3600
_RENEW_S = 6 * 3600

# What a role must be to count as one of these, as a condition on pg_roles AS r: it can do nothing by itself.
SHAPE = (
    f"(r.rolname LIKE '{_PREFIX.replace('_', '!_')}%' ESCAPE '!' AND r.rolvaliduntil IS NOT NULL AND NOT (r.rolsuper"
    " OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication)"
    f" AND starts_with(coalesce(shobj_description(r.oid, 'pg_authid'), ''), '{_RECORD}'))"
)

# Who the session is, to whom its database belongs, and whether that owner can read all tables in it.
_WHO = """
SELECT me.rolsuper AS superuser, o.rolsuper AS owner_superuser, o.rolname::text AS owner,
       quote_ident(o.rolname) AS quoted, current_setting('port')::int AS port,
       EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'm', 'S') AND c.relpersistence <> 't'
           AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
           AND NOT (has_schema_privilege(o.oid, n.oid, 'USAGE')
                    AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(o.oid, c.oid, 'SELECT')
                        ELSE has_table_privilege(o.oid, c.oid, 'SELECT') END)) AS hidden
FROM pg_roles me, pg_database d JOIN pg_roles o ON o.oid = d.datdba
WHERE me.rolname = current_user AND d.datname = current_database()"""


class Session(Protocol):
    """What is asked of a session."""

    def rows(self, query: str) -> list[dict[str, Any]]: ...

    def execute(self, statement: str) -> list[str]: ...

    def scalar(self, query: str) -> Any: ...


class Address(Protocol):
    """Where a database is, and as whom it is reached."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def user(self) -> str: ...


class Database(Protocol):
    """What is asked of a database: sessions, the same server's other databases, and a connection by a login."""

    @property
    def label(self) -> str: ...

    @property
    def conninfo(self) -> Address: ...

    def session(self) -> AbstractContextManager[Session]: ...

    def named(self: D, dbname: str) -> D: ...

    def logged_in(self: D, login: OwnerLogin) -> D: ...


@dataclass
class OwnerLogin:
    """One such role. ``name`` needs no quotes; ``host`` and ``port`` are where it was let in."""

    name: str
    password: str = field(repr=False)
    host: str = ""
    port: int = 0
    since: float = field(default_factory=time.monotonic)

    @property
    def ages(self) -> bool:
        """Whether it should be renewed before it is used."""
        return time.monotonic() - self.since > _RENEW_S

    def renew(self, session: Session) -> None:
        """Let it open sessions for another day."""
        session.execute(f"ALTER ROLE {self.name} VALID UNTIL '{_until()}'")
        self.since = time.monotonic()


# The logins of this process by server, superuser, owner and kind, each with how to drop it; None: none is let in.
_Key = tuple[str, str, int, str, str, bool]
_logins: dict[_Key, tuple[Any, Optional[OwnerLogin]]] = {}
_making = threading.Lock()


def confined(database: D, session: Optional[Session] = None) -> tuple[D, str]:
    """The connection to ``database`` by such a login, where that of ``database`` is by a superuser; else ``database``
    itself, and why a superuser has to do. ``session`` is one that is there already, which saves another."""
    with contextlib.nullcontext(session) if session else database.session() as asked:
        who = asked.rows(_WHO)[0]
    if not who["superuser"]:
        return database, ""
    if who["owner_superuser"]:
        return database, f"the database belongs to {who['owner']}, who is a superuser"
    at = database.conninfo
    server = database.label.rpartition(", database ")[0]
    key = (server, at.host, at.port, at.user, str(who["quoted"]), bool(who["hidden"]))
    with _making:
        known = _logins[key][1] if key in _logins else None
        if key not in _logins or (known and known.ages):
            with database.session() as fresh:
                if known:
                    known.renew(fresh)
                else:
                    _logins[key] = database, _let_in(database, fresh, key, int(who["port"]))
        login = _logins[key][1]
    return (database.logged_in(login), "") if login else (database, _LOGIN_REJECTED)


def _let_in(database: Database, session: Session, key: _Key, port: int) -> Optional[OwnerLogin]:
    """A new login that comes in where the superuser does, or on the server's own loopback; None if none is let in."""
    if not _logins:
        atexit.register(_drop_all, os.getpid())
    for left in _left(session):
        with contextlib.suppress(PapError):  # it can do nothing, and is tried again
            _remove(database, session, left)
    login = make(session, key[4], reads_all=key[5])
    local = not key[1] or key[1].startswith("/")
    try:
        for login.host, login.port in [(key[1], key[2]), *([("127.0.0.1", port), ("::1", port)] if local else [])]:
            if _comes_in(database.logged_in(login), login.name):
                return login
    except PapError:
        drop(session, login.name)
        raise
    drop(session, login.name)
    return None


def _comes_in(database: Database, name: str) -> bool:
    try:
        with database.session() as session:
            role = session.scalar("SELECT session_user || ' ' || current_setting('is_superuser') AS role")
    except Unavailable as error:
        if _NOT_LET_IN.search(str(error.data.get("stderr"))):
            return False
        raise
    return bool(role == f"{name} off")


def _drop_all(pid: int) -> None:
    """Drop what this process made. What cannot be dropped now comes in no more, or is found by the next process."""
    made = _logins.values() if pid == os.getpid() else ()
    for database, login in [(where, login) for where, login in made if login is not None]:
        for dbname in ("postgres", "template1"):
            with contextlib.suppress(PapError), database.named(dbname).session() as session:
                _remove(database, session, login.name)
                break


def _remove(database: Database, session: Session, name: str) -> None:
    """Drop the role; where something depends on it, after that went to the owner whose rights the role had."""
    for used in drop(session, name):
        with database.named(used).session() as there:
            hand_over(there, name)
            drop(there, name)


def make(session: Session, owner: str, *, reads_all: bool) -> OwnerLogin:
    """Create one with the rights of ``owner`` (quoted); ``reads_all``: there are tables which that role cannot read. It
    passes row-level security, so that a table is read whole or not at all, as the owner could by switching it off; and
    no event trigger fires for what it does."""
    login = OwnerLogin(_PREFIX + secrets.token_hex(8), secrets.token_hex(24))
    reader = f"; GRANT pg_read_all_data TO {login.name}" if reads_all else ""
    version = int(session.scalar("SELECT current_setting('server_version_num')::int AS version"))
    quiet = "event_triggers = off" if version >= 170000 else "session_replication_role = replica"
    session.execute(
        f"BEGIN; CREATE ROLE {login.name} LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS"
        f" PASSWORD '{_verifier(login.password)}' VALID UNTIL '{_until()}';"
        f" COMMENT ON ROLE {login.name} IS '{_RECORD}{_holder()}';"
        f" ALTER ROLE {login.name} SET {quiet}; GRANT {owner} TO {login.name}{reader}; COMMIT"
    )
    return login


def drop(session: Session, name: str) -> list[str]:
    """Drop the role, or say in which databases (quoted) something depends on it: it was given a right there, or
    used it to make something. Then it cannot log in any more."""
    session.execute(
        f"ALTER ROLE {name} NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'"
    )
    found = session.rows(
        "SELECT DISTINCT d.datname::text AS name FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid"
        " LEFT JOIN pg_database d ON d.oid = s.dbid OR s.dbid = 0 AND d.datname = current_database()"
        f" WHERE s.refclassid = 'pg_authid'::regclass AND r.rolname = '{name}' ORDER BY 1"
    )
    if not found:
        session.execute(f"DROP ROLE {name}")
    return [str(row["name"]) for row in found if row["name"]]


def hand_over(session: Session, name: str) -> None:
    """Give what the role made in this database to the owner whose rights it had, and revoke what it was granted."""
    rows = session.rows(
        "SELECT quote_ident(o.rolname) AS owner FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member"
        f" JOIN pg_roles o ON o.oid = m.roleid WHERE r.rolname = '{name}' AND o.rolname <> 'pg_read_all_data'"
    )
    given = f"REASSIGN OWNED BY {name} TO {rows[0]['owner']};" if rows else ""
    session.execute(f"BEGIN; {given} DROP OWNED BY {name}; COMMIT")


def _left(session: Session) -> list[str]:
    """Those whose process is over."""
    rows = session.rows(
        "SELECT r.rolname::text AS name, r.rolvaliduntil < now() AS expired, substr(shobj_description(r.oid,"
        f" 'pg_authid'), {len(_RECORD) + 1}) AS holder FROM pg_roles r WHERE {SHAPE}"
    )
    return [str(row["name"]) for row in rows if row["expired"] or _over(str(row["holder"]))]


def _holder() -> str:
    here = Process.of(os.getpid())
    return json.dumps({"place": _place(), "pid": here.pid, "start": here.start})


def _over(holder: str) -> bool:
    """Whether the process of that record ran here and does no more."""
    try:
        told = json.loads(holder)
        return bool(told["place"] == _place() and not Process(int(told["pid"]), told["start"]).alive)
    except (ValueError, TypeError, KeyError):
        return False


def _place() -> str:
    here = Place.here()
    return hashlib.sha256(f"{here.host} {here.boot} {here.pidns}".encode()).hexdigest()[:16]


def _until() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime(time.time() + _VALID_S))


def _verifier(password: str) -> str:
    """What the server keeps of the password (RFC 5803): so that no log of statements has it."""
    salt, rounds = secrets.token_bytes(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${rounds}:{_b64(salt)}${_b64(stored)}:{_b64(server)}"


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
