"""What migrations do to reach more than their one connection, where they work on a copy; and, for a plan, a run that
has no way out of it: what it does, it does to its scratch copy.

Once the session is open, the kernel refuses every other connection, to the run and to all that it starts. A program may
then run that needs none (``git``); one that does fails, and its migration with it. Which migration tried, the audit
events of Python tell. Where the kernel knows no such filter, the attempt itself is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, Optional

from ...core.confined import CONNECTIONS, confine
from ...core.errors import Refused

if TYPE_CHECKING:
    from .connection import Connection


@contextmanager
def heard(session: Connection) -> Iterator[None]:
    """Note in ``session.outward`` what the migrations of the block go for, with Python's audit events; of children only
    that they were started."""
    listening = True

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        what = described(event, arguments) if listening and session.step else None
        if what and session.step:
            session.outward.setdefault(session.step.identity, what)

    sys.addaudithook(hear)  # for the rest of the process
    try:
        yield
    finally:
        listening = False


def described(event: str, arguments: tuple[Any, ...]) -> Optional[str]:
    """What an audit event is, if something reaches more than its process by it."""
    said = _EVENTS.get(event)
    return said(arguments) if said else None


class WayOut:
    """Of one run, in a process of its own: it cannot be opened again."""

    def __init__(self, confine: Callable[[Sequence[str]], str] = confine) -> None:
        self._confine = confine
        self._session: Optional[Connection] = None
        self._obstacle = ""

    def close(self, session: Connection) -> None:
        """From now on there is no connection but the one of ``session``."""
        self._session = session
        self._obstacle = self._confine(CONNECTIONS)
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        step = self._session.step if self._session and self._obstacle else None
        what = described(event, arguments) if step else None
        if step and what:
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
