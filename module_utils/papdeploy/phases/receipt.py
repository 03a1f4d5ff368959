"""What a receipt is about, read from the release on the target host; and the end of a release that has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from .. import receipts
from ..core.clock import now, seconds_between
from ..core.errors import Refused
from ..core.records import recorded, whole
from ..releases.journal import Journal, State
from ..releases.parts import ReceiptOf
from ..releases.records import Entry, Preflight, Received
from .preflight import read_kept
from .result import Done, Printed


@dataclass(frozen=True)
class Described:
    subject: Mapping[str, Any]
    receipt: Mapping[str, Any]
    revocations: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Revocations:
    revocations: Sequence[Mapping[str, Any]]


def describe(state: State, release: str) -> Described:
    """The subject of a release (what it deploys, by content), and once it has finished the unsigned receipt; with it,
    the revocations of all that was rolled back."""
    journal = state.journal(release)
    end = journal.ended()
    finished = end if end and end.event == "finished" else None
    return Described(
        whole(_subject(journal)),
        _receipt(journal, finished).as_json() if finished else {},
        revocations(state).revocations if finished else [],
    )


def revocations(state: State) -> Revocations:
    """The unsigned revocations of every release here that finished and is in force no more, or is being rolled back."""
    found = []
    for journal in state.releases():
        entries, end = journal.records(), journal.ended()
        passed = [number for number, entry in enumerate(entries) if entry.is_of("release", "finished")]
        if not passed or (end and end.event == "finished"):
            continue
        begun = [entry for entry in entries[passed[-1] :] if entry.is_of("rollback", "begin")]
        taken_back = end or (begun or entries)[-1]
        found.append(receipts.revocation(_receipt(journal, entries[passed[-1]]), taken_back.at).as_json())
    return Revocations(found)


def _subject(journal: Journal) -> receipts.Subject:
    header, looked = journal.opening(), journal.newest(Preflight) or Preflight()
    content = looked.content
    return receipts.subject(
        read_kept(journal.folder, "migrations.json"),
        models_digest=looked.models_digest,
        version=header.new,
        server_version=header.server_version or 0,
        checksum=content.checksum if content else "",
        runtime=content.runtime if content else None,
    )


def _receipt(journal: Journal, finished: Entry) -> receipts.Statement:
    header = journal.opening()
    return receipts.make(
        _subject(journal),
        release=journal.release,
        stack=header.stack,
        environment=header.environment,
        at=finished.at,
        evidence=receipts.evidence_of(journal.records()),
    )


def record(state: State, release: str, found: Mapping[str, Any]) -> Done:
    """Note in the journal by which receipt, or by whose decision, this release goes on."""
    with state.working(release) as journal:
        journal.append("receipt", "done", **found)
    noted = recorded(Received, found)
    if noted.override and noted.override.reason:
        line = f"OVERRIDDEN by {noted.override.who.user}: {noted.override.reason}"
        return Done(Printed("receipt", [line], "warning"), True)
    receipt = noted.receipt or ReceiptOf()
    line = f"{receipt.environment} passed with exactly this: release {receipt.release} of {receipt.stack}"
    return Done(Printed("receipt", [f"{line}, {receipt.at[:16].replace('T', ' ')} UTC"]), True)


def refuse(state: State, release: str, message: str, hint: str) -> NoReturn:
    """End the release as refused: it has changed nothing yet. Always raises, with the reason."""
    with state.working(release) as journal:
        journal.append("receipt", "failed", error="Refused", message=message, hint=hint)
        started = journal.opening().at
        journal.append("release", "refused", message=message, seconds=round(seconds_between(started, now()), 2))
    state.lock.release(release)
    raise Refused(message, hint=hint, ended=True)
