"""The line of an API: its level, wherever the format has it, its message, and the request that it tells of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional, Union

from ..core.plain_json import parse
from ..core.records import recorded

_ERROR = frozenset(
    ("ERROR", "ERR", "EROR", "CRITICAL", "CRIT", "CRT", "FATAL", "FTL", "SEVERE", "ALERT", "EMERG", "EMERGENCY",
     "PANIC", "DPANIC", "FAILURE")
)  # fmt: skip
_WARNING = frozenset(("WARN", "WARNING", "WRN"))
_OTHER = frozenset(
    ("TRACE", "TRC", "VERBOSE", "VRB", "FINE", "DEBUG", "DBG", "DEBU", "INFO", "INF", "INFORMATION", "SUCCESS",
     "NOTICE", "UNKNOWN", "DEFAULT")
)  # fmt: skip
_NAMES = "|".join(sorted([*_ERROR, *_WARNING, *_OTHER], key=len, reverse=True))
_LEVEL = re.compile(rf"(?P<level>{_NAMES})(?=$|[:/,;])")
_QUIET_LEVEL = re.compile(rf"(?P<level>{_NAMES})(?=:)", re.IGNORECASE)
_ANY_LEVEL = re.compile(_NAMES, re.IGNORECASE)
_BOXED = re.compile(rf"(?:^|[\s:])(?P<level>{_NAMES})(?=$|[\s:/,])")
_BOXED_ALONE = re.compile(rf"(?:[\w.-]+:)?\s*(?P<level>{_NAMES}|[EFC](?= \d|$)|[TDIW](?= \d|$))", re.IGNORECASE)
_CLOCK = r"\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?"
_ZONE = rf"(?: ?(?:Z|UTC|GMT|(?!(?:{_NAMES})\b)[A-Z]{{3,4}}\b|[+-]\d\d:?\d\d))?"
_TOKEN = re.compile(
    r"\s*(?:"
    rf"(?P<time>\d{{4}}[-/]\d\d[-/]\d\d(?:[T ]{_CLOCK}{_ZONE})?,?|\d\d/\d\d/\d\d(?:\d\d)? {_CLOCK}"
    rf"|[A-Z][a-z]{{2}} [ \d]?\d {_CLOCK}|{_CLOCK}{_ZONE}|\d{{1,2}}:\d\d(?::\d\d)?[AP]M|\d{{10}}(?:\.\d+)?\b)"
    r"|\[(?P<boxed>[^\]]{0,120})\]|(?P<mark>[|•·>–—-]+(?=\s|$))|\([^)\s]*\):?|(?P<word>[^\s\[|]+))"
)
_KLOG = re.compile(r"(?P<level>[IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ ")
_TIME_IN_BOX = re.compile(r"\d\d:\d\d")
_MAX_TOKENS = 10

_METHODS = "GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS|CONNECT|TRACE"
# The request line of the common log format, of uvicorn and of hypercorn ("GET /x 1.1"), behind no prose.
_ACCESS = re.compile(
    r'(?:^|[\]|>-]\s+|\d\s+|\|)"(?P<method>[A-Z]{3,8}) (?P<path>\S+)(?: (?:HTTP/)?[\d.]+)?"'
    r"\s+(?P<status>[1-5]\d\d)\b"
)
_BARE_ACCESS = re.compile(rf"(?P<method>{_METHODS}) (?P<path>/\S*) (?:HTTP/[\d.]+ )?(?P<status>[1-5]\d\d)\b")
_PAIR = re.compile(r'(?:^|(?<=\s))(?P<key>[A-Za-z_@][\w.@-]*)=(?P<value>"(?:[^"\\]|\\.)*"|\S*)')

# What formats call it: a dotted name stands in an object of an object, or with its dots.
_ERROR_FROM = {"severityNumber": 17, "severity_number": 17, "levelno": 40}  # OpenTelemetry; Python
_LEVELS = ("level.name", "level.no", "level", "levelname", "severity", "severityText", "severity_text", "lvl",
           "log.level", "loglevel", "log_level", "@l", "@level", "level_name", "record.level.name",
           "PRIORITY")  # fmt: skip
_MESSAGES = ("message", "msg", "event", "short_message", "body.stringValue", "body", "@m", "@mt", "record.message",
             "MESSAGE", "textPayload", "jsonPayload.message")  # fmt: skip
_EXCEPTIONS = ("exception", "exc_info", "exc_text", "traceback", "stack", "stack_trace", "stackTrace", "@x", "err",
               "error", "full_message", "record.exception", "exc")  # fmt: skip
_ATTRIBUTES = ("exception.type", "exception.message", "exception.stacktrace")
_STATUSES = ("status", "status_code", "statusCode", "http_status", "http.status_code", "http.response.status_code",
             "httpRequest.status", "res.statusCode", "response.status")  # fmt: skip
_REQUEST_METHODS = ("method", "http.method", "http.request.method", "httpRequest.requestMethod", "req.method",
                    "request.method", "request_method")  # fmt: skip
_PATHS = ("path", "url.path", "http.path", "http.target", "httpRequest.requestUrl", "req.url", "request.path", "url",
          "uri", "route", "request_path")  # fmt: skip
_OF_PYTHON = {"funcName", "func_name", "lineno", "levelname", "logger", "pathname", "module", "filename"}
_ERROR_TYPES, _ERROR_VALUES = ("exc_type", "type"), ("exc_value", "value", "message")
_STACKS = ("stack", "stack_trace", "stacktrace")
_NAMES_OF_FIELDS = (_LEVELS, _MESSAGES, _EXCEPTIONS, _STATUSES, _REQUEST_METHODS, _PATHS)
_OBJECTS = frozenset(
    name[: dot.start()] for names in _NAMES_OF_FIELDS for name in names for dot in re.finditer(r"\.", name)
)
Fields = Mapping[str, Any]  # of an object in JSON, whatever its program puts there


class Request(NamedTuple):
    method: str
    path: str
    status: int


class Entry(NamedTuple):
    """``head``: it begins a record of the log. ``level``: "error", "warning", "other", or nothing where the line has
    none. ``more``: what it says beyond its message, a traceback for example."""

    head: bool = False
    level: str = ""
    timed: bool = False
    message: str = ""
    more: str = ""
    request: Optional[Request] = None

    @property
    def warns(self) -> bool:
        return self.level == "warning"

    @property
    def text(self) -> str:
        return "\n".join(filter(None, (self.message, self.more)))


@dataclass(frozen=True)
class _Attribute:
    """One of OpenTelemetry: its value is an object of one member, named by its type."""

    key: Optional[str] = None
    value: Optional[Mapping[str, object]] = None


@dataclass(frozen=True)
class _Attributed:
    attributes: Union[tuple[_Attribute, ...], Mapping[str, object]] = ()


@dataclass(frozen=True)
class _Scope:
    logRecords: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True)
class _Resource:
    scopeLogs: tuple[_Scope, ...] = ()


@dataclass(frozen=True)
class _Export:
    """What a collector of OpenTelemetry writes (OTLP, JSON encoding)."""

    resourceLogs: Optional[tuple[_Resource, ...]] = None


def read(line: str, severity: Optional[int] = None) -> list[Entry]:
    """What a line says; several entries where a collector put them into one. ``severity`` is the one of syslog, which
    counts where the line itself has no level."""
    if line[:1] == "{":
        value = _object(line)
        if value is not None:
            return [_structured(record) for record in _collected(value)]
    level, timed, rest = _head(line)
    request = _request(line, rest)
    message = line
    if "=" in line and not (level and request):
        pairs = {key: value.strip('"') for key, value in _PAIR.findall(line)}
        if not level and (level := next((class_of(pairs[key]) for key in _LEVELS if key in pairs), "")):
            message = line.replace('\\"', '"')
        if level and not request and (_first(pairs, _REQUEST_METHODS) or _first(pairs, _PATHS)):
            request = _request_of(pairs)
    head = bool(level or timed or request)
    if not level and severity is not None and severity <= 3:
        level = "error"
    return [Entry(head, level, timed, message, "", request)]


def class_of(level: object) -> str:
    """The class of a level by its name; nothing if it is none."""
    name = str(level).strip().upper()
    if name in _ERROR or name in ("E", "F", "C"):
        return "error"
    if name in _WARNING or name == "W":
        return "warning"
    return "other" if name in _OTHER or name in ("T", "D", "I") else ""


def _head(line: str) -> tuple[str, bool, str]:
    """The level at the head of a plain line, whether a time stands before it, and what follows. A level is one only
    before the message: behind times, boxes, marks and at most two names (of the logger and the process)."""
    if found := _KLOG.match(line):
        return class_of(found.group("level")), True, line[found.end() :]
    position, words, timed, mark = 0, 0, False, ""
    for _ in range(_MAX_TOKENS):
        token = _TOKEN.match(line, position)
        if not token:
            break
        name = ""
        time, boxed, now_mark, word = token.group("time", "boxed", "mark", "word")
        if boxed is not None:
            name = _level_in_box(boxed)
            timed = timed or bool(_TIME_IN_BOX.search(boxed))
        elif word:
            name = _level_of_word(word, words, mark)
            if not name and not word.strip(":").isdigit():
                words += 1
                if words > (2 if timed else 1) or word[0] in "\"'":
                    break
        timed = timed or bool(time)
        mark = now_mark or ""
        position = token.end()
        if name:
            return class_of(name), timed, line[position:]
    return "", timed, line[position:]


def _level_in_box(text: str) -> str:
    text = text.strip()
    if alone := _BOXED_ALONE.fullmatch(text) or _BOXED_ALONE.match(text):
        level: str = alone.group("level")
        if alone.end() == len(text) or (text[alone.end()] == " " and len(level) == 1 and text[0].isupper()):
            return level
    found = _BOXED.search(text)
    return found.group("level") if found else ""


def _level_of_word(word: str, words: int, mark: str) -> str:
    found = _LEVEL.match(word)
    if not found and words == 0:
        found = _QUIET_LEVEL.match(word) if ":" in word else _ANY_LEVEL.fullmatch(word) if mark == "|" else None
    return found[0] if found else ""


def _request(line: str, rest: str) -> Optional[Request]:
    found = ('"' in line and _ACCESS.search(line)) or _BARE_ACCESS.match(rest.strip())
    if not found:
        return None
    method, path, status = found.group("method", "path", "status")
    return Request(method, path, int(status))


def _object(line: str) -> Optional[Fields]:
    try:
        value = parse(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _collected(value: Fields) -> list[Fields]:
    """The records of an OTLP export, or the record itself."""
    export = recorded(_Export, value) if "resourceLogs" in value else _Export()
    if export.resourceLogs is None:
        return [value]
    return [record for resource in export.resourceLogs for scope in resource.scopeLogs for record in scope.logRecords]


def _structured(value: Fields) -> Entry:
    fields = _flat(value)
    message = str(_first(fields, _MESSAGES) or "")
    attributes = _attributes(value) if "attributes" in value else {}
    told = [fields[key] for key in _EXCEPTIONS if key in fields]
    told += [attributes[key] for key in _ATTRIBUTES if key in attributes]
    more = "\n".join(text for part in told for text in _texts(part))
    request = _request_of({**attributes, **fields} if attributes else fields) or _request(message, message)
    return Entry(True, _level(fields), True, message, more, request)


def _flat(value: Fields, path: str = "") -> Fields:
    """The fields, and those of objects within by their dotted names, as far as a format has them."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        found[path + name] = item
        if isinstance(item, dict) and path + name in _OBJECTS:
            found.update(_flat(item, f"{path}{name}."))
    return found


def _level(fields: Fields) -> str:
    for key, error in _ERROR_FROM.items():
        if isinstance(fields.get(key), int):
            return "error" if fields[key] >= error else "other"
    given = _first(fields, _LEVELS)
    if given is None and isinstance(status := _first(fields, _STATUSES), str) and not status.isdigit():
        given = status  # Datadog
    if isinstance(given, str) and not given.isdigit():
        return class_of(given) or "other"
    return _by_number(int(given), fields) if isinstance(given, (int, str)) else ""


def _by_number(number: int, fields: Fields) -> str:
    """0 to 7 are syslog's (GELF), others those of pino and bunyan, or of Python's logging where its names stand by."""
    if number < 8:
        return "error" if number <= 3 else "other"
    if number >= 100:  # Google Cloud: 500 is ERROR
        return "error" if number >= 500 else "other"
    return "error" if number >= (40 if _OF_PYTHON & fields.keys() else 50) else "other"


def _attributes(value: Fields) -> Fields:
    """Attributes of OpenTelemetry, as an object or as its list of keys and values."""
    found = recorded(_Attributed, value).attributes
    if isinstance(found, Mapping):
        return found
    return {item.key: next(iter(item.value.values()), None) for item in found if item.key is not None and item.value}


def _request_of(fields: Fields) -> Optional[Request]:
    status = str(_first(fields, _STATUSES))
    if not (status.isdigit() and len(status) == 3 and status[0] in "12345"):
        return None
    return Request(str(_first(fields, _REQUEST_METHODS) or ""), str(_first(fields, _PATHS) or "?"), int(status))


def _first(fields: Fields, names: tuple[str, ...]) -> Any:
    for name in names:
        if name in fields and fields[name] is not None:
            return fields[name]
    return None


def _texts(value: object) -> Iterator[str]:
    """Every text in a value: a traceback as text, an object of type, message and stack, a list of such. An exception
    that is told in parts is put together as Python prints it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        name, said = (next(filter(None, map(value.get, keys)), None) for keys in (_ERROR_TYPES, _ERROR_VALUES))
        if isinstance(name, str):
            yield f"Traceback (most recent call last):\n  …\n{name}: {said}"
        elif isinstance(said, str):
            yield said
        yield from (text for text in map(value.get, _STACKS) if isinstance(text, str))
