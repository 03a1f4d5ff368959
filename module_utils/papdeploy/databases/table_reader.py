"""Read tables of the application, each as a login with the rights of its owner and no more (``owner_login``).

To plan a query is to run what the owners of its tables put into their indexes and statistics. So no statement reads
tables of two owners, and no session has the rights of both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional, Protocol, TypeVar

from ..core.errors import CommandFailed
from ..sql.quoting import quote_ident
from .owner_login import DATABASE_OWNER
from .psql import Session, bind

R = TypeVar("R")
_SUPERUSER = ""  # in place of an owner: the session's own role
Query = tuple[str, str, str]  # schema and name of the one table (or sequence) that it reads, and the query
_BATCH = 40  # tables per statement: few round trips, and short statements

# The relations of a VALUES list t(place, schema, name), with their owner r and that of the database, o.
_FOUND = f"""
FROM (VALUES {{names}}) AS t(place, schema, name)
JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
JOIN pg_database d ON d.datname = current_database() JOIN pg_roles o ON o.oid = d.datdba
JOIN pg_roles r ON r.oid = CASE c.relowner WHEN '{DATABASE_OWNER}'::regrole THEN d.datdba ELSE c.relowner END"""

# The owners of what is read. What belongs to a superuser, the database's owner may read.
_OWNERS = f"""
SELECT DISTINCT r.rolname::text AS name FROM pg_class c JOIN pg_database d ON d.datname = current_database()
JOIN pg_roles r ON r.oid = d.datdba OR r.oid = c.relowner AND c.relowner <> '{DATABASE_OWNER}'::regrole
WHERE c.relkind IN ('r', 'S') AND c.relpersistence <> 't' AND c.oid >= 16384 ORDER BY 1"""

# As whom each is read: as its owner; what belongs to a superuser, as the owner of the database, where that one can read
# it, and else as the superuser, when it is certain that it does. NULL: by the session itself, which is no superuser's.
_BY = f"""
SELECT t.place::int AS place, CASE
    WHEN NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN NULL
    WHEN NOT r.rolsuper THEN r.rolname::text
    WHEN NOT o.rolsuper AND NOT c.relrowsecurity AND has_schema_privilege(o.oid, n.oid, 'USAGE')
     AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(o.oid, c.oid, 'SELECT')
         ELSE has_table_privilege(o.oid, c.oid, 'SELECT') END THEN o.rolname::text
    ELSE '{_SUPERUSER}' END AS reader {_FOUND}"""


class Relation(Protocol):
    """What is read: a table or a sequence."""

    @property
    def schema(self) -> str: ...

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class _Place:
    place: int
    reader: Optional[str]


@dataclass(frozen=True)
class _Owned:
    kind: str
    sure: bool


def records(session: Session, record: type[R], queries: Sequence[Query]) -> list[R]:
    """The rows of ``queries``, each a ``record``; in the snapshot of ``session``, where that keeps one."""
    return list(Reader(session).records(record, queries)) if queries else []


def let_in(session: Session) -> None:
    """Make the logins by which the tables are read, so that who reads them first need not wait for that."""
    for name in session.column(_OWNERS):
        session.database.confined(session, str(name))


def query(table: Relation, select: str, condition: str = "") -> Query:
    """``select`` on the one table (or sequence) ``table``, which is t in it."""
    asked = f"{select} FROM ONLY {quote_ident(table.schema)}.{quote_ident(table.name)} AS t {condition}"
    return table.schema, table.name, asked


class Reader:
    """Reads tables of the database of ``session``, by sessions beside it, each opened when it is needed first: in
    ``snapshot``, or in that which ``session`` keeps. Where a snapshot is given, each statement runs in a transaction of
    its own and gives its locks back, so that a database with more tables than the server has locks can be read.
    ``itself``: in that session alone, which sees what it has not committed."""

    def __init__(
        self, session: Session, snapshot: str = "", lock_timeout_s: Optional[float] = None, *, itself: bool = False
    ) -> None:
        self._session, self._snapshot = session, snapshot
        self._apart, self._itself = bool(snapshot), itself
        wait_ms = None if lock_timeout_s is None else int(lock_timeout_s * 1000)
        self._patience = "" if wait_ms is None else f"; SET LOCAL lock_timeout = '{wait_ms}ms'"
        self._sessions: dict[Optional[str], Session] = {}

    def records(self, record: type[R], queries: Sequence[Query]) -> Iterator[R]:
        """The rows of ``queries``, each a ``record``, table by table of each owner."""
        grouped: dict[Optional[str], list[Query]] = {}
        for query, reader in zip(queries, self._readers(queries)):
            grouped.setdefault(reader, []).append(query)
        for reader, group in grouped.items():
            session = self._by(reader)
            for start in range(0, len(group), _BATCH):
                batch = group[start : start + _BATCH]
                with _explained(), self._transaction(session, batch, sure=reader == _SUPERUSER):
                    found = session.records(record, " UNION ALL ".join(query for _, _, query in batch))
                yield from found

    def lines(self, table: Relation, statement: str) -> list[str]:
        """What ``statement``, which reads that table, returns as lines."""
        asked = [(table.schema, table.name, statement)]
        reader = self._readers(asked)[0]
        session = self._by(reader)
        with self._transaction(session, asked, sure=reader == _SUPERUSER):
            return session.execute(statement)

    def _readers(self, queries: Sequence[Query]) -> list[Optional[str]]:
        if self._itself:
            return [None] * len(queries)
        found: dict[int, Optional[str]] = {}
        for start in range(0, len(queries), 1000):
            asked = _BY.format(names=_named(queries[start : start + 1000], start))
            found.update({each.place: each.reader for each in self._session.records(_Place, asked)})
        for at, (schema, name, _) in enumerate(queries):
            if at not in found:
                raise CommandFailed(f"{schema}.{name} was dropped while it was to be read.")
        return [found[at] for at in range(len(queries))]

    def _by(self, reader: Optional[str]) -> Session:
        """The session for what ``reader`` reads; a superuser's own, where the server lets no login in."""
        if reader not in self._sessions:
            own = self._session.database
            database = own.confined(self._session, reader) if reader else own
            if database is own and reader != _SUPERUSER and not self._apart:
                self._sessions[reader] = self._session
            else:
                self._sessions[reader] = self._session.beside(database)
                self._snapshot = self._snapshot or self._shared()
        return self._sessions[reader]

    def _shared(self) -> str:
        kept = self._session.scalar("SELECT current_setting('transaction_isolation') AS level") == "repeatable read"
        return str(self._session.scalar("SELECT pg_export_snapshot() AS id")) if kept else ""

    @contextlib.contextmanager
    def _transaction(self, session: Session, batch: Sequence[Query], *, sure: bool) -> Iterator[None]:
        """Nothing, where the session keeps a transaction of its own, or each statement gives its locks back."""
        if session is self._session or not (self._snapshot or sure):
            yield
            return
        as_of = bind("; SET TRANSACTION SNAPSHOT %s", self._snapshot) if self._snapshot else ""
        session.execute(f"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY{as_of}{self._patience}")
        if sure:
            _hold(session, batch)
        yield
        session.execute("COMMIT")


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except CommandFailed as error:
        if "permission denied for" in error.message and not error.hint:
            error.hint = (
                "Its owner needs SELECT on it and USAGE of its schema: a superuser does not read it in its place."
            )
        raise


def _hold(session: Session, batch: Sequence[Query]) -> None:
    """Raise CommandFailed unless these are superusers' tables, and remain so until the transaction ends: whoever owns a
    schema can drop what others have in it, and put something of its own there."""
    look = f"SELECT c.relkind AS kind, r.rolsuper AS sure {_FOUND.format(names=_named(batch, 0))}"
    if any(
        each.kind == "S" for each in session.records(_Owned, look)
    ):  # LOCK TABLE takes none; this locks it just as long
        session.execute(f"SELECT pg_sequence_last_value(c.oid) {_FOUND.format(names=_named(batch, 0))}")
    else:
        names = ", ".join(f"ONLY {quote_ident(schema)}.{quote_ident(name)}" for schema, name, _ in batch)
        session.execute(f"LOCK TABLE {names} IN ACCESS SHARE MODE")
    if [each.sure for each in session.records(_Owned, look)] != [True] * len(batch):
        raise CommandFailed("A table of a superuser was replaced while it was to be read.")


def _named(queries: Sequence[Query], start: int) -> str:
    return ", ".join(bind("(%s, %s, %s)", at, schema, name) for at, (schema, name, _) in enumerate(queries, start))
