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

from ..app import login, smoke
from ..app.api_client import NO_JSON, NO_SECRETS, Answer, Declared, Session, SmokeConfig, SmokeSecrets, request
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
_REFUSALS = range(200, 500)  # an error in words, the form again, or the way to it


@dataclass(frozen=True)
class ApiAddress:
    """The API as plain data, without what may be secret: ``url``, or the ``containers`` whose address is asked each
    time."""

    url: str = ""
    containers: tuple[str, ...] = ()
    port: int = 0
    python: str = ""
    state_dir: str = ""
    smoke: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, stack: Stack) -> ApiAddress:
        api = stack.api
        apart = vars(NO_SECRETS)
        settings = {name: value for name, value in stack.smoke_settings.items() if name not in apart}
        settings["endpoints"] = SmokeConfig("", **stack.smoke_settings).plain_endpoints()
        return cls(
            stack.url,
            tuple(getattr(api, "names", ())),
            int(getattr(api, "port", 0)),
            str(getattr(api, "python", "")) if getattr(api, "names", ()) else "",
            str(stack.state.folder),
            plain(settings),
        )

    @property
    def logs_out(self) -> bool:
        return bool(SmokeConfig("", **self.smoke).logout_path)

    def config(self, secrets: SmokeSecrets) -> SmokeConfig:
        """How to ask it now, with the settings that are kept apart. Raises PapError if its address cannot be known."""
        made = SmokeConfig(base_url=self._url(), **self.smoke)
        endpoints = {item.name: item for item in (*made.declared, *replace(made, endpoints=secrets.endpoints).declared)}
        made = replace(made, **{**vars(secrets), "endpoints": tuple(endpoints.values())})
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
    health = request(config, config.health_path, seconds=smoke.HEALTH_S)
    found = Look(at, health=_asked(config.health_path, health, seen))
    if not health.status:
        why = f"{config.health_path} gives no answer: {health.problem}"
        return replace(found, not_looked=(NotLooked("login", why), *_endpoints_unseen(config, why)))
    wait = _not_now(config, seen, at)
    if wait:
        return replace(found, not_looked=(NotLooked("login", wait), *_endpoints_unseen(config, wait)))
    session = login.session_of(config)
    if config.login in login.BY_REQUEST:
        logged_in = login.log_in(config)
        tried = _login_asked(config, logged_in, seen)
        found = replace(found, login=tried)
        if logged_in.session is None:
            return replace(found, not_looked=_endpoints_unseen(config, f"the login failed: {_said(tried)}"))
        session = logged_in.session
    return _with_endpoints(found, config, session, before, seen, limit)


def _login_asked(config: SmokeConfig, logged_in: login.LoggedIn, seen: Sequence[Look]) -> Asked:
    asked = _asked(config.login_path, logged_in.answer, seen)
    if logged_in.works:
        return replace(asked, worse="")
    if not logged_in.lacks:
        return asked
    return replace(asked, problem=logged_in.lacks, worse=asked.worse or logged_in.lacks)


def _with_endpoints(
    found: Look, config: SmokeConfig, session: Session, before: Before, seen: Sequence[Look], limit: float
) -> Look:
    old = {item.path: item for item in before.endpoints}
    asked: list[Asked] = []
    late: tuple[NotLooked, ...] = ()
    items = _looked_at(config)
    for number, item in enumerate(items):
        left = limit - time.monotonic()
        if left <= 0:
            names = ", ".join(item.name for item in items[number:])
            late = (NotLooked(names, f"the answers before took {ALL_S:g} s together"),)
            break
        seconds = min(left, config.request_deadline_s)
        answered, answer = smoke.look_at(config, item, session, seconds)
        asked.append(replace(_asked(item.name, answer, seen), worse=smoke.worse(answered, old.get(item.name))))
    ended = login.log_out(config, session)
    if ended and not ended.ok:
        asked.append(Asked(f"POST {config.logout_path}", ended.status, ended.ms, worse=ended.detail))
    return replace(found, endpoints=tuple(asked), not_looked=late)


def _looked_at(config: SmokeConfig) -> list[Declared]:
    """What a look asks: that the session is one, and what only reads."""
    me = [Declared(config.me_path)] if config.login != "none" else []
    found = {item.name: item for item in (*me, *config.declared) if item.only_reads}
    return list(found.values())


def _asked(path: str, answer: Answer, seen: Sequence[Look]) -> Asked:
    times = [one.ms for earlier in seen for one in earlier.asked if one.path == path and one.answered]
    times = [*times, answer.ms][-WINDOW:] if answer.status else times[-WINDOW:]
    worse = "" if answer.good else answer.said
    return Asked(path, answer.status, answer.ms, p95(times), answer.problem, worse)


def _said(asked: Asked) -> str:
    return Answer(asked.status, NO_JSON, asked.ms, asked.problem).said


def _endpoints_unseen(config: SmokeConfig, why: str) -> tuple[NotLooked, ...]:
    names = ", ".join(item.name for item in config.declared if item.only_reads)
    return (NotLooked(names, why),) if names else ()


def _not_now(config: SmokeConfig, seen: Sequence[Look], at: str) -> str:
    """Why no login is tried now; empty if it is."""
    if config.login == "header" and not config.token:
        return "no key is known here: pap_smoke_token"
    if config.login in login.BY_REQUEST and not (config.username and config.password):
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
    return answer.status in _REFUSALS and bool(answer.worse)


def unreachable(error: PapError, at: str) -> Look:
    """The look where the API's address is unknown."""
    return Look(at, not_looked=(NotLooked("the API", error.message),))
