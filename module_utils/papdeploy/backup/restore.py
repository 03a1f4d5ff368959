"""Restore a backup into a new database and compare it: for a proof of an old file, and for rollback."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from ..core.errors import CommandFailed, PapError, Refused, VerificationFailed
from ..core.text import plural, seconds
from ..databases import content_digest, lifecycle, owner_login
from ..databases.managed_names import maintenance
from ..databases.psql import Database
from ..sites.host import HostSite
from . import acceptance, archive, copy_progress, files, ran_as_superuser, steps
from .encryption import Encryption
from .manifest import ANYTHING, Backup, Expected, inspect
from .pipeline import Emit, Pipeline, silent
from .restore_errors import advise


@dataclass(frozen=True)
class Restored:
    """A backup restored into ``database`` and found equal; ``seconds`` is the recovery time to quote."""

    backup: Backup
    database: Database
    seconds: float
    notes: Sequence[str] = ()

    def lines(self) -> list[str]:
        """What was found, for a person."""
        return [
            f"{self.backup.path.name}: sound, restored in {seconds(self.seconds)} and compared:"
            f" {self.backup.manifest.counted}",
            *(f"note: {note}" for note in self.notes),
        ]


def restore(
    database: Database,
    path: Path | str,
    *,
    release: str,
    expected: Expected = ANYTHING,
    kind: str = "restored",
    encryption: Optional[Encryption] = None,
    deadline_s: Optional[float] = None,
    emit: Emit = silent,
) -> Restored:
    """Restore the backup at ``path`` into a new database ``<live>__<kind>_<release>`` and compare the content digests.

    ``database`` carries the live name and is not touched. The archive is read and hashed before anything is created.
    Raises Refused for a damaged backup or one that is not the expected one, VerificationFailed if the copy is not
    equal; the new database is then gone again.
    """
    started = time.monotonic()
    backup = restorable(database, path, expected, encryption)
    target = lifecycle.create_empty(database, release, kind, traits=backup.manifest.properties)
    ran: list[str] = []
    try:
        # The API is to work on a restored one at once.
        ready = fill(target, backup, encryption, analyze=kind == "restored", deadline_s=deadline_s, emit=emit, ran=ran)
        owner_login.shut_out(target)
    except BaseException:
        with contextlib.suppress(PapError):
            lifecycle.drop_created(database, release, (kind,))
        raise
    seconds = ready - started
    if kind == "restored":
        lifecycle.note_proven(database, target.conninfo.dbname, release, backup.manifest.sha256)
    return Restored(backup, target, seconds, ran)


def restorable(database: Database, path: Path | str, expected: Expected, encryption: Optional[Encryption]) -> Backup:
    """The backup at ``path``, read and hashed whole; raises Refused if it is damaged, not the expected one, closed, or
    cannot be restored by the programs and into the server of ``database``, and compared."""
    backup = inspect(path, expected)
    manifest = backup.manifest
    _refuse_closed(backup, encryption)
    if manifest.proof.kind == "schema" and not backup.digest.tables:
        raise Refused(f"{backup.path.name} holds no count of its rows, so a copy could not be compared.")
    facts = maintenance(database).facts()  # the live name may be behind a fence
    if manifest.major > facts.major:
        raise Refused(
            f"{backup.path.name} was made on PostgreSQL {manifest.major}; this is {facts.major}.",
            hint="Restore it on a server of that version or newer.",
        )
    archive.refuse_clients(database, facts.major)
    return backup


def fill(
    target: Database,
    backup: Backup,
    encryption: Optional[Encryption],
    *,
    analyze: bool = True,
    deadline_s: Optional[float] = None,
    emit: Emit = silent,
    notes: Optional[list[str]] = None,
    ran: Optional[list[str]] = None,
) -> float:
    """Restore ``backup`` into the empty database ``target`` and compare it with the content digest; raises
    VerificationFailed if it is not equal. Returns when it was ready to be used (monotonic seconds), before the
    comparison.

    ``notes`` takes what a newer major version of the server describes in other words; without it, that is a difference
    too. ``ran`` takes what ran with the rights of a superuser.
    """
    manifest = backup.manifest
    original = backup.digest  # says now if this version cannot compare it
    key = encryption if manifest.encryption else None
    facts = target.facts()
    archive.bare(target, public="public" in original.catalog, plpgsql="extension plpgsql" in original.of_database)
    copy = archive.restoring(target, facts)
    pipeline = Pipeline(deadline=time.monotonic() + deadline_s if deadline_s else None)
    fires = steps.fire(original, facts.major) and not archive.in_parts(copy, key)
    method = steps.method_by(target, manifest.needs_superuser, manifest.may_own, needs_steps=True, fires=fires)
    with copy.session() as session:
        trusted = ran_as_superuser.superusers(session)
    with copy_progress.told(emit, target, manifest.database_bytes), _advised(target):
        if method.in_steps:
            steps.restore_in_steps(copy, method, backup.path, key, pipeline)
        else:
            _in_one_go(copy, backup.path, key, pipeline)
    if files.sha256_of(backup.path)[0] != manifest.sha256:
        raise VerificationFailed(f"{backup.path} changed while it was being restored.")
    if ran is not None:
        with copy.session() as session:
            ran += ran_as_superuser.notes(session, method.unconfined, trusted)
    if analyze:
        emit({"event": "step", "step": "gathering the planner's statistics"})
        copy.analyze()
    ready = time.monotonic()
    emit({"event": "step", "step": f"hashing {plural(manifest.rows, 'row')} of the copy to compare them"})
    newer = notes is not None and facts.major > manifest.major
    compare: Callable[..., content_digest.Found] = content_digest.look_across if newer else content_digest.look
    copied = content_digest.take(copy)
    found = compare(original, copied, moving=manifest.sequences_after, accepted=manifest.accepted_ids)
    if notes is not None:
        notes += found.notes
    acceptance.refuse(
        found.faults,
        "The restored database is not equal to the backup",
        "It was dropped again. Look at the differences before you use this backup.",
    )
    return ready


def _in_one_go(copy: Database, path: Path, key: Optional[Encryption], pipeline: Pipeline) -> None:
    """As the administrating role: the rows as a stream, and the indexes after them where the file can be opened."""
    parted = archive.in_parts(copy, key)
    argv = archive.restore_argv(copy, *(archive.ROWS_FIRST if parted else ()))
    environment = copy.environment(archive.RESTORE_SETTINGS)
    pipeline.read_only(lambda: copy.site.popen(argv, env=environment, stdin=True), path, key)
    if parted:
        pipeline.finish(copy, path)


@contextlib.contextmanager
def _advised(target: Database) -> Iterator[None]:
    try:
        yield
    except CommandFailed as error:
        advise(error, target)
        raise


def _refuse_closed(backup: Backup, encryption: Optional[Encryption]) -> None:
    used = backup.manifest.encryption
    if used and (encryption is None or encryption.method != used.method):
        raise Refused(
            f"{backup.path.name} is encrypted by {used.method}.",
            hint="Set backup_encrypt to that method, with the identity that opens it.",
        )


def must_open(backup: Backup, encryption: Optional[Encryption]) -> None:
    """Open an encrypted backup to its end, and keep nothing; raises Refused if ``encryption`` cannot."""
    _refuse_closed(backup, encryption)
    if not backup.manifest.encryption or encryption is None:
        return
    argv = encryption.decrypt_argv()
    try:
        Pipeline().read_only(lambda: HostSite().popen(archive.READ_BACK, stdin=True), backup.path, encryption)
    except PapError as error:
        raise Refused(
            f"{backup.path.name} cannot be opened by {argv[0]}: {error.message}",
            hint="Set backup_encrypt.identity to the key that opens it, readable for the user that the modules run as.",
        ) from error


def verify(
    database: Database,
    path: Path | str,
    *,
    expected: Expected = ANYTHING,
    release: str = "verify",
    encryption: Optional[Encryption] = None,
    deadline_s: Optional[float] = None,
    emit: Emit = silent,
) -> Restored:
    """Prove a backup file again: identity, checksum, a whole restore into a scratch database, comparison; then the
    scratch database is dropped. Raises as ``restore`` does."""
    restored = restore(
        database,
        path,
        release=release,
        expected=expected,
        kind="scratch",
        encryption=encryption,
        deadline_s=deadline_s,
        emit=emit,
    )
    lifecycle.drop_created(database, release, ("scratch",))
    return restored
