"""Read a log so that each line is read once, also through rotation.

A source gives text and a *mark*: plain data that says how far was read. Reading again from a mark gives what came
later and nothing else, also after the watcher, the host or the log file began anew. (The journal of systemd and the
logs of a container are in ``logsources``.)
"""

from __future__ import annotations

import contextlib
import glob
import gzip
import hashlib
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Optional, cast

from ..core.errors import Unavailable

LIMIT = 32 << 20
_HEAD = 1024
_UNREAD = (".xz", ".bz2", ".zst", ".lz4", ".Z")  # compressions of rotated files that are not read
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True)
class Position:
    """How far a file was read, and what it is known by."""

    path: str
    inode: int
    offset: int
    head: str
    head_length: int


@dataclass(frozen=True)
class Mark:
    """How far a log was read: the ``files`` of one, the ``cursor`` of a journal, or ``after`` which time a container's
    lines are new."""

    files: tuple[Position, ...] = ()
    cursor: str = ""
    after: str = ""


@dataclass(frozen=True)
class Reading:
    """Text since a mark. ``more``: the limit cut it, read again. ``gaps``: what could not be read any more."""

    text: str
    mark: Mark
    more: bool = False
    gaps: tuple[str, ...] = ()


class LogSource(ABC):
    """One log. ``label`` names it in messages."""

    label: str

    @abstractmethod
    def now(self) -> Mark:
        """The mark of the present end of the log."""

    @abstractmethod
    def since(self, mark: Mark, limit: int = LIMIT) -> Reading:
        """At most ``limit`` bytes that were logged after ``mark``. Raises Unavailable if the log cannot be read."""

    @abstractmethod
    def recent(self, limit: int = LIMIT) -> str:
        """The last whole lines of the log, at most ``limit`` bytes: what was usual before."""


@dataclass(frozen=True)
class FileLog(LogSource):
    """Files by path or pattern (``/var/log/postgresql/*.log``), with what rotation makes of them (``name.1``, ``.gz``).

    A file is known by its inode and the first bytes of its content: a new file that gets an old inode, and a copy that
    a rotation leaves behind, are both told apart.
    """

    paths: Sequence[str]

    @property
    def label(self) -> str:  # type: ignore[override]
        return ", ".join(self.paths)

    def _current(self) -> list[Path]:
        found: dict[Path, None] = {}
        for pattern in self.paths:
            path = Path(pattern)
            matches = sorted(Path(path.anchor).glob(pattern[len(path.anchor) :])) if glob.has_magic(pattern) else [path]
            found.update(dict.fromkeys(match for match in matches if match.is_file()))
        if not found:
            odd = next((path for path in self.paths if Path(path).exists()), "")
            what = f"{odd} is no file that can be read as a log" if odd else f"There is no log file {self.label}"
            raise Unavailable(
                f"{what}.",
                hint="Correct the log files in the inventory, or create the file with the rights of the program.",
            )
        return list(found)

    def now(self) -> Mark:
        with _readable():
            return Mark(files=tuple(_position(path, path.stat().st_size) for path in self._current()))

    def since(self, mark: Mark, limit: int = LIMIT) -> Reading:
        texts: list[str] = []
        files: list[Position] = []
        gaps: list[str] = []
        claimed: set[str] = set()
        left = limit
        with _readable():
            current = self._current()
            todo: list[tuple[Path, int]] = []
            for position in mark.files:
                home = _find(position, current)
                if home is None:
                    if position.offset or position.head_length:
                        gaps.append(f"{position.path} was rotated away; its last lines could not be read")
                    continue
                claimed.add(str(home))
                todo.append((home, position.offset))
                if home not in current:  # rotated: what was rotated after it was never seen
                    later = [p for p in _siblings(Path(position.path)) if _age(p) > _age(home)]
                    todo += [(path, 0) for path in later if str(path) not in claimed and path not in current]
                    claimed.update(map(str, later))
            todo += [(path, 0) for path in current if str(path) not in claimed]
            for path, offset in todo:
                try:
                    text, end, cut = _read_lines(path, offset, left)
                except _DAMAGED:
                    gaps.append(f"{path} is damaged; its lines could not be read")
                    continue
                left = 0 if cut else left - (end - offset)  # what is older comes first, also the next time
                texts.append(text)
                # A rotated file stays in the mark only while something of it is left to read.
                if path in current or end < _length(path):
                    files.append(_position(path, end))
        return Reading("".join(texts), Mark(files=tuple(files)), more=left <= 0, gaps=tuple(gaps))

    def recent(self, limit: int = LIMIT) -> str:
        with _readable():
            return "".join("".join(reversed(list(_backwards(path, limit)))) for path in self._current())[-limit:]


def _backwards(path: Path, limit: int) -> Iterator[str]:
    """The end of a log, and what was rotated away before it, until there are ``limit`` bytes."""
    for candidate in [path, *reversed(_siblings(path))]:
        try:
            start = max(0, _length(candidate) - limit)
            text, end, _ = _read_lines(candidate, start, limit)
        except (*_DAMAGED, PermissionError):
            if candidate == path:
                raise
            return  # of what was before, less is known
        limit -= end - start
        yield text.partition("\n")[2] if start else text
        if limit <= 0:
            return


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Raise Unavailable in place of an OSError of the block."""
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"The log {error.filename} cannot be read: {error.strerror}.",
            hint="Give the deploying user the right to read it, or correct the log files in the inventory.",
        ) from error


def _position(path: Path, offset: int) -> Position:
    length = min(_HEAD, offset)
    with _open(path) as file:
        head = file.read(length)
    return Position(str(path), path.stat().st_ino, offset, hashlib.sha256(head).hexdigest(), length)


def _find(position: Position, current: Sequence[Path]) -> Optional[Path]:
    """Where the file of ``position`` is now: at its path, elsewhere under its inode, or as a rotated copy."""
    path = Path(position.path)
    if _same_inode(path, position) and _has_head(path, position):
        return path
    places = [path, *(place for place in current if place != path), *reversed(_siblings(path))]
    for place in places:
        if _same_inode(place, position) and _has_head(place, position):
            return place
    if position.head_length == 0:  # nothing was in it: only its inode or its name can tell
        return path if path.is_file() else None
    return next((place for place in places if _has_head(place, position)), None)


def _same_inode(path: Path, position: Position) -> bool:
    return path.is_file() and path.stat().st_ino == position.inode


def _has_head(path: Path, position: Position) -> bool:
    with contextlib.suppress(OSError, *_DAMAGED):
        if _length(path) < position.offset:
            return False
        with _open(path) as file:
            return hashlib.sha256(file.read(position.head_length)).hexdigest() == position.head
    return False


def _siblings(path: Path) -> list[Path]:
    """Rotated files of a log, oldest first: ``api.log.2.gz``, ``api.log.1``, ``api.log-20250101``."""
    names = {name for name in path.parent.glob(glob.escape(path.name) + "[.-]*") if name.is_file()}
    return sorted((name for name in names if name.suffix not in _UNREAD and not _is_made(name, names)), key=_age)


def _is_made(name: Path, names: set[Path]) -> bool:
    """Whether it is being compressed from a file that is still there."""
    return name.suffix == ".gz" and name.with_suffix("") in names


def _age(path: Path) -> tuple[float, str]:
    return (path.stat().st_mtime_ns, str(path))


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _length(path: Path) -> int:
    if path.suffix != ".gz":
        return path.stat().st_size
    with gzip.open(path, "rb") as file:
        return file.seek(0, os.SEEK_END)


def _read_lines(path: Path, offset: int, limit: int) -> tuple[str, int, bool]:
    """Whole lines from ``offset``, where they end, and whether the limit cut them; a line that is still being written
    is left for the next time."""
    if limit <= 0:
        return "", offset, True
    with _open(path) as file:
        file.seek(offset)
        data = file.read(limit)
    end = data.rfind(b"\n") + 1
    cut = len(data) == limit
    if not end and cut:
        end = len(data)  # one line longer than the limit: take it in parts
    # A program that does not append leaves NUL bytes where its log was truncated under it.
    return data[:end].replace(b"\0", b"").decode("utf-8", "replace"), offset + end, cut
