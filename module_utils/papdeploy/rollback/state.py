"""What the database itself says of a release: its fence, whether it was swapped, migrations in force, sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ..databases import fence_state, lifecycle
from ..databases.fence import Fence
from ..databases.ledger_table import ledger_records
from ..databases.managed_names import admin_session
from ..databases.psql import Database, bind


@dataclass(frozen=True)
class State:
    """``applied``: the release's migrations in force, newest first. ``partial``: such that run outside a transaction
    and have begun and not ended. ``running``: processes of its sessions that are still at work."""

    fence: Optional[Fence]
    swapped: bool
    applied: tuple[str, ...]
    partial: tuple[str, ...]
    running: tuple[int, ...]

    def where(self, database: Database) -> Database:
        """Where the live data is; ``database`` carries the live name."""
        return database.named(self.fence.database) if self.fence else database


@dataclass(frozen=True)
class _Entry:
    identity: str
    event: str
    release: str
    id: int


def read_state(database: Database, release: str) -> State:
    """What is true of ``release`` in the database now; ``database`` carries the live name."""
    fence = fence_state(database)
    where = fence.database if fence else database.conninfo.dbname
    with admin_session(database) as session:
        swapped = lifecycle.swapped(session, database, release)
        running = session.column(
            bind(
                "SELECT pid FROM pg_stat_activity WHERE datname = %s AND application_name = %s AND state <> 'idle'",
                where,
                f"pap-deploy:{release}",
            )
        )
    applied, partial = ((), ()) if swapped else _ledger(database.named(where), release)
    return State(fence, swapped, applied, partial, tuple(running))


def _ledger(database: Database, release: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Migrations of ``release`` in force, newest first, and those that were left halfway."""
    with database.session() as session:
        found = ledger_records(
            session,
            _Entry,
            bind(
                "SELECT DISTINCT ON (identity) identity, event, release, id FROM ledger"
                " WHERE identity IN (SELECT identity FROM ledger WHERE release = %s) ORDER BY identity, id DESC",
                release,
            ),
        )
    entries = sorted(found, key=lambda entry: -entry.id)
    mine = [entry for entry in entries if entry.release == release]
    in_force = tuple(entry.identity for entry in mine if entry.event in ("applied", "repaired"))
    return in_force, tuple(entry.identity for entry in mine if entry.event in ("started", "failed_outside"))
