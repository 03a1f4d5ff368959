"""Preflight: look at everything, change nothing, refuse with one sentence, or say what the deploy would do."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from .. import databases
from ..app.stack import Stack
from ..core.database_url import objection_of_sqlalchemy, read
from ..core.durable import private_folder, write_durably
from ..core.errors import PapError, Refused
from ..core.private import refuse_without_right
from ..core.records import FROM, TO, read_known, whole
from ..core.text import plural
from ..migrations.alembic import declaration as alembic_tree
from ..migrations.cli.results import State
from ..migrations.files import SUFFIXES, TEMPLATE
from ..releases.journal import Journal
from ..releases.run import Run
from ..releases.version import Version
from ..schema import CheckOptions, Difference, compare, drift, fingerprint, judge
from ..schema.catalog.rows import Catalog
from ..schema.differences.catalogs import comparable
from ..schema.differences.result import Checked
from . import (
    api_watch,
    forecast,
    guards,
    live_check,
    login_baseline,
    models_ddl,
    release_content,
    schema_ahead,
    watch,
    watch_sight,
)
from .catalogs import described
from .findings import Findings
from .result import Printed, Result


@dataclass(frozen=True)
class Options:
    """What the inventory decides about the preflight. ``proof``: that of the backup that follows; empty for none.
    ``rehearse``: whether a rehearsal follows. ``blindness``: warn, fail, or nothing where no watch follows;
    ``watch``: options of the one that follows."""

    proof: str = ""
    rehearse: bool = False
    allow_drift: bool = False
    allow_out_of_order: bool = False
    allow_failing_login: bool = False
    try_login: bool = False
    force: bool = False
    blindness: str = ""
    watch: Mapping[str, Any] = field(default_factory=dict)
    prometheus_token: str = field(default="", repr=False)
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Looked(Result):
    """``pending`` migrations, the labels of both versions, ``would_fail``: why the deploy would (in check mode)."""

    pending: Sequence[str]
    old: str = field(metadata=FROM)
    new: str = field(metadata=TO)
    nothing_to_do: bool
    release: str
    changed: bool
    would_fail: str
    diff: Optional[Sequence[forecast.Diff]] = None


def run(
    stack: Stack,
    sources: Mapping[str, str],
    who: Run,
    options: Options,
    *,
    check_mode: bool,
    versions: Mapping[str, str],
) -> Looked:
    """Look, then refuse, or (in check mode) forecast, or open the release."""
    started = time.monotonic()
    stack.state.lock.by(who)
    _refuse_unless_free(stack)
    databases.refuse_absent(stack.database)
    with live_check.unchanged(stack, "the plan" if check_mode else "the preflight") as live:
        findings = look(stack, sources, options, with_baseline=not check_mode)
        nothing_to_do = findings.nothing_to_do and not options.force
        predicted = (
            forecast.forecast(stack, sources, findings, CheckOptions.from_dict(options.schema))
            if check_mode and not nothing_to_do
            else None
        )
    release, lines = "", findings.lines
    if nothing_to_do:
        lines.append(f"nothing to deploy: {findings.running.label} runs, no migration is pending, {findings.schema}")
    elif predicted is not None:
        # After the measurement, because a login writes.
        login, fails = login_baseline.tried(stack, findings, options.allow_failing_login, options.try_login)
        lines += [*predicted.lines, *login, live.sentence]
        predicted = replace(predicted, fails=" ".join(filter(None, (predicted.fails, fails))))
    else:
        journal = _open(stack, sources, who, findings, versions)
        release = journal.release
        lines += [*api_watch.note(stack, journal), f"release {release} begins"]
        journal.append(
            "preflight",
            "done",
            lines=lines,
            seconds=round(time.monotonic() - started, 2),
            baseline=None if findings.baseline is None else [asdict(endpoint) for endpoint in findings.baseline],
            health=findings.health,
            login=findings.login,
            reversible=findings.reversible,
            models_digest=findings.models_digest,
            live_fingerprint=fingerprint(findings.live),
            content=findings.content.noted if findings.content else None,
        )
    return Looked(
        Printed("preflight", lines),
        pending=findings.names,
        old=findings.running.label,
        new=findings.candidate.label,
        nothing_to_do=nothing_to_do,
        release=release,
        changed=not nothing_to_do,
        would_fail=predicted.fails if predicted else "",
        diff=predicted.diff if predicted else None,
    )


def _refuse_unless_free(stack: Stack) -> None:
    stack.state.lock.refuse_held()
    unfinished = stack.state.unfinished()
    if unfinished:
        raise Refused(
            f"Release {unfinished.release} of {stack.label}, or its rollback, was interrupted and has not been ended.",
            hint="End it first: ansible-playbook rollback.yml -l " + stack.name,
            release=unfinished.release,
        )


def look(stack: Stack, sources: Mapping[str, str], options: Options, *, with_baseline: bool) -> Findings:
    """Everything there is to know before a deploy, with every guard. At most a scratch database comes and goes."""
    refuse_without_right(stack.state.folder)
    running, candidate = stack.api.running(), stack.api.candidate()
    coming = stack.api.environments(candidate)
    unseen = _refuse_drop_tables(stack, running, candidate, coming, options)
    facts = stack.database.facts()
    stack.database.registry.refuse_other(facts.identifier)
    guards.refuse_server(stack.database, facts)
    guards.refuse_many_databases(stack.url_variable, coming)
    found, plan, more = _beside_models(
        stack, sources, options, running, candidate, facts.version, with_content=with_baseline
    )
    check = CheckOptions.from_dict(options.schema)
    verdict = judge(compare(found.expected, found.live, check), Checked(), check)
    found.judge(verdict, check)
    if found.switches:
        stack.api.refuse_without_right()
    if not found.nothing_to_do or options.force:
        databases.refuse_unready(stack.database)
        guards.refuse_unprovable(stack.database, options.proof)
    said, unseen = _refuse_drift(stack, found, options), [*unseen, *more]
    ahead = schema_ahead.of(stack, running, plan.applied)
    if ahead:
        unseen.append(ahead.sentence)
        if found.nothing_to_do:  # what the newer schema has is no fault of the models that run
            found.judge(ahead.explain(verdict, found.expected, check), check)
    guards.refuse_unexplained(found)
    if with_baseline and not found.nothing_to_do:
        unseen.append(login_baseline.look(stack, found, options.allow_failing_login))
        said += watch_sight.lines(stack, options.blindness)
    if options.watch and (options.force or not found.nothing_to_do):
        said += watch.look_ahead(stack, options.watch, options.prometheus_token)
    said += _noticed(stack, found)
    found.lines = [*_lines(stack, found), *_ways(stack, candidate), *said, *unseen]
    return found


def _beside_models(
    stack: Stack,
    sources: Mapping[str, str],
    options: Options,
    running: Version,
    candidate: Version,
    server_version: int,
    *,
    with_content: bool,
) -> tuple[Findings, State, list[str]]:
    """What is found beside the models of ``candidate``, the plan of the migrations, and what could not be seen."""
    with stack.beside_models(candidate) as app_session:
        # Before anything else imports the models.
        unseen = guards.refuse_drop_tables_inside(stack, candidate, app_session)
        if options.rehearse:
            guards.refuse_unpointable(stack, app_session)
        digest = models_ddl.digest(stack, candidate, app_session, server_version)
        request = {"sources": dict(sources), "options": {"allow_out_of_order": options.allow_out_of_order}}
        plan = read_known(State, app_session.call("migrations.plan", request, deadline_s=120))
        live = described(app_session)
        app_session.prove_api_url()
        content = release_content.measure(stack, candidate, app_session) if with_content else None
        guards.refuse_problems(plan.problems)
        expected = models_ddl.expected_catalog(stack, candidate, digest)
    found = Findings(
        running=running,
        candidate=candidate,
        server_version=server_version,
        pending=plan.pending,
        expected=expected,
        models_digest=digest,
        live=live,
        reversible=all(item.reversible for item in plan.pending),
        migrations=sum(map(_may_migrate, sources)),
        content=content,
    )
    return found, plan, [*unseen, *(f"note: {note}" for note in plan.notes)]


def _may_migrate(name: str) -> bool:
    """Whether a text that came from the controller is a migration, or declares a tree of them."""
    return name == alembic_tree.FILE or ("/" not in name and name.endswith(SUFFIXES) and name != f"{TEMPLATE}.py")


def _refuse_drop_tables(
    stack: Stack, running: Version, candidate: Version, coming: Mapping[str, Mapping[str, str]], options: Options
) -> list[str]:
    """Refuse where an environment, present or ``coming``, tells the API to drop tables. Returns what was not seen."""
    guards.refuse_drop_tables(
        stack.environment,
        {
            **{f"the environment of the API that runs ({n})": e for n, e in stack.api.environments(running).items()},
            **{f"the environment of the API to deploy ({name})": env for name, env in coming.items()},
            **stack.api.declared(candidate),
            "the environment of this deploy": stack.database.site.environment(),
        },
    )
    return _look_at_running(stack, running, options) if running.identity != candidate.identity else []


def _noticed(stack: Stack, found: Findings) -> list[str]:
    """What does not stop a deploy and a person should know of: the clock, and databases that only look like ours."""
    lines = [stack.state.clock_went_back(), *look_alike_lines(stack)]
    if not found.nothing_to_do:
        lines += [f"a rollback could not swap or restore: {why}" for why in databases.no_swap(stack.database)]
    return [line for line in lines if line]


def look_alike_lines(stack: Stack) -> list[str]:
    """The databases that say they were made for this stack and are not its own, with the reason."""
    return [
        f"database {other.name} carries a record of pap-deploy, but is not ours and never touched: {other.why}"
        for other in databases.look_alikes(stack.database)
    ]


def _ways(stack: Stack, candidate: Version) -> list[str]:
    """What a person has to know about the URLs by which the API and this deploy reach the database."""
    url = stack.api_url(stack.api.environment(candidate), candidate.label)
    objection = "" if stack.database_url else objection_of_sqlalchemy(url)
    said = [f"note: {stack.url_variable}: {objection} The application has to see to that." if objection else ""]
    if stack.direct_url:
        said.append(f"database: the API connects to {read(url).label}, this deploy to {read(stack.direct_url).label}")
    return [line for line in said if line]


def _look_at_running(stack: Stack, running: Version, options: Options) -> list[str]:
    """A rollback starts the API that runs now again, and a rehearsal tries it. What it would find then is looked at as
    far as it can be; returns what the summary has to say."""
    try:
        with stack.beside_models(running) as app_session:
            if options.rehearse:
                guards.refuse_unpointable(stack, app_session)
            return guards.refuse_drop_tables_inside(stack, running, app_session)
    except Refused:
        raise
    except PapError as error:
        return [f"CC_DROP_TABLES: what {running.label} sets by itself could not be seen ({error.message})"]


def _refuse_drift(stack: Stack, found: Findings, options: Options) -> list[str]:
    """Since the last release no table may have been altered by hand, unless the inventory says that it is known.

    The fingerprint says whether to look; the two catalogs say what changed. Where nothing did but the spelling (a dump
    that was restored prints casts in other places), nothing was altered. Returns what the summary has to say.
    """
    remembered = stack.state.last_schema()
    if not remembered or remembered[1] == fingerprint(found.live) or options.allow_drift:
        return []
    last, _ = remembered
    path = last.folder / "catalog.json"
    changed: list[Difference] = []
    if path.is_file():
        before = Catalog.kept(path)
        if before is None or not comparable(before, found.live):
            other = "the server's major version or pap-deploy is another one"
            return [f"drift: cannot be told, because since release {last.release} {other}"]
        changed = drift(before, found.live, CheckOptions.from_dict(options.schema).ignore)
        if not changed:
            return []
    more = f" and {len(changed) - 10} more" if len(changed) > 10 else ""
    names = "; ".join(f"{item.object}: {item.kind}" for item in changed[:10])
    raise Refused(
        f"The schema of {stack.label} was changed outside of pap-deploy since release {last.release}:"
        f" {names or 'the catalog has another fingerprint, and the catalog from that time is gone'}{more}.",
        hint="Find out who and why, then undo it or make it a migration."
        " To go on as it is: -e preflight_allow_drift=true",
        drift=[f"{item.object}: {item.kind}" for item in changed],
        lines=[item.sentence("the release left", "now there is") for item in changed],
    )


def _lines(stack: Stack, found: Findings) -> list[str]:
    server = f"PostgreSQL {found.server_version // 10000}.{found.server_version % 10000}"
    lines = [f"{stack.label}: {server}, database {stack.database.conninfo.dbname}"]
    if found.nothing_to_do:
        return lines
    lines += stack.found
    what = "runs and stays" if not found.switches else "runs, to be replaced by " + found.candidate.label
    lines.append(f"API: {found.running.label} {what}")
    names = ", ".join(found.names)
    none = "no migration pending" if found.migrations else "no migration pending: pap_migrations_dirs names no file"
    lines.append(f"migrations pending: {names}" if names else none)
    if found.failing:
        total, failing = len(found.differences), len(found.failing)
        lines.append(
            f"schema: {plural(total, 'difference')} from the new models, {failing} of which this deploy must repair"
        )
    return lines


def _open(stack: Stack, sources: Mapping[str, str], who: Run, found: Findings, versions: Mapping[str, str]) -> Journal:
    """Take the lock, open the journal, and keep with the release what its rollback needs later."""
    journal = stack.state.begin(
        who,
        stack=stack.name,
        environment=stack.environment,
        **{"from": found.running, "to": found.candidate},
        pending=found.names,
        server_version=found.server_version,
        versions=dict(versions),
    )
    try:
        databases.refuse_unready(stack.database, journal.release)  # the names are known only now
        keep: dict[str, Any] = {
            "migrations.json": dict(sources),
            "expected.json": found.expected.as_json(),
            "before.json": found.live.as_json(),
            "differences.json": whole(found.differences),
        }
        for name, value in keep.items():
            write_durably(journal.folder / name, json.dumps(value, ensure_ascii=False).encode(), vital=False)
        if found.content:
            release_content.keep(journal, found.content)
        cache = private_folder(stack.state.folder / "cache") / f"expected-{found.models_digest}.json"
        if not cache.exists():
            write_durably(cache, json.dumps(found.expected.as_json()).encode(), vital=False)
    except PapError as error:
        stack.state.refuse_release(journal, error)
        raise
    return journal


def read_kept(folder: Path, name: str) -> Any:
    """What :func:`_open` kept with a release."""
    return json.loads((folder / name).read_text(encoding="utf-8"))
