"""Where the API answers, seen from here: a published port, the container's own address, or a tunnel by exec."""

from __future__ import annotations

import contextlib
import errno
import socket
import socketserver
import threading
from collections.abc import Mapping
from typing import Any

from ..errors import PapError
from ..sites import CHUNK, Process, Site

_EVERYWHERE = {"": "", "0.0.0.0": "", "::": ""}

# Copies between its standard streams and a port beside it, each direction to its end.
_RELAY = """
import os, socket, sys, threading
peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
peer.settimeout(None)
def up():
    while data := os.read(0, 65536):
        peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while data := peer.recv(65536):
    while data:
        data = data[os.write(1, data):]
"""


def published(inspected: Mapping[str, Any], port: int, engine_host: str) -> str:
    """``host:port`` under which the engine publishes the container's ``port`` (0: the only one published), or "".

    A port that the engine chooses is known only while the container runs.
    """
    bound = {**(inspected["HostConfig"].get("PortBindings") or {}), **_actual(inspected)}
    found: list[str] = []
    for name, bindings in bound.items():
        number, _, protocol = name.partition("/")
        usable = [binding for binding in bindings or [] if binding.get("HostPort")]
        if protocol != "udp" and usable and port in (0, int(number)):
            # IPv4 first: "::" and "0.0.0.0" of one port are listed both.
            first = min(usable, key=lambda binding: ":" in binding.get("HostIp", ""))
            address = first.get("HostIp", "")
            host = _EVERYWHERE.get(address, address) or engine_host
            found.append(f"[{host}]:{first['HostPort']}" if ":" in host else f"{host}:{first['HostPort']}")
    return found[0] if len(found) == 1 else ""


def _actual(inspected: Mapping[str, Any]) -> dict[str, Any]:
    ports = inspected["NetworkSettings"].get("Ports") or {}
    return {name: bindings for name, bindings in ports.items() if bindings}


def own_address(inspected: Mapping[str, Any]) -> str:
    """The container's address on its first network; 127.0.0.1 on the host's network; "" if it has none now."""
    if inspected["HostConfig"].get("NetworkMode") == "host":
        return "127.0.0.1"
    networks = inspected["NetworkSettings"].get("Networks") or {}
    return next((str(endpoint["IPAddress"]) for endpoint in networks.values() if endpoint.get("IPAddress")), "")


def reachable(host: str, port: int, seconds: float = 1.0) -> bool:
    """Whether packets get there: an answer of any kind, also "nobody listens", within ``seconds``."""
    try:
        socket.create_connection((host, port), seconds).close()
    except OSError as error:
        return error.errno == errno.ECONNREFUSED
    return True


class Tunnel:
    """A port on this host's loopback whose connections go into a container by exec. ``address`` is ``host:port``."""

    def __init__(self, site: Site, python: str, port: int) -> None:
        def open_inside() -> Process:
            return site.popen([python, "-c", _RELAY, str(port)], stdin=True)

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                # A container that is not there closes the connection: the caller sees what it would see on the network.
                with contextlib.suppress(PapError, OSError), open_inside() as inside:
                    _relay(self.request, inside)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _relay(outside: socket.socket, inside: Process) -> None:
    def up() -> None:
        assert inside.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            while data := outside.recv(CHUNK):
                inside.stdin.write(data)
            inside.stdin.close()

    threading.Thread(target=up, daemon=True).start()
    while data := inside.stdout.read1(CHUNK):  # type: ignore[attr-defined]
        outside.sendall(data)
