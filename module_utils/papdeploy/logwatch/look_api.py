"""A look at the API: health, a login and the declared endpoints, as the smoke test asks them, each held against before.

It must not be able to harm: each request has a short deadline, all together one too, an API that does not answer is
asked for its health and no more, and a login that was refused is tried again more and more seldom, so that no smoke
user is locked out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from ..app import smoke
from ..app.smoke import SmokeConfig
from ..app.stack import Stack
from ..core.clock import later, seconds_between
from ..core.errors import PapError
from ..core.records import plain
from ..releases.parts import Endpoint
from .looks import WINDOW, Asked, Look, NotLooked, p95

REQUEST_S = 5.0
ALL_S = 30.0
# Seconds until a login that was refused is tried again, by how often in a row it was.
REFUSED_S = (300.0, 600.0, 1200.0, 1800.0)
_REFUSALS = range(400, 500)


@dataclass(frozen=True)
class ApiAddress:
    """The API as plain data, without its password: ``url``, or the ``containers`` whose address is asked each time."""

    url: str = ""
    containers: tuple[str, ...] = ()
    port: int = 0
    python: str = ""
    state_dir: str = ""
    smoke: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, stack: Stack) -> ApiAddress:
        api = stack.api
        settings = {name: value for name, value in stack.smoke_settings.items() if name != "password"}
        return cls(
            stack.url,
            tuple(getattr(api, "names", ())),
            int(getattr(api, "port", 0)),
            str(getattr(api, "python", "")) if getattr(api, "names", ()) else "",
            str(stack.state.folder),
            plain(settings),
        )

    def config(self, password: str) -> SmokeConfig:
        """How to ask it now. Raises PapError if its address cannot be known."""
        made = SmokeConfig(base_url=self._url(), password=password, **self.smoke)
        return replace(made, request_deadline_s=min(made.request_deadline_s, REQUEST_S))

    def _url(self) -> str:
        if self.url or not self.containers:
            return self.url
        from ..app.docker_app import DockerApi
        from ..sites.docker.engine import Engine

        return DockerApi(Engine(), self.containers, self.state_dir, port=self.port, python=self.python).base_url()


UNKNOWN = ApiAddress()


@dataclass(frozen=True)
class Before:
    """What the API answered before the deploy, from its preflight."""

    health: Optional[Endpoint] = None
    login: Optional[Endpoint] = None
    endpoints: tuple[Endpoint, ...] = ()

    def as_look(self, at: str) -> Look:
        """The same as a look: ``ms`` of one answer, ``p95_ms`` of all."""

        def asked(item: Endpoint) -> Asked:
            return Asked(
                item.path,
                item.status,
                item.ms,
                p95(item.times or ((item.ms,) if item.status and not item.problem else ())),
                item.problem,
            )

        health, login = (asked(item) if item else None for item in (self.health, self.login))
        return Look(at, health, login, tuple(map(asked, self.endpoints)))


def look(config: SmokeConfig, before: Before, seen: Sequence[Look], at: str) -> Look:
    """Ask once. ``seen``: the looks before this one, the last of them at the end."""
    limit = time.monotonic() + ALL_S
    health = smoke.request(config, config.health_path, seconds=smoke.HEALTH_S)
    found = Look(at, health=_asked(config.health_path, health, seen))
    if not health.status:
        why = f"{config.health_path} gives no answer: {health.problem}"
        return replace(found, not_looked=(NotLooked("login", why), *_endpoints_unseen(config, why)))
    wait = _not_now(config, seen, at)
    if wait:
        return replace(found, not_looked=(NotLooked("login", wait), *_endpoints_unseen(config, wait)))
    answer, token = smoke.log_in(config)
    login = _asked(config.login_path, answer, seen)
    if answer.good and not token:
        login = replace(login, problem="there is no token in the answer")
    found = replace(found, login=login)
    if not token:
        return replace(found, not_looked=_endpoints_unseen(config, f"the login failed: {_said(login)}"))
    old = {item.path: item for item in before.endpoints}
    asked: list[Asked] = []
    paths = list(dict.fromkeys([config.me_path, *config.endpoints]))
    for number, path in enumerate(paths):
        left = limit - time.monotonic()
        if left <= 0:
            late = NotLooked(", ".join(paths[number:]), f"the answers before took {ALL_S:g} s together")
            return replace(found, endpoints=tuple(asked), not_looked=(late,))
        answer = smoke.request(config, path, token=token, seconds=min(left, config.request_deadline_s))
        item = Endpoint(path, answer.status, answer.ms, smoke.shape(answer.body), answer.problem)
        asked.append(replace(_asked(path, answer, seen), worse=smoke.worse(item, old.get(path))))
    return replace(found, endpoints=tuple(asked))


def _asked(path: str, answer: smoke.Answer, seen: Sequence[Look]) -> Asked:
    times = [one.ms for earlier in seen for one in earlier.asked if one.path == path and one.answered]
    times = [*times, answer.ms][-WINDOW:] if answer.status else times[-WINDOW:]
    worse = "" if answer.good else answer.said
    return Asked(path, answer.status, answer.ms, p95(times), answer.problem, worse)


def _said(asked: Asked) -> str:
    return smoke.Answer(asked.status, smoke.NO_JSON, asked.ms, asked.problem).said


def _endpoints_unseen(config: SmokeConfig, why: str) -> tuple[NotLooked, ...]:
    return (NotLooked(", ".join(config.endpoints), why),) if config.endpoints else ()


def _not_now(config: SmokeConfig, seen: Sequence[Look], at: str) -> str:
    """Why no login is tried now; empty if it is."""
    if not (config.username and config.password):
        return "no smoke user is known here: pap_smoke_username and pap_smoke_password"
    tries = [(earlier.at, earlier.login) for earlier in seen if earlier.login]
    refused = 0
    while refused < len(tries) and _is_refused(tries[-1 - refused][1]):
        refused += 1
    if not refused:
        return ""
    last, answer = tries[-1]
    pause = REFUSED_S[min(refused, len(REFUSED_S)) - 1]
    if seconds_between(last, at) >= pause:
        return ""
    again = later(last, pause)[11:16]
    return (
        f"it was refused with status {answer.status} at {last[11:16]} UTC and is tried again at {again} UTC, so that it"
        " locks no account"
    )


def _is_refused(answer: Asked) -> bool:
    return answer.status in _REFUSALS


def unreachable(error: PapError, at: str) -> Look:
    """The look where the API's address is unknown."""
    return Look(at, not_looked=(NotLooked("the API", error.message),))
