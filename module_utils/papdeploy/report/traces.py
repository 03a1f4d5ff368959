"""A report as a trace for OpenTelemetry: the run, its phases, its migrations. The controller sends it when all is over.

Ids follow from the release, so that what is sent again is the same trace. Nothing goes out but names, versions, times
and the verdict. A process of its own sends it, which is killed when its time is up: whatever a collector does decides
nothing, and waits for nothing.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Optional, Union
from urllib.parse import unquote

from ..core.clock import epoch
from ..core.records import recorded
from ..core.redact import Redactor
from ..core.visible import visible
from .records import Bar, Report

SECONDS, KILLED_S = 3.0, 10.0  # for the collector, and for everything
_MEMORY = 2 << 30  # bytes of address space: an answer without end is not read to its end
_SHOWN = 300
_SDK = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
MISSING = (
    "OTEL_EXPORTER_OTLP_ENDPOINT is set, and the OpenTelemetry SDK is missing: no trace is sent. Install it beside"
    " Ansible: pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
)

Attribute = Union[str, int, float, bool]


@dataclass(frozen=True)
class Piece:
    """A span to be. ``begin``, ``end``: seconds since 1970; ``parent``: its number in the list, None of the run."""

    name: str
    begin: float
    end: float
    parent: Optional[int] = None
    failed: bool = False
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


def send(path: str, seconds: float = KILLED_S) -> str:
    """Send the report in that file, if the environment names a collector. Returns why it was not taken, or nothing."""
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return ""
    paths = filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", __name__, path]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"The trace was not taken: it took more than {seconds:g} s."
    if done.returncode == 0:
        return done.stdout.strip()
    return _not_taken((done.stderr.strip().splitlines() or ["it said nothing"])[-1])


def _not_taken(why: str) -> str:
    """With what a collector or a library said, without what was sent to it."""
    given = [os.environ.get(name, "") for name in _HEADERS]
    values = [part for text in given for pair in text.split(",") for part in (pair.partition("=")[2],)]
    words = [word for value in values for word in (value, *unquote(value).split())]
    text = visible(Redactor([*given, *words]).text(why))
    return f"The trace was not taken: {text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''}"


# What is sent.


def pieces(report: Report) -> list[Piece]:
    """The run first, then what it consisted of."""
    if not report.origin:
        return []
    origin = epoch(report.origin)
    who: dict[str, Attribute] = {"pap.release": report.release or "", "pap.stack": report.stack or ""}
    run = {
        **who,
        "pap.verdict": report.verdict.kind,
        "pap.from": report.old.label or "",
        "pap.to": report.new.label or "",
    }
    if report.unavailable_s is not None:
        run["pap.unavailable_s"] = report.unavailable_s
    ends = [bar.end_s for bar in report.timeline if bar.end_s is not None]
    end = epoch(report.ended) if report.ended else origin + max(ends, default=0.0)
    found = [Piece(f"deploy {report.stack or ''}".strip(), origin, end, None, report.verdict.kind != "finished", run)]
    for bar in report.timeline:
        if bar.end_s is None:  # it never ended, and nobody knows when it stopped
            continue
        found.append(_phase(bar, origin, _parent(found, bar), who))
        if bar.phase == "migrate":
            found += _migrations(report, found[-1].begin, len(found) - 1, who)
    later = epoch(report.origin_later) if report.origin_later else 0.0
    for bar in report.timeline_later:
        if bar.end_s is not None:
            found.append(_phase(bar, later, _parent(found, bar), who))
    return found


def _parent(found: Sequence[Piece], bar: Bar) -> int:
    """A part of a rollback belongs to it, everything else to the run."""
    whole = bar.phase.rpartition(".")[0]
    return next((n for n in range(len(found) - 1, 0, -1) if found[n].name == whole), 0)


def _phase(bar: Bar, origin: float, parent: int, who: Mapping[str, Attribute]) -> Piece:
    attributes: dict[str, Attribute] = {**who, "pap.phase": bar.phase, "pap.verdict": bar.state}
    if bar.predicted_s is not None:
        attributes["pap.predicted_s"] = bar.predicted_s
    begin, end = origin + bar.begin_s, origin + (bar.end_s or bar.begin_s)
    return Piece(bar.phase, begin, end, parent, bar.state == "failed", attributes)


def _migrations(report: Report, begin: float, parent: int, who: Mapping[str, Attribute]) -> Iterator[Piece]:
    """One after another. How long each took was measured; when it began was not."""
    for each in report.migrations:
        if each.applied and each.seconds is not None:
            attributes: dict[str, Attribute] = {**who, "pap.migration": each.identity, "pap.begin_is_measured": False}
            if each.rows is not None:
                attributes["pap.rows"] = each.rows
            yield Piece(f"migration {each.identity}", begin, begin + each.seconds, parent, False, attributes)
            begin += each.seconds


# The process that sends it.


class _Ids:
    """Ids that follow from the release, as the SDK asks for them."""

    def __init__(self, release: str) -> None:
        self._release, self._numbers = release, count()

    def generate_trace_id(self) -> int:
        return self._digest("trace", 16)

    def generate_span_id(self) -> int:
        return self._digest(str(next(self._numbers)), 8)

    def _digest(self, what: str, size: int) -> int:
        return int.from_bytes(hashlib.sha256(f"{self._release}/{what}".encode()).digest()[:size], "big") or 1


def _ids(release: str) -> Any:
    """They have whatever else the SDK expects of such a thing in its version."""
    base = importlib.import_module("opentelemetry.sdk.trace.id_generator").IdGenerator
    return type("Ids", (_Ids, base), {})(release)


class _Words(logging.Handler):
    """The first thing that the SDK logged: why something was not taken stands nowhere else, and later words only say
    that it has tried long enough."""

    first = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.first = self.first or record.getMessage()


def _spans(report: Report) -> Sequence[Any]:
    """The spans of the SDK, ended."""
    api, sdk = importlib.import_module("opentelemetry.trace"), importlib.import_module("opentelemetry.sdk.trace")
    memory = importlib.import_module("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    place = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or "pap-deploy",
             "deployment.environment.name": report.environment or ""}  # fmt: skip
    provider = sdk.TracerProvider(
        resource=importlib.import_module("opentelemetry.sdk.resources").Resource.create(place),
        id_generator=_ids(report.release or ""),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(importlib.import_module("opentelemetry.sdk.trace.export").SimpleSpanProcessor(memory))
    tracer, made = provider.get_tracer("pap-deploy"), list[Any]()
    for piece in pieces(report):
        around = None if piece.parent is None else api.set_span_in_context(made[piece.parent])
        span = tracer.start_span(
            piece.name, around, attributes=dict(piece.attributes), start_time=int(piece.begin * 1e9)
        )
        if piece.failed:
            span.set_status(api.Status(api.StatusCode.ERROR))
        span.end(int(piece.end * 1e9))
        made.append(span)
    return list(memory.get_finished_spans())


def main(arguments: Sequence[str]) -> str:
    """Send the report in the file ``arguments[0]``; why it was not taken, or nothing."""
    try:
        for name in _SDK:
            importlib.import_module(name)
    except ImportError:
        return MISSING
    words, logger = _Words(), logging.getLogger("opentelemetry")
    logger.addHandler(words)
    logger.propagate = False
    found = _spans(recorded(Report, json.loads(Path(arguments[0]).read_text(encoding="utf-8"))))
    if not found:  # the environment says that nothing is to be sampled
        return ""
    exporter = importlib.import_module(_SDK[1]).OTLPSpanExporter(timeout=SECONDS)
    taken = exporter.export(found).name == "SUCCESS"
    return "" if taken else _not_taken(words.first or "the collector does not say why")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    print(main(sys.argv[1:]))
