"""A release by what is in it."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

# What differs between two copies of the same release without meaning anything.
IGNORED = ("__pycache__", "*.pyc", ".git", ".venv", "venv", ".env", "*.log")


def folder_checksum(folder: Path, ignored: Sequence[str] = IGNORED) -> str:
    """SHA-256 over names, kinds and contents of all files below ``folder``, whatever their order, owner and time."""
    total = hashlib.sha256()
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_ignored(name, ignored))
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        for name in sorted([*files, *links]):
            path = Path(root) / name
            if _is_ignored(name, ignored) or not (path.is_file() or path.is_symlink()):
                continue
            if path.is_symlink():
                content = hashlib.sha256(b"link\0" + os.fsencode(path.readlink())).hexdigest()
            else:
                content = _file_checksum(path)
            total.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _is_ignored(name: str, ignored: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in ignored)


def _file_checksum(path: Path) -> str:
    checksum = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            checksum.update(chunk)
    return checksum.hexdigest()
