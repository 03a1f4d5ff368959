"""A stand-in for a connection pooler such as pgbouncer: names of its own for databases, and no start-up options.

It is a fake, because no package index has a real one. What is imitated: an unknown database and a start-up parameter that it does
not keep are refused with pgbouncer's words, and encryption is refused with an N. It pools nothing.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
from collections.abc import Mapping

_ENCRYPTION = (80877103, 80877104)  # SSLRequest, GSSENCRequest
_KEPT = {
    "user",
    "database",
    "application_name",
    "client_encoding",
    "datestyle",
    "timezone",
    "standard_conforming_strings",
}


class Pooler:
    """Listens until it is closed, on a port of the loopback or on ``at``. ``names``: its own name of a database, and the
    server's."""

    def __init__(self, host: str, port: int, names: Mapping[str, str], at: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self._server, self.names = (host, port), dict(names)
        self.connected: list[str] = []
        self._listener = socket.create_server(at)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, EOFError):
            body = _message(client)
            while len(body) == 4 and struct.unpack("!i", body)[0] in _ENCRYPTION:
                client.sendall(b"N")
                body = _message(client)
            if len(body) > 12 and struct.unpack("!i", body[:4])[0] == 80877102:  # a request to cancel goes as it is
                return
            words = body[4:].rstrip(b"\0").split(b"\0")
            given = dict(zip((w.decode() for w in words[::2]), (w.decode() for w in words[1::2])))
            refusal = self._refusal(given)
            if refusal:
                client.sendall(_error(refusal))
                return
            self.connected.append(given["database"])
            given["database"] = self.names[given["database"]]
            with socket.create_connection(self._server) as server:
                server.sendall(_startup(body[:4], given))
                threading.Thread(target=_pump, args=(server, client), daemon=True).start()
                _pump(client, server)

    def _refusal(self, given: Mapping[str, str]) -> str:
        unknown = [name for name in given if name.lower() not in _KEPT]
        if unknown:
            return f"unsupported startup parameter: {unknown[0]}"
        return "" if given.get("database") in self.names else f"no such database: {given.get('database')}"


def _message(client: socket.socket) -> bytes:
    return _exactly(client, struct.unpack("!i", _exactly(client, 4))[0] - 4)


def _exactly(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = client.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _startup(version: bytes, given: Mapping[str, str]) -> bytes:
    body = version + b"".join(f"{key}\0{value}\0".encode() for key, value in given.items()) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def _error(text: str) -> bytes:
    body = b"SFATAL\0VFATAL\0C08P01\0M" + text.encode() + b"\0\0"
    return b"E" + struct.pack("!i", len(body) + 4) + body


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def main() -> None:
    """``python pooler.py HOST PORT NAME=DATABASE``, in a container: on port 6432 of all its addresses."""
    host, port, names = sys.argv[1:]
    Pooler(host, int(port), dict([names.split("=")]), ("0.0.0.0", 6432))
    threading.Event().wait()


if __name__ == "__main__":
    main()
