"""Start a version of the API on the copy and try it as the deploy will: health, login, calls, no endpoint worse."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Callable, Optional

from ..app import smoke
from ..app.process_sockets import ProcessSockets
from ..app.smoke import SmokeConfig, SmokeFailed
from ..app.stack import Stack
from ..app.trial import Trial
from ..core.errors import PapError
from ..databases.psql import Database
from ..databases.session_watch import SessionWatch
from ..environment.copy_environment import CopyEnvironment
from ..releases.version import Version

_POLL_S = 0.05
_PATIENCE_S = 3.0  # what a backend has read, and what an API logs of an error, shows a moment later
_QUIET_S = 0.3  # a log that grows no more for so long is taken for whole
_LOG_LINES = 15
OPENAPI_PATH = "/openapi.json"


def attempt(
    stack: Stack,
    version: Version,
    copy: Database,
    *,
    release: str,
    baseline: Optional[Sequence[Mapping[str, Any]]],
    made: CopyEnvironment,
    rows: bool,
    deadline: float,
    on_healthy: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Try ``version`` on ``copy`` and say how it went: ``works`` is None where it could not be tried or told (``why``).

    ``made``: what leads it to the copy. ``rows``: the copy holds every row, so the smoke user must be in it.
    ``deadline`` is a moment (monotonic). ``on_healthy`` is called between the start and the smoke test. Raises PapError
    only if the trial did not use the copy. ``start_s``: from nothing to the first healthy answer; ``stop_s``: until
    nothing of it was left.
    """
    result: dict[str, Any] = {"label": version.label, "works": None, "why": stack.api.trial_obstacle(version)}
    if result["why"]:
        return result
    live = stack.database.conninfo.dbname
    name, sockets = f"pap-trial:{release}", ProcessSockets()
    # What a Python program has printed is in its log also if it is ended before it has filled a buffer.
    started = {
        **made.variables,
        **sockets.environment,
        "PYTHONUNBUFFERED": "1",
        "PGAPPNAME": name,
        **stack.copy_variables,
    }
    stack.redactor.learn_environment(stack.api.environment(version))
    result["pointed"] = list(made.pointed)
    watcher = copy.as_release(f"{release}:trial")
    watch = SessionWatch(watcher, live, "the API on trial", sockets.holder, stack.seen_on_live, name)
    with watch as sessions:
        began = time.monotonic()
        with stack.api.trial(version, replace(made, variables=started), sockets) as trial:
            limit_s = max(1.0, deadline - time.monotonic())
            config = SmokeConfig(base_url=trial.base_url, **stack.smoke_settings)
            config = replace(config, health_deadline_s=min(config.health_deadline_s, limit_s))

            def healthy() -> None:
                result["start_s"] = round(time.monotonic() - began, 3)
                on_healthy()

            result.update(_tried(config, trial, sessions, baseline, rows, healthy))
            if result["works"] and not sessions.used_copy(_PATIENCE_S):
                raise PapError(
                    "The API on trial never connected to the copy, so it has its database from somewhere else.",
                    hint="Set pap_database_url_variable to the variable that it takes its database URL from.",
                )
            sessions.refuse_leak()
            stopping = time.monotonic()
            if result["works"]:
                trial.stop()
            stopped = time.monotonic()
    if result["works"]:
        result["stop_s"] = round(stopped - stopping + trial.removed_s(), 3)
    result["left"] = [f"{each.program} (process {each.pid})" for each in sockets.left]
    return result


def _tried(
    config: SmokeConfig,
    trial: Trial,
    sessions: SessionWatch,
    baseline: Optional[Sequence[Mapping[str, Any]]],
    rows: bool,
    on_healthy: Callable[[], None],
) -> dict[str, Any]:
    """Wait until it is healthy and log in; what came of it."""
    result: dict[str, Any] = {}
    try:
        result["healthy_after_s"] = round(trial.waited_s + _wait(config, trial, sessions), 3)
        on_healthy()
        found = smoke.run(config, baseline).as_dict()
        result.update(works=True, why="", checks=found["checks"], endpoints=found["endpoints"])
        if not config.endpoints:
            result["proposed"] = proposed_endpoints(smoke.request(config, OPENAPI_PATH).body)
    except SmokeFailed as error:
        result.update(_judged(error, rows), log=_tail(trial))
    except PapError as error:
        sessions.refuse_leak()
        result.update(works=False, why=error.message, log=_tail(trial))
    sessions.refuse_leak()
    return result


def proposed_endpoints(document: Any) -> list[str]:
    """The GETs of an OpenAPI document that need no path parameter and no required query: what could be declared."""
    paths = document.get("paths") if isinstance(document, dict) else None
    found = []
    for path, methods in (paths if isinstance(paths, dict) else {}).items():
        get = methods.get("get") if isinstance(methods, dict) else None
        if not isinstance(get, dict) or "{" in path:
            continue
        parameters = [*(methods.get("parameters") or []), *(get.get("parameters") or [])]
        if not any(isinstance(p, dict) and p.get("required") for p in parameters):
            found.append(str(path))
    return sorted(found)


def _wait(config: SmokeConfig, trial: Trial, sessions: SessionWatch) -> float:
    """Seconds until it is healthy; raises PapError as soon as it has ended or was seen in the live database, or at the
    deadline of ``config``."""
    started = time.monotonic()
    said = "it was not asked"
    while time.monotonic() - started < config.health_deadline_s:
        answer = smoke.request(config, config.health_path, seconds=smoke.HEALTH_S)
        sessions.refuse_leak()
        if answer.good:
            return time.monotonic() - started
        said = answer.said
        code = trial.ended()
        if code is not None:
            words = [line for line in _whole(trial).splitlines() if line.strip()]
            raise PapError(f"it ended with exit code {code} before it was healthy: {words[-1] if words else 'no log'}")
        time.sleep(_POLL_S)
    raise PapError(f"it was not healthy within {config.health_deadline_s:g} s: {said}")


def _judged(error: SmokeFailed, rows: bool) -> dict[str, Any]:
    found = error.data["smoke"]
    failed = [check for check in found["checks"] if not check["ok"]]
    why = "; ".join(f"{check['name']}: {check['detail']}" for check in failed)
    unknown = not rows and all(check["name"] == "login" and check["status"] in (401, 403) for check in failed)
    if unknown:
        return {"works": None, "why": "the smoke user is missing from the copy, so no login was tried", **found}
    return {"works": False, "why": why, **found}


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
