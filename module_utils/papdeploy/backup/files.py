"""The backup folder: private files, written under temporary names; a backup is complete once its manifest is there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..core.durable import sync_folder
from ..errors import Refused

PARTIAL = ".partial-"
_CHUNK = 1 << 20


def secure_folder(folder: Path) -> Path:
    """Create ``folder`` with mode 0700, or refuse one that others can look into or that is a symbolic link."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    status = folder.lstat()
    problem = ""
    if stat.S_ISLNK(status.st_mode):
        problem = "is a symbolic link"
    elif not stat.S_ISDIR(status.st_mode):
        problem = "is not a folder"
    elif status.st_uid != os.geteuid():
        problem = f"belongs to user id {status.st_uid}"
    elif status.st_mode & 0o077:
        problem = f"has mode {stat.S_IMODE(status.st_mode):04o}, so others can reach it"
    if problem:
        raise Refused(
            f"The backup folder {folder} {problem}.",
            hint="A backup holds all data and password hashes: use a folder of your own with mode 0700.",
            folder=str(folder),
        )
    return folder


def stem(stack: str, dbname: str, release: str, stamp: str) -> str:
    """A file name without its end; only plain characters, whatever the database is called (the manifest knows)."""
    parts = (re.sub(r"[^A-Za-z0-9.-]+", "-", part).strip("-.")[:60] or "x" for part in (stack, dbname, release, stamp))
    return "_".join(parts)


@contextlib.contextmanager
def partial(folder: Path, name: str) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new private file under a temporary name, removed again unless it was renamed. Its lock says it is in use."""
    path = folder / f"{PARTIAL}{name}"
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield path, file
        finally:
            path.unlink(missing_ok=True)


def commit(path: Path, file: IO[bytes], final: Path) -> None:
    """Make a partial file durable and give it its name: file, rename, folder, each on disk before the next."""
    os.fsync(file.fileno())
    if final.exists():
        raise Refused(f"{final} exists already.", hint="Backups are never overwritten.")
    path.rename(final)
    sync_folder(final.parent)


@contextlib.contextmanager
def stale(folder: Path) -> Iterator[list[Path]]:
    """The temporary files of runs that were killed (nobody holds their lock), held for the block."""
    with contextlib.ExitStack() as stack:
        found: list[Path] = []
        for path in sorted(folder.glob(f"{PARTIAL}*")):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            except OSError:
                continue
            stack.callback(os.close, descriptor)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.append(path)
        yield found


def sha256_of(path: Path) -> tuple[str, int]:
    """SHA-256 and size of what lies on disk."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
