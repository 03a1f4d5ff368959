"""The state of a watch as ``watch.json`` keeps it, and where the watch of a release stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from ..core.plain_json import JsonObject
from ..core.records import as_object, plain, read_known, recorded
from . import runners
from .blindness import Blindness
from .classify import Finding
from .files import Mark
from .records import Seen


@dataclass(frozen=True)
class Rules:
    """When to raise an alarm.

    Of logs: kinds of ``log_rules.AT_ONCE`` at their first record, if the logs before had none about the same; others
    when there are at least ``min_count`` and more than ``factor`` times the rate before (per request where requests are
    logged, else per second), within the last ``window_s`` or since the start. ``restarts`` of a program; ``blind_s``:
    seconds for which a log, or the database, cannot be read.

    Of looks: ``fails`` looks in a row; ``slow``: of the last twenty looks so many took longer than ``slow_factor``
    times the p95 before and ``slow_ms`` milliseconds more; ``connections``: the part of max_connections in use;
    ``wait_s``: seconds for a lock, ``idle_s``: in an open transaction; ``replica_s``: seconds that a standby is behind
    or away, or a slot without one; ``replica_mb``: of WAL that it is behind."""

    min_count: int = 5
    factor: float = 3.0
    window_s: float = 900.0
    restarts: int = 0
    blind_s: float = 180.0
    fails: int = 2
    slow: int = 3
    slow_factor: float = 3.0
    slow_ms: float = 250.0
    connections: float = 0.9
    wait_s: float = 30.0
    idle_s: float = 300.0
    replica_s: float = 300.0
    replica_mb: float = 256.0


@dataclass(frozen=True)
class Acknowledged:
    at: str
    who: str
    reason: str


@dataclass(frozen=True)
class Alarm:
    """``told``: when the webhook took it; ``not_told``: when and why it did not. ``over``: since when what a look
    measures is well again; the alarm stays open until a person acknowledges it."""

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
    over: Optional[str] = None

    @property
    def sentence(self) -> str:
        return self.why + (f" (over since {self.over[11:16]} UTC)" if self.over else "")


@dataclass(frozen=True)
class Counted:
    """What one log told within one moment."""

    requests: int
    kinds: dict[str, int]


@dataclass(frozen=True)
class Point:
    """What each log told since ``at``, as long as a bucket."""

    at: str
    logs: dict[str, Counted]


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
class _Apart:
    """What is read for itself: the points as they are, of the rules those that this version knows, and the runner."""

    series: tuple[dict[str, Any], ...] = ()
    rules: Rules = Rules()
    runner: str = ""
    timer: bool = False  # until 0.1


def _nested(at: str, **logs: object) -> Any:
    return {"at": at, "logs": logs}


@dataclass(frozen=True)
class WatchState:
    """``marks``: how far each log was read; ``carry``: its unfinished end; ``series``: by moment, what each log told.
    ``runner``: what makes the steps since the deploy has left it (:mod:`.runners`). ``elsewhere``: errors of other
    databases on the server; ``seen``: how many lines of each log were understood; ``answered``: the API has answered
    requests since the deploy, so that its log must have grown; ``unseen``: what these logs cannot tell."""

    release: str
    started: str
    until: str
    interval_s: float
    bucket_s: float
    rules: Rules
    labels: dict[str, str]
    marks: dict[str, Mark]
    carry: dict[str, str]
    baseline: dict[str, Usual]
    expected_restarts: dict[str, int]
    steps: int
    heartbeat: str
    requests: int
    records: int
    findings: tuple[Finding, ...]
    series: tuple[Point, ...]
    alarms: tuple[Alarm, ...]
    blind: dict[str, Blind]
    gaps: tuple[Gap, ...]
    ended: Optional[Ended]
    runner: str = ""
    data: Optional[DataSeen] = None
    elsewhere: int = 0
    seen: dict[str, Seen] = field(default_factory=dict)
    answered: bool = False
    unseen: tuple[Blindness, ...] = ()

    @classmethod
    def from_json(cls, value: Any) -> WatchState:
        """The inverse of :meth:`as_json`. In JSON a point has its logs beside its time."""
        apart = recorded(_Apart, value)
        series = [_nested(**point) for point in apart.series]
        if not isinstance(value, dict):
            return read_known(cls, value, "watch.json")
        runner = apart.runner or (runners.SYSTEMD if apart.timer else "")
        whole = {**value, "series": series, "rules": as_object(apart.rules), "runner": runner}
        return read_known(cls, whole, "watch.json")

    def as_json(self) -> JsonObject:
        whole: JsonObject = {
            **as_object(self),
            "series": [{"at": point.at, **plain(point.logs)} for point in self.series],
        }
        # The watch.zip of 0.1, if that is still at work, reads whether a timer makes the steps.
        return {**whole, "timer": True} if self.runner in runners.STEPPED else whole


_SHOWN = (
    "started", "until", "heartbeat", "ended", "blind", "unseen", "elsewhere", "gaps", "requests", "records",
)  # fmt: skip


@dataclass(frozen=True)
class Status:
    """``state`` is ``none``, ``watching``, ``ended``, ``alarm``, ``dead`` or ``damaged``; ``ok`` is false for an alarm,
    and for a watcher that is dead or silent, or cannot go on; ``summary`` is one sentence; ``alarms`` are the open
    ones."""

    state: str
    ok: bool
    summary: str
    alarms: tuple[Alarm, ...] = ()
    dead: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    watch: Optional[WatchState] = None

    def as_json(self) -> JsonObject:
        found = {"state": self.state, "ok": self.ok, "summary": self.summary, "alarms": plain(self.alarms)}
        if self.watch is None:
            return found
        shown = {name: plain(getattr(self.watch, name)) for name in _SHOWN}
        return {**found, "dead": self.dead, "counts": self.counts, **shown}
