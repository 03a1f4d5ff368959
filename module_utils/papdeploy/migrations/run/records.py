"""What a run tells of its migrations: in its result, in the ledger, in its events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional


@dataclass(frozen=True)
class Statement:
    """One that a migration sent. ``rows``: where the server counts them; ``left_out``: it was not run on a copy."""

    sql: str
    ms: float
    rows: Optional[int] = None
    error: str = ""
    left_out: bool = False


@dataclass(frozen=True)
class Lock:
    table: str
    mode: str


@dataclass(frozen=True)
class Size:
    before: int
    after: int


@dataclass(frozen=True)
class Ran:
    """One migration that has run. ``statement_count`` is whole, ``statements`` has at most ``step.MAX_STATEMENTS``.
    ``locks``, ``rewritten`` (tables), ``sizes`` (of those that changed) and ``wal_bytes``: of a run that observes.
    ``output``: of a legacy script."""

    identity: str
    checksum: str
    flavour: str
    at: str
    seconds: float
    statements: tuple[Statement, ...]
    statement_count: int
    details: Optional[Mapping[str, Any]] = None
    output: Optional[str] = None
    locks: Optional[tuple[Lock, ...]] = None
    rewritten: Optional[tuple[str, ...]] = None
    sizes: Optional[Mapping[str, Size]] = None
    wal_bytes: Optional[int] = None


@dataclass(frozen=True)
class Blocker:
    """A session that a statement waited for."""

    pid: int
    application: str
    user: str
    state: str
    transaction_since: str
    query: str

    def __str__(self) -> str:
        since = f", its transaction began {self.transaction_since}" if self.transaction_since else ""
        query = f": {self.query}" if self.query else ""
        who = self.application or self.user or "unknown"
        return f"process {self.pid} ({who}, {self.state or 'unknown'}{since}{query})"
