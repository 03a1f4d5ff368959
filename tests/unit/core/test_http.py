"""The HTTP client against a server that does everything wrong: each fault is an answer with its reason, in time."""

from __future__ import annotations

import contextlib
import itertools
import re
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from papdeploy.app import smoke
from papdeploy.app.api_client import ANONYMOUS, Session, SmokeConfig, _json, request
from papdeploy.app.login import log_in
from papdeploy.core import http
from papdeploy.core.errors import Unhealthy
from papdeploy.releases.parts import Endpoint
from support.hostile_http import KINDS, SAID_BACK, Hostile, _ok, mutations, said_back, sends

PATHS = ("/health", "/auth/login", "/auth/me", "/policies/")
SECRET = "Bearer s3cr3t-t0ken"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Hostile, Hostile]]:
    elsewhere = Hostile()
    hostile = Hostile(f"{elsewhere.url}/health")
    yield hostile, elsewhere
    hostile.close()
    elsewhere.close()


@pytest.fixture
def hostile(servers: tuple[Hostile, Hostile]) -> Iterator[Hostile]:
    yield servers[0]
    servers[0].bad, servers[0].spoken, servers[0].greets = {}, None, None


def config(server: Hostile, seconds: float = 0.6) -> SmokeConfig:
    return SmokeConfig(
        server.url, "u", "right", endpoints=("/policies/",), health_deadline_s=seconds, request_deadline_s=0.3
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_is_an_answer_with_its_reason(hostile: Hostile, kind: str) -> None:
    hostile.bad = {"/x": kind}
    seconds = 0.4 if "no complete answer" in KINDS[kind][1] else 60
    answer = http.exchange(f"{hostile.url}/x", headers={"Authorization": SECRET}, seconds=seconds)
    problem = answer.problem or _json(answer)[1]
    assert re.search(KINDS[kind][1], problem), (problem, answer)
    assert problem.isprintable() and "s3cr3t" not in problem


def smoke_test_fails(hostile: Hostile, path: str, kind: str) -> None:
    """With that fault at that path, and says so."""
    hostile.bad = {path: kind}
    before = [Endpoint("/policies/", 200, 1, [{"id": "int"}])]
    with pytest.raises(Unhealthy) as failed:
        smoke.run(config(hostile, 0.4), before)
    reason = f"{KINDS[kind][1]}|no complete answer within"  # which a busy machine comes to before the fault itself
    assert re.search(reason, failed.value.message), failed.value.message
    assert isinstance(failed.value, smoke.SmokeFailed) == (path != "/health")


@pytest.mark.parametrize(("kind", "path"), list(zip(KINDS, itertools.cycle(PATHS))))  # each with each: tests/nightly
def test_the_smoke_test_names_it(hostile: Hostile, kind: str, path: str) -> None:
    smoke_test_fails(hostile, path, kind)


@pytest.mark.parametrize("kind", ["deep JSON", "body that trickles", "reset", "short body"])
def test_an_endpoint_as_broken_as_before_is_no_worse(hostile: Hostile, kind: str) -> None:
    hostile.bad = {"/policies/": kind}
    before = smoke.baseline(config(hostile)).endpoints
    assert not smoke.run(config(hostile), before).failed
    hostile.bad = {}
    assert not smoke.run(config(hostile), before).failed
    hostile.bad = {"/policies/": "closed"}
    assert not smoke.run(config(hostile), before).failed


def test_credentials_never_leave_the_origin(servers: tuple[Hostile, Hostile], hostile: Hostile) -> None:
    hostile.bad = {"/x": "redirect to another origin"}
    for method, body in (("GET", None), ("POST", b"{}")):
        answer = http.exchange(f"{hostile.url}/x", method=method, body=body, headers={"Authorization": SECRET})
        assert (answer.status, servers[1].seen) == (302, [])
        assert f"redirects to {servers[1].url}/health, another origin" in answer.problem


def test_a_redirect_within_the_origin_is_followed(hostile: Hostile) -> None:
    hostile.spoken = lambda server, peer: peer.sendall(
        _ok(b"{}")
        if "/there" in server.seen[-1]
        else b"HTTP/1.1 307 To\r\nLocation: there?b=c\r\nContent-Length: 0\r\n\r\n"
    )
    hostile.seen.clear()
    answer = http.exchange(f"{hostile.url}/here?a=b", method="POST", body=b"1", headers={"Authorization": SECRET})
    assert (answer.status, answer.problem, len(hostile.seen)) == (200, "", 2)
    assert hostile.seen[1].startswith("POST /there?b=c HTTP/1.1") and SECRET in hostile.seen[1]


@pytest.mark.parametrize("spoken", [KINDS["silence"][0], KINDS["no HTTP"][0]])
def test_tls_has_the_same_deadline(hostile: Hostile, spoken: Any) -> None:
    hostile.greets = spoken
    answer = http.exchange(hostile.url.replace("http", "https"), seconds=0.4)
    assert answer.status == 0 and re.search("no complete answer within|SSL", answer.problem), answer.problem


def test_a_huge_body_is_not_kept(hostile: Hostile) -> None:
    hostile.bad = {"/x": "gigabyte without length"}
    tracemalloc.start()
    try:
        http.exchange(f"{hostile.url}/x", seconds=20)
        assert tracemalloc.get_traced_memory()[1] < 6 * http.BODY_LIMIT
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://127.0.0.1/", "no http or https address"),
        ("http:///x", "no http or https address"),
        ("http://127.0.0.1:99999/", "it is none"),
        ("http://[::1/", "cannot be asked"),
        ("http://u:p4ss@127.0.0.1/", "credentials belong into a header"),
        ("http://127.0.0.1:9/", "refused"),
        ("http://no-such-host.invalid/", "."),
        ("http://" + "a" * 300 + "/", "."),
    ],
)
def test_an_address_that_cannot_be_asked(url: str, problem: str) -> None:
    answer = http.exchange(url, seconds=5)
    assert answer.status == 0 and re.search(problem, answer.problem), answer.problem
    assert "p4ss" not in answer.problem


def test_what_cannot_be_sent_is_not_shown(hostile: Hostile) -> None:
    hostile.spoken = lambda server, peer: peer.sendall(_ok(b'{"access_token": "s3cr3t\\r\\nX: y"}'))
    session = log_in(config(hostile)).session
    assert session is not None
    answer = request(config(hostile), "/auth/me", session=session)
    assert answer.problem == "a header of the request holds characters that HTTP does not allow"


@pytest.mark.parametrize("form", SAID_BACK)
def test_a_token_that_is_said_back_is_not_shown(hostile: Hostile, form: str) -> None:
    token = "oPaque-t0ken_" + "x9" * 60
    for padding in ("", "-" * 150):  # and not the half of it that a cut leaves
        hostile.spoken = said_back(form, padding)
        answer = request(
            config(hostile), "/policies/", session=Session({"Authorization": f"Bearer {token}"}, secrets=(token,))
        )
        assert answer.problem and token[:20].lower() not in answer.problem.lower(), answer.problem


def test_half_a_surrogate_pair_can_be_kept(hostile: Hostile) -> None:
    hostile.spoken = lambda server, peer: peer.sendall(_ok(b'{"\\ud800": 1, "access_token": "\\udfff"}'))
    (found,) = smoke.look_at_endpoints(config(hostile), ANONYMOUS)
    assert str(found.shape).encode() and found.problem == ""


def test_a_page_that_is_no_json_may_be_so(hostile: Hostile) -> None:
    hostile.spoken = lambda server, peer: peer.sendall(_ok(b"\xff<html>", "Content-Type: text/html"))
    assert smoke.wait_until_healthy(config(hostile)) >= 0


def test_a_proxy_is_heeded_only_where_it_is_asked_for(
    servers: tuple[Hostile, Hostile], hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = servers[1]
    monkeypatch.setenv("http_proxy", proxy.url.replace("://", "://me:pw@"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    proxy.seen.clear()
    hostile.seen.clear()
    http.exchange(f"{hostile.url}/health")
    assert hostile.seen and not proxy.seen
    http.exchange(f"{hostile.url}/health", proxy=True)
    (asked,) = proxy.seen
    assert asked.startswith(f"GET {hostile.url}/health HTTP/1.1") and "Proxy-Authorization: Basic bWU6cHc=" in asked
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    http.exchange(f"{hostile.url}/health", proxy=True)
    assert len(proxy.seen) == 1


def test_nothing_that_a_server_sends_is_a_defect_of_ours(hostile: Hostile) -> None:
    """Good answers with a part cut, doubled or overwritten: whatever comes of them, it is an answer."""
    for data in mutations(seed=7, count=400):
        hostile.spoken = sends(data)
        answer = request(config(hostile), "/health", seconds=0.4)
        assert isinstance(answer.status, int) and answer.problem.isprintable(), data
        with contextlib.suppress(UnicodeError):
            smoke.shape(answer.body)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (_ok(b"<html>", "Content-Type: text/html"), "no longer a list"),
        (_ok(b"", "Content-Type: application/json"), "no longer a list"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "no longer a list"),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "status 304, was 200"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "status 302, was 200"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + _ok(b"[]"), "status 103, was 200"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "status 101, was 200"),
    ],
)
def test_an_endpoint_that_says_nothing_any_more_is_worse(hostile: Hostile, answer: bytes, said: str) -> None:
    before = [Endpoint("/policies/", 200, 1, [{"id": "int"}])]
    hostile.bad = {"/policies/": "made up"}
    KINDS["made up"] = (lambda server, peer: peer.sendall(answer), "")
    try:
        with pytest.raises(smoke.SmokeFailed, match=said):
            smoke.run(config(hostile), before)
        found = smoke.baseline(config(hostile)).endpoints
        assert not smoke.run(config(hostile), found).failed  # as it was before
    finally:
        del KINDS["made up"]
