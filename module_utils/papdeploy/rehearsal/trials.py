"""Start a version of the API on the copy and try it as the deploy will: health, login, calls, no endpoint worse."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Callable, Optional

from ..app import smoke
from ..app.api_client import SmokeConfig, request
from ..app.login import refuses
from ..app.process_sockets import ProcessSockets
from ..app.smoke import SmokeFailed
from ..app.stack import Stack
from ..app.trial import Trial
from ..core.errors import PapError, Unavailable, Unhealthy, VerificationFailed
from ..core.records import recorded
from ..databases.psql import Database
from ..databases.session_watch import SessionWatch
from ..environment.copy_environment import CopyEnvironment
from ..releases.parts import Endpoint, FailureData, Smoke
from ..releases.rehearsed import Tried
from ..releases.version import Version

_POLL_S = 0.05
_PATIENCE_S = 3.0  # what a backend has read, and what an API logs of an error, shows a moment later
_QUIET_S = 0.3  # a log that grows no more for so long is taken for whole
_LOG_LINES = 15
OPENAPI_PATH = "/openapi.json"


@dataclass(frozen=True)
class Terms:
    """How a version is tried. ``baseline``: what the endpoints answered before. ``made``: what leads it to the copy.
    ``rows``: the copy holds every row, so the smoke user must be in it. ``deadline`` is a moment (monotonic).
    ``candidate``: what the inventory declares of its answers must be so; else only what was so before."""

    release: str
    made: CopyEnvironment
    rows: bool
    deadline: float
    baseline: Optional[Sequence[Endpoint]] = None
    candidate: bool = True


def attempt(
    stack: Stack, version: Version, copy: Database, terms: Terms, on_healthy: Callable[[], None] = lambda: None
) -> Tried:
    """Try ``version``, for which there is no obstacle, on ``copy``: ``works`` is None where that cannot be told.

    ``on_healthy`` is called between the start and the smoke test. Raises PapError only if the trial did not use the
    copy. ``start_s``: from nothing to the first healthy answer; ``stop_s``: until nothing of it was left.
    """
    name, sockets = f"pap-trial:{terms.release}", ProcessSockets()
    # What a Python program has printed is in its log also if it is ended before it has filled a buffer.
    variables = {
        **terms.made.variables,
        **sockets.environment,
        "PYTHONUNBUFFERED": "1",
        "PGAPPNAME": name,
        **stack.copy_variables,
    }
    stack.redactor.learn_environment(stack.api.environment(version))
    watcher, live = copy.as_release(f"{terms.release}:trial"), stack.database.conninfo.dbname
    watch = SessionWatch(watcher, live, "the API on trial", sockets.holder, stack.seen_on_live, name)
    stop_s: Optional[float] = None
    with watch as sessions:
        began = time.monotonic()
        with stack.api.trial(version, replace(terms.made, variables=variables), sockets) as trial:
            limit_s = max(1.0, terms.deadline - time.monotonic())
            config = SmokeConfig(base_url=trial.base_url, **stack.smoke_settings)
            config = config if terms.candidate else config.of_before()
            config = replace(config, health_deadline_s=min(config.health_deadline_s, limit_s))
            tried = _tried(config, trial, sessions, terms, began, on_healthy)
            if tried.works and not sessions.used_copy(_PATIENCE_S):
                raise VerificationFailed(
                    "The API on trial never connected to the copy, so it has its database from somewhere else.",
                    hint="Set pap_database_url_variable to the variable that it takes its database URL from.",
                )
            sessions.refuse_leak()
            if tried.works:
                stopping = time.monotonic()
                trial.stop()
                stop_s = time.monotonic() - stopping
    if stop_s is not None:
        stop_s = round(stop_s + trial.removed_s(), 3)
    left = tuple(f"{each.program} (process {each.pid})" for each in sockets.left)
    return replace(tried, label=version.label, pointed=tuple(terms.made.pointed), stop_s=stop_s, left=left)


def _tried(
    config: SmokeConfig,
    trial: Trial,
    sessions: SessionWatch,
    terms: Terms,
    began: float,
    on_healthy: Callable[[], None],
) -> Tried:
    """Wait until it is healthy and log in; what came of it."""
    tried = Tried()
    try:
        healthy_after_s = round(trial.waited_s + _wait(config, trial, sessions), 3)
        tried = Tried(healthy_after_s=healthy_after_s, start_s=round(time.monotonic() - began, 3))
        on_healthy()
        found = smoke.run(config, terms.baseline)
        tried = replace(tried, works=True, checks=found.checks, endpoints=found.endpoints)
        if not config.endpoints:
            proposed = proposed_endpoints(request(config, OPENAPI_PATH).body)
            tried = replace(tried, proposed=tuple(proposed))
    except SmokeFailed as error:
        tried = replace(_judged(tried, error, terms.rows), log=_tail(trial))
    except PapError as error:
        sessions.refuse_leak()
        tried = replace(tried, works=False, why=error.message, log=_tail(trial))
    sessions.refuse_leak()
    return tried


@dataclass(frozen=True)
class _Parameter:
    required: bool = False


@dataclass(frozen=True)
class _Operation:
    parameters: tuple[_Parameter, ...] = ()


@dataclass(frozen=True)
class _Path(_Operation):
    get: Optional[_Operation] = None


@dataclass(frozen=True)
class _OpenApi:
    paths: Mapping[str, _Path] = field(default_factory=dict)


def proposed_endpoints(document: object) -> list[str]:
    """The GETs of an OpenAPI document that need no path parameter and no required query: what could be declared."""
    return sorted(
        path
        for path, methods in recorded(_OpenApi, document).paths.items()
        if methods.get
        and "{" not in path
        and not any(each.required for each in (*methods.parameters, *methods.get.parameters))
    )


def _wait(config: SmokeConfig, trial: Trial, sessions: SessionWatch) -> float:
    """Seconds until it is healthy; raises Unavailable as soon as it has ended, or at the deadline of ``config``;
    and where it was seen in the live database."""
    started = time.monotonic()
    said = "it was not asked"
    while time.monotonic() - started < config.health_deadline_s:
        answer = request(config, config.health_path, seconds=smoke.HEALTH_S)
        sessions.refuse_leak()
        if answer.good:
            return time.monotonic() - started
        said = answer.said
        code = trial.ended()
        if code is not None:
            last = next((line for line in reversed(_whole(trial).splitlines()) if line.strip()), "no log")
            raise Unavailable(f"it ended with exit code {code} before it was healthy: {last}")
        time.sleep(_POLL_S)
    raise Unhealthy(f"it was not healthy within {config.health_deadline_s:g} s: {said}")


def _judged(tried: Tried, error: SmokeFailed, rows: bool) -> Tried:
    found = recorded(FailureData, error.data).smoke or Smoke()
    failed = [check for check in found.checks if not check.ok]
    tried = replace(tried, checks=found.checks, endpoints=found.endpoints)
    if not rows and failed == list(found.checks[:1]) and refuses(failed[0]):
        refused = f"the {failed[0].name} was refused (status {failed[0].status})"
        return replace(tried, why=f"{refused}, as where the smoke user is missing from the copy, so it proves nothing")
    why = "; ".join(f"{check.name}: {check.detail}" for check in failed)
    return replace(tried, works=False, why=why)


def _whole(trial: Trial) -> str:
    """Its log, as soon as that stands still: an API logs an error a moment after it has answered with it."""
    limit = time.monotonic() + _PATIENCE_S
    said, since = trial.log(), time.monotonic()
    while time.monotonic() < min(limit, since + _QUIET_S):
        time.sleep(_POLL_S)
        now = trial.log()
        if now != said:
            said, since = now, time.monotonic()
    return said


def _tail(trial: Trial) -> str:
    return "\n".join(_whole(trial).splitlines()[-_LOG_LINES:])
