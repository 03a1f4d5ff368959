"""A look at the database's server: connections, waits, replicas and slots. One connection, one query, read only."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Optional

from ..core.errors import CommandFailed, DeadlineExceeded, PapError, Unavailable
from ..core.records import read, recorded
from ..databases.managed_names import CLIENT
from ..databases.psql import Database
from .looks import UNREACHABLE, NotLooked, Replica, Server, Slot

_PATIENCE_S = 15.0
_SETTINGS = {"statement_timeout": "5s", "lock_timeout": "1s", "default_transaction_read_only": "on"}
_OTHERS = f"pid <> pg_backend_pid() AND {CLIENT} AND coalesce(application_name, '') NOT LIKE 'pap-deploy:%'"
_WHO = "format('%s (process %s, role %s)', coalesce(nullif(a.application_name, ''), 'a session'), a.pid, a.usename)"
_NOW = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END"

# What a version does not have (waitstart before 14, wal_status before 13) is null in the row as JSON.
_QUERY = f"""
SELECT json_build_object(
  'role', current_user,
  'may', pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
  'connections', (SELECT count(*) FROM pg_stat_activity a WHERE pid <> pg_backend_pid() AND {CLIENT}),
  'max_connections', current_setting('max_connections')::int,
  'waiting', (SELECT json_build_object('seconds', w.seconds, 'who', w.who) FROM (
     SELECT extract(epoch FROM clock_timestamp() - coalesce((
              SELECT min((to_jsonb(l) ->> 'waitstart')::timestamptz) FROM pg_locks l
              WHERE l.pid = a.pid AND NOT l.granted
            ), a.query_start)) AS seconds,
            {_WHO} || coalesce(' waits for ' || (
              SELECT string_agg(format('%s (process %s, role %s, %s)', coalesce(nullif(b.application_name, ''),
                'a session'), b.pid, b.usename, b.state), ', ')
              FROM pg_stat_activity b WHERE b.pid = ANY (pg_blocking_pids(a.pid))), '') AS who
     FROM pg_stat_activity a
     WHERE datname = current_database() AND wait_event_type = 'Lock' AND {_OTHERS} ORDER BY 1 DESC LIMIT 1) w),
  'idle', (SELECT json_build_object('seconds', i.seconds, 'who', i.who) FROM (
     SELECT extract(epoch FROM clock_timestamp() - a.state_change) AS seconds, {_WHO} AS who FROM pg_stat_activity a
     WHERE datname = current_database() AND state LIKE 'idle in transaction%' AND {_OTHERS} ORDER BY 1 DESC LIMIT 1) i),
  'replicas', (SELECT coalesce(json_agg(json_build_object('name', coalesce(application_name, '')
       || coalesce(' (' || client_addr::text || ')', ''), 'state', coalesce(state, ''),
       'lag_s', extract(epoch FROM replay_lag), 'lag_bytes', pg_wal_lsn_diff({_NOW}, replay_lsn)::bigint)
       ORDER BY application_name, pid), '[]')
     FROM pg_stat_replication r WHERE coalesce(state, '') <> 'backup' AND application_name !~ '^pg_[0-9]+_sync_'),
  'slots', (SELECT coalesce(json_agg(json_build_object('name', slot_name, 'active', active,
       'kept_bytes', pg_wal_lsn_diff({_NOW}, restart_lsn)::bigint,
       'wal_status', coalesce(to_jsonb(s) ->> 'wal_status', ''))), '[]')
     FROM pg_replication_slots s WHERE NOT temporary));
"""


@dataclass(frozen=True)
class _Session:
    seconds: float
    who: str


@dataclass(frozen=True)
class _Answer:
    role: str
    may: bool
    connections: int
    max_connections: int
    waiting: Optional[_Session]
    idle: Optional[_Session]
    replicas: tuple[Replica, ...]
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Seen:
    """``server`` is None where nothing could be asked; ``not_looked``: what was not seen, and why; ``silent``: why a
    further session would have to wait."""

    server: Optional[Server]
    not_looked: tuple[NotLooked, ...] = ()
    silent: str = ""


def look(database: Database) -> Seen:
    """Ask once. Never raises for what the server does: then the reason is in ``not_looked``."""
    try:
        answer = _asked(database)
    except DeadlineExceeded:
        why = f"it did not answer within {_PATIENCE_S:g} s"
        return Seen(None, (NotLooked(UNREACHABLE, why),), why)
    except PapError as error:
        return Seen(None, (NotLooked(UNREACHABLE, error.message.rstrip(".")),))
    server = Server(answer.connections, answer.max_connections)
    if not answer.may:  # the columns of other roles' sessions are empty for this one, and look like nothing at all
        why = f"role {answer.role} may not see other sessions: GRANT pg_monitor TO {answer.role}"
        return Seen(server, (NotLooked("waits, replicas and slots", why),))
    return Seen(
        replace(
            server,
            longest_wait_s=answer.waiting.seconds if answer.waiting else 0.0,
            waiting=answer.waiting.who if answer.waiting else "",
            longest_idle_s=answer.idle.seconds if answer.idle else 0.0,
            idle=answer.idle.who if answer.idle else "",
            replicas=answer.replicas,
            slots=answer.slots,
        )
    )


@dataclass(frozen=True)
class _Ended:
    """The data of a CommandFailed."""

    stderr: str = ""


def _asked(database: Database) -> _Answer:
    argv = database.tool("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-")
    try:
        done = database.site.run(argv, env=database.environment(_SETTINGS), input=_QUERY.encode(), timeout=_PATIENCE_S)
    except CommandFailed as error:
        said = recorded(_Ended, error.data).stderr
        reason = re.search(r"(?:FATAL|ERROR): +(.*)", said) or re.search(r"error: (.*)", said)
        raise Unavailable(reason[1] if reason else error.message) from None
    return read(_Answer, json.loads(done.text), "the look at the server")
