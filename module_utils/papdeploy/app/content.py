"""A release folder by what is in it: the same files elsewhere are the same release, any other file is another one."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..core.errors import Unavailable
from ..core.regular import open_regular

# What differs between two copies of the same release without meaning anything.
_IGNORED_FOLDERS = (".git", ".venv")
_IGNORED_FILES = (".git", "*.log", "*.pid")
# What a host adds to its release by convention: the names in it count, its values do not.
_SETTINGS = (".env", ".env.local", ".env.*.local")
_ASSIGNED = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=")
_COMPILED = "__pycache__"
_UNCHECKED = b"\r\n\x01\0\0\0"  # PEP 552: behind the version, in a .pyc that Python takes without a look at its source


@dataclass(frozen=True)
class Content:
    """``files``: relative path to kind and SHA-256. ``variables``: the names that its settings files assign."""

    files: Mapping[str, str]
    variables: Sequence[str] = ()

    @property
    def checksum(self) -> str:
        total = hashlib.sha256()
        for name in sorted(self.files):
            total.update(f"{name}\0{self.files[name]}\n".encode("utf-8", "surrogateescape"))
        return total.hexdigest()

    def changes_to(self, other: Content) -> list[str]:
        """What has become of the files, each as a clause."""
        before, after = self.files, other.files
        return [
            *(f"{name} is another one" for name in sorted(before) if name in after and before[name] != after[name]),
            *(f"{name} is gone" for name in sorted(before) if name not in after),
            *(f"{name} was added" for name in sorted(after) if name not in before),
        ]


def look(folder: Path, ignore: Sequence[str] = ()) -> Content:
    """What is in ``folder``, whatever its order, owner and times. Of modes only counts what can be executed.

    Left out are ``ignore`` (glob patterns relative to the folder, or folders), repositories of git, virtual
    environments, logs, and what Python compiles by itself. Raises Unavailable for what cannot be read.
    """
    files: dict[str, str] = {}
    variables: set[str] = set()
    for path in _below(folder):
        name = os.path.relpath(path, folder)
        if any(name == each or name.startswith(f"{each}/") or fnmatch.fnmatchcase(name, each) for each in ignore):
            continue
        with contextlib.suppress(FileNotFoundError):  # it was there a moment ago: what is not there does not count
            if _matches(path.rpartition("/")[2], _SETTINGS):
                variables |= _names_in(Path(path))
            elif kept := _kind_and_checksum(path):
                files[name] = kept
    return Content(files, tuple(sorted(variables)))


def folder_checksum(folder: Path, ignore: Sequence[str] = ()) -> str:
    return look(folder, ignore).checksum


def _below(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder, onerror=_unreadable):
        links = [name for name in folders if Path(root, name).is_symlink()]
        folders[:] = sorted(name for name in folders if name not in _IGNORED_FOLDERS and not _is_venv(root, name))
        for name in [*files, *links]:
            if not _matches(name, _IGNORED_FILES):
                yield f"{root}/{name}"


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _is_venv(root: str, name: str) -> bool:
    return Path(root, name, "pyvenv.cfg").is_file()


def _kind_and_checksum(path: str) -> Optional[str]:
    """None for what is no content: devices, sockets, and what Python compiles by itself. Users wait for this: it asks
    the file system as little as it can."""
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            return "link:" + hashlib.sha256(os.fsencode(Path(path).readlink())).hexdigest()
        if not stat.S_ISREG(mode) or (f"/{_COMPILED}/" in path and not _is_taken_unchecked(Path(path))):
            return None
        checksum = hashlib.sha256()
        descriptor = open_regular(path, follow=False)
        try:
            while chunk := os.read(descriptor, 1 << 20):
                checksum.update(chunk)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unavailable(error) from error
    return f"{'program' if mode & 0o111 else 'file'}:{checksum.hexdigest()}"


def _is_taken_unchecked(path: Path) -> bool:
    with os.fdopen(open_regular(path, follow=False), "rb") as file:
        return path.suffix == ".pyc" and file.read(8)[2:] == _UNCHECKED


def _names_in(path: Path) -> set[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unavailable(error) from error
    return {match[1] for line in text.splitlines() if (match := _ASSIGNED.match(line))}


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise _unavailable(error) from error


def _unavailable(error: OSError) -> Unavailable:
    return Unavailable(
        f"{error.filename} cannot be read ({error.strerror}), so what the release deploys cannot be told.",
        hint="Let the user that deploys read the release folder; what the API itself writes there belongs into"
        " pap_api_release_ignore.",
    )
