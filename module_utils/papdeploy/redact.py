"""Take secrets out of text before anybody sees it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "********"

# postgresql://user:password@host, redis://:password@host
_URL_PASSWORD = re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)(?P<secret>[^\s/]+?)(?=@)", re.IGNORECASE)
# password=…, PGPASSWORD=…, "api_key": "…", Authorization: Bearer …
_ASSIGNED = re.compile(
    r"(?P<head>[\"']?\b[\w-]*(?:passw(?:or)?d|passwd|secret|token|api_?key|private_?key)[\w-]*[\"']?\s*[=:]\s*)"
    r"(?P<secret>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s,;&)\"']+)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(?P<head>\bBearer\s+)(?P<secret>[\w.~+/=-]{8,})", re.IGNORECASE)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` with the given ``secrets`` (also URL-quoted) and everything that looks like one replaced by a mask."""
    for secret in sorted({form for s in secrets if s for form in (s, quote(s, safe=""), quote_plus(s))}, key=len)[::-1]:
        if len(secret) >= 4:
            text = text.replace(secret, MASK)
    for pattern in (_URL_PASSWORD, _ASSIGNED, _BEARER):
        text = pattern.sub(lambda match: match["head"] + MASK, text)
    return text


def redact_data(value: Any, secrets: Iterable[str] = ()) -> Any:
    """The same for plain data: every string inside lists and dictionaries."""
    secrets = tuple(secrets)
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, dict):
        return {key: redact_data(item, secrets) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_data(item, secrets) for item in value]
    return value
