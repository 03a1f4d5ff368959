"""What a migration does to others: the locks it holds, the tables it rewrites, the WAL it writes.

Read at the end of each migration, inside the transaction, where all of its locks are still held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional

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


def observer(session: Session) -> Optional[Callable[[Session, dict[str, Any]], None]]:
    """A function to call after each migration of a transaction; None unless the run was asked to observe."""
    if not session.options.observe:
        return None
    before: dict[str, Any] = {"files": _files(session), "wal": session.query(_WAL)[0][0], "locks": set()}

    def observe(session: Session, entry: dict[str, Any]) -> None:
        files, wal = _files(session), session.query(_WAL)[0][0]
        locks = {tuple(row) for row in session.query(_LOCKS)}
        fresh = locks - before["locks"]
        entry["locks"] = [{"table": table, "mode": mode} for table, mode in sorted(fresh)]
        entry["rewritten"] = sorted(
            name for oid, (name, node, _) in files.items() if oid in before["files"] and before["files"][oid][1] != node
        )
        entry["sizes"] = {
            name: {"before": before["files"][oid][2], "after": size}
            for oid, (name, _, size) in files.items()
            if oid in before["files"] and before["files"][oid][2] != size
        }
        entry["wal_bytes"] = int(wal - before["wal"])
        before.update(files=files, wal=wal, locks=locks)

    return observe


def _files(session: Session) -> dict[int, tuple[str, int, int]]:
    return {row[0]: (row[1], row[2], row[3]) for row in session.query(_FILES)}
