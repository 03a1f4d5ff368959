"""The backup as a phase: taken, proven, noted in the release's journal; or by itself. Old ones then go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import backup
from ..backup import pgbackrest, retention
from ..core.durable import private_folder
from ..core.text import plural
from ..errors import Refused
from ..journal import State
from ..stack import Stack
from .progress import Progress

ENGINES = ("pg_dump", "pgbackrest")


@dataclass(frozen=True)
class Options:
    """What the inventory decides about backups. Above ``ask_above_gb`` a full proof is not begun. ``keep`` is a count,
    ``keep_days`` and ``keep_failed_days`` are days; with 0, what rollbacks kept aside stays until somebody drops it."""

    proof: str = "full"
    ask_above_gb: float = 100
    keep_copy: bool = False
    verify: str = ""
    encrypt: Mapping[str, Any] = field(default_factory=dict)
    keep: int = 10
    keep_days: float = 14
    keep_failed_days: float = 0
    engine: str = "pg_dump"
    pgbackrest: Mapping[str, Any] = field(default_factory=dict)


def run(stack: Stack, release: str, who: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """Take a backup and prove it, or prove an existing one. Without a release, it holds the deploy lock for ``who``: a
    deploy removes the copies that others left. Raises what is wrong with it."""
    if options.verify:
        with stack.state.lock.alone("verify", who), Progress(stack.state.folder, "backup", stack.redactor) as say:
            expected = backup.Expected(stack=stack.name, database=stack.database.conninfo.dbname)
            proven = backup.verify(
                stack.database, options.verify, expected=expected, encryption=options.encrypt, emit=say
            )
        return {"backup": proven.backup.as_dict(), "pap": _pap(proven.as_dict()["lines"])}
    if release:
        with stack.state.working(release) as journal, journal.checkpoint("backup") as done:
            made = _take(stack, release, options)
            done.update(made)
        lines = _clear(stack, options)
    else:
        with stack.state.lock.alone("manual", who) as name:
            made = _take(stack, name, options)
            lines = _clear(stack, options)
    return {"changed": True, "backup": made, "pap": _pap([*made["lines"], *lines])}


def _take(stack: Stack, release: str, options: Options) -> dict[str, Any]:
    if options.engine not in ENGINES:
        raise Refused(f"A backup by {options.engine!r} is not known.", hint=f"It is one of {', '.join(ENGINES)}.")
    database = stack.database.as_release(release)
    if options.engine == "pgbackrest":
        return pgbackrest.take(database, pgbackrest.PgBackRest.of(options.pgbackrest), release=release).as_dict()
    with Progress(stack.state.folder, "backup", stack.redactor) as say:
        taken = backup.take(
            database,
            private_folder(stack.state.backups_folder),
            stack=stack.name,
            release=release,
            proof=options.proof,
            chosen=options.proof != "full",
            limits=backup.Limits(ask_above_bytes=int(options.ask_above_gb * 1000**3)),
            keep_scratch=options.keep_copy,
            encryption=options.encrypt,
            emit=say,
        )
    return taken.as_dict()


def _clear(stack: Stack, options: Options) -> list[str]:
    """Remove what is old, now that a newer backup is proven. That it cannot be removed is said, and stops nothing."""
    try:
        gone = retention.apply(
            stack.state.backups_folder,
            stack=stack.name,
            keep=options.keep,
            keep_days=options.keep_days,
            pinned=pinned(stack.state),
        )
    except OSError as error:
        return [f"old backups could not be removed: {error}"]
    lines = [f"removed {path}, neither among the newest {options.keep} nor needed by a release" for path in gone]
    if options.keep_failed_days > 0:
        kept = plural(options.keep_failed_days, "day")
        dropped = retention.failed_databases(stack.database, keep_days=options.keep_failed_days)
        lines += [f"dropped {name}, kept aside for more than {kept}" for name in dropped]
    return lines


def pinned(state: State) -> list[str]:
    """The backups that a rollback could still need: those of an unfinished release, and of the one in force."""
    journals = [state.unfinished(), state.last_finished()]
    entries = [journal.last(phase) for journal in journals if journal for phase in ("backup", "restore_point")]
    return [str(entry["path"]) for entry in entries if entry and entry.get("path")]


def _pap(lines: list[str]) -> dict[str, Any]:
    return {"phase": "backup", "lines": lines}
