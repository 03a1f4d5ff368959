"""The restore point: what a rollback goes back to, made sure of under the fence."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Optional

from .. import backup as backups
from ..backup.acceptance import Acceptance
from ..backup.pipeline import Emit, silent
from ..core import text
from ..core.errors import PapError, Refused
from ..databases import content_digest, definitions, disk, lifecycle, live_state, write_snapshot
from ..databases.psql import Database, Session, identity_of
from ..releases.records import RestorePoint

KINDS = ("auto", "backup", "dump", "snapshot")
# Seconds for which hashing everything again under the fence is always worth it: it needs no disk.
CHEAP_S = 2.0
_COPY_BYTES_PER_S = 300e6  # a cautious rate of copying a database's files, where no rehearsal has measured it


def make(
    behind: Database,
    release: str,
    *,
    live: str,
    backup: str = "",
    kind: str = "auto",
    stack: str = "",
    folder: Path | str = "",
    encryption: Optional[backups.Encryption] = None,
    emit: Emit = silent,
    copy_s: Optional[float] = None,
) -> RestorePoint:
    """Make sure of a restore point for ``release``; ``behind`` is the database behind its fence.

    "backup": the proven backup (its path) if nothing was written since, which is known by hashing the whole content
    again under the fence; else refused. "dump": a second proven backup, into ``folder``. "snapshot": a copy by the
    server. "auto": the backup if looking is cheap and it holds, else a snapshot, else a dump where disk is short.
    ``copy_s``: seconds that copying took in the rehearsal.
    """
    if kind not in KINDS:
        raise Refused(f"A restore point of kind {kind!r} is not known.", hint=f"Choose one of {', '.join(KINDS)}.")
    started = time.monotonic()
    taken = backups.load_manifest(backup) if backup else None
    point: Optional[RestorePoint] = None
    why = ""
    # One session, and one of each owner, for all that is read: opening more is time that users wait.
    with content_digest.snapshot_session(behind) as session:
        fence_id = identity_of(session).mark
        size = int(session.scalar("SELECT pg_database_size(current_database()) AS size"))
        mark = write_snapshot.take(session)
        if kind in ("auto", "backup"):
            limit_s = max(CHEAP_S, usual_copy_s(size) if copy_s is None else copy_s) if kind == "auto" else None
            point, why = _from_backup(behind, session, taken, size, limit_s, emit=emit)
    if point is None and kind == "backup":
        raise Refused(
            f"The backup cannot be the restore point: {why}.",
            hint="Set migrate_restore_point to auto, dump or snapshot.",
        )
    if point is None and kind in ("auto", "snapshot"):
        point, why = _snapshot(behind, release, live, size, why, hard=kind == "snapshot", emit=emit)
    if point is None:
        known = taken.manifest.accepted if taken else ()
        point = _dump(behind, release, live, stack, folder, why, encryption, known, emit)
    seconds = round(time.monotonic() - started, 3)
    return replace(point, mark=mark, fence_id=fence_id or "", seconds=seconds)


def look_s(taken: backups.Backup) -> float:
    """Seconds for hashing the whole content again: as of the copy that proved the backup, with nothing beside it."""
    manifest = taken.manifest
    return manifest.proof.seconds or manifest.seconds.content_digest


def usual_copy_s(size: int) -> float:
    """Seconds for copying so many bytes, where it was not measured."""
    return size / _COPY_BYTES_PER_S + 0.1


def refuse_unproven(backup: str, purpose: str) -> backups.Backup:
    """The release's own backup (its path) as a restore point; raises Refused if it has none that was proven in full."""
    taken = backups.load_manifest(backup) if backup else None
    if taken is None or taken.manifest.proof.kind != "full":
        raise Refused(
            f"{purpose} needs a backup by pg_dump that was proven in full.",
            hint="Set backup_proof to full and backup_engine to pg_dump; or pap_mode to standard and"
            " migrate_restore_point to snapshot.",
        )
    return taken


def under_traffic(backup: str, live: Database) -> RestorePoint:
    """The restore point of a deploy without a fence: the proven backup. Raises Refused if there is none.

    Its mark is that of the backup: a rollback counts what was written since, and loses none of it unasked.
    """
    taken = refuse_unproven(backup, "A deploy without a fence")
    now = content_digest.take(live, rows=False)
    return RestorePoint(
        kind="backup",
        path=str(taken.path),
        sha256=taken.manifest.sha256,
        mark=taken.manifest.mark,
        defined_since=tuple(
            change.sentence for change in definitions.between(taken.digest, now, (live_state.LEDGER_SCHEMA,))
        ),
        seconds=0.0,
        sentence="restore point: the proven backup; the API writes on, so a restore would go back behind that",
    )


def _from_backup(
    behind: Database,
    session: Session,
    taken: Optional[backups.Backup],
    size: int,
    limit_s: Optional[float],
    *,
    emit: Emit,
) -> tuple[Optional[RestorePoint], str]:
    if taken is None:
        return None, "there is none"
    manifest = taken.manifest
    if manifest.proof.kind != "full":
        return None, f"it was proven by {manifest.proof.kind!r}, not in full"
    written = write_snapshot.since(session, manifest.mark)
    if written.anything:
        return None, f"written since the backup: {written.sentence()}"
    if limit_s is not None and look_s(taken) > limit_s:
        return None, f"hashing {text.size(size)} again would take about {text.age(look_s(taken))}"
    emit({"event": "step", "step": f"hashing {text.plural(manifest.rows, 'row')} again under the fence"})
    differences = content_digest.compare(
        taken.digest,
        content_digest.take(behind, session=session),
        accepted=manifest.accepted_ids,
    )
    if differences:
        return None, f"the database is not what was backed up: {differences[0]}"
    sentence = (
        "restore point: the proven backup; its whole content was hashed again under the fence and is equal"
        f" ({manifest.counted}), so nothing was written since"
    )
    return RestorePoint(kind="backup", path=str(taken.path), sha256=manifest.sha256, sentence=sentence), ""


def _snapshot(
    behind: Database, release: str, live: str, size: int, why: str, *, hard: bool, emit: Emit
) -> tuple[Optional[RestorePoint], str]:
    try:
        disk.check_copy(behind, database_bytes=size, purpose="a snapshot of the database")
        emit({"event": "step", "step": f"copying {text.size(size)} as the restore point"})
        made = lifecycle.snapshot(behind, release, live=live)
    except PapError as error:
        if hard:
            raise
        return None, f"{why}; no snapshot: {error.message}"
    because = f" ({why})" if why else ""
    sentence = (
        f"restore point: snapshot database {made.database}, {text.size(made.bytes or 0)}"
        f" in {text.seconds(made.seconds)} by file {made.method}{because}"
    )
    return RestorePoint(kind="snapshot", sentence=sentence, **vars(made)), ""


def _dump(
    behind: Database,
    release: str,
    live: str,
    stack: str,
    folder: Path | str,
    why: str,
    encryption: Optional[backups.Encryption],
    known: Sequence[Acceptance],
    emit: Emit,
) -> RestorePoint:
    if not folder or not stack:
        raise Refused(
            f"No restore point could be made: {why or 'there is nowhere to put a dump'}.",
            hint="Set migrate_restore_point to snapshot.",
        )
    taken = backups.take(
        behind,
        folder,
        stack=stack,
        release=release,
        live=live,
        chosen=True,
        encryption=encryption,
        accepted_before=known,
        emit=emit,
    )
    because = f" ({why})" if why else ""
    sentence = f"restore point: a second backup under the fence, {taken.sentence()}{because}"
    return RestorePoint(kind="backup", path=str(taken.path), sha256=taken.manifest.sha256, sentence=sentence)
