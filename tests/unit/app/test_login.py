"""Each kind of login against a real service that has it: it is proven, and so is that nobody else gets in."""

from __future__ import annotations

import json as json_of
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml
from papdeploy.app import login, smoke
from papdeploy.app.api_client import NOTHING, SmokeConfig, at, refuse_unsound
from papdeploy.core.errors import Refused
from papdeploy.core.records import whole
from papdeploy.logwatch import look_api
from papdeploy.logwatch.confidential import Confidential, from_text
from papdeploy.logwatch.look_api import Before, look
from papdeploy.phases.login_smoke_test import _result
from papdeploy.rehearsal import trials
from papdeploy.releases.parts import Check, Smoke
from papdeploy.releases.rehearsed import Tried
from support import ROOT, login_apps
from support.login_apps import KEY, PASSWORD, SETTINGS, USER, Faults

Shape = Callable[[Faults], Any]
LOG_IN = [shape for shape in SETTINGS if shape is not login_apps.nobody]
BY_PASSWORD = [shape for shape in LOG_IN if shape is not login_apps.key]


def name(shape: Shape) -> str:
    return str(shape.__name__)


class Service:
    def __init__(self, shape: Shape, url: str, faults: Faults) -> None:
        self.faults, self.shape = faults, shape
        who: dict[str, Any] = (
            {} if shape in (login_apps.key, login_apps.nobody) else {"username": USER, "password": PASSWORD}
        )
        self.config = SmokeConfig(url, **who, **SETTINGS[shape], endpoints=("/items",), health_deadline_s=10)

    def failed(self, **changed: Any) -> smoke.SmokeFailed:
        with pytest.raises(smoke.SmokeFailed) as caught:
            smoke.run(replace(self.config, **changed))
        said = json_of.dumps(caught.value.as_dict())
        assert not any(secret in said for secret in (PASSWORD, KEY, *self.faults.open_sessions))
        return caught.value


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    faults = Faults()
    with login_apps.served(request.param(faults)) as url:
        yield Service(request.param, url, faults)


every = pytest.mark.parametrize("service", SETTINGS, ids=name, indirect=True)


@every
def test_it_passes_and_says_what_was_proven(service: Service) -> None:
    before = smoke.baseline(service.config)
    assert not before.problem and before.endpoints and before.endpoints[0].status == 200
    found = smoke.run(service.config, before.endpoints)
    assert not found.failed and found.endpoints[0].after == 200
    line = _result(found).pap.lines[0]
    kind = service.config.login
    proven = {"header": "wrong key refused", "none": "no login tried"}.get(kind, "wrong password refused")
    assert proven in line and "no regressions in 1 endpoint" in line
    assert ("logged out" in line) == bool(service.config.logout_path)


@pytest.mark.parametrize("service", LOG_IN, ids=name, indirect=True)
def test_the_inventory_of_the_page_on_logins_is_right(service: Service) -> None:
    text = (ROOT / "docs/login.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.S)][: len(LOG_IN)]
    given = dict(zip(map(name, LOG_IN), blocks))[name(service.shape)]
    settings = {key.removeprefix("pap_smoke_"): value for key, value in given.items()}
    secret = {"password": PASSWORD} if "password" in settings else {"token": KEY}
    assert not smoke.run(SmokeConfig(service.config.base_url, **{**settings, **secret})).failed


@every
def test_the_watch_asks_the_same_way(service: Service) -> None:
    before = smoke.timed(service.config, smoke.baseline(service.config))
    found = look(
        service.config, Before(before.health, before.login, before.endpoints or ()), [], "2026-11-30T10:00:00Z"
    )
    assert [one.worse for one in found.asked] == [""] * len(found.asked) and not found.not_looked
    assert bool(found.login) == (service.config.login in login.BY_REQUEST)


@pytest.mark.parametrize("service", LOG_IN, ids=name, indirect=True)
def test_that_everybody_is_let_in_is_noticed(service: Service) -> None:
    service.faults.lets_in_anybody = True
    assert {"no cookie", "no key", "no token"} & {
        check["name"].removesuffix(" refused") for check in service.failed().data["smoke"]["checks"] if not check["ok"]
    }


@pytest.mark.parametrize("service", BY_PASSWORD, ids=name, indirect=True)
def test_that_any_password_is_taken_is_noticed(service: Service) -> None:
    service.faults.lets_in_any_password = True
    assert "wrong password refused: it was let in" in service.failed().message


@pytest.mark.parametrize("service", LOG_IN, ids=name, indirect=True)
def test_a_wrong_password_of_ours_fails_the_login(service: Service) -> None:
    if service.config.login == "header":
        assert "authenticated call: status 403" in service.failed(token="another").message
    elif service.config.csrf_field:  # the page is shown again, with status 200
        assert (
            "its cookies are not let in at /profile, as for a login that is refused"
            in service.failed(password="other").message
        )
    else:
        assert f" (POST {service.config.login_path} as application/" in service.failed(password="other").message


@pytest.mark.parametrize("service", [login_apps.json, login_apps.double_submit], ids=name, indirect=True)
def test_a_session_is_ended_where_the_api_can(service: Service) -> None:
    smoke.run(service.config)
    assert service.faults.open_sessions == set()
    failed = service.failed(logout_path="/nowhere")
    assert "logout: status 404 (POST /nowhere)" in failed.message


@pytest.mark.parametrize("service", [login_apps.json], ids=name, indirect=True)
def test_a_look_that_has_no_time_left_ends_its_session_too(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_api, "ALL_S", 0.0)
    found = look(service.config, Before(), [], "2026-11-30T10:00:00Z")
    assert found.not_looked[0].what == "/api/me, /items" and service.faults.open_sessions == set()


@pytest.mark.parametrize(
    ("service", "changed", "advice"),
    [
        (login_apps.form, {"login": "json"}, "try pap_smoke_login=form"),
        (login_apps.form, {"login_path": "/auth/login"}, "Correct pap_smoke_login_path"),
        (login_apps.form, {"token_field": "token"}, "Set pap_smoke_token_field to where the token is"),
        (login_apps.json, {"login": "form"}, "try pap_smoke_login=json"),
        (login_apps.json, {"token_field": "data.tokens.1.value"}, "Set pap_smoke_token_field"),
        (login_apps.page, {"csrf_field": "csrf"}, "Correct pap_smoke_csrf_path, pap_smoke_csrf_field"),
        (login_apps.double_submit, {"csrf_cookie": "XSRF"}, "Correct pap_smoke_csrf_path"),
        (login_apps.double_submit, {"csrf_path": "/nowhere"}, "Correct pap_smoke_csrf_path"),
    ],
    indirect=["service"],
)
def test_a_wrong_setting_is_told_with_what_to_set(service: Service, changed: dict[str, Any], advice: str) -> None:
    assert advice in str(service.failed(**changed).hint)
    assert advice in smoke.baseline(replace(service.config, **changed)).advice


@pytest.mark.parametrize("service", [login_apps.double_submit], ids=name, indirect=True)
def test_what_is_declared_of_an_endpoint_must_be_so(service: Service) -> None:
    made = {"path": "/items", "method": "post", "body": {"name": "x"}, "status": 201}
    right = {**made, "json": {"made.name": "x", "made.tags.1": "b", "made.tags": None}}
    config = replace(service.config, endpoints=("/items", {"path": "/nowhere", "status": 404}, right))
    found = smoke.run(config)
    assert [item.path for item in found.endpoints] == ["/items", "/nowhere", "POST /items"]
    for wrong, told in (
        ({**made, "status": 200}, "POST /items: status 201, declared 200"),
        ({**made, "json": {"made.name": "y"}}, "POST /items: made.name is not 'y'"),
        ({**made, "json": {"made.tags.2": None}}, "POST /items: made.tags.2 is not there"),
    ):
        assert told in service.failed(endpoints=(wrong,)).message
        assert not smoke.run(replace(config, endpoints=(wrong,)).of_before()).failed
    asked = look(config, Before(), [], "2026-11-30T10:00:00Z")
    assert [one.path for one in asked.endpoints] == ["/session", "/items", "/nowhere"]  # nothing is written again


@pytest.mark.parametrize("service", [login_apps.double_submit], ids=name, indirect=True)
def test_a_declared_refusal_is_none_of_the_api_of_before_either(service: Service) -> None:
    """In the rehearsal, and after a rollback, the old API is held against what it answered."""
    config = replace(service.config, endpoints=({"path": "/nowhere", "status": 404}, {"path": "/items", "status": 200}))
    before = smoke.baseline(config).endpoints or ()
    assert not smoke.run(config.of_before(), before).failed
    gone = replace(config, endpoints=("/nowhere", "/items/x")).of_before()
    with pytest.raises(smoke.SmokeFailed, match="GET /items/x: status 404, was 200"):
        smoke.run(gone, [before[0], replace(before[1], path="/items/x")])


@pytest.mark.parametrize(
    ("check", "unknown"),
    [
        (Check("login", status=401), True),
        (Check("login", status=200), True),
        (Check("login", status=303), True),
        (Check("login", status=404), False),
        (Check("login", status=500), False),
        (Check("login", status=0, problem="closed"), False),
        (Check("login", status=200, problem="its body is no JSON"), False),
        (Check("authenticated call", status=403), True),
        (Check("no token refused", status=200), False),
        (Check("GET /items", status=401), False),
    ],
)
def test_only_a_refusal_of_who_asks_proves_nothing_on_a_copy_without_rows(check: Check, unknown: bool) -> None:
    error = smoke.SmokeFailed("x", smoke=whole(Smoke((check,))))
    tried = trials._judged(Tried(), error, rows=False)
    assert (tried.works is None) == unknown and ("missing from the copy" in tried.why) == unknown
    assert trials._judged(Tried(), error, rows=True).works is False


def test_a_login_that_worked_and_an_authenticated_call_that_did_not_are_a_failure() -> None:
    checks = (Check("login", True, 200), Check("authenticated call", False, 401))
    assert trials._judged(Tried(), smoke.SmokeFailed("x", smoke=whole(Smoke(checks))), rows=False).works is False


def test_what_may_be_secret_comes_back_whole_from_its_file() -> None:
    endpoints = ("/items?key=s3cret", {"path": "/search", "method": "POST", "body": {"password": "p"}})
    made = SmokeConfig("", "u", "p", login_fields={"scope": ["a"], "n": 1}, headers={"X": 1}, endpoints=endpoints)
    kept = from_text(Confidential(smoke=made.kept_apart()).text()).smoke
    assert replace(SmokeConfig("", "u"), **vars(kept)).declared == made.declared
    plain = replace(made, endpoints=("/items", *endpoints)).plain_endpoints()
    assert [item["path"] for item in plain] == ["/items"]
    assert (kept.login_fields, kept.headers, kept.password) == ({"scope": ["a"], "n": 1}, {"X": 1}, "p")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("policies", "does not begin with a slash"), ({"path": "http://x/"}, "does not begin with a slash"),
        ({"path": "/a", "method": "FETCH"}, "FETCH"), ({"path": "/a", "staus": 200}, "staus is not known"),
        ({"method": "GET"}, "path is missing"), (7, "is an integer"), ({"path": "/a", "status": "200"}, "status is text"),
    ],
)  # fmt: skip
def test_an_endpoint_that_is_none_is_refused(wrong: object, told: str) -> None:
    with pytest.raises(Refused, match=told):
        refuse_unsound(SmokeConfig("", endpoints=["/right", wrong]))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "pap_smoke_username and pap_smoke_password must be set where pap_smoke_login is json"),
        ({"login": "cookie", "username": "u"}, "pap_smoke_password must be set where pap_smoke_login is cookie"),
        ({"login": "header", "username": "u", "password": "p"}, "pap_smoke_token must be set"),
    ],
)
def test_what_a_kind_needs_is_required(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        login.refuse_incomplete(SmokeConfig("", **settings))


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.b.0.c", 1),
        ("a.b.1", NOTHING),
        ("a.b.x", NOTHING),
        ("d.e", 2),
        ("a", {"b": [{"c": 1}]}),
        ("", NOTHING),
        ("f", None),
    ],
)
def test_a_path_in_json(path: str, found: object) -> None:
    assert at({"a": {"b": [{"c": 1}]}, "d.e": 2, "f": None}, path) == found
