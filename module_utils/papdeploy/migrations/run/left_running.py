"""What a migration started and left running when its function returned: it is no part of the transaction."""

from __future__ import annotations

import os
import time
from collections.abc import Collection

from ...core import processes
from ...core.processes import Process

_GRACE_S = 1.0
_PAUSE_S = 0.02
_OF_PYTHON = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")  # they end with this process


def children() -> list[Process]:
    """What runs below this process now."""
    return processes.children_of(os.getpid())


def end(before: Collection[Process]) -> list[str]:
    """End what runs below this process beyond ``before`` and does not end by itself in a moment; the programs."""
    limit = time.monotonic() + _GRACE_S
    while left := _left(before):
        if time.monotonic() > limit:
            named = [f"{_name(processes.program_of(process))}, process {process.pid}" for process in left]
            processes.end(left, "")
            return named
        time.sleep(_PAUSE_S)
    return []


def _left(before: Collection[Process]) -> list[Process]:
    new = [process for process in children() if process not in before]
    return [process for process in new if not any(own in processes.program_of(process) for own in _OF_PYTHON)]


def _name(words: str) -> str:
    """The program alone: its arguments may hold a password."""
    return (words.split() or ["a program"])[0].rpartition("/")[2]
