"""What is signed: the receipt of a release, and what shape it has. Plain data, known on every host."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional, Union

from ..core.clock import epoch
from ..core.records import plain
from ..releases.records import Backup, DataChecked, Entry, Rehearsed, SmokeTested, Watched, newest

FORMAT = 2
KINDS = ("receipt", "revocation")

Shape = Union[type, Callable[[Any], bool], Mapping[str, Any]]


def fits(value: Any, shape: Shape) -> bool:
    """Whether parsed JSON has a shape: a type, a test, or a mapping of keys that must be there (``key?``: may be). More
    keys are well."""
    if isinstance(shape, Mapping):
        return isinstance(value, dict) and all(
            fits(value[key.rstrip("?")], of) if key.rstrip("?") in value else key.endswith("?")
            for key, of in shape.items()
        )
    return type(value) is shape if isinstance(shape, type) else shape(value)


def _is_time(value: Any) -> bool:
    """A time as journals write it: in UTC, and one that exists."""
    if type(value) is not str or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", value, re.ASCII):
        return False
    try:
        epoch(value)
    except (ValueError, OverflowError):
        return False
    return True


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(type(each) is str for each in value.values())


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is str for each in value)


def _is_runtime(value: Any) -> bool:
    return value is None or fits(value, {"python": str, "packages": _is_texts, "variables": _is_words})


_STATEMENT: Mapping[str, Any] = {
    "format": int,
    "release": str,
    "stack": str,
    "environment": str,
    "at": _is_time,
    "subject": {
        "migrations": _is_texts,
        "models": str,
        "release": {"label": str, "checksum": str},
        "server_major": int,
        "runtime?": _is_runtime,
    },
}
_SHAPES: Mapping[str, Mapping[str, Any]] = {
    "receipt": {**_STATEMENT, "evidence": {"holds?": _is_words}},
    "revocation": {**_STATEMENT, "revoked_at": _is_time},
}


def shape_of(kind: str) -> Shape:
    return _SHAPES[kind]


def kind_of(statement: Mapping[str, Any]) -> str:
    return "revocation" if "revoked_at" in statement else "receipt"


def identity(statement: Mapping[str, Any]) -> tuple[str, str, str]:
    """Of which release a receipt, or its revocation, is."""
    return str(statement["environment"]), str(statement["stack"]), str(statement["release"])


def make(
    subject_here: Mapping[str, Any],
    *,
    release: str,
    stack: str,
    environment: str,
    at: str,
    evidence: Optional[Mapping[str, Any]] = None,
) -> dict[str, Any]:
    """An unsigned receipt of a release that finished at ``at``. ``evidence`` is what the journal says of its tests."""
    return {
        "format": FORMAT,
        "release": release,
        "stack": stack,
        "environment": environment,
        "at": at,
        "subject": dict(subject_here),
        "evidence": dict(evidence or {}),
    }


def revocation(receipt: Mapping[str, Any], revoked_at: str) -> dict[str, Any]:
    """An unsigned revocation of a receipt: at ``revoked_at``, its release was being rolled back or had been."""
    kept = {key: receipt[key] for key in ("format", "release", "stack", "environment", "at", "subject")}
    return {**kept, "revoked_at": revoked_at}


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


def evidence_of(entries: Sequence[Entry]) -> dict[str, Any]:
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
