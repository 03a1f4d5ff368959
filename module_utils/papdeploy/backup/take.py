"""Take a backup and prove it: dump, restore and compare in one go."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Optional

from ..core import text
from ..core.durable import sync_folder
from ..core.errors import PapError, Refused
from ..databases import content_digest, disk, lifecycle, properties, write_snapshot
from ..databases.content_digest import ContentDigest, Positions
from ..databases.ledger_table import ledger_records
from ..databases.properties import Properties, Role
from ..databases.psql import Database, ServerFacts, Session
from ..databases.write_snapshot import Mark
from . import acceptance, archive, files, manifest, ran_as_superuser, rights, steps
from .acceptance import Acceptance, Accepted
from .encryption import Encryption
from .manifest import Backup, Manifest, Proof, Seconds
from .pipeline import Emit, silent, write_all
from .provable import refuse_unprovable
from .restore_errors import explained
from .retention import PROOFS
from .streaming import Dumped, Streaming


@dataclass(frozen=True)
class Limits:
    """``lock_wait_s``: seconds to wait for a table that something else has locked. ``deadline_s``: for all of it.
    ``ask_above_bytes``: a database above this size needs an explicit choice of the proof."""

    lock_wait_s: float = 30.0
    deadline_s: Optional[float] = None
    ask_above_bytes: int = 100 * 1000**3


LIMITS = Limits()


@dataclass(frozen=True)
class _Wanted:
    """What is to be taken, from where and into which folder. ``live`` is the live name of the database. What is
    ``accepted`` must be there, if ``all_match``. It began at ``started`` (epoch) and ``clock`` (monotonic)."""

    database: Database
    folder: Path
    stack: str
    release: str
    live: str
    proof: str
    encryption: Optional[Encryption]
    keep_scratch: bool
    accepted: Sequence[Acceptance]
    all_match: bool
    limits: Limits
    emit: Emit
    started: float = field(default_factory=time.time)
    clock: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        """Of the archive."""
        # Milliseconds: a release may take two within one second, before the fence and under it.
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self.started)) + f".{int(self.started * 1000) % 1000:03d}Z"
        suffix = self.encryption.suffix if self.encryption else ""
        return f"{files.stem(self.stack, self.live, self.release, stamp)}.dump{suffix}"

    @property
    def deadline(self) -> Optional[float]:
        return self.clock + self.limits.deadline_s if self.limits.deadline_s else None


def take(
    database: Database,
    folder: Path | str,
    *,
    stack: str,
    release: str,
    proof: str = "full",
    compression: str = "auto",
    encryption: Optional[Encryption] = None,
    keep_scratch: bool = False,
    chosen: bool = False,
    limits: Limits = LIMITS,
    emit: Emit = silent,
    live: str = "",
    accept: Sequence[Acceptance] = (),
    accepted_before: Sequence[Acceptance] = (),
) -> Backup:
    """Dump ``database`` into ``folder`` and prove the dump by restoring it; returns the finished backup.

    ``proof``: "full" restores everything into a scratch database and compares it with the content digest of the dump's
    own snapshot; "schema" restores and compares no rows; "none" reads the archive through. ``chosen`` says that
    the caller chose that for a database above ``limits.ask_above_bytes``. ``keep_scratch`` leaves the restored copy for
    a rehearsal (``Manifest.scratch``). ``live`` is the live name if ``database`` is behind the fence. ``accept``: known
    differences (see ``acceptance``); ``accepted_before``: those that an earlier backup of the same release recorded,
    which need not be there any more.

    Nothing is left in the folder or on the server if it fails. Raises Refused before the first byte, CommandFailed if a
    program fails, VerificationFailed with ``differences`` if the restored copy is not equal.
    """
    database, folder = database.as_release(release), files.secure_folder(Path(folder))
    live = live or database.conninfo.dbname
    accepted, all_match = [*accept, *accepted_before], not accepted_before
    wanted = _Wanted(
        database, folder, stack, release, live, proof, encryption, keep_scratch, accepted, all_match, limits, emit
    )
    manifest.settle(folder, stack, live)
    facts = _refuse(wanted, chosen)
    compression = archive.best_compression(database, compression)
    with explained(database, folder, limits.lock_wait_s), files.partial(folder, wanted.name) as (path, file):
        return _taken(wanted, facts, compression, path, file)


def _taken(wanted: _Wanted, facts: ServerFacts, compression: str, path: Path, file: IO[bytes]) -> Backup:
    """Into ``file``, whose name is ``path`` until all is proven."""
    with content_digest.snapshot_session(wanted.database) as session:
        original = _look(wanted, session)
        with _scratch(wanted, original) as scratch:
            job = _streaming(wanted, facts, session, scratch, compression)
            dumped = job.run(session, original.size.bytes, path, file)
            proven = _prove(wanted, job, dumped, original)
            written = _manifest(wanted, facts, session, original, job, dumped, proven)
            final = wanted.folder / wanted.name
            _publish(path, file, final, _beside(written, facts))
            return Backup(final, written)


def _refuse(wanted: _Wanted, chosen: bool) -> ServerFacts:
    """What the server says of itself; raises Refused for what can be known before anything is made."""
    facts = wanted.database.facts()
    if wanted.proof not in PROOFS:
        raise Refused(f"A proof {wanted.proof!r} is not known.", hint="backup_proof is full, schema or none.")
    archive.refuse_clients(wanted.database, facts.major)
    size = int(wanted.database.scalar("SELECT pg_database_size(current_database()) AS size"))
    if size > wanted.limits.ask_above_bytes and not chosen:
        raise Refused(
            f"The database has {text.size(size)}; restoring it as a proof takes that much disk and time.",
            hint="Choose for this stack: raise backup_ask_above_gb, or set backup_proof to schema or none.",
            bytes=size,
        )
    disk.check_backup(wanted.database, wanted.folder, database_bytes=size, proof=wanted.proof)
    if wanted.encryption and wanted.proof != "none":
        wanted.encryption.decrypt_argv()  # says now if nothing here could open it
    return facts


@dataclass(frozen=True)
class _Size:
    """The database as the server lists it, and whether it has what every new one has."""

    oid: int
    bytes: int
    public: bool
    plpgsql: bool


@dataclass(frozen=True)
class _Ledger:
    entry: object


@dataclass(frozen=True)
class _Original:
    """What is known of the database in the dump's snapshot. ``beyond``: what takes a superuser to restore;
    ``trusted``: who is one."""

    size: _Size
    properties: Properties
    roles: tuple[Role, ...]
    mark: Mark
    ledger_head: object
    beyond: tuple[str, ...]
    trusted: tuple[str, ...]


def _look(wanted: _Wanted, session: Session) -> _Original:
    refuse_unprovable(wanted.database, session, wanted.proof)
    beyond, trusted = rights.beyond_owners(session), ran_as_superuser.superusers(session)
    size = session.records(
        _Size,
        "SELECT oid::int8 AS oid, pg_database_size(oid) AS bytes,"
        " EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public') AS public,"
        " EXISTS (SELECT FROM pg_extension WHERE extname = 'plpgsql') AS plpgsql"
        " FROM pg_database WHERE datname = current_database()",
    )[0]
    traits = properties.capture(session, wanted.database.conninfo.dbname)
    newest = "SELECT to_jsonb(l) AS entry FROM ledger AS l ORDER BY l.id DESC LIMIT 1"
    head = next((row.entry for row in ledger_records(session, _Ledger, newest)), None)
    return _Original(
        size=size,
        properties=traits,
        roles=tuple(properties.roles_of(session)),
        mark=write_snapshot.take(session),
        ledger_head=head,
        beyond=tuple(beyond),
        trusted=tuple(trusted),
    )


@contextlib.contextmanager
def _scratch(wanted: _Wanted, original: _Original) -> Iterator[Optional[Database]]:
    """The scratch database, where the proof takes one; dropped at the end, unless all went well and it is kept."""
    if wanted.proof == "none":
        yield None
        return
    live = wanted.database.named(wanted.live)
    scratch = lifecycle.create_empty(wanted.database, wanted.release, "scratch", live=wanted.live)
    try:
        archive.bare(scratch, public=original.size.public, plpgsql=original.size.plpgsql)
        yield scratch
    except BaseException:
        with contextlib.suppress(PapError):  # the first error is the one to hear of; cleanup_leftovers finds it later
            lifecycle.drop_created(live, wanted.release, ("scratch",))
        raise
    if not wanted.keep_scratch:
        lifecycle.drop_created(live, wanted.release, ("scratch",))


def _streaming(
    wanted: _Wanted, facts: ServerFacts, session: Session, scratch: Optional[Database], compression: str
) -> Streaming:
    parted = wanted.proof == "full" and archive.in_parts(wanted.database, wanted.encryption)
    return Streaming(
        wanted.database,
        archive.restoring(scratch, facts) if scratch else None,
        wanted.proof,
        compression,
        wanted.encryption,
        wanted.limits.lock_wait_s,
        wanted.deadline,
        wanted.emit,
        steps.method_for(session, scratch, parted=parted) if scratch else None,
    )


@dataclass(frozen=True)
class _Proven:
    """``copy``: what the restored copy holds, where there is one. ``after``: the sequences after the dump."""

    copy: Optional[ContentDigest]
    after: Positions
    accepted: tuple[Accepted, ...] = ()
    notes: tuple[str, ...] = ()


def _prove(wanted: _Wanted, job: Streaming, dumped: Dumped, original: _Original) -> _Proven:
    """Compare the copy with the original; raises VerificationFailed if it is not equal but for what is accepted."""
    with wanted.database.session() as fresh:
        after = content_digest.read_sequences(fresh)
    if job.scratch is None:
        return _Proven(None, after)
    rows = wanted.proof == "full"
    left = dumped.original if rows else content_digest.schema_only(dumped.original)
    if rows:
        counted = text.plural(left.rows, "row")
        wanted.emit({"event": "step", "step": f"hashing {counted} of the copy to compare them"})
    copy = content_digest.take(job.scratch, rows=rows)
    found = content_digest.look(left, copy, moving=after, accepted=[one.difference for one in wanted.accepted])
    matched = acceptance.judge(found, wanted.accepted, all_match=wanted.all_match)
    if wanted.keep_scratch:
        job.scratch.analyze()
    return _Proven(copy, after, tuple(matched), (*found.notes, *_ran_as_superuser(job.scratch, job, original.trusted)))


def _ran_as_superuser(scratch: Database, job: Streaming, trusted: Sequence[str]) -> list[str]:
    """Notes of what ran with the rights of a superuser: while rows were restored, and definitions parsed."""
    if job.method is None:
        return []
    with scratch.session() as session:
        return ran_as_superuser.notes(session, job.method.unconfined, trusted)


def _manifest(
    wanted: _Wanted,
    facts: ServerFacts,
    session: Session,
    original: _Original,
    job: Streaming,
    dumped: Dumped,
    proven: _Proven,
) -> Manifest:
    full = wanted.proof == "full"
    content = proven.copy if full and proven.copy else dumped.original
    return Manifest(
        format=manifest.FORMAT,
        stack=wanted.stack,
        database=wanted.live,
        release=wanted.release,
        started=_utc(wanted.started),
        ended=_utc(time.time()),
        file=wanted.name,
        bytes=dumped.streamed.bytes,
        sha256=dumped.streamed.sha256,
        compression=job.compression,
        encryption=wanted.encryption.noted if wanted.encryption else None,
        system_identifier=facts.identifier,
        database_oid=original.size.oid,
        database_bytes=original.size.bytes,
        server_version=facts.version,
        tool_version=wanted.database.tool_version("pg_dump"),
        ledger_head=original.ledger_head,
        mark=original.mark,
        properties=original.properties,
        roles=original.roles,
        tables=dumped.original.table_count,
        rows=dumped.original.rows,
        content_hash=content.digest,
        content_digest=content.as_dict(),
        sequences_after=content.sequences if full else proven.after,
        notes=proven.notes,
        needs_superuser=original.beyond,
        owners=tuple(rights.owners(session)),
        accepted=proven.accepted,
        proof=Proof(wanted.proof, round(proven.copy.seconds, 3) if proven.copy else 0.0),
        seconds=Seconds(
            dump=round(dumped.streamed.dump_s, 3),
            restore=round(dumped.restore_s, 3),
            content_digest=round(dumped.original.seconds, 3),
            total=round(time.monotonic() - wanted.clock, 3),
        ),
        scratch=job.scratch.conninfo.dbname if job.scratch and wanted.keep_scratch else None,
    ).sealed()


def _beside(written: Manifest, facts: ServerFacts) -> dict[str, str]:
    """The files beside the archive, by suffix; the manifest last."""
    sql = properties.as_sql(written.database, written.properties, written.roles, facts.version)
    return {manifest.GLOBALS: sql, manifest.SUFFIX: json.dumps(written.as_json(), indent=1)}


def _publish(path: Path, file: IO[bytes], final: Path, beside: Mapping[str, str]) -> None:
    """Give the archive and the files ``beside`` it (text by suffix, the manifest last) their names. They are on disk
    before the first is renamed: who finds the archive without its manifest can finish this (``manifest.settle``)."""
    with contextlib.ExitStack() as stack:
        waiting: list[tuple[Path, IO[bytes], Path]] = [(path, file, final)]
        for suffix, text in beside.items():
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
