"""The login smoke test: what a person would try first after a deploy, and whether every page is no worse than before.

Only the standard library: it runs on the target host, which may have nothing else.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from .errors import PapError, Unavailable

TIMEOUT_S = 10.0
POLL_S = 0.05

# The API is asked where it runs: a proxy of the environment has no business in between.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


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


@dataclass(frozen=True)
class Answer:
    """One HTTP answer: ``status`` 0 means that none came (``problem`` says why). ``ms`` is milliseconds."""

    status: int
    body: Any
    ms: float
    problem: str = ""


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    status: int
    ms: float
    detail: str = ""


@dataclass
class SmokeResult:
    """What was tried and what came of it. ``healthy_after_s`` is seconds until the first healthy answer."""

    checks: list[Check] = field(default_factory=list)
    endpoints: list[dict[str, Any]] = field(default_factory=list)
    healthy_after_s: float = 0.0

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.ok]

    def as_dict(self) -> dict[str, Any]:
        return {
            "checks": [asdict(check) for check in self.checks],
            "endpoints": self.endpoints,
            "healthy_after_s": round(self.healthy_after_s, 3),
        }


class SmokeFailed(PapError):
    """At least one check of the smoke test failed; ``data['smoke']`` has them all."""


def request(
    config: SmokeConfig,
    path: str,
    *,
    body: Mapping[str, Any] | None = None,
    token: str = "",
    timeout: float = TIMEOUT_S,
) -> Answer:
    """One request. Never raises for an HTTP status or a refused connection: both are answers here."""
    headers = {"Accept": "application/json", "Connection": "close"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    url = config.base_url.rstrip("/") + path
    started = time.monotonic()

    def elapsed() -> float:
        return round((time.monotonic() - started) * 1000, 1)

    try:
        with _OPENER.open(urllib.request.Request(url, data, headers), timeout=timeout) as answer:
            return Answer(answer.status, _json(answer.read()), elapsed())
    except urllib.error.HTTPError as error:
        return Answer(error.code, _json(error.read()), elapsed())
    except (OSError, ValueError) as error:
        return Answer(0, None, elapsed(), str(getattr(error, "reason", error)))


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def wait_until_healthy(config: SmokeConfig) -> float:
    """Seconds until ``health_path`` answers 200; raises Unavailable at the deadline with the last thing it said."""
    started = time.monotonic()
    answer = Answer(0, None, 0.0, "it was not asked")
    while time.monotonic() - started < config.health_deadline_s:
        answer = request(config, config.health_path, timeout=3.0)
        if answer.status == 200:
            return time.monotonic() - started
        time.sleep(POLL_S)
    said = f"it answers {answer.status}" if answer.status else answer.problem
    raise Unavailable(
        f"The API at {config.base_url} was not healthy within {config.health_deadline_s:g} s: {said}.",
        hint="Read its log: it most likely failed to start.",
    )


def log_in(config: SmokeConfig, password: Optional[str] = None) -> tuple[Answer, str]:
    """The answer to a login and its token ("" if it gave none)."""
    body = {
        config.username_field: config.username,
        config.password_field: config.password if password is None else password,
    }
    answer = request(config, config.login_path, body=body)
    token = answer.body.get(config.token_field, "") if isinstance(answer.body, dict) else ""
    return answer, token if isinstance(token, str) else ""


def shape(value: Any, depth: int = 3) -> Any:
    """The structure of a JSON value without its data: keys, and the shape of a list's first element."""
    if depth and isinstance(value, dict):
        return {key: shape(item, depth - 1) for key, item in sorted(value.items())}
    if depth and isinstance(value, list):
        return [shape(value[0], depth - 1)] if value else []
    return type(value).__name__


def missing(before: Any, after: Any, path: str = "") -> list[str]:
    """What the earlier shape had and the later one has not, as paths. Additions and a null are no loss."""
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


def look_at_endpoints(config: SmokeConfig, token: str) -> list[dict[str, Any]]:
    """Status and shape of each declared endpoint: the baseline before a deploy, the comparison after it."""
    found = []
    for path in config.endpoints:
        answer = request(config, path, token=token)
        found.append({"path": path, "status": answer.status, "ms": answer.ms, "shape": shape(answer.body)})
    return found


def baseline(config: SmokeConfig) -> Optional[list[dict[str, Any]]]:
    """The endpoints as they are now; None if the API cannot be logged in to (then there is nothing to compare with).

    The requests are those of ``run``, so that what they write is known by its rehearsal.
    """
    if request(config, config.health_path, timeout=3.0).status != 200:
        return None
    _, token = log_in(config)
    if not token:
        return None
    request(config, config.me_path, token=token)
    log_in(config, config.password + "-wrong")
    request(config, config.me_path)
    return look_at_endpoints(config, token)


def run(config: SmokeConfig, before: Sequence[Mapping[str, Any]] | None = None) -> SmokeResult:
    """Health with a deadline, login, an authenticated call, a wrong password refused, endpoints as good as ``before``.

    Raises Unavailable if it never got healthy, SmokeFailed if a check failed.
    """
    result = SmokeResult()
    result.healthy_after_s = wait_until_healthy(config)
    answer, token = log_in(config)
    if answer.status >= 500:
        # The first request after a database restart may meet a stale connection of the pool: asked once more.
        answer, token = log_in(config)
    result.checks.append(_check("login", answer.status == 200 and bool(token), answer, "no token in the answer"))
    if token:
        me = request(config, config.me_path, token=token)
        result.checks.append(_check("authenticated call", me.status == 200, me))
        wrong, wrong_token = log_in(config, config.password + "-wrong")
        refused = wrong.status in (400, 401, 403, 422) and not wrong_token
        result.checks.append(_check("wrong password refused", refused, wrong, "it was let in"))
        anonymous = request(config, config.me_path)
        result.checks.append(_check("no token refused", anonymous.status in (401, 403), anonymous, "it was let in"))
        _compare_endpoints(result, look_at_endpoints(config, token), before or [])
    if result.failed:
        names = "; ".join(f"{check.name}: {check.detail}" for check in result.failed)
        raise SmokeFailed(
            f"The login smoke test failed ({names}).",
            hint="Read the API's log at that time; the log of this run has every check.",
            smoke=result.as_dict(),
        )
    return result


def _check(name: str, ok: bool, answer: Answer, otherwise: str = "") -> Check:
    detail = ""
    if not ok:
        detail = answer.problem or f"status {answer.status}"
        if answer.status == 200 and otherwise:
            detail = otherwise
    return Check(name, ok, answer.status, answer.ms, detail)


def _compare_endpoints(
    result: SmokeResult, after: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]
) -> None:
    known = {item["path"]: item for item in before}
    for item in after:
        old = known.get(item["path"])
        lost = missing(old["shape"], item["shape"]) if old and old["status"] == item["status"] == 200 else []
        worse = item["status"] >= 400 or item["status"] == 0
        if old and old["status"] != 200:
            worse = worse and _rank(item["status"]) > _rank(old["status"])
        detail = ""
        if worse:
            detail = f"status {item['status']}" + (f", was {old['status']}" if old else "")
        elif lost:
            detail = f"lost {', '.join(lost[:5])}"
        result.checks.append(Check(f"GET {item['path']}", not detail, item["status"], item["ms"], detail))
        result.endpoints.append(
            {"path": item["path"], "before": old["status"] if old else None, "after": item["status"], "ms": item["ms"]}
        )


def _rank(status: int) -> int:
    """How bad a status is: fine, refused, broken, no answer."""
    return 3 if status == 0 else 2 if status >= 500 else 1 if status >= 400 else 0
