"""A process that can reach nothing: no server, no other process, no file to take away. The kernel sees to that.

A seccomp filter (Linux; seccomp(2)) needs no right, holds in containers, and cannot be taken off again: neither by the
process nor by what it starts. So code may be imported that would open the live database, whatever address it has from
wherever, by a driver in C or by a program of its own.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys
from collections.abc import Sequence

_CHANGES = (
    "creat", "mkdir", "mkdirat", "mknod", "mknodat", "link", "linkat", "symlink", "symlinkat", "chmod", "fchmod",
    "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "ftruncate",
)  # fmt: skip
# Numbers of the calls on each machine, in the order of _REFUSED (asm/unistd.h); the kernel's name of its architecture.
_MACHINES = {
    "x86_64": (
        0xC000003E,
        (41, 42, 50, 425, 62, 200, 424, 112, 109, 84, 87, 263, 82, 264, 316, 76,
         437, 85, 83, 258, 133, 259, 86, 265, 88, 266, 90, 91, 268, 452, 92, 93, 94, 260, 77, 2, 257),
    ),
    "aarch64": (
        0xC00000B7,
        (198, 203, 201, 425, 129, 130, 424, 157, 154, None, None, 35, None, 38, 276, 45,
         437, None, None, 34, None, 33, None, 37, None, 36, None, 52, 53, 452, None, 55, None, 54, 46, None, 56),
    ),
}  # fmt: skip
_REFUSED = (
    ("socket", errno.ECONNREFUSED),
    ("connect", errno.ECONNREFUSED),
    ("listen", errno.EADDRINUSE),
    ("io_uring_setup", errno.ENOSYS),
    *((name, errno.EPERM) for name in ("kill", "tkill", "pidfd_send_signal", "setsid", "setpgid")),
    # Not done, and not refused: a program that takes its own temporary files away goes on instead of trying elsewhere.
    *((name, 0) for name in ("rmdir", "unlink", "unlinkat")),
    *((name, errno.EROFS) for name in ("rename", "renameat", "renameat2", "truncate")),
    ("openat2", errno.ENOSYS),  # programs go on with openat
    *((name, errno.EROFS) for name in (*_CHANGES, "open", "openat")),
)
# What opens a way to a server, or to a program that listens on this host.
CONNECTIONS = ("socket", "connect", "io_uring_setup")
EVERYTHING = tuple(name for name, _ in _REFUSED)
# What reaches something; files may be written, which programs do when they start.
REACHING = tuple(name for name in EVERYTHING if name not in (*_CHANGES, "openat2", "open", "openat"))
# Which argument of a call has its flags: it is refused where it would make or empty a file.
_FLAGS = {"open": 1, "openat": 2}
_MAKES = os.O_CREAT | os.O_TRUNC
_LOAD, _EQUAL, _AT_LEAST, _ANY_OF, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NR, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x40000000  # calls of another ABI on the same machine
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def confine(refused: Sequence[str] = REACHING) -> str:
    """Confine this process, and all that it starts, for good. Returns why that is not possible here, or nothing.

    ``refused``: which calls are to fail. With EVERYTHING, no file is made or emptied either, nor written to.
    """
    machine = os.uname().machine
    if sys.platform != "linux" or machine not in _MACHINES or struct.calcsize("P") != 8:
        return f"there is no way to confine a process on {sys.platform}, {machine}"
    code = _filter(*_MACHINES[machine], refused)
    program = _Program(len(code) // 8, code)
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError) as error:
        return f"the C library cannot be called ({error})"
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    if prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(_SECCOMP, _FILTER, ctypes.addressof(program), 0, 0):
        return f"the kernel refuses to confine a process ({os.strerror(ctypes.get_errno())})"
    if "openat" in refused:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # of files that are there
    return ""


def _filter(architecture: int, numbers: tuple[object, ...], refused: Sequence[str]) -> bytes:
    """The program that the kernel runs at each call, as ``struct sock_filter`` one after another."""
    lines = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_LOAD, 0, 0, _NR),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]
    for number, (name, error) in zip(numbers, _REFUSED):
        if not isinstance(number, int) or name not in refused:
            continue
        if name in _FLAGS:  # the last ones: what is loaded is no longer the number
            flags = (_LOAD, 0, 0, _ARGUMENTS + 8 * _FLAGS[name])
            lines += [(_EQUAL, 0, 4, number), flags, (_ANY_OF, 0, 1, _MAKES), (_RETURN, 0, 0, _ERRNO | error),
                      (_RETURN, 0, 0, _ALLOW)]  # fmt: skip
        else:
            lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | error)]
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
