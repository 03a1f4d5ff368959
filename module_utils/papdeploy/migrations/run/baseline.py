"""Explicit, recorded changes of the ledger: baseline (adopt what is there) and repair (accept what changed)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from ...core.errors import Refused
from ...core.reasons import stated
from ...core.records import whole
from .. import catalog_evidence, ledger
from ..files import MigrationFile, identity_of, with_requirements
from ..options import RunOptions
from ..planning import compare
from ..problems import Problem
from .apply import Emit, book_of, lock_for_change, opened, who_am_i
from .session import Session


@dataclass
class AdoptResult:
    """``marked`` migrations got a ledger row; ``findings`` say why each was or was not."""

    run: str
    release: str
    marked: list[str] = field(default_factory=list)
    findings: list[Union[catalog_evidence.Finding, Problem]] = field(default_factory=list)
    dry_run: bool = False
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        return bool(self.marked)

    def as_json(self) -> Any:
        return {**whole(self), "changed": self.changed}


def baseline(
    url_or_engine: Any,
    files: Sequence[MigrationFile],
    *,
    release: str = "cli",
    who: str = "",
    identities: Sequence[str] = (),
    options: Optional[RunOptions] = None,
    emit: Optional[Emit] = None,
    dry_run: bool = False,
) -> AdoptResult:
    """Mark as applied those pending migrations whose effects the catalog shows, and only those.

    ``identities`` limits it to some (with what they require). ``options.assume_applied`` names migrations that the
    operator vouches for although the catalog cannot tell (data only) or tells only in part. Raises Refused if a
    migration is there in part, or if one that cannot be told comes before one that is there: its place would be a
    guess."""
    options = options or RunOptions()
    began = time.monotonic()
    with opened(url_or_engine, release=release, who=who or who_am_i(), options=options, emit=emit) as session:
        result = AdoptResult(session.run, release, dry_run=dry_run)
        if not dry_run:
            lock_for_change(session)
        applied = book_of(session, files).applied
        with_requirements(files, options.assume_applied)  # a misspelt name is refused
        chosen = with_requirements(files, identities) if identities else list(files)
        # Of an Alembic tree, the version table says what is applied: `alembic stamp`.
        candidates = [each for each in chosen if each.identity not in applied and each.revision is None]
        findings = catalog_evidence.judge(candidates, session.query)
        result.findings = list(findings)
        marked = _to_mark(findings, options.assume_applied)
        by_name = {migration.identity: migration for migration in files}
        if marked and not dry_run:
            _record(session, [by_name[finding.identity] for finding in marked], ledger.BASELINED,
                    [_why(finding, options.assume_applied) for finding in marked])  # fmt: skip
        result.marked = [finding.identity for finding in marked]
        result.seconds = round(time.monotonic() - began, 3)
        return result


# What a repair records of each kind of problem.
_ACCEPTED = {
    "edited": ledger.REPAIRED,
    "missing": ledger.FORGOTTEN,
    "downgraded": ledger.FORGOTTEN,
    "upgraded": ledger.BASELINED,
}


def _checksum(entry: Optional[ledger.Entry]) -> str:
    return entry.checksum if entry else ""


@dataclass(frozen=True)
class _Evidence:
    """Why a migration was taken to be applied."""

    found: Sequence[str]
    lacking: Sequence[str]
    believed: bool


def _why(finding: catalog_evidence.Finding, assume_applied: Sequence[str]) -> _Evidence:
    return _Evidence(finding.found, finding.lacking, finding.identity in assume_applied)


def _to_mark(
    findings: Sequence[catalog_evidence.Finding], assume_applied: Sequence[str]
) -> list[catalog_evidence.Finding]:
    marked: list[catalog_evidence.Finding] = []
    uncertain: list[catalog_evidence.Finding] = []
    for finding in findings:
        if finding.identity in assume_applied or finding.verdict == catalog_evidence.PRESENT:
            if uncertain and finding.verdict == catalog_evidence.PRESENT:
                raise Refused(
                    f"{finding.identity} is there, but of {uncertain[0].identity}, which comes before it, the catalog"
                    " shows nothing either way.",
                    hint=f"Look whether {uncertain[0].identity} was done; if so, name it with --assume-applied.",
                    findings=whole(findings),
                )
            marked.append(finding)
        elif finding.verdict == catalog_evidence.PARTIAL:
            raise Refused(
                f"{finding.identity} is there only in part: {', '.join(finding.lacking[:3])} is lacking,"
                f" {', '.join(finding.found[:3])} is there.",
                hint="Complete it by hand or undo it; if the rest is meant to be so, name it with --assume-applied.",
                findings=whole(findings),
            )
        elif finding.verdict == catalog_evidence.UNKNOWN:
            uncertain.append(finding)
    return marked


def repair(
    url_or_engine: Any,
    files: Sequence[MigrationFile],
    *,
    release: str = "cli",
    who: str = "",
    identities: Sequence[str] = (),
    reason: str = "",
    options: Optional[RunOptions] = None,
    emit: Optional[Emit] = None,
    dry_run: bool = False,
) -> AdoptResult:
    """Accept edited files (their new checksum) and files that are gone on purpose (no longer expected).

    ``identities`` limits it; ``reason`` is required unless it is a dry run and goes into the ledger.
    """
    if not dry_run:
        reason = stated(reason, "A repair", 'It stays in the ledger: --reason "…".')
    options = options or RunOptions()
    began = time.monotonic()
    with opened(url_or_engine, release=release, who=who or who_am_i(), options=options, emit=emit) as session:
        result = AdoptResult(session.run, release, dry_run=dry_run)
        if not dry_run:
            lock_for_change(session)
        state = compare(files, book_of(session, files), options)
        wanted = set(map(identity_of, identities))
        problems = [p for p in state.problems if p.kind in _ACCEPTED and (not wanted or p.identity in wanted)]
        unknown = wanted - {problem.identity for problem in problems}
        if unknown:
            raise Refused(f"There is nothing to repair about {min(unknown)}.", hint="See `status` for what is wrong.")
        by_name = {migration.identity: migration for migration in files}
        result.findings = list(problems)
        if problems and not dry_run:
            session.begin()
            session.record(
                [
                    ledger.NewEntry(
                        _ACCEPTED[problem.kind],
                        problem.identity,
                        by_name[problem.identity].checksum if problem.kind in ("edited", "upgraded") else "",
                        details={"reason": reason, "was": _checksum(state.applied.get(problem.identity))},
                    )
                    for problem in problems
                ]
            )
            session.commit()
        result.marked = [problem.identity for problem in problems]
        result.seconds = round(time.monotonic() - began, 3)
        return result


def _record(session: Session, migrations: Sequence[MigrationFile], event: str, details: Sequence[_Evidence]) -> None:
    session.begin()
    session.record(
        [
            ledger.NewEntry(event, migration.identity, migration.checksum, details=whole(detail))
            for migration, detail in zip(migrations, details)
        ]
    )
    session.commit()
