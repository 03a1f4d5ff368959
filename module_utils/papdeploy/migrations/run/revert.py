"""Run downgrades in reverse, in one transaction; refuse at the first irreversible one before anything changes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Optional

from ...core.errors import PapError, Refused
from .. import ledger
from ..files import SCRIPT, MigrationFile, identity_of
from ..options import RunOptions
from ..planning import compare, refuse_if
from . import execute
from .apply import ApplyResult, Emit, alone, book_of, failed, grouped, lock_for_change, opened, outward_of, who_am_i
from .session import Session

# The version table of an Alembic tree and the ledger do not agree on what is applied.
_OF_VERSIONS = ("version", "downgraded", "upgraded")


def revert(
    url_or_engine: Any,
    files: Sequence[MigrationFile],
    *,
    release: str = "cli",
    who: str = "",
    identities: Sequence[str] = (),
    count: int = 0,
    since_release: str = "",
    check: Optional[execute.Check] = None,
    options: Optional[RunOptions] = None,
    emit: Optional[Emit] = None,
    dry_run: bool = False,
) -> ApplyResult:
    """Undo migrations: exactly one of ``identities``, ``count`` (the newest ones) or ``since_release`` says which.

    ``since_release`` means everything that this release applied and that is still in force. ``release`` is the release
    that the reverting is recorded under. ``check`` is asked before the last COMMIT, as in ``apply``. Raises Refused,
    before anything is changed, if one of them cannot be undone, was edited, is gone, or is needed by another.
    """
    if sum((bool(identities), bool(count), bool(since_release))) != 1:
        raise Refused("Say what to revert: names, a count, or the release that applied them (exactly one of these).")
    if count < 0:
        raise Refused("The count of migrations to revert must be more than 0.")
    options = options or RunOptions()
    began = time.monotonic()
    with opened(url_or_engine, release=release, who=who or who_am_i(), options=options, emit=emit) as session:
        result = ApplyResult(
            run=session.run, release=release, events=session.events, left_out=session.left_out, dry_run=dry_run
        )
        chosen = _choose(session, files, identities, count, since_release)
        if chosen and not dry_run:
            lock_for_change(session)
            chosen = _choose(session, files, identities, count, since_release)
            _revert(session, chosen, check, result)
        result.outward = outward_of(session)
        result.pending = [migration.identity for migration in chosen] if dry_run else []
        result.transactions = session.transactions
        result.seconds = round(time.monotonic() - began, 3)
        return result


def _choose(
    session: Session, files: Sequence[MigrationFile], identities: Sequence[str], count: int, since_release: str
) -> list[MigrationFile]:
    """The migrations to undo, newest first; every reason to refuse is found here."""
    state = compare(files, book_of(session, files), RunOptions(allow_out_of_order=True))
    refuse_if([problem for problem in state.problems if problem.kind in _OF_VERSIONS])
    applied = state.applied
    names = list(map(identity_of, identities))
    newest_first = list(reversed(applied))
    if since_release:
        names = [
            name
            for name in newest_first
            if applied[name].release == since_release and applied[name].event != ledger.BASELINED
        ]
    elif count:
        names = [name for name in newest_first if applied[name].event != ledger.BASELINED][:count]
    for name in names:
        if name not in applied:
            raise Refused(f"{name} is not applied, so it cannot be reverted.", hint="See `status`.", identity=name)
    by_name = {migration.identity: migration for migration in files}
    chosen = sorted(set(names), key=newest_first.index)
    for name in chosen:
        _refuse_irreversible(name, by_name, applied[name])
        for other in applied:
            if other not in chosen and name in getattr(by_name.get(other), "requires", ()):
                raise Refused(
                    f"{name} cannot be reverted: {other}, which is applied, requires it.",
                    hint=f"Revert {other} as well.",
                    identity=name,
                )
    return [by_name[name].downwards for name in chosen]


def _refuse_irreversible(name: str, by_name: dict[str, MigrationFile], entry: ledger.Entry) -> None:
    migration = by_name.get(name)
    if migration is None:
        raise Refused(
            f"{name} cannot be reverted: its file is gone.",
            hint="Bring the file back (from the release that applied it), or restore the backup.",
            identity=name,
        )
    if migration.checksum != entry.checksum:
        raise Refused(
            f"{name} cannot be reverted: its file was edited after it was applied, its downgrade too perhaps.",
            hint="Restore the file as it was, or accept the edit with `repair`.",
            identity=name,
        )
    if not migration.reversible:
        why = "a legacy script has no downgrade" if migration.flavour == SCRIPT else "it has no downgrade"
        raise Refused(
            f"{name} cannot be reverted: {why}.",
            hint="Restore the backup instead, or write a new migration that repairs.",
            identity=name,
            irreversible=name,
        )


def _revert(
    session: Session, chosen: Sequence[MigrationFile], check: Optional[execute.Check], result: ApplyResult
) -> None:
    groups = list(grouped(chosen, session.options.transaction))
    for number, group in enumerate(groups, 1):
        last = number == len(groups)
        try:
            if alone(group[0]):
                result.reverted.append(execute.run_alone(session, group[0], "downgrade"))
            else:
                entries, result.check = execute.run_together(session, group, "downgrade", check if last else None)
                result.reverted += entries
        except PapError as error:
            failed(session, error, group, [ran.identity for ran in result.reverted])
            raise
