"""The smallest API that tells releases apart: answers every path with its release, its environment and its process.

SERVER_MODE from the image: "" serves, "dies" ends with an error, "silent" never listens, "late" listens after 1.5 s.
"""

import http.server
import json
import os
import signal
import sys
import time

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # process 1 has no default action
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
mode = os.environ.get("SERVER_MODE", "")
if mode == "dies":
    sys.exit("ValueError: no database password=hunter22222")
if mode == "silent":
    time.sleep(3600)
if mode == "late":
    time.sleep(1.5)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        self.answer({"bytes": len(self.rfile.read(size))})

    def do_GET(self) -> None:
        self.answer({"release": os.environ["RELEASE"], "environment": dict(os.environ), "host": os.uname().nodename})

    def answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        print(os.environ["RELEASE"], *words, flush=True)


server = http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler)
print("listening", flush=True)  # not before it is true: tests wait for this line
server.serve_forever()
