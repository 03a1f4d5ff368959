"""Where a program runs: this host, or (see ``containers``) a container. Everything above is the same for both."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Optional

from ..core.errors import CommandFailed, DeadlineExceeded, Unavailable
from ..core.redact import Redactor

CHUNK = 1 << 18
_HEAD, _TAIL = 4 * 1024, 60 * 1024


def keep_ends(said: bytearray) -> None:
    """Cut what a program said to its beginning and its end: an error comes first, and may quote much after it."""
    if len(said) > _HEAD + _TAIL:
        del said[_HEAD:-_TAIL]


@dataclass(frozen=True)
class Completed:
    """A program that has ended: ``stdout`` and the ends of ``stderr`` (``keep_ends``), ``seconds`` of wall time."""

    argv: tuple[str, ...]
    rc: int
    stdout: bytes
    stderr: str
    seconds: float

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")


class Process(ABC):
    """A running program with byte streams. ``stdin`` is None unless it was asked for. Use as a context manager: leaving
    it while the program runs kills it."""

    stdin: Optional[IO[bytes]]
    stdout: IO[bytes]

    @abstractmethod
    def wait(self, timeout: float | None = None) -> int:
        """The exit code; raises DeadlineExceeded after ``timeout`` seconds (the program then still runs)."""

    @abstractmethod
    def end(self) -> None:
        """End the program and its children at its site, at once. Harmless when it has ended. Any thread may do it: the
        streams stay open, and who reads them comes to their end."""

    def kill(self) -> None:
        """The same, and close its streams, which nobody may be using then."""
        self.end()
        for stream in (self.stdin, self.stdout):
            if stream:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()

    @abstractmethod
    def errors(self) -> str:
        """What it wrote to standard error so far: the first 4 and the last 60 KiB."""

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Site(ABC):
    """A place to run programs. ``label`` names it in messages: "this host", "container cc-db"."""

    label: str
    sees_this_host: bool = False
    """Whether programs there see the files of this process, as the same user."""

    @abstractmethod
    def popen(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: bool = False,
    ) -> Process:
        """Start a program. ``env`` is added to the site's environment. Raises Unavailable if it cannot be started."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """The environment that programs have there."""

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        input: bytes | None = None,
        timeout: float | None = 60.0,
        check: bool = True,
    ) -> Completed:
        """Run a program to its end within ``timeout`` seconds (then it is killed and DeadlineExceeded raised).

        With ``check`` a non-zero exit raises CommandFailed.
        """
        started = time.monotonic()
        with self.popen(argv, env=env, cwd=cwd, stdin=input is not None) as process:
            feeder = _feed(process, input) if input is not None else None
            with deadline(process, timeout) as expired:
                output = process.stdout.read()
                if not expired.is_set():
                    rc = process.wait(timeout)
            if expired.is_set():
                raise DeadlineExceeded(
                    f"{argv[0]} on {self.label} did not end within {timeout:g} s and was stopped.",
                    hint="Raise the limit if the work is that long, or look for what it waits for.",
                    seconds=timeout,
                )
            if feeder:
                feeder.join(1)
            result = Completed(tuple(argv), rc, output, process.errors(), time.monotonic() - started)
        if check and result.rc != 0:
            raise failure(self, result)
        return result

    def read_text(self, path: str) -> str:
        """The text of a file at the site; raises CommandFailed if it cannot be read."""
        return self.run(["cat", "--", path]).text


def failure(site: Site, result: Completed) -> CommandFailed:
    """The error for a program that failed: names it, its site and the end of what it said, masked."""
    redactor = Redactor()  # it knows no secret of the stack; who shows the error does
    said = redactor.text(result.stderr.strip() or result.text.strip()[-2000:])
    last = said.splitlines()[-1] if said else "it said nothing"
    return CommandFailed(
        f"{Path(result.argv[0]).name} failed on {site.label} with exit code {result.rc}: {last}",
        argv=[redactor.text(word) for word in result.argv],
        rc=result.rc,
        stderr=said[-4000:],
    )


def _feed(process: Process, data: bytes) -> threading.Thread:
    def write() -> None:
        assert process.stdin is not None
        # The program may end without reading all: its exit code says whether that was right.
        with contextlib.suppress(BrokenPipeError, ConnectionError, ValueError):
            process.stdin.write(data)
            process.stdin.close()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


@contextlib.contextmanager
def deadline(process: Process, seconds: float | None) -> Iterator[threading.Event]:
    """End ``process`` when the block takes longer; the event then says so. None: it may take as long as it does."""
    expired = threading.Event()

    def end() -> None:
        expired.set()
        process.end()

    timer = threading.Timer(seconds, end) if seconds else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield expired
    finally:
        if timer:
            timer.cancel()


class _HostProcess(Process):
    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        assert popen.stdout is not None and popen.stderr is not None
        self._popen = popen
        self.stdin = popen.stdin
        # Popen gives both streams raw where standard input must be: reading lines from a raw one is a call a byte.
        out = popen.stdout
        self.stdout = io.BufferedReader(out, CHUNK) if isinstance(out, io.RawIOBase) else out
        self._stderr = popen.stderr
        self._tail = bytearray()
        self._drain = threading.Thread(target=self._collect, daemon=True)
        self._drain.start()

    def _collect(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            while chunk := os.read(self._stderr.fileno(), CHUNK):
                self._tail += chunk
                keep_ends(self._tail)

    def wait(self, timeout: float | None = None) -> int:
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise DeadlineExceeded(f"{self._popen.args!r} still runs after {timeout} s.", seconds=timeout) from None

    def end(self) -> None:
        if self._popen.poll() is None:
            # A group of its own (start_new_session), so that children of a shell end as well.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()

    def errors(self) -> str:
        if self._popen.poll() is not None:
            self._drain.join(1)
        return bytes(self._tail).decode("utf-8", "replace")


class HostSite(Site):
    """Programs run on this host as this user, or through ``become``, an argv prefix: ``sudo -n -u postgres``."""

    def __init__(self, become: Sequence[str] = ()) -> None:
        self.label = "this host"
        self.become = tuple(become)
        self.sees_this_host = not self.become

    def popen(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: bool = False,
    ) -> Process:
        try:
            return _HostProcess(
                subprocess.Popen(
                    [*self.become, *argv],
                    stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env={**os.environ, **(env or {})},
                    cwd=cwd,
                    start_new_session=True,
                    bufsize=0 if stdin else -1,
                )
            )
        except OSError as error:
            raise Unavailable(
                f"{argv[0]} cannot be started on {self.label}: {error.strerror}.",
                hint="Check that it is installed there and that the path in the inventory is right.",
            ) from error

    def environment(self) -> dict[str, str]:
        return dict(os.environ)
