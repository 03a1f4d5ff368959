"""What the agent answers about migrations: plain data in, plain data out.

Common keys of a request: ``sources`` ({file name: text}) or ``folders`` ([path]); ``url`` (default: DATABASE_URL of the
environment); ``expect_database``: the identity of the database that every session of the call must be in,
``forbid_database``: of one that no legacy script may reach; ``release``, ``who``; ``options`` (see RunOptions). Each
call's own keys are in its docstring.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional

from ..core.errors import Refused
from . import files, planning
from . import invariants as invariant_files
from .options import RunOptions
from .run.apply import apply as apply_pending
from .run.apply import opened, who_am_i

if TYPE_CHECKING:
    from .run.execute import Check

Request = Mapping[str, Any]
Emit = Callable[[dict[str, Any]], None]


_IDENTITIES = ("expect_database", "forbid_database")


def url_of(request: Request) -> str:
    """The database URL of the request or of the environment. Raises Refused if there is none."""
    url = request.get("url") or os.environ.get("DATABASE_URL")
    if not url:
        raise Refused(
            "No database URL: DATABASE_URL is not set here.",
            hint="Set DATABASE_URL in the environment of the API, or give the URL.",
        )
    return str(url)


def files_of(request: Request) -> list[files.MigrationFile]:
    """The migrations of the request, ordered and validated."""
    if request.get("sources") is not None:
        return files.load_sources(request["sources"])
    return files.load_folders([Path(folder) for folder in request.get("folders") or ["migrations"]])


def invariants_of(request: Request) -> list[invariant_files.Invariant]:
    """The queries that must return no row after every deploy."""
    if request.get("sources") is not None:
        return invariant_files.load_sources(request["sources"])
    return invariant_files.load_folders([Path(folder) for folder in request.get("folders") or ["migrations"]])


def check_of(request: Request) -> Optional[Check]:
    """The schema check against ``expected`` (a schema catalog), if the request brings one."""
    expected = request.get("expected")
    if not expected:
        return None
    from ..schema import Catalog, CheckOptions, check

    options = CheckOptions.from_dict(request.get("schema_options"))
    catalog = Catalog.from_json(expected)
    return lambda connection: check(connection, catalog, options)


def _common(request: Request, emit: Emit) -> dict[str, Any]:
    return {
        "release": str(request.get("release") or "cli"),
        "who": str(request.get("who") or who_am_i()),
        "options": RunOptions.from_dict(
            {**(request.get("options") or {}), **{name: request.get(name) for name in _IDENTITIES}}
        ),
        "emit": emit,
        "dry_run": bool(request.get("dry_run")),
    }


def _state(request: Request, emit: Emit, what: Callable[..., Any]) -> dict[str, Any]:
    migrations = files_of(request)
    common = _common(request, emit)
    common.pop("dry_run")
    with opened(url_of(request), **common) as session:
        session.query("SET default_transaction_read_only = on")
        found = what(session, migrations, common["options"])
        answer: dict[str, Any] = found.as_dict()
        answer["server"] = {
            "version": session.facts.version,
            "in_recovery": session.facts.in_recovery,
            "database": session.facts.database,
            "user": session.facts.user,
            "lock_holder": session.lock_holder(),
        }
    if isinstance(found, planning.Plan):
        answer["problems"] += [problem.as_dict() for problem in planning.import_problems(found.pending)]
        answer["text"] = found.as_text()
    return answer


def status(request: Request, emit: Emit) -> dict[str, Any]:
    """Applied, pending, problems, interrupted, failures; ``server`` says what answered and who holds the lock. With
    ``expected``, what the schema check of a later call needs is imported now, and not while users wait."""

    def look(session: Any, migrations: Any, options: RunOptions) -> Any:
        if request.get("expected"):
            session.release_sqlalchemy(session.sqlalchemy())
        return planning.status(session.raw, migrations, options)

    return _state(request, emit, look)


def plan(request: Request, emit: Emit) -> dict[str, Any]:
    """The status, the SQL of what is pending (``sql``, ``text``), problems of loading, and what does not hold that a
    migration wants to. ``scratch``: URL of a copy."""
    from .run import live_checks, plan_on_copy

    def look(session: Any, migrations: Any, options: RunOptions) -> Any:
        found = plan_on_copy.plan(session.raw, migrations, scratch=request.get("scratch"), options=options)
        return live_checks.added(found, url_of(request), invariants_of(request), options)

    return _state(request, emit, look)


def apply(request: Request, emit: Emit) -> dict[str, Any]:
    """Apply what is pending. ``expected`` and ``schema_options`` make the schema check part of the transaction. With
    ``options.stop_at_scripts`` it is a plan, on a scratch copy (:mod:`.run.planned`)."""
    common = _common(request, emit)
    if common["options"].stop_at_scripts:
        from .run import planned

        del common["emit"]  # the process of the plan has no way to tell
        return planned.apply(url_of(request), files_of(request), **common).as_dict()
    invariants, check = invariants_of(request), check_of(request)
    return apply_pending(url_of(request), files_of(request), check=check, invariants=invariants, **common).as_dict()


def revert(request: Request, emit: Emit) -> dict[str, Any]:
    """Run downgrades: ``identities``, ``count`` or ``since_release`` says which; ``expected`` as for apply."""
    from .run import revert

    return revert.revert(
        url_of(request),
        files_of(request),
        identities=request.get("identities") or (),
        count=int(request.get("count") or 0),
        since_release=str(request.get("since_release") or ""),
        check=check_of(request),
        **_common(request, emit),
    ).as_dict()


def baseline(request: Request, emit: Emit) -> dict[str, Any]:
    """Mark as applied what the catalog shows; ``identities`` limits it, ``options.assume_applied`` vouches."""
    from .run import baseline

    return baseline.baseline(
        url_of(request), files_of(request), identities=request.get("identities") or (), **_common(request, emit)
    ).as_dict()


def repair(request: Request, emit: Emit) -> dict[str, Any]:
    """Accept edited and removed files; ``reason`` is recorded."""
    from .run import baseline

    return baseline.repair(
        url_of(request),
        files_of(request),
        identities=request.get("identities") or (),
        reason=str(request.get("reason") or ""),
        **_common(request, emit),
    ).as_dict()


CALLS: dict[str, Callable[[dict[str, Any], Emit], dict[str, Any]]] = {
    "migrations.status": status,
    "migrations.plan": plan,
    "migrations.apply": apply,
    "migrations.revert": revert,
    "migrations.baseline": baseline,
    "migrations.repair": repair,
}
