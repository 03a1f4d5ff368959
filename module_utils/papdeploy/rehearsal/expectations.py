"""What earlier deploys of this stack and its backup say about seconds to come."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any, Optional

from .. import backup as backups
from ..core.clock import seconds_between
from ..databases import relation_losses, write_snapshot
from ..databases.psql import Database
from ..releases.journal import Journal

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
_LOOKS = 3


def measured(journals: Iterable[Journal]) -> dict[str, float]:
    """Seconds (median of the last five) that the fence and the hand-over took in finished releases; and ``start_more``,
    by how much the switch took longer than the trial of the same API (a supervisor, a reload of a proxy)."""
    found: dict[str, list[float]] = {}
    finished = [journal for journal in journals if (journal.end() or {}).get("event") == "finished"]
    for journal in finished[-_LAST:]:
        at = {(entry["phase"], entry["event"]): str(entry["at"]) for entry in journal.entries()}
        for name, (begin, end) in _SPANS.items():
            if begin in at and end in at:
                found.setdefault(name, []).append(max(0.0, seconds_between(at[begin], at[end])))
        rehearsed, active = journal.last("rehearse") or {}, journal.last("activate") or {}
        start_s = (rehearsed.get("candidate") or {}).get("start_s")
        if start_s is not None and active.get("healthy_after_s") is not None:
            found.setdefault("start_more", []).append(float(active["healthy_after_s"]) - float(start_s))
    return {name: round(median(values), 3) for name, values in found.items()}


def clock(copy: Database) -> dict[str, float]:
    """Seconds that this server takes for what the cutover is made of: ``session``, to open one (through a container, a
    tenth of a second and more), and ``notes``, to note on the migrated copy what is noted before the fence comes down.
    """
    opened = []
    for _ in range(_LOOKS):
        began = time.monotonic()
        with copy.session() as session:
            session.scalar("SELECT 1 AS one")
        opened.append(time.monotonic() - began)
    with copy.session() as session:
        began = time.monotonic()
        write_snapshot.take(session)
        relation_losses.take_briefly(session)
        notes = time.monotonic() - began
    return {"session": round(median(opened), 3), "notes": round(notes, 3)}


def restore_point_s(live: Database, taken: Optional[backups.Backup]) -> float:
    """Seconds that making sure of the restore point would take if the fence went up now, but for opening sessions."""
    size = int(live.scalar("SELECT pg_database_size(current_database()) AS size"))
    copy_s = size / _COPY_BYTES_PER_S
    manifest: Mapping[str, Any] = taken.manifest if taken else {}
    if manifest:
        look_s = float(manifest["seconds"]["content_digest"])
        if look_s <= max(_CHEAP_S, copy_s) and not write_snapshot.written_since(live, manifest["mark"]).anything:
            return round(look_s, 3)
    return round(copy_s + 0.1, 3)
