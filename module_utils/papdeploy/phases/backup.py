"""The phase backup: take a backup, prove it, record it in the journal of its release if any, apply retention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from .. import backup, databases
from ..app.stack import Stack
from ..backup import acceptance, pgbackrest
from ..backup.retention import Settings
from ..core.durable import private_folder
from ..core.errors import PapError, Refused
from ..core.records import recorded
from ..releases.parts import FailureData
from ..releases.run import Run
from . import retention
from .progress import Progress
from .result import Printed, Result

ENGINES = ("pg_dump", "pgbackrest")


@dataclass(frozen=True)
class Options:
    """What the inventory decides about backups. Above ``ask_above_gb`` a full proof is not begun. ``keep`` is a count,
    ``keep_days`` and ``keep_failed_days`` are days; with 0, what rollbacks quarantined stays until it is dropped by
    hand. ``hold``: what is not removed, by file name, SHA-256, release or database; or "all". ``accept``: differences
    between the database and its copy that are known (``backup.acceptance``)."""

    proof: str = "full"
    ask_above_gb: float = 100
    keep_copy: bool = False
    verify: str = ""
    encrypt: Mapping[str, Any] = field(default_factory=dict)
    keep: int = 10
    keep_days: float = 14
    keep_failed_days: float = 0
    hold: Sequence[str] = ()
    accept: Sequence[Mapping[str, Any]] = ()
    engine: str = "pg_dump"
    pgbackrest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def retention(self) -> Settings:
        proof = self.proof if self.engine == "pg_dump" else ""
        return Settings(self.keep, self.keep_days, self.keep_failed_days, proof)


@dataclass(frozen=True)
class Taken(Result):
    """``backup``: as its manifest, or pgBackRest, has it."""

    changed: bool = False
    backup: Optional[Mapping[str, Any]] = None


def run(stack: Stack, release: str, who: Run, options: Options, *, check_mode: bool = False) -> Taken:
    """Take a backup and prove it, or prove an existing one. Without a release, it holds the deploy lock for ``who``: a
    deploy removes the copies that others left. Raises PapError if the backup fails or is not proven. In check mode
    it only says what the next backup would remove."""
    if check_mode:
        lines = retention.forecast(stack, options.retention, options.hold)
        return Taken(Printed("retention", lines), changed=not options.verify)
    databases.refuse_other_stack(stack.database)
    if options.verify:
        with stack.state.lock.by(who).alone("verify"), Progress(stack.state.folder, "backup", stack.redactor) as say:
            expected = backup.Expected(stack=stack.name, database=stack.database.conninfo.dbname)
            proven = _verified(stack, options, expected, say)
        return Taken(Printed("backup", proven.lines()), backup=proven.backup.as_dict())
    if release:
        with stack.state.working(release) as journal:
            with journal.checkpoint("backup") as done:
                made = _take(stack, release, options)
                done.update(made.as_dict())
            removal = _apply_retention(stack, release, made, options).noted(journal)
    else:
        with stack.state.lock.by(who).alone("manual") as name:
            made = _take(stack, name, options)
            removal = _apply_retention(stack, name, made, options)
    return Taken(Printed("backup", [*made.lines(), *removal.lines]), True, made.as_dict())


def _verified(stack: Stack, options: Options, expected: backup.Expected, say: Progress) -> backup.Restored:
    """Prove the backup ``options.verify`` again, and tell retention whether it is damaged."""
    known = backup.load_manifest(options.verify)
    path, sha256 = str(known.path), known.manifest.sha256
    encryption = backup.Encryption.of(options.encrypt)
    try:
        proven = backup.verify(stack.database, path, expected=expected, encryption=encryption, emit=say)
    except PapError as error:
        found = recorded(FailureData, error.data)
        if found.damaged or found.differences:
            retention.judged(stack.state, path, sha256, error.message)
        raise
    retention.judged(stack.state, path, sha256, "")
    return proven


def _take(stack: Stack, release: str, options: Options) -> Union[backup.Backup, pgbackrest.Recorded]:
    if options.engine not in ENGINES:
        raise Refused(f"A backup by {options.engine!r} is not known.", hint=f"Choose one of {', '.join(ENGINES)}.")
    database = stack.database.as_release(release)
    if options.engine == "pgbackrest":
        return pgbackrest.take(database, pgbackrest.PgBackRest.of(options.pgbackrest), release=release)
    with Progress(stack.state.folder, "backup", stack.redactor) as say:
        return backup.take(
            database,
            private_folder(stack.state.backups_folder),
            stack=stack.name,
            release=release,
            proof=options.proof,
            chosen=options.proof != "full",
            limits=backup.Limits(ask_above_bytes=int(options.ask_above_gb * 1000**3)),
            keep_scratch=options.keep_copy,
            encryption=backup.Encryption.of(options.encrypt),
            accept=acceptance.of(options.accept),
            emit=say,
        )


def _apply_retention(
    stack: Stack, run: str, made: Union[backup.Backup, pgbackrest.Recorded], options: Options
) -> retention.Done:
    """Remove what retention no longer keeps, now that there is a newer backup."""
    fresh = [str(made.path)] if isinstance(made, backup.Backup) else []
    return retention.apply(stack, options.retention, options.hold, run=run, fresh=fresh)
