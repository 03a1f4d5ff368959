"""Read files in folders where others may have put something: never wait for a FIFO or a device."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def open_regular(path: Path, *, follow: bool = True) -> int:
    """A descriptor to read the regular file ``path``. Raises OSError for a FIFO, a device or a folder, and for a
    symbolic link unless ``follow``."""
    # Without O_NONBLOCK, opening a FIFO waits until somebody writes into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return descriptor


def read_regular(path: Path) -> bytes:
    """The content of the regular file ``path``; raises OSError as :func:`open_regular` does."""
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read()
