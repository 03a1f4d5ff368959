"""Operation on the real sandbox: production refused without a receipt, a watch that raises an alarm and rolls back."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from papdeploy.logwatch import rules
from papdeploy.releases.journal import State
from support import ROOT
from support.waiting import wait_until

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


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


class Sandbox:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.listener = Listener()
        self.environment = {**os.environ, "PAP_SANDBOX_HOME": str(home), "NO_COLOR": "1"}

    def play(self, playbook: str, *options: str, limit: str = "staging", rc: int = 0) -> str:
        quick = ["-e", "pap_rehearse=false", "-e", "watch_first_s=1", "-e", "watch_interval_s=1",
                 "-e", f"notify_webhook_url={self.listener.url}"]  # fmt: skip
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", playbook, "-l", limit, *quick,
             "-e", f"report_folder={self.home}/reports", *options],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=400,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == rc, said
        return said

    def facts(self, environment: str = "staging") -> dict[str, Any]:
        made: dict[str, Any] = json.loads((self.home / environment / "state.json").read_text())
        return made

    def state(self, environment: str = "staging") -> State:
        return State(self.facts(environment)["deploy_dir"])

    def running(self, environment: str = "staging") -> str:
        return (Path(self.facts(environment)["api"]["dir"]) / "current").resolve().name

    def sql(self, statement: str) -> None:
        postgres = self.facts()["postgres"]
        subprocess.run(
            [f"{postgres['bin_dir']}/psql", "-X", "-h", postgres["host"], "-p", str(postgres["port"]), "-U",
             postgres["superuser"], "-d", postgres["database"], "-v", "ON_ERROR_STOP=1", "-c", statement],
            env={**os.environ, "PGPASSWORD": Path(postgres["superuser_password_file"]).read_text()}, check=True, timeout=60,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def get(self, path: str) -> int:
        url = self.facts()["api"]["url"]
        body = json.dumps({"username": "admin", "password": "sandbox-only"}).encode()
        headers = {"Content-Type": "application/json"}
        login = urllib.request.Request(f"{url}/auth/login", body, headers)
        token = json.loads(OPENER.open(login, timeout=20).read())["access_token"]
        try:
            request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {token}"})
            return int(OPENER.open(request, timeout=20).status)
        except urllib.error.HTTPError as error:
            return error.code


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    home = Path(tempfile.mkdtemp(prefix="pap-operate-"))
    home.chmod(0o755)
    made = Sandbox(home)
    try:
        yield made
    finally:
        subprocess.run(
            [sys.executable, "-m", "sandbox", "down"],
            cwd=ROOT,
            env=made.environment,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )
        made.listener.server.shutdown()
        shutil.rmtree(home, ignore_errors=True)  # the watcher ends when its state is gone


@pytest.mark.timeout(900)
def test_receipt_watch_alarm_and_rollback(sandbox: Sandbox) -> None:
    said = sandbox.play("deploy.yml", limit="production", rc=2)
    assert "receipts" in said
    assert sandbox.running("production") == "previous"
    refused = sandbox.state("production").releases()[-1].end()
    assert refused is not None and refused["event"] == "refused"

    said = sandbox.play("deploy.yml")
    assert "receipt           signed" in said and "goes on until" in said
    journal = sandbox.state().releases()[-1]
    folder = journal.folder
    assert sandbox.listener.events == [
        ("pap-production", "failure"),
        ("pap-staging", "start"),
        ("pap-staging", "finish"),
    ]
    assert "runs current" in sandbox.listener.told[-1]["message"]
    assert journal.release in sandbox.listener.told[-1]["message"]
    assert (sandbox.home / "reports" / "pap-staging" / f"{journal.release}.html").is_file()
    assert rules.status(folder)["state"] == "watching"
    assert "watching until" in sandbox.play("watch.yml")
    assert "nothing to deploy" in sandbox.play("status.yml")

    # Somebody breaks the schema after the deploy: the API's next request for policies is a 500.
    sandbox.sql("ALTER TABLE policies DROP COLUMN rego_code")
    assert sandbox.get("/policies/") == 500
    wait_until(lambda: not rules.status(folder)["ok"], lambda: rules.load(folder), seconds=60)
    said = sandbox.play("watch.yml", rc=2)
    # The log and the database tell it, whichever is looked at first.
    assert "a column that the code uses is not there" in said or "policies lost its column rego_code" in said, said
    assert "watch_acknowledge" in said and sandbox.running() == "current"
    said = sandbox.play("status.yml")
    assert "Somebody changed the schema" in said and "policies.rego_code: column_missing" in said
    # The alarm stays although the column is back; with leave to do so, it takes the release back.
    sandbox.sql("ALTER TABLE policies ADD COLUMN rego_code text")
    # A way that would lose rows is not gone without a yes: the report says so, and the watch stays an alarm.
    sandbox.sql("INSERT INTO policies (name) VALUES ('written since')")
    page = sandbox.home / "reports" / "pap-staging" / f"{journal.release}.html"
    page.unlink()
    restore = ("-e", "watch_rollback=true", "-e", "rollback_strategy=restore")
    said = sandbox.play("watch.yml", *restore, rc=2)
    assert "It was not rolled back: " in said and "rollback_accept_data_loss=true" in said, said
    assert sandbox.running() == "current" and not rules.status(folder)["ok"]
    text = page.read_text()
    assert "The rollback was refused" in text and "public.policies: 1 row" in text
    assert "rollback.yml -l pap-staging -e rollback_accept_data_loss=true" in text and "rego_code" in text

    # What was in the column only a restore brings back, so no other way is gone unless it is asked for.
    said = sandbox.play("watch.yml", "-e", "watch_rollback=true", rc=2)
    assert (
        "THE RELEASE LOST DATA: public.policies lost its column rego_code" in said and "rollback_strategy=image" in said
    )
    said = sandbox.play("watch.yml", "-e", "watch_rollback=true", "-e", "rollback_strategy=downgrade", rc=2)
    assert "It was rolled back" in said and sandbox.running() == "previous", said
    assert f"revoked the receipt of release {journal.release}" in said
    assert sandbox.get("/policies/") == 200
    ended = journal.end()
    assert ended is not None and ended["event"] == "rolled_back"
    said = sandbox.play("history.yml")
    assert "rolled back" in said and journal.release in said
    assert "Rolled back" in page.read_text() and "rego_code" in page.read_text()
    assert set(sandbox.listener.events[3:]) == {("pap-staging", "alarm"), ("pap-staging", "rollback")}
