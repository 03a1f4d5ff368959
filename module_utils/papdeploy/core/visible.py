"""Show text from elsewhere so that it cannot act on its reader: what a terminal obeys is spelled out.

Exceptions, logs, names of objects and answers may hold escape sequences, carriage returns, line ends and marks that
reverse the direction of writing; shown raw they erase lines, forge others, or read as what they are not. This module
imports nothing of the package, because plugins of the controller load it alone.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

_SUSPECT = re.compile(r"[^ -~]")
# Control, format (direction of writing, zero width), half of a pair, line and paragraph separator.
_ACTS = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"  # letters of some scripts and emoji need them; they move nothing


def visible(text: str) -> str:
    """``text`` on one line, with everything that acts spelled out: ``\\x1b``, ``\\n``, ``\\u202e``."""
    return _SUSPECT.sub(lambda match: _spelled(match[0], "\t"), text)


def visible_block(text: str) -> str:
    """The same for text that has lines (SQL, a traceback): line feeds and tabs stay."""
    return _SUSPECT.sub(lambda match: _spelled(match[0], "\t\n"), text)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """``value`` as JSON that may be looked at in a terminal: the same value, with what acts as an escape of JSON."""
    made = json.dumps(value, default=str, ensure_ascii=False, indent=indent)
    return _SUSPECT.sub(lambda match: _of_json(match[0]), made)


def _acts(letter: str) -> bool:
    return unicodedata.category(letter) in _ACTS and letter not in _JOINERS


def _spelled(letter: str, kept: str) -> str:
    if letter in kept or not _acts(letter):
        return letter
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(letter)
    code = ord(letter)
    return named or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}")


def _of_json(letter: str) -> str:
    return letter if letter == "\n" or not _acts(letter) else json.dumps(letter)[1:-1]
