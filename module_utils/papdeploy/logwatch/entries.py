"""The line of an API: its level, wherever the format has it, its message, and the request that it tells of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ..core.plain_json import parse

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
_BOXED = re.compile(rf"(?:^|[\s:])(?P<level>{_NAMES})(?=$|[\s:/,])")
_BOXED_ALONE = re.compile(rf"(?:[\w.-]+:)?\s*(?P<level>{_NAMES}|[EFC](?= \d|$)|[TDIW](?= \d|$))", re.IGNORECASE)
_CLOCK = r"\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?"
_ZONE = r"(?: ?(?:Z|UTC|GMT|[A-Z]{3,4}\b|[+-]\d\d:?\d\d))?"
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

_LEVELS = ("level", "levelname", "severity", "severityText", "severity_text", "lvl", "log.level", "loglevel",
           "log_level", "@l", "@level", "level_name", "record.level.name")  # fmt: skip
_MESSAGES = ("message", "msg", "event", "short_message", "body", "body.stringValue", "@m", "@mt", "record.message",
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
Fields = Mapping[str, Any]  # of an object in JSON, whatever its program puts there
_OF_PYTHON = {"funcName", "func_name", "lineno", "levelname", "logger", "pathname", "module", "filename"}


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    status: int


@dataclass(frozen=True)
class Entry:
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
        pairs = {found["key"]: found["value"].strip('"') for found in _PAIR.finditer(line)}
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
        return class_of(found["level"]), True, line[found.end() :]
    position, words, timed, mark = 0, 0, False, ""
    for _ in range(_MAX_TOKENS):
        token = _TOKEN.match(line, position)
        if not token:
            break
        after, name = token.end(), ""
        if token["boxed"] is not None:
            name = _level_in_box(token["boxed"])
            timed = timed or bool(_TIME_IN_BOX.search(token["boxed"]))
        elif token["word"]:
            name = _level_of_word(token["word"], words, mark)
            if not name and not token["word"].strip(":").isdigit():
                words += 1
                if words > (2 if timed else 1) or token["word"][0] in "\"'":
                    break
        timed = timed or bool(token["time"])
        mark = token["mark"] or ""
        position = after
        if name:
            return class_of(name), timed, line[after:]
    return "", timed, line[position:]


def _level_in_box(text: str) -> str:
    alone = _BOXED_ALONE.fullmatch(text.strip()) or _BOXED_ALONE.match(text.strip())
    if alone and (alone.end() == len(text.strip()) or text.strip()[alone.end() : alone.end() + 1] == " "):
        whole = alone.end() == len(text.strip())
        if whole or (len(alone["level"]) == 1 and text.strip()[0].isupper()):
            return alone["level"]
    found = _BOXED.search(text)
    return found["level"] if found else ""


def _level_of_word(word: str, words: int, mark: str) -> str:
    found = _LEVEL.match(word)
    if not found and words == 0:
        found = _QUIET_LEVEL.match(word) or (re.fullmatch(_NAMES, word, re.IGNORECASE) if mark == "|" else None)
    return found[0] if found else ""


def _request(line: str, rest: str) -> Optional[Request]:
    found = _ACCESS.search(line) or _BARE_ACCESS.match(rest.strip())
    return Request(found["method"], found["path"], int(found["status"])) if found else None


def _object(line: str) -> Optional[Fields]:
    try:
        value = parse(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _collected(value: Fields) -> Iterator[Fields]:
    """The records of an OTLP export, or the record itself."""
    if not isinstance(value.get("resourceLogs"), list):
        yield value
        return
    for resource in value["resourceLogs"]:
        for scope in _items(resource, "scopeLogs"):
            yield from (record for record in _items(scope, "logRecords") if isinstance(record, dict))


def _items(value: object, key: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _structured(value: Fields) -> Entry:
    message = str(_first(value, _MESSAGES) or "")
    attributes = _attributes(value)
    told = [value.get(key) if "." not in key else _at(value, key) for key in _EXCEPTIONS]
    more = "\n".join(text for part in [*told, *map(attributes.get, _ATTRIBUTES)] for text in _texts(part))
    request = _request_of({**attributes, **value}) or _request(message, message)
    return Entry(True, _level(value), True, message, more, request)


def _level(value: Fields) -> str:
    for key in ("severityNumber", "severity_number"):  # OpenTelemetry: 17 and above are errors
        if isinstance(value.get(key), int):
            return "error" if value[key] >= 17 else "other"
    given = _first(value, _LEVELS)
    if isinstance(given, dict):
        given = given.get("name") or given.get("no")
    if given is None and str(value.get("PRIORITY", "")).isdigit():
        return "error" if int(value["PRIORITY"]) <= 3 else "other"
    if given is None and isinstance(value.get("levelno"), int):
        return "error" if value["levelno"] >= 40 else "other"
    if given is None and not str(value.get("status", "0")).isdigit():
        given = value["status"]  # Datadog
    if isinstance(given, str) and not given.isdigit():
        return class_of(given) or "other"
    return _by_number(int(given), value) if isinstance(given, (int, str)) and given != "" else ""


def _by_number(number: int, value: Fields) -> str:
    """0 to 7 are syslog's (GELF), others those of pino and bunyan, or of Python's logging where its names stand by."""
    if number < 8:
        return "error" if number <= 3 else "other"
    if number >= 100:  # Google Cloud: 500 is ERROR
        return "error" if number >= 500 else "other"
    return "error" if number >= (40 if _OF_PYTHON & value.keys() else 50) else "other"


def _attributes(value: Fields) -> Fields:
    """Attributes of OpenTelemetry, as an object or as its list of keys and values."""
    found = value.get("attributes")
    if isinstance(found, dict):
        return found
    pairs = [item for item in _items(value, "attributes") if isinstance(item, dict) and "key" in item]
    return {
        str(item["key"]): next(iter(item["value"].values()), None) if isinstance(item.get("value"), dict) else ""
        for item in pairs
    }


def _request_of(value: Fields) -> Optional[Request]:
    status = str(_first(value, _STATUSES))
    if not (status.isdigit() and len(status) == 3 and status[0] in "12345"):
        return None
    return Request(str(_first(value, _REQUEST_METHODS) or ""), str(_first(value, _PATHS) or "?"), int(status))


def _first(value: Fields, keys: tuple[str, ...]) -> Any:
    return next((found for key in keys if (found := _at(value, key)) is not None), None)


def _at(value: Fields, path: str) -> Any:
    """The value at a dotted path, whether the format nests or writes the dots."""
    if path in value:
        return value[path]
    name, _, rest = path.partition(".")
    inner = value.get(name)
    return _at(inner, rest) if rest and isinstance(inner, dict) else None


def _texts(value: object) -> Iterator[str]:
    """Every text in a value: a traceback as text, an object of type, message and stack, a list of such. An exception
    that is told in parts is put together as Python prints it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        name, said = (value.get("exc_type") or value.get("type")), (value.get("exc_value") or value.get("value"))
        said = said or value.get("message")
        if isinstance(name, str):
            yield f"Traceback (most recent call last):\n  …\n{name}: {said}"
        elif isinstance(said, str):
            yield said
        yield from (value[key] for key in ("stack", "stack_trace", "stacktrace") if isinstance(value.get(key), str))
