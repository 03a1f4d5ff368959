"""Run a function of this process where it reaches nothing (``confined``), and have what it returns."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, NoReturn

from .confined import REACHING, confine
from .errors import DeadlineExceeded, Unavailable
from .records import plain, read

Work = Callable[[], dict[str, Any]]

_FOLDERS = ("TMPDIR", "TEMP", "TMP")


class CannotConfine(Unavailable):
    """This machine knows no way to confine a process."""


@dataclass(frozen=True)
class _Answer:
    """What the child says: the ``value`` of the work, what keeps it from being confined, or the kind of its error."""

    value: dict[str, Any] = field(default_factory=dict)
    obstacle: str = ""
    error: str = ""


def run(work: Work, seconds: float, *, confined: bool = True, refused: Sequence[str] = REACHING) -> dict[str, Any]:
    """What ``work`` returns, as JSON keeps it, in a child of this process: whatever it imports, sets and starts is gone
    afterwards, the folder of its temporary files too. What it prints goes nowhere. What is ``refused`` fails
    there, and the connections of this process are closed. Without ``confined``, the work confines itself when it is
    ready.

    Raises CannotConfine, DeadlineExceeded after ``seconds``, and Unavailable, with the kind of the error, if it fails.
    """
    with _folder() as folder:
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reading)
            _child(work, writing, refused if confined else None, folder)
        os.close(writing)
        try:
            answer = _said(reading, time.monotonic() + seconds)
        finally:
            os.close(reading)
            _end(pid)
    if answer is None:
        raise DeadlineExceeded(f"It did not end within {seconds:g} s and was stopped.")
    if not answer.endswith(b"\n"):
        raise Unavailable("its process ended by itself")
    found = read(_Answer, json.loads(answer))
    if found.obstacle:
        raise CannotConfine(found.obstacle)
    if found.error:
        raise Unavailable(found.error)
    return found.value


def _line(answer: _Answer) -> bytes:
    return json.dumps(plain(answer)).encode() + b"\n"


def with_own_folder(variables: Mapping[str, str]) -> dict[str, str]:
    """``variables`` for the environment of the work: what it writes by itself goes into the folder that it has here."""
    own = {name: os.environ[name] for name in (*_FOLDERS, "PYTHONDONTWRITEBYTECODE") if name in os.environ}
    return {**variables, **own}


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    """A folder for temporary files; none where none can be made: there none can be left behind."""
    try:
        folder = tempfile.mkdtemp(prefix="pap-deploy-")
    except OSError:
        folder = ""
    try:
        yield folder
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _said(source: int, limit: float) -> bytes | None:
    """A line, or what there is of it when the other end is closed; None if it takes until ``limit``."""
    said = b""
    while select.select([source], [], [], max(0.0, limit - time.monotonic()))[0]:
        chunk = os.read(source, 1 << 16)
        said += chunk
        if not chunk or said.endswith(b"\n"):
            return said
    return None


def _end(pid: int) -> None:
    """End the child and its children, which cannot leave its group."""
    for end in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            end(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _close_sockets(null: int) -> None:
    """A session of the parent is not the child's: what its driver sends at last must not reach the server."""
    for path in list(Path("/dev/fd").iterdir()):
        with contextlib.suppress(OSError):  # the one that the list was read by
            if stat.S_ISSOCK(os.fstat(int(path.name)).st_mode):
                os.dup2(null, int(path.name))


def _child(work: Work, writing: int, refused: Sequence[str] | None, folder: str) -> NoReturn:
    """Never returns: whatever becomes of the work, an answer goes out and the process ends."""
    pid = os.getpid()
    try:
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = True
        if folder:
            os.environ.update(dict.fromkeys(_FOLDERS, folder))
            tempfile.tempdir = folder
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - until the process ends
        obstacle = ""
        if refused is not None:
            _close_sockets(null)
            obstacle = confine(refused)
        answer = _Answer(obstacle=obstacle) if obstacle else _Answer(work())
        data = _line(answer)
    except BaseException as error:  # noqa: BLE001 - code of others may raise anything, and its text may hold a secret
        data = _line(_Answer(error=type(error).__name__))
    if os.getpid() == pid:  # not what the work has forked
        while data:
            data = data[os.write(writing, data) :]
    os._exit(0)
