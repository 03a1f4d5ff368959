"""A line as its program wrote it: without colours, and without what an engine, journald or syslog put before it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, Optional

from ..core.plain_json import parse
from ..core.records import recorded

# ECMA-48 control sequences, window titles, and colours as rsyslog escapes them.
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]|#033\[[\d;]*m")
# Kubernetes, containerd and CRI-O: "<time> stdout|stderr P|F[:tag] <text>"; P is a part of a line.
_CRI = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S* std(?:out|err) (?P<tag>[FP])(?::\S*)? ")
_DOCKER = '{"log":"'
# RFC 5424, section 6; the priority is facility * 8 + severity.
_RFC5424 = re.compile(
    r"<(?P<priority>\d{1,3})>1 \S+ \S+ \S+ \S+ \S+"
    r" (?:-|(?:\[[^\"\]]*(?:\"(?:[^\"\\]|\\.)*\"[^\"\]]*)*\])+)(?: \ufeff?|$)"
)
# RFC 3164, journalctl's short forms, rsyslog's file formats: time, host, program[pid]:
_SYSLOG = re.compile(
    r"(?:<(?P<priority>\d{1,3})>)?(?:[A-Z][a-z]{2} [ \d]?\d \d\d:\d\d:\d\d(?:\.\d+)?"
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d))"
    r" [\w.:-]+ [\w./@-]+(?:\[\d+\])?: (?:\[\d+-\d+\] (?:#011)?)?"
)
_COMPOSE = re.compile(r"(?:[a-z0-9][\w.-]*-\d+ +\| ?|\[(?:pod/)?[a-z0-9.-]+/[a-z0-9./-]+\] )")
_NESTED = 3


@dataclass(frozen=True)
class _OfDocker:
    """A line of Docker's json-file driver."""

    log: Optional[str] = None
    time: Optional[object] = None


class Line(NamedTuple):
    """``goes_on``: the engine cut it, its rest is the next line. ``severity`` (0 to 7) is what syslog says of it."""

    text: str
    goes_on: bool = False
    severity: Optional[int] = None


def unwrapped(raw: str) -> Line:
    """The line that the program wrote."""
    text = plain = _ANSI.sub("", raw) if "\x1b" in raw or "#033" in raw else raw
    goes_on, severity = False, None
    for _ in range(_NESTED):
        if text.startswith(_DOCKER):
            text, goes_on = _docker(text)
        elif found := _CRI.match(text):
            text, goes_on = text[found.end() :], found.group("tag") == "P"
        elif found := _RFC5424.match(text) or _SYSLOG.match(text):
            text = text[found.end() :].replace("#011", "\t")
            priority = found.group("priority")
            severity = int(priority) & 7 if priority else None
        elif found := _COMPOSE.match(text):
            text = text[found.end() :]
        if text == plain:
            break
        text = plain = _ANSI.sub("", text)
    return Line(text, goes_on, severity)


def _docker(text: str) -> tuple[str, bool]:
    try:
        line = recorded(_OfDocker, parse(text))
    except ValueError:
        return text, False
    if line.log is None or line.time is None:
        return text, False
    return line.log.rstrip("\r\n"), not line.log.endswith("\n")
