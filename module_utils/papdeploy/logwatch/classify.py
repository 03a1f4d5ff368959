"""Read what an API and its PostgreSQL logged: from text to counted findings, each with its first and last sample.

A record is one log line with what belongs to it: a traceback with its causes, an ERROR with its STATEMENT. Each record
is counted once, under one kind. Text comes in pieces; what may still grow is carried over to the next piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Optional

from ..core.plain_json import parse
from ..core.redact import Redactor
from .kinds import KINDS, by_driver, by_message, by_state, subject

MAX_SUBJECTS = 25  # per kind and source; further ones are counted as one, so that noise cannot fill the disk
_MAX_RECORD = 64 * 1024
_MAX_SAMPLE = 400

_LEVEL = re.compile(
    r"(?:^|[\s\[|-])(?P<level>TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL)(?=[:\]\s|-]|$)"
)
_ACCESS = re.compile(r'"(?P<method>[A-Z]{3,8}) (?P<path>\S+)(?: HTTP/[\d.]+)?"\s+(?P<status>[1-5]\d\d)\b')
_START = re.compile(
    r"(?:TRACE|DEBUG|INFO|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\b"
    r"|\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d|\[\d\d/[A-Z][a-z]{2}/\d{4}"
    r'|\d{1,3}(?:\.\d{1,3}){3}(?::\d+)? |\{"'
)
_TRACEBACK = re.compile(r"^[\s|+]*(?:Exception Group )?Traceback \(most recent call last\):")
_CHAIN = ("direct cause of the following exception", "another exception occurred")
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:: .*)?$")

_SEVERITY = re.compile(
    r"(?:^|[\s\]:])(?P<severity>DEBUG\d?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC"
    r"|STATEMENT|DETAIL|HINT|QUERY|CONTEXT|LOCATION|BACKTRACE):  ?(?P<message>.*)"
)
_DETAILS = ("STATEMENT", "DETAIL", "HINT", "QUERY", "CONTEXT", "LOCATION", "BACKTRACE")
_ERRORS = ("ERROR", "FATAL", "PANIC", "CRITICAL")
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

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass
class Scan:
    """What a piece of a log says. ``carry`` is its unfinished end, to be given with the next piece.

    ``requests`` counts access lines; ``first`` and ``last`` are the times of its records, where they have their own.
    """

    findings: dict[str, Finding] = field(default_factory=dict)
    records: int = 0
    requests: int = 0
    carry: str = ""
    first: str = ""
    last: str = ""


def scan(
    text: str,
    source: str,
    *,
    at: str,
    carry: str = "",
    final: bool = False,
    redactor: Optional[Redactor] = None,
) -> Scan:
    """Count what ``text`` says. ``source`` is ``api`` or ``database``; ``at`` is the time of records without their own.

    Unless ``final``, the last record is carried, because a traceback may still go on; a carried record that did not
    grow since (``text`` is empty) is taken as whole. What is kept of the text, the carry too, has no secrets
    that ``redactor`` knows.
    """
    redactor = redactor or Redactor()
    whole = (carry + text).replace("\r\n", "\n")
    result = Scan()
    records = list(_records(whole, source))
    if text and not final and records and len(records[-1][1]) < _MAX_RECORD:
        start, _ = records.pop()
        result.carry = redactor.text(whole[start:])
    for _, record in records:
        result.records += 1
        own_time = _time_of(record)
        if own_time:
            result.first, result.last = result.first or own_time, own_time
        found = _classify(record, source, result)
        if found:
            # Once more without secrets: a subject is the text without its numbers, which would hide a part of one.
            kind, about, sample = _classify(redactor.text(record), source, Scan()) or found
            time = own_time or at
            kept = _tidy(sample, redactor, _MAX_SAMPLE)
            _add(result.findings, Finding(kind, source, _tidy(about, redactor, 160), 1, time, time, kept, kept))
    return result


def _classify(record: str, source: str, result: Scan) -> Classified:
    return _classify_database(record) if source == "database" else _classify_api(record, result)


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
    fresh = Finding(**new.as_dict())
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


def _records(text: str, source: str) -> Iterator[tuple[int, str]]:
    """Where each record starts, and all its lines."""
    starts = _database_starts if source == "database" else _api_starts
    lines: list[str] = []
    size = begin = position = 0
    for line in text.split("\n"):
        if lines and starts(lines, line):
            yield begin, "\n".join(lines)
            lines, size, begin = [], 0, position
        if size < _MAX_RECORD:
            lines.append(line)
            size += len(line) + 1
        position += len(line) + 1
    if any(lines):
        yield begin, "\n".join(lines)


def _api_starts(lines: list[str], line: str) -> bool:
    if _START.match(line):
        return True
    if _TRACEBACK.match(line):
        if line.startswith((" ", "|")) and len(lines) > 1:
            return False  # one exception of a group
        if any(mark in previous for previous in lines[-3:] for mark in _CHAIN):
            return False
        # It belongs to the error line before it (Exception in ASGI application), once.
        return any(_TRACEBACK.match(previous) for previous in lines) or not _opens(lines[0])
    return bool(line) and not _opens(lines[0])


def _opens(line: str) -> bool:
    """Whether lines that follow ``line`` belong to it: it is an error with details, or the head of a traceback."""
    if _TRACEBACK.match(line):
        return True
    return not _ACCESS.search(line) and (_level(line) in (*_ERRORS, "WARNING", "WARN") or bool(_TIME.match(line)))


def _level(line: str) -> str:
    found = _LEVEL.search(line)
    return found["level"] if found else ""


def _database_starts(lines: list[str], line: str) -> bool:
    if line.startswith("\t"):
        return False
    found = _SEVERITY.search(line)
    return line.startswith("{") or bool(found and found["severity"] not in _DETAILS)


def _classify_api(record: str, result: Scan) -> Classified:
    first, _, _ = record.partition("\n")
    entry = _json(first) if first.startswith("{") else None
    if entry is not None:
        return _classify_api_json(entry, result)
    access = _ACCESS.search(first)
    if access:
        result.requests += 1
        return _status(access["method"], access["path"], int(access["status"]))
    return _explain_api(record, _level(first) in _ERRORS)


def _classify_api_json(entry: Mapping[str, Any], result: Scan) -> Classified:
    status = next((entry[k] for k in ("status", "status_code", "http_status", "http.status_code") if k in entry), None)
    if str(status).isdigit():
        result.requests += 1
        path = str(entry.get("path") or entry.get("url") or entry.get("http.path") or "?")
        return _status(str(entry.get("method") or entry.get("http.method") or ""), path, int(str(status)))
    parts = [entry.get(key) for key in ("message", "msg", "event", "exception", "exc_info", "traceback", "stack")]
    level = str(entry.get("level") or entry.get("levelname") or entry.get("severity") or "").upper()
    return _explain_api("\n".join(str(part) for part in parts if part), level in _ERRORS)


def _status(method: str, path: str, status: int) -> Classified:
    about = f"{method} {_ID.sub('{id}', path.partition('?')[0])} {status}".strip()
    if status >= 500:
        return "server_error", about, about
    if status in (401, 403):
        return "authentication", about, about
    return None


def _explain_api(text: str, is_error: bool) -> Classified:
    """The kind of a record: by the driver's error class, else by its message, else by its form."""
    is_traceback = any(_TRACEBACK.match(line) for line in text.split("\n"))
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
        frame = line.startswith("  ")
    return last


def _classify_database(record: str) -> Classified:
    first, *rest = record.split("\n")
    entry = _json(first) if first.startswith("{") else None
    if entry is not None:
        if str(entry.get("application_name", "")).startswith("pap-deploy:"):
            return None
        severity, message = str(entry.get("error_severity", "LOG")), str(entry.get("message", ""))
        return _explain_database(severity, message, str(entry.get("state_code", "")))
    found = _SEVERITY.search(first)
    if not found or "pap-deploy:" in first[: found.start()]:  # %a in log_line_prefix: our own session
        return None
    more = takewhile(lambda line: line.startswith("\t"), rest)
    return _explain_database(found["severity"], " ".join([found["message"], *(line.strip() for line in more)]), "")


def _explain_database(severity: str, message: str, state: str) -> Classified:
    sample = f"{severity}: {message}"
    failed = severity in _ERRORS
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


def _time_of(record: str) -> Optional[str]:
    found = _TIME.search(record[:80])
    return f"{found['day']}T{found['clock']}.{found['ms'] or '000'}Z" if found else None


def _json(line: str) -> Optional[dict[str, Any]]:
    try:
        value = parse(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
