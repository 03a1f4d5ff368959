"""Whole databases: the fence around the live one, snapshots, the swap of names, and which databases are ours."""

from __future__ import annotations

from .fence import fence, fence_state, must_be_fenced, unfence
from .marks import Written, written_since
from .moves import (
    cleanup_leftovers,
    create_empty,
    drop_created,
    existing,
    expected,
    ready_for_rehearsal,
    restored_and_proven,
    snapshot,
    swap,
)
from .names import derived, maintenance

__all__ = [
    "Written",
    "cleanup_leftovers",
    "create_empty",
    "derived",
    "drop_created",
    "existing",
    "expected",
    "fence",
    "fence_state",
    "maintenance",
    "must_be_fenced",
    "ready_for_rehearsal",
    "restored_and_proven",
    "snapshot",
    "swap",
    "unfence",
    "written_since",
]
