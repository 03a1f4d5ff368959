"""URLs of PostgreSQL as other libraries spell their scheme, alone or in a text: Django's, JDBC's, drivers' own."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Callable, Optional

_SCHEME = r"(?:jdbc:|ecto:)?(?:postgres(?:ql)?|psql|pgsql|postgis|cockroachdb|asyncpg|psycopg[23]?|pg8000|pg)(?:\+\w+)*"
_INSIDE = re.compile(rf"(?<![\w+.:-])({_SCHEME})://((?:(?!,\s*{_SCHEME}://)[^\s\"'`<>;|])*)", re.IGNORECASE)
_WHOLE = re.compile(rf"({_SCHEME})://(.*)", re.IGNORECASE | re.DOTALL)
_PLAIN = "postgresql://"


@dataclass(frozen=True)
class Spelled:
    """A URL as it was found. ``plain``: the same for ``database_url``, which knows one scheme."""

    scheme: str
    plain: str = field(repr=False)

    def with_plain(self, plain: str) -> str:
        """What ``plain`` has become, in this spelling."""
        return f"{self.scheme}://{plain[len(_PLAIN) :]}"


def whole(text: str) -> Optional[Spelled]:
    """The URL that the text is, or None."""
    match = _WHOLE.fullmatch(text.strip())
    return _spelled(match) if match else None


def count(text: str) -> int:
    """How many URLs are in the text."""
    return sum(1 for _ in _INSIDE.finditer(text))


def replaced(text: str, change: Callable[[Spelled], Optional[str]]) -> str:
    """The text with every URL in it as ``change`` gives it; None leaves it."""

    def put(match: re.Match[str]) -> str:
        fresh = change(_spelled(match))
        return match[0] if fresh is None else fresh

    return _INSIDE.sub(put, text)


def _spelled(match: re.Match[str]) -> Spelled:
    scheme, rest = match.groups()
    return Spelled(scheme, _PLAIN + rest)
