"""What a rehearsal may be told, and how it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import PapError, Refused

DATA = ("full", "sample", "schema")
MODES = ("standard", "online")


class RehearsalFailed(PapError):
    """The deploy would fail. ``data`` has the ``step`` and what is known of the cause (statement, differences, log)."""


@dataclass(frozen=True)
class Options:
    """Times in seconds. ``lock_timeout_s``, ``migrate_deadline_s``, ``allow_out_of_order``, ``restore_point`` and
    ``schema`` are those of the migration to come. ``data``: every row, a ``sample`` of at most ``sample_rows`` a table
    (and what those refer to), or the ``schema`` alone. ``deadline_s`` ends the whole rehearsal. ``deadline_factor``:
    the real migration may take that many times as long. ``online_max_lock_s``: how long traffic may have to wait in an
    online deploy.
    """

    data: str = "full"
    mode: str = "standard"
    keep: bool = False
    deadline_s: float = 3600.0
    sample_rows: int = 10_000
    lock_timeout_s: float = 5.0
    migrate_deadline_s: float = 900.0
    allow_out_of_order: bool = False
    restore_point: str = "auto"
    schema: Mapping[str, Any] = field(default_factory=dict)
    deadline_factor: float = 5.0
    online_max_lock_s: float = 0.5
    require_reversible: bool = False

    def __post_init__(self) -> None:
        for value, allowed, name in ((self.data, DATA, "rehearse_data"), (self.mode, MODES, "pap_mode")):
            if value not in allowed:
                raise Refused(f"{name} is {value!r}; it is one of {', '.join(allowed)}.")
        for name in ("deadline_s", "migrate_deadline_s", "deadline_factor", "online_max_lock_s", "sample_rows"):
            if getattr(self, name) <= 0:
                raise Refused(f"{name} must be more than 0.")
