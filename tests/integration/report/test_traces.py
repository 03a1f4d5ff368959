"""A report as a trace: what a real receiver of OTLP/HTTP gets, and collectors that are slow, away, or lie."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from papdeploy.core.clock import epoch
from papdeploy.core.records import recorded
from papdeploy.report import traces
from papdeploy.report.records import Report
from support import report_samples as samples
from support.collector import Collector
from support.hostile_http import KINDS, SAID_BACK, Hostile, said_back

pytest.importorskip("opentelemetry.sdk.trace", reason="the OpenTelemetry SDK is not installed")
SECRET = "k0llektor-t0ken-4711"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    made = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer%20{SECRET}")
    yield made
    made.close()


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    made = Hostile()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer%20{SECRET}")
    yield made
    made.close()


def file_of(folder: Path, kind: str = "finished") -> str:
    path = folder / "report.json"
    path.write_text(json.dumps(samples.report(getattr(samples, kind)(), samples.kept())))
    return str(path)


def told(span: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


def test_a_deploy_arrives_as_one_trace(collector: Collector, tmp_path: Path) -> None:
    path = file_of(tmp_path)
    assert traces.send(path) == ""
    made = recorded(Report, json.loads(Path(path).read_text()))
    run, migrate = collector.named("deploy pap-eu-1"), collector.named("migrate")
    assert told(run) == {
        "pap.release": "20250301T013006Z-9f3c", "pap.stack": "pap-eu-1", "pap.verdict": "finished",
        "pap.from": "registry.example.org/pap:1.8.2", "pap.to": "registry.example.org/pap:1.9.0",
        "pap.unavailable_s": 5.4,
    }  # fmt: skip
    assert run.parent_span_id == b"" and migrate.parent_span_id == run.span_id
    (bar,) = [bar for bar in made.timeline if bar.phase == "migrate"]
    assert made.origin and bar.end_s is not None
    assert migrate.start_time_unix_nano / 1e9 == pytest.approx(epoch(made.origin) + bar.begin_s)
    assert migrate.end_time_unix_nano / 1e9 == pytest.approx(epoch(made.origin) + bar.end_s)
    assert told(migrate)["pap.verdict"] == "done" and told(migrate)["pap.release"] == made.release
    for each in made.migrations:
        span = collector.named(f"migration {each.identity}")
        assert span.parent_span_id == migrate.span_id and told(span)["pap.migration"] == each.identity
        assert (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9 == pytest.approx(each.seconds, abs=1e-5)
        assert told(span)["pap.begin_is_measured"] is False
    assert {bar.phase for bar in made.timeline} <= {span.name for span in collector.spans}
    assert len({span.trace_id for span in collector.spans}) == 1
    assert (collector.resources[0]["service.name"], collector.resources[0]["deployment.environment.name"]) == (
        "pap-deploy", "production",
    )  # fmt: skip
    assert collector.headers[0]["authorization"] == f"Bearer {SECRET}"
    assert b"UPDATE protected_resources" not in b"".join(span.SerializeToString() for span in collector.spans)

    ids = [span.span_id for span in collector.spans]
    assert traces.main([path]) == "", "as a later report of the same release"
    assert [span.span_id for span in collector.spans] == ids * 2


def test_a_failed_deploy_and_one_that_was_taken_back(collector: Collector, tmp_path: Path) -> None:
    assert traces.main([file_of(tmp_path, "rolled_back")]) == ""
    error = 2
    assert told(collector.named("deploy pap-eu-1"))["pap.verdict"] == "rolled_back"
    assert [collector.named(name).status.code for name in ("deploy pap-eu-1", "migrate", "backup")] == [error, error, 0]
    rollback = collector.named("rollback")
    parts = [span for span in collector.spans if span.name.startswith("rollback.")]
    assert parts and {span.parent_span_id for span in parts} == {rollback.span_id}
    collector.spans.clear()
    assert traces.main([file_of(tmp_path, "taken_back")]) == ""
    rollback, run = collector.named("rollback"), collector.named("deploy pap-eu-1")
    assert rollback.start_time_unix_nano > run.end_time_unix_nano, "hours later, in the same trace"
    assert rollback.trace_id == run.trace_id
    collector.spans.clear()
    assert (
        traces.main([file_of(tmp_path, "unfinished")]) == "" and collector.named("deploy pap-eu-1").status.code == error
    )


@pytest.mark.parametrize("variable", ["OTEL_SDK_DISABLED=true", "OTEL_TRACES_SAMPLER=always_off"])
def test_the_environment_switches_it_off(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(*variable.split("="))
    assert traces.main([file_of(tmp_path)]) == "" and collector.spans == []


def test_without_a_collector_nothing_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert traces.send(str(tmp_path / "absent")) == ""


@pytest.mark.parametrize("kind", ["silence", "gigabyte without length", "body that trickles"])
def test_a_hostile_collector_costs_seconds_and_nothing_else(hostile: Hostile, tmp_path: Path, kind: str) -> None:
    assert kind in KINDS
    hostile.bad["/v1/traces"] = kind
    began = time.monotonic()
    said = traces.send(file_of(tmp_path), seconds=6)
    assert said.startswith("The trace was not taken: ") and time.monotonic() - began < 8
    assert "\n" not in said and "\x1b" not in said


def test_a_collector_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(traces, "SECONDS", 1.5)
    began = time.monotonic()
    said = traces.main([file_of(tmp_path)])
    assert said.startswith("The trace was not taken: ") and "Connection refused" in said
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("form", ["HTTP/1.1 401 %s\r\nContent-Length: 0\r\n\r\n", SAID_BACK[1]])
def test_what_was_sent_is_never_shown(
    hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(traces, "SECONDS", 0.5)
    hostile.spoken = said_back(form)
    said = traces.main([file_of(tmp_path)])
    assert said.startswith("The trace was not taken: ") and f"Bearer {SECRET}" in hostile.seen[0]
    assert SECRET not in said


def test_a_setting_that_cannot_be_is_said(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "zip")
    said = traces.send(file_of(tmp_path))
    assert (said, len(collector.spans) > 0) in (("", True),) or "zip" in said
    monkeypatch.setattr(traces, "SECONDS", 0.5)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_COMPRESSION")
    for address in ("no address", "http://[::1", f"{collector.url}/elsewhere"):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        assert traces.main([file_of(tmp_path)]).startswith("The trace was not taken: "), address


def test_a_missing_sdk_is_said_with_what_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / "opentelemetry").mkdir()  # stands before the one that is installed
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from papdeploy.report import traces; print(traces.main(['x']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30,
                          env={"PYTHONPATH": str(Path(traces.__file__).parents[2])})  # fmt: skip
    assert done.stdout.strip() == traces.MISSING and "pip install opentelemetry-sdk" in traces.MISSING, done.stderr
