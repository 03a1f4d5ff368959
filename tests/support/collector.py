"""A receiver of traces by OTLP/HTTP."""

from __future__ import annotations

import importlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Collector:
    """Takes what an OpenTelemetry collector takes, and keeps it."""

    def __init__(self) -> None:
        service = importlib.import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        kept = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = service.ExportTraceServiceRequest.FromString(body)
                for each in request.resource_spans:
                    kept.resources.append({item.key: item.value.string_value for item in each.resource.attributes})
                    kept.spans += [span for scope in each.scope_spans for span in scope.spans]
                kept.headers.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def named(self, name: str) -> Any:
        return next(span for span in self.spans if span.name == name)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
