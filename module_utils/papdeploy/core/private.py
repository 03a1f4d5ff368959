"""Files and folders that nobody but their owner can reach, change or exchange."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from ..errors import Refused

_ROOT = 0


def refuse_open(path: Path, what: str = "", hint: str = "") -> None:
    """Raise Refused unless ``path`` is a folder of this user, no symbolic link, that nobody else can look into."""
    status = path.lstat()
    problem = _not_ours(status)
    if not problem and not stat.S_ISDIR(status.st_mode):
        problem = "is not a folder"
    if not problem and status.st_mode & 0o077:
        problem = f"has mode {stat.S_IMODE(status.st_mode):04o}, so others can reach it"
    if problem:
        raise Refused(
            f"{what}{path} {problem}.",
            hint=hint or f"It must be a folder of this user, mode 0700. Look at what is in it, then: chmod 0700 {path}",
            folder=str(path),
        )


def refuse_foreign(path: Path) -> None:
    """Raise Refused if ``path``, in a folder of ours, is a symbolic link, or belongs to neither this user nor root."""
    try:
        problem = _not_ours(path.lstat(), _ROOT)
    except FileNotFoundError:  # a temporary file that has got its name
        return
    if problem:
        raise Refused(f"{path} {problem}.", hint="pap-deploy makes no such thing there. Look at it, and move it away.")


def refuse_writable(path: Path) -> None:
    """Raise Refused if ``path`` is a symbolic link, or others than this user can write to it."""
    status = path.lstat()
    problem = _not_ours(status) or _writable(status)
    if problem:
        raise Refused(f"{path} {problem}.")


def refuse_exchangeable(path: Path) -> None:
    """Raise Refused if somebody else could put another thing in the place of ``path``: by a folder above it that is
    theirs, or that they can write to."""
    above = [*reversed(path.absolute().parents), *reversed(path.resolve().parents)]
    for folder in dict.fromkeys(above):
        status = folder.lstat()
        problem = _not_ours(status, _ROOT, links=True)
        if not problem and stat.S_ISDIR(status.st_mode):
            problem = _writable(status)
        if problem:
            raise Refused(
                f"{folder} {problem}, so what is below it ({path.name}) could be exchanged by somebody else.",
                hint="Give the user that the modules run as a HOME (or XDG_CACHE_HOME) of its own.",
                folder=str(folder),
            )


def _not_ours(status: os.stat_result, *also: int, links: bool = False) -> str:
    if stat.S_ISLNK(status.st_mode) and not links:
        return "is a symbolic link"
    if status.st_uid not in (os.geteuid(), *also):
        return f"belongs to user id {status.st_uid}"
    return ""


def _writable(status: os.stat_result) -> str:
    """Why others than its owner can rename things in that folder, as a clause. A group that is this user's own, as many
    distributions make one, is nobody else."""
    writable = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
    if not writable or (not status.st_mode & 0o002 and status.st_gid == _own_group()):
        return ""
    return f"has mode {stat.S_IMODE(status.st_mode):04o}, so others can write to it"


def _own_group() -> int:
    """The group of this user that has this user's name and no other member, or -1."""
    import grp
    import pwd

    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(os.geteuid())
        group = grp.getgrgid(user.pw_gid)
        if group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}:
            return group.gr_gid
    return -1
