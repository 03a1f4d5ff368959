"""A small real API for the watch to look at, which can be made slow, lie, refuse logins and die."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PASSWORD = "right-password"


class WatchedApi:
    """``answers``: status and body by path (a text is sent as HTML); ``slow_s``: seconds by path; ``logins``: how many
    were tried; ``login_status``: what a login is answered with."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {
            "/health": (200, {"status": "ok"}),
            "/auth/me": (200, {"username": "smoke"}),
            "/policies/": (200, [{"id": 1}]),
        }
        self.slow_s: dict[str, float] = {}
        self.login_status, self.logins = 200, 0
        self.port = 0
        self.start()

    def start(self) -> None:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def _send(self, status: int, body: Any) -> None:
                time.sleep(api.slow_s.get(self.path, 0.0))
                text = body if isinstance(body, str) else json.dumps(body)
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if isinstance(body, str) else "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def do_GET(self) -> None:
                if self.path != "/health" and self.headers.get("Authorization") != "Bearer t":
                    self._send(401, {})
                else:
                    self._send(*api.answers.get(self.path, (404, {})))

            def do_POST(self) -> None:
                api.logins += 1
                given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = api.login_status if given["password"] == PASSWORD else 401
                self._send(status, {"access_token": "t"} if status == 200 else {"detail": "no"})

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def settings(self) -> dict[str, Any]:
        """Of the login smoke test, without its password."""
        return {"username": "smoke", "endpoints": ["/policies/"]}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"
