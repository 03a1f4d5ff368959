"""Read what an API and its PostgreSQL logged: from text to counted findings, each with its first and last sample.

A record is one log line with what belongs to it: a traceback with its causes, an ERROR with its STATEMENT. Each record
is counted once, under one kind. Text comes in pieces; what may still grow is carried over to the next piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Optional

from ..core.redact import Redactor
from . import entries, server_log
from .entries import Entry, Request
from .kinds import KINDS, by_driver, by_message, by_state, subject
from .records import MAX_RECORD, TRACEBACK, Record, Seen, records
from .server_log import UNKNOWN, ServerLine, ServerLog

MAX_SUBJECTS = 25  # per kind and source; further ones are counted as one, so that noise cannot fill the disk
_MAX_SAMPLE = 400

_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:: .*)?$")
_ENDS_OF_FRAMES = ("  ", "│", "╰", ">")
_TIME = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[T ](?P<clock>\d\d:\d\d:\d\d)(?:[.,](?P<ms>\d{3})\d*)? ?(?:Z|UTC|GMT|\+00:?00)\b"
)
_ID = re.compile(r"(?<=/)(?:\d+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-f]{24,})(?=/|$)")

# kind, subject, sample
Classified = Optional[tuple[str, str, str]]


@dataclass
class Finding:
    """Records of one kind about one subject in one source (``api`` or ``database``). Times are ISO 8601, UTC."""

    kind: str
    source: str
    subject: str
    count: int
    first: str
    last: str
    first_sample: str
    last_sample: str

    @property
    def key(self) -> str:
        return f"{self.kind}|{self.source}|{self.subject}"


@dataclass
class Scan:
    """What a piece of a log says. ``carry`` is its unfinished end, to be given with the next piece.

    ``requests`` counts access lines; ``first`` and ``last`` are the times of its records, where they have their own.
    ``elsewhere`` counts errors of other databases on the server, which are no findings.
    """

    findings: dict[str, Finding] = field(default_factory=dict)
    records: int = 0
    requests: int = 0
    elsewhere: int = 0
    seen: Seen = field(default_factory=Seen)
    carry: str = ""
    first: str = ""
    last: str = ""


@dataclass(frozen=True)
class Known:
    """What is known of where a text comes from: the server's own word on its log, and when the ``fences`` of this stack
    stood (from, to): what they ended is no trouble."""

    server: ServerLog = UNKNOWN
    fences: tuple[tuple[str, str], ...] = ()


NOTHING_KNOWN = Known()


def scan(
    text: str,
    source: str,
    *,
    at: str,
    carry: str = "",
    final: bool = False,
    redactor: Optional[Redactor] = None,
    known: Known = NOTHING_KNOWN,
) -> Scan:
    """Count what ``text`` says. ``source`` is ``api`` or ``database``; ``at`` is the time of records without their own.

    Unless ``final``, the last record is carried, because a traceback may still go on; a carried record that did not
    grow since (``text`` is empty) is taken as whole. What is kept of the text, the carry too, has no secrets
    that ``redactor`` knows.
    """
    redactor = redactor or Redactor()
    whole = (carry + text).replace("\r\n", "\n")
    result = Scan()
    found = list(records(whole, source, known.server, result.seen))
    if text and not final and found and found[-1].size < MAX_RECORD:
        last = found.pop()
        result.carry = redactor.text(whole[last.begin :])
    result.records = len(found)
    result.first = next(filter(None, map(_time_of, found)), "")
    result.last = next(filter(None, map(_time_of, reversed(found))), "") if result.first else ""
    for record in found:
        for kind, about, sample in _classify(record, result, known, redactor):
            time = _time_of(record) or at
            kept = _tidy(sample, redactor, _MAX_SAMPLE)
            _add(result.findings, Finding(kind, source, _tidy(about, redactor, 160), 1, time, time, kept, kept))
    return result


def _classify(record: Record, result: Scan, known: Known, redactor: Redactor) -> Iterator[tuple[str, str, str]]:
    if record.server is not None:
        found = _classify_server(record, record.server, result, known, redactor)
        if found:
            yield found
    for entry in _entries(record):
        if entry.request:
            result.requests += 1
        found = _classify_api(entry, redactor)
        if found and not (found[0] == "connection" and _is_fenced(known, record)):
            yield found


def merge(into: dict[str, Finding], more: Mapping[str, Finding]) -> None:
    """Add the counts of ``more`` to ``into``."""
    for finding in more.values():
        _add(into, finding)


def totals(findings: Iterable[Finding]) -> dict[str, int]:
    """Counts by kind. What both logs tell (a missing column: the API's traceback and the server's ERROR) is one thing,
    so the larger of the two counts stands."""
    by_source: dict[str, dict[str, int]] = {}
    for finding in findings:
        counts = by_source.setdefault(finding.kind, {})
        counts[finding.source] = counts.get(finding.source, 0) + finding.count
    return {kind: max(by_source[kind].values()) for kind in KINDS if kind in by_source}


def _add(findings: dict[str, Finding], new: Finding) -> None:
    fresh = replace(new)
    if fresh.key not in findings:
        same = sum(1 for f in findings.values() if (f.kind, f.source) == (fresh.kind, fresh.source))
        if same >= MAX_SUBJECTS:
            fresh.subject = "others"
    known = findings.setdefault(fresh.key, fresh)
    if known is fresh:
        return
    known.count += fresh.count
    if fresh.first < known.first:
        known.first, known.first_sample = fresh.first, fresh.first_sample
    if fresh.last >= known.last:
        known.last, known.last_sample = fresh.last, fresh.last_sample


def _entries(record: Record) -> list[Entry]:
    """What an API's record says, with the lines that belong to it."""
    if record.lines[0] == "{":
        return entries.read(record.text)
    rest = [line for line in record.lines[1:] if line]
    if not rest or not record.entries:
        return record.entries
    first = record.entries[0]
    return [first._replace(more="\n".join(filter(None, (first.more, "\n".join(rest)))))]


def _classify_api(entry: Entry, redactor: Redactor) -> Classified:
    if entry.request:
        if _status(entry.request):
            return _status(entry.request._replace(path=redactor.text(entry.request.path)))
        if entry.level != "error":
            return None
    # Once more without secrets: a subject is the text without its numbers, which would hide a part of one.
    found = _explain_api(entry.text, entry.level == "error")
    return found and (_explain_api(redactor.text(entry.text), entry.level == "error") or found)


def _status(request: Request) -> Classified:
    kind = "server_error" if request.status >= 500 else "authentication" if request.status in (401, 403) else ""
    if not kind:
        return None
    about = f"{request.method} {_ID.sub('{id}', request.path.partition('?')[0])} {request.status}".strip()
    return kind, about, about


def _explain_api(text: str, is_error: bool) -> Classified:
    """The kind of a record: by the driver's error class, else by its message, else by its form."""
    is_traceback = "Traceback" in text and any(map(TRACEBACK.match, text.split("\n")))
    exception = _exception(text) if is_traceback else ""
    # The statement and its parameters are data: what they say is no message.
    sample = exception or text.partition("[SQL:")[0].split("\n", 1)[0]
    quiet = not is_error and not is_traceback
    found = (None if quiet else by_driver(text)) or by_message(sample, quiet=quiet)
    if found:
        return (*found, sample)
    if is_traceback:
        return "traceback", (exception or "unknown").split(":", 1)[0], sample
    return ("error", _shape(sample), sample) if is_error else None


def _exception(text: str) -> str:
    """The line that names the last exception of a traceback."""
    last, frame = "", False
    for raw in text.split("\n"):
        line = re.sub(r"^\s*[|+]\s?", "", raw)
        if frame and _EXCEPTION.match(line):
            last = line
        frame = line.startswith(_ENDS_OF_FRAMES)
    return last


def _classify_server(record: Record, line: ServerLine, result: Scan, known: Known, redactor: Redactor) -> Classified:
    if len(record.lines) > 1 and server_log.is_open(record.lines[0]):
        line = server_log.read(record.text, known.server) or line
    database = line.database or next(filter(None, map(server_log.database_of, record.lines[1:])), "")
    if line.is_ours or line.detail:
        return None
    if known.server.database and database and database != known.server.database:
        result.elsewhere += line.failed
        return None
    if line.failed and _is_of_autovacuum(line):
        return None
    more = [text.strip() for text in record.lines[1:] if text.startswith("\t")] if not line.state else []
    message = " ".join([line.message.split("\n", 1)[0], *more])
    found = _explain_database(line.severity, message, line.state)
    if found and found[0] == "connection" and _is_fenced(known, record):
        return None
    return found and (_explain_database(line.severity, redactor.text(message), line.state) or found)


def _is_of_autovacuum(line: ServerLine) -> bool:
    """A worker that gave way to a session: the server's own life, in whatever language."""
    return line.message.startswith("canceling autovacuum task") or (line.state == "57014" and line.in_background)


def _is_fenced(known: Known, record: Record) -> bool:
    time = _time_of(record) if known.fences else None
    return time is not None and any(begin <= time <= end for begin, end in known.fences)


def _explain_database(severity: str, message: str, state: str) -> Classified:
    sample = f"{severity}: {message}"
    failed = severity in server_log.ERRORS
    kind = by_state(state) if failed else None
    if kind:
        return kind, subject(kind, message) or _shape(message), sample
    # At level LOG the server tells of its own life; what went wrong for a client is ERROR or FATAL.
    found = by_message(message, quiet=not failed)
    if found:
        return (*found, sample)
    if severity == "PANIC":
        return "crash", _shape(message), sample
    return ("database_error", _shape(message), sample) if failed else None


def _shape(message: str) -> str:
    """A message without its values, so that the same error about another row is the same subject."""
    message = re.sub(r'"[^"]*"|\'[^\']*\'', "…", message.split("\n", 1)[0])
    return re.sub(r"\b\d[\d.:,-]*\b", "#", message).strip()


def _tidy(text: str, redactor: Redactor, length: int) -> str:
    """A text to keep: redacted, one paragraph, without what holds rows of customers (parameters, DETAIL)."""
    text = re.split(r"\[parameters:|\[SQL:|DETAIL:", text)[0]
    text = " ".join(redactor.text(text).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def _time_of(record: Record) -> Optional[str]:
    """The time that the record has itself."""
    found = _TIME.search(record.first, 0, 80)
    if not found:
        return None
    day, clock, ms = found.group("day", "clock", "ms")
    return f"{day}T{clock}.{ms or '000'}Z"
