"""Restore a backup with nothing but its files: into a new database, on the server that it is from or on any other.

What pg_dump leaves out comes from the manifest, as data. The file of globals beside an archive is for people to read:
names, comments and settings in it are untrusted input, and nothing picks lines out of it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from ..core.errors import CommandFailed, PapError, Refused
from ..core.text import seconds
from ..core.visible import visible
from ..databases import disk, owner_login, properties
from ..databases.managed_names import admin_session, comment_on, end_sessions, identity, look
from ..databases.properties import Properties, Role
from ..databases.psql import Database, Session, bind
from ..sql.quoting import MAX_NAME_BYTES, quote_ident, quote_literal
from .encryption import EncryptedFor, Encryption
from .manifest import ANYTHING, Backup, load_manifest
from .pipeline import Emit, silent
from .restore import fill, restorable

_UNFINISHED = "not restored yet"


@dataclass(frozen=True)
class Rebuilt:
    """A backup restored into database ``name`` and found equal. ``roles`` were created for it; ``notes`` is what is not
    as it was; ``replaces`` is the database that it is a backup of, where the server has one of that name."""

    backup: Backup
    name: str
    seconds: float
    roles: list[str]
    notes: list[str]
    replaces: str

    def as_json(self) -> object:
        return {
            "database": self.name,
            "path": str(self.backup.path),
            "seconds": round(self.seconds, 3),
            "roles": self.roles,
            "notes": self.notes,
            "lines": self.lines(),
        }

    def lines(self) -> list[str]:
        """What was done and what comes next, for a person."""
        manifest = self.backup.manifest
        lines = [
            f"{self.name}: restored in {seconds(self.seconds)} and compared with the backup of release"
            f" {manifest.release}, {manifest.started}: {manifest.counted}",
            *(f"note: {note}" for note in self.notes),
        ]
        if self.roles:
            lines.append(
                f"next: give the new roles their passwords ({', '.join(self.roles)}), in psql by \\password ROLE"
            )
        if self.replaces:
            lines.append("next: stop the API, then swap the names, both at once or none:")
            lines += [f"  {statement}" for statement in swap_sql(self.replaces, self.name)]
        elif self.name != manifest.database:
            lines.append(f"next: lead the API to database {self.name}, or give it the name {manifest.database}")
        lines.append(f"next: start the API of before release {manifest.release}, and log in")
        return [visible(line) for line in lines]


def rebuild(
    server: Database, path: Path | str, into: str = "", *, identity_file: str = "", emit: Emit = silent
) -> Rebuilt:
    """Restore the backup at ``path`` into a new database ``into`` of ``server`` (empty: the name that it had, with
    ``_restored``), with owner, privileges and settings as they were, and compare it with the backup.

    Missing roles are created, without passwords and none as a superuser. ``identity_file`` opens an encrypted archive.
    Raises Refused before anything is made, for a damaged backup or a name that is taken. If it fails later, the new
    database is dropped again.
    """
    started = time.monotonic()
    encryption = _opened_by(identity_file, load_manifest(path).manifest.encryption)
    backup = restorable(server, path, ANYTHING, encryption)
    manifest = backup.manifest
    into = into or with_end(manifest.database, "_restored")
    need = int(manifest.database_bytes * disk.COPY_FACTOR)
    disk.refuse_too_little(need, disk.free_at_server(server), "the database server", "the restored database")
    with admin_session(server) as session:
        _refuse_taken(session, into)
        roles, notes = _create_roles(session, manifest.roles)
        traits = _possible(session, manifest.properties, notes)
        with _new(session, server, into, traits, f"{backup.path.name}: {_UNFINISHED}") as target:
            ready = fill(target, backup, encryption, emit=emit, notes=notes, ran=notes)
            owner_login.shut_out(target)
            _finish(session, into, traits)
        live = manifest.database
        replaces = live if live != into and look(session, live) is not None else ""
    return Rebuilt(backup, into, ready - started, roles, notes, replaces)


def with_end(name: str, end: str) -> str:
    """``name`` with ``end``, cut where PostgreSQL's names end."""
    return name.encode()[: MAX_NAME_BYTES - len(end)].decode("utf-8", "ignore") + end


def swap_sql(live: str, restored: str) -> list[str]:
    """The statements that put ``restored`` in the place of ``live``, which is kept and closed."""
    broken = with_end(live, "_broken")
    return [
        f"ALTER DATABASE {quote_ident(live)} ALLOW_CONNECTIONS false;",
        bind("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN (%s, %s);", live, restored),
        "BEGIN;",
        f"ALTER DATABASE {quote_ident(live)} RENAME TO {quote_ident(broken)};",
        f"ALTER DATABASE {quote_ident(restored)} RENAME TO {quote_ident(live)};",
        "COMMIT;",
    ]


def _opened_by(identity_file: str, used: Optional[EncryptedFor]) -> Optional[Encryption]:
    return Encryption(used.method, used.recipients, identity=identity_file) if used and identity_file else None


def _refuse_taken(session: Session, name: str) -> None:
    found = look(session, name)
    if found is not None:
        left = (found.comment or "").endswith(_UNFINISHED)
        raise Refused(
            f"There is a database {name} already{' (its comment says that a restore into it was interrupted)' * left};"
            " a backup is only ever restored into a new one.",
            hint="Choose another name (--into), or look at that one, and rename or drop it.",
            database=name,
        )


@dataclass(frozen=True)
class _There:
    rolname: str
    rolsuper: bool


def _create_roles(session: Session, roles: Sequence[Role]) -> tuple[list[str], list[str]]:
    """Create the roles that the server does not have, all or none: their names, and what they are not given."""
    there = session.records(_There, "SELECT rolname, rolsuper FROM pg_roles")
    known = {role.rolname for role in there}
    superusers = {role.rolname for role in there if role.rolsuper}
    missing = [role for role in roles if role.rolname not in known]
    known |= {role.rolname for role in missing}
    statements, notes = [], []
    for role in missing:
        if role.rolsuper:
            notes.append(f"role {role.rolname} was a superuser; the new one is none")
        statements.append(properties.create_role(replace(role, rolsuper=False)))
    for role in missing:
        groups = tuple(group for group in role.member_of if group in known - superusers)
        gone = sorted({*role.member_of} - known)
        above = sorted({*role.member_of} & superusers)
        notes += [f"role {role.rolname} was a member of the superuser {group}; the new one is none" for group in above]
        notes += [f"role {role.rolname} was a member of {group}, which this server does not have" for group in gone]
        statements += properties.equip_role(replace(role, member_of=groups))
    if statements:
        session.execute(";".join(["BEGIN", *statements, "COMMIT"]))
    return [role.rolname for role in missing], notes


def _possible(session: Session, traits: Properties, notes: list[str]) -> Properties:
    """The traits of the database as this server can give them."""
    wanted = traits.tablespace
    if session.scalar(f"SELECT 1 AS one FROM pg_tablespace WHERE spcname = {quote_literal(wanted)}"):
        return traits
    notes.append(f"it was in tablespace {wanted}, which this server does not have; it is in the default one")
    return replace(traits, tablespace="pg_default")


@contextlib.contextmanager
def _new(session: Session, server: Database, name: str, traits: Properties, comment: str) -> Iterator[Database]:
    """A new empty database, closed to all but its owner until it is whole; dropped again if the block fails."""
    version = int(session.scalar("SELECT current_setting('server_version_num')::int AS v"))
    try:
        session.execute(f"{properties.create_like(name, traits, version)} ALLOW_CONNECTIONS false")
    except CommandFailed:
        with admin_session(server) as fresh:  # another restore may have taken the name in the same moment
            _refuse_taken(fresh, name)
        raise
    made = look(session, name)
    assert made is not None
    try:
        session.execute(
            f"BEGIN; REVOKE CONNECT, TEMPORARY ON DATABASE {quote_ident(name)} FROM PUBLIC;"
            f"{comment_on(name, comment)}; ALTER DATABASE {quote_ident(name)} ALLOW_CONNECTIONS true; COMMIT"
        )
        yield replace(server.named(name), expect=identity(session, name))
    except BaseException:
        with contextlib.suppress(PapError), admin_session(server) as fresh:
            there = look(fresh, name)
            if there is not None and there.oid == made.oid:
                end_sessions(fresh, name, seconds=20)
                fresh.execute(f"DROP DATABASE {quote_ident(name)}")
        raise


def _finish(session: Session, name: str, traits: Properties) -> None:
    """Owner, privileges, settings and comment as they were; open to whom it was open."""
    steps = [
        *properties.apply(name, traits),
        f"ALTER DATABASE {quote_ident(name)} CONNECTION LIMIT {traits.connection_limit}",
        comment_on(name, traits.comment),
    ]
    session.execute(";".join(["BEGIN", *steps, "COMMIT"]))
