"""The live database at one moment, and what is different between two: cheap enough to ask before and after any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ..core.clock import now
from ..core.database_identity import DatabaseIdentity
from . import content_digest, server_state, write_snapshot
from .content_digest import ContentDigest
from .managed_names import CLIENT, admin_session
from .psql import Database, Session, identity_of

LEDGER_SCHEMA = "pap_deploy"
_LOCK_TIMEOUT_S = 5.0

_OTHERS = f"""
SELECT application_name AS application, usename AS role, client_addr::text AS address, count(*) AS sessions
FROM pg_stat_activity
WHERE datname = current_database() AND {CLIENT} AND application_name NOT LIKE 'pap-deploy:%'
GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2 LIMIT 8"""


@dataclass(frozen=True)
class Others:
    """The sessions of one program, role and address."""

    application: Optional[str]
    role: Optional[str]
    address: Optional[str]
    sessions: int


@dataclass(frozen=True)
class LiveState:
    """Which database it is, every object of its catalog, the write counters of every table, and what its server has in
    force for it, in one snapshot."""

    at: str
    identity: DatabaseIdentity
    catalog: ContentDigest
    counters: write_snapshot.Mark
    server: server_state.ServerState


@dataclass(frozen=True)
class LiveChanges:
    """``catalog``: sentences about objects, the server, and the ledger, which only a run of migrations writes.
    ``written``: tables with rows written by whomever; None where the counters were reset or are switched off."""

    catalog: list[str]
    written: list[str] | None


def take(database: Database) -> LiveState:
    """The state of ``database`` now. Raises PapError if it cannot be read, as behind an exclusive lock."""
    with content_digest.snapshot_session(database) as session:
        identity = identity_of(session)
        catalog = content_digest.take(database, session=session, rows=False, lock_timeout_s=_LOCK_TIMEOUT_S)
        return LiveState(
            now(), identity, catalog, write_snapshot.take(session), server_state.take(session, identity.oid)
        )


def changes(before: LiveState, after: LiveState) -> LiveChanges:
    """What is different. Tables that were made again under their name count as objects that changed."""
    found = [*server_state.changes(before.server, after.server), *content_digest.compare(before.catalog, after.catalog)]
    if before.identity.oid != after.identity.oid:
        found.insert(0, f"{after.identity.name} is another database (OID {after.identity.oid}) than before.")
    tables, old = after.counters.tables, before.counters.tables
    both = sorted(set(tables) & set(old))
    found += [f"table {name} was dropped and made again." for name in both if tables[name].oid != old[name].oid]
    moved = [name for name in both if _counted(tables[name]) != _counted(old[name])]
    ledger = [name for name in moved if tables[name].schema == LEDGER_SCHEMA]
    found += [f"rows were written to {name}: migrations ran on this database." for name in ledger]
    same_counters = after.counters.counters.went_on_from(before.counters.counters)
    return LiveChanges(found, [name for name in moved if name not in ledger] if same_counters else None)


def from_outside(database: Database, before: LiveState) -> list[str]:
    """What is different as far as another database of the server tells. Raises PapError if that cannot be read."""
    with admin_session(database) as session:
        return server_state.changes(before.server, server_state.take(session, before.identity.oid))


def others(session: Session) -> list[Others]:
    """Who is connected besides pap-deploy, the most sessions first."""
    return session.records(Others, _OTHERS)


def _counted(table: write_snapshot.Table) -> tuple[int, ...]:
    return table.file, table.inserted, table.updated, table.deleted
