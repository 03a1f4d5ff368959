"""Just enough of PostgreSQL's lexical rules to split SQL text, read its first words and bind named parameters.

Follows the PostgreSQL documentation, chapter 4.1 (Lexical Structure): quoted strings, dollar quotes, nested comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

_TOKEN = re.compile(
    r"""
      (?P<space>\s+|--[^\n]*)
    | (?P<comment>/\*)
    | (?P<string>(?:[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z))|(?:(?:[uU]&|[bBxXnN])?'(?:[^']|'')*(?:'|\Z)))
    | (?P<quoted>"(?:[^"]|"")*(?:"|\Z))
    | (?P<dollar>\$(?:[A-Za-z_\x80-\uffff][\w\x80-\uffff]*)?\$)
    | (?P<cast>::|:=)
    | (?P<named>:[A-Za-z_]\w*)
    | (?P<word>[A-Za-z_\x80-\uffff][\w$\x80-\uffff]*)
    | (?P<end>;)
    | (?P<other>[0-9][\w.]*|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """(kind, text, offset) of every token; dollar-quoted bodies and comments are one token each."""
    position, size = 0, len(text)
    while position < size:
        match = _TOKEN.match(text, position)
        assert match is not None  # the last alternative matches any character
        kind, end = str(match.lastgroup), match.end()
        if kind == "comment":
            end, kind = _comment_end(text, end), "space"
        elif kind == "dollar":
            close = text.find(match[0], end)
            end, kind = (size if close < 0 else close + len(match[0])), "string"
        yield kind, text[position:end], position
        position = end


def _comment_end(text: str, position: int) -> int:
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(text, position)
        if edge is None:
            return len(text)
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return position


@dataclass(frozen=True)
class Statement:
    """One statement of an SQL text. ``words`` are its tokens without space; all that is not quoted in upper case."""

    text: str
    words: tuple[str, ...]
    offset: int = 0

    @property
    def head(self) -> str:
        return self.words[0] if self.words else ""

    def starts(self, *words: str) -> bool:
        return self.words[: len(words)] == words

    def has(self, word: str) -> bool:
        return word in self.words


@lru_cache(maxsize=128)
def split(text: str) -> tuple[Statement, ...]:
    """The statements of ``text``; ``;`` inside strings, comments and BEGIN ATOMIC bodies does not split."""
    found: list[Statement] = []
    words: list[str] = []
    start, end = -1, 0
    atomic = 0  # depth of BEGIN ATOMIC … END and CASE … END inside it
    for kind, token, offset in tokens(text):
        if kind == "space":
            continue
        if kind == "end" and not atomic:
            if words:
                found.append(Statement(text[start:end], tuple(words), start))
            words, start = [], -1
            continue
        if start < 0:
            start = offset
        end = offset + len(token)
        word = token.upper() if kind == "word" else token
        if (word == "ATOMIC" and words and words[-1] == "BEGIN") or (atomic and word == "CASE"):
            atomic += 1
        elif atomic and word == "END":
            atomic -= 1
        words.append(word)
    if words:
        found.append(Statement(text[start:end], tuple(words), start))
    return tuple(found)


# At the start of a statement, as far as that can be seen without reading the text: reading costs a second per MB.
_SUSPECT = re.compile(
    r"(?:^|;|\*/|\n)\s*(?:commit|rollback|abort|end|begin|start|prepare|set\s+transaction)\b", re.IGNORECASE
)
_SETTINGS = re.compile(r"(?:^|;|\*/|\n)\s*(?:set|reset|discard|do|call|select)\b|\bset_config\b", re.IGNORECASE)
_CHANGERS = ("SET", "RESET", "DISCARD", "DO", "CALL", "SELECT")


def transaction_control(text: str) -> str:
    """The first statement in ``text`` that would begin, end or change a transaction, or an empty string.

    Savepoints are not transaction control: ROLLBACK TO and RELEASE are allowed.
    """
    if not _SUSPECT.search(text):
        return ""
    for statement in split(text):
        head, rest = statement.head, statement.words[1:]
        if head == "ROLLBACK" and "TO" in rest[:3]:
            continue
        if (
            head in ("COMMIT", "ROLLBACK", "ABORT", "END", "BEGIN")
            or statement.starts("START", "TRANSACTION")
            or statement.starts("PREPARE", "TRANSACTION")
            or statement.starts("SET", "TRANSACTION")
        ):
            return statement.text
    return ""


def changes_settings(text: str) -> bool:
    """Whether ``text`` may leave session settings (search_path, role, timeouts) other than it found them.

    DO, CALL and SELECT may do so inside; a yes costs a few round trips.
    """
    if not _SETTINGS.search(text):
        return False
    return any(statement.head in _CHANGERS or "SET_CONFIG" in statement.words for statement in split(text))


def writes_to(text: str, schema: str) -> str:
    """The first statement in ``text`` that names ``schema`` and is no plain query, or an empty string.

    A name inside a quoted string is text; inside a dollar-quoted body it is code.
    """
    if schema not in text.lower():
        return ""
    for statement in split(text):
        named = any(schema in word.lower() and not word.startswith("'") for word in statement.words)
        if named and statement.head != "SELECT":
            return statement.text
    return ""


def bind_names(text: str, params: Mapping[str, object]) -> str:
    """``:name`` placeholders in the style of the drivers, ``%(name)s``; a literal ``%`` is doubled.

    Only names in ``params`` count, so that ``a[:b]`` and JSON paths stay as they are; strings and comments are skipped.
    """
    parts: list[str] = []
    for kind, token, _ in tokens(text):
        if kind == "named" and token[1:] in params:
            parts.append(f"%({token[1:]})s")
        else:
            parts.append(token.replace("%", "%%"))
    return "".join(parts)


def missing_names(text: str, params: Mapping[str, object]) -> list[str]:
    """Parameters that the text never uses: almost always a misspelt placeholder."""
    used = {token[1:] for kind, token, _ in tokens(text) if kind == "named"}
    return sorted(set(params) - used)
