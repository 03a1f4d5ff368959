"""The backup folder: private files, written under temporary names; a backup is complete once its manifest is there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..core.durable import private_folder, sync_folder
from ..core.errors import Refused
from ..core.private import refuse_open
from ..core.regular import open_regular

PARTIAL = ".partial-"
_PART = "[A-Za-z0-9.-]+"
_STAMP = r"\d{8}T\d{6}(\.\d{3})?Z"
_ENDS = r"\.dump(\.age|\.gpg)?(\.globals\.sql|\.manifest\.json)?"
_CHUNK = 1 << 20


def secure_folder(folder: Path) -> Path:
    """Create ``folder`` with mode 0700, or refuse one that others can look into or that is a symbolic link."""
    if not os.path.lexists(folder):
        return private_folder(folder)
    refuse_open(
        folder,
        "The backup folder ",
        "A backup holds all data and password hashes: use a folder of your own with mode 0700.",
    )
    return folder


def stem(*parts: str) -> str:
    """A file name without its end, of stack, database, release and time; only plain characters, whatever the database
    is called (the manifest knows)."""
    return "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", part).strip("-.")[:60] or "x" for part in parts)


def is_ours(name: str, stack: str, dbname: str, release: str = "") -> bool:
    """Whether ``name`` has exactly the form of an archive that is written here for that stack and database (and
    release), or of a file beside it."""
    made_for = [re.escape(stem(stack)), re.escape(stem(dbname)), re.escape(stem(release)) if release else _PART]
    return re.fullmatch(f"{'_'.join(made_for)}_{_STAMP}{_ENDS}", name) is not None


def is_archive(name: str) -> bool:
    """Whether ``name`` has the form of an archive of any stack, or of a file beside one."""
    return re.fullmatch(f"{_PART}_{_PART}_{_PART}_{_STAMP}{_ENDS}", name) is not None


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
def stale(folder: Path, stack: str, dbname: str) -> Iterator[list[Path]]:
    """The temporary files of runs for that stack and database that were killed (their lock is free), held for the
    block. A file whose name only begins like one is not ours."""
    with contextlib.ExitStack() as opened:
        found: list[Path] = []
        for path in sorted(folder.glob(f"{PARTIAL}*")):
            if not is_ours(path.name[len(PARTIAL) :], stack, dbname):
                continue
            try:
                descriptor = open_regular(path, follow=False)
            except OSError:
                continue
            opened.callback(os.close, descriptor)
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
