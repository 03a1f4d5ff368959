"""The copy that a rehearsal works on: the one that proved the backup, or one of its own with all, some or no rows."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Optional, cast

from .. import backup as backups
from .. import databases
from ..backup import copy_progress, steps
from ..backup.archive import READ_BACK, RESTORE_SETTINGS, restore_argv, restoring, what_dumps_need
from ..backup.pipeline import Emit, Pipeline, silent, write_all
from ..backup.restore_errors import next_step
from ..core.errors import CommandFailed, DeadlineExceeded
from ..core.text import plural
from ..databases import content_digest, disk, version_tables
from ..databases.psql import Database
from ..releases.records import Backup
from ..sites.host import CHUNK, HostSite
from . import sampling

LEDGER_SCHEMA = "pap_deploy"


@dataclass(frozen=True)
class Copy:
    """``database``: the copy. ``start``: its content digest before anything was done to it. ``data``: what rows
    it holds. ``taken``: the backup that it was restored from, if that is where it comes from. ``how``: for a person."""

    database: Database
    start: content_digest.ContentDigest
    data: str
    how: str
    seconds: float
    taken: Optional[backups.Backup] = None

    @property
    def name(self) -> str:
        return self.database.conninfo.dbname

    @property
    def restore_s(self) -> Optional[float]:
        """Seconds for restoring the backup that it comes from, and comparing what that gives."""
        if not self.taken:
            return None
        seconds = self.taken.manifest.seconds
        return seconds.restore + seconds.content_digest


@dataclass(frozen=True)
class Maker:
    """Makes the copy of ``live`` for ``release``, again if need be. ``backup``: the release's."""

    live: Database
    release: str
    data: str
    sample_rows: int
    backup: Optional[Backup] = None
    encryption: Optional[backups.Encryption] = None
    emit: Emit = silent

    def first(self, deadline: float) -> Copy:
        """The copy that the proof of the backup left, where it fits; else a new one. ``deadline`` is monotonic."""
        started = time.monotonic()
        taken = self._taken()
        if taken and taken.manifest.scratch and self._is_there(taken.manifest.scratch):
            copy = databases.expected(self.live, taken.manifest.scratch, self.release)
            databases.ready_for_rehearsal(self.live, copy)
            how = "the copy that proved the backup"
            return Copy(copy, taken.digest, "full", how, time.monotonic() - started, taken)
        return self.again(deadline)

    def again(self, deadline: float) -> Copy:
        """A fresh copy, in place of what was there; from the proven backup where that holds every row."""
        started = time.monotonic()
        taken = self._taken()
        remaining = max(1.0, deadline - started)
        if taken:
            restored = backups.restore(
                self.live,
                taken.path,
                release=self.release,
                kind="scratch",
                encryption=self.encryption,
                deadline_s=remaining,
                emit=self.emit,
            )
            databases.ready_for_rehearsal(self.live, restored.database)
            how = "the backup, restored again"
            return Copy(restored.database, taken.digest, "full", how, time.monotonic() - started, taken)
        if self.data == "full":
            size = int(self.live.scalar("SELECT pg_database_size(current_database()) AS size"))
            disk.check_copy(self.live, database_bytes=size, purpose="the copy for the rehearsal")
        copy = databases.create_empty(self.live, self.release, "scratch")
        if self.data == "full":
            with copy_progress.told(self.emit, copy, size):
                transfer(self.live, copy, [], deadline)
            how = "a copy of the live database"
        elif self.data == "schema":
            transfer(self.live, copy, ["--schema-only"], deadline)
            how = "the schema alone, without rows"
        else:
            stream = functools.partial(transfer, deadline=deadline)
            rows = sampling.copy_sample(self.live, copy, self.sample_rows, stream)
            how = f"a sample of {plural(rows, 'row')}"
        if self.data != "full" and (books := what_was_applied(self.live)):
            transfer(self.live, copy, books, deadline)
        databases.ready_for_rehearsal(self.live, copy)  # open to whom the live one is open, now that it is whole
        copy.analyze()
        start = content_digest.take(copy, ignore_schemas=(LEDGER_SCHEMA,))
        return Copy(copy, start, self.data, how, time.monotonic() - started)

    def drop(self) -> None:
        databases.drop_created(self.live, self.release, ("scratch",))

    def _taken(self) -> Optional[backups.Backup]:
        if self.data != "full" or not self.backup or not self.backup.path:
            return None
        taken = backups.load_manifest(self.backup.path)
        return taken if taken.manifest.proof.kind == "full" else None

    def _is_there(self, name: str) -> bool:
        return any(found.name == name for found in databases.existing(self.live))


def what_was_applied(live: Database) -> list[str]:
    """Options of pg_dump for the rows without which everything that was ever applied would be pending again: the ledger
    and Alembic's version tables. Empty if there are none."""
    tables = version_tables.patterns(live)
    if live.scalar(f"SELECT to_regclass('{LEDGER_SCHEMA}.ledger') IS NOT NULL AS t"):
        tables.append(f"{LEDGER_SCHEMA}.*")
    return ["--data-only", *(f"--table={table}" for table in tables)] if tables else []


def transfer(source: Database, target: Database, options: list[str], deadline: float) -> None:
    """pg_dump of ``source`` into pg_restore of ``target``, with nothing in between. Raises what the dump or the restore
    said, or DeadlineExceeded."""
    with source.session() as session:
        needs = what_dumps_need(session)
        method = steps.method_for(session, target, parted=False)
    quiet = restoring(target, source.facts())
    dump = source.tool("pg_dump", "--format=custom", "--compress=0", "--lock-wait-timeout=10000", *needs, *options)
    if method.in_steps:
        _in_steps(source, dump, quiet, method, deadline)
        return
    target = quiet if method.login is target else method.login
    restore = restore_argv(target)
    with contextlib.ExitStack() as stack:
        producer = stack.enter_context(source.site.popen(dump, env=source.environment()))
        consumer = stack.enter_context(target.site.popen(restore, env=target.environment(RESTORE_SETTINGS), stdin=True))
        expired = threading.Event()

        def end() -> None:
            expired.set()
            producer.end()
            consumer.end()

        clock = threading.Timer(max(0.1, deadline - time.monotonic()), end)
        clock.daemon = True
        clock.start()
        try:
            assert consumer.stdin is not None
            with contextlib.suppress(BrokenPipeError, ConnectionError, ValueError):  # its exit code says why
                while chunk := producer.stdout.read(CHUNK):
                    write_all(consumer.stdin, chunk)
                consumer.stdin.close()
            if not expired.is_set():
                consumer.stdout.read()
                dumped = ("pg_dump", source, producer, producer.wait())
                codes = [dumped, ("pg_restore", target, consumer, consumer.wait())]
        finally:
            clock.cancel()
        if expired.is_set():
            raise DeadlineExceeded("The copy was not made in time.", hint="Raise rehearse_deadline_s.")
        for name, database, process, code in codes:
            if code != 0:
                said = process.errors().strip().splitlines()
                telling = next((line for line in said if "error" in line.lower()), said[-1] if said else "no word")
                raise CommandFailed(
                    f"{name} failed on {database.site.label} while copying for the rehearsal: {telling}",
                    hint=next_step(source, "\n".join(said)),
                    rc=code,
                    stderr="\n".join(said)[-4000:],
                )


def _in_steps(
    source: Database, dump: list[str], target: Database, method: steps.RestoreMethod, deadline: float
) -> None:
    """The same by way of a file: what the superuser and the owner's login restore in turn is read several times."""
    pipeline = Pipeline(deadline=deadline)
    with tempfile.NamedTemporaryFile(prefix="pap-deploy-", buffering=0) as file:
        path = Path(file.name)
        pipeline.run(
            lambda: source.site.popen(dump, env=source.environment()),
            lambda: HostSite().popen(READ_BACK, stdin=True),
            path,
            cast("IO[bytes]", file),
            None,
        )
        steps.restore_in_steps(target, method, path, None, pipeline)


def keep_apart(copy: Copy, digest: content_digest.ContentDigest) -> content_digest.ContentDigest:
    """``digest`` without what a migration may move without a loss: sequences that went forward."""
    sequences = {
        schema: {name: _not_ahead(copy.start.sequences.get(schema, {}).get(name), now) for name, now in names.items()}
        for schema, names in digest.sequences.items()
    }
    return replace(digest, sequences=sequences)


def _not_ahead(before: Optional[content_digest.Position], now: content_digest.Position) -> content_digest.Position:
    return before if before is not None and now.order > before.order else now
