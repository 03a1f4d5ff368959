"""Mail by the standard library, against a server that notes what it gets."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest
from papdeploy.core.errors import Refused, Unavailable
from papdeploy.core.records import returned
from papdeploy.notify import mail
from support.hostile_http import Hostile, Speak, _forever, sends
from support.smtp import smtp_server


@pytest.fixture
def server() -> Iterator[tuple[mail.Server, list[str]]]:
    with smtp_server() as found:
        yield mail.Server(found.host, found.port, timeout_s=30), found.lines


TEXT = {"sender": "a@x.example", "subject": "rolled\nback: 東京", "body": "It runs 2.0 again."}


def test_a_mail_arrives(server: tuple[mail.Server, list[str]]) -> None:
    where, got = server
    assert returned(mail.send(where, to=["b@x.example", "c@x.example"], **TEXT)) == {
        "changed": True,
        "to": ["b@x.example", "c@x.example"],
    }
    assert any("b@x.example" in line for line in got) and "It runs 2.0 again." in got
    assert sum(line.startswith("Subject:") for line in got) == 1


def test_what_keeps_a_mail_from_arriving(server: tuple[mail.Server, list[str]]) -> None:
    where, got = server
    for to, said in ((["nobody@x.example"], "did not take"), (["b@x.example", "nobody@x.example"], "nobody@x.example")):
        with pytest.raises(Unavailable, match=said):
            mail.send(where, to=to, **TEXT)
    with pytest.raises(Unavailable, match="did not take"):
        mail.send(mail.Server("127.0.0.1", 1), to=["b@x.example"], **TEXT)
    got.clear()
    with pytest.raises(Refused, match="without TLS"):
        mail.send(mail.Server(where.host, where.port, "jo", "hunter2"), to=["b@x.example"], **TEXT)
    assert not any("hunter2" in line for line in got)


def test_a_subject_makes_no_header_and_a_body_no_command(server: tuple[mail.Server, list[str]]) -> None:
    where, got = server
    hostile = "rolled back\r\nBcc: x@evil.example\r\n\r\nfinished\x1b[2K\u202e"
    mail.send(where, sender="a@x.example", to=["b@x.example"], subject=hostile, body=f"{hostile}\n.\nRSET")
    start = [line.upper() for line in got].index("DATA") + 1
    head = got[start : got.index("", start)]
    assert not [line for line in head if line.lower().startswith("bcc")]
    assert "\x1b" not in "".join(got) and got[-1].upper() == "QUIT" and got.count(".") == 1


# What a server says, and what is told of it.
HOSTILE: dict[str, tuple[Speak, str]] = {
    "silence": (_forever(b"", b""), "timed out|time is up"),
    "a greeting that trickles": (_forever(b"220 ", b"x"), "timed out|time is up"),
    "a greeting that goes on and on": (_forever(b"220-x\r\n", b"220-" + b"y" * 500 + b"\r\n", 0), "more than 65.5 kB"),
    "no SMTP": (sends(b"HTTP/1.1 400 Bad\r\n\r\n"), "HTTP|400"),
    "escape sequences": (sends(b"554 \x1b[2Jfinished\r\n"), r"554.*\\x1b\[2J"),
    "a long line": (sends(b"554 " + b"x" * 60_000 + b"\r\n"), "Line too long|500"),
    "nothing": (sends(b""), "closed|reset"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "secure"), list(zip(HOSTILE, itertools.cycle(["never", "try", "always"]))))
def test_whatever_a_server_says_ends_in_time(kind: str, secure: str) -> None:
    hostile = Hostile()
    hostile.greets, told = HOSTILE[kind]
    started = time.monotonic()
    try:
        for how, said in ((secure, ""), ("never", told)):
            where = mail.Server("127.0.0.1", int(hostile.url.rpartition(":")[2]), secure=how, timeout_s=0.4)
            with pytest.raises(Unavailable, match=f"did not take the mail: .*({said})") as failed:
                mail.send(where, to=["b@x.example"], **TEXT)
            assert failed.value.message.isprintable() and len(failed.value.message) < 500
    finally:
        hostile.close()
    assert time.monotonic() - started < 10


def test_a_password_that_a_server_says_back_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(smtp: mail._Connection, user: str, password: str) -> None:
        raise OSError(f"535 {password} AGpvAGh1bnRlcjItYi1j aHVudGVyMi1iLWM=")

    monkeypatch.setattr(mail._Connection, "login", refuse)
    monkeypatch.setattr(mail._Connection, "starttls", lambda *_, **__: None)
    with smtp_server() as found, pytest.raises(Unavailable) as failed:
        where = mail.Server(found.host, found.port, "jo", "hunter2-b-c", secure="starttls")
        mail.send(where, to=["b@x.example"], **TEXT)
    assert "hunter2" not in failed.value.message and "aHVudGVyMi" not in failed.value.message
    assert "AGpvAGh1" not in failed.value.message
