"""Whole databases: the fence around the live one, snapshots, the swap of names, and which databases are ours."""

from __future__ import annotations

from . import foreign_servers
from .fence import fence, fence_state, must_be_fenced, stranded, unfence
from .lifecycle import (
    cleanup_leftovers,
    create_empty,
    drop_created,
    drop_named,
    expected,
    ready_for_rehearsal,
    restored_and_proven,
    snapshot,
    swap,
)
from .listed import existing, look_alikes
from .managed_names import derived, maintenance
from .prerequisites import no_swap, refuse_absent, refuse_other_stack, refuse_uncopyable, refuse_unready
from .write_counts import Written
from .write_snapshot import written_since

__all__ = [
    "Written",
    "cleanup_leftovers",
    "create_empty",
    "derived",
    "drop_created",
    "drop_named",
    "existing",
    "expected",
    "fence",
    "fence_state",
    "foreign_servers",
    "look_alikes",
    "maintenance",
    "must_be_fenced",
    "no_swap",
    "ready_for_rehearsal",
    "refuse_absent",
    "refuse_other_stack",
    "refuse_uncopyable",
    "refuse_unready",
    "restored_and_proven",
    "snapshot",
    "stranded",
    "swap",
    "unfence",
    "written_since",
]
