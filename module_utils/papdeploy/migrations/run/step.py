"""One migration while it runs: what it sent, and what it did that it must not do."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Optional

from ...core.errors import PapError
from ...sql import statements as sql
from .. import dblink, server_wide
from ..ledger import SCHEMA
from .records import Statement

MAX_STATEMENTS = 200  # kept per migration in the ledger and the result; the count is always whole
MAX_SQL = 2000  # characters kept per statement


class MigrationError(PapError):
    """A migration failed or broke a rule. ``data`` names it, its statement and the server's error."""


@dataclass(frozen=True)
class Failure:
    """A statement that the server refused."""

    sql: str = ""
    error: str = "unknown"
    sqlstate: str = ""


@dataclass
class Step:
    """The record of one migration's run. ``direction`` is upgrade or downgrade."""

    identity: str
    transactional: bool
    direction: str = "upgrade"
    statements: list[Statement] = field(default_factory=list)
    count: int = 0
    violations: list[MigrationError] = field(default_factory=list)
    failure: Optional[Failure] = None
    failures: int = 0
    at_end: bool = False  # what failed was deferred, and is checked when the function has returned
    in_transaction: bool = False  # of db.transaction() and db.batches(), in a migration that is not transactional
    leaves_traces: bool = False  # in the session: settings, temporary tables, prepared statements, cursors
    reads_secrets: bool = False  # a statement of a check names a column that is called like one
    lock_timeout_lifted: bool = False
    closed: bool = False  # the function has returned or raised
    concurrent_indexes: list[tuple[str, str]] = field(default_factory=list)
    details: Optional[Mapping[str, Any]] = None  # for the ledger
    revision: str = ""  # the file of a revision of an Alembic tree
    before_statement: Sequence[Callable[[Any, Step, str], None]] = ()  # each gets the connection, this and the text

    def before(self, session: Any, text: str) -> None:
        """Refuse what belongs to the runner; then ``before_statement``."""
        control = sql.transaction_control(text)
        if control and (self.transactional or self.in_transaction):
            self.violate(f"{_head(control)} was sent")
        if sql.writes_to(text, SCHEMA):
            self.violate(f"the runner's own schema {SCHEMA} was changed")
        if command := sql.of_psql(text):
            self.violations.append(_only_psql(self.identity, command, self._caller()))
            raise self.violations[-1]
        if sql.leaves_traces(text):
            self.leaves_traces = session.may_defer = True
        elif sql.makes_deferrable(text):
            session.may_defer = True
        for prepare in self.before_statement:
            prepare(session, self, text)

    def leave_out(self, session: Any, text: str) -> str:
        """``text`` without what acts on the whole server; that is noted, and what is left may be empty. Where it
        connects to the live database by dblink, it connects to the copy."""
        rest, found = server_wide.without(text)
        for statement in found:
            shown = session.redactor.text(server_wide.shown(statement)) + self._caller()
            live = session.options.forbid_database
            by_name = live is not None and server_wide.names_database(statement, live.name)
            item = server_wide.LeftOut(self.identity, self.direction, shown, by_name)
            if item not in session.left_out:  # a transaction may be tried again
                session.left_out.append(item)
            self._keep(Statement(statement.text, 0.0, left_out=True))
        live = session.options.forbid_database
        return dblink.pointed(rest, live.name, session.facts.database) if live else rest

    def done(self, text: str, seconds: float, rows: int) -> None:
        counted = rows if rows is not None and rows >= 0 else None
        self._keep(Statement(text, seconds * 1000, rows=counted))

    def failed(self, text: str, seconds: float, error: BaseException) -> None:
        from .drivers import sqlstate

        self.failures += 1
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        self.failure = Failure(text[:MAX_SQL], said, sqlstate(error))
        self._keep(Statement(text, seconds * 1000, error=said))

    def after(self, session: Any) -> None:
        """Bring back the lock timeout that was lifted for a CONCURRENTLY statement."""
        if self.lock_timeout_lifted and not session.lost:
            self.lock_timeout_lifted = False
            session.query(f"SET lock_timeout = {int(session.options.lock_timeout_s * 1000)}")

    def _keep(self, sent: Statement) -> None:
        self.count += 1
        if len(self.statements) < MAX_STATEMENTS:
            self.statements.append(replace(sent, sql=sent.sql.strip()[:MAX_SQL], ms=round(sent.ms, 3)))

    def control(self, what: str) -> bool:
        """A driver-level commit, rollback, close or change of autocommit: refused, or of no effect in autocommit."""
        if what in ("commit", "rollback") and not self.transactional and not self.in_transaction:
            return False  # nothing to end: every statement was its own transaction
        self.violate(f"{what}() was called" if what != "autocommit" else "the transaction mode was changed")
        return False

    def violate(self, what: str) -> None:
        """Note the broken rule (it counts even if the migration swallows the error) and raise."""
        raise self.violation(what)

    def violation(self, what: str) -> MigrationError:
        """The same, for the caller to raise."""
        self.violations.append(self.broken(what + self._caller()))
        return self.violations[-1]

    def broken(self, what: str) -> MigrationError:
        """The error for a broken rule."""
        return MigrationError(
            f"Migration {self.identity} broke a rule of the runner: {what}.",
            hint=_OF_REVISIONS if self.revision else _OF_MIGRATIONS,
            identity=self.identity,
            rule=what,
        )

    def _caller(self) -> str:
        """``, line 12`` of the migration's own source, where the call came from it."""
        endings = (self.revision,) if self.revision else (f"{self.identity}.py", f"{self.identity}.sql")
        frame = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename.endswith(endings):
                return f" (line {frame.f_lineno})"
            frame = frame.f_back  # type: ignore[assignment]
        return ""


_OF_MIGRATIONS = (
    "The runner owns the connection and its transaction: leave out BEGIN and COMMIT, use db.execute() and the like"
    " only. Work that needs transactions of its own goes into a migration with transactional = False (in SQL: --"
    " transactional: false)."
)
_OF_REVISIONS = (
    "The runner owns the connection and its transaction: work on op.get_bind() only, and leave its transaction as it"
    " is. What cannot run in one goes into `with op.get_context().autocommit_block():`."
)


def _only_psql(identity: str, command: str, caller: str) -> MigrationError:
    return MigrationError(
        f"Migration {identity} sends {command}, which only psql understands{caller}.",
        hint="Leave out psql's commands, a backslash and a word (pg_dump writes \\restrict and \\unrestrict around a"
        " dump), and have pg_dump write data as INSERT (--inserts), not as COPY … FROM stdin.",
        identity=identity,
        rule=command,
    )


def _head(statement: str) -> str:
    return " ".join(statement.split()[:2]).upper().rstrip(";")
