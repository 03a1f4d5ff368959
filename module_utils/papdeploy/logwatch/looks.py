"""What the watch measured beside reading logs, minute by minute: ``<release>/watch-looks.jsonl``, one look a line.

A line is a :class:`Look` as JSON; a field that has its default is left out::

    {"at": "2026-03-01T10:21:00.000Z",
     "health":    {"path": "/health", "status": 200, "ms": 1.9, "p95_ms": 2.4},
     "login":     {"path": "/auth/login", "status": 200, "ms": 61.0, "p95_ms": 70.2},
     "endpoints": [{"path": "/policies/", "status": 200, "ms": 12.5, "p95_ms": 31.0}],
     "server":    {"connections": 17, "max_connections": 100, "longest_wait_s": 0.0, "longest_idle_s": 3.2,
                   "replicas": [{"name": "standby1", "state": "streaming", "lag_s": 0.1, "lag_bytes": 0}],
                   "slots": [{"name": "standby1", "active": true, "kept_bytes": 4096, "wal_status": "reserved"}]},
     "lost": 0,
     "alarms": ["GET /policies/ answers with status 500, before: 200; 2 looks in a row"],
     "not_looked": [{"what": "replicas", "why": "…"}]}

``alarms`` are those that this look raised. What is null, or absent, was not measured: ``not_looked`` says why.
:func:`read` gives the looks of a release, oldest first; :func:`before` what the same requests took before the deploy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..core.durable import append_durably, write_durably
from ..core.plain_json import parse
from ..core.records import as_object, in_file, read_known
from ..core.text import age, plural

WINDOW = 20  # looks that a p95 is taken of
UNREACHABLE = "the database"  # what was not looked at because it cannot be asked
RECENT = 120  # looks that the rules may need
_TAIL_BYTES = 256 << 10


@dataclass(frozen=True)
class Asked:
    """One request: ``status`` 0 means that no answer came; ``ms``: what it took; ``p95_ms``: of the last ``WINDOW``
    looks that were answered; ``problem``: why an answer is broken whatever its status; ``worse``: what is worse in it
    than in the one of before the deploy. Both are parts of a sentence."""

    path: str
    status: int
    ms: float
    p95_ms: Optional[float] = None
    problem: str = ""
    worse: str = ""

    @property
    def answered(self) -> bool:
        return bool(self.status) and not self.problem


@dataclass(frozen=True)
class Replica:
    """A standby or subscriber that the server feeds. None: the server does not say."""

    name: str
    state: str = ""
    lag_s: Optional[float] = None
    lag_bytes: Optional[int] = None


@dataclass(frozen=True)
class Slot:
    """A replication slot. ``kept_bytes``: of WAL that it holds back; ``wal_status`` lost: its standby cannot go on."""

    name: str
    active: bool
    kept_bytes: Optional[int] = None
    wal_status: str = ""


@dataclass(frozen=True)
class Server:
    """The server of the database. ``connections``: client sessions in all its databases, of ``max_connections``;
    ``longest_wait_s``: for a lock, ``longest_idle_s``: in an open transaction, of sessions in this database, and of
    which (``waiting``, ``idle``)."""

    connections: int
    max_connections: int
    longest_wait_s: Optional[float] = None
    longest_idle_s: Optional[float] = None
    waiting: str = ""
    idle: str = ""
    replicas: Optional[tuple[Replica, ...]] = None
    slots: Optional[tuple[Slot, ...]] = None


@dataclass(frozen=True)
class NotLooked:
    """What could not be looked at. It is not good, and not bad: it is not known."""

    what: str
    why: str

    @property
    def sentence(self) -> str:
        return f"not looked at: {self.what} ({self.why})"


@dataclass(frozen=True)
class Look:
    """Everything that was measured at one moment. ``login``: of a login, or of a call with the token of an earlier
    one (the path tells); ``lost``: tables that have lost what nothing explains."""

    at: str
    health: Optional[Asked] = None
    login: Optional[Asked] = None
    endpoints: tuple[Asked, ...] = ()
    server: Optional[Server] = None
    lost: Optional[int] = None
    alarms: tuple[str, ...] = ()
    not_looked: tuple[NotLooked, ...] = ()

    @property
    def asked(self) -> tuple[Asked, ...]:
        """Every request of it."""
        return tuple(one for one in (self.health, self.login, *self.endpoints) if one)


def file_of(folder: Path) -> Path:
    return folder / "watch-looks.jsonl"


def before_file(folder: Path) -> Path:
    return folder / "watch-before.json"


def append(folder: Path, look: Look) -> None:
    """Add a look; it is on disk when this returns."""
    append_durably(file_of(folder), as_object(look))


def keep_before(folder: Path, look: Look) -> None:
    """Keep what the same requests said before the deploy."""
    write_durably(before_file(folder), json.dumps(as_object(look)).encode())


def before(folder: Path) -> Optional[Look]:
    """What :func:`keep_before` kept: ``ms`` is the median, ``p95_ms`` of the same samples. None if nothing was kept."""
    found = in_file(before_file(folder))
    return None if found is None else read_known(Look, found, "watch-before.json")


def read(folder: Path) -> list[Look]:
    """Every look of the release, oldest first; a line that a killed writer tore is passed over."""
    try:
        return list(_parsed(file_of(folder).read_bytes()))
    except FileNotFoundError:
        return []


def recent(folder: Path, count: int = RECENT) -> list[Look]:
    """The last looks, oldest first, without reading the whole day."""
    try:
        with file_of(folder).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            return list(_parsed(file.read()))[-count:]
    except FileNotFoundError:
        return []


def _parsed(data: bytes) -> Iterator[Look]:
    for line in data.split(b"\n"):
        try:
            entry = parse(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "at" in entry:
            yield read_known(Look, entry, "watch-looks.jsonl")


def p95(samples: Sequence[float]) -> Optional[float]:
    """The 95th percentile by nearest rank; None of nothing."""
    ordered = sorted(samples)
    return ordered[math.ceil(0.95 * len(ordered)) - 1] if ordered else None


def told(look: Look) -> list[str]:
    """What a look measured, and what it could not, as lines for a person."""
    said = [f"{one.path} {one.worse or f'{one.ms:.0f} ms'}" for one in look.asked]
    if look.server:
        said.append(f"{look.server.connections} of {look.server.max_connections} connections")
        for seconds, what in ((look.server.longest_wait_s, "wait for a lock"), (look.server.longest_idle_s, "idle")):
            said += [f"longest {what} {age(seconds)}"] if seconds else []
        said += [f"standby {each.name} {age(each.lag_s or 0)} behind" for each in look.server.replicas or ()]
    measured = [f"last look {_minute(look.at)} UTC: {', '.join(said)}"] if said else []
    return [*measured, *(each.sentence for each in look.not_looked)]


def summary(seen: Sequence[Look]) -> list[str]:
    """What all looks of a watch measured, as lines for a person."""
    if not seen:
        return []
    lines = [f"{plural(len(seen), 'look')} from {_minute(seen[0].at)} to {_minute(seen[-1].at)} UTC"]
    for path in dict.fromkeys(one.path for look in seen for one in look.asked):
        asked = [one for look in seen for one in look.asked if one.path == path]
        worse = sum(bool(one.worse) for one in asked)
        said = (
            f"{worse} of {plural(len(asked), 'answer')} failed"
            if worse
            else f"{plural(len(asked), 'answer')}, all good"
        )
        slowest = p95([one.ms for one in asked if one.answered])
        lines.append(f"{path}: {said}" + (f", p95 {slowest:.0f} ms" if slowest is not None else ""))
    servers = [look.server for look in seen if look.server]
    if servers:
        most = max(servers, key=lambda server: server.connections / max(server.max_connections, 1))
        wait = max(server.longest_wait_s or 0.0 for server in servers)
        lines.append(
            f"at most {most.connections} of {most.max_connections} connections, longest wait for a lock {age(wait)}"
        )
    missed = sum(bool(look.not_looked) for look in seen)
    return [*lines, f"{plural(missed, 'look')} not complete"] if missed else lines


def _minute(at: str) -> str:
    return f"{at[:10]} {at[11:16]}"
