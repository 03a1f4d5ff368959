"""libpq's connection strings, ``keyword = value …``: their syntax. What they say is read in ``database_url``.

PostgreSQL documentation, 34.1.1.1: single quotes where a value is empty or has spaces, a backslash before ' and \\.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PAIR = re.compile(r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)(?=\s|\Z)", re.S)
_MORE = re.compile(r"\S")


def render(values: Mapping[str, str]) -> str:
    """A connection string, every value quoted; empty values are left out."""
    return " ".join(f"{key}={quote_value(value)}" for key, value in values.items() if value)


def quote_value(value: str) -> str:
    """A value inside a connection string."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def pairs(text: str) -> list[tuple[str, str, tuple[int, int]]]:
    """Keyword, value and place of the value of each pair; nothing if the text is no connection string."""
    found, position = [], 0
    while _MORE.search(text, position):
        match = _PAIR.match(text, position)
        if not match:
            return []
        key, value = match.groups()
        plain = re.sub(r"\\(.)", r"\1", value[1:-1] if value.startswith("'") else value, flags=re.S)
        found.append((key, plain, match.span(2)))
        position = match.end()
    return found


def changed(text: str, values: Mapping[str, str]) -> str:
    """The connection string with other ``values`` (an empty one is libpq's default), all else as it is written."""
    missing = {key: value for key, value in values.items() if value}
    for key, _, (start, end) in reversed(pairs(text)):
        if key in values:
            missing.pop(key, None)
            text = text[:start] + quote_value(values[key]) + text[end:]
    return " ".join(filter(None, [text.rstrip(), render(missing)]))
