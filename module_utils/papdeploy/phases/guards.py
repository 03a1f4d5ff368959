"""Guards: each refuses a deploy, with the reason and the next step, before anything is changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from .. import databases
from ..app import smoke
from ..app.api_client import SmokeConfig
from ..app.stack import AppSession, Stack
from ..backup import provable
from ..backup.archive import refuse_clients
from ..core import storage
from ..core.errors import PapError, Refused, StorageFailed
from ..core.records import as_object, read_known, whole
from ..databases import content_digest
from ..databases.psql import Database, ServerFacts
from ..environment.application import Findings as ApplicationFindings
from ..environment.settings_values import fold
from ..migrations.cli.results import Problem
from ..releases.journal import State
from ..releases.version import Version
from .findings import Findings

DROP_TABLES = "CC_DROP_TABLES"
# Only these certainly mean off. Anything else could be read as true by an app or by a person.
_OFF = {"", "0", "false", "f", "no", "n", "off", "none", "null", "disabled", "never"}


def drop_tables_values(environment: Mapping[str, str]) -> list[str]:
    """The values of CC_DROP_TABLES, in any spelling of its name, that are not certainly off."""
    return [
        value
        for name, value in environment.items()
        if fold(name) == fold(DROP_TABLES) and value.strip().strip("'\"").strip().lower() not in _OFF
    ]


def refuse_drop_tables(environment: str, sources: Mapping[str, Mapping[str, str]]) -> None:
    """Anywhere but in development, CC_DROP_TABLES stops the deploy. ``sources``: where it was looked for."""
    if environment == "development":
        return
    for source, values in sources.items():
        found = drop_tables_values(values)
        if found:
            raise Refused(
                f"{DROP_TABLES} is set to {found[0]!r} in {source}: the API would drop every table at its next start.",
                hint=f"Remove {DROP_TABLES} there (only development may reset its database), then deploy again.",
                source=source,
            )


def refuse_drop_tables_inside(stack: Stack, version: Version, app_session: AppSession) -> list[str]:
    """The same for what the process of ``version`` would find by itself: settings files, whoever loads them; what its
    start command, its models and its main module make of it, seen where they reach nothing. Returns what the summary
    has to say: what could not be seen."""
    if stack.environment == "development":
        return []
    said: list[str] = []
    for call in ("environment.files", "environment.started"):
        found = _refuse_found(stack, version, app_session, call)
        for item in found.unsure:
            if drop_tables_values({DROP_TABLES: item.value}):
                said.append(
                    f"{DROP_TABLES}: {item.source} sets it to {item.value!r} under a condition that only running"
                    f" decides ({version.label}); the rehearsal measures what the API does"
                )
        if found.problem:
            said.append(
                f"{DROP_TABLES}: what {version.label} makes of it by itself could not be seen to the end"
                f" ({found.problem}); the rehearsal measures what the API does"
            )
    return list(dict.fromkeys(said))


def refuse_drop_tables_imported(stack: Stack, version: Version, there: AppSession) -> None:
    """The same for models that import only where there is a database: on a copy."""
    if stack.environment != "development":
        _refuse_found(stack, version, there, "environment.imported")


def refuse_unpointable(stack: Stack, app_session: AppSession) -> None:
    """Settings that cannot be pointed at a copy, and an API that a trial would start on the live database, would stop
    the rehearsal that follows, after the backup and perhaps its proof."""
    app_session.refuse_live_trial(app_session.environment_for(f"{stack.database.conninfo.dbname}_copy"))


def _refuse_found(stack: Stack, version: Version, app_session: AppSession, call: str) -> ApplicationFindings:
    request = {"variable": DROP_TABLES, **as_object(app_session.surroundings())}
    found = read_known(ApplicationFindings, app_session.call(call, request, deadline_s=300))
    for item in found.found:
        refuse_drop_tables(stack.environment, {f"{item.source} ({version.label})": {DROP_TABLES: item.value}})
    return found


def refuse_server(database: Database, facts: ServerFacts) -> None:
    """The server must be a primary that the client programs at its site can dump."""
    if facts.in_recovery:
        raise Refused(
            f"The database on {database.site.label} is a standby: it cannot be changed.",
            hint="Point the inventory at the primary.",
        )
    refuse_clients(database, facts.major)


def refuse_unprovable(database: Database, proof: str) -> None:
    """The backup that follows must be possible: a right that is missing, or what no dump can be restored with, would
    stop it after the API has been looked at and a release opened. ``proof``: that of the backup; empty for none."""
    if proof:
        with content_digest.snapshot_session(database) as session:
            provable.refuse_unprovable(database, session, proof)


def refuse_many_databases(variable: str, environments: Mapping[str, Mapping[str, str]]) -> None:
    """Several containers of one API must share one database: the deploy migrates only that of the first."""
    urls = {name: values.get(variable, "") for name, values in environments.items()}
    if len(set(urls.values())) > 1:
        raise Refused(
            f"The containers of the API do not have the same {variable}: {'; '.join(urls)}.",
            hint="Containers with databases of their own are stacks of their own: give each an inventory host.",
        )


@contextlib.contextmanager
def absence_explained(stack: Stack) -> Iterator[None]:
    """Whatever fails while the live database stands behind a fence that this state folder does not know, says so, with
    the statements that lift the fence by hand."""
    try:
        yield
    except PapError as error:
        with contextlib.suppress(PapError):
            said = databases.stranded(stack.database)
            if said and said not in error.hint:
                error.hint = f"{said} {error.hint}".strip()
        raise


# The modules that lead a release to its end.
_OF_A_DEPLOY = ("backup", "rehearse", "migrate", "watch", "receipt", "login_smoke_test", "validate", "finish")


@contextlib.contextmanager
def disk_explained(state: State, release: str, work: str) -> Iterator[None]:
    """A failure that a disk caused names that disk. A release that has touched nothing yet ends with it: there is
    nothing to roll back. ``work``: the module of the phase."""
    try:
        # A release that is live has only to end: rolling back would cost what its users wrote.
        live = release and work in _OF_A_DEPLOY and state.journal(release).has("activate")
        with storage.on_the_way_out() if live else contextlib.nullcontext():
            yield
    except (OSError, StorageFailed) as error:
        failure = storage.explained(error)
        if failure is None:
            raise
        if release and work in _OF_A_DEPLOY and not (journal := state.journal(release)).touched:
            state.refuse_release(journal, failure)
            failure.data["live"] = "The API had not been stopped and no migration had begun; the release has ended."
        raise failure from error


def refuse_problems(problems: Sequence[Problem]) -> None:
    if problems:
        hint = next(filter(None, (item.hint for item in problems)), "Correct the migrations folder.")
        raise Refused(" ".join(item.message for item in problems), hint=hint, problems=whole(problems))


def refuse_unexplained(found: Findings) -> None:
    """With no migration pending, a difference that fails the check cannot be repaired by this deploy."""
    if found.pending or not found.failing:
        return
    listed = "; ".join(f"{item.object}: {item.kind}" for item in found.failing[:5])
    hint = "The models were changed without a migration. Write it: python -m papdeploy new NAME --from-models"
    if not found.migrations:
        hint = "pap_migrations_dirs names no migration: set it to the folders of this application's migrations,"
        " or pap_alembic to its Alembic tree."
    more = f" and {len(found.failing) - 5} more" if len(found.failing) > 5 else ""
    raise Refused(
        f"The models of {found.candidate.label} do not match the database and no migration is pending: {listed}{more}.",
        hint=hint,
        differences=whole(found.differences),
        lines=[line for item in found.failing for line in [item.sentence(), *(f"  {sql}" for sql in item.repair[:3])]],
    )


def _look_at_login(config: SmokeConfig) -> str:
    paths = "whether the paths are right (pap_smoke_me_path, pap_smoke_health_path)"
    if config.login == "header":
        return f"Look whether the key of pap_smoke_token is still valid, and {paths}."
    if config.login == "none":
        return f"Look {paths}."
    return (
        f"Look whether the user {config.username!r} can log in (pap_smoke_username, pap_smoke_password) and"
        " whether the paths are right (pap_smoke_login_path, pap_smoke_me_path, pap_smoke_health_path)."
    )


def refuse_failing_login(stack: Stack, found: Findings, before: smoke.Baseline) -> None:
    """What fails at the API that runs would fail at the new one too: after a backup and a rehearsal, or an outage."""
    if not before.problem:
        return
    raise Refused(
        f"The login smoke test of {stack.label} already fails at the API that runs ({found.running.label}):"
        f" {before.problem}.",
        hint=f"{before.advice or _look_at_login(stack.smoke)} If this deploy is what mends it:"
        " -e preflight_allow_failing_login=true",
        problem=before.problem,
    )
