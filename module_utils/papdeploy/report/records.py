"""The parts of a release's report, as the pages read them from ``report.json``: what was not recorded, or has another
type in the report of another version, is None or empty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ..core.records import FROM, TO
from ..releases.parts import Check, Checked, Difference, Statement, TableCost, TableLock
from ..releases.records import Backup, Received, Rehearsed, RestorePoint, RolledBack
from ..releases.version import Version
from .looks_picture import Picture


@dataclass(frozen=True)
class Verdict:
    kind: str = "unfinished"
    ok: bool = False
    alarm: bool = False
    line: str = ""


@dataclass(frozen=True)
class Step:
    """What a person does next: a sentence and a command."""

    say: str = ""
    type: str = ""


@dataclass(frozen=True)
class Span:
    """Seconds after the start of the release; without an end while it runs."""

    begin_s: float = 0.0
    end_s: Optional[float] = None

    def end(self, otherwise: Optional[float] = None) -> float:
        if self.end_s is not None:
            return self.end_s
        return otherwise if otherwise is not None else self.begin_s

    @property
    def seconds(self) -> Optional[float]:
        return None if self.end_s is None else self.end_s - self.begin_s


@dataclass(frozen=True)
class Bar(Span):
    """A phase on the time line; ``part``: of a rollback."""

    phase: str = ""
    label: str = ""
    part: bool = False
    state: str = ""
    predicted_s: Optional[float] = None


@dataclass(frozen=True)
class Failure:
    """``differences``: of the schema check, or sentences on a copy that is not equal."""

    phase: str = ""
    at: str = ""
    error: Optional[str] = None
    message: Optional[str] = None
    hint: Optional[str] = None
    statement: Optional[str] = None
    lines: tuple[str, ...] = ()
    differences: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """A rollback that was refused."""

    refused: Optional[str] = None
    at: Optional[str] = None
    reason: Optional[str] = None
    strategy: Optional[str] = None
    cost: Mapping[str, TableCost] = field(default_factory=dict)
    besides: tuple[str, ...] = ()
    hint: Optional[str] = None
    lines: tuple[str, ...] = ()
    loses: bool = False


@dataclass(frozen=True)
class ApiAbsence:
    """That the API was gone before it was stopped."""

    since: str = ""
    sentence: str = ""


@dataclass(frozen=True)
class Losses:
    """Of the live database: sentences, and by which strategy they came back."""

    lost: tuple[str, ...] = ()
    back: str = ""
    deleted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Migration:
    identity: str = ""
    applied: bool = False
    seconds: Optional[float] = None
    rehearsed_s: Optional[float] = None
    statements: tuple[Statement, ...] = ()
    statement_count: Optional[int] = None
    rows: Optional[float] = None
    locks: tuple[TableLock, ...] = ()
    rewritten: Optional[tuple[str, ...]] = None
    wal_bytes: Optional[float] = None


@dataclass(frozen=True)
class Change:
    """An object of the schema that was added, removed or changed; ``lines`` are mark and text."""

    object: str = ""
    change: str = ""
    lines: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Schema:
    matches: Optional[bool] = None
    checked: Checked = field(default=Checked())
    differences_before: tuple[Difference, ...] = ()
    differences_after: tuple[Difference, ...] = ()
    diff: Optional[tuple[Change, ...]] = None


@dataclass(frozen=True)
class Endpoint:
    """What a path answered before the fence and after the switch: status, and how long it took."""

    path: str = ""
    before: Optional[int] = None
    after: Optional[int] = None
    ms_before: Optional[float] = None
    ms: Optional[float] = None
    ok: bool = True
    detail: str = ""


@dataclass(frozen=True)
class Smoke:
    checks: tuple[Check, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    healthy_after_s: Optional[float] = None


@dataclass(frozen=True)
class Acknowledged:
    who: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Alarm:
    at: str = ""
    why: str = ""
    source: str = ""
    sample: str = ""
    acknowledged: Optional[Acknowledged] = None


@dataclass(frozen=True)
class Finding:
    kind: str = ""
    source: str = ""
    subject: str = ""
    count: int = 0
    first: str = ""
    last: str = ""


@dataclass(frozen=True)
class Moment:
    at: str = ""
    what: str = ""


@dataclass(frozen=True)
class Unseen:
    """What a log could not tell, and the setting that mends it."""

    what: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Watch:
    """``series``: by moment, what each log told (``api``, ``database``)."""

    started: Optional[str] = None
    steps: Optional[int] = None
    requests: Optional[int] = None
    records: Optional[int] = None
    findings: tuple[Finding, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    series: tuple[dict[str, Any], ...] = ()
    bucket_s: Optional[float] = None
    gaps: tuple[Moment, ...] = ()
    unseen: tuple[Unseen, ...] = ()
    ended: Optional[Moment] = None
    heartbeat: Optional[str] = None
    state: Optional[str] = None
    summary: Optional[str] = None

    @property
    def until(self) -> Optional[str]:
        """The last moment that was watched."""
        return (self.ended.at if self.ended else "") or self.heartbeat


@dataclass(frozen=True)
class Report:
    format: int = 1
    release: Optional[str] = None
    journal: Optional[str] = None
    stack: Optional[str] = None
    environment: Optional[str] = None
    who: Optional[str] = None
    started: Optional[str] = None
    ended: Optional[str] = None
    origin: Optional[str] = None
    origin_later: Optional[str] = None
    seconds: Optional[float] = None
    unavailable_s: Optional[float] = None
    expected_unavailable_s: Optional[float] = None
    old: Version = field(default=Version(), metadata=FROM)
    new: Version = field(default=Version(), metadata=TO)
    server_version: Optional[int] = None
    versions: Mapping[str, Any] = field(default_factory=dict)
    verdict: Verdict = Verdict()
    next: tuple[Step, ...] = ()
    failed: Optional[Failure] = None
    rollback: Optional[RolledBack] = None
    rollback_refused: Optional[Refusal] = None
    rolled_back_at: Optional[str] = None
    api_absence: Optional[ApiAbsence] = None
    data: Optional[Losses] = None
    timeline: tuple[Bar, ...] = ()
    timeline_later: tuple[Bar, ...] = ()
    fence: Optional[Span] = None
    unavailable: Optional[Span] = None
    migrations: tuple[Migration, ...] = ()
    schema: Schema = Schema()
    rehearsal: Optional[Rehearsed] = None
    rehearsal_failed: str = ""
    backup: Optional[Backup] = None
    restore_point: Optional[RestorePoint] = None
    smoke: Optional[Smoke] = None
    receipt: Received = field(default=Received())
    watch: Optional[Watch] = None
    switched: Optional[str] = None
    answers: Optional[Picture] = None
    figures: tuple[str, ...] = ()
    found: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
