"""Beside the models: through the agent, on a standby, and when the caller dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from papdeploy.core.errors import DeadlineExceeded, PapError, Refused
from papdeploy.migrations import handlers
from papdeploy.remote.client import Agent
from papdeploy.sites.host import HostSite
from support import ROOT
from support.migration_runner import ADD_X, CREATE_A, Bench, migration
from support.postgres_servers import Server, _unprivileged, free_port, stop_server

TWO = {"2025_01_01_a.py": CREATE_A, "2025_01_02_x.py": ADD_X}
MODELS = (
    "from sqlalchemy import Column, Integer, Text\nfrom sqlalchemy.orm import declarative_base\nimport os\n"
    "print('starting with', os.environ['DATABASE_URL'])\nBase = declarative_base()\n"
    "class A(Base):\n    __tablename__ = 'a'\n    id = Column(Integer, primary_key=True, autoincrement=False)\n"
    "    n = Column(Integer)\n    x = Column(Text)\n"
)


@pytest.fixture
def bench(server: Server, database: str) -> Bench:
    return Bench(server, database)


def ask(bench: Bench, name: str, request: dict[str, Any], tmp_path: Path, **rest: Any) -> dict[str, Any]:
    with Agent(HostSite(), sys.executable, cwd=str(tmp_path), env={"DATABASE_URL": bench.url}) as agent:
        return agent.call(name, request, on_event=bench.events.append, **{"deadline_s": 60, **rest})


def test_what_the_check_needs_is_imported_before_users_wait(bench: Bench, tmp_path: Path) -> None:
    """The status that a deploy asks for before it stops the API: the first import of SQLAlchemy may take seconds."""
    program = (
        "import json, sys; from papdeploy.migrations import handlers; request = json.loads(sys.argv[1]);"
        "handlers.status(request, print); print('sqlalchemy' in sys.modules)"
    )
    found = []
    asked: tuple[dict[str, Any], ...] = ({}, {"schemas": []})
    for expected in asked:
        request = json.dumps({"url": bench.url, "sources": {}, "expected": expected})
        argv = [sys.executable, "-c", program, request]
        env = {**os.environ, "PYTHONPATH": str(ROOT / "module_utils")}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.strip().splitlines()[-1])
    assert found == ["False", "True"]


def test_the_whole_way_with_the_schema_check(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    request = {"sources": TWO, "release": "r1", "who": "ada@here"}
    plan = ask(bench, "migrations.plan", request, tmp_path)
    assert [m["identity"] for m in plan["pending"]] == ["2025_01_01_a", "2025_01_02_x"] and plan["exact"]
    assert plan["problems"] == [] and "ADD COLUMN x text" in plan["text"]

    scratch = bench.server.create("scratch")
    try:
        expected = ask(
            bench, "schema.expect", {"models": ["models:Base"], "path": ".", "url": bench.server.url(scratch)}, tmp_path
        )["catalog"]
    finally:
        bench.server.drop(scratch)
    short = {**request, "sources": {"2025_01_01_a.py": CREATE_A}, "expected": expected}
    with pytest.raises(PapError, match=r"does not match the models.*a\.x"):
        ask(bench, "migrations.apply", short, tmp_path)
    assert bench.tables() == []

    result = ask(bench, "migrations.apply", {**request, "expected": expected}, tmp_path)
    assert result["check"]["matches"] is True and result["changed"] and len(result["transactions"]) == 1
    assert bench.ledger("event, identity, release, who")[-1] == ("applied", "2025_01_02_x", "r1", "ada@here")
    assert bench.server.password not in json.dumps([result, bench.events])
    status = ask(bench, "migrations.status", request, tmp_path)
    assert [e["identity"] for e in status["applied"]] == ["2025_01_01_a", "2025_01_02_x"]
    reverted = ask(bench, "migrations.revert", {**request, "since_release": "r1", "release": "r2"}, tmp_path)
    assert [e["identity"] for e in reverted["reverted"]] == ["2025_01_02_x", "2025_01_01_a"] and bench.tables() == []


def test_what_a_migration_prints_stays_apart(bench: Bench, tmp_path: Path) -> None:
    noisy = migration(
        'import os\nprint("{\\"event\\": \\"result\\"}")\nos.write(1, b"raw")\ndb.execute("CREATE TABLE b (id int)")'
    )
    result = ask(bench, "migrations.apply", {"sources": {"2025_01_01_b.py": noisy}}, tmp_path)
    assert result["applied"][0]["identity"] == "2025_01_01_b"


def test_errors_come_back_as_they_are(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="neither upgrade"):
        ask(bench, "migrations.apply", {"sources": {"2025_01_01_a.py": "x = 1"}}, tmp_path)
    with pytest.raises(Refused, match="Unknown option"):
        ask(bench, "migrations.apply", {"sources": TWO, "options": {"lok_timeout": 1}}, tmp_path)
    with pytest.raises(PapError, match="does not exist") as caught:
        ask(bench, "migrations.apply", {"sources": {"2025_01_01_a.py": ADD_X}}, tmp_path)
    assert caught.value.data["identity"] == "2025_01_01_a" and caught.value.data["committed"] == []


@pytest.mark.parametrize(
    ("source", "message"),
    [("import no_such_module\n", "cannot be loaded: ModuleNotFoundError"),
     ("import psycopg2\npsycopg2.connect(dbname='x')\n", "it opens a connection when it is imported"),
     ("import sys\nsys.exit(3)\n", "cannot be loaded: SystemExit: 3")],
)  # fmt: skip
def test_the_plan_finds_what_cannot_be_loaded(bench: Bench, tmp_path: Path, source: str, message: str) -> None:
    plan = ask(bench, "migrations.plan", {"sources": {"2025_01_01_a.py": source + CREATE_A}}, tmp_path)
    assert [problem["kind"] for problem in plan["problems"]] == ["import"]
    assert message in plan["problems"][0]["message"] and bench.ledger() == []


SLOW = migration('db.execute("CREATE TABLE b (id int)")\ndb.log("in")\ndb.execute("SELECT pg_sleep(300)")')


def test_the_caller_is_killed(bench: Bench, tmp_path: Path) -> None:
    code = (
        "import sys; from papdeploy.remote.client import Agent; from papdeploy.sites.host import HostSite; import json;"
        "Agent(HostSite(), sys.executable).call('migrations.apply', json.loads(sys.argv[1]),"
        " on_event=lambda e: print(e['event'], flush=True))"
    )
    request = json.dumps({"sources": {"2025_01_01_b.py": SLOW}, "release": "r1", "url": bench.url})
    caller = subprocess.Popen(
        [sys.executable, "-c", code, request], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "module_utils")},
    )  # fmt: skip
    assert any(line.strip() == "log" for line in caller.stdout)
    caller.send_signal(signal.SIGKILL)
    caller.wait(10)
    caller.stdout.close()
    bench.sessions_end(seconds=25)
    assert bench.tables() == [] and bench.applied() == []
    bench.apply(TWO)  # the lock is free


def test_the_deadline_of_the_agent_ends_the_session(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        ask(bench, "migrations.apply", {"sources": {"2025_01_01_b.py": SLOW}, "release": "r1"}, tmp_path, deadline_s=3)
    bench.sessions_end(seconds=25)
    assert bench.tables() == []


def test_a_standby_is_read_but_never_changed(servers: dict[int, Server], tmp_path: Path) -> None:
    primary = servers[16]
    bench = Bench(primary, primary.create("standby"))
    bench.apply({"2025_01_01_a.py": CREATE_A})
    folder = primary.data.parent / f"standby_{bench.name}"
    drop = _unprivileged()
    port = free_port()
    env = {"PATH": "/usr/bin:/bin", "PGPASSWORD": primary.password, "HOME": str(primary.data.parent)}
    subprocess.run(
        [primary.bin_dir / "pg_basebackup", "-D", folder, "-R", "-c", "fast", "-h", primary.host,
         "-p", str(primary.port), "-U", "postgres"], check=True, env=env, cwd="/", timeout=120, **drop,
    )  # fmt: skip
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k '' -c max_connections=60 -c max_prepared_transactions=5"
    subprocess.run(
        [primary.bin_dir / "pg_ctl", "-D", folder, "-w", "-t", "60", "-l", folder.with_suffix(".log"), "-o", options,
         "start"],
        check=True, stdout=subprocess.DEVNULL, env=env, cwd="/", timeout=120, **drop,
    )  # fmt: skip
    standby = Server(major=16, bin_dir=primary.bin_dir, port=port, password=primary.password, data=folder)
    try:
        request = {"sources": TWO, "url": standby.url(bench.name)}
        status = handlers.status(request, bench.events.append)
        assert status["server"]["in_recovery"] is True and [m["identity"] for m in status["pending"]] == [
            "2025_01_02_x"
        ]
        assert "ADD COLUMN x" in handlers.plan(request, bench.events.append)["text"]
        with pytest.raises(Refused, match="is a standby"):
            handlers.apply(request, bench.events.append)
        assert not handlers.apply({**request, "sources": {"2025_01_01_a.py": CREATE_A}}, bench.events.append)["changed"]
    finally:
        stop_server(standby)
        bench.drop()
