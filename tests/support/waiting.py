"""Waiting in tests: until something is so, not for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def wait_until(
    condition: Callable[[], object], what: object = "it did not happen in time", *, seconds: float = 15
) -> None:
    """Return as soon as ``condition()`` is true; the test fails with ``what`` if that takes more than ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.05)


def gone(pid: int) -> bool:
    """Has the process ended? (Until its new parent takes notice, it has a place in /proc and runs no more.)"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
