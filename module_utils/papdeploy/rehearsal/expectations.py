"""What earlier deploys of this stack and its backup say about seconds to come."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Callable, Optional

from .. import backup as backups
from ..core.clock import seconds_between
from ..core.errors import PapError
from ..databases import content_digest, disk, fence_state, lifecycle, relation_baseline, table_reader, write_snapshot
from ..databases.psql import Database
from ..releases.journal import Journal
from ..releases.records import Activated, Rehearsed, newest
from ..rollback import restore_point

_SPANS = {
    "fence": (("fence", "begin"), ("fence", "done")),
    "unfence": (("unfence", "begin"), ("unfence", "done")),
    # From the end of the migration to the switch: next to nothing, unless a hook of the inventory runs in between.
    "hand_over": (("migrate", "done"), ("unfence", "begin")),
}
# Up to that size the copy is copied once, to see how long the restore point would take; above, bytes outweigh files.
_TRIED_BYTES = 2e9
_LAST = 5
_LOOKS = 3


@dataclass(frozen=True)
class Clock:
    """Seconds that this server takes for what the cutover is made of: ``session``, to open one of those that look after
    databases (through a container, a tenth of a second and more); ``looked`` and ``left``, to note on the migrated copy
    what is noted once the fence is up, and before it comes down."""

    session: float
    looked: float
    left: float


def measured(journals: Iterable[Journal]) -> dict[str, float]:
    """Seconds (median of the last five) that the fence and the hand-over took in finished releases; and ``start_more``,
    by how much the switch took longer than the trial of the same API (a supervisor, a reload of a proxy)."""
    found: dict[str, list[float]] = {}
    finished = [journal for journal in journals if (how := journal.ended()) and how.event == "finished"]
    for journal in finished[-_LAST:]:
        entries = journal.records()
        at = {(entry.phase, entry.event): entry.at for entry in entries}
        for name, (begin, end) in _SPANS.items():
            if begin in at and end in at:
                found.setdefault(name, []).append(max(0.0, seconds_between(at[begin], at[end])))
        rehearsed, active = newest(entries, Rehearsed), newest(entries, Activated)
        start_s = rehearsed.candidate.start_s if rehearsed else None
        if start_s is not None and active and active.healthy_after_s is not None:
            found.setdefault("start_more", []).append(active.healthy_after_s - start_s)
    return {name: round(median(values), 3) for name, values in found.items()}


def clock(copy: Database) -> Clock:
    """What this server takes now; ``copy`` is the migrated one."""
    with copy.session() as session:
        table_reader.let_in(session)  # as the deploy does before the API stops
    return Clock(_usual_s(lambda: fence_state(copy)), _usual_s(lambda: look(copy)), _usual_s(lambda: leave(copy)))


def look(copy: Database) -> None:
    """What ``restore_point.make`` reads, but for the rows."""
    with content_digest.snapshot_session(copy) as session:
        write_snapshot.since(session, write_snapshot.take(session))


def leave(copy: Database) -> None:
    """What is noted by ``unfence`` before the fence comes down."""
    with copy.session() as session:
        write_snapshot.take(session)
        relation_baseline.take_briefly(session)


def _usual_s(call: Callable[[], object]) -> float:
    return round(median(_timed(call) for _ in range(_LOOKS)), 3)


def _timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def restore_point_s(
    live: Database, copy: Database, taken: Optional[backups.Backup], kind: str
) -> tuple[float, Optional[float]]:
    """Seconds that making sure of a restore point of ``kind`` would take if the fence went up now, but for sessions and
    notes; and those of copying the database, where that was tried."""
    size = int(live.scalar("SELECT pg_database_size(current_database()) AS size"))
    if taken and kind == "dump":
        return taken.manifest.seconds.total, None
    holds = taken is not None and not write_snapshot.written_since(live, taken.manifest.mark).anything
    look_s = restore_point.look_s(taken) if taken and holds and kind != "snapshot" else math.inf
    if look_s <= restore_point.CHEAP_S or (kind == "backup" and look_s < math.inf):
        return round(look_s, 3), None
    copied_s = _copied(live, copy, size)
    copy_s = restore_point.usual_copy_s(size) if copied_s is None else copied_s
    return round(min(look_s, copy_s), 3), copied_s


def _copied(live: Database, copy: Database, size: int) -> Optional[float]:
    """Seconds for copying ``copy`` once, by the server; None where that was not tried: it is large, or disk short."""
    if size > _TRIED_BYTES:
        return None
    attempt = f"copy-{secrets.token_hex(4)}"
    try:
        disk.check_copy(live, database_bytes=size, purpose="a copy to see how long the restore point takes")
        name = live.conninfo.dbname
        copied = lifecycle.snapshot(live, attempt, live=name, source=copy.conninfo.dbname, kind="scratch")
    except PapError:
        return None
    finally:
        lifecycle.drop_created(live, attempt, ("scratch",))
    return copied.seconds
