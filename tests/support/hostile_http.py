"""A server that answers as no server should: each kind of fault by its name, at the paths that a test chooses."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import ClassVar, Optional

Speak = Callable[["Hostile", socket.socket], None]


def sends(data: bytes) -> Speak:
    return lambda server, peer: peer.sendall(data)


def _ok(body: bytes, *fields: str, length: Optional[int] = None) -> bytes:
    head = ["HTTP/1.1 200 OK", f"Content-Length: {len(body) if length is None else length}", *fields, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


JSON = "Content-Type: application/json"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _forever(first: bytes, piece: bytes, pause: float = 0.02) -> Speak:
    """``first``, then ``piece`` again and again until the client has gone."""

    def speak(server: Hostile, peer: socket.socket) -> None:
        peer.sendall(first)
        while not server.over.wait(pause):
            peer.sendall(piece)

    return speak


def _reset(server: Hostile, peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _silent(server: Hostile, peer: socket.socket) -> None:
    while not server.over.wait(0.02):
        peer.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            if not peer.recv(4096):
                return


def _redirect(to: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


# What is sent, and what the answer says of it.
KINDS: dict[str, tuple[Speak, str]] = {
    "short body": (sends(_ok(b'{"a": 1', JSON, length=100)), "ended after 7 bytes of 100"),
    "no HTTP": (sends(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "not HTTP: SSH-2.0"),
    "binary": (sends(b"\x15\x03\x03\x00\x02\x02F" * 40), r"not HTTP: \\x15"),
    "unknown version": (sends(b"HTTP/7.3 200 OK\r\n\r\n{}"), "HTTP/7.3"),
    "impossible status": (sends(b"HTTP/1.1 9999 OK\r\n\r\n{}"), "not HTTP"),
    "too many headers": (sends(_ok(b"{}", *(f"X-{n}: y" for n in range(200)))), "more than 100 headers"),
    "long header": (sends(_ok(b"{}", "X: " + "y" * 80_000)), "header is too long"),
    "reset": (_reset, "reset"),
    "closed": (sends(b""), "closed without an answer"),
    "closed in its header": (sends(b"HTTP/1.1 200 OK\r\nContent-Le"), "its header broke off"),
    "silence": (_silent, "no complete answer within"),
    "body that trickles": (_forever(_ok(b"", JSON, length=100_000), b"x"), "no complete answer within"),
    "header that trickles": (_forever(b"HTTP/1.1 200 OK\r\nX: ", b"x"), "no complete answer within"),
    "status line that trickles": (_forever(b"HTTP/1.1 2", b"0"), "no complete answer within|not HTTP"),
    "chunks that trickle": (_forever(CHUNKED, b"1\r\nx\r\n"), "no complete answer within"),
    "trailers without end": (_forever(CHUNKED + b"0\r\n", b"X: y\r\n"), "no complete answer within"),
    "endless continue": (_forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "no complete answer within"),
    "endless headers": (_forever(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 500, 0), "headers"),
    "announced gigabyte": (_forever(_ok(b"", length=1 << 30), b"x" * 65536, 0), "larger than 4.2 MB"),
    "gigabyte without length": (_forever(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536, 0), "larger than 4.2 MB"),
    "gigabyte in chunks": (_forever(CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n", 0), "larger than 4.2 MB|came"),
    "chunk without size": (sends(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"), "broke off"),
    "chunk of less than nothing": (sends(CHUNKED + b"-5\r\n{}\r\n0\r\n\r\n"), "body cannot be read|broke off"),
    "two lengths": (sends(_ok(b"{}", "Content-Length: 500")), "length of its body as 2 and 500"),
    "length of less than nothing": (sends(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}"), "its body as -5"),
    "length that is a word": (sends(b"HTTP/1.1 200 OK\r\nContent-Length: \x1bfew\r\n\r\n{}"), r"as \\x1bfew"),
    "chunks cut off": (sends(CHUNKED + b"40\r\n{}"), "broke off"),
    "gzip without Accept-Encoding": (sends(_ok(gzip.compress(b"{}"), JSON, "Content-Encoding: gzip")), "encoded .gzip."),
    "deep JSON": (sends(_ok(b"[" * 200_000 + b"]" * 200_000, JSON)), "nested too deeply"),
    "invalid UTF-8": (sends(_ok(b'{"a": "\xff\xfe"}', JSON)), "no JSON"),
    "cut JSON": (sends(_ok(b'{"a": ', JSON)), "no JSON"),
    "number without end": (sends(_ok(b'{"a": ' + b"9" * 100_000 + b"x}", JSON)), "no JSON"),
    "redirect to nowhere": (sends(_redirect("http://[::1")), "no address"),
    "redirect to another origin": (lambda server, peer: peer.sendall(_redirect(server.elsewhere)), "another origin"),
    "redirect to another scheme": (sends(_redirect("https://127.0.0.1/")), "another origin"),
    "redirect to a file": (sends(_redirect("file:///etc/passwd")), "another origin"),
    "redirect to a script": (sends(_redirect("javascript:alert(1)")), r"javascript:alert\(1\), another origin"),
    "redirect loop": (sends(_redirect("?again", 307)), "redirects without end"),
}  # fmt: skip


# What a server can make of what it was sent: the places from which a problem quotes it. ``%s`` is what was sent.
SAID_BACK = (
    "%s\r\n\r\n",
    "HTTP/1.1 9999 %s\r\n\r\n",
    "HTTP/7.3 %s\r\n\r\n",
    "HTTP/1.1 302 x\r\nLocation: http://elsewhere.example/%s\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 302 x\r\nLocation: http://[%s\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 x\r\nContent-Encoding: %s\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 200 x\r\nContent-Length: %s\r\n\r\n{}",
    "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
    "HTTP/1.1 200 x\r\nContent-Type: application/json\r\n\r\n%s",
)


def said_back(form: str, padding: str = "") -> Speak:
    """Each word of the request that is longer than a few letters, in that form."""

    def speak(server: Hostile, peer: socket.socket) -> None:
        words = [word for word in server.seen[-1].split() if len(word) > 12 and "/1.1" not in word]
        peer.sendall(form.replace("%s", padding + " ".join(words)).encode("latin-1"))

    return speak


class Hostile:
    """Listens on this machine. ``bad`` maps a path to the kind of fault there; other paths answer as a good API does.

    ``seen`` holds the head of every request, ``elsewhere`` is where a redirect leads away to.
    """

    GOOD: ClassVar = {"/health": {"status": "ok"}, "/auth/me": {"id": 1}, "/policies/": [{"id": 1, "name": "x"}]}

    def __init__(self, elsewhere: str = "http://127.0.0.1:1/") -> None:
        self.bad: dict[str, str] = {}
        self.spoken: Optional[Speak] = None  # instead of a kind: what a test has made up
        self.greets: Optional[Speak] = None  # before it has read anything
        self.seen: list[str] = []
        self.elsewhere: str = elsewhere
        self.over = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.over.set()
        self.listener.close()

    def _serve(self) -> None:
        while not self.over.is_set():
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(peer,), daemon=True).start()

    def _answer(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            if self.greets:
                self.greets(self, peer)
                return
            head, body = _request(peer)
            self.seen.append(head)
            method, path, _ = head.split(" ", 2)
            kind = self.bad.get(path.partition("?")[0])
            if self.spoken or kind:
                (self.spoken or KINDS[str(kind)][0])(self, peer)
            else:
                peer.sendall(_good(method, path, head, body))
            if kind != "reset":
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(65536):
                    pass


def _request(peer: socket.socket) -> tuple[str, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += peer.recv(65536) or b"\r\n\r\n"
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    while lengths and len(body) < int(lengths[0]):
        body += peer.recv(65536)
    return head.decode("latin-1"), body


def _good(method: str, path: str, head: str, body: bytes) -> bytes:
    if method == "POST":
        right = b'"right"' in body
        said = json.dumps({"access_token": "token-1"} if right else {}).encode()
        return _ok(said, JSON) if right else b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"
    if path != "/health" and "Bearer token-1" not in head:
        return b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"
    found = Hostile.GOOD.get(path)
    return _ok(json.dumps(found).encode(), JSON) if found else b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"


def mutations(seed: int, count: int) -> Iterator[bytes]:
    """Answers that were good before something cut, doubled, swapped or overwrote a part of them."""
    draw = random.Random(seed)
    good = [
        _ok(b'{"access_token": "token-1", "user": {"id": 1}}', JSON),
        CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Type: application/json\r\n\r\n") + b"2\r\n{}\r\n0\r\n\r\n",
        _redirect("/health"),
    ]
    for _ in range(count):
        data = bytearray(draw.choice(good))
        for _ in range(draw.randint(1, 4)):
            at, to = sorted((draw.randrange(len(data) + 1), draw.randrange(len(data) + 1)))
            how = draw.randrange(5)
            if how == 0:
                del data[at:to]
            elif how == 1:
                data[at:at] = data[at:to]
            elif how == 2:
                data[at:at] = bytes(draw.randrange(256) for _ in range(draw.randint(1, 8)))
            elif how == 3:
                data[at:at] = draw.choice(
                    [b"\r\n", b"\n", b"\x00", b": ", b"-1", b"99999999999", "é".encode(), b"\x85"]
                )
            else:
                data[at:to] = data[at:to][::-1]
        yield bytes(data)
