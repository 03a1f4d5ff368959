"""What is signed: the receipt of a release, and its revocation. Known on every host."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Optional

from ..core.clock import epoch
from ..core.errors import PapError, Refused
from ..core.plain_json import JsonObject
from ..core.records import plain, read_known, recorded, whole
from ..releases.records import Backup, DataChecked, Entry, Rehearsed, SmokeTested, Watched, newest
from .subject import Subject

FORMAT = 2


@dataclass(frozen=True)
class _Evidence:
    """What is read of it: the words of ``HOLDS`` that are true."""

    holds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statement:
    """A receipt with its ``evidence``, or the revocation of one, which says when (``revoked_at``) its release was being
    rolled back or had been. ``at``: when the release finished."""

    format: int
    release: str
    stack: str
    environment: str
    at: str
    subject: Subject
    evidence: Optional[Mapping[str, Any]] = None
    revoked_at: Optional[str] = None

    @property
    def kind(self) -> str:
        return "receipt" if self.revoked_at is None else "revocation"

    @property
    def identity(self) -> tuple[str, str, str]:
        """Of which release it is."""
        return self.environment, self.stack, self.release

    @property
    def holds(self) -> tuple[str, ...]:
        return recorded(_Evidence, self.evidence).holds

    def as_json(self) -> Any:
        """What is signed: every field but the one that only the other kind has."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: whole(value) for name, value in found.items() if value is not None}


def statement(value: object, kind: str) -> Statement:
    """The statement that parsed JSON is; names that are not known are passed over. Raises Refused if it is none."""
    try:
        found = read_known(Statement, value)
        read_known(_Evidence, found.evidence or {})
        times = (found.at,) if found.revoked_at is None else (found.at, found.revoked_at)
        if found.kind == kind and all(map(_is_time, times)) and (kind == "revocation" or found.evidence is not None):
            return found
    except PapError:
        pass
    raise Refused(f"it is not a {kind}: something in it is missing, or is of another type.")


def _is_time(value: str) -> bool:
    """A time as journals write it: in UTC, and one that exists."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", value, re.ASCII):
        return False
    try:
        epoch(value)
    except (ValueError, OverflowError):
        return False
    return True


def make(
    subject_here: Subject,
    *,
    release: str,
    stack: str,
    environment: str,
    at: str,
    evidence: Optional[Mapping[str, Any]] = None,
) -> Statement:
    """An unsigned receipt of a release that finished at ``at``. ``evidence`` is what the journal says of its tests."""
    return Statement(FORMAT, release, stack, environment, at, subject_here, evidence=dict(evidence or {}))


def revocation(receipt: Statement, revoked_at: str) -> Statement:
    """An unsigned revocation of a receipt."""
    return replace(receipt, evidence=None, revoked_at=revoked_at)


# What a receipt can hold, and what production can demand of it: what the word says, and what makes a deploy do it.
HOLDS: Mapping[str, tuple[str, str]] = {
    "rehearsed": ("the release was rehearsed on a copy", "pap_rehearse must be true"),
    "proven": ("its backup was restored and compared in full", "backup_engine must be pg_dump and backup_proof full"),
    "measured": (
        "it was measured to the end what the release did to the rows",
        "no transaction that has written, or has locked a table, may be open when the release finishes",
    ),
    "watched": (
        "the login smoke test passed and the logs of the first minute raised no alarm",
        "watch_enabled must be true, and pap_api_log_files or pap_db_log_files name a log (containers have theirs)",
    ),
}


def evidence_of(entries: Sequence[Entry]) -> JsonObject:
    """What a journal says of how a release was tested: rehearsal, backup proof, smoke test, first minute, what became
    of the data. ``holds``: which words of ``HOLDS`` are true of it; ``unmeasured``: tables that were out of sight."""
    rehearsal, watched = newest(entries, Rehearsed), newest(entries, Watched)
    smoke, backup = newest(entries, SmokeTested) or SmokeTested(), newest(entries, Backup) or Backup()
    data = newest(entries, DataChecked) or DataChecked()
    held = {
        "rehearsed": rehearsal is not None,
        "proven": backup.is_proven,
        "measured": data.final and not data.unmeasured,
        "watched": bool(watched and smoke.checks) and all(check.ok for check in smoke.checks),
    }
    return {
        "holds": [word for word in HOLDS if held[word]],
        "rehearsal": {
            "verdict": rehearsal.verdict or None,
            "reversible": rehearsal.reversible,
            "old_api_works": rehearsal.old_api_works,
        }
        if rehearsal
        else None,
        "backup_sha256": backup.sha256 or None,
        **({"backup_accepted": plain(backup.accepted)} if backup.accepted else {}),
        "checks": [check.name for check in smoke.checks if check.ok],
        "endpoints": [endpoint.path for endpoint in smoke.endpoints],
        "unmeasured": list(data.unmeasured),
        "watch_findings": dict(watched.findings) if watched else None,
    }
