"""Take a backup and prove it: dump, restore and compare in one go."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Optional

from .. import disk
from .. import oracle as oracles
from ..core import storage, text
from ..core.durable import sync_folder
from ..databases import marks, moves, properties
from ..databases.ledger_table import ledger_rows
from ..errors import CommandFailed, PapError, Refused
from ..oracle import Oracle
from ..postgres import Database, ServerFacts, Session
from . import archive, files, growth, manifest
from .archive import Emit
from .crypt import Encryption
from .manifest import Backup

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
    emit: Emit = archive.silent,
    live: str = "",
) -> Backup:
    """Dump ``database`` into ``folder`` and prove the dump by restoring it; returns the finished backup.

    ``proof``: "full" restores everything into a scratch database and compares it with the oracle of the dump's own
    snapshot; "schema" restores and compares no rows; "none" reads the archive through. ``chosen`` says that
    somebody chose that for a database above ``limits.ask_above_bytes``. ``keep_scratch`` leaves the restored copy for a
    rehearsal (``Backup.scratch``). ``live`` is the live name if ``database`` is behind the fence.

    Nothing is left in the folder or on the server if it fails. Raises Refused before the first byte, CommandFailed if a
    program fails, PapError with ``differences`` if the restored copy is not equal.
    """
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
        path, file = stack_.enter_context(files.partial(folder, name))
        session = stack_.enter_context(oracles.snapshot_session(database))
        snapshot = str(session.scalar("SELECT pg_export_snapshot() AS id"))
        about = _about(session, database, live)
        scratch: Optional[Database] = None
        if proof != "none":
            scratch = stack_.enter_context(_scratch(database, release, live, keep_scratch, bool(about["public"])))
        taking = _InBackground(lambda: oracles.take(database, session=session, lock_timeout_s=limits.lock_wait_s))
        opened = encryption is None or proof != "none" or encryption.opens
        parted = proof == "full" and archive.in_parts(database, encryption)
        options = ["--schema-only"] if proof == "schema" else archive.ROWS_FIRST if parted else []
        reader = archive.restore_argv(scratch, *options) if scratch else archive.read_through_argv(database)
        if not opened:
            reader = archive.READ_BACK
        settings = archive.RESTORE_SETTINGS if scratch else {}
        dump = archive.dump_argv(database, snapshot=snapshot, compression=compression, lock_wait_s=limits.lock_wait_s)
        pipeline = archive.Pipeline(deadline=deadline)
        with growth.told(emit, scratch, int(about["bytes"]), lambda: pipeline.written):
            streamed = _explained(
                database,
                folder,
                limits.lock_wait_s,
                lambda: pipeline.run(
                    lambda: database.site.popen(dump, env=database.environment()),
                    lambda: database.site.popen(reader, env=(scratch or database).environment(settings), stdin=True),
                    path,
                    file,
                    encryption,
                    decrypt=opened,
                ),
            )
            rest_s = pipeline.finish(scratch, path) if scratch and parted else 0.0
        if streamed.sha256 != streamed.read_sha256:
            raise PapError(
                "The backup that lies on disk is not the one that was written: their SHA-256 differ.",
                hint="Disk or memory of the target host damages data. Do not deploy; have the machine looked at.",
            )
        emit({"event": "step", "step": f"dumped {text.size(streamed.bytes)}; hashing the rows of the original"})
        original = taking.result()
        with database.session() as fresh:
            after = oracles.read_sequences(fresh)
        if scratch is not None and proof == "full":
            emit({"event": "step", "step": f"hashing {text.plural(original.rows, 'row')} of the copy to compare them"})
        proved = _prove(scratch, proof, original, after)
        if scratch is not None and keep_scratch:
            scratch.analyze()
        content = original if proved is None or proof != "full" else proved
        final = folder / name
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
            "mark": about["mark"],
            "properties": about["properties"],
            "roles": about["roles"],
            "tables": original.table_count,
            "rows": original.rows,
            "oracle_digest": content.digest,
            "oracle": {**content.as_dict()},
            "sequences_after": after if proof != "full" else content.sequences,
            "notes": oracles.notes(original, proved) if proved else [],
            "proof": {"kind": proof, "seconds": round(proved.seconds, 3) if proved else 0.0},
            "seconds": {
                "dump": round(streamed.dump_s, 3),
                "restore": round(streamed.restore_s + rest_s, 3),
                "oracle": round(original.seconds, 3),
                "total": round(time.monotonic() - clock, 3),
            },
            "scratch": scratch.conninfo.dbname if scratch and keep_scratch else None,
        }
        written = manifest.body(written)
        sql = properties.as_sql(live, about["properties"], about["roles"], facts.version)
        _publish(path, file, final, {manifest.GLOBALS: sql, manifest.SUFFIX: json.dumps(written, indent=1)})
        return Backup(final, written)


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
        " EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public') AS public"
        " FROM pg_database WHERE datname = current_database()"
    )[0]
    traits = properties.capture(session, database.conninfo.dbname)
    head = ledger_rows(session, "SELECT to_jsonb(l) AS entry FROM ledger AS l ORDER BY l.id DESC LIMIT 1")
    return {
        **row,
        "properties": traits,
        "roles": properties.roles_of(session),
        "mark": marks.take(session),
        "ledger_head": head[0]["entry"] if head else None,
        "live": live,
    }


@contextlib.contextmanager
def _scratch(database: Database, release: str, live: str, keep: bool, public: bool) -> Iterator[Database]:
    """The scratch database; dropped at the end, unless all went well and it is to be kept."""
    scratch = moves.create_empty(database, release, "scratch", live=live)
    try:
        if not public:
            scratch.execute("DROP SCHEMA public")
        yield scratch
    except BaseException:
        with contextlib.suppress(PapError):  # the first error is the one to hear of; cleanup_leftovers finds it later
            moves.drop_created(database.named(live), release, ("scratch",))
        raise
    if not keep:
        moves.drop_created(database.named(live), release, ("scratch",))


def _prove(scratch: Optional[Database], proof: str, original: Oracle, after: oracles.Nested) -> Optional[Oracle]:
    if scratch is None:
        return None
    copy = oracles.take(scratch, rows=proof == "full")
    left = original if proof == "full" else oracles.schema_only(original)
    differences = oracles.compare(left, copy, moving=after)
    if differences:
        raise PapError(
            f"The backup is not equal to the database: {differences[0]}",
            hint="Do not deploy on this backup. The differences say what pg_dump did not carry or pg_restore changed.",
            differences=differences,
        )
    return copy


def _explained(database: Database, folder: Path, lock_wait_s: float, work: Any) -> archive.Streamed:
    try:
        result: archive.Streamed = work()
        return result
    except CommandFailed as error:
        # what pg_dump calls a statement timeout is its --lock-wait-timeout
        if not error.message.startswith("pg_dump") or "statement timeout" not in error.message:
            raise
        raise CommandFailed(
            f"A table stayed locked for more than {lock_wait_s:g} s, so it could not be dumped: {_lockers(database)}.",
            hint="Wait for that session or end it, then try again.",
            **error.data,
        ) from error
    except OSError as error:
        failure = storage.explained(error, folder)
        raise failure or PapError(
            f"The backup could not be written to {folder}: {os.strerror(error.errno or 0)}.",
            hint="The unfinished file was removed.",
        ) from error


def _lockers(database: Database) -> str:
    rows = database.rows(
        "SELECT DISTINCT l.relation::regclass::text AS name, a.pid, a.usename AS role,"
        " a.application_name AS app, a.state FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE l.locktype = 'relation' AND l.granted AND l.mode = 'AccessExclusiveLock'"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1 LIMIT 5"
    )
    parts = [f"{r['name']} by pid {r['pid']} ({r['role']}, {r['app'] or 'unnamed'}, {r['state']})" for r in rows]
    return "; ".join(parts) or "whoever held it is gone by now"


def _publish(path: Path, file: IO[bytes], final: Path, beside: Mapping[str, str]) -> None:
    """Give the archive and the files ``beside`` it (text by suffix, the manifest last) their names. They are on disk
    before the first is renamed: who finds the archive without its manifest can finish this (``manifest.settle``)."""
    with contextlib.ExitStack() as stack:
        waiting: list[tuple[Path, IO[bytes], Path]] = [(path, file, final)]
        for suffix, text in beside.items():
            name = final.name + suffix
            other, into = stack.enter_context(files.partial(final.parent, name))
            archive.write_all(into, text.encode("utf-8", "surrogatepass"))
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
    """A call in a thread; ``result`` waits for it and raises what it raised."""

    def __init__(self, call: Any) -> None:
        self._call: Any = call
        self._value: Any = None
        self._error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again in result()
            self._error = error

    def result(self) -> Any:
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value
