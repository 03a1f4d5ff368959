"""What migrations do to reach more than their one connection, where they work on a copy; for a plan, a run that has no
way out of it: what it does, it does to its scratch copy; and code that is only read, which has none at all.

Once the session is open, the kernel refuses every other connection, to the run and to all that it starts. A program may
then run that needs none (``git``); one that does fails, and its migration with it. Which migration tried, the audit
events of Python tell. Where the kernel knows no such filter, the attempt itself is refused.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional

from ...core.confined import CONNECTIONS, confine
from ...core.errors import PapError, Refused
from .connection_guard import no_second_connection

if TYPE_CHECKING:
    from .connection import Connection

_LIBRARY = Path(subprocess.__file__).parent
# They ask the linker, or the system, about itself.
_HARMLESS = tuple(str(_LIBRARY / name) for name in ("ctypes/util.py", "platform.py", "uuid.py"))
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class ReachedOut(Refused, ConnectionError):
    """Code that is only read wanted out. To what can do without, it is as if nothing answered."""


@contextmanager
def none_at_all(*, files: bool = True) -> Iterator[list[str]]:
    """While active, what reaches more than this process by Python, or by a driver that the runner knows, is refused
    (ReachedOut); without ``files``, changing one is, too. Yields what was tried, in words.

    What another library in C does by itself is not heard: only the kernel can refuse that, in a child (``core.alone``).
    """
    tried: list[str] = []
    listening = True

    def refuse(what: str) -> PapError:
        tried.append(what)
        return ReachedOut(f"it {what}")

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if not listening or event == "socket.__new__":  # each event loop has one, to itself
            return
        what = described(event, arguments) or (None if files else _changed(event, arguments))
        if what and not _asked_by_python():
            raise refuse(what)

    sys.addaudithook(hear)  # for the rest of the process
    try:
        with no_second_connection(lambda how: refuse(f"opens a connection ({how})")):
            yield tried
    finally:
        listening = False


def _asked_by_python() -> bool:
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename == subprocess.__file__:
        frame = frame.f_back
    return frame.f_code.co_filename in _HARMLESS


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

_CHANGES = {
    "shutil.rmtree": "removes files",
    "shutil.move": "moves files",
    "os.remove": "removes a file",
    "os.rmdir": "removes a folder",
    "os.rename": "renames a file",
    "os.truncate": "empties a file",
    "os.mkdir": "makes a folder",
    "os.link": "links a file",
    "os.symlink": "links a file",
    "os.chmod": "changes a file",
    "os.chown": "changes a file",
}


def _changed(event: str, arguments: tuple[Any, ...]) -> Optional[str]:
    """What an audit event does to a file, with its name."""
    what = _CHANGES.get(event)
    if event == "open" and not isinstance(arguments[0], int) and (arguments[2] or 0) & _WRITES:
        what = "writes a file"
    return f"{what} ({os.path.basename(os.fsdecode(arguments[0]))})" if what else None  # noqa: PTH119 - or bytes
