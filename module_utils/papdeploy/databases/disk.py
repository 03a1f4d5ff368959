"""Disk space, asked before the first byte: for the dump, for a scratch copy, for a snapshot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

from ..core.errors import CommandFailed, Refused, Unavailable
from ..core.text import size
from .psql import Database

# What stays free: a filesystem that is full to the last byte stops PostgreSQL.
MARGIN = 256 * 1024 * 1024
# A restored copy is compact, but its indexes are built with temporary files and its rows are logged.
COPY_FACTOR = 1.3
# A compressed dump of text and JSON takes a tenth to a half of the database; incompressible data may take all of it.
DUMP_FACTOR = 0.6

_FOLDER = """
SELECT coalesce(nullif(pg_tablespace_location(dattablespace), ''), current_setting('data_directory', true)) AS folder
FROM pg_database WHERE datname = current_database()"""


def free_here(path: Path) -> int:
    """Bytes free for us in the filesystem of ``path`` (or its nearest folder that exists) on the target host."""
    while not path.exists():
        path = path.parent
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def free_at_server(database: Database) -> Optional[int]:
    """Bytes free where the server keeps the database (its tablespace, or the data folder), or None if that cannot be
    known from the database site.

    It can where the site is the server's own machine or container and the role may see ``data_directory``.
    """
    host = database.conninfo.host
    if host not in ("", "localhost", "127.0.0.1", "::1") and not host.startswith("/"):
        return None
    try:
        folder = database.scalar(_FOLDER)
        # POSIX df; the folder itself may be closed to us, its filesystem is not
        listing = database.site.run(["df", "-Pk", "--", str(folder)], timeout=20).text.splitlines()
        return int(listing[-1].split()[3]) * 1024
    except (CommandFailed, Unavailable, ValueError, IndexError):
        return None


def refuse_too_little(need: int, free: Optional[int], where: str, purpose: str) -> None:
    """Raise Refused if ``free`` is known and less than ``need`` bytes plus a margin."""
    if free is not None and free < need + MARGIN:
        raise Refused(
            f"Too little disk for {purpose}: {where} has {size(free)} free, {size(need + MARGIN)} are needed.",
            hint="Free some there, or choose a method that needs less (backup_proof, migrate_restore_point).",
            need=need + MARGIN,
            free=free,
        )


def check_backup(database: Database, folder: Path, *, database_bytes: int, proof: str) -> None:
    """Room for the dump in ``folder`` and, for a full proof, for the scratch copy at the server."""
    dump = int(database_bytes * DUMP_FACTOR)
    copy = int(database_bytes * COPY_FACTOR) if proof == "full" else 0
    at_server = free_at_server(database)
    here = free_here(folder)
    if at_server is not None and at_server == here:
        dump += copy  # one filesystem holds both
    refuse_too_little(dump, here, str(folder), "the dump")
    refuse_too_little(copy, at_server, "the database server", "the scratch copy that proves the backup")


def check_copy(database: Database, *, database_bytes: int, purpose: str) -> None:
    """Room at the server for one more copy of the database."""
    need = int(database_bytes * COPY_FACTOR)
    refuse_too_little(need, free_at_server(database), "the database server", purpose)
