"""What is signed: the receipt of a release, and what shape it has. Plain data, known on every host."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional, Union

from ..core.clock import epoch

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


def evidence_of(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a journal says of how a release was tested: rehearsal, backup proof, smoke test, first minute, what became
    of the data. ``holds``: which words of ``HOLDS`` are true of it; ``unmeasured``: tables that were out of sight."""

    def done(phase: str) -> Mapping[str, Any]:
        return next((e for e in reversed(entries) if e["phase"] == phase and e["event"] == "done"), {})

    rehearsal, smoke, backup, watched = done("rehearse"), done("login_smoke_test"), done("backup"), done("watch")
    data = done("data_check")
    checks = smoke.get("checks", [])
    held = {
        "rehearsed": bool(rehearsal),
        "proven": (backup.get("proof") or {}).get("kind") == "full",
        "measured": bool(data.get("final")) and not data.get("unmeasured"),
        "watched": bool(watched and checks) and all(check.get("ok") for check in checks),
    }
    return {
        "holds": [word for word in HOLDS if held[word]],
        "rehearsal": {key: rehearsal.get(key) for key in ("verdict", "reversible", "old_api_works")}
        if rehearsal
        else None,
        "backup_sha256": backup.get("sha256"),
        **({"backup_accepted": backup["accepted"]} if backup.get("accepted") else {}),
        "checks": [check.get("name") for check in checks if check.get("ok")],
        "endpoints": [endpoint.get("path") for endpoint in smoke.get("endpoints", [])],
        "unmeasured": list(data.get("unmeasured") or []),
        "watch_findings": watched.get("findings"),
    }
