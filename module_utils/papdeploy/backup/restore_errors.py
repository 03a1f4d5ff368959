"""What a failure of pg_dump, pg_restore or a query means here, and what to do: added to the error that says it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core import storage
from ..core.errors import CommandFailed, PapError, StorageFailed
from ..core.text import plural
from ..databases.content_digest.queries import user_schema
from ..databases.psql import Database, holders
from ..sql.quoting import quote_ident, quote_literal
from . import search_paths


@contextlib.contextmanager
def explained(database: Database, folder: Path, lock_wait_s: float) -> Iterator[None]:
    """Give what fails in the block its next step. ``database`` is the original, ``folder`` that of the backups."""
    try:
        yield
    except CommandFailed as error:
        # what pg_dump calls a statement timeout is its --lock-wait-timeout
        dumping = error.message.startswith("pg_dump") and "statement timeout" in error.message
        if dumping:
            held, hint = holders(database)
            raise CommandFailed(
                f"A table stayed locked for more than {lock_wait_s:g} s, so it could not be dumped: {held}.",
                hint=hint,
                **error.data,
            ) from error
        advise(error, database)
        raise
    except OSError as error:
        raise storage.explained(error, folder / "the backup") or StorageFailed(
            f"The backup could not be written to {folder}: {os.strerror(error.errno) if error.errno else error}.",
            hint="The unfinished file was removed.",
            errno=errno.errorcode.get(error.errno or 0, ""),
            path=str(folder),
        ) from error


def advise(error: CommandFailed, database: Database) -> None:
    """Give the error its next step, if it has none."""
    with contextlib.suppress(PapError):  # the error itself is what counts
        error.hint = error.hint or next_step(database, f"{error.message}\n{error.stderr}")


def next_step(database: Database, said: str) -> str:
    """What to do about an error of PostgreSQL, by its words; empty if they say all there is."""
    role = database.conninfo.user or "this role"
    if "row-level security" in said:
        return f"As a superuser: ALTER ROLE {role} BYPASSRLS; or set pap_db_admin_user to a role that sees every row."
    if "out of shared memory" in said or "max_locks_per_transaction" in said:
        return _more_locks(database)
    if "must be able to SET ROLE" in said or "must be member of role" in said or "must be owner of" in said:
        return (
            f"{role} must be a member of the owner of every object (GRANT owner TO {role}), or pap_db_admin_user a"
            " superuser."
        )
    found = re.search(r"permission denied for (.+)", said)
    if found:
        return f"GRANT {role} that right on {found[1].strip()}, or set pap_db_admin_user to a role that has it."
    if version := re.search(r'template database "([^"]+)" has a collation version', said):
        name = quote_ident(version[1])
        return (
            "The operating system has another version of its collations than when the server was set up."
            f" As a superuser: ALTER DATABASE {name} REFRESH COLLATION VERSION; and REINDEX DATABASE where one holds"
            " text of yours (PostgreSQL documentation, ALTER COLLATION, notes)."
        )
    if "No space left on device" in said:
        return "The disk of the database server is full: free some space there, then try again."
    if broken := re.search(r'violates (?:foreign key|check|exclusion|not-null) constraint(?: "([^"]+)")?', said):
        name = quote_ident(broken[1]) if broken[1] else "NAME"
        return (
            "The live database holds rows that break that constraint (its triggers were switched off, a function that"
            " it calls was changed, or reads another table, which a restore fills later), and PostgreSQL checks every"
            " row of a restore (PostgreSQL documentation, CREATE TABLE, CHECK)."
            f" Mend the rows; or drop it and add it again with NOT VALID, which a restore leaves unchecked: ALTER TABLE"
            f" … DROP CONSTRAINT {name}, ADD CONSTRAINT {name} … NOT VALID."
        )
    if "violates partition constraint" in said:
        return (
            "The live database holds rows in a partition to which they do not belong (the function or the collation by"
            " which it is partitioned was changed): an UPDATE of its key in every row of the table puts them right."
        )
    if double := re.search(r'could not create unique index "([^"]+)"', said):
        return (
            "The live database holds rows that are doubles to that index: it is damaged, often by another sort order of"
            f" the operating system (PostgreSQL documentation, REINDEX). REINDEX INDEX {quote_ident(double[1])} there"
            " names them; remove them, then try again."
        )
    if "invalid memory alloc request size" in said or "string buffer exceeds maximum allowed length" in said:
        return (
            "A row is larger as text than PostgreSQL can hold in memory (1 GB; bytea takes two characters a byte), so"
            " no pg_dump can read it. Split that value, or keep it as a large object."
        )
    return search_paths.advice(database, said) or _by_extension(database, said) or _as_postgresql(said)


_MISSING = re.compile(r'(?:function|type|relation|operator) "?([^\s"(]+)"?(?:\(.*?\))? does not exist')
_DOUBLE = re.compile(r'(function|type|relation|operator) "?([^\s"(]+)"? already exists')


def _by_extension(database: Database, said: str) -> str:
    """What to do where a person has added something to an extension, or taken something out of it."""
    if double := _DOUBLE.search(said):
        return (
            f"An extension makes that {double[1]} as well, from which it was taken out in the live database: put it"
            " back (ALTER EXTENSION … ADD …), or drop it there."
        )
    if not (missing := _MISSING.search(said)):
        return ""
    mended = database.scalar(
        "SELECT format('%1$s was added to extension %2$I by hand, so no dump carries it:"
        " ALTER EXTENSION %2$I DROP %3$s; in the live database, which keeps it.',"
        " o.type || ' ' || o.identity, x.extname, upper(o.type) || ' ' || o.identity)"
        " AS said FROM pg_extension x JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass"
        " AND d.refobjid = x.oid AND d.deptype = 'e'"
        " CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) AS o"
        f" WHERE regexp_replace(o.identity, '[(].*$', '') = {quote_literal(missing[1])} ORDER BY 1 LIMIT 1"
    )
    return str(mended or "")


_INTERRUPTED = re.compile(r"FATAL:|connection|terminat|cancel|signal|timeout", re.IGNORECASE)


def _as_postgresql(said: str) -> str:
    """What pg_dump or pg_restore cannot do with an object, nobody can; but for what was broken off."""
    program = re.match(r"(pg_dump|pg_restore) failed with exit code 1: (.+)", said)
    if not program or _INTERRUPTED.search(program[2]):
        return ""
    if program[1] == "pg_dump":
        return (
            "PostgreSQL's own pg_dump cannot read this database. Where its catalog is damaged, pg_amcheck may say more;"
            " mend or drop what the error names, until pg_dump by itself ends without it."
        )
    return (
        "PostgreSQL cannot restore its own dump of that object. Make it anew in the live database, or drop it, until"
        " pg_dump and pg_restore by themselves (into an empty database) end without that error."
    )


@dataclass(frozen=True)
class _Locks:
    """How many locks the server has for how many sessions, and how many tables want one."""

    locks: int
    sessions: int
    tables: int


def _more_locks(database: Database) -> str:
    server = database.records(
        _Locks,
        "SELECT current_setting('max_locks_per_transaction')::int AS locks, current_setting('max_connections')::int"
        " + current_setting('max_prepared_transactions')::int AS sessions,"
        " (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        f"   WHERE {user_schema()} AND relkind IN ('r', 'p', 'S', 'v', 'm', 'f')) AS tables",
    )[0]
    wanted = max(server.locks * 2, -(-server.tables * 2 // server.sessions))
    return (
        f"pg_dump locks every table and whatever a view or a function reads, all at once, and this database has"
        f" {plural(server.tables, 'table')} and the like: set"
        f" max_locks_per_transaction of the server to {wanted} (now {server.locks}) and restart it."
    )
