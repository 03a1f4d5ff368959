"""The webhook of notifications and alarms: sent once, in time, and to no other receiver."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from papdeploy.core import http
from papdeploy.core.errors import Unavailable
from papdeploy.notify import webhook
from support.hostile_http import KINDS, SAID_BACK, Hostile, said_back

BODY = {"event": "finish", "message": "pap has finished"}


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    monkeypatch.setattr(webhook, "SECONDS", 0.4)
    server = Hostile()
    yield server
    server.close()


def test_what_it_gets(hook: Hostile) -> None:
    hook.spoken = lambda server, peer: peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert webhook.post(hook.url, BODY, headers={"X-Key": 7}).status == 204  # type: ignore[dict-item]  # as YAML may
    assert "X-Key: 7" in hook.seen[0]


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_it_answers_ends_in_time_and_shows_no_secret(hook: Hostile, kind: str) -> None:
    hook.bad = {"/t0ken": kind}
    try:
        webhook.post(f"{hook.url}/t0ken", BODY, headers={"Authorization": "Bearer s3cr3t"})
    except Unavailable as error:
        assert "s3cr3t" not in str(error) and "t0ken" not in str(error)
    else:  # a status came: it was told, however its body goes on
        assert kind not in ("reset", "silence", "no HTTP") and "redirect" not in kind


@pytest.mark.parametrize("form", SAID_BACK)
def test_what_is_said_back_is_not_shown(hook: Hostile, form: str) -> None:
    hook.spoken = said_back(form)
    try:
        webhook.post(
            f"{hook.url}/hooks/t0ken-of-it?key=s3cret-of-it", BODY, headers={"Authorization": "Key s3cr3t-of-it"}
        )
    except Unavailable as error:
        assert not [word for word in ("t0ken-of", "s3cret-of", "s3cr3t-of") if word in str(error)], str(error)
    else:
        assert " 200 " in form  # it was told, however its body goes on


def test_no_text_makes_a_line_or_calls_a_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, str]] = []

    def exchange(url: str, *, body: bytes, **_: object) -> http.Answer:
        sent.append(json.loads(body))
        return http.Answer(204)

    monkeypatch.setattr(http, "exchange", exchange)
    body = {"event": "alarm", "message": "boom\nfinished\x1b[2K <!channel> & more"}
    for form in ("json", "slack"):
        webhook.post("http://h", body, form=form, headers={})
    assert sent[0]["message"] == "boom\\nfinished\\x1b[2K <!channel> & more"
    assert sent[1] == {"text": "boom\\nfinished\\x1b[2K &lt;!channel&gt; &amp; more"}
