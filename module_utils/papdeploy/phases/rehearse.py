"""The rehearsal as a phase: before the fence, on the copy; its verdict is noted and used by the cutover."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ..app.stack import Stack
from ..backup import Encryption
from ..core.errors import PapError
from ..core.text import age, plural, seconds, size
from ..core.visible import visible
from ..rehearsal import Options, Subject, api_effects, expectations, rehearse, verdict
from ..releases.journal import Journal
from ..releases.records import Backup, Preflight
from ..releases.rehearsed import Online, Rehearsal, RehearsedMigration, Tried
from . import api_watch, live_check
from .preflight import read_kept
from .progress import Progress
from .result import Printed, Result

NICE = 10


@dataclass(frozen=True)
class Passed(Result):
    """``rehearsal``: the verdict, with the schema check as JSON has it."""

    changed: bool
    rehearsal: Mapping[str, Any]


def run(
    stack: Stack,
    release: str,
    options: Options,
    *,
    alone: bool = False,
    encryption: Optional[Encryption] = None,
    nice: int = NICE,
) -> Passed:
    """Rehearse ``release``, which the preflight has opened. ``alone``: nothing follows, so the release ends here.

    Raises what fails, also LiveDatabaseChanged. The release ends then (refused) and the lock is given back:
    ``data['ended']`` says that it did. ``nice``: the priority of this process and of what it starts.
    """
    _step_back(nice)
    with stack.state.working(release) as journal:
        gone = api_watch.note(stack, journal)
        try:
            with journal.checkpoint("rehearse", data=options.data, mode=options.mode) as done:
                progress, measured = Progress(stack.state.folder, "rehearse", stack.redactor), live_check.unchanged
                with progress as say, measured(stack, "the rehearsal") as live:
                    found = rehearse(stack, _subject(stack, journal, encryption), options, say)
                told = found.as_dict()
                done.update({key: value for key, value in told.items() if value is not None})
        except PapError as error:
            stack.state.refuse_release(journal, error)
            raise
        lines = [*lines_of(found), *gone, live.sentence]
        if alone:
            lines += [f"to deploy it: ansible-playbook deploy.yml -l {stack.name}"]
        journal.append("rehearse", "note", lines=lines)
        if alone:
            journal.append("release", "rehearsed", seconds=found.seconds)
    if alone:
        stack.state.lock.release(release)
    status = "ok" if found.reversible is not False and found.old_api_works is not False else "warning"
    return Passed(Printed("rehearse", lines, status), True, told)


def _step_back(nice: int) -> None:
    """Low priority for this process and all that it starts here: the API that runs goes first."""
    with contextlib.suppress(OSError):
        os.nice(max(0, nice - os.nice(0)))


def _subject(stack: Stack, journal: Journal, encryption: Optional[Encryption]) -> Subject:
    header = journal.opening()
    looked = journal.newest(Preflight) or Preflight()
    return Subject(
        release=journal.release,
        sources=read_kept(journal.folder, "migrations.json"),
        who=header.by,
        expected=read_kept(journal.folder, "expected.json"),
        running=header.old,
        candidate=header.new,
        pending=header.pending,
        baseline=looked.baseline,
        backup=journal.newest(Backup),
        encryption=encryption,
        measured=expectations.measured(stack.state.releases()),
    )


def lines_of(found: Rehearsal) -> list[str]:
    """The verdict for a person, before the fence."""
    lines = [_migrated(found)]
    lines += [_one(item) for item in found.migrations]
    if found.migrations:
        lines.append(f"locks: {verdict.lock_words(found.locks)}")
        lines.append(_reversible(found))
    lines += _tried("the new API", found.candidate)
    if found.candidate.left:
        lines.append(
            f"the new API left programs running when it was stopped: {', '.join(found.candidate.left)}; they were"
            " ended, and what they would do later is not known"
        )
    if found.candidate.proposed:
        lines.append(f"no endpoint is declared; its OpenAPI proposes: {', '.join(found.candidate.proposed)}")
    if found.old_api.label != found.candidate.label:
        lines += _tried("the API that runs now", found.old_api)
    if found.migrations:
        lines.append(_online(found.online, found.mode))
    brief = "a session there in the live database for a few ms is not measured"
    lines += [visible(f"{item.identity} {item.what}: {brief}") for item in found.outward]
    lines += found.cannot_tell
    lines.append(_expected(found))
    return lines


def _migrated(found: Rehearsal) -> str:
    count = len(found.migrations)
    what = f"{plural(count, 'migration')} in {seconds(found.migrate_s)}" if count else "no migration pending"
    checked = "; schema matches the new models" if found.schema else ""
    return f"on {found.copy}: {what}{checked}"


def _one(item: RehearsedMigration) -> str:
    statements = plural(item.statement_count or 0, "statement")
    parts = [f"{item.identity}: {statements} in {seconds(item.seconds or 0.0)}"]
    if item.rows:
        parts.append(plural(item.rows, "row"))
    if item.rewritten:
        parts.append(f"rewrites {', '.join(item.rewritten)}")
    if item.wal_bytes is not None:
        parts.append(f"{size(item.wal_bytes)} of WAL")
    return ", ".join(parts)


def _reversible(found: Rehearsal) -> str:
    if found.reversible is False:
        return f"NOT reversible: {found.reversible_why}"
    if found.reversible is None:
        rows = "without rows" if found.data == "schema" else "with a part of the rows"
        return f"reverted and migrated again {rows}; whether every row survives it is not known"
    apart = ", apart from what acts on the whole server, of which nothing is known," if found.left_out else ","
    return f"reversible: reverted, equal to the start{apart} migrated again to the same schema; {found.downgrade_loses}"


def _tried(name: str, tried: Tried) -> list[str]:
    """How ``tried`` did, and what it wrote."""
    wrote = api_effects.lines(name, tried.wrote) if tried.wrote else []
    if tried.works is None:
        return [f"{name} ({tried.label}) was NOT tried: {tried.why}", *wrote]
    if tried.works is False:
        problem = f"does NOT work on the new schema: {tried.why}; a rollback needs the old schema too"
        return [f"{name} ({tried.label}) {problem}", *wrote]
    healthy = f"healthy after {seconds(tried.healthy_after_s or 0.0)}"
    endpoints = f"no regressions in {plural(len(tried.endpoints), 'endpoint')}"
    return [f"{name} ({tried.label}) works on it: {healthy}, login, {endpoints}", *wrote]


def _online(online: Online, mode: str) -> str:
    if online.safe:
        return f"safe under traffic: {'runs without a fence' if mode == 'online' else 'could run with pap_mode=online'}"
    more = len(online.why) - 1
    return f"not safe under traffic: {online.why[0]}" + (f" (and {more} more)" if more else "")


def _expected(found: Rehearsal) -> str:
    away = found.expected_unavailable_s
    only_if = {"swap": " if a snapshot is taken"}
    strategies = ", ".join(
        f"{strategy} {age(took)}{only_if.get(strategy, '')}" for strategy, took in found.recovery_s.items()
    )
    limited = found.deadline_s and found.migrations
    limit = f"; a migration that takes more than {found.deadline_s:g} s is stopped" if limited else ""
    said = f"API unavailable for {seconds(away)}" if away is not None else "expected downtime: unknown"
    return f"expected: {said}{limit}" + (f"; rollback options: {strategies}" if strategies else "")
