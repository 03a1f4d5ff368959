"""Dump and restore as streams: dump to a file, and from that file, while it grows, into a database.

The reader follows the file instead of sharing the dump's pipe: a slow restore never holds back the dump (and the
snapshot that it keeps open), and what is restored is what lies on disk. Both sides hash what passes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Callable, Optional

from ..core.errors import CommandFailed, DeadlineExceeded, PapError, VerificationFailed
from ..core.text import plural
from ..databases.psql import Database
from ..sites.host import HostSite, Process
from .archive import RESTORE_SETTINGS, rest_argv, the_rest
from .encryption import Encryption

Emit = Callable[[dict[str, Any]], None]
CHUNK = 1 << 20
_LAST_WORDS_S = 3.0


def silent(_: object) -> None:
    """No progress wanted."""


@dataclass(frozen=True)
class Streamed:
    """What passed: ``sha256`` and ``bytes`` of the file as it was written and as it was read back, seconds of each."""

    sha256: str
    bytes: int
    read_sha256: str
    dump_s: float
    restore_s: float


class Pipeline:
    """A dump into ``file`` and, at the same time, a reader of that file. Any failure ends all of it."""

    def __init__(self, *, deadline: Optional[float] = None) -> None:
        self._deadline = deadline
        self._grown = threading.Condition()
        self._written = 0
        self._complete = False
        self._failed: Optional[BaseException] = None
        self._failed_at = 0.0
        self._processes: list[Process] = []
        self._output = bytearray()  # of the last reader: a list, or nothing

    @property
    def written(self) -> int:
        """Bytes of the file so far."""
        return self._written

    def run(
        self,
        dump: Callable[[], Process],
        reader: Callable[[], Process],
        path: Path,
        file: IO[bytes],
        encryption: Optional[Encryption],
        *,
        decrypt: bool = True,
    ) -> Streamed:
        """``dump`` and ``reader`` start the two programs; ``path`` is ``file``'s name. Without ``decrypt`` the reader
        gets the ciphertext."""
        started = time.monotonic()
        sha, size, read_sha, dump_s = "", 0, "", 0.0
        with contextlib.ExitStack() as stack:
            producer = self._add(stack, dump())
            consumer = self._add(stack, reader())
            into = out = None
            if encryption:
                into = self._add(stack, HostSite().popen(encryption.encrypt_argv(), stdin=True))
            if encryption and decrypt:
                out = self._add(stack, HostSite().popen(encryption.decrypt_argv(), stdin=True))

            def write() -> None:
                nonlocal sha, size, dump_s
                sha, size = self._write(producer, into, file)
                dump_s = time.monotonic() - started

            def read() -> None:
                nonlocal read_sha
                with path.open("rb", buffering=0) as again:
                    read_sha = self._read(again, out or consumer)

            jobs: list[Callable[[], None]] = [write, read]
            if into:
                jobs.append(lambda: self._copy_out(into, file))
            if out:
                jobs.append(lambda: self._pump(out, consumer))
            jobs.append(lambda: self._drain(consumer))
            self._together(jobs)
            restored = time.monotonic() - started
        if into:
            sha, size = self._cipher.hexdigest(), self._written
        return Streamed(sha, size, read_sha, dump_s, restored)

    def read_only(
        self, reader: Callable[[], Process], path: Path, encryption: Optional[Encryption], *, whole: bool = True
    ) -> tuple[str, float]:
        """Feed a finished file to ``reader``; the SHA-256 of what was fed, and seconds. Without ``whole`` it ends when
        the reader wants no more."""
        started = time.monotonic()
        sha = ""
        self._complete, self._written = True, path.stat().st_size
        with contextlib.ExitStack() as stack:
            consumer = self._add(stack, reader())
            out = self._add(stack, HostSite().popen(encryption.decrypt_argv(), stdin=True)) if encryption else None

            def read() -> None:
                nonlocal sha
                with path.open("rb", buffering=0) as again:
                    sha = self._read(again, out or consumer, whole)

            jobs: list[Callable[[], None]] = [read, lambda: self._drain(consumer)]
            if out:
                jobs.append(lambda: self._pump(out, consumer, whole))
            self._together(jobs)
        return sha, time.monotonic() - started

    def listed(self, target: Database, path: Path, encryption: Optional[Encryption], *options: str) -> str:
        """The list of the finished archive, or of the part of it that ``options`` choose."""
        argv = [target.program("pg_restore"), "--list", *options]
        self._output.clear()
        self.read_only(lambda: target.site.popen(argv, stdin=True), path, encryption, whole=False)
        return self._output.decode("utf-8", "surrogateescape")

    def step(
        self,
        target: Database,
        argv: Sequence[str],
        path: Path,
        encryption: Optional[Encryption],
        entries: Sequence[str],
    ) -> None:
        """Run a pg_restore that takes from its standard input the list ``entries``, if it opens the finished archive
        itself, and else the archive."""
        environment = target.environment(RESTORE_SETTINGS)
        if str(path) not in argv:
            self.read_only(lambda: target.site.popen(argv, env=environment, stdin=True), path, encryption, whole=False)
            return
        with contextlib.ExitStack() as stack:
            consumer = self._add(stack, target.site.popen(argv, env=environment, stdin=True))
            wanted = "".join(f"{line}\n" for line in entries).encode("utf-8", "surrogateescape")
            self._together([functools.partial(_feed, consumer, wanted), functools.partial(self._drain, consumer)])

    def finish(self, target: Database, path: Path) -> float:
        """Restore from the finished file what a stream with ``ROWS_FIRST`` left out; seconds."""
        started = time.monotonic()
        for wanted in the_rest(target, path):
            self.step(target, rest_argv(target, path), path, None, wanted)
        return time.monotonic() - started

    def fail(self, error: BaseException) -> None:
        """End all of it because of ``error``, which is the one to hear of: what the programs say after it follows
        from it."""
        with self._grown:
            if self._failed is None:
                self._failed_at = time.monotonic()
            self._failed = error
            self._complete = True
            self._grown.notify_all()
        self._kill()

    def _add(self, stack: contextlib.ExitStack, process: Process) -> Process:
        self._processes.append(process)
        stack.enter_context(process)
        return process

    def _together(self, jobs: Sequence[Callable[[], None]]) -> None:
        def guarded(job: Callable[[], None]) -> None:
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - raised again below, in the caller's thread
                self._fail(error)

        threads = [threading.Thread(target=guarded, args=(job,), daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)
                now = time.monotonic()
                if self._deadline is not None and now > self._deadline and self._failed is None:
                    self._fail(DeadlineExceeded("The backup did not end within its time and was stopped."))
                if self._failed is not None and now > self._failed_at + _LAST_WORDS_S:
                    self._kill()
        if isinstance(self._failed, ConnectionError):
            raise CommandFailed(
                "A program of the backup stopped reading, without an error of its own."
            ) from self._failed
        if self._failed is not None:
            raise self._failed

    def _fail(self, error: BaseException) -> None:
        broken = isinstance(error, ConnectionError)  # a broken pipe: the program behind it says why, give it a moment
        with self._grown:
            if self._failed is None or (isinstance(self._failed, ConnectionError) and isinstance(error, PapError)):
                self._failed = error
                self._failed_at = time.monotonic()
            self._complete = True
            self._grown.notify_all()
        if not broken:
            self._kill()

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()

    def _write(self, producer: Process, into: Optional[Process], file: IO[bytes]) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        for chunk in _chunks(producer.stdout):
            if into:
                assert into.stdin is not None
                write_all(into.stdin, chunk)
            else:
                write_all(file, chunk)
                digest.update(chunk)
                self._advance(len(chunk))
            size += len(chunk)
        # Before the reader may take the file for whole: a dump that failed is reported as that, not as a cut archive.
        _ended(producer, "pg_dump")
        if into:
            assert into.stdin is not None
            into.stdin.close()
        else:
            self._finish_file()
        return digest.hexdigest(), size

    def _copy_out(self, into: Process, file: IO[bytes]) -> None:
        self._cipher = hashlib.sha256()
        for chunk in _chunks(into.stdout):
            write_all(file, chunk)
            self._cipher.update(chunk)
            self._advance(len(chunk))
        _ended(into, "the encryption")
        self._finish_file()

    def _advance(self, size: int) -> None:
        with self._grown:
            self._written += size
            self._grown.notify_all()

    def _finish_file(self) -> None:
        with self._grown:
            self._complete = True
            self._grown.notify_all()

    def _read(self, file: IO[bytes], consumer: Process, whole: bool = True) -> str:
        digest, fed, reading = hashlib.sha256(), 0, True
        while True:
            with self._grown:
                while not (self._written > fed or self._complete):
                    self._grown.wait()
                if self._failed is not None:
                    return ""
                end = self._complete and fed >= self._written
            if end or not (whole or reading):
                break
            chunk = file.read(CHUNK)
            if not chunk:
                raise VerificationFailed(
                    f"The backup file is shorter on disk than the {plural(fed, 'byte')} written to it."
                )
            digest.update(chunk)
            fed += len(chunk)
            reading = reading and _fed(consumer, chunk)
        _close(consumer)
        return digest.hexdigest()

    def _drain(self, consumer: Process) -> None:
        for chunk in _chunks(consumer.stdout):
            self._output += chunk  # pg_restore says nothing there when it writes to a database
        _ended(consumer, "pg_restore")

    def _pump(self, source: Process, target: Process, whole: bool = True) -> None:
        reading = True
        for chunk in _chunks(source.stdout):
            reading = reading and _fed(target, chunk)
            if not (whole or reading):
                source.kill()
                return
        # before the target sees the end: a wrong key is reported as that, not as a cut archive
        _ended(source, "the decryption")
        _close(target)


def _fed(reader: Process, data: bytes) -> bool:
    """Hand ``data`` on; False if the reader reads no more. That may be right (pg_restore of a schema needs no rows):
    its exit code tells."""
    assert reader.stdin is not None
    try:
        write_all(reader.stdin, data)
    except ConnectionError:
        return False
    return True


def _close(reader: Process) -> None:
    assert reader.stdin is not None
    with contextlib.suppress(ConnectionError):
        reader.stdin.close()


def _feed(reader: Process, data: bytes) -> None:
    _fed(reader, data)
    _close(reader)


def write_all(stream: IO[bytes], data: bytes) -> None:
    """An unbuffered stream may take less than it is given."""
    view = memoryview(data)
    while view:
        written = stream.write(view)
        view = view[written if written is not None else len(view) :]


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    read = getattr(stream, "read1", stream.read)
    while chunk := read(CHUNK):
        yield chunk


def _ended(process: Process, name: str) -> None:
    code = process.wait()
    if code != 0:
        said = process.errors().strip()
        telling = (
            [line for line in said.splitlines() if "error" in line.lower()] or said.splitlines() or ["it said nothing"]
        )
        entry = re.search(r"from TOC entry \d+; \d+ \d+ (.+)", said)
        at = f" (restoring {entry[1]})" if entry else ""
        raise CommandFailed(
            f"{name} failed with exit code {code}: {telling[0][:600]}{at}", rc=code, stderr=said[-4000:]
        )
