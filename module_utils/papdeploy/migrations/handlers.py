"""What the agent answers about migrations: plain data in, plain data out.

Common keys of a request: ``sources`` ({file name: text}) or ``folders`` ([path]); ``url`` (default: DATABASE_URL of the
environment); ``expect_database``: the identity of the database that every session of the call must be in,
``forbid_database``: of one that no legacy script may reach; ``release``, ``who``; ``options`` (see RunOptions). Each
call's own keys are in its docstring.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional

from ..core.calls import Call, Emit, telling
from ..core.errors import Refused
from ..core.records import whole
from . import files, loading, planning
from . import invariants as invariant_files
from .alembic.declaration import Declaration
from .options import RunOptions
from .run.advisory_lock import as_json
from .run.apply import apply as apply_pending
from .run.apply import opened, who_am_i

if TYPE_CHECKING:
    from .run.execute import Check
    from .run.session import Session


@dataclass(frozen=True)
class Request:
    """``sources`` are texts by file name; ``alembic`` declares a tree beside ``folders``; ``expected`` is a schema
    catalog, ``scratch`` the URL of a copy. The other names are said at the calls that read them."""

    sources: Optional[dict[str, str]] = None
    folders: Optional[tuple[str, ...]] = None
    alembic: Optional[Mapping[str, Any]] = None
    url: Optional[str] = None
    expect_database: Optional[Mapping[str, Any]] = None
    forbid_database: Optional[Mapping[str, Any]] = None
    release: Optional[str] = None
    who: Optional[str] = None
    options: Optional[Mapping[str, Any]] = None
    dry_run: Optional[bool] = None
    expected: Optional[Mapping[str, Any]] = None
    schema_options: Optional[Mapping[str, Any]] = None
    scratch: Optional[str] = None
    identities: Optional[tuple[str, ...]] = None
    count: Optional[int] = None
    since_release: Optional[str] = None
    reason: Optional[str] = None

    @property
    def paths(self) -> list[Path]:
        return [Path(folder) for folder in self.folders or ([] if self.alembic else ["migrations"])]

    @property
    def run_options(self) -> RunOptions:
        databases = {"expect_database": self.expect_database, "forbid_database": self.forbid_database}
        return RunOptions.from_dict({**(self.options or {}), **databases})

    def migrations(self, *, only_look: bool = False) -> list[files.MigrationFile]:
        """The migrations, ordered and validated; with the revisions of the release's Alembic tree, if it has one."""
        only_look = only_look or bool(self.dry_run)
        if self.sources is not None:
            return loading.from_sources(self.sources, only_look=only_look)
        declared = Declaration.of(self.alembic) if self.alembic else None
        return loading.from_folders(self.paths, declared, only_look=only_look)

    def invariants(self) -> list[invariant_files.Invariant]:
        """The queries that must return no row after every deploy."""
        if self.sources is None:
            return invariant_files.load_folders(self.paths)
        return invariant_files.load_sources(self.sources)

    def check(self) -> Optional[Check]:
        """The schema check against ``expected``, if the request brings one."""
        if not self.expected:
            return None
        from ..schema import Catalog, CheckOptions, check

        options = CheckOptions.from_dict(self.schema_options)
        catalog = Catalog.from_json(self.expected)
        return lambda connection: check(connection, catalog, options)


@dataclass(frozen=True)
class _Server:
    """What answered, and who holds the lock."""

    version: int
    in_recovery: bool
    database: str
    user: str
    lock_holder: object


def url_of(url: Optional[str]) -> str:
    """The database URL of a request, or of the environment. Raises Refused if there is none."""
    url = url or os.environ.get("DATABASE_URL")
    if not url:
        raise Refused(
            "No database URL: DATABASE_URL is not set here.",
            hint="Set DATABASE_URL in the environment of the API, or give the URL.",
        )
    return url


def _call(work: Callable[[Request, Emit], object]) -> Call:
    return telling(Request, work)


def _common(request: Request, emit: Emit) -> Any:
    return {
        "release": request.release or "cli",
        "who": request.who or who_am_i(),
        "options": request.run_options,
        "emit": emit,
        "dry_run": bool(request.dry_run),
    }


def _state(request: Request, emit: Emit, what: Callable[[Session, list[files.MigrationFile], RunOptions], Any]) -> Any:
    migrations, options = request.migrations(only_look=True), request.run_options
    release, who = request.release or "cli", request.who or who_am_i()
    with opened(url_of(request.url), release=release, who=who, options=options, emit=emit) as session:
        session.query("SET default_transaction_read_only = on")
        found = what(session, migrations, options)
        facts = session.facts
        holder = as_json(session.lock_holder())
        server = whole(_Server(facts.version, facts.in_recovery, facts.database, facts.user, holder))
    answer = {**found.as_json(), "server": server}
    if not isinstance(found, planning.Plan):
        return answer
    problems = [*found.problems, *planning.import_problems(found.pending)]
    return {**answer, "problems": whole(problems), "text": found.as_text()}


@_call
def status(request: Request, emit: Emit) -> Any:
    """Applied, pending, problems, interrupted, failures; ``server`` says what answered and who holds the lock. With
    ``expected``, what the schema check of a later call needs is imported now, and not while users wait."""

    def look(session: Session, migrations: list[files.MigrationFile], options: RunOptions) -> Any:
        if request.expected:
            session.release_sqlalchemy(session.sqlalchemy())
        return planning.status(session.raw, migrations, options)

    return _state(request, emit, look)


@_call
def plan(request: Request, emit: Emit) -> Any:
    """The status, the SQL of what is pending (``sql``, ``text``), problems of loading, and what does not hold that a
    migration wants to. ``scratch``: URL of a copy."""
    from .run import live_checks, plan_on_copy

    def look(session: Session, migrations: list[files.MigrationFile], options: RunOptions) -> Any:
        found = plan_on_copy.plan(session.raw, migrations, scratch=request.scratch, options=options)
        return live_checks.added(found, url_of(request.url), request.invariants(), options)

    return _state(request, emit, look)


@_call
def apply(request: Request, emit: Emit) -> Any:
    """Apply what is pending. ``expected`` and ``schema_options`` make the schema check part of the transaction. With
    ``options.stop_at_scripts`` it is a plan, on a scratch copy (:mod:`.run.planned`)."""
    url, migrations, common = url_of(request.url), request.migrations(), _common(request, emit)
    if request.run_options.stop_at_scripts:
        from .run import planned

        del common["emit"]  # the process of the plan has no way to tell
        return planned.apply(url, migrations, **common).as_json()
    return apply_pending(url, migrations, check=request.check(), invariants=request.invariants(), **common).as_json()


@_call
def revert(request: Request, emit: Emit) -> Any:
    """Run downgrades: ``identities``, ``count`` or ``since_release`` says which; ``expected`` as for apply."""
    from .run import revert

    return revert.revert(
        url_of(request.url),
        request.migrations(),
        identities=request.identities or (),
        count=request.count or 0,
        since_release=request.since_release or "",
        check=request.check(),
        **_common(request, emit),
    ).as_json()


@_call
def baseline(request: Request, emit: Emit) -> Any:
    """Mark as applied what the catalog shows; ``identities`` limits it, ``options.assume_applied`` vouches."""
    from .run import baseline

    return baseline.baseline(
        url_of(request.url), request.migrations(), identities=request.identities or (), **_common(request, emit)
    ).as_json()


@_call
def repair(request: Request, emit: Emit) -> Any:
    """Accept edited and removed files; ``reason`` is recorded."""
    from .run import baseline

    return baseline.repair(
        url_of(request.url),
        request.migrations(),
        identities=request.identities or (),
        reason=request.reason or "",
        **_common(request, emit),
    ).as_json()


CALLS: dict[str, Call] = {
    "migrations.status": status,
    "migrations.plan": plan,
    "migrations.apply": apply,
    "migrations.revert": revert,
    "migrations.baseline": baseline,
    "migrations.repair": repair,
}
