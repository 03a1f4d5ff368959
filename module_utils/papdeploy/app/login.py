"""How a person, or a program, proves to the API who asks: each kind of login, and that a wrong one is refused.

====== ======================================================= =========================
kind   what is sent                                            what is known by
====== ======================================================= =========================
json   user and password as JSON                               a token in the answer
form   the same as a form (OAuth2's password flow)             a token in the answer
cookie the same, with the CSRF token of a page if there is one the cookies of the answer
header nothing                                                 a key that was issued
none   nothing                                                 nothing: nobody logs in
====== ======================================================= =========================
"""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from html.parser import HTMLParser
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Optional, cast

from ..core import http
from ..core.errors import Refused
from ..core.plain_json import JsonObject
from ..releases.parts import Check
from .api_client import ANONYMOUS, FORM_TYPE, JSON_TYPE, NOTHING, Answer, Session, SmokeConfig, at, request

BY_REQUEST = ("json", "form", "cookie")  # those that send a login
PROVES_WHO = ("login", "authenticated call")  # the first of these checks fails where the user or key is not known
REFUSED = (400, 401, 403, 422)  # how APIs answer a login that is wrong, if not with 200 and an error in words
_TOO_OFTEN = 429
_REDIRECTS = range(300, 400)
_WRONG = "-wrong"


@dataclass(frozen=True)
class LoggedIn:
    """The answer to a login, and what it gave: None if the login failed, with the reason in ``lacks``. ``page``: what
    was asked is the page before it, which gave no CSRF token."""

    answer: Answer
    session: Optional[Session] = None
    lacks: str = ""
    page: str = ""

    @property
    def works(self) -> bool:
        """A session in a cookie may come with a redirect."""
        return self.session is not None and not self.answer.problem and 200 <= self.answer.status < 400


def needed(config: SmokeConfig) -> dict[str, str]:
    """What the inventory has to say of who asks, by the names of its variables."""
    if config.login == "none":
        return {}
    if config.login == "header":
        return {"pap_smoke_token": config.token}
    return {"pap_smoke_username": config.username, "pap_smoke_password": config.password}


def refuse_incomplete(config: SmokeConfig) -> None:
    """Raise Refused where the inventory does not say enough to ask the API, of who asks."""
    missing = [name for name, value in needed(config).items() if not value]
    if missing:
        raise Refused(
            f"{' and '.join(missing)} must be set where pap_smoke_login is {config.login}.",
            hint="Set it in the inventory, the secret in Ansible Vault; or choose another pap_smoke_login.",
        )


def log_in(config: SmokeConfig, *, wrong: bool = False) -> LoggedIn:
    """Log in, with a password (or key) that is ``wrong`` if that is to be refused. A key needs no login: it is tried at
    ``me_path``."""
    ending = _WRONG if wrong else ""
    if config.login == "header":
        session = session_of(config, ending)
        answer = request(config, config.me_path, session=session)
        return LoggedIn(answer, session if answer.good else None)
    fields = {
        **config.login_fields,
        config.username_field: config.username,
        config.password_field: config.password + ending,
    }
    if config.login == "cookie":
        return _by_cookie(config, fields)
    if config.login == "form":
        fields = {"grant_type": "password", **fields}
    answer = request(config, config.login_path, body=fields, content=_content(config))
    token = at(answer.body, config.token_field)
    if not isinstance(token, str) or not token:
        return LoggedIn(answer, None, _without_token(config, answer))
    return LoggedIn(answer, None if answer.problem else _by_token(config, token))


def session_of(config: SmokeConfig, ending: str = "") -> Session:
    """What is sent where nothing is to be asked first: the key that was issued, or nothing."""
    return _by_token(config, config.token + ending) if config.login == "header" else ANONYMOUS


def _content(config: SmokeConfig) -> str:
    if config.login == "cookie":
        return JSON_TYPE if config.login_content == "json" else FORM_TYPE
    return FORM_TYPE if config.login == "form" else JSON_TYPE


def _by_token(config: SmokeConfig, token: str) -> Session:
    scheme = "" if config.token_scheme == "none" else config.token_scheme
    return Session({config.token_header: f"{scheme} {token}".strip()}, secrets=(token,))


def _by_jar(jar: CookieJar, to_write: Mapping[str, str]) -> Session:
    """The cookies that came, and the header that goes with what writes."""
    cookies = tuple((cookie.path, cookie.name, cookie.value or "") for cookie in jar)
    return Session({}, to_write, (*(value for _, _, value in cookies), *to_write.values()), cookies)


def _without_token(config: SmokeConfig, answer: Answer) -> str:
    """Names of the answer, never a value: any of them may be the token."""
    found = at(answer.body, config.token_field)
    if found is not NOTHING:
        return f"no token in the answer: its {config.token_field} is no text"
    names = http.shown(", ".join(map(str, list(answer.body)[:10]))) if isinstance(answer.body, dict) else ""
    has = f"it has {names}" if names else "it is no JSON object"
    return f"no token in the answer: {has}, and no {config.token_field}"


def _by_cookie(config: SmokeConfig, fields: JsonObject) -> LoggedIn:
    jar = CookieJar(DefaultCookiePolicy(secure_protocols=("http", "https")))
    csrf = ""
    if config.csrf_field or config.csrf_header:
        page = request(config, config.csrf_path or config.login_path)
        _keep(jar, config, page)
        csrf = _csrf(config, jar, page)
        if not csrf:
            return LoggedIn(page, None, _without_csrf(config), config.csrf_path or config.login_path)
    to_write = {config.csrf_header: csrf} if config.csrf_header else {}
    if config.csrf_field and not config.csrf_header:
        fields = {**fields, config.csrf_field: csrf}
    sent = _by_jar(jar, to_write)
    answer = request(config, config.login_path, body=fields, content=_content(config), session=sent)
    _keep(jar, config, answer)
    if answer.problem or answer.status >= 400 or not answer.status:
        return LoggedIn(answer)
    session = _by_jar(jar, _written_with(config, jar, to_write))
    if not session.cookies or _is_refused(config, request(config, config.me_path, session=session)):
        return LoggedIn(answer, None, _without_session(config, answer, session))
    return LoggedIn(answer, session)  # be it the cookies of before: not every service makes new ones


def _without_session(config: SmokeConfig, answer: Answer, session: Session) -> str:
    if session.cookies:
        return f"its cookies are not let in at {config.me_path}, as for a login that is refused"
    if answer.cookies:
        return "its cookies are for another host, or are deleted"
    return "it set no cookie, as for a login that is refused"


def _written_with(config: SmokeConfig, jar: CookieJar, before: Mapping[str, str]) -> Mapping[str, str]:
    """The CSRF header after the login, which may have brought another token."""
    now = next((cookie.value for cookie in jar if cookie.name == config.csrf_cookie), None)
    return {config.csrf_header: now} if config.csrf_header and now else before


def _keep(jar: CookieJar, config: SmokeConfig, answer: Answer) -> None:
    """Let the standard library judge which cookies are for this host. Secure ones count without TLS too: the smoke test
    asks the API where it runs, behind what ends TLS for it."""
    headers = Message()
    for line in answer.cookies:
        headers.add_header("Set-Cookie", line)
    host = next((str(value) for name, value in config.headers.items() if name.lower() == "host"), "")
    url = f"http://{host}/" if host else config.base_url.rstrip("/") + "/"
    jar.extract_cookies(cast(Any, _Received(headers)), urllib.request.Request(url))


@dataclass(frozen=True)
class _Received:
    """As much of a response as ``http.cookiejar`` reads."""

    headers: Message

    def info(self) -> Message:
        return self.headers


def _csrf(config: SmokeConfig, jar: CookieJar, page: Answer) -> str:
    """The token that a login must bring: of a cookie, or of the page's JSON, form or meta tag with the field's name."""
    if config.csrf_cookie:
        return next((cookie.value or "" for cookie in jar if cookie.name == config.csrf_cookie), "")
    name = config.csrf_field or config.csrf_header
    found = at(page.body, name)
    if isinstance(found, str):
        return found
    reader = _HiddenField(name)
    with contextlib.suppress(AssertionError):  # its complaint of a broken declaration; what was read before it counts
        reader.feed(page.text)
    return reader.value


class _HiddenField(HTMLParser):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._name, self.value = name, ""

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, Optional[str]]]) -> None:
        held = {"input": "value", "meta": "content"}.get(tag)
        if not self.value and ("name", self._name) in attrs:
            self.value = next((value for name, value in attrs if name == held and value), "")


def _without_csrf(config: SmokeConfig) -> str:
    if config.csrf_cookie:
        return f"it gave no cookie {config.csrf_cookie}"
    return f"it holds no CSRF token named {config.csrf_field or config.csrf_header}"


def checked(config: SmokeConfig) -> tuple[list[Check], Optional[Session]]:
    """What a login must do and must not, and what it gave."""
    if config.login == "none":
        return [], ANONYMOUS
    refuse_incomplete(config)
    logged_in = log_in(config)
    if logged_in.answer.status >= 500:
        # The first request after a database restart may meet a stale connection of the pool: asked once more.
        logged_in = log_in(config)
    answer, session = logged_in.answer, logged_in.session
    if config.login == "header":
        checks = [check("authenticated call", answer.good, answer)]
    else:
        sent = f"GET {logged_in.page}" if logged_in.page else f"POST {config.login_path} as {_content(config)}"
        checks = [check("login", logged_in.works, answer, logged_in.lacks, sent)]
    if session is None:
        return checks, None
    if config.login != "header":
        me = request(config, config.me_path, session=session)
        checks.append(check("authenticated call", me.good, me, sent=f"GET {config.me_path}"))
    checks.append(_wrong_refused(config))
    anonymous = request(config, config.me_path)
    what = {"cookie": "cookie", "header": "key"}.get(config.login, "token")
    checks.append(check(f"no {what} refused", _is_refused(config, anonymous), anonymous, "it was let in"))
    return checks, session


def _wrong_refused(config: SmokeConfig) -> Check:
    """A wrong password, or key, is refused by the login or, where the login only sets a cookie, by what needs one."""
    wrong = log_in(config, wrong=True)
    if config.login == "header":
        return check("wrong key refused", wrong.answer.status in (401, 403), wrong.answer, "it was let in")
    if wrong.page:
        return check("wrong password refused", False, wrong.answer, f"it could not be tried, {wrong.lacks}")
    # Without a token or a cookie that is let in, an answer that looks fine is an error in words, or the form again.
    answer = wrong.answer
    refused = wrong.session is None and (answer.status in REFUSED or 200 <= answer.status < 400)
    if config.in_cookie and wrong.session is not None:
        answer = request(config, config.me_path, session=wrong.session)
        refused = _is_refused(config, answer)
    return check("wrong password refused", refused, answer, "it was let in")


def refuses(first: Check) -> bool:
    """Whether the first check failed as it does where the API does not know the user or the key, and works well."""
    return first.name in PROVES_WHO and not first.problem and (200 <= first.status < 400 or first.status in REFUSED)


def _is_refused(config: SmokeConfig, answer: Answer) -> bool:
    return answer.status in (401, 403) or (config.in_cookie and answer.status in _REDIRECTS and not answer.problem)


def check(name: str, ok: bool, answer: Answer, otherwise: str = "", sent: str = "") -> Check:
    """A check, with what was sent and what came in words if it failed."""
    ok = ok and not answer.problem
    what = otherwise if not answer.problem and answer.status < 400 and otherwise else answer.said
    detail = "" if ok else f"{what} ({sent})" if sent else what
    return Check(name, ok, answer.status, answer.ms, detail, answer.problem)


def log_out(config: SmokeConfig, session: Session) -> Optional[Check]:
    """End the session where the API has a way to, so that a deploy leaves none."""
    if not config.logout_path or not session.known:
        return None
    answer = request(config, config.logout_path, method="POST", session=session)
    good = 200 <= answer.status < 400
    return check("logout", good, answer, sent=f"POST {config.logout_path}")


def advice(config: SmokeConfig, failed: Sequence[Check]) -> str:
    """What to look at first, by what failed."""
    first = failed[0] if failed else Check()
    if any(item.status == _TOO_OFTEN for item in failed):
        return "The API limits how often one may log in: let the smoke user, or this host, do so more often."
    if first.name.startswith("no ") and config.login != "none":
        return (
            "Set pap_smoke_me_path to a path that refuses who is not logged in, with 401 or 403; if it is one, the API"
            " lets everybody in."
        )
    if first.name == "authenticated call" and first.status in (404, 405):
        return "Correct pap_smoke_me_path: the API's /docs or /openapi.json lists its paths."
    if first.name == "login":
        if "redirects to" in first.detail:
            return (
                "Correct pap_smoke_login_path; where the API wants what its proxy sends (https, its host), set"
                " pap_smoke_headers."
            )
        if "(GET " in first.detail:
            return "Correct pap_smoke_csrf_path, pap_smoke_csrf_field or pap_smoke_csrf_cookie."
        if first.status in (404, 405):
            return "Correct pap_smoke_login_path: the API's /docs or /openapi.json lists its paths."
        if first.status in (415, 422) and config.login in ("json", "form"):
            other = "form" if config.login == "json" else "json"
            return (
                f"The API did not understand the login: try pap_smoke_login={other}, or correct"
                " pap_smoke_username_field, pap_smoke_password_field and pap_smoke_login_fields."
            )
        if "no token" in first.detail:
            return (
                "Set pap_smoke_token_field to where the token is (such as data.access_token); for a session in a"
                " cookie: pap_smoke_login=cookie. If the answer tells an error: is pap_smoke_password right?"
            )
        if "refused" in first.detail:
            return "Look whether pap_smoke_username and pap_smoke_password are right, and the names of their fields."
        if "cookie" in first.detail:
            return (
                "Set pap_smoke_url to the address that its cookies are for, or Host in pap_smoke_headers; for a token:"
                " pap_smoke_login=json or form."
            )
    return ""
