"""Operation on the real sandbox: production refused without a receipt, a watch that raises an alarm and rolls back."""

from __future__ import annotations

import http.server
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from papdeploy.logwatch import rules
from support.collector import Collector
from support.sandbox_playbooks import QUICK
from support.sandbox_stack import Sandbox
from support.smtp import SmtpServer, smtp_server
from support.waiting import wait_until


class Listener:
    """A webhook's other end: keeps what it is told."""

    def __init__(self) -> None:
        told: list[dict[str, Any]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.told = told
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(entry["stack"], entry["event"]) for entry in self.told]


class Watched(Sandbox):
    """A sandbox with receivers for its notifications, over HTTP and over SMTP."""

    def __init__(self, home: Path, mails: SmtpServer) -> None:
        super().__init__(home)
        self.listener = Listener()
        self.mails = mails
        self.textfiles = home / "textfiles"
        self.textfiles.mkdir()

    def figures(self, stack: str, environment: str) -> dict[str, float]:
        """What node_exporter would read, without labels."""
        text = (self.textfiles / f"pap_{stack}@{environment}.prom").read_text()
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {head.partition("{")[0]: float(value) for head, _, value in lines}

    @property
    def mailed(self) -> list[str]:
        """The events of the mails, by their subjects."""
        return [subject.split(": ")[1] for subject in self.mails.subjects]

    def play(self, playbook: str, *options: str, **variables: Any) -> str:
        told: dict[str, Any] = {
            "notify_webhook_url": self.listener.url,
            "notify_mail_to": ["oncall@pap.example"],
            "notify_mail_port": self.mails.port,
            "report_folder": self.home / "reports",
            "pap_metrics_textfile_dir": self.textfiles,
            "watch_prometheus_url": "http://127.0.0.1:9",  # where nothing listens
            "watch_promql": [{"query": "sum(errors)", "max": 0.5}],
        }
        return super().play(playbook, *options, **QUICK, **told, **variables)

    def get(self, path: str) -> int:
        """The status of an answer of its API."""
        stack = self.stack()
        return stack.request(path, token=stack.token())[0]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.sdk.trace", reason="the OpenTelemetry SDK is not installed")
    made = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    yield made
    made.close()


@pytest.fixture
def sandbox() -> Iterator[Watched]:
    home = Path(tempfile.mkdtemp(prefix="pap-operate-"))
    home.chmod(0o755)
    with smtp_server() as mails:
        made = Watched(home, mails)
        try:
            yield made
        finally:
            made.command("down", check=False)
            made.listener.server.shutdown()
            shutil.rmtree(home, ignore_errors=True)  # the watcher ends when its state is gone


@pytest.mark.timeout(900)
def test_receipt_watch_alarm_and_rollback(sandbox: Watched, collector: Collector) -> None:
    said = sandbox.play("deploy.yml", limit="production", rc=2)
    assert "receipts" in said
    assert sandbox.stack("production").running() == "previous"
    refused = sandbox.stack("production").remembers.releases()[-1].ended()
    assert refused is not None and refused.event == "refused"

    said = sandbox.play("deploy.yml")
    assert "receipt           signed" in said and "goes on until" in said
    journal = sandbox.stack().remembers.releases()[-1]
    folder = journal.folder
    assert sandbox.listener.events == [
        ("pap-production", "failure"),
        ("pap-staging", "start"),
        ("pap-staging", "finish"),
    ]
    assert sandbox.mailed == ["failure", "start", "finish"]
    assert "runs current" in sandbox.listener.told[-1]["message"]
    assert journal.release in sandbox.listener.told[-1]["message"]
    assert (sandbox.home / "reports" / "pap-staging" / f"{journal.release}.html").is_file()
    assert "sum(errors) was not measured: Prometheus: Connection refused; it should be at most 0.5" in said
    assert {"deploy pap-staging", "backup", "migrate", "activate"} <= {span.name for span in collector.spans}
    figures = sandbox.figures("pap-staging", "staging")
    assert figures["pap_watch_alarms"] == 0 and figures["pap_downtime_seconds"] > 0
    assert 0 <= figures["pap_backup_proven_age_seconds"] < 600 and figures["pap_restore_seconds"] > 0
    assert "pap_release_info" not in sandbox.figures("pap-production", "production"), "it was refused"
    assert rules.status(folder).state == "watching"
    assert "watching until" in sandbox.play("watch.yml")

    # The schema is broken by hand after the deploy: the API's next request for policies is a 500.
    sandbox.stack().sql("ALTER TABLE policies DROP COLUMN rego_code")
    assert sandbox.get("/policies/") == 500
    wait_until(lambda: not rules.status(folder).ok, lambda: rules.load(folder), seconds=60)
    wait_until(lambda: sandbox.figures("pap-staging", "staging")["pap_watch_alarms"] > 0)
    said = sandbox.play("watch.yml", rc=2)
    # The log and the database tell it, whichever is looked at first.
    assert "a column that the code uses is not there" in said or "policies lost its column rego_code" in said, said
    assert "watch_acknowledge" in said and sandbox.stack().running() == "current"
    said = sandbox.play("status.yml")
    assert "was changed outside of pap-deploy" in said and "policies.rego_code: column_missing" in said
    # The alarm stays although the column is back; with leave to do so, it takes the release back.
    sandbox.stack().sql("ALTER TABLE policies ADD COLUMN rego_code text")
    # A way that would lose rows is not gone without a yes: the report says so, and the watch stays an alarm.
    sandbox.stack().sql("INSERT INTO policies (name) VALUES ('written since')")
    page = sandbox.home / "reports" / "pap-staging" / f"{journal.release}.html"
    page.unlink()
    restore = ("-e", "watch_rollback=true", "-e", "rollback_strategy=restore")
    said = sandbox.play("watch.yml", *restore, rc=2)
    assert "It was not rolled back: " in said and "rollback_accept_data_loss=true" in said, said
    assert sandbox.stack().running() == "current" and not rules.status(folder).ok
    text = page.read_text()
    assert "The rollback was refused" in text and "public.policies: 1 row" in text
    assert "rollback.yml -l pap-staging -e rollback_accept_data_loss=true" in text and "rego_code" in text

    # What was in the column only a restore brings back, so no other way is gone unless it is asked for.
    said = sandbox.play("watch.yml", "-e", "watch_rollback=true", rc=2)
    assert (
        "THE RELEASE LOST DATA: public.policies lost its column rego_code" in said and "rollback_strategy=image" in said
    )
    said = sandbox.play("watch.yml", "-e", "watch_rollback=true", "-e", "rollback_strategy=downgrade", rc=2)
    assert "It was rolled back" in said and sandbox.stack().running() == "previous", said
    assert f"revoked the receipt of release {journal.release}" in said
    assert sandbox.get("/policies/") == 200
    ended = journal.ended()
    assert ended is not None and ended.event == "rolled_back"
    said = sandbox.play("history.yml")
    assert "rolled back" in said and journal.release in said
    assert "Rolled back" in page.read_text() and "rego_code" in page.read_text()
    assert set(sandbox.listener.events[3:]) == {("pap-staging", "alarm"), ("pap-staging", "rollback")}
    assert set(sandbox.mailed[3:]) == {"alarm", "rollback"}
