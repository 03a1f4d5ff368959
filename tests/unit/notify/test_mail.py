"""Mail by the standard library, against a server that notes what it gets."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest
from papdeploy.core.errors import Refused, Unavailable
from papdeploy.notify import mail


class Smtp(socketserver.StreamRequestHandler):
    got: ClassVar[list[str]]

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        inside = False
        for raw in self.rfile:
            line = raw.decode().rstrip("\r\n")
            self.got.append(line)
            if inside:
                inside = line != "."
                answer = b"" if inside else b"250 taken\r\n"
            elif line.upper() == "DATA":
                inside, answer = True, b"354 go on\r\n"
            else:
                answer = b"550 nobody here\r\n" if "nobody" in line else b"250 well\r\n"
            self.wfile.write(b"221 bye\r\n" if line.upper() == "QUIT" else answer)


@pytest.fixture
def server() -> Iterator[tuple[mail.Server, list[str]]]:
    class Mine(Smtp):
        got: ClassVar[list[str]] = []

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mine) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield mail.Server("127.0.0.1", listening.server_address[1], timeout_s=30), Mine.got
        listening.shutdown()


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
