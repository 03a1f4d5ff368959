"""The login smoke test: what a person would try first after a deploy, and whether a page regressed.

Only the standard library: it runs on the target host, which may have nothing else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from ..core import http
from ..core.errors import Unhealthy, VerificationFailed
from ..core.records import whole
from ..releases.parts import Check, Endpoint, Smoke, Tested

HEALTH_S = 3.0
POLL_S = 0.05
REFUSED = (400, 401, 403, 422)  # how APIs answer a login that is wrong
STOPPED_S = 10.0  # that an API may go on after the command that stops it has ended
_SAMPLES, _SAMPLING_S = (
    20,
    1.0,
)  # how often what the watch will ask is asked before the deploy, and for how long at most
_KEYS = 100  # an object with more, or with longer ones than _KEY characters, holds data by name
_KEY = 100
_ANY = "*"


class _NoJSON:
    """What an answer without JSON says."""

    def __repr__(self) -> str:
        return "no JSON"


NO_JSON = _NoJSON()


@dataclass(frozen=True)
class SmokeConfig:
    """Where and how to log in. Everything but ``base_url`` and the credentials has the defaults of the PAP API."""

    base_url: str
    username: str
    password: str = field(repr=False)
    health_path: str = "/health"
    login_path: str = "/auth/login"
    me_path: str = "/auth/me"
    username_field: str = "username"
    password_field: str = "password"
    token_field: str = "access_token"
    endpoints: Sequence[str] = ()
    health_deadline_s: float = 60.0
    request_deadline_s: float = 10.0


@dataclass(frozen=True)
class Answer:
    """One answer: ``status`` 0 means that none came. ``body`` is its JSON, NO_JSON if it has none; ``ms`` is
    milliseconds.

    With a ``problem`` (a part of a sentence) the answer is broken, whatever its status.
    """

    status: int
    body: Any
    ms: float
    problem: str = ""

    @property
    def good(self) -> bool:
        return self.status == 200 and not self.problem

    @property
    def said(self) -> str:
        """What came, for a person."""
        status = f"status {self.status}" if self.status else ""
        return ": ".join(filter(None, (status, self.problem)))


class SmokeFailed(Unhealthy):
    """At least one check of the smoke test failed; ``data['smoke']`` has them all."""


def request(
    config: SmokeConfig,
    path: str,
    *,
    body: object = None,
    token: str = "",
    seconds: Optional[float] = None,
) -> Answer:
    """One request, at most ``seconds`` long. Never raises for what the API does: whatever comes of it is an answer."""
    if not config.base_url:
        return Answer(0, NO_JSON, 0.0, "it does not run")
    seconds = config.request_deadline_s if seconds is None else seconds
    headers = {"Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    url = config.base_url.rstrip("/") + path
    # The API is asked where it runs: a proxy of the environment has no business in between.
    answer = http.exchange(
        url,
        method="GET" if data is None else "POST",
        headers=headers,
        body=data,
        seconds=seconds,
        secrets=[token, config.password],
    )
    value, problem = (NO_JSON, answer.problem) if answer.problem else _json(answer)
    return Answer(answer.status, value, answer.ms, problem)


def _json(answer: http.Answer) -> tuple[Any, str]:
    """What the body says, and what is wrong with it: a page of another type is no JSON, and may well be so."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        return json.loads(answer.body.decode("utf-8")), ""
    except RecursionError:
        return NO_JSON, "its JSON is nested too deeply"
    except ValueError as error:
        called_json = kind == "application/json" or kind.endswith("+json")
        return NO_JSON, f"its body is no JSON ({http.shown(str(error))})" if called_json and answer.body else ""


def wait_until_healthy(config: SmokeConfig) -> float:
    """Seconds until ``health_path`` answers 200; raises Unhealthy at the deadline with the last thing it said."""
    started = time.monotonic()
    answer = Answer(0, NO_JSON, 0.0, "it was not asked")
    while time.monotonic() - started < config.health_deadline_s:
        left = config.health_deadline_s - (time.monotonic() - started)
        answer = request(config, config.health_path, seconds=max(min(HEALTH_S, left), POLL_S))
        if answer.good:
            return time.monotonic() - started
        time.sleep(POLL_S)
    raise Unhealthy(
        f"The API at {config.base_url} was not healthy within {config.health_deadline_s:g} s: {answer.said}.",
        hint="Read its log: it most likely failed to start.",
    )


def refuse_answering(config: SmokeConfig) -> None:
    """Raise PapError if the API is healthy although it was stopped: what is tried later would be the old one."""
    limit = time.monotonic() + STOPPED_S
    while request(config, config.health_path, seconds=HEALTH_S).good:
        if time.monotonic() > limit:
            raise VerificationFailed(
                f"The API was stopped, and is still healthy at {config.base_url}: the command for that does not stop"
                " it.",
                hint="Correct pap_api_stop_command. Where something else answers in front of the API, set"
                " pap_smoke_url to the address of the API itself.",
            )
        time.sleep(POLL_S)


def log_in(config: SmokeConfig, password: Optional[str] = None) -> tuple[Answer, str]:
    """The answer to a login and its token ("" if it gave none)."""
    body = {
        config.username_field: config.username,
        config.password_field: config.password if password is None else password,
    }
    answer = request(config, config.login_path, body=body)
    token = answer.body.get(config.token_field, "") if isinstance(answer.body, dict) else ""
    return answer, token if isinstance(token, str) and not answer.problem else ""


def shape(value: Any, depth: int = 3) -> Any:
    """The structure of a JSON value without its data: keys, and the shape of a list's first element."""
    if isinstance(value, _NoJSON):
        return repr(value)
    if depth and isinstance(value, dict) and (len(value) > _KEYS or any(len(key) > _KEY for key in value)):
        return {_ANY: shape(next(iter(value.values())), depth - 1)}
    if depth and isinstance(value, dict):
        return {_key(key): shape(item, depth - 1) for key, item in sorted(value.items())}
    if depth and isinstance(value, list):
        return [shape(value[0], depth - 1)] if value else []
    return type(value).__name__


def _key(name: str) -> str:
    """Half a surrogate pair is legal in JSON, and nowhere else."""
    return name.encode("utf-8", "backslashreplace").decode()


def missing(before: Any, after: Any, path: str = "") -> list[str]:
    """What the earlier shape had and the later one has not, as paths. Additions and a null lose nothing."""
    if isinstance(before, dict) and isinstance(after, dict) and _ANY in (*before, *after):
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        found = [f"{path}.{key}".lstrip(".") for key in before if key not in after]
        for key in before:
            if key in after:
                found += missing(before[key], after[key], f"{path}.{key}")
        return found
    if isinstance(before, list) and isinstance(after, list):
        return missing(before[0], after[0], f"{path}[]") if before and after else []
    if isinstance(before, (dict, list)) and "NoneType" not in (before, after):
        return [f"{path or 'the answer'} is no longer {'an object' if isinstance(before, dict) else 'a list'}"]
    return []


def look_at_endpoints(config: SmokeConfig, token: str) -> tuple[Endpoint, ...]:
    """Status and shape of each declared endpoint: the baseline before a deploy, the comparison after it."""
    found = []
    for path in config.endpoints:
        answer = request(config, path, token=token)
        found.append(Endpoint(path, answer.status, answer.ms, shape(answer.body), answer.problem))
    return tuple(found)


@dataclass(frozen=True)
class Baseline:
    """The API before a deploy. ``endpoints`` is None where the smoke user got no token, so that there is nothing to
    compare with; ``problem`` says what of the smoke test fails at it; ``silent``, why it does not answer at all."""

    endpoints: Optional[tuple[Endpoint, ...]] = None
    problem: str = ""
    silent: str = ""
    health: Optional[Endpoint] = None
    login: Optional[Endpoint] = None
    token: str = field(default="", repr=False)


def baseline(config: SmokeConfig) -> Baseline:
    """How the API does before the deploy.

    The requests are those of ``run``, so that what they write is known by its rehearsal.
    """
    health = request(config, config.health_path, seconds=HEALTH_S)
    if not health.good:
        return (
            Baseline(problem=f"{config.health_path}: {health.said}") if health.status else Baseline(silent=health.said)
        )
    checks, token = _logged_in(config)
    problem = "; ".join(f"{check.name}: {check.detail}" for check in checks if not check.ok)
    return Baseline(
        look_at_endpoints(config, token) if token else None,
        problem,
        health=Endpoint(config.health_path, health.status, health.ms),
        login=Endpoint(config.login_path, checks[0].status, checks[0].ms),
        token=token,
    )


def timed(config: SmokeConfig, before: Baseline) -> Baseline:
    """The same with the times of more answers, for the watch to compare with: without further logins, and no more
    than a second is spent on it."""
    asked = [item for item in (before.health, *(before.endpoints or ())) if item and not _rank(item)]
    times: dict[str, list[float]] = {item.path: [item.ms] for item in asked}
    limit = time.monotonic() + _SAMPLING_S
    for item in asked * (_SAMPLES - 1):
        if time.monotonic() > limit:
            break
        sent = "" if item is before.health else before.token
        answer = request(config, item.path, token=sent, seconds=max(limit - time.monotonic(), POLL_S))
        if answer.status:
            times[item.path].append(answer.ms)

    def with_times(item: Endpoint) -> Endpoint:
        return replace(item, times=tuple(times.get(item.path, ())))

    endpoints = before.endpoints and tuple(map(with_times, before.endpoints))
    return replace(before, endpoints=endpoints, health=before.health and with_times(before.health))


def run(config: SmokeConfig, before: Sequence[Endpoint] | None = None) -> Smoke:
    """Health with a deadline, login, an authenticated call, a wrong password refused, endpoints as good as ``before``.

    Raises Unhealthy if it never got healthy, SmokeFailed if a check failed.
    """
    healthy_after_s = wait_until_healthy(config)
    checks, token = _logged_in(config)
    compared = _compared(look_at_endpoints(config, token), before or []) if token else []
    checks += [check for check, _ in compared]
    found = Smoke(tuple(checks), tuple(tested for _, tested in compared), round(healthy_after_s, 3))
    if found.failed:
        names = "; ".join(f"{check.name}: {check.detail}" for check in found.failed)
        raise SmokeFailed(
            f"The login smoke test failed ({names}).",
            hint="Read the API's log at that time; the log of this run has every check.",
            smoke=whole(found),
        )
    return found


def _logged_in(config: SmokeConfig) -> tuple[list[Check], str]:
    """What a login must do and must not, and its token."""
    answer, token = log_in(config)
    if answer.status >= 500:
        # The first request after a database restart may meet a stale connection of the pool: asked once more.
        answer, token = log_in(config)
    checks = [_check("login", answer.good and bool(token), answer, "no token in the answer")]
    if token:
        me = request(config, config.me_path, token=token)
        checks.append(_check("authenticated call", me.good, me))
        wrong, wrong_token = log_in(config, config.password + "-wrong")
        refused = wrong.status in REFUSED and not wrong_token
        checks.append(_check("wrong password refused", refused, wrong, "it was let in"))
        anonymous = request(config, config.me_path)
        checks.append(_check("no token refused", anonymous.status in (401, 403), anonymous, "it was let in"))
    return checks, token


def _check(name: str, ok: bool, answer: Answer, otherwise: str = "") -> Check:
    ok = ok and not answer.problem
    detail = "" if ok else otherwise if answer.good and otherwise else answer.said
    return Check(name, ok, answer.status, answer.ms, detail)


def _compared(after: Sequence[Endpoint], before: Sequence[Endpoint]) -> list[tuple[Check, Tested]]:
    found, known = [], {item.path: item for item in before}
    for item in after:
        old = known.get(item.path)
        detail = worse(item, old)
        check = Check(f"GET {item.path}", not detail, item.status, item.ms, detail)
        found.append((check, Tested(item.path, old.status if old else None, item.status, ms=item.ms)))
    return found


def worse(item: Endpoint, old: Optional[Endpoint]) -> str:
    """What is worse in an answer than in the one of before (None: it is to be good), as a part of a sentence; empty if
    nothing is."""
    if _rank(item) > (_rank(old) if old else 0):
        return _said(item) + (f", was {_said(old).removeprefix('status ')}" if old else "")
    lost = missing(old.shape, item.shape) if old and _rank(old) == _rank(item) == 0 else []
    return f"lost {', '.join(lost[:5])}" if lost else ""


def _rank(item: Endpoint) -> int:
    """How bad an endpoint is: fine, refused or sent elsewhere, broken, no answer or a broken one."""
    if item.status < 200 or item.problem:
        return 3
    return 2 if item.status >= 500 else 1 if item.status >= 300 else 0


def _said(item: Endpoint) -> str:
    """Status and problem of an endpoint; a baseline of an earlier version has no problem."""
    return Answer(item.status, NO_JSON, 0.0, item.problem).said
