from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from papdeploy.app import smoke
from papdeploy.app.api_client import SmokeConfig
from papdeploy.core.errors import PapError, Unavailable


class Api:
    """A small real HTTP server whose answers a test may change: path to (status, JSON body)."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {"/health": (200, {"status": "ok"}), "/auth/me": (200, {"id": 1})}
        self.wrong_password = 401
        self.login = 200
        self.stale = 0
        self.asked: list[Any] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def _send(self, status: int, body: Any) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                api.asked.append((self.path, self.headers.get("Authorization")))
                if self.path != "/health" and self.headers.get("Authorization") != "Bearer token-1":
                    self._send(401, {})
                else:
                    self._send(*api.answers.get(self.path, (404, {})))

            def do_POST(self) -> None:
                given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                api.asked.append((self.path, given))
                if api.stale:
                    api.stale -= 1
                    self._send(500, {})
                elif given == {"username": "u", "password": "right"}:
                    self._send(api.login, {"access_token": "token-1"} if api.login == 200 else {})
                else:
                    self._send(api.wrong_password, {"access_token": "token-1"} if api.wrong_password == 200 else {})

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def config(self, *endpoints: str, deadline: float = 10) -> SmokeConfig:
        return SmokeConfig(
            f"http://127.0.0.1:{self.server.server_port}",
            "u",
            "right",
            endpoints=endpoints,
            health_deadline_s=deadline,
        )


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_the_baseline_asks_what_the_smoke_test_asks(api: Api) -> None:
    """What the one writes is then known from a rehearsal of the other."""
    config = api.config("/policies/", "/users/")
    smoke.baseline(config)
    first, api.asked[:] = api.asked[:], []
    with pytest.raises(smoke.SmokeFailed):  # the endpoints are not there
        smoke.run(config)
    assert first == api.asked
    assert len(first) == 7


def test_a_good_api_passes(api: Api) -> None:
    api.answers["/policies/"] = (200, [{"id": 1, "folder": "x"}])
    config = api.config("/policies/")
    before = smoke.baseline(config).endpoints
    found = smoke.run(config, before)
    assert [check.name for check in found.checks] == [
        "login",
        "authenticated call",
        "wrong password refused",
        "no token refused",
        "GET /policies/",
    ]
    assert not found.failed
    assert found.endpoints[0].before == found.endpoints[0].after == 200


BAD: dict[str, Callable[[Api], object]] = {
    "login": lambda api: setattr(api, "login", 500),
    "wrong password refused": lambda api: setattr(api, "wrong_password", 200),
    "authenticated call": lambda api: api.answers.update({"/auth/me": (500, {})}),
    "GET /policies/": lambda api: api.answers.update({"/policies/": (500, {})}),
}


@pytest.mark.parametrize("name", BAD)
def test_each_fault_is_named(api: Api, name: str) -> None:
    api.answers["/policies/"] = (200, [])
    config = api.config("/policies/")
    before = smoke.baseline(config).endpoints
    BAD[name](api)
    with pytest.raises(smoke.SmokeFailed, match=name) as caught:
        smoke.run(config, before)
    failed = {c["name"] for c in caught.value.data["smoke"]["checks"] if not c["ok"]}
    assert failed == {name}
    assert "right" not in json.dumps(caught.value.as_dict())


@pytest.mark.parametrize("name", [name for name in BAD if not name.startswith("GET")])
def test_the_baseline_names_what_fails_already(api: Api, name: str) -> None:
    BAD[name](api)
    found = smoke.baseline(api.config())
    assert found.problem.startswith(f"{name}: ") and not found.silent
    assert (found.endpoints is None) == (name == "login")


def test_the_baseline_of_an_api_that_is_not_healthy(api: Api) -> None:
    api.answers["/health"] = (503, {})
    assert smoke.baseline(api.config()) == smoke.Baseline(problem="/health: status 503")


def test_an_endpoint_that_failed_before_may_fail_the_same_way_but_no_worse(api: Api) -> None:
    api.answers["/a"] = (403, {})
    config = api.config("/a")
    before = smoke.baseline(config).endpoints
    assert not smoke.run(config, before).failed
    api.answers["/a"] = (500, {})
    with pytest.raises(smoke.SmokeFailed, match="status 500, was 403"):
        smoke.run(config, before)


def test_a_lost_field_is_worse_a_new_one_is_not(api: Api) -> None:
    api.answers["/a"] = (200, [{"id": 1, "name": "x", "tags": {"k": 1}}])
    config = api.config("/a")
    before = smoke.baseline(config).endpoints
    api.answers["/a"] = (200, [{"id": 1, "name": None, "tags": {"k": 1, "l": 2}, "new": 1}])
    assert not smoke.run(config, before).failed
    api.answers["/a"] = (200, [{"id": 1, "name": "x", "tags": {}}])
    with pytest.raises(smoke.SmokeFailed, match=r"lost \[\]\.tags\.k"):
        smoke.run(config, before)


def test_one_stale_connection_is_forgiven(api: Api) -> None:
    api.stale = 1
    assert not smoke.run(api.config()).failed


def test_no_answer_is_said_with_the_reason() -> None:
    config = SmokeConfig("http://127.0.0.1:9", "u", "p", health_deadline_s=0.2)
    with pytest.raises(Unavailable, match=r"not healthy within 0\.2 s: .*refused"):
        smoke.run(config)
    before = smoke.baseline(config)
    assert (before.endpoints, before.problem) == (None, "") and "refused" in before.silent
    assert smoke.baseline(replace(config, base_url="")).silent == "it does not run"


@pytest.mark.parametrize("by_name", [{f"user{n}@x.example": {"id": n} for n in range(3000)}, {"k" * 3000: {"id": 1}}])
def test_data_by_name_is_no_shape(api: Api, by_name: dict[str, Any]) -> None:
    api.answers["/a"] = (200, {"sessions": by_name, "total": 1})
    config = api.config("/a")
    before = smoke.baseline(config).endpoints
    assert before and before[0].shape == {"sessions": {"*": {"id": "int"}}, "total": "int"}
    api.answers["/a"] = (200, {"sessions": {"b": {"id": 7}}, "total": 1})
    assert not smoke.run(config, before).failed
    api.answers["/a"] = (200, {"sessions": [], "total": 1})
    with pytest.raises(smoke.SmokeFailed, match=r"sessions is no longer an object"):
        smoke.run(config, before)


def test_an_api_that_goes_on_after_it_was_stopped_is_no_stopped_one(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "STOPPED_S", 0.2)
    with pytest.raises(PapError, match=r"was stopped, and is still healthy at http.*pap_smoke_url"):
        smoke.refuse_answering(api.config())
    api.answers["/health"] = (502, {})  # of a proxy in front of it
    smoke.refuse_answering(api.config())
    api.server.shutdown()
    api.server.server_close()
    smoke.refuse_answering(api.config())
