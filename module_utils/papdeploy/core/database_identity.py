"""Which database of which server a session is in: asked of the server through that very session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Optional

from .errors import WrongDatabase
from .plain_json import parse
from .records import as_object, recorded

# The comment of a database that pap-deploy made: this, then JSON.
RECORD_PREFIX = "pap-deploy "

# Every name is qualified: what a role or database put on the search path must not answer for the server. The server's
# start, to the microsecond, tells physical copies of one server apart; its system identifier does not.
IDENTITY = (
    "SELECT extract(epoch FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.text AS started,"
    " d.oid::pg_catalog.int8 AS oid, d.datname::pg_catalog.text AS name,"
    " coalesce(pg_catalog.shobj_description(d.oid, 'pg_database'), '') AS comment"
    " FROM pg_catalog.pg_database AS d"
    " WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()"
)

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Before:
    """What a database allowed, and its comment, before it was fenced."""

    allow_connections: bool = True
    connection_limit: int = -1
    comment: Optional[str] = None


@dataclass(frozen=True)
class Record:
    """What pap-deploy notes of a database that it gives a name to: in the database's comment, and in the registry.
    ``oid`` is what that database is, ``live_oid`` the live one; ``stack`` is None where an earlier version wrote it.
    ``traits``: the properties that it is to have in the place of the live one; ``proven``: the SHA-256 of the archive
    that it was restored from and found equal to."""

    kind: str = ""
    of: str = ""
    release: str = ""
    at: Optional[str] = None
    id: str = ""
    oid: Optional[int] = None
    live_oid: Optional[int] = None
    stack: Optional[str] = None
    stack_name: str = ""
    before: Optional[Before] = None
    traits: Mapping[str, Any] = field(default_factory=dict)
    proven: str = ""


@dataclass(frozen=True)
class DatabaseIdentity:
    """One database of one server while that runs. ``started``: when the server did, in seconds since 1970. ``mark``:
    the random id in the record that the database's maker left as its comment; empty if there is none."""

    started: str
    oid: int
    name: str
    mark: str = ""

    @classmethod
    def from_row(cls, started: Any, oid: Any, name: Any, comment: Any) -> DatabaseIdentity:
        """From a row of :data:`IDENTITY`."""
        return cls(str(started), int(oid), str(name), mark_of(str(comment or "")))

    def renamed(self, name: str, mark: str = "") -> DatabaseIdentity:
        """The same database under another name, as behind the fence."""
        return replace(self, name=name, mark=mark)

    def is_database(self, other: DatabaseIdentity) -> bool:
        """Whether both are one database, whatever it is called."""
        return (self.started, self.oid) == (other.started, other.oid)

    def accepts(self, found: DatabaseIdentity) -> bool:
        """Whether ``found`` is what is expected here: the same database, by name, and with the mark if one is known."""
        return self.is_database(found) and self.name == found.name and self.mark in ("", found.mark)


def record_of(comment: Optional[str]) -> Optional[Record]:
    """The record in a database's comment, or None where pap-deploy left none."""
    if not comment or not comment.startswith(RECORD_PREFIX):
        return None
    try:
        value = parse(comment[len(RECORD_PREFIX) :])
    except ValueError:
        return None
    return recorded(Record, value) if isinstance(value, dict) and "kind" in value else None


def mark_of(comment: str) -> str:
    """The random id in the record of a database that pap-deploy made, or an empty string."""
    return (record_of(comment) or Record()).id


def read(query: Callable[[str], Rows]) -> DatabaseIdentity:
    """The identity of the database that ``query`` (SQL to rows) runs in."""
    return DatabaseIdentity.from_row(*query(IDENTITY)[0])


def prove(query: Callable[[str], Rows], expected: Optional[DatabaseIdentity]) -> None:
    """Raise WrongDatabase unless the session behind ``query`` is in ``expected`` (None: any will do).

    To be called before the session sends anything else; the caller closes the session if this raises.
    """
    if expected is not None:
        refuse_other(expected, read(query))


def refuse_other(expected: DatabaseIdentity, found: DatabaseIdentity) -> None:
    """Raise WrongDatabase if ``found`` is not ``expected``."""
    if expected.accepts(found):
        return
    if found.started != expected.started:
        why = "it is on another server, or the server was restarted in between"
    elif found.oid == expected.oid:
        why = "the database was renamed, or is not the one that pap-deploy made"
    else:
        why = "it is another database of that server"
    raise WrongDatabase(
        f"A session that was opened for database {expected.name} is in {found.name}: {why}. It was closed before it"
        " sent anything else.",
        hint="Look for what leads it elsewhere: a dbname or host in the query of the database URL, a pooler that gives"
        " databases names of its own, a service file, PGHOSTADDR.",
        expected=as_object(expected),
        found=as_object(found),
    )
