"""A run with no way out of its one connection, for a plan: what it does, it does to its scratch copy.

Once the session is open, the kernel refuses every other connection, to the run and to all that it starts. A program may
then run that needs none (``git``); one that does fails, and its migration with it. Which migration tried, the audit
events of Python tell. Where the kernel knows no such filter, the attempt itself is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable, Optional

from ...core.confined import CONNECTIONS, confine
from ...core.errors import Refused

if TYPE_CHECKING:
    from .connection import Connection


class WayOut:
    """Of one run, in a process of its own: it cannot be opened again. ``tried``: what went for it, by migration."""

    def __init__(self, confine: Callable[[Sequence[str]], str] = confine) -> None:
        self.tried: dict[str, str] = {}
        self._confine = confine
        self._session: Optional[Connection] = None
        self._obstacle = ""

    def close(self, session: Connection) -> None:
        """From now on there is no connection but the one of ``session``."""
        self._session = session
        self._obstacle = self._confine(CONNECTIONS)
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        said = _EVENTS.get(event)
        step = self._session.step if self._session and said else None
        if step is None or said is None:
            return
        what = said(arguments)
        self.tried.setdefault(step.identity, what)
        if self._obstacle:
            raise Refused(f"Migration {step.identity} {what}, and a plan does neither.", identity=step.identity)


def _program(words: Any, instead: Any = "") -> str:
    """``starts a program (psql)``: its name alone, for arguments may hold a password."""
    first = words[0] if isinstance(words, (list, tuple)) and words else words or instead
    text = first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
    word = next((each for each in text.split() if "=" not in each), "?")  # PGPASSWORD=… psql
    return f"starts a program ({word.rpartition('/')[2]})"


def _connection(address: Any) -> str:
    place = ":".join(str(part) for part in address[:2]) if isinstance(address, tuple) else str(address)
    return f"opens a connection ({place})"


_EVENTS: dict[str, Callable[[tuple[Any, ...]], str]] = {
    "subprocess.Popen": lambda of: _program(of[1], of[0]),
    "os.system": lambda of: _program(of[0]),
    "os.exec": lambda of: _program(of[0]),
    "os.posix_spawn": lambda of: _program(of[0]),
    "os.spawn": lambda of: _program(of[1]),
    "pty.spawn": lambda of: _program(of[0]),
    "os.fork": lambda _: "starts a process",
    "os.forkpty": lambda _: "starts a process",
    "socket.getaddrinfo": lambda of: _connection(of[:2]),
    "socket.__new__": lambda _: "opens a socket",
    "socket.connect": lambda of: _connection(of[1]),
    "socket.sendto": lambda of: _connection(of[1]),
}
