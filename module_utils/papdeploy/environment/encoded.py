"""Values in another alphabet: base64 (platforms give JSON so), percent-encoded. Plain text in and out."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Optional
from urllib.parse import quote, unquote

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}", re.A)
_PERCENT = re.compile(r"[^\s:/]*%3A(?:%2F%2F|//)\S*", re.I)

Encode = Callable[[str], str]


def decoded(value: str) -> Iterator[tuple[str, Encode]]:
    """Every text that ``value`` may stand for, with how a changed one is written the same way."""
    text = value.strip()
    plain = _of_base64(text)
    if plain is not None:
        yield plain, lambda changed: _base64(changed, like=text)
    if _PERCENT.fullmatch(text):
        yield unquote(text), lambda changed: quote(changed, safe="")


def _of_base64(text: str) -> Optional[str]:
    if not _BASE64.fullmatch(text):
        return None
    try:
        padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
        plain = base64.b64decode(padded, altchars=b"-_" if re.search("[-_]", text) else None, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return plain if plain.isprintable() or "\n" in plain else None


def _base64(text: str, like: str) -> str:
    encode = base64.urlsafe_b64encode if re.search("[-_]", like) else base64.b64encode
    written = encode(text.encode()).decode()
    return written if like.endswith("=") or len(like) % 4 == 0 else written.rstrip("=")
