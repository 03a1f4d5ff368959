"""A disk that is full or broken: told by name, and some room that is kept for the day.

A state folder holds two files that only take up room. The first is given up when an entry of the journal, the lock or
the registry would not fit any more, so that what was begun can be noted; that it is gone says that the disk was full.
The second is given up on the way out only: by a rollback, and by a release that is live and has only to end.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from .errors import StorageFailed
from .private import user_name

FOR_NOTES, FOR_THE_WAY_OUT = ".reserve-notes", ".reserve-way-out"
RESERVE_BYTES = 4 * 1024 * 1024
_DEPTH = 3  # of a journal below its state folder
_FULL = (errno.ENOSPC, errno.EDQUOT)
_spendable = [FOR_NOTES]
_WORDS = {
    errno.ENOSPC: ("The disk is full", "Make room there (df -h{0}; df -i{0})"),
    errno.EDQUOT: ("The disk quota of this user is used up", "Make room there, or raise the quota (quota -s)"),
    errno.EROFS: (
        "The filesystem is read-only",
        "Find out why (dmesg: often an input/output error came first) and mount it writable again",
    ),
    errno.EIO: ("The disk reports an input/output error", "Have the disk looked at first (dmesg)"),
}


def explained(error: BaseException, path: Optional[Path] = None) -> Optional[StorageFailed]:
    """``error`` as what is wrong with the disk, or None if it is something else. ``path``: what was to be written."""
    if isinstance(error, StorageFailed):
        return error
    if not isinstance(error, OSError) or error.errno not in _WORDS:
        return None
    what, do = _WORDS[error.errno]
    name = errno.errorcode[error.errno]
    where = path or (Path(str(error.filename)) if error.filename else None)
    if where:
        doing = "could not be used" if error.errno == errno.EIO else "could not be written"
        said, folder = f"{where} {doing}", f" {where.parent}"
    else:
        said, folder = "the system does not state which file it was", ""
    return StorageFailed(
        f"{what} ({name}): {said} ({os.strerror(error.errno)}).",
        hint=f"{do.format(folder)}, then run this again.",
        errno=name,
        path=str(where or ""),
    )


def closed(error: BaseException) -> Optional[StorageFailed]:
    """``error`` as a file or folder that this user may not use, or None if it is something else."""
    if not isinstance(error, PermissionError) or not error.filename:
        return None
    path = os.fsdecode(error.filename)
    return StorageFailed(
        f"User {user_name()} has no right to {path} ({error.strerror}).",
        hint="Give that user the right to it, or run the modules as another user (ansible_become,"
        " ansible_become_user), then run this again.",
        errno=errno.errorcode.get(error.errno or 0, ""),
        path=path,
    )


@contextlib.contextmanager
def named(path: Optional[Path] = None) -> Iterator[None]:
    """Raise StorageFailed in place of an OSError of the block that is the disk's."""
    try:
        yield
    except OSError as error:
        failure = explained(error, path)
        if failure is None:
            raise
        raise failure from error


def keep_reserve(state: Path) -> None:
    """Take up the room in folder ``state``; raises StorageFailed if there is none."""
    for name in (FOR_NOTES, FOR_THE_WAY_OUT):
        path = state / name
        with named(path):
            if path.exists() and path.stat().st_size >= RESERVE_BYTES:
                continue
            try:
                # Not by a call that allocates: some filesystems have none, and zeros take no room where it compresses.
                with open(path, "wb", opener=_private) as file:
                    file.write(os.urandom(RESERVE_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                path.unlink(missing_ok=True)
                raise


@contextlib.contextmanager
def on_the_way_out() -> Iterator[None]:
    """In the block, all that is kept may be given up."""
    _spendable.append(FOR_THE_WAY_OUT)
    try:
        yield
    finally:
        _spendable.remove(FOR_THE_WAY_OUT)


def spend(path: Path, error: OSError) -> bool:
    """Give up what is kept in the state folder around ``path``, which did not fit; whether there was anything."""
    if error.errno not in _FULL:
        return False
    for name in _spendable:
        for folder in list(path.parents)[:_DEPTH]:
            with contextlib.suppress(OSError):
                (folder / name).unlink()
                return True
    return False


def was_full(state: Path) -> bool:
    """Whether what a release took up for its notes in folder ``state`` was given up since."""
    return not (state / FOR_NOTES).exists()


def refuse_full(state: Path) -> None:
    """Raise StorageFailed if the disk of folder ``state`` has been full since the release began."""
    if was_full(state):
        failure = explained(OSError(errno.ENOSPC, ""), state / FOR_NOTES)
        assert failure is not None
        failure.message = f"The disk is full (ENOSPC): the notes in {state} took the room that was kept for them."
        raise failure


def warning(state: Path) -> list[str]:
    """A line for a person if the disk of folder ``state`` is full, or has been since the newest release began."""
    with contextlib.suppress(FileNotFoundError):
        status = os.statvfs(state)
        gone = [name for name in (FOR_NOTES, FOR_THE_WAY_OUT) if not (state / name).exists()]
        needed = max(len(gone), 1) * RESERVE_BYTES  # to take up again, or to do anything
        if gone == [FOR_NOTES] or status.f_bavail * status.f_frsize < needed:
            return [f"the disk of {state} is full, or was (ENOSPC): make room there (df -h {state})"]
    return []


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
