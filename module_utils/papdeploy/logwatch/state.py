"""The state of a watch as ``watch.json`` keeps it, and where the watch of a release stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ..core.records import as_object, plain, read_known
from .blindness import Blindness
from .classify import Finding
from .records import Seen


@dataclass(frozen=True)
class Acknowledged:
    at: str
    who: str
    reason: str


@dataclass(frozen=True)
class Alarm:
    """``told``: when the webhook took it; ``not_told``: when and why it did not."""

    at: str
    kind: str
    source: str
    subject: str
    count: int
    why: str
    sample: str
    acknowledged: Optional[Acknowledged] = None
    told: Optional[str] = None
    not_told: Optional[str] = None

    def as_json(self) -> dict[str, Any]:
        return as_object(self)


@dataclass(frozen=True)
class Usual:
    """What was usual in a log before the deploy: counts by kind, and ``kind|subject`` of what was complained of."""

    records: int
    requests: int
    seconds: float
    kinds: dict[str, int]
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class Blind:
    """A log, or the database, that cannot be read."""

    since: str
    message: str


@dataclass(frozen=True)
class Gap:
    at: str
    what: str


@dataclass(frozen=True)
class Ended:
    at: str
    why: str


@dataclass(frozen=True)
class DataSeen:
    """When the live database was compared, and what it had lost by then."""

    at: str
    lost: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class WatchState:
    """``marks``: how far each log was read; ``carry``: its unfinished end; ``series``: by moment, what each log told.
    With ``timer`` a service manager runs the steps, else a process of its own. ``elsewhere``: errors of other databases
    on the server; ``seen``: how many lines of each log were understood; ``answered``: the API has answered requests
    since the deploy, so that its log must have grown; ``unseen``: what these logs cannot tell."""

    release: str
    started: str
    until: str
    interval_s: float
    bucket_s: float
    rules: dict[str, Any]
    labels: dict[str, str]
    marks: dict[str, Any]
    carry: dict[str, str]
    baseline: dict[str, Usual]
    expected_restarts: dict[str, int]
    steps: int
    heartbeat: str
    requests: int
    records: int
    findings: tuple[Finding, ...]
    series: tuple[dict[str, Any], ...]
    alarms: tuple[Alarm, ...]
    blind: dict[str, Blind]
    gaps: tuple[Gap, ...]
    ended: Optional[Ended]
    timer: bool = False
    data: Optional[DataSeen] = None
    elsewhere: int = 0
    seen: dict[str, Seen] = field(default_factory=dict)
    answered: bool = False
    unseen: tuple[Blindness, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> WatchState:
        return read_known(cls, value, "watch.json")

    def as_json(self) -> dict[str, Any]:
        return as_object(self)


@dataclass(frozen=True)
class Status:
    """``state`` is ``none``, ``watching``, ``ended``, ``alarm`` or ``dead``; ``ok`` is false for an alarm and for a
    watcher that is dead or silent; ``summary`` is one sentence; ``alarms`` are the open ones."""

    state: str
    ok: bool
    summary: str
    alarms: tuple[Alarm, ...] = ()
    dead: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    watch: Optional[WatchState] = None

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "state": self.state,
            "ok": self.ok,
            "summary": self.summary,
            "alarms": plain(self.alarms),
        }
        if self.watch is None:
            return found
        names = (
            "started",
            "until",
            "heartbeat",
            "ended",
            "blind",
            "unseen",
            "elsewhere",
            "gaps",
            "requests",
            "records",
        )
        shown = {name: plain(getattr(self.watch, name)) for name in names}
        return {**found, "dead": self.dead, "counts": self.counts, **shown}
