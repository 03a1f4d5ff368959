"""What the runner answers and tells, as records: what is shown of it, and no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ..run.records import Blocker


@dataclass(frozen=True)
class Holder:
    """The session that has the runner's lock."""

    pid: int = 0
    application: str = ""
    since: str = ""


@dataclass(frozen=True)
class Event:
    """What a run tells while it works; which fields there are depends on ``event``."""

    event: str = ""
    identity: str = ""
    direction: str = ""
    holder: Holder = Holder()
    by: tuple[Blocker, ...] = ()
    why: str = ""
    attempt: int = 0
    of: int = 0
    pause_s: float = 0.0
    rows_done: int = 0
    rows_total: int = 0
    rows_per_second: float = 0.0
    estimated: bool = False
    message: str = ""
    line: str = ""
    index: str = ""
    identities: tuple[str, ...] = ()
    transaction: Optional[int] = None
    committed: Optional[bool] = None


@dataclass(frozen=True)
class Problem:
    """Why a migration is refused."""

    message: str
    hint: str
    kind: str = ""
    identity: str = ""


@dataclass(frozen=True)
class Applied:
    """An entry of the ledger."""

    identity: str
    at: str
    release: str


@dataclass(frozen=True)
class Pending:
    identity: str
    flavour: str = ""
    reversible: bool = False


@dataclass(frozen=True)
class Failure:
    """How a migration ended the last time."""

    error: str = ""


@dataclass(frozen=True)
class State:
    """Files against ledger; of a plan also its SQL as text, and ``notes``: what does not stop a run."""

    ledger_exists: bool
    applied: tuple[Applied, ...]
    pending: tuple[Pending, ...]
    problems: tuple[Problem, ...]
    interrupted: tuple[str, ...]
    failures: dict[str, Failure]
    text: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Executed:
    """A migration that a run has applied or reverted."""

    identity: str
    seconds: float
    statement_count: int


@dataclass(frozen=True)
class RunResult:
    """What a run did."""

    run: str
    release: str
    seconds: float
    dry_run: bool
    applied: tuple[Executed, ...]
    reverted: tuple[Executed, ...]
    pending: tuple[str, ...]
    check: object = None


@dataclass(frozen=True)
class Finding:
    """The verdict on a migration (baseline), or a problem that was accepted (repair)."""

    identity: str
    verdict: str = ""
    found: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    note: str = ""
    message: str = ""


@dataclass(frozen=True)
class AdoptResult:
    """What baseline or repair did."""

    dry_run: bool
    marked: tuple[str, ...]
    findings: tuple[Finding, ...]
