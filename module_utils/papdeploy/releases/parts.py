"""The parts of what a journal says (see :mod:`.records`): plain data, with a default for what was not written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ..databases.relation_losses import Loss
from ..migrations.server_wide import LeftOut


@dataclass(frozen=True)
class Who:
    """The person or service that started a run, and where."""

    user: str = "?"
    host: str = "?"

    def __str__(self) -> str:
        return f"{self.user}@{self.host}"


@dataclass(frozen=True)
class Endpoint:
    """What an endpoint answered before the deploy; ``times``: milliseconds of this answer and of more. ``declared``:
    the status that the inventory says, ``unmet``: what it says and is not so."""

    path: str = ""
    status: int = 0
    ms: float = 0.0
    shape: Any = None
    problem: str = ""
    times: tuple[float, ...] = ()
    declared: int = 0
    unmet: str = ""


@dataclass(frozen=True)
class Runtime:
    """What an API runs with: its Python, its packages (version by name), the names of its variables."""

    python: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    variables: tuple[str, ...] = ()


@dataclass(frozen=True)
class Content:
    """What was to be deployed: the checksum of the release folder (empty for an image), and the runtime."""

    checksum: str = ""
    runtime: Runtime = Runtime()


@dataclass(frozen=True)
class Times:
    """Seconds of a backup's parts."""

    dump: Optional[float] = None
    restore: Optional[float] = None
    content_digest: Optional[float] = None
    total: Optional[float] = None


@dataclass(frozen=True)
class Proof:
    kind: str = ""
    sentence: Optional[str] = None
    seconds: Optional[float] = None


@dataclass(frozen=True)
class Accepted:
    """A difference of the restored copy that a person accepted."""

    difference: str = ""
    sentence: str = ""
    reason: str = ""
    until: str = ""


@dataclass(frozen=True)
class Statement:
    """``left_out``: it acts on the whole server, and was not run on a copy."""

    sql: str = ""
    ms: Optional[float] = None
    rows: Optional[int] = None
    left_out: bool = False


@dataclass(frozen=True)
class TableLock:
    table: str = ""
    mode: str = ""
    held_s: Optional[float] = None


@dataclass(frozen=True)
class Migration:
    """One that was applied. ``locks`` are None where they were not observed."""

    identity: str = ""
    seconds: Optional[float] = None
    statements: tuple[Statement, ...] = ()
    statement_count: Optional[int] = None
    rows: Optional[int] = None
    locks: Optional[tuple[TableLock, ...]] = None
    rewritten: Optional[tuple[str, ...]] = None
    wal_bytes: Optional[int] = None


@dataclass(frozen=True)
class Checked:
    tables: Optional[int] = None


@dataclass(frozen=True)
class Difference:
    object: str = "?"
    kind: str = ""
    expected: str = ""
    actual: str = ""


@dataclass(frozen=True)
class SchemaCheck:
    """Of the live schema against the models."""

    matches: Optional[bool] = None
    checked: Checked = Checked()
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Override:
    """A decision to deploy without a receipt."""

    who: Who = Who()
    reason: str = ""
    at: str = ""
    instead_of: str = ""


@dataclass(frozen=True)
class ReceiptOf:
    environment: str = ""
    release: str = ""
    stack: str = ""
    at: str = ""


@dataclass(frozen=True)
class TableCost:
    """What a rollback loses of a table; ``deleted`` is None where the counters cannot say."""

    rows: int = 0
    deleted: Optional[int] = 0
    emptied: bool = False


@dataclass(frozen=True)
class Cost:
    """What a rollback loses: rows by table, what else as sentences."""

    cost: Mapping[str, TableCost] = field(default_factory=dict)
    besides: tuple[str, ...] = ()
    rows_lost: int = 0
    cost_certain: bool = False


@dataclass(frozen=True)
class Plan(Cost):
    """The strategy that was chosen. ``lost``: what the release lost; ``refused``: why it cannot be gone."""

    strategy: str = ""
    why: str = ""
    cost_sentence: str = ""
    lost: tuple[Loss, ...] = ()
    refused: str = ""
    hint: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Removal:
    """What retention removed, or is about to, and ``why``, in which ``run``. ``taken``: when it was made."""

    kind: str = ""
    name: str = ""
    release: str = ""
    bytes: Optional[int] = None
    sha256: str = ""
    proof: str = ""
    taken: Optional[str] = None
    age_days: Optional[float] = None
    why: str = ""
    run: str = ""
    at: str = ""


@dataclass(frozen=True)
class Check:
    """One step of the login smoke test. ``problem``: what was wrong with the answer itself."""

    name: str = ""
    ok: bool = False
    status: int = 0
    ms: float = 0.0
    detail: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Tested:
    """The status of an endpoint ``before`` the deploy and ``after`` it (in releases before 0.2: ``status``)."""

    path: str = ""
    before: Optional[int] = None
    after: Optional[int] = None
    status: Optional[int] = None
    ms: Optional[float] = None


@dataclass(frozen=True)
class Smoke:
    """``unhealthy``: why the API that a rollback went back to does not answer well."""

    checks: tuple[Check, ...] = ()
    endpoints: tuple[Tested, ...] = ()
    healthy_after_s: Optional[float] = None
    unhealthy: str = ""

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.ok]


@dataclass(frozen=True)
class FailureData:
    """What an error carries, as far as anybody reads it. ``damaged``: it is of a backup that cannot be restored."""

    lines: tuple[str, ...] = ()
    statement: str = ""
    sql: str = ""
    differences: tuple[Any, ...] = ()
    lost: tuple[Loss, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    damaged: bool = False
    smoke: Optional[Smoke] = None
