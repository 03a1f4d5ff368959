"""What a rehearsal found, as it is noted in the journal of its release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ..databases.relation_losses import Loss
from ..migrations.server_wide import LeftOut
from .parts import Check, Migration, SchemaCheck, TableLock, Tested


@dataclass(frozen=True)
class RehearsedMigration(Migration):
    """``sampled``: it ran in a transaction of its own, whose locks were looked at again and again."""

    flavour: str = ""
    sampled: bool = False


@dataclass(frozen=True)
class BlockingLock(TableLock):
    """The strongest lock on a table that makes traffic wait, and ``by`` which migration."""

    by: str = ""


@dataclass(frozen=True)
class Effects:
    """What an API did to the copy: ``written`` counts rows by table and kind (inserted, updated)."""

    losses: tuple[Loss, ...] = ()
    written: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    tables: int = 0


@dataclass(frozen=True)
class Wrote(Effects):
    """``start``: by starting; the rest by that and the smoke test. ``numbers`` of sequences, by ``start`` and
    ``login``."""

    start: Optional[Effects] = None
    numbers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Tried:
    """An API on the migrated copy. ``works`` is None where it could not be tried, or that cannot be told (``why``).
    ``left``: programs that it left running; ``proposed``: endpoints that its OpenAPI names, where none is declared."""

    label: str = ""
    works: Optional[bool] = None
    why: str = ""
    pointed: tuple[Any, ...] = ()
    start_s: Optional[float] = None
    stop_s: Optional[float] = None
    healthy_after_s: Optional[float] = None
    checks: tuple[Check, ...] = ()
    endpoints: tuple[Tested, ...] = ()
    proposed: tuple[str, ...] = ()
    log: str = ""
    left: tuple[str, ...] = ()
    wrote: Optional[Wrote] = None


@dataclass(frozen=True)
class Online:
    """Whether the migrations are safe while the API serves users, and why not."""

    safe: bool = False
    why: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outward:
    """What a migration reached beyond its session."""

    identity: str = ""
    what: str = ""


@dataclass(frozen=True)
class Rehearsal:
    """The verdict. ``reversible`` is None where rows were missing; ``phases`` are the seconds to expect of each,
    ``steps`` those of the rehearsal's own; ``own_writes``: rows by table of each transaction of the smoke test."""

    verdict: str = ""
    data: str = ""
    mode: str = ""
    copy: str = ""
    steps: Mapping[str, float] = field(default_factory=dict)
    phases: Mapping[str, float] = field(default_factory=dict)
    migrate_s: float = 0.0
    copy_s: Optional[float] = None
    migrations: tuple[RehearsedMigration, ...] = ()
    schema: Optional[SchemaCheck] = None
    locks: tuple[BlockingLock, ...] = ()
    reversible: Optional[bool] = None
    reversible_why: str = ""
    reversible_differences: tuple[str, ...] = ()
    downgrade_loses: str = ""
    downgrade_drops: Mapping[str, Any] = field(default_factory=dict)
    candidate: Tried = Tried()
    old_api_works: Optional[bool] = None
    old_api: Tried = Tried()
    own_writes: tuple[Mapping[str, int], ...] = ()
    online: Online = Online()
    expected_unavailable_s: Optional[float] = None
    recovery_s: Mapping[str, float] = field(default_factory=dict)
    deadline_s: Optional[float] = None
    deadline_factor: Optional[float] = None
    left_out: tuple[LeftOut, ...] = ()
    outward: tuple[Outward, ...] = ()
    cannot_tell: tuple[str, ...] = ()
