"""What a run may be told: limits, retries, and the few things that are allowed only on request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Optional

from ..core.database_identity import DatabaseIdentity
from ..core.errors import Refused
from ..core.plain_json import JsonObject
from ..core.records import read_known
from .files import identity_of


@dataclass(frozen=True)
class RunOptions:
    """Times are seconds; 0 means no limit for the timeouts of the server.

    ``lock_timeout_s``: longest wait of one statement for a table lock, so that the queue behind it stays short.
    ``lock_retries``: how often the whole transaction is tried again after a lock timeout, deadlock or serialization
    failure. ``lock_wait_s``: how long to wait for another run of the runner. ``transaction``: ``all`` pending
    migrations in one, or ``each`` in its own. ``assume_applied``: legacy scripts that are taken at their word
    although the catalog did not change. ``only``: these, with what they require. ``observe``: record locks, rewritten
    tables and WAL of every migration. ``stop_at_scripts``: end before the first legacy script, of which it is unknown
    where else it connects. ``expect_database``: every session proves that it is in this database before it
    sends anything else. ``forbid_database``: the live one, where the work is for a copy of it: a session that a legacy
    script opens in it is closed at once, and statements that act on the whole server are left out.
    ``guard``: the session that holds the lock of the release on this server; without it nothing is committed.
    """

    lock_timeout_s: float = 5.0
    statement_timeout_s: float = 0.0
    deadline_s: float = 3600.0
    lock_retries: int = 5
    lock_wait_s: float = 60.0
    script_deadline_s: float = 900.0
    transaction: str = "all"
    allow_out_of_order: bool = False
    assume_applied: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    observe: bool = False
    guard: str = ""
    driver: str = ""
    stop_at_scripts: bool = False
    expect_database: Optional[DatabaseIdentity] = None
    forbid_database: Optional[DatabaseIdentity] = None

    def __post_init__(self) -> None:
        for name in ("lock_timeout_s", "statement_timeout_s", "lock_wait_s", "lock_retries"):
            if getattr(self, name) < 0:
                raise Refused(f"{name} must not be negative.")
        for name in ("deadline_s", "script_deadline_s"):
            if getattr(self, name) <= 0:
                raise Refused(f"{name} must be more than 0 seconds.")
        if self.transaction not in ("all", "each"):
            raise Refused(f"transaction must be 'all' or 'each', not {self.transaction!r}.")
        for name in ("assume_applied", "only"):
            object.__setattr__(self, name, tuple(map(identity_of, getattr(self, name))))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunOptions:
        """From plain data; an unknown name is refused rather than ignored."""
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise Refused(f"Unknown option {unknown[0]!r}.", hint=f"Known are: {', '.join(sorted(known))}.")
        given: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        for name in ("expect_database", "forbid_database"):
            if isinstance(given.get(name), Mapping):
                given[name] = read_known(DatabaseIdentity, given[name])
        return cls(**given)

    @property
    def on_copy(self) -> bool:
        """Whether the work is for a copy of a live database: then what acts on the whole server is left out."""
        return self.forbid_database is not None or self.stop_at_scripts

    def as_dict(self) -> JsonObject:
        return asdict(self)
