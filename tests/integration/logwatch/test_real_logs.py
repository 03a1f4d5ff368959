"""What uvicorn, SQLAlchemy and PostgreSQL really write when a column is missing is recognised, and counted once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from papdeploy.logwatch.files import FileLog
from papdeploy.logwatch.rules import begin, step
from papdeploy.logwatch.state import Rules
from support.postgres_servers import Server, free_port, start_server, stop_server

pytestmark = pytest.mark.every_version

APP = """
import os
from fastapi import FastAPI
from sqlalchemy import create_engine, text

engine = create_engine(os.environ["DATABASE_URL"], connect_args={"options": "-c log_min_messages=error"})
app = FastAPI()

@app.get("/health")
def health():
    return {}

@app.get("/policies/{name}")
def policies(name: str):
    with engine.connect() as connection:
        return connection.execute(text("SELECT rego_code FROM policies WHERE name = :name"), {"name": name}).all()

@app.post("/users/{name}")
def users(name: str):
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO users VALUES (:name)"), {"name": name})
"""


@pytest.fixture(scope="module", params=[16, 18], ids=["pg16", "pg18"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of this test's own: its log must not have been cut off by a test that restarted a shared one."""
    folder = Path(tempfile.mkdtemp(prefix="pap-logs-"))
    folder.chmod(0o755)
    made = start_server(request.param, folder / "server")
    yield made
    stop_server(made)
    shutil.rmtree(folder, ignore_errors=True)


def call(url: str, method: str = "GET") -> int:
    try:
        return int(urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10).status)
    except urllib.error.HTTPError as error:
        return error.code


def test_real_logs(server: Server, database: str, tmp_path: Path) -> None:
    server.sql("CREATE TABLE policies (name text); CREATE TABLE users (name text PRIMARY KEY)", database)
    (tmp_path / "main.py").write_text(APP)
    log, port = tmp_path / "api.log", free_port()
    sources = {"api": FileLog((str(log),)), "database": FileLog((str(server.data.parent / "log"),))}
    log.touch()
    at = "2030-01-01T00:00:00.000Z"
    state = begin("r1", sources, hours=1, interval_s=1, rules=Rules(restarts=1), at=at)
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "main:app", "--port", str(port)],
            cwd=tmp_path, stdout=output, stderr=output,
            env={**os.environ, "DATABASE_URL": server.url(database)},
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                assert call(f"{url}/health") == 200
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        codes = [call(f"{url}/policies/secret-{number}") for number in range(3)]
        codes += [call(f"{url}/users/jane", "POST") for _ in range(3)]
    finally:
        process.terminate()
        process.wait(20)
    assert codes == [500, 500, 500, 200, 500, 500]
    for _ in range(2):
        state = step(state, sources, at)
    counts = {(f.source, f.kind, f.subject): f.count for f in state.findings if f.kind != "restart"}
    column = '"rego_code"'
    assert counts == {
        ("api", "missing_column", column): 3,
        ("database", "missing_column", column): 3,
        ("api", "integrity", '"users_pkey"'): 2,
        ("database", "integrity", '"users_pkey"'): 2,
        ("api", "server_error", "GET /policies/secret-0 500"): 1,
        ("api", "server_error", "GET /policies/secret-1 500"): 1,
        ("api", "server_error", "GET /policies/secret-2 500"): 1,
        ("api", "server_error", "POST /users/jane 500"): 2,
    }
    assert [alarm.kind for alarm in state.alarms] == ["missing_column", "server_error"]
    samples = " ".join(f.first_sample + f.last_sample for f in state.findings if f.kind != "server_error")
    assert "jane" not in samples and "secret-" not in samples
