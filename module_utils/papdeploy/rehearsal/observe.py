"""What a migration does to others while it runs: which locks it holds and how long, which tables it rewrites.

The runner reads locks, file nodes, sizes and WAL at the end of each migration inside its transaction. What it cannot
see is watched from beside: how long each lock is held, and everything of a migration that has no transaction.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Optional

from ..databases.psql import Database, Session, bind
from ..releases.parts import TableLock
from ..releases.rehearsed import RehearsedMigration

POLL_S = 0.02
_OWN = "('pg_catalog', 'pg_toast', 'information_schema', 'pap_deploy')"
# Uncommitted tables are invisible to another session: what is found here existed before.
_LOCKS = f"""
SELECT n.nspname || '.' || c.relname AS table, l.mode
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.locktype = 'relation' AND l.granted AND c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN {_OWN}
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.pid IN (SELECT pid FROM pg_stat_activity
                WHERE starts_with(application_name, %s) AND application_name !~ ':watch$')"""
_FILES = f"""
SELECT c.oid::int8 AS oid, n.nspname || '.' || c.relname AS name, pg_relation_filenode(c.oid)::int8 AS file,
       pg_total_relation_size(c.oid) AS bytes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN {_OWN}"""
_WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::int8 AS bytes"


@dataclass(frozen=True)
class Sizes:
    """Bytes of a table, with its indexes and TOAST."""

    before: int
    after: int


@dataclass(frozen=True)
class Observed(RehearsedMigration):
    """A migration with all that was seen of it. ``details`` and ``output`` are those of a legacy script."""

    checksum: str = ""
    at: str = ""
    sizes: Mapping[str, Sizes] = field(default_factory=dict)
    details: object = None
    output: object = None


class TableFile(NamedTuple):
    oid: int
    name: str
    file: int
    bytes: int


Files = dict[int, TableFile]


class Key(NamedTuple):
    """One lock."""

    table: str
    mode: str


@dataclass
class Held:
    """One lock as seen from beside: the moments (seconds, monotonic) at which it was first and last there."""

    first: float
    last: float


@dataclass
class LockWatch:
    """Watches the locks of the sessions called ``application`` in one database, every 20 ms, while the block runs.

    A legacy script has sessions of its own, whose name begins like that; those that only watch do not count.
    """

    database: Database
    application: str
    seen: dict[Key, Held] = field(default_factory=dict)
    problem: Optional[BaseException] = None

    def __enter__(self) -> LockWatch:
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _watch(self) -> None:
        query = bind(_LOCKS, self.application)
        try:
            with self.database.session() as session:
                session.scalar("SELECT 1 AS one")
                self._ready.set()
                while not self._stop.wait(POLL_S):
                    for row in session.rows(query):
                        at = time.monotonic()
                        self.seen.setdefault(Key(*row.values()), Held(at, at)).last = at
        except Exception as error:  # noqa: BLE001 - said in the verdict: the watch must not end the rehearsal
            self.problem = error
        finally:
            self._ready.set()

    def since(self, moment: float) -> dict[Key, float]:
        """Seconds that each lock was held from ``moment`` (monotonic) on, to within 20 ms."""
        return {
            key: round(held.last - max(held.first, moment) + POLL_S, 3)
            for key, held in list(self.seen.items())
            if held.last >= moment
        }


@dataclass(frozen=True)
class Seen:
    """What one migration that ran alone left behind."""

    locks: tuple[TableLock, ...]
    rewritten: tuple[str, ...]
    sizes: Mapping[str, Sizes]
    wal_bytes: int


@dataclass(frozen=True)
class Event:
    """An event of the runner, as far as it is looked at: after ``committed``, ``identities`` are in force."""

    event: str = ""
    identities: tuple[str, ...] = ()


@dataclass
class Alone:
    """Observes migrations that run outside of a transaction: what they left behind, read after each of them."""

    session: Session
    watch: LockWatch
    before: Files = field(default_factory=dict)
    wal: int = 0
    began: float = 0.0
    found: dict[str, Seen] = field(default_factory=dict)

    def start(self) -> None:
        self.before, self.wal, self.began = files(self.session), _wal(self.session), time.monotonic()

    def event(self, event: Event) -> None:
        """An event of the runner: after each commit the state is compared with the last one."""
        if event.event != "committed":
            return
        after, wal = files(self.session), _wal(self.session)
        if len(event.identities) == 1:
            self.found[event.identities[0]] = Seen(
                tuple(TableLock(*key) for key in sorted(self.watch.since(self.began))),
                rewritten(self.before, after),
                sizes(self.before, after),
                wal - self.wal,
            )
        self.before, self.wal, self.began = after, wal, time.monotonic()


def files(session: Session) -> Files:
    """Every table of the user by OID: name, file node, size with indexes and TOAST in bytes."""
    found = (TableFile(*row.values()) for row in session.rows(_FILES))
    return {table.oid: table for table in found}


def _wal(session: Session) -> int:
    return int(session.scalar(_WAL))


def rewritten(before: Files, after: Files) -> tuple[str, ...]:
    """Names of the tables that are there before and after with other files: their rows were written anew."""
    return tuple(sorted(now.name for oid, now in after.items() if oid in before and before[oid].file != now.file))


def sizes(before: Files, after: Files) -> dict[str, Sizes]:
    return {
        now.name: Sizes(before[oid].bytes, now.bytes)
        for oid, now in after.items()
        if oid in before and before[oid].bytes != now.bytes
    }


def completed(applied: Sequence[Observed], watch: LockWatch, alone: Alone, began: float) -> tuple[Observed, ...]:
    """The runner's entries with what was seen from beside, and the rows of their statements summed up."""
    held = watch.since(began)
    result = []
    for item in applied:
        seen = alone.found.get(item.identity)
        if item.locks is None and seen:
            item = replace(
                item,
                locks=seen.locks,
                rewritten=seen.rewritten,
                sizes=seen.sizes,
                wal_bytes=seen.wal_bytes,
                sampled=True,
            )
        if item.locks is not None:  # otherwise they were not observed, which is not the same as none
            locks = (replace(lock, held_s=held.get(Key(lock.table, lock.mode), 0.0)) for lock in item.locks)
            item = replace(item, locks=tuple(locks))
        rows = sum(statement.rows for statement in item.statements if statement.rows is not None)
        result.append(replace(item, rows=rows))
    return tuple(result)
