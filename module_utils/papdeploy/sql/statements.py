"""The statements of an SQL text: split, their first words read, named parameters bound. Takes any text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache

from .lexer import scan

_KINDS = {"estring": "string", "ustring": "string", "bits": "string", "string": "string", "dollar": "string",
          "quoted": "quoted", "uquoted": "quoted", "space": "space", "open_comment": "space", "cast": "cast",
          "named": "named", "word": "word", "end": "end"}  # fmt: skip


def tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """(kind, text, offset) of every token; dollar-quoted bodies and comments are one token each, an operator one for
    each of its characters. What is not closed ends with the text."""
    for kind, token, offset in scan(text):
        if kind in ("operator", "mark"):
            yield from (("other", character, offset + place) for place, character in enumerate(token))
        elif kind == "open":
            yield "quoted" if token.lstrip("uU&").startswith('"') else "string", token, offset
        else:
            yield _KINDS.get(kind, "other"), token, offset


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
_TRACES = re.compile(
    r"(?:^|;|\*/|\n)\s*(?:set|reset|discard|do|call|select|with|prepare|execute|declare|listen)\b|\bset_config\b"
    r"|\b(?:temp|temporary|pg_temp)\b",
    re.IGNORECASE,
)
_TRACING = ("SET", "RESET", "DISCARD", "DO", "CALL", "SELECT", "WITH", "PREPARE", "EXECUTE", "DECLARE", "LISTEN")
_TRACED = frozenset(["SET_CONFIG", "TEMP", "TEMPORARY", "PG_TEMP"])
_DEFERRABLE = re.compile(r"\bdeferrable\b", re.IGNORECASE)
_PSQL = re.compile(r"(?:^|\s)\\(?:[a-z!?;]|\.[ \t\r]*$)", re.IGNORECASE | re.MULTILINE)
_COPIES = re.compile(r"\bcopy\b[^;]*\b(?:stdin|stdout)\b", re.IGNORECASE)


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


def leaves_traces(text: str) -> bool:
    """Whether ``text`` may leave the session other than it found it: settings (search_path, role, timeouts), temporary
    tables, prepared statements, cursors.

    DO, CALL and SELECT may do so inside; a yes costs a few round trips.
    """
    if not _TRACES.search(text):
        return False
    return any(statement.head in _TRACING or not _TRACED.isdisjoint(statement.words) for statement in split(text))


def makes_deferrable(text: str) -> bool:
    """Whether ``text`` may make a constraint that is checked later than its statement."""
    return _DEFERRABLE.search(text) is not None


def of_psql(text: str) -> str:
    r"""The first thing in ``text`` that psql understands and the server does not: a command such as ``\restrict``, or
    ``COPY … FROM stdin`` with its data; or an empty string."""
    if not _PSQL.search(text):
        return ""
    copying = False
    for statement in split(text):
        if copying:  # what follows is data, and no SQL
            return "COPY … FROM stdin"
        if "\\" in statement.words:
            place = statement.words.index("\\") + 1
            name = "".join(statement.words[place : place + 1]).lower()
            return f"\\{name}"
        copying = copies(statement) == "COPY … FROM stdin"
    return ""


def copies_with_client(text: str) -> str:
    """``COPY … FROM stdin`` or ``COPY … TO stdout`` if a statement of ``text`` reads from or writes to the client."""
    if not _COPIES.search(text):
        return ""
    return next(filter(None, map(copies, split(text))), "")


def copies(statement: Statement) -> str:
    """The same of one statement."""
    if statement.head == "COPY":
        for before, word in zip(statement.words, statement.words[1:]):
            if (before, word) in (("FROM", "STDIN"), ("TO", "STDOUT")):
                return f"COPY … {before} {word.lower()}"
    return ""


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


def bind_names(text: str, names: Collection[str]) -> str:
    """``:name`` placeholders in the style of the drivers, ``%(name)s``; a literal ``%`` is doubled.

    Only ``names`` count, so that ``a[:b]`` and JSON paths stay as they are; strings and comments are skipped.
    """
    parts: list[str] = []
    for kind, token, _ in tokens(text):
        if kind == "named" and token[1:] in names:
            parts.append(f"%({token[1:]})s")
        else:
            parts.append(token.replace("%", "%%"))
    return "".join(parts)


def missing_names(text: str, names: Collection[str]) -> list[str]:
    """Parameters that the text never uses: almost always a misspelt placeholder."""
    used = {token[1:] for kind, token, _ in tokens(text) if kind == "named"}
    return sorted(set(names) - used)
