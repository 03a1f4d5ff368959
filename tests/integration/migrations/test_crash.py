"""kill -9 at every statement boundary, and connections that break around COMMIT: ledger and schema always agree."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from papdeploy.core.errors import PapError, Unavailable
from papdeploy.migrations import files
from papdeploy.migrations.options import RunOptions
from papdeploy.migrations.run import apply
from support import ROOT
from support.migration_runner import ADD_X, CREATE_A, FILL_A, Bench, migration
from support.postgres_servers import Server

TOGETHER = {"2025_01_01_a.py": CREATE_A, "2025_01_02_fill.py": FILL_A, "2025_01_03_x.py": ADD_X}
ALONE = {
    "2025_01_04_ix.py": migration(
        'db.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS ix ON a (n)")', head="transactional = False"
    ),
    "2025_01_05_more.py": migration(
        """
        for batch in db.batches("SELECT id FROM a", size=40):
            db.execute("UPDATE a SET n = n + 1000 WHERE id = ANY(:ids)", {"ids": batch.keys})
        """,
        head="transactional = False",
    ),
    "2025_01_06_y.sql": """ALTER TABLE a ADD COLUMN y text;
-- migrate: down
ALTER TABLE a DROP COLUMN y;
-- migrate: check_before
SELECT id FROM a WHERE n < 1000;
-- migrate: check_after
SELECT id FROM a WHERE y IS NOT NULL;
""",
}
EVERYTHING = {**TOGETHER, **ALONE}

# Forks a child per request, which kills itself with SIGKILL just before its n-th statement (of any kind).
KILLER = """
import json, os, signal, sys
from papdeploy.migrations import handlers; from papdeploy.migrations.run import session, watchdog as watch
import psycopg2
for line in sys.stdin:
    task = json.loads(line)
    pid = os.fork()
    if not pid:
        count = 0
        before = session.Session.statement
        def statement(self, sql, call, cursor):
            global count
            count += 1
            if count == task["n"]:
                os.kill(os.getpid(), signal.SIGKILL)
            return before(self, sql, call, cursor)
        session.Session.statement = statement
        code = 1
        try:
            getattr(handlers, task["call"])(task["request"], lambda event: None)
            code = 0
        finally:
            os._exit(code)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


@pytest.fixture
def bench(server: Server, database: str) -> Bench:
    return Bench(server, database)


@pytest.fixture
def killer() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "module_utils")},
    )  # fmt: skip
    yield process
    process.stdin.close()
    process.wait(30)
    process.stdout.close()


def kill_at(killer: subprocess.Popen[str], n: int, call: str, request: dict[str, Any]) -> bool:
    """Run with a kill before statement ``n``; True if it ended by itself before that."""
    killer.stdin.write(json.dumps({"n": n, "call": call, "request": request}) + "\n")
    killer.stdin.flush()
    status = int(killer.stdout.readline())
    assert status in (0, 9), f"statement {n}: the child ended with status {status}"
    return status == 0


def agree(bench: Bench) -> None:
    """Whatever the ledger says is so, and nothing that it does not state (but for what says 'started')."""
    applied = set(bench.applied())
    columns = bench.columns()
    together = {"2025_01_01_a", "2025_01_02_fill", "2025_01_03_x"}
    assert applied & together in (set(), together)
    assert (columns[:3] == ["id", "n", "x"]) == bool(applied & together) == bool(columns)
    if columns:
        assert bench.scalar("SELECT count(*) FROM a") == 100
    started = {identity for event, identity in bench.ledger() if event == "started"}
    if "2025_01_04_ix" in applied:
        assert bench.scalar("SELECT bool_and(indisvalid) FROM pg_index WHERE indrelid = 'a'::regclass")
    elif bench.scalar("SELECT to_regclass('ix') IS NOT NULL"):
        assert "2025_01_04_ix" in started
    if columns:
        moved = bench.scalar("SELECT count(*) FROM a WHERE n > 1000")
        noted = bench.sql("SELECT rows_done FROM pap_deploy.progress")
        assert moved == (100 if "2025_01_05_more" in applied else noted[0][0] if noted else 0)
    assert ("y" in columns) == ("2025_01_06_y" in applied)


def whole(bench: Bench) -> tuple[Any, ...]:
    indexes = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 'a'::regclass ORDER BY 1"
    return (bench.columns(), bench.applied(), bench.sql("SELECT * FROM a ORDER BY id"), bench.sql(indexes))


EVERY = pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.nightly), 4], ids="every {}th".format)


@EVERY
def test_kill_at_statements_of_an_apply(bench: Bench, killer: subprocess.Popen[str], every: int) -> None:
    request = {"sources": EVERYTHING, "release": "r1", "options": {"lock_wait_s": 30}}
    bench.apply(EVERYTHING)
    expected = whole(bench)
    assert expected[1] == [name.rpartition(".")[0] for name in EVERYTHING]
    n, finished = 1 - every, False
    while not finished:
        n += every
        bench.sql("DROP TABLE IF EXISTS a; DROP SCHEMA IF EXISTS pap_deploy CASCADE")
        finished = kill_at(killer, n, "apply", {**request, "url": bench.url})
        agree(bench)
        bench.apply(EVERYTHING, lock_wait_s=30)
        assert whole(bench) == expected, f"killed before statement {n}"
    assert n > 40, "fewer statements than a run needs: the kills did not happen"


@EVERY
def test_kill_at_statements_of_a_revert(bench: Bench, killer: subprocess.Popen[str], every: int) -> None:
    request = {"sources": TOGETHER, "release": "r2", "since_release": "r1"}
    n, finished = 1 - every, False
    while not finished:
        n += every
        bench.sql("DROP TABLE IF EXISTS a; DROP SCHEMA IF EXISTS pap_deploy CASCADE")
        bench.apply(TOGETHER)
        finished = kill_at(killer, n, "revert", {**request, "url": bench.url})
        assert (bench.tables(), bench.applied()) in (
            (["a"], ["2025_01_01_a", "2025_01_02_fill", "2025_01_03_x"]), ([], []),
        )  # fmt: skip
        if bench.applied():
            bench.revert(TOGETHER, since_release="r1")
        assert bench.tables() == []
    assert n > 12


class Proxy:
    """Forwards TCP to the server, and breaks connections at COMMIT as told."""

    def __init__(self, port: int, breaks: str) -> None:
        self.target, self.breaks = port, breaks
        self.commits = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.closed:
                client.close()
                continue
            upstream = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=self._pump, args=(client, upstream, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(upstream, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        try:
            while data := source.recv(65536):
                if from_client and b"COMMIT\0" in data and data[:1] in (b"Q", b"P"):
                    self.commits += 1
                    if self.commits == 1:
                        self._break(source, sink, data)
                        return
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                end.close()

    def _break(self, client: socket.socket, upstream: socket.socket, data: bytes) -> None:
        if self.breaks == "before":  # the COMMIT never reaches the server
            client.shutdown(socket.SHUT_RDWR)
            upstream.shutdown(socket.SHUT_RDWR)
            return
        if self.breaks == "gone":
            self.closed = True
        client.shutdown(socket.SHUT_RDWR)  # the answer never reaches the client
        upstream.sendall(data)
        threading.Event().wait(0.5)

    def close(self) -> None:
        self.listener.close()


@contextmanager
def broken(bench: Bench, breaks: str) -> Iterator[str]:
    proxy = Proxy(bench.server.port, breaks)
    try:
        yield bench.url.replace(f":{bench.server.port}/", f":{proxy.port}/")
    finally:
        proxy.close()


def run(url: str, bench: Bench, deadline_s: float = 60) -> apply.ApplyResult:
    return apply.apply(
        url,
        files.load_sources(TOGETHER),
        release="r1",
        options=RunOptions(deadline_s=deadline_s),
        emit=bench.events.append,
    )


def test_the_answer_to_commit_is_lost_but_it_happened(bench: Bench) -> None:
    with broken(bench, "after") as url:
        result = run(url, bench)
    assert [ran.identity for ran in result.applied] == bench.applied()
    assert bench.columns() == ["id", "n", "x"]
    resolved = [event for event in bench.events if event["event"] == "commit_resolved"]
    assert [event["committed"] for event in resolved] == [True]


def test_commit_never_arrived_and_nothing_happened(bench: Bench) -> None:
    with (
        broken(bench, "before") as url,
        pytest.raises(PapError, match="ledger shows that nothing was committed") as caught,
    ):
        run(url, bench)
    assert caught.value.data["outcome"] == "rolled back" and caught.value.data["committed"] == []
    assert bench.tables() == [] and bench.applied() == []
    bench.apply(TOGETHER)
    assert bench.columns() == ["id", "n", "x"]


def test_an_unknown_outcome_is_reported_as_unknown(bench: Bench) -> None:
    with broken(bench, "gone") as url, pytest.raises(Unavailable, match="could not be asked what happened") as caught:
        run(url, bench, deadline_s=4)
    assert caught.value.data["outcome"] == "unknown" and "run `status`" in caught.value.hint
    assert bench.columns() == ["id", "n", "x"]  # it did happen, and the ledger says so
    assert not bench.apply(TOGETHER).changed


def test_the_server_ends_the_session_in_the_middle(bench: Bench) -> None:
    suicide = migration(
        'db.execute("CREATE TABLE b (id int)")\ndb.execute("SELECT pg_terminate_backend(pg_backend_pid())")'
    )
    with pytest.raises(PapError) as caught:
        bench.apply({**TOGETHER, "2025_01_04_end.py": suicide})
    assert "lost before COMMIT" in caught.value.hint and caught.value.data["outcome"] == "rolled back"
    assert bench.tables() == [] and bench.applied() == []
