"""Read files in folders where others may have put something: never wait for a FIFO or a device."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Optional

from .text import size


def open_regular(path: str | Path, *, follow: bool = True) -> int:
    """A descriptor to read the regular file ``path``. Raises OSError for a FIFO, a device or a folder, and for a
    symbolic link unless ``follow``."""
    # Without O_NONBLOCK, opening a FIFO waits until a writer opens it.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return descriptor


def read_regular(path: Path, limit_bytes: Optional[int] = None) -> bytes:
    """The content of the regular file ``path``. Raises OSError as :func:`open_regular` does, and for a file that has
    more than ``limit_bytes``."""
    with os.fdopen(open_regular(path), "rb") as file:
        found: Optional[bytes] = file.read() if limit_bytes is None else file.read(limit_bytes + 1)
    if found is None:  # the kernel's own files (/proc/kmsg) are regular, and may have nothing to say yet
        raise OSError(errno.EAGAIN, "it has no content now", str(path))
    if limit_bytes is not None and len(found) > limit_bytes:
        raise OSError(errno.EFBIG, f"it has more than {size(limit_bytes)}", str(path))
    return found
