"""Where the API answers, seen from here: a published port, the container's own address, or a tunnel by exec."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading

from ...core.errors import PapError
from ..host import CHUNK, Process, Site
from .engine import Engine
from .records import Container

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


def published(inspected: Container, port: int, engine_host: str) -> str:
    """``host:port`` under which the engine publishes the container's ``port`` (0: the only one published), or "".

    A port that the engine chooses is known only while the container runs.
    """
    actual = {name: bindings for name, bindings in inspected.NetworkSettings.Ports.items() if bindings}
    found: list[str] = []
    for name, bindings in {**inspected.HostConfig.PortBindings, **actual}.items():
        number, _, protocol = name.partition("/")
        usable = [binding for binding in bindings or () if binding.HostPort]
        if protocol != "udp" and usable and port in (0, int(number)):
            # IPv4 first: "::" and "0.0.0.0" of one port are listed both.
            first = min(usable, key=lambda binding: ":" in binding.HostIp)
            host = _EVERYWHERE.get(first.HostIp, first.HostIp) or engine_host
            found.append(f"[{host}]:{first.HostPort}" if ":" in host else f"{host}:{first.HostPort}")
    return found[0] if len(found) == 1 else ""


def direct(engine: Engine, inspected: Container) -> str:
    """The address under which this host reaches the container itself; "" if it cannot, or not for certain.

    It can if the gateway of the container's network is an address of this host (a bridge of the engine's). A rootless
    engine has its bridges in a network of its own, where the same addresses may mean other containers.
    """
    if inspected.HostConfig.NetworkMode == "host":
        return "127.0.0.1"
    if engine.endpoint.host or engine.rootless():
        return ""
    for endpoint in inspected.NetworkSettings.Networks.values():
        if endpoint.IPAddress and _is_local(endpoint.Gateway):
            return endpoint.IPAddress
    return ""


def _is_local(address: str) -> bool:
    if not address:
        return False
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
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
