"""What a phase returns to its module, which ends with it as ``core.records.returned`` has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Printed:
    """What a person reads of a phase. ``status``: ok, warning or failed; empty where there is nothing to judge."""

    phase: str
    lines: Sequence[str] = ()
    status: str = ""


@dataclass(frozen=True)
class Result:
    """Each phase adds what its module documents in RETURN."""

    pap: Printed


@dataclass(frozen=True)
class Done(Result):
    """Nothing more is to be said than whether something was changed."""

    changed: bool = False
