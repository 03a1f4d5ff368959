"""pg_dump and pg_restore as streams: dump to a file, and from that file, while it grows, into a database.

The reader follows the file instead of sharing the dump's pipe: a slow restore never holds back the dump (and the
snapshot that it keeps open), and what is restored is what lies on disk. Both sides hash what passes.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Callable, Optional

from ..core.text import plural
from ..errors import CommandFailed, DeadlineExceeded, PapError, Refused
from ..postgres import Database
from ..sites import HostSite, Process
from .crypt import Encryption

Emit = Callable[[dict[str, Any]], None]
CHUNK = 1 << 20
_LAST_WORDS_S = 3.0
METHODS = ("zstd:1", "lz4:1", "gzip:1")
OLDEST_SERVER = 14  # the catalog of 13 lacks what the oracle reads


def silent(_: dict[str, Any]) -> None:
    """No progress wanted."""


def refuse_clients(database: Database, major: int) -> None:
    """Raise Refused if a server of that version is too old, or if the client programs at the site cannot dump from it,
    or restore into it."""
    if major < OLDEST_SERVER:
        raise Refused(
            f"The database on {database.site.label} is PostgreSQL {major}; pap-deploy works from {OLDEST_SERVER} on.",
            hint="Upgrade the server first: that version gets no corrections any more.",
        )
    for program in ("pg_dump", "pg_restore"):
        version = database.tool_version(program)
        problem = ""
        if version < major:
            problem = f"older than the server ({major})"
        elif version >= 17 > major:
            problem = f"and a server of version {major} does not know a setting that it makes (transaction_timeout)"
        if problem:
            raise Refused(
                f"{program} on {database.site.label} is version {version}, {problem}.",
                hint=f"Set pap_db_bin_dir to the client programs of PostgreSQL {major}"
                f" (Debian: /usr/lib/postgresql/{major}/bin).",
            )


def best_compression(database: Database, wanted: str = "auto") -> str:
    """The compression for pg_dump: ``wanted``, or the first of zstd, lz4, gzip (level 1) that this build supports.

    The build is asked by a dump of nothing: it looks at its compression before it connects.
    """
    if wanted != "auto":
        if wanted in ("none", "0") or wanted.endswith(":0"):
            raise Refused(
                "Backups without compression are not made: a flipped bit in one goes unnoticed by pg_restore.",
                hint="Use auto, zstd:1, lz4:1 or gzip:1.",
            )
        return wanted
    if database.tool_version("pg_dump") < 16:
        return "gzip:1"
    for method in METHODS[:-1]:
        nowhere = "host='/nonexistent' dbname='x' connect_timeout='2'"
        argv = [database.program("pg_dump"), "--no-password", "-Fc", f"--compress={method}", f"--dbname={nowhere}"]
        tried = database.site.run(argv, env={"LC_ALL": "C.UTF-8"}, check=False)
        if "connection to server" in tried.stderr or "could not connect" in tried.stderr:
            return method
    return METHODS[-1]


def dump_argv(database: Database, *, snapshot: Optional[str], compression: str, lock_wait_s: float) -> list[str]:
    """pg_dump to standard output. Before 16 it knows gzip levels only."""
    compress = compression
    if database.tool_version("pg_dump") < 16:
        found = re.fullmatch(r"(?:gzip:?)?(\d?)", compression)
        if not found:
            raise Refused(f"pg_dump before 16 cannot compress by {compression}.", hint="Use gzip:1 or auto.")
        compress = found[1] or "1"
    options = ["--format=custom", f"--compress={compress}", f"--lock-wait-timeout={int(lock_wait_s * 1000)}"]
    if snapshot is not None:
        options.append(f"--snapshot={snapshot}")
    return database.tool("pg_dump", *options)


def restore_argv(target: Database, *options: str) -> list[str]:
    """pg_restore from standard input into ``target``. Subscriptions stay out: a copy must not start to replicate."""
    return target.tool("pg_restore", "--exit-on-error", "--no-subscriptions", *options)


def in_parts(target: Database, encryption: Optional[Encryption]) -> bool:
    """Whether pg_restore can open the archive itself: it sees this host's files, and they are not encrypted."""
    return encryption is None and target.site.sees_this_host


# The first part of a restore in parts: tables and their rows, from the stream.
ROWS_FIRST = ("--section=pre-data", "--section=data", "--no-privileges")


def the_rest(target: Database, path: Path) -> bytes:
    """The second part as a list for pg_restore: indexes, constraints, triggers, and all privileges. Those come last, as
    in a restore in one go: an owner may have no right to refer to its own table."""

    def listed(*options: str) -> list[str]:
        return target.site.run([target.program("pg_restore"), "--list", *options, str(path)]).text.splitlines()

    later = set(listed("--section=post-data"))
    chosen = [line for line in listed() if line in later or re.match(r"\d+; \d+ \d+ ACL ", line)]
    return "".join(f"{line}\n" for line in chosen).encode()


def rest_argv(target: Database, path: Path) -> list[str]:
    """pg_restore of the list on standard input, from the file, by two sessions at once."""
    return restore_argv(target, f"--jobs={JOBS}", "--use-list=/dev/stdin", str(path))


def read_through_argv(database: Database) -> list[str]:
    """pg_restore that reads and decompresses everything and writes nothing."""
    return database.tool("pg_restore", "--file=/dev/null", dbname_option=None)


# For a ciphertext that nobody here can open: it is read back and hashed, no more.
READ_BACK = ["sh", "-c", "exec cat >/dev/null"]


# A copy that can be made again need not wait for the disk; index builds get memory. For these sessions only.
RESTORE_SETTINGS = {
    "synchronous_commit": "off",
    "maintenance_work_mem": "256MB",
}


# Sessions that build indexes and check constraints at the same time, each with that memory.
JOBS = 2


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
        result: dict[str, Any] = {}
        with contextlib.ExitStack() as stack:
            producer = self._add(stack, dump())
            consumer = self._add(stack, reader())
            into = out = None
            if encryption:
                into = self._add(stack, HostSite().popen(encryption.encrypt_argv(), stdin=True))
            if encryption and decrypt:
                out = self._add(stack, HostSite().popen(encryption.decrypt_argv(), stdin=True))

            def write() -> None:
                result["written"] = self._write(producer, into, file)
                result["dump_s"] = time.monotonic() - started

            def read() -> None:
                with path.open("rb", buffering=0) as again:
                    result["read"] = self._read(again, out or consumer)

            jobs: list[Callable[[], None]] = [write, read]
            if into:
                jobs.append(lambda: self._copy_out(into, file))
            if out:
                jobs.append(lambda: self._pump(out, consumer))
            jobs.append(lambda: self._drain(consumer))
            self._together(jobs)
            restored = time.monotonic() - started
        sha, size = result["written"] if not into else (self._cipher.hexdigest(), self._written)
        return Streamed(sha, size, result["read"], result["dump_s"], restored)

    def read_only(
        self, reader: Callable[[], Process], path: Path, encryption: Optional[Encryption]
    ) -> tuple[str, float]:
        """Feed a finished file to ``reader``; the SHA-256 of what was fed, and seconds."""
        started = time.monotonic()
        result: dict[str, str] = {}
        self._complete, self._written = True, path.stat().st_size
        with contextlib.ExitStack() as stack:
            consumer = self._add(stack, reader())
            out = self._add(stack, HostSite().popen(encryption.decrypt_argv(), stdin=True)) if encryption else None

            def read() -> None:
                with path.open("rb", buffering=0) as again:
                    result["sha"] = self._read(again, out or consumer)

            jobs: list[Callable[[], None]] = [read, lambda: self._drain(consumer)]
            if out:
                jobs.append(lambda: self._pump(out, consumer))
            self._together(jobs)
        return result["sha"], time.monotonic() - started

    def finish(self, target: Database, path: Path) -> float:
        """Restore from the finished file what a stream with ``ROWS_FIRST`` left out; seconds."""
        started = time.monotonic()
        wanted = the_rest(target, path)
        environment = target.environment(RESTORE_SETTINGS)
        with contextlib.ExitStack() as stack:
            consumer = self._add(stack, target.site.popen(rest_argv(target, path), env=environment, stdin=True))

            def feed() -> None:
                assert consumer.stdin is not None
                write_all(consumer.stdin, wanted)
                consumer.stdin.close()

            self._together([feed, lambda: self._drain(consumer)])
        return time.monotonic() - started

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

    def _read(self, file: IO[bytes], consumer: Process) -> str:
        digest, fed = hashlib.sha256(), 0
        assert consumer.stdin is not None
        while True:
            with self._grown:
                while not (self._written > fed or self._complete):
                    self._grown.wait()
                if self._failed is not None:
                    return ""
                end = self._complete and fed >= self._written
            if end:
                break
            chunk = file.read(CHUNK)
            if not chunk:
                raise PapError(f"The backup file is shorter on disk than the {plural(fed, 'byte')} written to it.")
            digest.update(chunk)
            fed += len(chunk)
            write_all(consumer.stdin, chunk)
        consumer.stdin.close()
        return digest.hexdigest()

    def _drain(self, consumer: Process) -> None:
        for _ in _chunks(consumer.stdout):
            pass  # pg_restore says nothing there when it writes to a database
        _ended(consumer, "pg_restore")

    def _pump(self, source: Process, target: Process) -> None:
        assert target.stdin is not None
        for chunk in _chunks(source.stdout):
            write_all(target.stdin, chunk)
        # before the target sees the end: a wrong key is reported as that, not as a cut archive
        _ended(source, "the decryption")
        target.stdin.close()


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
        raise CommandFailed(f"{name} failed with exit code {code}: {telling[0][-600:]}", rc=code, stderr=said[-4000:])
