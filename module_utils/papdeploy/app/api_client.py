"""One request to the API as the smoke test and the watch make it, and how it is to be asked.

Only the standard library: it runs on the target host, which may have nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional
from urllib.parse import urlencode

from ..core import http
from ..core.errors import PapError, Refused
from ..core.plain_json import Json
from ..core.records import plain, read, whole
from ..core.secret_names import secrets_of_requests, shown_query

JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class _NoJSON:
    """What an answer without JSON says."""

    def __repr__(self) -> str:
        return "no JSON"


NO_JSON = _NoJSON()


class _Nothing:
    """What :func:`at` finds where nothing is."""


NOTHING = _Nothing()


@dataclass(frozen=True)
class Declared:
    """An endpoint of ``pap_smoke_endpoints``. ``status`` 0 takes what it answered before; ``json`` has what its answer
    must hold, by path (``items.0.name``)."""

    path: str
    method: str = "GET"
    body: Any = None
    status: int = 0
    json: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called beside the others: its path, with the method if that is not GET. It is shown and stored, so
        the secrets of its query are not in it."""
        path = shown_query(self.path)
        return path if self.method == "GET" else f"{self.method} {path}"

    @property
    def holds_secret(self) -> bool:
        return bool(list(secrets_of_requests(plain([self.path, self.body]))))

    @property
    def only_reads(self) -> bool:
        return self.method in ("GET", "HEAD")


def declared(value: object) -> Declared:
    """One element of ``pap_smoke_endpoints``: a path, or an object. Raises Refused if it is neither."""
    if isinstance(value, str):
        return _sound(Declared(value))
    if isinstance(value, Declared):
        return value
    try:
        found = read(Declared, value, "pap_smoke_endpoints")
    except PapError as error:
        raise Refused(
            error.message,
            hint="Each element is a path, or {path, method, body, status, json}: for example {path: /search, method:"
            " POST, body: {text: x}, status: 200, json: {total: 1}}.",
        ) from error
    return _sound(replace(found, method=found.method.upper()))


def _sound(endpoint: Declared) -> Declared:
    _refuse_elsewhere("pap_smoke_endpoints", endpoint.path)
    if endpoint.method not in METHODS:
        raise Refused(
            f"pap_smoke_endpoints: {endpoint.path} has the method {endpoint.method!r}.",
            hint=f"It is one of {', '.join(METHODS)}.",
        )
    return endpoint


def _refuse_elsewhere(name: str, path: str) -> None:
    """Raise Refused for a path that would be read as a part of the address, or as another one."""
    if not path.startswith("/"):
        raise Refused(
            f"{name}: {shown_query(path)!r} does not begin with a slash.",
            hint="Give the path alone; the address is pap_smoke_url, or pap_api_url.",
        )


def label(name: str) -> str:
    """The name of an endpoint with its method."""
    return name if name.partition(" ")[0] in METHODS else f"GET {name}"


@dataclass(frozen=True)
class SmokeSecrets:
    """What of the settings of the smoke test may be secret, and is kept apart from the others."""

    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    login_fields: Mapping[str, Any] = field(default_factory=dict, repr=False)
    headers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    endpoints: tuple[Any, ...] = field(default=(), repr=False)


NO_SECRETS = SmokeSecrets()


@dataclass(frozen=True)
class SmokeConfig:
    """Where and how to log in. Everything but ``base_url`` and the credentials has the defaults of the PAP API."""

    base_url: str
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    login: str = "json"
    health_path: str = "/health"
    login_path: str = "/auth/login"
    me_path: str = "/auth/me"
    logout_path: str = ""
    username_field: str = "username"
    password_field: str = "password"
    login_fields: Mapping[str, Json] = field(default_factory=dict, repr=False)
    login_content: str = "form"
    token_field: str = "access_token"
    token_header: str = "Authorization"
    token_scheme: str = "Bearer"
    csrf_path: str = ""
    csrf_field: str = ""
    csrf_cookie: str = ""
    csrf_header: str = ""
    headers: Mapping[str, object] = field(default_factory=dict, repr=False)
    endpoints: Sequence[Any] = ()
    health_deadline_s: float = 60.0
    request_deadline_s: float = 10.0

    @property
    def declared(self) -> tuple[Declared, ...]:
        return tuple(map(declared, self.endpoints))

    @property
    def secrets(self) -> list[str]:
        """All that must not be shown."""
        return [
            self.password,
            self.token,
            *secrets_of_requests(plain([self.headers, self.login_fields, self.endpoints])),
        ]

    @property
    def in_cookie(self) -> bool:
        """The session is a cookie: what is not logged in is sent to a page, with a status that looks fine."""
        return self.login == "cookie"

    def kept_apart(self) -> SmokeSecrets:
        held = tuple(whole(item) for item in self.declared if item.holds_secret)
        return SmokeSecrets(self.password, self.token, self.login_fields, self.headers, held)

    def plain_endpoints(self) -> list[Any]:
        """Those that hold no secret."""
        return [whole(item) for item in self.declared if not item.holds_secret]

    def of_before(self) -> SmokeConfig:
        """The same for the API of before the deploy, of which is asked only what it answered then."""
        return replace(self, endpoints=tuple(replace(item, status=0, json={}) for item in self.declared))


def refuse_unsound(config: SmokeConfig) -> None:
    """Raise Refused for a path or an endpoint that is none, before anything is asked."""
    may_lack = {"logout_path": config.logout_path, "csrf_path": config.csrf_path}
    must = {"health_path": config.health_path, "login_path": config.login_path, "me_path": config.me_path}
    for name, path in {**must, **{name: path for name, path in may_lack.items() if path}}.items():
        _refuse_elsewhere(f"pap_smoke_{name}", path)
    seen: dict[str, Declared] = {}
    for item in config.declared:
        if seen.setdefault(item.name, item) != item:
            raise Refused(
                f"pap_smoke_endpoints: {item.name} is declared twice.",
                hint="Results are compared by method and path: tell them apart by a query (/search?case=2).",
            )


@dataclass(frozen=True)
class Answer:
    """One answer: ``status`` 0 means that none came. ``body`` is its JSON, NO_JSON if it has none; ``ms`` is
    milliseconds.

    With a ``problem`` (a part of a sentence) the answer is broken, whatever its status. ``cookies`` are its Set-Cookie
    headers; ``text``, its body.
    """

    status: int
    body: Any
    ms: float
    problem: str = ""
    cookies: tuple[str, ...] = field(default=(), repr=False)
    text: str = field(default="", repr=False)

    @property
    def good(self) -> bool:
        return self.status == 200 and not self.problem

    @property
    def said(self) -> str:
        """What came, for a person."""
        status = f"status {self.status}" if self.status else ""
        return ": ".join(filter(None, (status, self.problem)))


@dataclass(frozen=True)
class Session:
    """What is sent to be known: headers, those that only what writes needs, and ``cookies`` (path, name, value).
    ``secrets`` are in them."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    to_write: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    cookies: tuple[tuple[str, str, str], ...] = field(default=(), repr=False)

    @property
    def known(self) -> bool:
        return bool(self.headers or self.cookies)

    def sent(self, method: str, path: str) -> Mapping[str, str]:
        """The headers of one request. A cookie goes to every path, since a proxy may serve the API under another one
        than its own; of several with one name only that with the nearest path."""
        held = {}
        for _, _, name, value in sorted((path.startswith(scope), len(scope), *rest) for scope, *rest in self.cookies):
            held[name] = value
        cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in held.items())} if held else {}
        return {**self.headers, **cookie, **({} if method in ("GET", "HEAD") else self.to_write)}


ANONYMOUS = Session()


def request(
    config: SmokeConfig,
    path: str,
    *,
    method: str = "",
    body: object = None,
    content: str = JSON_TYPE,
    session: Session = ANONYMOUS,
    seconds: Optional[float] = None,
) -> Answer:
    """One request, at most ``seconds`` long. Never raises for what the API does: whatever comes of it is an answer."""
    if not config.base_url:
        return Answer(0, NO_JSON, 0.0, "it does not run")
    method = method or ("GET" if body is None else "POST")
    data = None
    headers = {"Accept": JSON_TYPE, **{name: str(value) for name, value in config.headers.items()}}
    if body is not None:
        data = urlencode(body).encode() if content == FORM_TYPE and isinstance(body, Mapping) else _dumped(body)
        headers["Content-Type"] = content
    sent = session.sent(method, path)
    # The API is asked where it runs: a proxy of the environment has no business in between.
    answer = http.exchange(
        config.base_url.rstrip("/") + path,
        method=method,
        headers={**headers, **sent},
        body=data,
        seconds=config.request_deadline_s if seconds is None else seconds,
        secrets=[*config.secrets, *session.secrets],
        same_page=config.in_cookie,
    )
    value, problem = (NO_JSON, answer.problem) if answer.problem else _json(answer)
    text = answer.body.decode("utf-8", "replace")
    return Answer(answer.status, value, answer.ms, problem, answer.cookies, text)


def _dumped(body: object) -> bytes:
    return json.dumps(body).encode()


def _json(answer: http.Answer) -> tuple[Any, str]:
    """What the body says, and what is wrong with it: a page of another type is no JSON, and may well be so."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        return json.loads(answer.body.decode("utf-8")), ""
    except RecursionError:
        return NO_JSON, "its JSON is nested too deeply"
    except ValueError as error:
        called_json = kind == JSON_TYPE or kind.endswith("+json")
        return NO_JSON, f"its body is no JSON ({http.shown(str(error))})" if called_json and answer.body else ""


def same(found: Any, expected: Any) -> bool:
    """Whether two values of JSON are equal: in Python, true is 1 as well."""
    if isinstance(found, dict) and isinstance(expected, Mapping):
        return found.keys() == expected.keys() and all(same(item, expected[name]) for name, item in found.items())
    if isinstance(found, list) and isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(map(same, found, expected))
    return isinstance(found, bool) == isinstance(expected, bool) and bool(found == expected)


def at(value: Any, path: str) -> Any:
    """What is at ``path`` in JSON: names and numbers with dots between (``data.items.0.id``), or a name with dots in
    it; NOTHING if nothing is there."""
    if isinstance(value, Mapping) and path in value:
        return value[path]
    first, _, rest = path.partition(".")
    if isinstance(value, Mapping) and first in value:
        inner = value[first]
    elif isinstance(value, list) and first.isdecimal() and int(first) < len(value):
        inner = value[int(first)]
    else:
        return NOTHING
    return at(inner, rest) if rest else inner
