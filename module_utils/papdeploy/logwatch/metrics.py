"""The figures of a stack for its monitoring: what its state folder tells now. What was not measured is left out.

Every phase and every step of the watch writes the whole file anew (:mod:`.textfile`). An age does not grow when nobody
writes, so that each has its moment beside it, and of the watch the moment by which it must have shown itself again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

from ..backup import folder as backups
from ..backup.manifest import load_manifest
from ..backup.retention import Thing
from ..core.clock import epoch, now
from ..core.errors import PapError
from ..releases import damage, downtime
from ..releases.journal import Journal, State
from . import rules, textfile
from .classify import totals
from .kinds import KINDS
from .state import WatchState
from .textfile import Family, Sample, Target

_SKEW_S = 60.0  # what lies further in the future than this is not believed

RELEASE = Family("pap_release_info", "gauge", "The release in force, by its labels; the value is always 1.")
FINISHED_AT = Family("pap_release_finished_timestamp_seconds", "gauge", "When the release in force was finished.")
UNFINISHED = Family("pap_release_unfinished", "gauge", "1 while a release has begun and has not been ended, else 0.")
DOWNTIME = Family("pap_downtime_seconds", "gauge", "How long the API was unavailable in the newest deploy or rollback.")
PROVEN_AGE = Family(
    "pap_backup_proven_age_seconds",
    "gauge",
    "Age of the newest backup that was restored and compared in full, when this file was written.",
)
PROVEN_AT = Family(
    "pap_backup_proven_timestamp_seconds",
    "gauge",
    "When the newest backup that was restored and compared in full was taken.",
)
RESTORE = Family("pap_restore_seconds", "gauge", "How long it took to restore that backup for its proof.")
ALARMS = Family("pap_watch_alarms", "gauge", "Alarms of the watch over the release that are not acknowledged.")
BLIND = Family("pap_watch_blind", "gauge", "Kinds of errors or logs that the watch cannot see.")
HEARTBEAT = Family("pap_watch_heartbeat_timestamp_seconds", "gauge", "When the watch looked last.")
DUE = Family(
    "pap_watch_heartbeat_due_timestamp_seconds",
    "gauge",
    "By when the watch must have looked again; absent when it has ended.",
)
REQUESTS = Family("pap_watch_requests_total", "counter", "Requests that the watch has read in the logs of the API.")
FINDINGS = Family("pap_watch_findings_total", "counter", "Errors that the watch has read in the logs, by kind.")

FAMILIES = (RELEASE, FINISHED_AT, UNFINISHED, DOWNTIME, PROVEN_AGE, PROVEN_AT, RESTORE,
            ALARMS, BLIND, HEARTBEAT, DUE, REQUESTS, FINDINGS)  # fmt: skip


def publish(state: State, target: Target) -> str:
    """Write the figures of ``state`` where ``target`` says. Returns what went wrong, as a sentence: nothing fails by
    it, and of a watch that cannot tell of itself the due moment passes."""
    if not target.folder:
        return ""
    try:
        labels = {"stack": target.stack, "environment": target.environment}
        text = textfile.exposition(measured(state, now()), labels)
        if text:
            textfile.write(Path(target.folder), textfile.file_name(target.stack, target.environment), text)
    except (PapError, OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return f"The metrics of {target.stack} were not written to {target.folder}: {why}."
    return ""


def measured(state: State, at: str) -> list[Sample]:
    """All that is known at ``at``; nothing for a stack that never had a release or a backup."""
    unfinished, last = state.unfinished(), state.last_finished()
    samples = [*_releases(state, unfinished, last), *_backups(state, at)]
    for journal in (unfinished, last):  # over the release at work, once it has a watch
        watch = rules.load(journal.folder) if journal else None
        if journal and watch:
            return [*samples, *_watch(watch, detached=journal.ended() is not None)]
    return samples


def _releases(state: State, unfinished: Optional[Journal], last: Optional[Journal]) -> Iterator[Sample]:
    journals = state.releases()
    if not journals:
        return
    end = last.ended() if last else None
    if last and end:
        version = (last.begun() or last.opening()).new.label
        labels = {"release": last.release, "version": state.redactor.text(version)}
        yield Sample(RELEASE, 1, labels)
        yield Sample(FINISHED_AT, epoch(end.at))
    yield Sample(UNFINISHED, int(unfinished is not None))
    away = _downtime(journals)
    if away is not None:
        yield Sample(DOWNTIME, away)


def _downtime(journals: Sequence[Journal]) -> Optional[float]:
    """Of the newest release that kept users waiting, and has ended."""
    for journal in reversed(journals):
        end = journal.ended()
        if end and end.event in ("finished", "rolled_back"):
            return end.unavailable_s if end.event == "finished" else downtime.of_rollback(journal.records())
    return None


def _backups(state: State, at: str) -> Iterator[Sample]:
    newest = _proven(state, epoch(at))
    if newest is None or newest.at is None:
        return
    yield Sample(PROVEN_AGE, max(0.0, epoch(at) - newest.at))
    yield Sample(PROVEN_AT, newest.at)
    yield Sample(RESTORE, load_manifest(newest.name).manifest.seconds.restore)


def _proven(state: State, at: float) -> Optional[Thing]:
    """The newest backup that is whole and was restored in full. One that is dated ahead of the clock would be the
    newest for ever, and one that a later proof found damaged is none."""
    damaged = damage.found(state)
    found = [
        thing
        for thing in backups.scan(state.backups_folder)
        if (thing.kind, thing.proof, thing.trouble) == ("backup", "full", "")
        and not damaged.get((thing.name, thing.sha256))
        and thing.at is not None
        and thing.at <= at + _SKEW_S
    ]
    return max(found, key=lambda thing: thing.at or 0.0, default=None)


def _watch(watch: WatchState, *, detached: bool) -> Iterator[Sample]:
    """``detached``: it looks by itself, and not as a part of a deploy."""
    yield Sample(ALARMS, len(rules.open_alarms(watch)))
    yield Sample(BLIND, len(watch.unseen) + len(watch.blind))
    yield Sample(HEARTBEAT, epoch(watch.heartbeat))
    if detached and watch.ended is None:
        yield Sample(DUE, epoch(watch.heartbeat) + rules.silence_s(watch))
    if not watch.marks.keys() <= watch.blind.keys():
        yield Sample(REQUESTS, watch.requests)
        counts = totals(watch.findings)
        yield from (Sample(FINDINGS, counts.get(kind, 0), {"kind": kind}) for kind in KINDS)
