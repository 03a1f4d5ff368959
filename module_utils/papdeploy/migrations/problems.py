"""Reasons to refuse a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """A reason to refuse. ``kind``: edited, missing, out_of_order, requirement, import, check;
    of an Alembic tree also version, downgraded, upgraded, target."""

    kind: str
    identity: str
    message: str
    hint: str
