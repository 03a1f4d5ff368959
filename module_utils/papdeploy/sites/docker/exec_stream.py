"""A two-way byte stream to a program in a container: the engine hands over its HTTP connection (``Upgrade: tcp``).

The SDK can do this too, but not half-close: a program that reads its standard input to the end needs that, and
``ssl.SSLSocket`` cannot say "I am done" while it still reads. Here both work, over unix sockets, TCP and TLS.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional
from urllib.parse import urlsplit

from ...core.errors import Unavailable
from ...core.records import recorded

RECEIVE = 1 << 18
_CONNECT_SECONDS = 20.0
_HEADER_LIMIT = 1 << 16


@dataclass(frozen=True)
class Endpoint:
    """Where an engine listens: a unix socket ``path``, or ``host`` and ``port``, perhaps with TLS."""

    path: str
    host: str
    port: int
    tls: Optional[ssl.SSLContext]
    api_version: str

    @classmethod
    def of(cls, address: str, tls: Any, api_version: str) -> Endpoint:
        """From DOCKER_HOST and the SDK's TLSConfig (or None)."""
        parts = urlsplit(address)
        if parts.scheme in ("unix", "http+unix"):
            return cls("/" + (parts.netloc + parts.path).lstrip("/"), "", 0, None, api_version)
        if parts.scheme not in ("tcp", "http", "https"):
            raise Unavailable(f"DOCKER_HOST={address} is neither unix:// nor tcp://.")
        secure = tls is not None or parts.scheme == "https"
        context = _context(tls) if secure else None
        return cls("", parts.hostname or "127.0.0.1", parts.port or (2376 if secure else 2375), context, api_version)


def _context(tls: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=getattr(tls, "ca_cert", None) or None)
    if tls is not None and not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if getattr(tls, "cert", None):
        context.load_cert_chain(*tls.cert)
    return context


class Duplex:
    """A connected stream: ``receive`` until ``b""``, ``send``, ``finish`` (no more to send; still receives), ``close``.

    One thread may receive while another sends.
    """

    def __init__(self, connection: socket.socket, pending: bytes = b"") -> None:
        self._socket = connection
        self.pending = pending

    def receive(self) -> bytes:
        if self.pending:
            data, self.pending = self.pending, b""
            return data
        return self._socket.recv(RECEIVE)

    def send(self, data: bytes | memoryview) -> None:
        self._socket.sendall(data)

    def finish(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End both directions; a thread that waits in ``receive`` gets ``b""``."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class _TlsDuplex(Duplex):
    """TLS with the record layer in memory, so that close_notify can be sent while the other direction stays open."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, host: str) -> None:
        super().__init__(connection)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._state = threading.Lock()  # the TLS state; never held while the network is waited for
        self._order = threading.Lock()  # records leave in the order in which they were made
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._socket.recv(RECEIVE)
                self._incoming.write(data) if data else self._incoming.write_eof()
            else:
                self._flush()
                return

    def _flush(self) -> None:
        if self._outgoing.pending:
            with self._order:
                self._socket.sendall(self._outgoing.read())

    def receive(self) -> bytes:
        if self.pending:
            return super().receive()
        while True:
            with self._state:
                plain = self._decrypted()
            if plain is not None:
                return plain
            self._flush()
            data = self._socket.recv(RECEIVE)
            with self._state:
                self._incoming.write(data) if data else self._incoming.write_eof()
                # All that is complete is taken out under the same lock: see finish().
                self.pending = self._decrypted() or b""
            if self.pending:
                return super().receive()

    def _decrypted(self) -> Optional[bytes]:
        """What can be decrypted now; None if nothing can yet, ``b""`` at the end."""
        parts: list[bytes] = []
        while True:
            try:
                part = self._tls.read(RECEIVE)
            except ssl.SSLWantReadError:
                return b"".join(parts) if parts else None
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                part = b""
            if not part:
                return b"".join(parts)
            parts.append(part)

    def send(self, data: bytes | memoryview) -> None:
        with self._order:
            for start in range(0, len(data), RECEIVE):
                with self._state:
                    self._tls.write(data[start : start + RECEIVE])
                    records = self._outgoing.read()
                self._socket.sendall(records)

    def finish(self) -> None:
        # unwrap() writes close_notify and then looks for the other side's. Application data there would be a fatal
        # error, but receive() leaves no complete record behind, so that it only finds nothing.
        with self._order:
            with self._state, contextlib.suppress(ssl.SSLWantReadError):
                self._tls.unwrap()
            self._socket.sendall(self._outgoing.read())


def connect(endpoint: Endpoint) -> Duplex:
    """A new connection to the engine; raises OSError."""
    if endpoint.path:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_CONNECT_SECONDS)
        connection.connect(endpoint.path)
    else:
        connection = socket.create_connection((endpoint.host, endpoint.port), timeout=_CONNECT_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return _TlsDuplex(connection, endpoint.tls, endpoint.host) if endpoint.tls else Duplex(connection)


@dataclass(frozen=True)
class _Refusal:
    message: str = ""


def hijack(endpoint: Endpoint, path: str, content: bytes = b"") -> Duplex:
    """POST to the engine and keep the connection as a raw stream. Raises OSError, or Unavailable if it says no."""
    stream = connect(endpoint)
    try:
        stream.send(
            f"POST /v{endpoint.api_version}{path} HTTP/1.1\r\nHost: {endpoint.host or 'docker'}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode()
            + content
        )
        head = b""
        while b"\r\n\r\n" not in head:
            data = stream.receive()
            if not data or len(head) > _HEADER_LIMIT:
                raise Unavailable("The Docker engine ended the connection before it answered.")
            head += data
        head, _, rest = head.partition(b"\r\n\r\n")
        status = int(head.split(None, 2)[1])
        # 101 is what was asked for; engines before 1.10 and some proxies say 200 and switch all the same.
        if status not in (101, 200):
            said = rest.decode("utf-8", "replace").strip()
            with contextlib.suppress(ValueError):
                said = recorded(_Refusal, json.loads(said)).message or said
            raise Unavailable(f"The Docker engine said {status}: {said}", status=status)
    except BaseException:
        stream.close()
        raise
    stream.pending = rest + stream.pending
    stream._socket.settimeout(None)
    return stream


class Frames:
    """Takes apart what the engine mixes into one stream: 8 bytes (stream number, length) before each piece of data.

    Docker Engine API, "Attach to a container", stream format. 1 is standard output, 2 standard error, 3 the engine.
    """

    def __init__(self) -> None:
        self._header = b""
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, memoryview]]:
        """The pieces in ``data``, in order; a piece that is cut by its end continues with the next call."""
        view = memoryview(data)
        at = 0
        while at < len(view):
            if self._left:
                piece = view[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                yield self._stream, piece
                continue
            more = bytes(view[at : at + 8 - len(self._header)])
            at += len(more)
            self._header += more
            if len(self._header) == 8:
                self._stream, self._left = struct.unpack(">BxxxL", self._header)
                self._header = b""
