"""An SMTP server on the loopback interface that keeps what it is sent."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class SmtpServer:
    """``lines``: what clients have sent, line by line. Recipients with "nobody" in their address are rejected."""

    host: str
    port: int
    lines: list[str]

    @property
    def subjects(self) -> list[str]:
        return [line.partition(": ")[2] for line in self.lines if line.startswith("Subject: ")]


@contextlib.contextmanager
def smtp_server() -> Iterator[SmtpServer]:
    got: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            inside = False
            for raw in self.rfile:
                line = raw.decode().rstrip("\r\n")
                got.append(line)
                if inside:
                    inside = line != "."
                    answer = b"" if inside else b"250 taken\r\n"
                elif line.upper() == "DATA":
                    inside, answer = True, b"354 go on\r\n"
                else:
                    answer = b"550 nobody here\r\n" if "nobody" in line else b"250 well\r\n"
                self.wfile.write(b"221 bye\r\n" if line.upper() == "QUIT" else answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield SmtpServer("127.0.0.1", int(listening.server_address[1]), got)
        listening.shutdown()
