"""What a migration does to others: the locks it holds, the tables it rewrites, the WAL it writes.

Read at the end of each migration, inside the transaction, where all of its locks are still held.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Callable, NamedTuple, Optional

from .records import Lock, Ran, Size

if TYPE_CHECKING:
    from .session import Session

_LOCKS = """
SELECT n.nspname || '.' || c.relname, l.mode
FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted AND c.relkind IN ('r', 'p', 'm')
  AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema', 'pap_deploy')
ORDER BY 1, 2
"""
_FILES = """
SELECT c.oid, n.nspname || '.' || c.relname, pg_relation_filenode(c.oid), pg_total_relation_size(c.oid)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema', 'pap_deploy')
"""
_WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"


def observer(session: Session) -> Optional[Callable[[Session, Ran], Ran]]:
    """A function to call after each migration of a transaction, which adds what it saw; None unless the run was asked
    to observe."""
    if not session.options.observe:
        return None
    before, wal_before, locks_before = _files(session), session.query(_WAL)[0][0], set[Lock]()

    def observe(session: Session, ran: Ran) -> Ran:
        nonlocal before, wal_before, locks_before
        files, wal = _files(session), session.query(_WAL)[0][0]
        locks = {Lock(*row) for row in session.query(_LOCKS)}
        both = [(before[oid], file) for oid, file in files.items() if oid in before]
        seen = replace(
            ran,
            locks=tuple(sorted(locks - locks_before, key=lambda lock: (lock.table, lock.mode))),
            rewritten=tuple(sorted(now.name for was, now in both if was.node != now.node)),
            sizes={now.name: Size(was.size, now.size) for was, now in both if was.size != now.size},
            wal_bytes=int(wal - wal_before),
        )
        before, wal_before, locks_before = files, wal, locks
        return seen

    return observe


class _File(NamedTuple):
    name: str
    node: int
    size: int


def _files(session: Session) -> dict[int, _File]:
    return {oid: _File(*file) for oid, *file in session.query(_FILES)}
