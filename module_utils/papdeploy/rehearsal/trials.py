"""Start a version of the API on the copy and try it as the deploy will: health, login, calls, no endpoint worse."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Optional

from .. import smoke
from ..core import database_url
from ..core.database_url import DatabaseUrl, Hosts
from ..errors import PapError, Refused, Unavailable
from ..postgres import Database, bind, quote_literal
from ..smoke import SmokeConfig, SmokeFailed
from ..stack import Stack
from ..trial import Trial

_POLL_S = 0.05
_PATIENCE_S = 3.0  # what a backend has read, and what an API logs of an error, shows a moment later
_QUIET_S = 0.3  # a log that grows no more for so long is taken for whole
# How often any table of the database was read, by whomever. Reading catalogs does not count.
_READS = "SELECT coalesce(sum(seq_scan + coalesce(idx_scan, 0)), 0)::int8 AS reads FROM pg_stat_user_tables"
_LOG_LINES = 15
OPENAPI_PATH = "/openapi.json"


@dataclass(frozen=True)
class Change:
    """What is different in the environment of a trial. ``variables`` may hold secrets: never print the values."""

    variables: dict[str, str] = field(repr=False)
    pointed: Sequence[str] = ()


def environment_changes(
    environment: Mapping[str, str],
    variable: str,
    live: str,
    copy: str,
    name: str,
    extra: Mapping[str, str],
    *,
    url: str = "",
    hosts: Hosts = (),
) -> Change:
    """The changes that lead a trial to database ``copy`` and to nothing of database ``live``.

    Every variable that holds a URL or a connection string of the live database, or its name where a database is named,
    points to the copy, and ``variable`` does whichever database it names, for a pooler may have a name of its own;
    ``name`` becomes the application name of the sessions (for drivers that use libpq); ``extra`` is added last.
    ``url``: the inventory's, of an API that has none in its environment, but the parts of one. ``hosts``: where the
    server itself is, if the API's own way goes through a pooler, which does not know the copy.
    """
    pointed: dict[str, str] = {}
    for key, value in environment.items():
        named = _database_named(key, value)
        if named is not None and (named == live or key == variable):
            copied = database_url.with_database(value, copy)
            pointed[key] = database_url.with_server(copied, hosts) if hosts else copied
        elif value == live and (key == variable or "DATABASE" in key.upper() or "DB" in key.upper()):
            pointed[key] = copy
    if hosts and (url or variable in environment):
        theirs = database_url.find(url or environment[variable])
        pointed.update(_server_parts(environment, theirs, hosts) if theirs else {})
    if url and not pointed:
        raise Refused(
            f"Nothing in the environment of the API names the database {live}, so a trial would start on that one.",
            hint="Set pap_database_url_variable to the variable that does, or pap_api_trial_command to [] (no trial).",
        )
    if not url and variable not in environment:
        raise Refused(
            f"{variable} is not set in the environment of the API.",
            hint="Set pap_database_url_variable to the variable that holds the database URL.",
        )
    if not url and variable not in pointed:
        raise Refused(
            f"{variable} holds neither a URL, nor a connection string, nor the name {live}.",
            hint="Set pap_database_url_variable to the variable that names the API's database.",
        )
    # What a Python program has printed is in its log also if it is ended before it has filled a buffer.
    return Change({**pointed, "PYTHONUNBUFFERED": "1", "PGAPPNAME": name, **extra}, sorted(pointed))


def _server_parts(environment: Mapping[str, str], theirs: DatabaseUrl, hosts: Hosts) -> dict[str, str]:
    """Variables that hold the host of ``theirs``, and the ports beside them, with the first of ``hosts`` instead."""
    host, port = hosts[0]
    parts: dict[str, str] = {}
    for key, value in environment.items():
        word = re.search("HOST|SERVER|ADDR", key.upper())
        if word and value == theirs.host:
            parts[key] = host
            beside = (name for name in environment if name.startswith(key[: word.start()]) and "PORT" in name.upper())
            parts.update((name, str(port or 5432)) for name in beside if environment[name] == str(theirs.port or 5432))
    return parts


def _database_named(variable: str, value: str) -> Optional[str]:
    """The database of a URL or a connection string (empty: it names none); None: it is neither."""
    try:
        found = database_url.find(value)
    except Refused as error:
        raise Refused(f"{variable} of the API's environment: {error.message}", hint=error.hint) from None
    return None if found is None else found.dbname


class SessionWatch:
    """Which database a trial really uses: its sessions, as the server sees them, while the block runs.

    Nobody but the trial knows the copy, so every foreign session there is its own, and so is every read of its tables
    (sessions without a pool are too short to be seen). A session with its application name in the live database is one
    that should not be: the server ends it.
    """

    def __init__(self, copy: Database, live: str, name: str) -> None:
        self.in_copy = 0
        self.in_live = 0
        self.problem: Optional[BaseException] = None
        self._copy = copy
        self._reads = int(copy.scalar(_READS))
        self._query = (
            "SELECT count(*) FILTER (WHERE datname = current_database()) AS copy,"
            " count(CASE WHEN datname <> current_database() THEN pg_terminate_backend(pid) END) AS live"
            " FROM pg_stat_activity"
            f" WHERE (datname = current_database() AND application_name NOT LIKE {quote_literal('pap-deploy:%')}"
            " AND backend_type = 'client backend')"
        ) + bind(" OR (datname = %s AND application_name = %s)", live, name)
        self._stop = threading.Event()

    def __enter__(self) -> SessionWatch:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _watch(self) -> None:
        try:
            with self._copy.session() as session:
                while not self._stop.wait(0.03):
                    row = session.rows(self._query)[0]
                    self.in_copy = max(self.in_copy, int(row["copy"]))
                    self.in_live = max(self.in_live, int(row["live"]))
        except Exception as error:  # noqa: BLE001 - raised in refuse_leak: a blind watch proves nothing
            self.problem = error

    def refuse_leak(self) -> None:
        """Raise if the trial was seen in the live database."""
        if self.problem:
            raise Unavailable(f"The sessions of the API on trial could not be watched: {self.problem}")
        if self.in_live:
            raise PapError(
                "The API on trial connected to the live database; its sessions there and then the trial were ended.",
                hint="It has the address from somewhere else than its environment. Until that is changed, set"
                " pap_api_trial_command to [] (no trial), or pap_rehearse=false.",
            )

    def refuse_elsewhere(self) -> None:
        """Raise if the trial never used the copy: whatever it proved, it did not prove it of the copy."""
        self.refuse_leak()
        limit = time.monotonic() + _PATIENCE_S
        while not self.in_copy and int(self._copy.scalar(_READS)) == self._reads:
            if time.monotonic() < limit:
                time.sleep(_POLL_S)
                continue
            raise PapError(
                "The API on trial never connected to the copy, so it has its database from somewhere else.",
                hint="Set pap_database_url_variable to the variable that it takes its database URL from.",
            )


def attempt(
    stack: Stack,
    version: Mapping[str, Any],
    copy: Database,
    *,
    release: str,
    baseline: Optional[Sequence[Mapping[str, Any]]],
    extra: Mapping[str, str],
    rows: bool,
    deadline: float,
    on_healthy: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Try ``version`` on ``copy`` and say how it went: ``works`` is None where it could not be tried or told (``why``).

    ``rows``: the copy holds every row, so the smoke user must be in it. ``deadline`` is a moment (monotonic).
    ``on_healthy`` is called between the start and the smoke test. Raises PapError only if the trial did not use the
    copy.
    """
    result: dict[str, Any] = {"label": version.get("label"), "works": None, "why": stack.api.trial_obstacle(version)}
    if result["why"]:
        return result
    live = stack.database.conninfo.dbname
    name = f"pap-trial:{release}"
    environment = stack.api.environment(version)
    hosts = database_url.read(stack.direct_url).hosts if stack.direct_url else ()
    change = environment_changes(
        environment,
        stack.url_variable,
        live,
        copy.conninfo.dbname,
        name,
        extra,
        url=stack.database_url,
        hosts=hosts,
    )
    stack.redactor.learn_environment(environment)
    result["pointed"] = list(change.pointed)
    watcher = copy.as_release(f"{release}:trial")
    with SessionWatch(watcher, live, name) as sessions, stack.api.trial(version, change.variables) as trial:
        config = SmokeConfig(base_url=trial.base_url, **stack.smoke_settings)
        config = replace(config, health_deadline_s=max(1.0, min(config.health_deadline_s, deadline - time.monotonic())))
        try:
            result["healthy_after_s"] = round(_wait(config, trial, sessions), 3)
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
        if result["works"]:
            sessions.refuse_elsewhere()
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
        return {"works": None, "why": "the copy does not hold the smoke user, so nobody could log in", **found}
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
