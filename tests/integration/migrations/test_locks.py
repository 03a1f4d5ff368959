"""Locks, retries and deadlines: bounded, and always naming who is in the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2.extensions
import pytest
from papdeploy.core.errors import DeadlineExceeded, PapError, Refused
from papdeploy.migrations import ledger
from support.migration_runner import ADD_X, CREATE_A, Bench, migration
from support.postgres_servers import Server
from support.waiting import wait_until

TWO = {"2025_01_01_a.py": CREATE_A, "2025_01_02_x.py": ADD_X}


@pytest.fixture
def bench(server: Server, database: str) -> Bench:
    return Bench(server, database)


@contextmanager
def holding(bench: Bench, *statements: str) -> Iterator[psycopg2.extensions.connection]:
    """Another session that has run ``statements`` in an open transaction."""
    connection = bench.server.connect(bench.name)
    connection.autocommit = False
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        yield connection
    finally:
        connection.close()


def test_another_run_is_named(bench: Bench) -> None:
    with holding(
        bench, "SET application_name = 'pap-deploy:r7'", f"SELECT pg_advisory_lock({ledger.LOCK_KEY})"
    ) as other:
        pid = other.info.backend_pid
        with pytest.raises(
            Refused, match=rf"process {pid} \(pap-deploy:r7, user postgres .*connected since 20"
        ) as caught:
            bench.apply(TWO, lock_wait_s=0.5)
    assert caught.value.data["holder"]["pid"] == pid
    assert f"pg_terminate_backend({pid})" in caught.value.hint
    assert bench.tables() == [] and "waiting_for_lock" in bench.kinds()


def test_the_lock_is_polled_until_it_is_free(bench: Bench) -> None:
    with holding(bench, f"SELECT pg_advisory_lock({ledger.LOCK_KEY})") as other:
        timer = threading.Timer(1.0, other.close)
        timer.start()
        bench.apply(TWO, lock_wait_s=30)
        timer.join()
    assert bench.columns() == ["id", "n", "x"]
    # the other one might have applied them meanwhile: the ledger is read again under the lock
    with holding(bench, f"SELECT pg_advisory_lock({ledger.LOCK_KEY})"):
        assert not bench.apply(TWO, lock_wait_s=0).changed  # nothing to do needs no lock


def test_what_the_other_run_applied_meanwhile_is_not_applied_twice(bench: Bench) -> None:
    with holding(bench, f"SELECT pg_advisory_lock({ledger.LOCK_KEY})") as other:
        done: list[object] = []
        thread = threading.Thread(target=lambda: done.append(bench.apply(TWO, lock_wait_s=60)))
        thread.start()
        wait_until(lambda: "waiting_for_lock" in bench.kinds(), seconds=20)
        second = Bench(bench.server, bench.name)
        other.rollback()
        with other.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_unlock({ledger.LOCK_KEY})")
        other.commit()
        second.apply(TWO, lock_wait_s=60)
        thread.join(60)
    assert len(done) == 1
    assert [row for row in bench.ledger() if row[0] == "applied"] == [
        ("applied", "2025_01_01_a"),
        ("applied", "2025_01_02_x"),
    ]


def test_a_lock_timeout_is_tried_again_and_names_the_blocker(bench: Bench) -> None:
    bench.apply({"2025_01_01_a.py": CREATE_A})
    with holding(bench, "SET application_name = 'pgbench'", "SELECT * FROM a /* report */") as other:
        threading.Timer(2.0, other.rollback).start()
        result = bench.apply(TWO, lock_timeout_s=0.8, lock_retries=20)
    assert bench.columns() == ["id", "n", "x"] and result.transactions[0].attempts > 1
    retries = [event for event in bench.events if event["event"] == "retry"]
    assert retries[0]["sqlstate"] == "55P03"
    (blocker,) = retries[0]["blockers"]
    assert blocker["application"] == "pgbench" and "SELECT * FROM a /* report */" in blocker["query"]
    assert "blocked" in bench.kinds()


def test_giving_up_names_the_blocker_and_leaves_nothing(bench: Bench) -> None:
    bench.apply({"2025_01_01_a.py": CREATE_A})
    first = migration('db.execute("CREATE TABLE first (id int)")')
    with holding(bench, "SET application_name = 'pgbench'", "LOCK TABLE a") as other:
        pid = other.info.backend_pid
        with pytest.raises(PapError, match="Gave up after 2 attempts, a lock could not be had in time") as caught:
            bench.apply({**TWO, "2025_01_01_b_first.py": first}, lock_timeout_s=0.8, lock_retries=1)
    assert f"process {pid} (pgbench" in caught.value.hint and "LOCK TABLE a" in caught.value.hint
    assert bench.tables() == ["a"] and bench.ledger()[-1] == ("failed", "2025_01_02_x")


def test_a_deadlock_is_tried_again(bench: Bench) -> None:
    bench.apply({"2025_01_01_a.py": CREATE_A})
    bench.sql("CREATE TABLE b (id int)")
    both = migration(
        """
        db.execute("LOCK TABLE a")
        db.log("has a")
        db.execute("SELECT pg_sleep(0.5)")
        db.execute("LOCK TABLE b")
        db.execute("CREATE TABLE done (id int)")
        """
    )

    def cross() -> None:
        with holding(bench, "SET deadlock_timeout = '20s'", "LOCK TABLE b") as other, other.cursor() as cursor:
            wait_until(lambda: "log" in bench.kinds(), seconds=20)
            cursor.execute("LOCK TABLE a")
            other.rollback()

    thread = threading.Thread(target=cross)
    thread.start()
    result = bench.apply({"2025_01_01_a.py": CREATE_A, "2025_01_02_both.py": both}, lock_timeout_s=15)
    thread.join(30)
    assert result.transactions[0].attempts == 2
    assert [e["sqlstate"] for e in bench.events if e["event"] == "retry"] == ["40P01"]
    assert bench.tables() == ["a", "b", "done"]


ERRORS = {
    "serialization failure": ("40001", 3),
    "deadlock": ("40P01", 3),
    "lock not available": ("55P03", 3),
    "unique violation": ("23505", 1),
    "query canceled": ("57014", 1),
    "undefined table": ("42P01", 1),
}


@pytest.mark.parametrize("name", ERRORS)
def test_only_what_waiting_can_cure_is_tried_again(bench: Bench, name: str) -> None:
    code, attempts = ERRORS[name]
    body = f"""
    db.log("attempt")
    db.execute("DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '{code}'; END $$")
    """
    with pytest.raises(PapError, match="made up"):
        bench.apply({"2025_01_01_e.py": migration(body)}, lock_retries=2)
    assert bench.kinds().count("log") == attempts
    assert bench.tables() == []


def test_statement_timeout(bench: Bench) -> None:
    slow = migration('db.execute("SELECT pg_sleep(30)")')
    with pytest.raises(PapError, match="statement timeout") as caught:
        bench.apply({"2025_01_01_a.py": CREATE_A, "2025_01_02_slow.py": slow}, statement_timeout_s=0.3)
    assert "timeout" in caught.value.hint and bench.tables() == []


DEADLINES = {
    "in SQL": 'db.execute("SELECT pg_sleep(60)")',
    "in many statements": 'while True:\n    db.execute("SELECT pg_sleep(0.01)")',
    "in Python": "import time\nwhile True:\n    time.sleep(0.01)",
    "swallowing": (
        'while True:\n    try:\n        db.execute("SELECT pg_sleep(60)")\n    except ValueError:\n        pass'
    ),
}


@pytest.mark.parametrize("where", DEADLINES)
@pytest.mark.parametrize("transactional", [True, False])
def test_the_deadline_ends_the_run(bench: Bench, where: str, transactional: bool) -> None:
    slow = migration(DEADLINES[where], head=f"transactional = {transactional}")
    with pytest.raises(DeadlineExceeded, match="did not end within 1 s"):
        bench.apply({"2025_01_01_a.py": CREATE_A, "2025_01_02_slow.py": slow}, deadline_s=1)
    assert bench.tables() == ([] if transactional else ["a"])
    bench.sessions_end(seconds=20)


def test_the_limits_are_set_on_the_server_too(bench: Bench) -> None:
    body = """
    for name in ("client_connection_check_interval", "transaction_timeout", "application_name", "lock_timeout"):
        db.log(name + "=" + (db.scalar("SELECT setting FROM pg_settings WHERE name = :name", {"name": name}) or ""))
    """
    bench.apply({"2025_01_01_s.py": migration(body)}, lock_timeout_s=2.5)
    said = dict(event["message"].split("=") for event in bench.events if event["event"] == "log")
    assert said["client_connection_check_interval"] == "5000"
    assert said["application_name"] == "pap-deploy:r1" and said["lock_timeout"] == "2500"
    if bench.server.major >= 17:
        assert 80_000 <= int(said["transaction_timeout"]) <= 90_000
