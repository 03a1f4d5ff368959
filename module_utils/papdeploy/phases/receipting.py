"""What a receipt is about, read from the release on the target host; and the end of a release that has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import receipts
from ..core.clock import now, seconds_between
from ..errors import Refused
from ..journal import State
from .cutover import begin_entry
from .preflight import read_kept


def describe(state: State, release: str) -> dict[str, Any]:
    """The subject of a release (what it deploys, by content), and once it has finished the unsigned receipt."""
    journal = state.journal(release)
    header = begin_entry(journal)
    looked = journal.last("preflight") or {}
    content = looked.get("content") or {}
    subject = receipts.subject(
        read_kept(journal.folder, "migrations.json"),
        models_digest=looked.get("models_digest", ""),
        version=header["to"],
        server_version=header["server_version"],
        checksum=content.get("checksum", ""),
        runtime=content.get("runtime"),
    )
    end = journal.end()
    receipt: dict[str, Any] = {}
    if end and end["event"] == "finished":
        receipt = receipts.make(
            subject,
            release=release,
            stack=header["stack"],
            environment=header["environment"],
            at=end["at"],
            evidence=receipts.evidence_of(journal.entries()),
        )
    return {"subject": subject, "receipt": receipt}


def record(state: State, release: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Note in the journal by which receipt, or by whose decision, this release goes on."""
    with state.working(release) as journal:
        journal.append("receipt", "done", **found)
    if found.get("override"):
        override = found["override"]
        line = f"OVERRIDDEN by {override['who'].get('user', '?')}: {override['reason']}"
        return {"changed": True, "pap": {"phase": "receipt", "lines": [line], "status": "warning"}}
    receipt = found["receipt"]
    line = f"{receipt['environment']} passed with exactly this: release {receipt['release']} of {receipt['stack']}"
    return {
        "changed": True,
        "pap": {"phase": "receipt", "lines": [f"{line}, {receipt['at'][:16].replace('T', ' ')} UTC"]},
    }


def refuse(state: State, release: str, message: str, hint: str) -> dict[str, Any]:
    """End the release as refused: it has changed nothing yet. Always raises, with the reason."""
    with state.working(release) as journal:
        journal.append("receipt", "failed", error="Refused", message=message, hint=hint)
        started = begin_entry(journal)["at"]
        journal.append("release", "refused", message=message, seconds=round(seconds_between(started, now()), 2))
    state.lock.release(release)
    raise Refused(message, hint=hint, ended=True)
