"""Files and folders that only their owner can reach or change."""

from __future__ import annotations

import errno
import os
import pwd
import shlex
import stat
import tempfile
from pathlib import Path

from .errors import Refused

_ROOT = 0


def refuse_open(path: Path, what: str = "", hint: str = "") -> None:
    """Raise Refused unless ``path`` is a folder of this user, no symbolic link, and closed to all other users."""
    status = path.lstat()
    problem, do = _not_ours(status), "find out who made it, and move it away"
    if not problem and not stat.S_ISDIR(status.st_mode):
        problem = "is not a folder"
    if not problem:
        problem, do = _open(status, 0o077, "reach it"), f"look at what is in it, then: chmod 0700 {path}"
    if problem:
        raise Refused(
            f"{what}{path} {problem}.",
            hint=hint or f"It must be a folder of this user (id {os.geteuid()}), mode 0700: {do}.",
            folder=str(path),
        )


def refuse_without_right(path: Path, *, hint: str = "") -> None:
    """Raise Refused unless this user can write in the folder ``path``, or create it where it is missing. ``hint``: what
    gives the right, where that is not to make the folder this user's own."""
    place = path
    while True:
        try:
            place.lstat()
            break
        except (FileNotFoundError, NotADirectoryError):
            place = place.parent
        except PermissionError:
            raise _no_right(place.parent, path, hint) from None
    try:  # what a file server or a container allows is known only by doing it
        Path(tempfile.mkdtemp(prefix=".pap-", dir=place)).rmdir()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            raise  # the disk's, not a right's
        raise _no_right(place, path, hint) from None


def _no_right(place: Path, path: Path, hint: str) -> Refused:
    """That this user may not do in ``place`` what the folder ``path`` needs, and what gives it the right."""
    name = user_name()
    own = f"Create it for that user (sudo install -d -m 0700 -o {name} {shlex.quote(str(path))})"
    return Refused(
        f"User {name} has no right to {'write in' if place == path else 'create'} {path}"
        f"{'' if place == path else f': {place} is closed to it'}.",
        hint=f"{hint or own}, run the modules as another user (ansible_become, ansible_become_user), or choose another"
        " folder.",
        folder=str(path),
    )


def user_name() -> str:
    """The name of the user that this process runs as; the number, where the host knows no name for it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def refuse_foreign(path: Path) -> None:
    """Raise Refused if ``path``, in a folder of ours, is neither a file nor a folder (a symbolic link, a FIFO), or
    belongs to neither this user nor root."""
    try:
        status = path.lstat()
        problem = _not_ours(status, _ROOT)
        if not problem and not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            problem = "is neither a file nor a folder"
    except FileNotFoundError:  # a temporary file that has got its name
        return
    if problem:
        raise Refused(f"{path} {problem}.", hint="pap-deploy makes no such thing there. Look at it, and move it away.")


def refuse_writable(path: Path) -> None:
    """Raise Refused if ``path`` is a symbolic link, or others than this user can write to it."""
    status = path.lstat()
    problem = _not_ours(status) or _open(status, 0o022, "write to it")
    if problem:
        raise Refused(f"{path} {problem}.")


def _not_ours(status: os.stat_result, *also: int) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if status.st_uid not in (os.geteuid(), *also):
        return f"belongs to user id {status.st_uid}"
    return ""


def _open(status: os.stat_result, bits: int, doing: str) -> str:
    return f"has mode {stat.S_IMODE(status.st_mode):04o}, so others can {doing}" if status.st_mode & bits else ""
