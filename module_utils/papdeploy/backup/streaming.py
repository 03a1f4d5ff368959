"""One backup as a stream: the dump into a file, from there into the copy, and the original hashed beside both."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Callable, Generic, Optional, TypeVar

from ..core import text
from ..core.errors import VerificationFailed
from ..databases import content_digest
from ..databases.content_digest import ContentDigest
from ..databases.psql import Database, Session
from ..sites.host import HostSite, Process
from . import archive, copy_progress, steps
from .encryption import Encryption
from .pipeline import Emit, Pipeline, Streamed

R = TypeVar("R")


@dataclass(frozen=True)
class Dumped:
    """What passed, the seconds of what was restored after it, and what the original holds."""

    streamed: Streamed
    rest_s: float
    original: ContentDigest

    @property
    def restore_s(self) -> float:
        return self.streamed.restore_s + self.rest_s


@dataclass(frozen=True)
class Streaming:
    """The dump of ``database`` into a file and, at the same time, from there into ``scratch``; after the dump, where
    several have to restore it (``method``)."""

    database: Database
    scratch: Optional[Database]
    proof: str
    compression: str
    encryption: Optional[Encryption]
    lock_wait_s: float
    deadline: Optional[float]
    emit: Emit
    method: Optional[steps.RestoreMethod]

    @property
    def in_steps(self) -> bool:
        return self.method is not None and self.method.in_steps

    @property
    def restoring(self) -> Database:
        """The connection by which the copy is restored in one go."""
        assert self.scratch and self.method
        by_login = self.method.login.conninfo.user != self.scratch.conninfo.user
        return self.method.login if by_login else self.scratch

    def run(self, session: Session, size: int, path: Path, file: IO[bytes]) -> Dumped:
        """Into ``file``, whose name is ``path``, in the snapshot of ``session``; the database has ``size`` bytes."""
        snapshot = str(session.scalar("SELECT pg_export_snapshot() AS id"))
        needs = archive.what_dumps_need(session)
        pipeline = Pipeline(deadline=self.deadline)
        # No snapshot holds sequences: what the dump finds lies between a reading before it and one after it.
        with self.database.session() as fresh:
            before = content_digest.read_sequences(fresh)
        taking = _InBackground(
            lambda: content_digest.take(
                self.database, snapshot=snapshot, lock_timeout_s=self.lock_wait_s, sequences=before
            ),
            pipeline.fail,
        )
        opened = self.encryption is None or self.proof != "none" or self.encryption.opens
        parted = self.proof == "full" and not self.in_steps and archive.in_parts(self.database, self.encryption)
        dump = archive.dump_argv(
            self.database, snapshot=snapshot, compression=self.compression, lock_wait_s=self.lock_wait_s, needs=needs
        )
        with copy_progress.told(self.emit, self.scratch, size, lambda: pipeline.written):
            streamed = pipeline.run(
                lambda: self.database.site.popen(dump, env=self.database.environment()),
                lambda: self._reader(parted, opened),
                path,
                file,
                self.encryption,
                decrypt=opened and not self.in_steps,
            )
            began = time.monotonic()
            if self.scratch and self.method and self.in_steps:
                chosen = self._chosen(parted)
                steps.restore_in_steps(self.scratch, self.method, path, self.encryption, pipeline, *chosen)
            elif self.scratch and parted:
                pipeline.finish(self.restoring, path)
            rest_s = time.monotonic() - began
        if streamed.sha256 != streamed.read_sha256:
            raise VerificationFailed(
                "The backup that lies on disk is not the one that was written: their SHA-256 differ.",
                hint="Disk or memory of the target host damages data. Do not deploy; have the machine looked at.",
            )
        self.emit({"event": "step", "step": f"dumped {text.size(streamed.bytes)}; hashing the rows of the original"})
        return Dumped(streamed, rest_s, taking.result())

    def _reader(self, parted: bool, opened: bool) -> Process:
        """Restores into the copy; without one, reads the archive through, or just its bytes."""
        if self.in_steps:
            return HostSite().popen(archive.READ_BACK, stdin=True)
        if self.scratch:
            argv = archive.restore_argv(self.restoring, *self._chosen(parted))
            environment = self.restoring.environment(archive.RESTORE_SETTINGS)
        else:
            argv = archive.read_through_argv(self.database) if opened else archive.READ_BACK
            environment = self.database.environment()
        return self.database.site.popen(argv, env=environment, stdin=True)

    def _chosen(self, parted: bool) -> Sequence[str]:
        return ["--schema-only"] if self.proof == "schema" else archive.ROWS_FIRST if parted else []


class _InBackground(Generic[R]):
    """A call in a thread; ``failed`` hears of its error at once, ``result`` waits for it and raises what it raised."""

    def __init__(self, call: Callable[[], R], failed: Callable[[BaseException], None]) -> None:
        self._call = call
        self._failed = failed
        self._value: R
        self._error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again in result()
            self._error = error
            self._failed(error)

    def result(self) -> R:
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value
