"""What a long phase says while it works: one line in a file, which the controller reads and shows."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..core.records import recorded
from ..core.redact import Redactor
from ..core.text import seconds, size
from ..core.visible import visible
from ..migrations.cli import console
from ..migrations.cli.results import Event

_EVERY_S = 1.0


@dataclass(frozen=True)
class _Event(Event):
    """What the runner tells, or a ``step``; or how far a copy is: bytes that were ``dumped`` and ``made`` of them."""

    step: str = ""
    dumped: int = 0
    made: int = 0
    seconds: float = 0.0


class Progress:
    """Keeps the newest event of a phase as one line in ``<state>/progress-<phase>``, a private file that is gone when
    the phase ends. It is for eyes only: nothing is decided by it, and a failure to write it is passed over."""

    def __init__(self, folder: Path, phase: str, redactor: Optional[Redactor] = None) -> None:
        self._path = folder / f"progress-{phase}"
        self._redactor = redactor or Redactor()
        self._lock = threading.Lock()
        self._written = 0.0

    def __enter__(self) -> Progress:
        self._remove()
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def __call__(self, event: object) -> None:
        """Take an event of the backup, the rehearsal, the rollback or the migration runner. Called from any thread."""
        with self._lock, contextlib.suppress(OSError):
            # Thousands of pieces of a backfill are not thousands of files: the steps always, the rest once a second.
            said = recorded(_Event, event)
            if said.event in ("progress", "output", "log") and time.monotonic() - self._written < _EVERY_S:
                return
            line = visible(self._redactor.text(" ".join(sentence(event).split())))
            if line:
                fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
                with open(fresh, "w", encoding="utf-8", opener=_private) as file:
                    file.write(line + "\n")
                fresh.replace(self._path)
                self._written = time.monotonic()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def sentence(event: object) -> str:
    """An event as a person reads it; empty if it is not worth a line."""
    said = recorded(_Event, event)
    if said.event == "step":
        return said.step
    return _copying(said) if said.event == "copying" else console.sentence(said)


def _copying(said: _Event) -> str:
    made, rate = said.made, (said.made or said.dumped) / max(said.seconds, 0.1)
    parts = [f"dumped {size(said.dumped)}"] if said.dumped else []
    if made:
        parts.append(f"restored {size(made)} of about {size(max(said.of, made))}")
    if rate:
        parts.append(f"{size(rate)}/s")
    if made and made < said.of:
        parts.append(f"about {seconds((said.of - made) / rate)} left")
    return ", ".join(parts)
