"""The login smoke test: what a person would try first after a deploy, and whether a page regressed.

Only the standard library: it runs on the target host, which may have nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from ..core.errors import Unhealthy, VerificationFailed
from ..core.records import whole
from ..releases.parts import Check, Endpoint, Smoke, Tested
from .api_client import ANONYMOUS, NO_JSON, NOTHING, Answer, Declared, Session, SmokeConfig, at, label, request, same
from .login import advice, checked, log_out

HEALTH_S = 3.0
POLL_S = 0.05
STOPPED_S = 10.0  # that an API may go on after the command that stops it has ended
_SAMPLES, _SAMPLING_S = (
    20,
    1.0,
)  # how often what the watch will ask is asked before the deploy, and for how long at most
_KEYS = 100  # an object with more, or with longer ones than _KEY characters, holds data by name
_KEY = 100
_ANY = "*"


class SmokeFailed(Unhealthy):
    """At least one check of the smoke test failed; ``data['smoke']`` has them all."""


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


def shape(value: Any, depth: int = 3) -> Any:
    """The structure of a JSON value without its data: keys, and the shape of a list's first element."""
    if value is NO_JSON:
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


def look_at_endpoints(config: SmokeConfig, session: Session) -> tuple[Endpoint, ...]:
    """Status and shape of each declared endpoint: the baseline before a deploy, the comparison after it."""
    return tuple(look_at(config, item, session)[0] for item in config.declared)


def look_at(
    config: SmokeConfig, item: Declared, session: Session, seconds: Optional[float] = None
) -> tuple[Endpoint, Answer]:
    """What an endpoint answers, for the comparison and as it came."""
    answer = request(config, item.path, method=item.method, body=item.body, session=session, seconds=seconds)
    unmet = _unmet(item, answer)
    return Endpoint(
        item.name, answer.status, answer.ms, shape(answer.body), answer.problem, declared=item.status, unmet=unmet
    ), answer


def _unmet(item: Declared, answer: Answer) -> str:
    """What the inventory says of the answer and is not so, as a part of a sentence."""
    if answer.problem or not answer.status:
        return ""
    if item.status and answer.status != item.status:
        return f"status {answer.status}, declared {item.status}"
    for path, expected in item.json.items():
        found = at(answer.body, path)
        if found is NOTHING or (expected is not None and not same(found, expected)):
            return f"{path} {'is not there' if found is NOTHING else f'is not {expected!r}'}"
    return ""


@dataclass(frozen=True)
class Baseline:
    """The API before a deploy. ``endpoints`` is None where the smoke user could not log in, so that there is nothing to
    compare with; ``problem`` says what of the smoke test fails at it, ``advice`` what to look at; ``silent``, why it
    does not answer at all. ``login`` is None where nothing is sent to log in."""

    endpoints: Optional[tuple[Endpoint, ...]] = None
    problem: str = ""
    advice: str = ""
    silent: str = ""
    health: Optional[Endpoint] = None
    login: Optional[Endpoint] = None
    session: Optional[Session] = field(default=None, repr=False)


def baseline(config: SmokeConfig) -> Baseline:
    """How the API does before the deploy.

    The requests are those of ``run``, so that what they write is known by its rehearsal.
    """
    health = request(config, config.health_path, seconds=HEALTH_S)
    if not health.good:
        return (
            Baseline(problem=f"{config.health_path}: {health.said}") if health.status else Baseline(silent=health.said)
        )
    checks, session = checked(config)
    failed = [check for check in checks if not check.ok]
    login = next((check for check in checks if check.name == "login"), None)
    return Baseline(
        look_at_endpoints(config, session) if session else None,
        "; ".join(f"{check.name}: {check.detail}" for check in failed),
        advice(config, failed),
        health=Endpoint(config.health_path, health.status, health.ms),
        login=Endpoint(config.login_path, login.status, login.ms) if login else None,
        session=session,
    )


def timed(config: SmokeConfig, before: Baseline) -> Baseline:
    """The same with the times of more answers, for the watch to compare with: without further logins, and no more
    than a second is spent on it."""
    known = {item.name: item for item in config.declared if item.only_reads}
    asked = [item for item in (before.health, *(before.endpoints or ())) if item and not _rank(item)]
    asked = [item for item in asked if item is before.health or item.path in known]
    times: dict[str, list[float]] = {item.path: [item.ms] for item in asked}
    limit = time.monotonic() + _SAMPLING_S
    for item in asked * (_SAMPLES - 1):
        if time.monotonic() > limit:
            break
        left = max(limit - time.monotonic(), POLL_S)
        if item is before.health:
            answer = request(config, item.path, seconds=left)
        else:
            answer = look_at(config, known[item.path], before.session or ANONYMOUS, left)[1]
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
    checks, session = checked(config)
    compared = _compared(look_at_endpoints(config, session), before or []) if session else []
    checks += [check for check, _ in compared]
    ended = log_out(config, session) if session else None
    checks += [ended] if ended else []
    found = Smoke(tuple(checks), tuple(tested for _, tested in compared), round(healthy_after_s, 3))
    if found.failed:
        names = "; ".join(f"{check.name}: {check.detail}" for check in found.failed)
        raise SmokeFailed(
            f"The login smoke test failed ({names}).",
            hint=advice(config, found.failed)
            or "Read the API's log at that time; the log of this run has every check.",
            smoke=whole(found),
        )
    return found


def _compared(after: Sequence[Endpoint], before: Sequence[Endpoint]) -> list[tuple[Check, Tested]]:
    found, known = [], {item.path: item for item in before}
    for item in after:
        old = known.get(item.path)
        detail = worse(item, old)
        check = Check(label(item.path), not detail, item.status, item.ms, detail)
        found.append((check, Tested(item.path, old.status if old else None, item.status, ms=item.ms)))
    return found


def worse(item: Endpoint, old: Optional[Endpoint]) -> str:
    """What is worse in an answer than in the one of before (None: it is to be good), as a part of a sentence; empty if
    nothing is."""
    if item.unmet:
        return item.unmet
    if old and old.declared and not item.declared:  # of the API of before only that is asked which it answered
        item = replace(item, declared=old.declared)
    if _rank(item) > (_rank(old) if old else 0):
        return _said(item) + (f", was {_said(old).removeprefix('status ')}" if old else "")
    lost = missing(old.shape, item.shape) if old and _rank(old) == _rank(item) == 0 else []
    return f"lost {', '.join(lost[:5])}" if lost else ""


def _rank(item: Endpoint) -> int:
    """How bad an endpoint is: fine, refused or sent elsewhere, broken, no answer or a broken one."""
    if item.status < 200 or item.problem:
        return 3
    if item.status == item.declared:
        return 0
    return 2 if item.status >= 500 else 1 if item.status >= 300 else 0


def _said(item: Endpoint) -> str:
    """Status and problem of an endpoint; a baseline of an earlier version has no problem."""
    return Answer(item.status, NO_JSON, 0.0, item.problem).said
