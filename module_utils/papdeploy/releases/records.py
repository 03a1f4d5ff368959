"""What the journal of a release says: a record for each kind of entry, all read at one place (:func:`entry_of`).

What an earlier version did not write, or wrote otherwise, has its default. An entry that tells nothing but that a phase
began or ended is an :class:`Entry`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, TypeVar, Union

from ..core import earlier_names
from ..core.records import FROM, TO, read_known, recorded
from ..databases.lifecycle import Swap
from ..databases.relation_losses import Loss
from ..databases.write_snapshot import Mark
from . import parts
from .parts import Accepted, Endpoint, FailureData, Migration, Plan, Proof, SchemaCheck, Times, Who
from .rehearsed import Rehearsal
from .run import Run
from .version import Version


@dataclass(frozen=True)
class Entry:
    """``event``: begin, done, failed, note, or one of the phase's own. ``lines``: what a person read of it."""

    at: str = ""
    phase: str = ""
    event: str = ""
    lines: tuple[str, ...] = ()
    seconds: Optional[float] = None

    def is_of(self, phase: str, event: str) -> bool:
        return (self.phase, self.event) == (phase, event)


E = TypeVar("E", bound=Entry)


@dataclass(frozen=True)
class Begun(Entry):
    """The header of a release. ``old`` is what ran, ``new`` what is to run; ``pending`` are its migrations,
    ``versions`` those of the programs at work. ``number`` orders releases; those of before 0.2 have none."""

    release: str = ""
    number: int = 0
    who: Optional[Who] = None
    stack: str = ""
    environment: str = ""
    old: Version = field(default=Version(), metadata=FROM)
    new: Version = field(default=Version(), metadata=TO)
    pending: tuple[str, ...] = ()
    server_version: Optional[int] = None
    versions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def by(self) -> str:
        return str(self.who or Who())


@dataclass(frozen=True)
class Ended(Entry):
    """How a release ended: its ``event``. ``schema_fingerprint``: of the schema that it left, where that is not the
    schema of before."""

    message: str = ""
    strategy: str = ""
    schema_fingerprint: str = ""
    unavailable_s: Optional[float] = None
    unhealthy: str = ""

    @property
    def kept_schema(self) -> bool:
        """It was rolled back by its image alone, so its schema stayed."""
        return self.event == "rolled_back" and self.strategy == "image"


@dataclass(frozen=True)
class TakeOver(Entry):
    """The run ``by`` took the release over from the run ``of``."""

    by: Run = field(default=Run())
    of: Run = field(default=Run())


@dataclass(frozen=True)
class Preflight(Entry):
    """``baseline`` is None where the smoke user could not log in, ``content`` in the journal of an earlier version."""

    baseline: Optional[tuple[Endpoint, ...]] = None
    health: Optional[Endpoint] = None
    login: Optional[Endpoint] = None
    reversible: Optional[bool] = None
    models_digest: str = ""
    live_fingerprint: str = ""
    content: Optional[parts.Content] = None


@dataclass(frozen=True)
class ApiLook(Entry):
    """Whether the API answered before it was stopped; else ``since`` when it did not, and by what that is known."""

    answers: bool = True
    said: str = ""
    since: str = ""
    known_by: str = ""


@dataclass(frozen=True)
class Backup(Entry):
    """By pg_dump ``path`` names it, by pgBackRest (``engine``) ``label`` and ``restore_command``. ``scratch``: the
    database that it was restored to for its proof, where that is kept. ``seconds`` is known of pgBackRest, ``times`` of
    pg_dump."""

    path: str = ""
    sha256: str = ""
    engine: str = ""
    label: str = ""
    restore_command: str = ""
    bytes: Optional[int] = None
    tables: Optional[int] = None
    rows: Optional[int] = None
    sentence: str = ""
    restore_seconds: Optional[float] = None
    times: Optional[Times] = None
    proof: Union[Proof, str, None] = None
    accepted: tuple[Accepted, ...] = ()
    notes: tuple[str, ...] = ()
    scratch: str = ""
    database: str = ""
    content_hash: str = ""
    database_oid: Optional[int] = None

    @property
    def is_proven(self) -> bool:
        """Whether it was restored and compared in full."""
        return isinstance(self.proof, Proof) and self.proof.kind == "full"


@dataclass(frozen=True)
class Rehearsed(Rehearsal, Entry):
    pass


@dataclass(frozen=True)
class Received(Entry):
    """By which receipt, or by whose decision, the release goes on."""

    receipt: Optional[parts.ReceiptOf] = None
    override: Optional[parts.Override] = None


@dataclass(frozen=True)
class Fence(Entry):
    """``database``: the name that it lies behind, ``oid`` what it is; ``id``: of this raising of the fence."""

    database: str = ""
    id: str = ""
    oid: Optional[int] = None


@dataclass(frozen=True)
class RestorePoint(Entry):
    """``kind``: "backup" (``path``) or "snapshot" (``database``, copied by ``method``). ``mark``: what was written by
    then; ``fence_id``: of the fence that was up; ``defined_since``: online, what was defined between the backup and the
    migrations."""

    kind: str = ""
    path: str = ""
    sha256: str = ""
    database: str = ""
    method: str = ""
    bytes: Optional[int] = None
    sentence: str = ""
    mark: Optional[Mark] = None
    fence_id: str = ""
    defined_since: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unfence(Entry):
    """``lifted`` is False where no fence was up; ``mark``: what was written by then."""

    lifted: bool = False
    mark: Optional[Mark] = None


@dataclass(frozen=True)
class Migrated(Entry):
    """``schema`` is what releases before 0.2 called ``check``."""

    applied: tuple[Migration, ...] = ()
    check: Optional[SchemaCheck] = None
    schema: Optional[SchemaCheck] = None


@dataclass(frozen=True)
class Validated(SchemaCheck, Entry):
    pass


@dataclass(frozen=True)
class Own(Entry):
    """What our own doing wrote, which is no user's: rows by table of each transaction, and numbers of sequences."""

    own_writes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    own_numbers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Switched(Own):
    """The API was switched from ``old`` to ``new``. ``healthy_at``: its first healthy answer."""

    old: Version = field(default=Version(), metadata=FROM)
    new: Version = field(default=Version(), metadata=TO)
    healthy_after_s: Optional[float] = None
    healthy_at: str = ""


@dataclass(frozen=True)
class Activated(Switched):
    pass


@dataclass(frozen=True)
class SwitchedBack(Switched):
    """``switched``: another version had run; ``unhealthy``: why the old one does not answer well."""

    switched: bool = False
    unhealthy: str = ""


@dataclass(frozen=True)
class SmokeTested(parts.Smoke, Own):
    pass


@dataclass(frozen=True)
class SmokeTestedBack(parts.Smoke, Own):
    """The same of the API that a rollback went back to."""


@dataclass(frozen=True)
class DataChecked(Entry):
    """``final``: to the end of the release; ``unmeasured``: tables that were out of sight."""

    when: str = ""
    losses: tuple[Loss, ...] = ()
    final: bool = False
    unmeasured: tuple[str, ...] = ()


@dataclass(frozen=True)
class Watched(Entry):
    """The first minute of the logs: ``findings`` counted by kind."""

    findings: Mapping[str, Any] = field(default_factory=dict)
    records: Optional[int] = None
    requests: Optional[int] = None


@dataclass(frozen=True)
class RollbackBegun(Entry):
    """``asked``: the strategy that a person named."""

    who: Optional[Who] = None
    reason: str = ""
    asked: str = ""
    plan: Plan = field(default=Plan())


@dataclass(frozen=True)
class RollbackRefused(Entry):
    who: Optional[Who] = None
    reason: str = ""
    plan: Plan = field(default=Plan())


@dataclass(frozen=True)
class Counted(parts.Cost, Entry):
    """What the database that is set aside will hold alone, counted under the fence."""


@dataclass(frozen=True)
class Swapped(Swap, Entry):
    """``writes``: how often the database that was set aside had been written to by then."""

    writes: Optional[int] = None


@dataclass(frozen=True)
class RolledBack(parts.Cost, Entry):
    """``kept``: the database that was set aside; ``unhealthy``: why the old API does not answer well."""

    strategy: str = ""
    why: str = ""
    kept: str = ""
    lost: tuple[Loss, ...] = ()
    unhealthy: str = ""
    unavailable_s: Optional[float] = None


@dataclass(frozen=True)
class Removed(parts.Removal, Entry):
    pass


@dataclass(frozen=True)
class Judged(Entry):
    """What a proof found of a backup: empty ``damage`` if it is whole."""

    name: str = ""
    sha256: str = ""
    damage: str = ""


@dataclass(frozen=True)
class Looked(Entry):
    """The backups that a run of retention saw for the first time, and from when on what it announced may go."""

    new: tuple[str, ...] = ()
    said: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed(Own):
    """A phase failed."""

    error: str = ""
    message: str = ""
    hint: str = ""
    data: FailureData = field(default=FailureData())


# How a release can end. A release without an end is unfinished: the next run ends it.
ENDS = ("finished", "rolled_back", "refused", "abandoned", "rehearsed")

_KINDS: Mapping[tuple[str, str], type[Entry]] = {
    ("release", "begin"): Begun,
    **{("release", event): Ended for event in ENDS},
    ("release", "taken_over"): TakeOver,
    ("preflight", "done"): Preflight,
    ("api", "note"): ApiLook,
    ("backup", "done"): Backup,
    ("rehearse", "done"): Rehearsed,
    ("receipt", "done"): Received,
    ("fence", "done"): Fence,
    ("restore_point", "done"): RestorePoint,
    ("migrate", "done"): Migrated,
    ("unfence", "done"): Unfence,
    ("activate", "done"): Activated,
    ("validate", "done"): Validated,
    ("login_smoke_test", "done"): SmokeTested,
    ("login_smoke_test", "note"): Own,
    ("data_check", "done"): DataChecked,
    ("watch", "done"): Watched,
    ("retention", "removing"): Removed,
    ("retention", "removed"): Removed,
    ("retention", "judged"): Judged,
    ("retention", "done"): Looked,
    ("rollback", "begin"): RollbackBegun,
    ("rollback", "refused"): RollbackRefused,
    ("rollback", "counted"): Counted,
    ("rollback", "done"): RolledBack,
    ("rollback.fence", "done"): Fence,
    ("rollback.swap", "done"): Swapped,
    ("rollback.activate", "done"): SwitchedBack,
    ("rollback.login_smoke_test", "done"): SmokeTestedBack,
}


@dataclass(frozen=True)
class _Head:
    """What every entry has."""

    phase: str
    event: str


def entry_of(value: object) -> Entry:
    """One entry of a journal, as JSON has it, as the record of its kind. Raises PapError if it is none."""
    head = read_known(_Head, value, "an entry")
    kind = _KINDS.get((head.phase, head.event)) or (Failed if head.event == "failed" else Entry)
    return recorded(kind, earlier_names.entry(value))


def newest(entries: Sequence[Entry], kind: type[E]) -> Optional[E]:
    """The newest entry of that kind."""
    return next((entry for entry in reversed(entries) if isinstance(entry, kind)), None)


def newest_of(entries: Sequence[Entry], phase: str, event: str) -> Optional[Entry]:
    """The newest entry of that phase and event, of which only the time counts."""
    return next((entry for entry in reversed(entries) if entry.is_of(phase, event)), None)
