"""Services whose logins are not as one would write them, and servers that lie: what is said of them is so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from papdeploy.app import smoke
from papdeploy.app.api_client import Session, SmokeConfig, refuse_unsound
from papdeploy.core.errors import Refused
from papdeploy.environment import secret_sources
from papdeploy.logwatch.look_api import Before, look
from support.login_apps import PASSWORD, USER, served

TOKEN = "t0ken-of-the-session"
Answer = tuple[int, Any, Sequence[tuple[str, str]]]
Handler = Callable[[str, Request, str], Answer]
REFUSED: Answer = (401, {"error": "no"}, ())


class Server:
    """One server for the module: what it answers is changed by each test."""

    def __init__(self) -> None:
        self.answers: Handler = lambda what, asked, body: REFUSED
        self.url = ""

    def app(self) -> FastAPI:
        app = FastAPI(redirect_slashes=False)

        @app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PATCH", "DELETE"])
        async def ask(path: str, asked: Request) -> Response:
            if path == "health":
                return Response("{}", media_type="application/json")
            status, said, headers = self.answers(f"{asked.method} /{path}", asked, (await asked.body()).decode())
            content = "text/html" if isinstance(said, str) else "application/json"
            made = Response(said if isinstance(said, str) else json.dumps(said), status, media_type=content)
            made.raw_headers += [(name.encode(), value.encode("latin-1")) for name, value in headers]
            return made

        return app


SERVER = Server()


@pytest.fixture(autouse=True, scope="module")
def _served() -> Iterator[None]:
    with served(SERVER.app()) as SERVER.url:
        yield


def service(answers: Handler, **settings: Any) -> SmokeConfig:
    """How to ask what ``answers`` "POST /login" and the like, with the body as text; a dict is sent as JSON."""
    SERVER.answers = answers
    paths = {"login_path": "/login", "me_path": "/me", "health_deadline_s": 10.0}
    return SmokeConfig(SERVER.url, USER, PASSWORD, **{**paths, **settings})


def failure(config: SmokeConfig) -> smoke.SmokeFailed:
    with pytest.raises(smoke.SmokeFailed) as caught:
        smoke.run(config)
    assert PASSWORD not in json.dumps(caught.value.as_dict())
    return caught.value


def right(body: str) -> bool:
    return "-wrong" not in body


def bearer(status: int = 200, wrong: Answer = REFUSED, anonymous: Answer = REFUSED, token: Any = TOKEN) -> Handler:
    """A service with a token of JSON."""

    def answers(what: str, asked: Request, body: str) -> Answer:
        if what == "POST /login":
            return (status, {"access_token": token}, ()) if right(body) else wrong
        known = asked.headers.get("authorization") == f"Bearer {token}"
        return (200, {"user": USER}, ()) if known else anonymous

    return answers


@pytest.mark.parametrize(
    "answers",
    [
        bearer(201),
        bearer(wrong=(200, {"success": False, "error": "wrong password"}, ())),
        bearer(wrong=(200, {"access_token": None}, ())),
        bearer(202, wrong=(204, "", ())),
    ],
)
def test_a_token_proves_a_login_whatever_the_status_says_in_words(answers: Handler) -> None:
    config = service(answers)
    assert not smoke.run(config).failed
    found = look(config, Before(), [], "2026-11-30T10:00:00Z")
    assert [one.worse for one in found.asked] == [""] * len(found.asked)


@pytest.mark.parametrize(
    ("answers", "told", "advice"),
    [
        (bearer(wrong=(429, {}, ())), "wrong password refused: status 429", "limits how often"),
        (bearer(429), "login: status 429", "limits how often"),
        (bearer(wrong=(200, {"access_token": TOKEN}, ())), "wrong password refused: it was let in", ""),
        (bearer(anonymous=(404, {}, ())), "no token refused: status 404", "Set pap_smoke_me_path"),
        (bearer(anonymous=(200, {}, ())), "no token refused: it was let in", "Set pap_smoke_me_path"),
        (bearer(token=17), "its access_token is no text", "Set pap_smoke_token_field"),
        (bearer(token=""), "its access_token is no text", "Set pap_smoke_token_field"),
        (bearer(token="a\r\nX-Admin: 1"), "authenticated call: a header of the request holds characters", ""),
        (bearer(401), "login: status 401", ""),
    ],
)
def test_what_proves_nothing_is_no_login(answers: Handler, told: str, advice: str) -> None:
    config = service(answers)
    failed = failure(config)
    assert told in failed.message and advice in str(failed.hint)
    assert TOKEN not in json.dumps(failed.as_dict())


def test_names_of_an_answer_are_shown_so_that_they_cannot_act() -> None:
    config = service(lambda what, asked, body: (200, {"\x1b[2J": 1, "x" * 5000: 1, "error": "no"}, ()))
    message = failure(config).message
    assert "\x1b" not in message and len(message) < 600


def cookies(made: Callable[[str], Sequence[str]], known: str, landing: int = 303) -> Handler:
    """A service that sets the cookies of ``made``, by the body, and knows who sends ``known``."""

    def answers(what: str, asked: Request, body: str) -> Answer:
        if what.endswith("/login"):
            return landing, "", (("location", "/home"), *(("set-cookie", one) for one in made(body)))
        if known in asked.headers.get("cookie", "").split("; "):
            return 200, {"user": USER}, ()
        return 303, "", (("location", "/login"),)

    return answers


@pytest.mark.parametrize(
    ("made", "known"),
    [
        (lambda body: ["__Host-sid=1; Path=/; Secure; HttpOnly"] if right(body) else [], "__Host-sid=1"),
        (lambda body: ["sid=1; Path=/me"] if right(body) else ["sid=; Max-Age=0; Path=/me"], "sid=1"),
        (lambda body: ['sid="a b"; HttpOnly'] if right(body) else [], 'sid="a b"'),
        (lambda body: ["sid=\xfc\xe9"] if right(body) else [], "sid=\xfc\xe9"),
        # One name at several paths: a browser sends the one of this path first.
        (lambda body: ["sid=1; Path=/me", "sid=2; Path=/admin", "sid=3; Path=/"] if right(body) else [], "sid=1"),
        (lambda body: ["sid=2; Path=/admin", "sid=3; Path=/", "sid=1; Path=/me"] if right(body) else [], "sid=1"),
        # An anonymous session comes with each answer, and is what the service tells one by that it lets in.
        (lambda body: [f"sid={'1' if right(body) else 'anonymous'}"], "sid=1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("landing", [200, 201, 204, 303])
def test_cookies_of_many_kinds(made: Callable[[str], Sequence[str]], known: str, landing: int) -> None:
    if landing != 303 and "a b" in known:
        landing = 200
    config = service(cookies(made, known, landing), login="cookie")
    assert not smoke.run(config).failed


def test_a_cookie_for_the_domain_of_the_proxy() -> None:
    made = ["sid=1; Domain=.example.com; Secure"]
    config = service(cookies(lambda body: made if right(body) else [], "sid=1"), login="cookie")
    failed = failure(config)
    assert "its cookies are for another host" in failed.message and "Host in pap_smoke_headers" in str(failed.hint)
    assert not smoke.run(replace(config, headers={"Host": "app.example.com"})).failed


def test_a_session_that_keeps_its_cookie_and_a_wrong_password_that_gets_it() -> None:
    """A session on the server of which the cookie stays the same: who is let in tells the two apart."""
    known: set[str] = set()
    lets_anybody_in: list[bool] = []

    def answers(what: str, asked: Request, body: str) -> Answer:
        sid = asked.cookies.get("sid", "")
        if what == "GET /login":
            made = sid or str(len(known) + 1)
            return 200, '<meta content="c5rf" data-x name="csrf">', (("set-cookie", f"sid={made}"),)
        if what == "POST /login":
            if right(body) or lets_anybody_in:
                known.add(sid)
            return 303, "", (("location", "/login"),)
        return (200, {}, ()) if sid in known else (303, "", (("location", "/login"),))

    config = service(answers, login="cookie", csrf_field="csrf")
    assert not smoke.run(config).failed
    lets_anybody_in.append(True)
    assert "wrong password refused: it was let in" in failure(config).message


def test_a_wrong_password_that_could_not_be_tried_is_not_refused() -> None:
    pages: list[str] = []

    def answers(what: str, asked: Request, body: str) -> Answer:
        if what == "GET /login":
            pages.append(what)
            return 200, '<input value="c5rf" name="csrf">' if len(pages) == 1 else "busy", ()
        return cookies(lambda body: ["sid=1"] if right(body) else [], "sid=1")(what, asked, body)

    config = service(answers, login="cookie", csrf_field="csrf")
    assert "wrong password refused: it could not be tried, it holds no CSRF token" in failure(config).message


@pytest.mark.parametrize(
    "page",
    [
        "<![x[ a broken declaration ]]>",
        "<input name=other value=x><![<![",
        '<script>{"csrf": "c5rf"}</script>',
        '{"csrf": 17}',
        "",
        "\x00<" * 1000,
    ],
)
def test_a_page_that_cannot_be_read_holds_no_token(page: str) -> None:
    config = service(lambda what, asked, body: (200, page, ()), login="cookie", csrf_field="csrf")
    failed = failure(config)
    assert "it holds no CSRF token named csrf (GET /login)" in failed.message
    assert "pap_smoke_csrf_field" in str(failed.hint)


def test_a_login_as_django_has_it() -> None:
    """A field and a cookie that go together, a Referer of its own host, and a new token with the session."""

    def answers(what: str, asked: Request, body: str) -> Answer:
        if what == "GET /login/":
            page = "<form><input type='hidden' name='csrfmiddlewaretoken' value='masked&amp;1'></form>"
            return 200, page, (("set-cookie", "csrftoken=one; Path=/; SameSite=Lax"),)
        known = "sessionid=s" in asked.headers.get("cookie", "")
        if what == "GET /me":
            return (200, {}, ()) if known else (302, "", (("location", "/login/?next=/me"),))
        if asked.headers.get("referer") != "https://app.example.com/" or asked.headers["host"] != "app.example.com":
            return 403, "CSRF", ()
        if what == "POST /login/" and asked.cookies.get("csrftoken") == "one" and "masked%261" in body:
            made = ["sessionid=s; HttpOnly; Path=/", "csrftoken=two; Path=/"] if right(body) else []
            return (302 if made else 200), "", (("location", "/home"), *(("set-cookie", one) for one in made))
        return 403, "CSRF", ()

    headers = {"Host": "app.example.com", "Referer": "https://app.example.com/", "X-Forwarded-Proto": "https"}
    django = {"login": "cookie", "login_path": "/login/", "csrf_field": "csrfmiddlewaretoken"}
    config = service(answers, headers=headers, **django)
    assert not smoke.run(config).failed
    assert "login: status 403" in failure(replace(config, headers={})).message


@pytest.mark.parametrize(
    ("status", "target", "told"),
    [
        (301, "/login/", "where nothing of the POST would arrive"),
        (301, "https://127.0.0.1/login", "another origin; that is not followed"),
        (303, "/login", "it set no cookie"),
        (303, "/login?error=1", "it set no cookie"),
        (303, "https://evil.example/", "it set no cookie"),
    ],
)
def test_where_a_login_is_sent(status: int, target: str, told: str) -> None:
    def answers(what: str, asked: Request, body: str) -> Answer:
        return (status, "", (("location", target),)) if what == "POST /login" else (200, "page", ())

    # Nothing of who is let in is told by it: the page after it is not taken for an answer to the login.
    config = service(lambda *asked: answers(*asked) if asked[0] != "GET /me" else (401, "", ()), login="cookie")
    failed = failure(config)
    assert told in failed.message and failed.data["smoke"]["checks"][0]["status"] == status
    assert "is right" not in failed.message and failed.hint


@pytest.mark.parametrize("page", [200, 303, 400])
@pytest.mark.parametrize("session", [[], ["sid=anonymous"]])
def test_a_login_that_is_refused_in_words_locks_no_account(page: int, session: list[str]) -> None:
    tries: list[str] = []

    def answers(what: str, asked: Request, body: str) -> Answer:
        if what == "POST /login":
            tries.append(body)
            return page, "wrong", (("location", "/login"), *(("set-cookie", one) for one in session))
        return REFUSED

    config = service(answers, login="cookie", login_content="form")
    seen: list[Any] = []
    for minute in range(6):
        seen.append(look(config, Before(), seen, f"2026-11-30T10:0{minute}:00Z"))
    assert len(tries) == 2 and "locks no account" in seen[1].not_looked[0].why


@pytest.mark.parametrize(
    ("body", "declared", "unmet"),
    [
        ({"a": True}, {"a": True}, ""),
        ({"a": 1}, {"a": True}, "a is not True"),
        ({"a": False}, {"a": 0}, "a is not 0"),
        ({"a": 1.0}, {"a": 1}, ""),
        ({"a": {"b": [1, True]}}, {"a": {"b": [1, 1]}}, "a is not"),
        ({"a": {"b": None, "c": [{}]}}, {"a": {"c": [{}], "b": None}}, ""),
        ({"a": None}, {"a": None}, ""),
        ({"a": None}, {"a": ""}, "a is not ''"),
        ({"a": [1, 2]}, {"a": [1]}, "a is not [1]"),
    ],
)
def test_declared_values_are_those_of_json(body: Any, declared: dict[str, Any], unmet: str) -> None:
    endpoint = {"path": "/x?b=1&c=%20", "method": "patch", "body": [1, {"a": None}], "status": 202, "json": declared}

    def answers(what: str, asked: Request, sent: str) -> Answer:
        assert (what, json.loads(sent), asked.url.query) == ("PATCH /x", [1, {"a": None}], "b=1&c=%20")
        return 202, body, ()

    config = service(answers, login="none", endpoints=(endpoint,))
    found = smoke.look_at_endpoints(config, Session())[0]
    assert found.unmet.startswith(unmet) and bool(found.unmet) == bool(unmet)


@pytest.mark.parametrize("method", ["POST", "DELETE", "HEAD"])
def test_an_endpoint_without_body(method: str) -> None:
    endpoint = {"path": "/x", "method": method, "status": 204, "json": {"a": 1}}
    config = service(lambda what, asked, body: (204, "", ()), login="none", endpoints=(endpoint,))
    assert smoke.look_at_endpoints(config, Session())[0].unmet == "a is not there"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"me_path": "auth/me"}, "pap_smoke_me_path: 'auth/me' does not begin with a slash"),
        ({"login_path": ".evil.example/"}, "pap_smoke_login_path"),
        ({"csrf_path": "https://other/csrf"}, "pap_smoke_csrf_path"),
        ({"logout_path": "out"}, "pap_smoke_logout_path"),
        ({"health_path": ""}, "pap_smoke_health_path"),
        ({"endpoints": ["/a", "b"]}, "pap_smoke_endpoints"),
        ({"endpoints": [{"path": "/a", "method": "POST", "body": 1}, {"path": "/a", "method": "POST", "body": 2}]},
         "POST /a is declared twice"),
    ],
)  # fmt: skip
def test_paths_that_would_lead_elsewhere_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        refuse_unsound(SmokeConfig("", **settings))


def test_the_same_endpoint_twice_is_one_wish() -> None:
    refuse_unsound(SmokeConfig("", endpoints=["/a", "/a", {"path": "/a"}]))


SECRET = "s3cr3t-of-somebody"
NAMED = [
    {"headers": {"Authorization": f"Basic {SECRET}"}},
    {"headers": {"Cookie": f"sid={SECRET}"}},
    {"headers": {"X-Api-Key": SECRET}},
    {"login_fields": {"client": {"client_secret": SECRET}}},
    {"login_fields": {"clients": [{"secret": SECRET}]}},
    {"endpoints": [{"path": "/x", "method": "POST", "body": {"user": {"password": SECRET}}}]},
    {"endpoints": [f"/x?api_key={SECRET}"]},
    {"endpoints": [f"/x?a=1&access_token={SECRET}&b=2"]},
]


@pytest.mark.parametrize("settings", NAMED)
def test_what_is_called_a_secret_anywhere_in_the_inventory_is_one(settings: dict[str, Any]) -> None:
    params = {"api": {}, "database": {}, "smoke": {"password": None, **settings}}
    for secrets in (SmokeConfig("", **settings).secrets, secret_sources.inventory_secrets(params)):
        assert SECRET in secrets


@pytest.mark.parametrize("path", [f"/x?api_key={SECRET}", f"/x?a=1&access_token={SECRET}&b=2#c"])
def test_a_secret_in_a_query_is_sent_and_not_shown(path: str) -> None:
    asked: list[str] = []
    config = service(lambda what, got, body: asked.append(str(got.url)) or REFUSED, login="none")
    found = smoke.look_at_endpoints(replace(config, endpoints=(path,)), Session())[0]
    shown = replace(config, endpoints=(path,))
    assert SECRET in asked[0] and SECRET not in found.path
    assert SECRET not in str(smoke.timed(shown, smoke.baseline(shown)))
    assert SECRET not in str(look(shown, Before(), [], "2026-11-30T10:00:00Z"))
