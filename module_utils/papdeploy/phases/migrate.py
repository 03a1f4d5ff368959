"""Migrate: fence, restore point, migrations with their proof in one transaction; then, if asked, the API's new release.

Everything that can be done before the API stops is done before: what happens under the fence is what users wait for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from .. import databases
from ..app import smoke
from ..app.migration_request import MigrationRequest
from ..app.stack import AppSession, Stack
from ..backup import Encryption
from ..core import storage
from ..core.durable import private_folder
from ..core.errors import DeadlineExceeded, PapError
from ..core.records import as_object, recorded
from ..core.text import plural, seconds
from ..databases import table_reader
from ..rehearsal import warm
from ..releases.journal import Journal
from ..releases.records import Backup, Migrated
from ..rollback import restore_point
from . import activate, api_watch, data_check, rehearsal_limits, release_content
from .preflight import read_kept
from .progress import Progress
from .result import Printed, Result


@dataclass(frozen=True)
class Options:
    """What the inventory decides about the migration. Times in seconds. ``mode`` "online" leaves the API running and
    raises no fence, for a release that its rehearsal found safe under traffic. ``take_over`` goes on to the new release
    at once: users do not wait for another module to start."""

    mode: str = "standard"
    restore_point: str = "auto"
    encrypt: Mapping[str, Any] = field(default_factory=dict)
    lock_timeout_s: float = 5.0
    deadline_s: float = 900.0
    allow_out_of_order: bool = False
    take_over: bool = False
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Applied(Result):
    changed: bool
    applied: Sequence[Any]
    took_over: bool


def run(stack: Stack, release: str, options: Options) -> Applied:
    """Stop the API, fence, make sure of the restore point, migrate and prove. Raises what failed; rollback goes on."""
    online = options.mode == "online"
    with stack.state.working(release) as journal, Progress(stack.state.folder, "migrate", stack.redactor) as say:
        header = journal.opening()
        verdict = rehearsal_limits.verdict_of(journal)
        if online:
            rehearsal_limits.refuse_unsafe(verdict)
        if options.restore_point == "backup":
            restore_point.refuse_unproven(_backup_path(journal), "migrate_restore_point=backup")  # before the API stops
        limit_s = rehearsal_limits.limit_s(verdict, options.deadline_s)
        request = _request(stack, journal, options, limit_s)
        before = "before the API stops"
        release_content.refuse_changed_files(stack, journal, before)  # first: what follows runs code of it
        with stack.beside_models(header.new) as app_session:
            gone = api_watch.note(stack, journal)
            warm(app_session, request)  # everything is imported and checked before the API stops
            release_content.refuse_changed(stack, journal, before, app_session)
            storage.refuse_full(stack.state.folder)
            copy_s = verdict.copy_s if verdict else None
            first = _keep_open(stack, journal) if online else _close(stack, journal, options, say, app_session, copy_s)
            say({"event": "step", "step": "migrating"})
            with journal.checkpoint("migrate", deadline_s=limit_s) as done:
                try:
                    result = app_session.call(
                        "migrations.apply",
                        request.as_json(),
                        deadline_s=limit_s + 30,
                        on_event=lambda event: _note(journal, say, event),
                    )
                except DeadlineExceeded as error:
                    rehearsal_limits.explain_deadline(error, verdict, limit_s)
                    raise
                done.update(result)
            if options.take_over:
                say({"event": "step", "step": f"committed; {header.new.label} takes over"})
                try:
                    activate.take_over(stack, journal)
                except data_check.DataLost:
                    raise
                except PapError as error:
                    error.hint = f"The migrations are committed; the new release has not taken over. {error.hint}"
                    raise
    ran = recorded(Migrated, result)
    said, strays = rehearsal_limits.against(verdict, ran.seconds or 0.0)
    lines, status = [*gone, *first, *_lines(ran), *said], "warning" if strays or gone else "ok"
    return Applied(Printed("migrate", lines, status), True, result["applied"], options.take_over)


def _request(stack: Stack, journal: Journal, options: Options, limit_s: float) -> MigrationRequest:
    """What the migrations are run with, beside the models."""
    online = options.mode == "online"
    return MigrationRequest(
        sources=read_kept(journal.folder, "migrations.json"),
        release=journal.release,
        who=journal.opening().by,
        expected=read_kept(journal.folder, "expected.json"),
        schema_options=dict(options.schema),
        options={
            "lock_timeout_s": rehearsal_limits.lock_timeout_s(options.lock_timeout_s, online=online),
            "deadline_s": limit_s,
            "allow_out_of_order": options.allow_out_of_order,
            "guard": stack.state.lock.guard(journal.release),
        },
    )


def _close(
    stack: Stack, journal: Journal, options: Options, say: Progress, app_session: AppSession, copy_s: Optional[float]
) -> list[str]:
    """Stop the API, fence, make sure of the restore point, move ``beside`` behind the fence. What a person reads."""
    release, live = journal.release, app_session.live()
    behind_fence = app_session.environment_for(databases.derived(live.name, "fenced", release), strict=False)
    databases.refuse_unready(stack.database, release)
    if options.restore_point == "snapshot":
        databases.refuse_uncopyable(stack.database)
    with stack.database.session() as session:
        table_reader.let_in(session)
    say({"event": "step", "step": "stopping the API, raising the fence"})
    with journal.checkpoint("fence") as done:
        stack.api.stop()
        smoke.refuse_answering(stack.smoke)
        fence = databases.fence(stack.database, release)
        done.update(as_object(fence))
    fenced = live.renamed(fence.database, fence.id)
    behind = stack.database.named(fenced.name).as_release(release).expecting(fenced)
    app_session.move(behind, behind_fence)
    with journal.checkpoint("restore_point") as done:
        point = restore_point.make(
            behind,
            release,
            live=stack.database.conninfo.dbname,
            backup=_backup_path(journal),
            kind=options.restore_point,
            stack=stack.name,
            folder=private_folder(stack.state.backups_folder),
            emit=say,
            encryption=Encryption.of(options.encrypt),
            copy_s=copy_s,
        )
        done.update(as_object(point))
    ended = plural(len(fence.ended), "session")
    return [f"API stopped, database fenced, {ended} ended", point.sentence]


def _backup_path(journal: Journal) -> str:
    """The release's own backup by pg_dump; empty if it has none."""
    backup = journal.newest(Backup)
    return backup.path if backup else ""


def _keep_open(stack: Stack, journal: Journal) -> list[str]:
    """No fence: the restore point is the proven backup, and what is written after it is what a restore would lose."""
    with journal.checkpoint("restore_point") as done:
        point = restore_point.under_traffic(_backup_path(journal), stack.database)
        done.update(as_object(point))
    return ["online: the API goes on, no fence is raised", point.sentence]


def _note(journal: Journal, say: Progress, event: Mapping[str, Any]) -> None:
    say(event)
    if event["event"] != "progress":  # of which there may be thousands, each of them a write to disk while users wait
        journal.append("migrate", "note", **{key: value for key, value in event.items() if key != "event"})


def _lines(ran: Migrated) -> list[str]:
    lines = []
    for item in ran.applied:
        statements = plural(len(item.statements), "statement")
        lines.append(f"{item.identity}: {statements} in {seconds(item.seconds or 0.0)}")
    if not ran.applied:
        lines.append("no migration pending")
    if ran.check:
        tables = plural(ran.check.checked.tables or 0, "table")
        lines.append(f"schema matches the models ({tables}), checked in the same transaction; committed")
    return lines
