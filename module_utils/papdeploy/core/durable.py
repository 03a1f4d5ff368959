"""Private files and folders that survive a crash of the machine. Where the disk fails, they say so by its name."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Callable

from . import storage
from .private import refuse_open
from .visible import json_text


def private_folder(path: Path) -> Path:
    """Make ``path`` a folder for its owner alone (0700), whatever the umask; raises Refused for one that is not."""
    with storage.named(path):
        for folder in reversed([parent for parent in path.parents if not parent.exists()]):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o755)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            path.chmod(0o700)
    refuse_open(path)
    return path


def write_durably(path: Path, data: bytes, *, vital: bool = True) -> None:
    """Write a private file so that after a crash, or if it does not fit, there is the old content or the new one.
    ``vital``: the room that a state folder keeps for its notes is given up for it."""

    def write(fresh: Path) -> None:
        fresh.replace(path)
        sync_folder(path.parent)

    write_aside(path, data, write, vital=vital)


def write_aside(path: Path, data: bytes, place: Callable[[Path], None], *, vital: bool = True) -> None:
    """Write ``data`` beside ``path``, whole and on disk, and call ``place`` with where it is; then it is gone there."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")

    def write() -> None:
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            place(fresh)
        finally:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)

    _with_room(path, write, vital=vital)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_durably(path: Path, entry: object) -> None:
    """Add ``entry`` to a private file as one line of JSON: it is on disk when this returns, else nothing is."""
    data = (json_text(entry) + "\n").encode()

    def append() -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            torn = bool(size) and os.pread(descriptor, 1, size - 1) != b"\n"
            left = memoryview(b"\n" + data if torn else data)  # a torn line of a killed writer stays alone
            try:
                while left:
                    left = left[os.write(descriptor, left) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)

    _with_room(path, append)


def _with_room(path: Path, write: Callable[[], None], *, vital: bool = True) -> None:
    with storage.named(path):
        try:
            write()
        except OSError as error:
            if not (vital and storage.spend(path, error)):
                raise
            _with_room(path, write)
