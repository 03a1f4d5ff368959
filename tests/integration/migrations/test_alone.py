"""Migrations outside a transaction: they split the batch, say when they were interrupted, and can run again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest
from papdeploy.core.errors import PapError
from papdeploy.migrations import files, planning
from support import ROOT
from support.migration_runner import ADD_X, CREATE_A, FILL_A, Bench, migration
from support.postgres_servers import Server

ALONE = "transactional = False"
BASE = {"2025_01_01_a.py": CREATE_A, "2025_01_02_fill.py": FILL_A}
INDEX = migration('db.execute("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ix ON a (n)")',
                  'db.execute("DROP INDEX CONCURRENTLY IF EXISTS ix")', head=ALONE)  # fmt: skip


@pytest.fixture
def bench(server: Server, database: str) -> Bench:
    return Bench(server, database)


def valid(bench: Bench, index: str = "ix") -> bool | None:
    rows = bench.sql(f"SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('{index}')")
    return bool(rows[0][0]) if rows else None


def test_the_batch_is_split_and_order_kept(bench: Bench) -> None:
    result = bench.apply({**BASE, "2025_01_03_ix.py": INDEX, "2025_01_04_x.py": ADD_X})
    assert [t.identities for t in result.transactions] == [
        ["2025_01_01_a", "2025_01_02_fill"], ["2025_01_03_ix"], ["2025_01_04_x"],
    ]  # fmt: skip
    assert bench.ledger() == [
        ("applied", "2025_01_01_a"), ("applied", "2025_01_02_fill"), ("started", "2025_01_03_ix"),
        ("applied", "2025_01_03_ix"), ("applied", "2025_01_04_x"),
    ]  # fmt: skip
    assert valid(bench) is True


def test_what_was_committed_before_is_named(bench: Bench) -> None:
    with pytest.raises(PapError) as caught:
        bench.apply({**BASE, "2025_01_03_ix.py": INDEX, "2025_01_04_bad.py": migration('db.execute("SELECT 1/0")')})
    assert caught.value.data["committed"] == ["2025_01_01_a", "2025_01_02_fill", "2025_01_03_ix"]
    assert bench.applied() == ["2025_01_01_a", "2025_01_02_fill", "2025_01_03_ix"]


def test_an_invalid_index_is_found_dropped_and_rebuilt(bench: Bench) -> None:
    bench.apply(BASE)
    bench.sql("INSERT INTO a VALUES (101, 5)")  # a duplicate: the unique index fails and stays, invalid
    sources = {**BASE, "2025_01_03_ix.py": INDEX}
    with pytest.raises(PapError, match="could not create unique index"):
        bench.apply(sources)
    assert valid(bench) is False
    assert bench.ledger()[-2:] == [("started", "2025_01_03_ix"), ("failed", "2025_01_03_ix")]
    bench.sql("DELETE FROM a WHERE id = 101")
    bench.apply(sources)
    assert valid(bench) is True and "invalid_index_dropped" in bench.kinds()
    assert bench.scalar("SELECT count(*) FROM pg_index WHERE indrelid = 'a'::regclass") == 2


def test_a_valid_index_is_kept(bench: Bench) -> None:
    bench.apply(BASE)
    bench.sql("CREATE UNIQUE INDEX ix ON a (n)")
    before = bench.scalar("SELECT 'ix'::regclass::oid")
    bench.apply({**BASE, "2025_01_03_ix.py": INDEX})
    assert bench.scalar("SELECT 'ix'::regclass::oid") == before


def test_an_index_without_a_name_is_refused(bench: Bench) -> None:
    bad = migration('db.execute("CREATE INDEX CONCURRENTLY ON a (n)")', head=ALONE)
    with pytest.raises(PapError, match="without a name"):
        bench.apply({**BASE, "2025_01_03_ix.py": bad})
    assert bench.scalar("SELECT count(*) FROM pg_index WHERE indrelid = 'a'::regclass") == 1


def test_the_rest_of_a_failed_reindex_goes(bench: Bench) -> None:
    bench.apply({**BASE, "2025_01_03_ix.py": INDEX})
    bench.sql("CREATE INDEX ix_ccnew ON a (n)")
    bench.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_ccnew'::regclass")
    again = migration('db.execute("REINDEX INDEX CONCURRENTLY ix")', head=ALONE)
    bench.apply({**BASE, "2025_01_03_ix.py": INDEX, "2025_01_04_re.py": again})
    assert valid(bench, "ix_ccnew") is None and valid(bench) is True


def test_concurrently_waits_longer_than_the_lock_timeout(bench: Bench) -> None:
    bench.apply(BASE)
    other = bench.server.connect(bench.name)
    other.autocommit = False
    with other.cursor() as cursor:
        cursor.execute("INSERT INTO a VALUES (200, 200)")  # CONCURRENTLY waits for this transaction
    timer = threading.Timer(1.5, other.rollback)
    timer.start()
    try:
        bench.apply({**BASE, "2025_01_03_ix.py": INDEX}, lock_timeout_s=0.2, lock_retries=0)
    finally:
        timer.join()
        other.close()
    assert valid(bench) is True


def test_an_attempt_that_fails_leaves_no_settings(bench: Bench) -> None:
    """Neither to the next attempt, nor to the ledger row of the failure."""
    bench.apply(BASE)
    role = "SET ROLE pg_monitor; SET work_mem = '7MB'"  # a role that may not write to the ledger
    asks = f"""db.execute("{role}")\ndb.execute("SELECT 1 FROM a")"""
    with pytest.raises(PapError, match="permission denied for table a"):
        bench.apply({**BASE, "2025_01_03_s.py": migration(asks, head=ALONE)})
    assert bench.ledger()[-1] == ("failed", "2025_01_03_s")
    waits = """
    assert db.scalar("SHOW work_mem") == "4MB"
    db.execute("SET work_mem = '7MB'")
    with db.transaction():
        db.execute("LOCK a")
    """
    other = bench.server.connect(bench.name)
    other.autocommit = False
    try:
        with other.cursor() as cursor:
            cursor.execute("LOCK a")
        with pytest.raises(PapError, match="Gave up after 2 attempts"):
            bench.apply({**BASE, "2025_01_03_s.py": migration(waits, head=ALONE)}, lock_timeout_s=0.2, lock_retries=1)
    finally:
        other.close()


ALONE_MISDEEDS = {
    "error swallowed": ('try:\n    db.execute("SELECT 1/0")\nexcept Exception:\n    pass', "swallowed an error"),
    "transaction left open": ('db.execute("BEGIN")\ndb.execute("SELECT 1")', "left a transaction open"),
    "COMMIT in db.transaction": ('with db.transaction():\n    db.execute("COMMIT")', "COMMIT was sent"),
    "second connection": ("import os, psycopg2\npsycopg2.connect(os.environ['TEST_URL'])", "second connection"),
    "sys.exit": ("import sys\nsys.exit()", "called sys.exit"),
    "lock released": ('db.execute("SELECT pg_advisory_unlock_all()")', "released the runner's advisory lock"),
    "settings and lock discarded": ('db.execute("DISCARD ALL")', "released the runner's advisory lock"),
    "error in db.transaction swallowed": (
        'with db.transaction():\n    try:\n        db.execute("SELECT 1/0")\n    except Exception:\n        pass',
        "was caught and passed over",
    ),
}


@pytest.mark.parametrize("deed", ALONE_MISDEEDS)
def test_misdeeds_are_found_here_too(bench: Bench, deed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_URL", bench.server.url(bench.name, "postgresql"))
    code, message = ALONE_MISDEEDS[deed]
    with pytest.raises(PapError, match=message):
        bench.apply({**BASE, "2025_01_03_bad.py": migration(code, head=ALONE)})
    assert bench.applied() == ["2025_01_01_a", "2025_01_02_fill"]
    assert bench.scalar("SELECT count(*) FROM pg_prepared_xacts") == 0


def test_commits_of_sqlalchemy_do_no_harm_outside_a_transaction(bench: Bench) -> None:
    body = 'db.connection.exec_driver_sql("CREATE TABLE b (id int)")\ndb.connection.commit()'
    bench.apply({"2025_01_01_b.py": migration(body, head=ALONE)})
    assert bench.tables() == ["b"]


def test_db_transaction_is_whole(bench: Bench) -> None:
    body = """
    with db.transaction():
        db.execute("CREATE TABLE b (id int)")
        db.execute("SELECT 1/0")
    """
    with pytest.raises(PapError, match="division by zero"):
        bench.apply({"2025_01_01_b.py": migration(body, head=ALONE)})
    assert bench.tables() == []


BACKFILL = """
for batch in db.batches("SELECT id, n FROM a WHERE n > :least", {"least": 0}, size=30):
    db.execute("UPDATE a SET n = n + 1000 WHERE id = ANY(:ids)", {"ids": batch.keys})
    if db.scalar("SELECT count(*) FROM stop") and batch.number == 3:
        raise RuntimeError("interrupted")
"""


def test_a_backfill_commits_per_piece_and_goes_on_where_it_was(bench: Bench) -> None:
    bench.apply(BASE)
    bench.sql("CREATE TABLE stop (id int); INSERT INTO stop VALUES (1)")
    sources = {**BASE, "2025_01_03_fill.py": migration(BACKFILL, head=ALONE)}
    with pytest.raises(PapError, match="interrupted"):
        bench.apply(sources)
    assert bench.scalar("SELECT count(*) FROM a WHERE n > 1000") == 60  # two pieces, the third was rolled back
    bench.sql("DELETE FROM stop")
    bench.events.clear()
    bench.apply(sources)
    assert bench.sql("SELECT min(n - id), max(n - id) FROM a") == [(1000, 1000)]  # each row once
    progress = [event for event in bench.events if event["event"] == "progress"]
    assert [event["rows_done"] for event in progress] == [90, 100]
    assert progress[-1]["rows_total"] == 100 and progress[-1]["rows_per_second"] > 0
    assert "resumed" in bench.kinds()
    assert bench.scalar("SELECT count(*) FROM pap_deploy.progress") == 0


def test_a_finished_backfill_is_not_done_twice(bench: Bench) -> None:
    bench.apply(BASE)
    bench.sql("CREATE TABLE stop (id int); INSERT INTO stop VALUES (1)")
    body = """
    for batch in db.batches("SELECT id FROM a", size=60):
        db.execute("UPDATE a SET n = n + 1000 WHERE id = ANY(:ids)", {"ids": batch.keys})
    if db.scalar("SELECT count(*) FROM stop"):
        raise RuntimeError("interrupted")
    """
    sources = {**BASE, "2025_01_03_fill.py": migration(body, head=ALONE)}
    with pytest.raises(PapError, match="interrupted"):
        bench.apply(sources)
    bench.sql("DELETE FROM stop")
    bench.apply(sources)
    assert bench.sql("SELECT min(n - id), max(n - id) FROM a") == [(1000, 1000)]


BATCH_ERRORS = {
    "a key that is not unique": ("SELECT 1 AS id, n FROM a", 30, "has 1 twice"),
    "not unique across pieces": ("SELECT n / 2 AS id FROM a WHERE n IN (2, 3)", 1, "has 1 twice"),
    "a NULL key": ("SELECT NULL::int AS id", 30, "has a NULL"),
}


@pytest.mark.parametrize("case", BATCH_ERRORS)
def test_a_key_that_cannot_carry_a_backfill(bench: Bench, case: str) -> None:
    bench.apply(BASE)
    select, size, message = BATCH_ERRORS[case]
    body = f'for batch in db.batches("{select}", size={size}):\n    pass'
    with pytest.raises(PapError, match=message):
        bench.apply({**BASE, "2025_01_03_fill.py": migration(body, head=ALONE)})


@pytest.mark.parametrize("kind", ["uuid", "text", "timestamptz", "numeric", '"char"', "bigint"])
def test_keys_of_any_type(bench: Bench, kind: str) -> None:
    value = {
        "uuid": "md5(g::text)::uuid", "text": "'k''%' || g", "timestamptz": "now() + g * interval '1.000001 s'",
        "numeric": "g / 3.0", '"char"': "chr(60 + g)::\"char\"", "bigint": "g * 10000000000",
    }[kind]  # fmt: skip
    bench.sql(f'CREATE TABLE k AS SELECT {value} AS "The Key", 0 AS hits FROM generate_series(1, 25) AS g')
    body = """
    for batch in db.batches('SELECT "The Key" FROM k', size=7):
        for row in batch:
            assert db.execute('UPDATE k SET hits = hits + 1 WHERE "The Key" = :key', {"key": row[0]}) == 1
    """
    bench.apply({"2025_01_01_k.py": migration(body, head=ALONE)})
    assert bench.sql("SELECT hits, count(*) FROM k GROUP BY 1") == [(1, 25)]


def test_batches_in_a_transaction_are_part_of_it(bench: Bench) -> None:
    bench.apply(BASE)
    body = """
    for batch in db.batches("SELECT id FROM a", size=30):
        db.execute("UPDATE a SET n = -1 WHERE id = ANY(:ids)", {"ids": batch.keys})
    raise RuntimeError("no")
    """
    with pytest.raises(PapError, match="RuntimeError: no"):
        bench.apply({**BASE, "2025_01_03_fill.py": migration(body)})
    assert bench.scalar("SELECT count(*) FROM a WHERE n = -1") == 0


def test_an_error_inside_a_piece_that_is_swallowed_fails(bench: Bench) -> None:
    bench.apply(BASE)
    body = """
    for batch in db.batches("SELECT id FROM a", size=30):
        try:
            db.execute("SELECT 1/0")
        except Exception:
            pass
    """
    with pytest.raises(PapError, match="caught and passed over"):
        bench.apply({**BASE, "2025_01_03_fill.py": migration(body, head=ALONE)})


def test_an_interruption_is_seen(bench: Bench) -> None:
    bench.apply(BASE)
    bench.sql(
        "INSERT INTO pap_deploy.ledger (event, identity, checksum, release, who, run)"
        " VALUES ('started', '2025_01_03_ix', '', 'r1', 'x', gen_random_uuid())"
    )
    connection = bench.server.connect(bench.name)
    try:
        state = planning.status(connection, files.load_sources({**BASE, "2025_01_03_ix.py": INDEX}))
    finally:
        connection.close()
    assert list(state.interrupted) == ["2025_01_03_ix"] and state.problems == []
    bench.apply({**BASE, "2025_01_03_ix.py": INDEX})
    assert valid(bench) is True


def test_the_session_waits_without_a_snapshot(bench: Bench) -> None:
    """A run that waits for the lock must not hold up the CREATE INDEX CONCURRENTLY of the one that has it."""
    bench.apply(BASE)
    slow = migration(
        'db.log("go")\nimport time\ntime.sleep(1.0)\n'
        'db.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS slow ON a (n)")',
        head=ALONE,
    )
    sources = {**BASE, "2025_01_03_slow.py": slow}
    code = (
        "import json, sys; from papdeploy.migrations import handlers;"
        " r = json.load(sys.stdin); print(handlers.apply(r, lambda e: print(e['event'], flush=True))['changed'])"
    )
    request = {"url": bench.url, "sources": sources, "options": {"lock_wait_s": 60}}
    second = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "module_utils")},
    )  # fmt: skip
    assert second.stdin is not None

    def send() -> None:
        while "log" not in bench.kinds():
            time.sleep(0.02)
        json.dump(request, second.stdin)
        second.stdin.close()

    thread = threading.Thread(target=send)
    thread.start()
    bench.apply(sources, deadline_s=30)
    thread.join(30)
    said = second.stdout.read().split()
    assert second.wait(30) == 0
    second.stdout.close()
    assert valid(bench, "slow") is True and said == ["waiting_for_lock", "False"]
