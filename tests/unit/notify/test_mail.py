"""Mail by the standard library, against a server that notes what it gets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from papdeploy.core.errors import Refused, Unavailable
from papdeploy.notify import mail
from support.smtp import smtp_server


@pytest.fixture
def server() -> Iterator[tuple[mail.Server, list[str]]]:
    with smtp_server() as found:
        yield mail.Server(found.host, found.port, timeout_s=30), found.lines


TEXT = {"sender": "a@x.example", "subject": "rolled\nback: 東京", "body": "It runs 2.0 again."}


def test_a_mail_arrives(server: tuple[mail.Server, list[str]]) -> None:
    where, got = server
    assert mail.send(where, to=["b@x.example", "c@x.example"], **TEXT) == {
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
