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
from ..core.records import read, whole
from ..sql.quoting import quote_literal

_PREFIX = "pap_deploy_rows_"
_RECORD = "pap-deploy login "
D = TypeVar("D", bound="Database")
R = TypeVar("R")
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

# Of an entry a of a database's privileges: none of these has it, as it may for as long as it lives.
NOT_OURS = f"NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = a.grantee AND {SHAPE})"

# Who the session is, and the roles whose rights are asked for: {condition} on pg_roles AS o and pg_database AS d. Row
# security that is forced upon its owner hides rows from it, and from who has its rights; a superuser passes it.
_WHO = """
SELECT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser, o.rolsuper AS owner_superuser,
       o.rolname::text AS owner, quote_ident(o.rolname) AS quoted, current_setting('port')::int AS port,
       NOT has_database_privilege(o.oid, d.oid, 'CONNECT') AS shut_out,
       EXISTS (SELECT FROM pg_class c WHERE c.relowner = o.oid AND c.relforcerowsecurity) AS forced
FROM pg_roles o, pg_database d WHERE d.datname = current_database() AND {condition}"""
# What belongs to the owner of a database, whoever that is, belongs to this role.
DATABASE_OWNER = "pg_database_owner"


class Session(Protocol):
    """What is asked of a session."""

    def records(self, record: type[R], query: str) -> list[R]: ...

    def column(self, query: str) -> list[Any]: ...

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


@dataclass(frozen=True)
class Rights:
    """What a login may do: what role ``owner`` (quoted) may; ``unhidden``: row-level security hides nothing from it."""

    owner: str
    unhidden: bool


@dataclass(frozen=True)
class _Door:
    """How a login comes into a database: the server's ``port``, and whether its owner has no CONNECT there."""

    port: int
    shut: bool


@dataclass(frozen=True)
class _Who:
    """Whether the session is a superuser's, and whose rights are asked for; ``shut_out``: without CONNECT."""

    superuser: bool
    owner_superuser: bool
    owner: str
    quoted: str
    port: int
    shut_out: bool
    forced: bool


@dataclass(frozen=True)
class _Granted:
    name: str
    login: str


@dataclass(frozen=True)
class _Left:
    name: str
    expired: Optional[bool]
    holder: str


@dataclass(frozen=True)
class _Holder:
    """The process that a login is for: ``pid``, which began at ``start``, where :func:`_place` says."""

    place: str
    pid: int
    start: Optional[int]


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


# The logins of this process by server, superuser and rights, each with the way to drop it; None: none is let in.
_Key = tuple[str, str, int, str, Rights]
_logins: dict[_Key, tuple[Any, Optional[OwnerLogin]]] = {}
_making = threading.Lock()


def confined(database: D, session: Optional[Session] = None, owner: Optional[str] = None) -> tuple[D, str]:
    """The way to ``database`` by a login with the rights of role ``owner`` (None: of the database's owner), where that
    of ``database`` is by a superuser; else ``database`` itself, and why a superuser has to do. ``session`` is one that
    is there already, which saves another."""
    with contextlib.nullcontext(session) if session else database.session() as asked:
        who = next(iter(asked.records(_Who, _WHO.format(condition=_condition(owner)))), None)
    if who is None or not who.superuser:
        return database, "" if who else f"role {owner} is not on this server"
    if who.owner_superuser:
        what = "the database belongs to " if owner is None else ""
        return database, f"{what}{who.owner}, who is a superuser" if what else f"{owner} is a superuser"
    return _by_login(database, Rights(who.quoted, who.forced), _Door(who.port, who.shut_out))


def _condition(owner: Optional[str]) -> str:
    if owner is None:
        return "o.oid = d.datdba"
    literal = quote_literal(owner)
    named = f"(SELECT oid FROM pg_roles WHERE rolname = {literal})"
    return f"o.oid = CASE {literal} WHEN '{DATABASE_OWNER}' THEN d.datdba ELSE {named} END"


def _by_login(database: D, rights: Rights, door: _Door) -> tuple[D, str]:
    at = database.conninfo
    key = (database.label.rpartition(", database ")[0], at.host, at.port, at.user, rights)
    with _making:
        known = _logins[key][1] if key in _logins else None
        if key not in _logins or (known and known.ages):
            with database.session() as fresh:
                if known:
                    known.renew(fresh)
                else:
                    _logins[key] = database, _let_in(database, fresh, key, door)
        login = _logins[key][1]
    if login and door.shut:
        with database.session() as fresh:
            _open_to(fresh, login)
    return (database.logged_in(login), "") if login else (database, _LOGIN_REJECTED)


def _let_in(database: Database, session: Session, key: _Key, door: _Door) -> Optional[OwnerLogin]:
    """A new login that comes in where the superuser does, or on the server's own loopback; None if none is let in."""
    if not _logins:
        atexit.register(_drop_all, os.getpid())
    for left in _left(session):
        with contextlib.suppress(PapError):  # it can do nothing, and is tried again
            _remove(database, session, left)
    login = make(session, key[4])
    if door.shut:
        _open_to(session, login)
    local = not key[1] or key[1].startswith("/")
    try:
        for login.host, login.port in [
            (key[1], key[2]),
            *([("127.0.0.1", door.port), ("::1", door.port)] if local else []),
        ]:
            if _comes_in(database.logged_in(login), login.name):
                return login
    except PapError:
        _remove(database, session, login.name)
        raise
    _remove(database, session, login.name)
    return None


def _open_to(session: Session, login: OwnerLogin) -> None:
    """Let it into a database that its owner may not connect to, as a copy that is not proven yet. The right goes with
    the login, and is passed over where privileges are compared."""
    name = session.scalar("SELECT quote_ident(current_database()) AS name")
    session.execute(f"GRANT CONNECT ON DATABASE {name} TO {login.name}")


def shut_out(database: Database) -> None:
    """Take that right back, from every login of this process."""
    names = ", ".join(f"'{login.name}'" for _, login in _logins.values() if login)
    if names:
        with database.session() as session:
            granted = session.records(
                _Granted,
                "SELECT DISTINCT quote_ident(d.datname) AS name, r.rolname AS login"
                " FROM pg_database d, aclexplode(d.datacl) a JOIN pg_roles r ON r.oid = a.grantee"
                f" WHERE d.datname = current_database() AND r.rolname IN ({names})",
            )
            for each in granted:
                session.execute(f"REVOKE CONNECT ON DATABASE {each.name} FROM {each.login}")


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


def make(session: Session, rights: Rights) -> OwnerLogin:
    """Create one with these rights; no event trigger fires for what it does."""
    login = OwnerLogin(_PREFIX + secrets.token_hex(8), secrets.token_hex(24))
    version = int(session.scalar("SELECT current_setting('server_version_num')::int AS version"))
    quiet = "event_triggers = off" if version >= 170000 else "session_replication_role = replica"
    session.execute(
        f"BEGIN; CREATE ROLE {login.name} LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
        f" {'BYPASSRLS' if rights.unhidden else 'NOBYPASSRLS'}"
        f" PASSWORD '{_verifier(login.password)}' VALID UNTIL '{_until()}';"
        f" COMMENT ON ROLE {login.name} IS '{_RECORD}{_holder()}';"
        f" ALTER ROLE {login.name} SET {quiet}; GRANT {rights.owner} TO {login.name}; COMMIT"
    )
    return login


def drop(session: Session, name: str) -> list[str]:
    """Drop the role, or say in which databases (quoted) something depends on it: it was given a right there, or
    used it to make something. Then it cannot log in any more."""
    session.execute(
        f"ALTER ROLE {name} NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'"
    )
    found = session.column(
        "SELECT DISTINCT d.datname::text AS name FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid"
        " LEFT JOIN pg_database d ON d.oid = s.dbid OR s.dbid = 0 AND d.datname = current_database()"
        f" WHERE s.refclassid = 'pg_authid'::regclass AND r.rolname = '{name}' ORDER BY 1"
    )
    if not found:
        session.execute(f"DROP ROLE {name}")
    return [str(name) for name in found if name]


def hand_over(session: Session, name: str) -> None:
    """Give what the role made in this database to the owner whose rights it had, and revoke what it was granted."""
    owners = session.column(
        "SELECT quote_ident(o.rolname) AS owner FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member"
        f" JOIN pg_roles o ON o.oid = m.roleid WHERE r.rolname = '{name}'"
    )
    given = f"REASSIGN OWNED BY {name} TO {owners[0]};" if owners else ""
    session.execute(f"BEGIN; {given} DROP OWNED BY {name}; COMMIT")


def _left(session: Session) -> list[str]:
    """Those whose process is over."""
    found = session.records(
        _Left,
        "SELECT r.rolname::text AS name, r.rolvaliduntil < now() AS expired, substr(shobj_description(r.oid,"
        f" 'pg_authid'), {len(_RECORD) + 1}) AS holder FROM pg_roles r WHERE {SHAPE}",
    )
    return [each.name for each in found if each.expired or _over(each.holder)]


def _holder() -> str:
    here = Process.of(os.getpid())
    return json.dumps(whole(_Holder(_place(), here.pid, here.start)))


def _over(holder: str) -> bool:
    """Whether the process of that record ran here and does no more."""
    try:
        told = read(_Holder, json.loads(holder))
        return told.place == _place() and not Process(told.pid, told.start).alive
    except (ValueError, PapError):
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
