"""What earlier deploys of this stack and its backup say about seconds to come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any, Optional

from .. import backup as backups
from ..core.clock import seconds_between
from ..databases import marks
from ..journal import Journal
from ..postgres import Database

_SPANS = {
    "fence": (("fence", "begin"), ("fence", "done")),
    "unfence": (("unfence", "begin"), ("unfence", "done")),
    # From the end of the migration to the switch: next to nothing, unless a hook of the inventory runs in between.
    "hand_over": (("migrate", "done"), ("unfence", "begin")),
}
# The rule by which a restore point is chosen (restore_point): hash everything again, or copy the files.
_CHEAP_S = 2.0
_COPY_BYTES_PER_S = 300e6
_LAST = 5


def measured(journals: Iterable[Journal]) -> dict[str, float]:
    """Seconds (median of the last five) that the fence and the hand-over took in finished releases."""
    found: dict[str, list[float]] = {}
    finished = [journal for journal in journals if (journal.end() or {}).get("event") == "finished"]
    for journal in finished[-_LAST:]:
        at = {(entry["phase"], entry["event"]): str(entry["at"]) for entry in journal.entries()}
        for name, (begin, end) in _SPANS.items():
            if begin in at and end in at:
                found.setdefault(name, []).append(max(0.0, seconds_between(at[begin], at[end])))
    return {name: round(median(values), 3) for name, values in found.items()}


def restore_point_s(live: Database, taken: Optional[backups.Backup]) -> float:
    """Seconds that making sure of the restore point would take if the fence went up now."""
    size = int(live.scalar("SELECT pg_database_size(current_database()) AS size"))
    copy_s = size / _COPY_BYTES_PER_S
    manifest: Mapping[str, Any] = taken.manifest if taken else {}
    if manifest:
        look_s = float(manifest["seconds"]["oracle"])
        if look_s <= max(_CHEAP_S, copy_s) and not marks.written_since(live, manifest["mark"]).anything:
            return round(look_s, 3)
    return round(copy_s + 0.1, 3)
