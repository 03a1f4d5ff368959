"""From the lines of a log to its records: which line begins one, and what belongs to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Optional

from . import entries, server_log
from .entries import Entry
from .lines import unwrapped
from .server_log import ServerLine, ServerLog

MAX_RECORD = 64 * 1024

# Python's own, and the box that rich draws around it.
TRACEBACK = re.compile(r"^[\s|+│╭─┄]*(?:Exception Group )?Traceback \(most recent call last\)(?::| )")
_CHAIN = ("direct cause of the following exception", "another exception occurred")
_RICH_INDENT = 8  # rich leaves its column of times empty where the time is the one before


@dataclass
class Record:
    """``begin``: where it starts in the text; ``first``: its first line as it stands there. What was read of that line
    is in ``entries`` (of an API) or ``server`` (of a server). ``is_open``: of a csvlog, a quoted value of its goes on
    in the next line."""

    begin: int
    first: str
    lines: list[str] = field(default_factory=list)
    size: int = 0
    entries: list[Entry] = field(default_factory=list)
    server: Optional[ServerLine] = None
    goes_on: bool = False
    has_traceback: bool = False
    is_open: bool = False

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def opens(self) -> bool:
        """Whether lines without a head belong to it: it is an error with details, or the head of a traceback."""
        head = self.entries[0]
        return self.has_traceback or (head.request is None and bool(head.level == "error" or head.timed or head.warns))

    def add(self, text: str) -> None:
        if self.is_open:
            self.is_open = text.count('"') % 2 == 0
        if self.size < MAX_RECORD:
            self.lines.append(text)
            self.size += len(text) + 1


@dataclass
class Seen:
    """How many lines there were, and how many were understood: they begin as the log's format does, or belong to such
    a record."""

    lines: int = 0
    understood: int = 0

    def plus(self, more: Seen) -> Seen:
        return Seen(self.lines + more.lines, self.understood + more.understood)


def records(text: str, source: str, server: ServerLog, seen: Seen) -> Iterator[Record]:
    """The records of a text. The last one may still grow."""
    position = 0
    record: Optional[Record] = None
    for raw in text.split("\n"):
        line = unwrapped(raw)
        if record and record.goes_on:
            record.lines[-1] += line.text[:MAX_RECORD]
            record.goes_on = line.goes_on
            if not line.goes_on:
                _reread(record, source, server)
        else:
            fresh = _read(position, raw, line.text, line.severity, source, server)
            is_inside = record is not None and record.is_open
            if record is None or (_begins(record, fresh, line.text, source)):
                if record and any(record.lines):
                    yield record
                record = fresh
            else:
                record.add(line.text)
                record.has_traceback = record.has_traceback or fresh.has_traceback
            record.goes_on = line.goes_on
            if line.text.strip():
                seen.lines += 1
                seen.understood += is_inside or _is_understood(record, fresh, line.text, source)
        position += len(raw) + 1
    if record and any(record.lines):
        yield record


def _read(begin: int, raw: str, text: str, severity: Optional[int], source: str, server: ServerLog) -> Record:
    has_traceback = "Traceback" in text and TRACEBACK.match(text) is not None
    record = Record(begin, raw, [text], len(text) + 1, has_traceback=has_traceback)
    if source != "database":
        record.entries = entries.read(text, severity)
    elif not text.startswith("\t"):
        record.server = server_log.read(text, server)
        record.is_open = server_log.is_open(text)
    return record


def _reread(record: Record, source: str, server: ServerLog) -> None:
    """Read the first line once more, now that its parts are together."""
    if len(record.lines) == 1:
        whole = _read(record.begin, record.first, record.lines[0], None, source, server)
        record.entries, record.server = whole.entries, whole.server
        record.has_traceback, record.is_open = whole.has_traceback, whole.is_open


def _is_understood(record: Record, fresh: Record, text: str, source: str) -> bool:
    if source != "database":
        return record.entries[0].head or record.has_traceback
    return text[:1] in "\t{" or (fresh.server is not None and fresh.server.own)


def _begins(record: Record, fresh: Record, text: str, source: str) -> bool:
    if source == "database":
        if record.is_open or text.startswith("\t"):
            return False
        return fresh.server is not None and not fresh.server.detail
    return _begins_api(record, fresh, text)


def _begins_api(record: Record, fresh: Record, text: str) -> bool:
    lines = record.lines
    if lines[0] == "{" and lines[-1] != "}":  # an object over several lines, as OpenTelemetry's console has it
        return False
    if fresh.entries[0].head and not _is_inside(text):
        return True
    if fresh.has_traceback:
        if text.startswith((" ", "|")) and len(lines) > 1 and record.has_traceback:
            return False  # one exception of a group
        if any(mark in previous for previous in lines[-3:] for mark in _CHAIN):
            return False
        # It belongs to the error line before it (Exception in ASGI application), once.
        return record.has_traceback or not record.opens
    return bool(text) and not record.opens


def _is_inside(text: str) -> bool:
    """An indented line is a part of the record before it, but for the lines of rich."""
    return text[:1] in " \t|+│" and not text.startswith(" " * _RICH_INDENT)
