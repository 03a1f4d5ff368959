"""pg_dump and pg_restore as argument lists: what is asked of them, and for which servers they are fit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Optional

from ..core.errors import Refused
from ..databases.content_digest.tables import ANY_SCATTERED
from ..databases.psql import Database, ServerFacts, Session
from .encryption import Encryption

METHODS = ("zstd:1", "lz4:1", "gzip:1")
OLDEST_SERVER = 14  # the catalog of 13 lacks what the content digest reads


def refuse_clients(database: Database, major: int) -> None:
    """Raise Refused if a server of that version is too old, or if the client programs at the site cannot dump from it,
    or restore into it."""
    if major < OLDEST_SERVER:
        raise Refused(
            f"The database on {database.site.label} is PostgreSQL {major}; pap-deploy works from {OLDEST_SERVER} on.",
            hint="Upgrade the server first: that version gets no corrections any more.",
        )
    for program in ("pg_dump", "pg_restore"):
        version = database.tool_version(program)
        problem = ""
        if version < major:
            problem = f"older than the server ({major})"
        elif version >= 17 > major:
            problem = f"and a server of version {major} does not know a setting that it makes (transaction_timeout)"
        if problem:
            raise Refused(
                f"{program} on {database.site.label} is version {version}, {problem}.",
                hint=f"Set pap_db_bin_dir to the client programs of PostgreSQL {major}"
                f" (Debian: /usr/lib/postgresql/{major}/bin).",
            )


def best_compression(database: Database, wanted: str = "auto") -> str:
    """The compression for pg_dump: ``wanted``, or the first of zstd, lz4, gzip (level 1) that this build supports.

    The build is asked by a dump of nothing: it looks at its compression before it connects.
    """
    if wanted != "auto":
        if wanted in ("none", "0") or wanted.endswith(":0"):
            raise Refused(
                "Backups without compression are not made: a flipped bit in one goes unnoticed by pg_restore.",
                hint="Use auto, zstd:1, lz4:1 or gzip:1.",
            )
        return wanted
    if database.tool_version("pg_dump") < 16:
        return "gzip:1"
    for method in METHODS[:-1]:
        nowhere = "host='/nonexistent' dbname='x' connect_timeout='2'"
        argv = [database.program("pg_dump"), "--no-password", "-Fc", f"--compress={method}", f"--dbname={nowhere}"]
        tried = database.site.run(argv, env={"LC_ALL": "C.UTF-8"}, check=False)
        if "connection to server" in tried.stderr or "could not connect" in tried.stderr:
            return method
    return METHODS[-1]


def what_dumps_need(session: Session) -> list[str]:
    """Options of pg_dump for this database: its own encoding, whatever ours is (not everything that a server stores can
    be converted), and rows through the root of partitions that a restore may choose otherwise."""
    encoding = session.scalar("SELECT current_setting('server_encoding') AS encoding")
    scattered = session.scalar(ANY_SCATTERED)
    return [f"--encoding={encoding}", *(["--load-via-partition-root"] if scattered else [])]


def dump_argv(
    database: Database, *, snapshot: Optional[str], compression: str, lock_wait_s: float, needs: Sequence[str] = ()
) -> list[str]:
    """pg_dump to standard output. Before 16 it knows gzip levels only."""
    compress = compression
    if database.tool_version("pg_dump") < 16:
        found = re.fullmatch(r"(?:gzip:?)?(\d?)", compression)
        if not found:
            raise Refused(f"pg_dump before 16 cannot compress by {compression}.", hint="Use gzip:1 or auto.")
        compress = found[1] or "1"
    options = ["--format=custom", f"--compress={compress}", f"--lock-wait-timeout={int(lock_wait_s * 1000)}", *needs]
    if snapshot is not None:
        options.append(f"--snapshot={snapshot}")
    return database.tool("pg_dump", *options)


def restoring(target: Database, facts: ServerFacts) -> Database:
    """``target`` with sessions in which event triggers do not fire: a copy is not the place for what they do, and they
    would change it while it is restored and read (pg_restore makes them before it refreshes materialized views; those
    ON login fire in each session of ours). Only a superuser can make event triggers, or set this."""
    if not facts.superuser:
        return target
    quiet = ("event_triggers", "off") if facts.major >= 17 else ("session_replication_role", "replica")
    return replace(target, settings=(*target.settings, quiet))


def bare(target: Database, *, public: bool, plpgsql: bool) -> None:
    """Take from an empty copy what every new database has and the original has not."""
    if not public:
        target.execute("DROP SCHEMA public")
    if not plpgsql:
        target.execute("DROP EXTENSION plpgsql")


def restore_argv(target: Database, *options: str) -> list[str]:
    """pg_restore from standard input into ``target``. Subscriptions stay out: a copy must not start to replicate."""
    return target.tool("pg_restore", "--exit-on-error", "--no-subscriptions", *options)


def in_parts(target: Database, encryption: Optional[Encryption]) -> bool:
    """Whether pg_restore can open the archive itself: it sees this host's files, and they are not encrypted."""
    return encryption is None and target.site.sees_this_host


# The first part of a restore in parts: tables and their rows, from the stream.
ROWS_FIRST = ("--section=pre-data", "--section=data", "--no-privileges")


EVENT_TRIGGER = re.compile(r"\d+; \d+ \d+ (?:COMMENT - )?EVENT TRIGGER ")
# pg_dump does not tell a parallel pg_restore that the comment on an inherited constraint waits for the parent's one.
CONSTRAINT_COMMENT = re.compile(r"\d+; \d+ \d+ COMMENT \S+ CONSTRAINT ")


def the_rest(target: Database, path: Path) -> list[list[str]]:
    """What follows the rows, as lists for pg_restore: indexes, constraints, triggers, and all privileges; then comments
    on constraints; then event triggers, alone.

    Privileges come late, as in a restore in one go: an owner may have no right to refer to its own table. Event
    triggers come last, because they fire for what else is restored.
    """

    def listed(*options: str) -> list[str]:
        return target.site.run([target.program("pg_restore"), "--list", *options, str(path)]).text.splitlines()

    later = set(listed("--section=post-data"))
    chosen = [line for line in listed() if line in later or re.match(r"\d+; \d+ \d+ ACL ", line)]
    events = [line for line in chosen if EVENT_TRIGGER.match(line)]
    comments = [line for line in chosen if CONSTRAINT_COMMENT.match(line)]
    late = {*comments, *events}
    others = [line for line in chosen if line not in late]
    return [part for part in (others, comments, events) if part]


def rest_argv(target: Database, path: Path) -> list[str]:
    """pg_restore of the list on standard input, from the file, by two sessions at once."""
    return restore_argv(target, f"--jobs={JOBS}", "--use-list=/dev/stdin", str(path))


def read_through_argv(database: Database) -> list[str]:
    """pg_restore that reads and decompresses everything and writes nothing."""
    return database.tool("pg_restore", "--file=/dev/null", dbname_option=None)


# For a ciphertext that cannot be decrypted here: it is only read back and hashed.
READ_BACK = ["sh", "-c", "exec cat >/dev/null"]


# A copy that can be made again need not wait for the disk; index builds get memory. For these sessions only.
RESTORE_SETTINGS = {
    "synchronous_commit": "off",
    "maintenance_work_mem": "256MB",
}


# Sessions that build indexes and check constraints at the same time, each with that memory.
JOBS = 2
