"""Take a backup and prove it: dump, restore and compare in one go."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Callable, Optional

from ..core import text
from ..core.durable import sync_folder
from ..core.errors import PapError, Refused
from ..core.records import as_object, plain
from ..databases import content_digest, disk, lifecycle, properties, write_snapshot
from ..databases.content_digest import ContentDigest
from ..databases.ledger_table import ledger_rows
from ..databases.psql import Database, ServerFacts, Session
from ..sites.host import HostSite, Process
from . import acceptance, archive, copy_progress, files, manifest, ran_as_superuser, rights, steps
from .encryption import Encryption
from .manifest import Backup
from .pipeline import Emit, Pipeline, Streamed, silent, write_all
from .provable import refuse_unprovable
from .restore_errors import explained

PROOFS = ("full", "schema", "none")


@dataclass(frozen=True)
class Limits:
    """``lock_wait_s``: seconds to wait for a table that something else has locked. ``deadline_s``: for all of it.
    ``ask_above_bytes``: a database above this size needs an explicit choice of the proof."""

    lock_wait_s: float = 30.0
    deadline_s: Optional[float] = None
    ask_above_bytes: int = 100 * 1000**3


LIMITS = Limits()


def take(
    database: Database,
    folder: Path | str,
    *,
    stack: str,
    release: str,
    proof: str = "full",
    compression: str = "auto",
    encryption: Encryption | Mapping[str, Any] | None = None,
    keep_scratch: bool = False,
    chosen: bool = False,
    limits: Limits = LIMITS,
    emit: Emit = silent,
    live: str = "",
    accept: Sequence[Mapping[str, Any]] = (),
    accepted_before: Sequence[Mapping[str, Any]] = (),
) -> Backup:
    """Dump ``database`` into ``folder`` and prove the dump by restoring it; returns the finished backup.

    ``proof``: "full" restores everything into a scratch database and compares it with the content digest of the dump's
    own snapshot; "schema" restores and compares no rows; "none" reads the archive through. ``chosen`` says that
    the caller chose that for a database above ``limits.ask_above_bytes``. ``keep_scratch`` leaves the restored copy for
    a rehearsal (``Backup.scratch``). ``live`` is the live name if ``database`` is behind the fence.
    ``accept``: known differences of the inventory (see ``acceptance``); ``accepted_before``: those that an earlier
    backup of the same release recorded, which need not be there any more.

    Nothing is left in the folder or on the server if it fails. Raises Refused before the first byte, CommandFailed if a
    program fails, PapError with ``differences`` if the restored copy is not equal.
    """
    accepted = [*acceptance.of(accept), *acceptance.recorded(accepted_before)]
    started, clock = time.time(), time.monotonic()
    deadline = clock + limits.deadline_s if limits.deadline_s else None
    encryption = Encryption.of(encryption)
    live = live or database.conninfo.dbname
    database = database.as_release(release)
    folder = files.secure_folder(Path(folder))
    manifest.settle(folder, stack, live)
    facts = database.facts()
    _refuse(database, facts, proof, chosen, limits, folder)
    if encryption and proof != "none":
        encryption.decrypt_argv()  # says now if nothing here could open it
    compression = archive.best_compression(database, compression)
    # Milliseconds: a release may take two within one second, before the fence and under it.
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(started)) + f".{int(started * 1000) % 1000:03d}Z"
    name = files.stem(stack, live, release, stamp) + ".dump" + (encryption.suffix if encryption else "")
    with contextlib.ExitStack() as stack_:
        stack_.enter_context(explained(database, folder, limits.lock_wait_s))
        path, file = stack_.enter_context(files.partial(folder, name))
        session = stack_.enter_context(content_digest.snapshot_session(database))
        refuse_unprovable(database, session, proof)
        beyond, trusted = rights.beyond_owners(session), ran_as_superuser.superusers(session)
        about = _about(session, database, live)
        scratch: Optional[Database] = None
        if proof != "none":
            scratch = stack_.enter_context(_scratch(database, release, live, keep_scratch, about))
        parted = proof == "full" and archive.in_parts(database, encryption)
        way = steps.way(session, scratch, parted=parted) if scratch else None
        job = _Streaming(
            database, archive.restoring(scratch, facts) if scratch else None, proof, compression, encryption,
            limits.lock_wait_s, deadline, emit, way,
        )  # fmt: skip
        streamed, rest_s, original = job.run(session, about, path, file)
        with database.session() as fresh:
            after = content_digest.read_sequences(fresh)
        if scratch is not None and proof == "full":
            emit({"event": "step", "step": f"hashing {text.plural(original.rows, 'row')} of the copy to compare them"})
        proved, found = _prove(job.scratch, proof, original, after, accepted)
        lived_with = acceptance.judge(found, accepted, all_match=not accepted_before) if proved else []
        if job.scratch is not None and keep_scratch:
            job.scratch.analyze()
        content = original if proved is None or proof != "full" else proved
        written = {
            "format": manifest.FORMAT,
            "stack": stack,
            "database": live,
            "release": release,
            "started": _utc(started),
            "ended": _utc(time.time()),
            "file": name,
            "bytes": streamed.bytes,
            "sha256": streamed.sha256,
            "compression": compression,
            "encryption": encryption.as_dict() if encryption else None,
            "system_identifier": facts.identifier,
            "database_oid": about["oid"],
            "database_bytes": about["bytes"],
            "server_version": facts.version,
            "tool_version": database.tool_version("pg_dump"),
            "ledger_head": about["ledger_head"],
            "mark": as_object(about["mark"]),
            "properties": as_object(about["properties"]),
            "roles": plain(about["roles"]),
            "tables": original.table_count,
            "rows": original.rows,
            "content_hash": content.digest,
            "content_digest": {**content.as_dict()},
            "sequences_after": as_object(after if proof != "full" else content.sequences),
            "notes": [*found.notes, *_ran_as_superuser(job, trusted)],
            "needs_superuser": beyond,
            "owners": rights.owners(session),
            "accepted": lived_with,
            "proof": {"kind": proof, "seconds": round(proved.seconds, 3) if proved else 0.0},
            "seconds": {
                "dump": round(streamed.dump_s, 3),
                "restore": round(streamed.restore_s + rest_s, 3),
                "content_digest": round(original.seconds, 3),
                "total": round(time.monotonic() - clock, 3),
            },
            "scratch": scratch.conninfo.dbname if scratch and keep_scratch else None,
        }
        written = manifest.body(written)
        sql = properties.as_sql(live, about["properties"], about["roles"], facts.version)
        _publish(path, file, folder / name, {manifest.GLOBALS: sql, manifest.SUFFIX: json.dumps(written, indent=1)})
        return Backup(folder / name, written)


@dataclass(frozen=True)
class _Streaming:
    """The dump of ``database`` into a file and, at the same time, from there into ``scratch``; after the dump, where
    several have to restore it (``way``)."""

    database: Database
    scratch: Optional[Database]
    proof: str
    compression: str
    encryption: Optional[Encryption]
    lock_wait_s: float
    deadline: Optional[float]
    emit: Emit
    way: Optional[steps.Way]

    @property
    def in_steps(self) -> bool:
        return self.way is not None and self.way.in_steps

    @property
    def restoring(self) -> Database:
        """The way to the copy by which it is restored in one go."""
        assert self.scratch and self.way
        by_login = self.way.login.conninfo.user != self.scratch.conninfo.user
        return self.way.login if by_login else self.scratch

    def run(
        self, session: Session, about: Mapping[str, Any], path: Path, file: IO[bytes]
    ) -> tuple[Streamed, float, ContentDigest]:
        """What passed, the seconds of what was restored after it, and what the original holds, all in the snapshot of
        ``session``."""
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
        with copy_progress.told(self.emit, self.scratch, int(about["bytes"]), lambda: pipeline.written):
            streamed = pipeline.run(
                lambda: self.database.site.popen(dump, env=self.database.environment()),
                lambda: self._reader(parted, opened),
                path,
                file,
                self.encryption,
                decrypt=opened and not self.in_steps,
            )
            began = time.monotonic()
            if self.scratch and self.way and self.in_steps:
                chosen = self._chosen(parted)
                steps.restore_in_steps(self.scratch, self.way, path, self.encryption, pipeline, *chosen)
            elif self.scratch and parted:
                pipeline.finish(self.restoring, path)
            rest_s = time.monotonic() - began
        if streamed.sha256 != streamed.read_sha256:
            raise PapError(
                "The backup that lies on disk is not the one that was written: their SHA-256 differ.",
                hint="Disk or memory of the target host damages data. Do not deploy; have the machine looked at.",
            )
        self.emit({"event": "step", "step": f"dumped {text.size(streamed.bytes)}; hashing the rows of the original"})
        return streamed, rest_s, taking.result()

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


def _ran_as_superuser(job: _Streaming, trusted: Sequence[str]) -> list[str]:
    """Notes of what ran with the rights of a superuser: while rows were restored, and definitions parsed."""
    if job.scratch is None or job.way is None:
        return []
    with job.scratch.session() as session:
        return ran_as_superuser.notes(session, job.way.unconfined, trusted)


def _refuse(database: Database, facts: ServerFacts, proof: str, chosen: bool, limits: Limits, folder: Path) -> None:
    if proof not in PROOFS:
        raise Refused(f"A proof {proof!r} is not known.", hint="backup_proof is full, schema or none.")
    archive.refuse_clients(database, facts.major)
    size = int(database.scalar("SELECT pg_database_size(current_database()) AS size"))
    if size > limits.ask_above_bytes and not chosen:
        raise Refused(
            f"The database has {text.size(size)}; restoring it as a proof takes that much disk and time.",
            hint="Choose for this stack: raise backup_ask_above_gb, or set backup_proof to schema or none.",
            bytes=size,
        )
    disk.check_backup(database, folder, database_bytes=size, proof=proof)


def _about(session: Session, database: Database, live: str) -> dict[str, Any]:
    """What the manifest says of the database, read in the dump's snapshot."""
    row = session.rows(
        "SELECT oid::int8 AS oid, pg_database_size(oid) AS bytes,"
        " EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public') AS public,"
        " EXISTS (SELECT FROM pg_extension WHERE extname = 'plpgsql') AS plpgsql"
        " FROM pg_database WHERE datname = current_database()"
    )[0]
    traits = properties.capture(session, database.conninfo.dbname)
    head = ledger_rows(session, "SELECT to_jsonb(l) AS entry FROM ledger AS l ORDER BY l.id DESC LIMIT 1")
    return {
        **row,
        "properties": traits,
        "roles": properties.roles_of(session),
        "mark": write_snapshot.take(session),
        "ledger_head": head[0]["entry"] if head else None,
        "live": live,
    }


@contextlib.contextmanager
def _scratch(database: Database, release: str, live: str, keep: bool, about: Mapping[str, Any]) -> Iterator[Database]:
    """The scratch database; dropped at the end, unless all went well and it is to be kept."""
    scratch = lifecycle.create_empty(database, release, "scratch", live=live)
    try:
        archive.bare(scratch, public=about["public"], plpgsql=about["plpgsql"])
        yield scratch
    except BaseException:
        with contextlib.suppress(PapError):  # the first error is the one to hear of; cleanup_leftovers finds it later
            lifecycle.drop_created(database.named(live), release, ("scratch",))
        raise
    if not keep:
        lifecycle.drop_created(database.named(live), release, ("scratch",))


def _prove(
    scratch: Optional[Database],
    proof: str,
    original: ContentDigest,
    after: content_digest.Positions,
    accepted: Sequence[acceptance.Acceptance],
) -> tuple[Optional[ContentDigest], content_digest.Found]:
    if scratch is None:
        return None, content_digest.Found()
    copy = content_digest.take(scratch, rows=proof == "full")
    left = original if proof == "full" else content_digest.schema_only(original)
    return copy, content_digest.look(left, copy, moving=after, accepted=[one.difference for one in accepted])


def _publish(path: Path, file: IO[bytes], final: Path, app_session: Mapping[str, str]) -> None:
    """Give the archive and the files ``beside`` it (text by suffix, the manifest last) their names. They are on disk
    before the first is renamed: who finds the archive without its manifest can finish this (``manifest.settle``)."""
    with contextlib.ExitStack() as stack:
        waiting: list[tuple[Path, IO[bytes], Path]] = [(path, file, final)]
        for suffix, text in app_session.items():
            name = final.name + suffix
            other, into = stack.enter_context(files.partial(final.parent, name))
            write_all(into, text.encode("utf-8", "surrogateescape"))
            os.fsync(into.fileno())
            waiting.append((other, into, final.with_name(name)))
        sync_folder(final.parent)
        undo = stack.enter_context(contextlib.ExitStack())
        for temporary, opened, named in waiting:
            files.commit(temporary, opened, named)
            undo.callback(named.unlink, missing_ok=True)
        undo.pop_all()  # it is complete


def _utc(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


class _InBackground:
    """A call in a thread; ``failed`` hears of its error at once, ``result`` waits for it and raises what it raised."""

    def __init__(self, call: Any, failed: Callable[[BaseException], None]) -> None:
        self._call: Any = call
        self._failed = failed
        self._value: Any = None
        self._error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again in result()
            self._error = error
            self._failed(error)

    def result(self) -> Any:
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value
