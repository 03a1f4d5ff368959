"""Where the sessions of some work are, as the server sees them: on the copy that it was given, or on the live database.

A session belongs to the work if one of its processes holds the other end of the connection (address and port), or if it
has the work's own application name; an application may set another one. No other client knows the copy.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import Callable, Optional, Protocol

from ..core.errors import PapError, Unavailable
from ..core.records import plain
from ..sql.quoting import quote_literal
from .managed_names import CLIENT, admin_session
from .psql import Database, Session, bind

_POLL_S = 0.03
_LATE_S = 1.0  # a session may be seen before its process's socket is, and be over by then
# How often any table of the database was read, by whomever. Reading catalogs does not count.
_READS = "SELECT coalesce(sum(seq_scan + coalesce(idx_scan, 0)), 0)::int8 AS reads FROM pg_stat_user_tables"

_SESSIONS = f"""
SELECT pid, datname AS database, usename AS role, application_name AS application, client_addr::text AS address,
       client_port AS port, backend_start::text AS began
FROM pg_stat_activity
WHERE {CLIENT} AND backend_start >= %s::timestamptz
  AND (datname = %s OR (datname = %s AND NOT starts_with(application_name, 'pap-deploy:')))"""


class Holder(Protocol):
    """A process that holds the client's end of a connection."""

    @property
    def pid(self) -> int: ...

    @property
    def program(self) -> str: ...


Holders = Callable[[Optional[str], Optional[int]], Optional[Holder]]


@dataclass(frozen=True)
class Seen:
    """A session, as the server lists it; ``program`` and ``process``: who held its other end, as far as that is known,
    for ``what`` work."""

    pid: int = 0
    database: str = ""
    role: Optional[str] = None
    application: Optional[str] = None
    address: Optional[str] = None
    port: Optional[int] = None
    began: str = ""
    program: str = ""
    process: Optional[int] = None
    what: str = ""

    def __str__(self) -> str:
        program = f"{self.program} (process {self.process})" if self.program else "a process"
        named = f" as {self.application}" if self.application else ""
        return f"{program}, role {self.role}{named}, process {self.pid} of the server"


@dataclass
class SeenOnLive:
    """Every session of our work that was seen on the live database, and how often it was looked for. ``started``: what
    of the work could have had one that was too short to be seen."""

    sessions: list[Seen] = field(default_factory=list)
    watches: int = 0
    started: list[str] = field(default_factory=list)


class WorkOnLive(PapError):
    """Work on a copy opened a session on the live database. ``data['sessions']`` has each of them."""


class SessionWatch:
    """Watches while a block runs, and ends every session of the work that is on the live database.

    ``what`` names the work in messages; ``holders`` tells which process of it holds an address and port; ``name`` is
    the application name that its environment asks for, where that is a trial's alone. ``seen`` gets each session.
    """

    def __init__(
        self, copy: Database, live: str, what: str, holders: Holders, seen: SeenOnLive, name: str = ""
    ) -> None:
        self.in_copy = 0
        self.problem: Optional[BaseException] = None
        self._copy, self._what, self._holders, self._name = copy, what, holders, name
        self._seen, self._before = seen, len(seen.sessions)
        seen.watches += 1
        with copy.session() as session:
            began = str(session.scalar("SELECT clock_timestamp()::text AS began"))
            self._reads = int(session.scalar(_READS)) if name else 0
        self._query = bind(_SESSIONS, began, live, copy.conninfo.dbname)
        self._candidates: dict[tuple[int, str], tuple[float, Seen]] = {}
        self._ended: set[tuple[int, str]] = set()
        self._stop = threading.Event()

    def __enter__(self) -> SessionWatch:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _watch(self) -> None:
        try:
            with admin_session(self._copy, "watch") as session:  # the copy may be made anew meanwhile
                while not self._stop.wait(_POLL_S):
                    self._look(session)
                self._look(session)
        except Exception as error:  # noqa: BLE001 - raised in refuse_leak: a blind watch proves nothing
            self.problem = error

    def _look(self, session: Session) -> None:
        now, copies = time.monotonic(), 0
        for found in session.records(Seen, self._query):
            if found.database == self._copy.conninfo.dbname:
                copies += 1
            else:
                self._candidates[found.pid, found.began] = (now, found)
        self.in_copy = max(self.in_copy, copies)
        for key, (since, seen) in list(self._candidates.items()):
            holder = self._holders(seen.address, seen.port)
            if holder is not None or (self._name and seen.application == self._name):
                self._end(session, key, seen, holder)
            elif now - since > _LATE_S:
                del self._candidates[key]

    def _end(self, session: Session, key: tuple[int, str], seen: Seen, holder: Optional[Holder]) -> None:
        if key in self._ended:
            return
        self._ended.add(key)
        if holder:
            seen = replace(seen, program=holder.program, process=holder.pid)
        self._seen.sessions.append(replace(seen, what=self._what))
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE pid = {key[0]} AND backend_start = {quote_literal(key[1])}::timestamptz"
        )

    def refuse_leak(self) -> None:
        """Raise WorkOnLive if the work was seen on the live database."""
        if self.problem:
            raise Unavailable(f"The sessions of {self._what} could not be watched: {self.problem}")
        leaks = self._seen.sessions[self._before :]
        if leaks:
            named = "; ".join(map(str, leaks[:3]))
            raise WorkOnLive(
                f"{self._what[:1].upper()}{self._what[1:]} connected to the live database; its sessions there were"
                f" ended: {named}.",
                hint="It has the address from somewhere else than its environment: a file, or a constant in the source."
                " Take it from a variable; an API that cannot must not be tried (pap_api_trial_command: []).",
                sessions=plain(leaks),
            )

    def used_copy(self, patience_s: float) -> bool:
        """Whether the work has used the copy, waiting for counters that come late. A session without a pool is too
        short to be seen; then a read of the copy's tables tells."""
        limit = time.monotonic() + patience_s
        while not self.in_copy and int(self._copy.scalar(_READS)) == self._reads:
            if time.monotonic() > limit:
                return False
            time.sleep(_POLL_S)
        return True
