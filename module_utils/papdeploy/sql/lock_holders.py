"""Who holds a table so that nobody else can read it, and the statement that ends that."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 3

# Of the database of the session: (said, ended). A prepared transaction has no process, and outlives every restart.
HOLDERS = f"""
SELECT l.name || ' by ' || CASE WHEN p.gid IS NULL THEN 'process ' || l.pid || ' (' || concat_ws(', ',
           'role ' || a.usename, NULLIF(a.application_name, ''), a.state,
           'its transaction began ' || to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC')
       ELSE 'the prepared transaction ' || quote_literal(p.gid) || ' (' || concat_ws(', ', 'role ' || p.owner,
           'prepared ' || to_char(p.prepared AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC') END || ')' AS said,
       CASE WHEN p.gid IS NULL THEN 'SELECT pg_terminate_backend(' || l.pid || ')'
       ELSE 'ROLLBACK PREPARED ' || quote_literal(p.gid) END AS ended
FROM (SELECT c.oid::regclass::text AS name, k.pid, k.virtualtransaction AS held_by, c.relkind = 'i' AS minor
      FROM pg_locks k JOIN pg_class c ON c.oid = k.relation AND c.relkind IN ('r', 'p', 'm', 'f', 'v', 'S', 'i')
      WHERE k.locktype = 'relation' AND k.granted AND k.mode = 'AccessExclusiveLock'
        AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND k.pid IS DISTINCT FROM pg_backend_pid()) AS l
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN (SELECT t.virtualtransaction AS held_by, x.* FROM pg_prepared_xacts x JOIN pg_locks t
           ON t.transactionid = x.transaction AND t.pid IS NULL) AS p ON p.held_by = l.held_by AND l.pid IS NULL
ORDER BY l.minor, 1 LIMIT {_SHOWN}"""


def told(rows: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The rows of ``HOLDERS`` as the end of a sentence, and as the next step."""
    if not rows:
        return "whoever held it is gone by now", "Try again."
    ends = "; ".join(dict.fromkeys(f"{ended};" for _, ended in rows)).replace(";;", ";")
    return "; ".join(said for said, _ in rows), f"Wait for that to end, or end it ({ends}), then try again."
