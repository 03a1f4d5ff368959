"""Keep what the application prints while it is imported away from our output."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator

_KEPT = 4_000  # characters of the application's output that an error may quote


class Captured:
    """What was printed, for an error message; the caller redacts it."""

    text = ""


class _Sink(io.TextIOBase):
    """A stream that handlers of the application may keep and write to long after: it never fails."""

    def __init__(self) -> None:
        self.kept = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.kept = (self.kept + text)[-_KEPT:]
        return len(text)


@contextlib.contextmanager
def silence() -> Iterator[Captured]:
    """Take standard output and error away, of Python and of the process, while the block runs."""
    captured, sink = Captured(), _Sink()
    before = sys.stdout, sys.stderr
    for stream in before:
        with contextlib.suppress(Exception):
            stream.flush()
    with tempfile.TemporaryFile() as store:
        saved = [(number, os.dup(number)) for number in (1, 2) if _is_open(number)]
        try:
            for number, _ in saved:
                os.dup2(store.fileno(), number)
            sys.stdout = sys.stderr = sink
            yield captured
        finally:
            sys.stdout, sys.stderr = before
            for number, copy in saved:
                os.dup2(copy, number)
                os.close(copy)
            store.seek(0)
            captured.text = (sink.kept + store.read().decode(errors="replace"))[-_KEPT:]


def silence_for_good() -> None:
    """Take them away until the process has ended; a thread that still prints then cannot hold a lock of theirs."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(null, number)
    sys.stdout = sys.stderr = _Sink()


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
