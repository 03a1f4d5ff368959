"""Private files and folders that survive a crash of the machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .private import refuse_open
from .visible import json_text


def private_folder(path: Path) -> Path:
    """Make ``path`` a folder for its owner alone (0700), whatever the umask; raises Refused for one that is not."""
    for folder in reversed([parent for parent in path.parents if not parent.exists()]):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o755)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        path.chmod(0o700)
    refuse_open(path)
    return path


def write_durably(path: Path, data: bytes) -> None:
    """Write a private file so that after a crash there is the old content or the new one."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_durably(path: Path, entry: Mapping[str, Any]) -> None:
    """Add ``entry`` to a private file as one line of JSON; it is on disk when this returns."""
    line = json_text(entry) + "\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = "\n" + line  # a torn line of a killed writer stays alone
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
