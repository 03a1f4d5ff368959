"""What a database lost since a baseline: each kind of loss, and what is none, on real servers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from papdeploy import receipts
from papdeploy.core.records import as_object, read_known
from papdeploy.databases import loss_rules, relation_baseline, relation_losses, write_snapshot
from papdeploy.databases.psql import Database
from papdeploy.databases.relation_baseline import Baseline, Relation
from papdeploy.databases.relation_losses import Comparison, Loss
from papdeploy.phases import data_check
from papdeploy.releases.journal import Journal, State
from papdeploy.releases.run import Run
from support.app_session import as_app
from support.backup import database_of, forget
from support.waiting import wait_until

if TYPE_CHECKING:
    from support.postgres_servers import Server

SETUP = """
DROP SCHEMA public CASCADE; CREATE SCHEMA public;
CREATE TABLE t (id serial PRIMARY KEY, v text);
INSERT INTO t (v) SELECT 'v' || n FROM generate_series(1, 50) AS n;
CREATE TABLE child (id serial PRIMARY KEY, t_id int REFERENCES t ON DELETE CASCADE);
INSERT INTO child (t_id) SELECT id FROM t WHERE id <= 20;
CREATE TABLE one (k int, v text); INSERT INTO one VALUES (1, 'x');
CREATE TABLE nothing (k int);
CREATE TABLE parted (k int) PARTITION BY LIST (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1); INSERT INTO parted VALUES (1);
CREATE VIEW seen AS SELECT v FROM one; CREATE SEQUENCE alone;
"""
RECREATE = "DROP TABLE child; DROP TABLE t; CREATE TABLE t (id serial PRIMARY KEY, v text)"
# What an application does, and what it is: (table, what, rows lost, emptied), and rows written.
CASES: dict[str, tuple[str, list[tuple[Any, ...]], dict[str, dict[str, int]]]] = {
    "create_all": ("CREATE TABLE IF NOT EXISTS t (id int); CREATE TABLE made (id int); INSERT INTO made VALUES (1)", [], {}),
    "drop and create anew": (RECREATE, [("child", "gone", 20, False), ("t", "recreated", 50, False)], {}),
    "the same with the same rows": (
        f"CREATE TABLE kept AS TABLE t; {RECREATE}; INSERT INTO t SELECT * FROM kept",
        [("child", "gone", 20, False), ("t", "recreated", 50, False)],
        {},
    ),
    "rename": ("ALTER TABLE one RENAME TO other", [("one", "gone", 1, False)], {}),
    "rename, and an empty one in its place": (
        "ALTER TABLE one RENAME TO other; CREATE TABLE one (k int, v text)", [("one", "recreated", 1, False)], {},
    ),
    "another schema": ("CREATE SCHEMA s; ALTER TABLE one SET SCHEMA s; DROP VIEW seen", [("one", "gone", 1, False), ("seen", "gone", None, False)], {}),
    "a column": ("ALTER TABLE t DROP COLUMN v", [("t", "column", None, False)], {}),
    "a column by another": ("ALTER TABLE t DROP COLUMN v, ADD COLUMN v text", [("t", "column", None, False)], {}),
    "truncate": ("TRUNCATE t CASCADE", [("child", "truncated", 20, True), ("t", "truncated", 50, True)], {}),
    "truncate of an empty table": ("TRUNCATE nothing", [("nothing", "truncated", 0, True)], {}),
    "truncate and the same number again": (
        "TRUNCATE t CASCADE; INSERT INTO t (v) SELECT 'new' FROM generate_series(1, 50)",
        [("child", "truncated", 20, True), ("t", "truncated", 50, True)],
        {"t": {"inserted": 50, "updated": 0}},
    ),
    "delete some": ("DELETE FROM t WHERE id > 45", [("t", "deleted", 5, False)], {}),
    "delete with what refers to it": (
        "DELETE FROM t WHERE id = 1",
        [("child", "deleted", 1, False), ("t", "deleted", 1, False)],
        {},
    ),
    "delete all": ("DELETE FROM child; DELETE FROM t", [("child", "deleted", 20, True), ("t", "deleted", 50, True)], {}),
    "delete and insert as many": (
        "BEGIN; DELETE FROM t WHERE id > 20; INSERT INTO t (v) SELECT 'new' FROM generate_series(1, 30); COMMIT",
        [("t", "deleted", 30, False)],
        {"t": {"inserted": 30, "updated": 0}},
    ),
    "a partition": ("DROP TABLE parted_1", [("parted_1", "gone", 1, False)], {}),
    "a partitioned table": ("DROP TABLE parted", [("parted", "gone", None, False), ("parted_1", "gone", 1, False)], {}),
    "a sequence": ("DROP SEQUENCE alone", [("alone", "gone", None, False)], {}),
    "insert": ("INSERT INTO t (v) VALUES ('a'), ('b')", [], {"t": {"inserted": 2, "updated": 0}}),
    "update": ("UPDATE t SET v = NULL", [], {"t": {"inserted": 0, "updated": 50}}),
    "update the only row": ("UPDATE one SET v = 'y'", [], {"one": {"inserted": 0, "updated": 1}}),
    "update twice and insert": (
        "UPDATE t SET v = 'a' WHERE id < 5; UPDATE t SET v = 'b' WHERE id < 3; INSERT INTO t (v) VALUES ('n')",
        [],
        {"t": {"inserted": 1, "updated": 4}},
    ),
    "a row of its own": ("INSERT INTO t (v) VALUES ('mine'); DELETE FROM t WHERE v = 'mine'", [], {}),
    "a deletion that is rolled back": ("BEGIN; DELETE FROM child; ROLLBACK", [], {}),
    "a truncation that is rolled back": ("BEGIN; TRUNCATE one; ROLLBACK", [], {}),
    "a rewrite": ("VACUUM FULL t", [], {}),
    "a rewrite by a new column": ("ALTER TABLE t ADD COLUMN r float DEFAULT random()", [], {"t": {"inserted": 0, "updated": 50}}),
    "a view made anew": ("DROP VIEW seen; CREATE VIEW seen AS SELECT k FROM one", [], {}),
    "a comment, an index": ("COMMENT ON TABLE t IS 'x'; CREATE INDEX ON t (v)", [], {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def shared(servers: dict[int, Server]) -> Iterator[tuple[Server, Database]]:
    server = servers[18]
    name = server.create("losses")
    yield server, database_of(server, name)
    forget(server, name)


def run(server: Server, database: Database, statements: str) -> None:
    connection = server.connect(database.conninfo.dbname)
    try:
        with connection.cursor() as cursor:
            for statement in statements.split("; "):
                if statement.strip():
                    cursor.execute(statement)
    finally:
        connection.close()


def alone(server: Server, database: Database) -> None:
    name = database.conninfo.dbname
    wait_until(lambda: server.sql(write_snapshot.OTHERS, name) == [(0,)], "a session is still there")


def baseline(server: Server, database: Database, **options: Any) -> Baseline:
    server.sql(SETUP, database.conninfo.dbname)
    alone(server, database)
    with database.session() as session:
        return relation_baseline.take(session, **options)


def found_after(server: Server, database: Database, statements: str, **options: Any) -> Comparison:
    before = baseline(server, database, **options)
    run(server, database, statements)
    alone(server, database)
    return relation_losses.compare(database, before)


@pytest.mark.parametrize("case", CASES)
def test_each_kind_of_loss_is_found_and_nothing_else(shared: tuple[Server, Database], case: str) -> None:
    statements, losses, written = CASES[case]
    found = found_after(*shared, statements)
    told = [(loss.table.removeprefix("public."), loss.what, loss.rows, loss.emptied) for loss in found.losses]
    assert sorted(told, key=str) == sorted(losses, key=str)
    assert {name.removeprefix("public."): counts for name, counts in found.written.items()} == written
    assert found.unexplained == {}


@pytest.mark.parametrize("case", ["drop and create anew", "truncate", "delete all", "delete some", "update", "insert"])
def test_of_tables_too_large_to_be_counted_the_same_is_known_from_less(
    shared: tuple[Server, Database], case: str
) -> None:
    statements, losses, _ = CASES[case]
    found = found_after(*shared, statements, limit_bytes=0)
    told = {(loss.table.removeprefix("public."), loss.what, loss.emptied) for loss in found.losses}
    assert told == {(table, what, emptied) for table, what, _, emptied in losses}


def test_the_size_limit_keeps_the_small_tables(shared: tuple[Server, Database]) -> None:
    server, database = shared
    relations = baseline(server, database, limit_bytes=8192).relations
    counted = {name for name, entry in relations.items() if entry.rows is not None}
    assert counted == {"public.nothing", "public.one"} or len(counted) == 2
    tables = [entry for entry in baseline(server, database).relations.values() if entry.kind == "r"]
    assert all(entry.rows is not None for entry in tables)


def test_while_a_session_is_open_rows_are_the_truth_and_counters_are_waited_for(
    shared: tuple[Server, Database],
) -> None:
    """A pooled session that works within a second of its last report keeps its counters to itself."""
    server, database = shared
    before = baseline(server, database)
    connection = server.connect(database.conninfo.dbname)
    try:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE one SET v = 'reported'")
            cursor.execute("UPDATE one SET v = 'not yet'; DELETE FROM t WHERE id > 40")
            found = relation_losses.compare(database, before)
            lost = [loss for loss in found.losses if loss.table == "public.t"]
            assert lost and lost[0].rows == 10, "fewer rows are there, whatever the counters say"
            cursor.execute("INSERT INTO t (v) SELECT 'n' FROM generate_series(1, 10)")
            found = relation_losses.compare(database, before)
            assert found.unexplained.get("public.t") == 10 or [loss.rows for loss in found.losses] == [10]
    finally:
        connection.close()
    alone(server, database)
    found = relation_losses.compare(database, before)
    assert [(loss.table, loss.rows, loss.up_to) for loss in found.losses] == [("public.t", 10, True)]
    assert found.unexplained == {}


def test_counters_that_were_reset_leave_the_rows_as_the_truth(shared: tuple[Server, Database]) -> None:
    server, database = shared
    before = baseline(server, database)
    run(server, database, "DELETE FROM t WHERE id > 40; UPDATE one SET v = 'y'; SELECT pg_stat_reset()")
    alone(server, database)
    losses = {loss.table: loss for loss in relation_losses.compare(database, before).losses}
    assert losses["public.t"].rows == 10
    assert losses["public.one"].up_to and not losses["public.one"].emptied, "changed or deleted cannot be told"


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_done_no_deleted_row_is_missed(shared: tuple[Server, Database], seed: int) -> None:
    server, database = shared
    rng = random.Random(seed)
    before = baseline(server, database)
    connection = server.connect(database.conninfo.dbname)
    there, gone, deletions = set(range(1, 51)), set(), 0
    with connection.cursor() as cursor:
        for _ in range(rng.randint(1, 8)):
            kind = rng.choice(
                ["insert", "update", "update", "delete", "again", "undone"] if seed % 2 else ["insert", "update"]
            )
            some = sorted(rng.sample(sorted(there), min(len(there), rng.randint(0, 12)))) or [0]
            where = f"id IN ({', '.join(map(str, some))})"
            if kind == "insert":
                cursor.execute(f"INSERT INTO t (v) SELECT 'n' FROM generate_series(1, {len(some)})")
            elif kind == "update":
                cursor.execute(f"UPDATE t SET v = v || 'x' WHERE {where}")
            else:
                cursor.execute("BEGIN")
                cursor.execute(f"DELETE FROM t WHERE {where}")
                deletions += 1
                if kind == "again":
                    cursor.execute(f"INSERT INTO t SELECT n, 'again' FROM unnest(ARRAY{some}) AS n WHERE n > 0")
                cursor.execute("ROLLBACK" if kind == "undone" else "COMMIT")
                if kind != "undone":
                    gone |= set(some) & there
                    there -= set(some)
    connection.close()
    alone(server, database)
    found = relation_losses.compare(database, before)
    rows = sum(int(loss.rows or 0) for loss in found.losses if loss.table == "public.t")
    assert rows >= len(gone), (seed, found.losses)
    assert deletions or rows == 0, "without a DELETE nothing is lost"


def noted(name: str, rows: int | None = None, deleted: int = 0, parent: str | None = None) -> Relation:
    return Relation("public", name, 1, "r", 1, 0, 0, deleted, 0, rows=rows, parent=parent)


RELATIONS = (
    noted("t", 5000, 3),
    noted("q", 10, 90_000),
    noted("declared_1_a", 5000, parent="public.declared_1"),
    noted("declared_1", parent="public.declared"),
    noted("t_1", 5000, parent="public.t"),
)
COUNTERS = write_snapshot.Counters(True, "2026-01-01", None)
BASE = Baseline("1", "1", (), COUNTERS, {relation.qualified: relation for relation in RELATIONS})


def lost(what: str, rows: int = 0, table: str = "t", **more: Any) -> Loss:
    return Loss(f"public.{table}", what, before=5000, rows=rows, **more)


@pytest.mark.parametrize(
    ("loss", "fatal"),
    [
        (lost("gone"), "trial start traffic"),
        (lost("recreated"), "trial start traffic"),
        (lost("column"), "trial start traffic"),
        (lost("truncated"), "trial start traffic"),
        (lost("truncated", table="declared"), ""),
        (lost("gone", table="declared"), "trial start traffic"),
        (lost("recreated", table="declared"), "trial start traffic"),
        (lost("deleted", 5000, emptied=True), "trial start traffic"),
        (lost("deleted", 5000, table="declared", emptied=True), ""),
        (lost("deleted", 10), "trial"),
        (lost("deleted", 11), "trial start"),
        (lost("deleted", 500), "trial start"),
        (lost("deleted", 501), "trial start traffic"),
        (Loss("public.t", "deleted", before=12, rows=10), "trial"),
        (Loss("public.t", "deleted", before=12, rows=11), "trial start traffic"),
        (Loss("public.t", "deleted", before=1, rows=1, emptied=True), "trial start traffic"),
        (lost("deleted", 4000, table="q"), "trial"),
        (lost("deleted", 5000, table="q", emptied=True), "trial start"),
        (lost("gone", table="q"), "trial start traffic"),
        (lost("gone", table="declared_1_a"), ""),
        (lost("deleted", 5000, table="declared_1_a", emptied=True), ""),
        (lost("recreated", table="declared_1_a"), "trial start traffic"),
        (lost("gone", table="t_1"), "trial start traffic"),
        (lost("deleted", 1, table="unknown"), "trial"),
    ],
)
def test_which_losses_nothing_explains(loss: Loss, fatal: str) -> None:
    declared = ["declared", "other.t"]
    stages = (loss_rules.TRIAL, loss_rules.START, loss_rules.TRAFFIC)
    assert [stage for stage in stages if loss_rules.intolerable([loss], BASE, declared, stage)] == fatal.split()


@pytest.mark.parametrize(("declared", "tolerated"), [("parted", True), ("t", False)])
def test_retention_drops_partitions_of_what_is_declared(
    shared: tuple[Server, Database], declared: str, tolerated: bool
) -> None:
    server, database = shared
    before = baseline(server, database)
    run(server, database, "DROP TABLE parted_1")
    losses = relation_losses.compare(database, before).losses
    assert (loss_rules.intolerable(losses, before, [declared], loss_rules.TRIAL) == []) is tolerated


def test_a_table_that_was_put_aside_is_told_from_one_that_was_dropped() -> None:
    aside = Loss("public.t", "recreated", 5, 0, 5, detail="the one of before is now called old.t")
    assert aside.sentence() == "public.t is another table (5 rows before, 0 now); the one of before is now called old.t"
    assert (
        Loss("public.t", "recreated", 5, 0, 5).sentence()
        == "public.t was dropped and created anew (5 rows before, 0 now)"
    )


def test_losses_are_said_worst_first() -> None:
    losses = [
        Loss("public.a", "deleted", 10, 7, 3),
        Loss("public.b", "gone", 5, 0, 5),
        Loss("public.c", "column", detail="x"),
    ]
    assert loss_rules.listed(losses) == (
        "public.b is gone (5 rows before, 0 now); public.c lost its column x;"
        " 3 rows of public.a were deleted (10 rows before, 7 now)"
    )
    assert loss_rules.listed(losses, 1).endswith("; and 2 more")
    assert [read_known(Loss, as_object(loss)) for loss in losses] == losses


def release_on(live: Database, folder: Path) -> tuple[Any, Journal]:
    """A stack on ``live``, and the journal of a release that keeps its baseline."""
    as_app(live).execute(SETUP)
    journal = State(folder).begin(Run(user="u", host="h", pid=1), stack="st")
    with live.session() as session:
        data_check.keep(journal, session)
    api = SimpleNamespace(names=("one",))
    return SimpleNamespace(database=live, may_delete=(), environment="staging", label="st", api=api), journal


# What an open transaction does, and the tables of which it is not known what becomes of them.
OPEN = {
    "it empties tables": ("TRUNCATE nothing, one", ["public.nothing", "public.one"]),
    "it drops one": ("DROP TABLE nothing", ["public.nothing"]),
    "it deletes every row": ("DELETE FROM one", ["public.one"]),
    "it deletes by a savepoint": ("SAVEPOINT a; DELETE FROM one; SAVEPOINT b", ["public.one"]),
    "it locks one for a while": ("LOCK TABLE one", ["public.one"]),
    "it is prepared": ("DELETE FROM one; PREPARE TRANSACTION 'left'", ["public.one"]),
    "it reads": ("SELECT count(*) FROM one", []),
    "it has written nothing yet": ("DELETE FROM one WHERE false", []),
}


@pytest.mark.parametrize("case", OPEN)
def test_a_receipt_says_what_was_out_of_sight(
    servers: dict[int, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    deed, tables = OPEN[case]
    server = servers[16]
    live = database_of(server, server.create("open"))
    stack, journal = release_on(live, tmp_path)
    monkeypatch.setattr(data_check, "_PATIENCE_S", 0.1)
    with server.connect(live.conninfo.dbname) as user:
        user.autocommit = False
        user.cursor().execute(deed)
        said = data_check.check(stack, journal, data_check.AT_END, final=True)
        evidence: Any = receipts.evidence_of(journal.records())
        assert evidence["unmeasured"] == tables and ("measured" in evidence["holds"]) is not bool(tables)
        assert len(said) == len(tables) and all(name in line for name, line in zip(tables, said, strict=True))
        user.rollback()
    if "PREPARE" in deed:
        server.sql("ROLLBACK PREPARED 'left'", live.conninfo.dbname)
    data_check.check(stack, journal, data_check.AT_END, final=True)
    assert receipts.evidence_of(journal.records())["holds"] == ["measured"]


def test_short_transactions_are_no_reason_to_wait(
    shared: tuple[Server, Database], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live database is always being written to: what began after the first look shows at the next."""
    server, live = shared
    stack, journal = release_on(live, tmp_path)
    monkeypatch.setattr(data_check, "_PATIENCE_S", 30.0)
    stop = threading.Event()

    def traffic() -> None:
        with server.connect(live.conninfo.dbname) as user:
            user.autocommit = False
            while not stop.is_set():
                user.cursor().execute("INSERT INTO child (t_id) VALUES (1); SELECT pg_sleep(0.2)")
                user.commit()

    with ThreadPoolExecutor() as pool:
        writing = [pool.submit(traffic) for _ in range(3)]
        began = time.monotonic()
        said = data_check.check(stack, journal, data_check.AT_END, final=True)
        took = time.monotonic() - began
        stop.set()
        for each in writing:
            each.result()
    assert said == [] and took < 20
    assert receipts.evidence_of(journal.records())["holds"] == ["measured"]


def test_a_table_that_an_open_transaction_has_emptied_is_not_called_whole(
    shared: tuple[Server, Database], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before COMMIT no other session sees a TRUNCATE: what is known is its lock, which is waited for and then told."""
    server, live = shared
    stack, journal = release_on(live, tmp_path)
    with server.connect(live.conninfo.dbname) as user:
        user.autocommit = False
        user.cursor().execute("SET application_name = 'shop'; TRUNCATE nothing, one")
        monkeypatch.setattr(data_check, "_PATIENCE_S", 0.1)
        said = data_check.check(stack, journal, data_check.AT_END, final=True)
        assert [line.split(", which shop (process ")[0] for line in said] == [
            "not known: what becomes of public.nothing",
            "not known: what becomes of public.one",
        ]
        monkeypatch.setattr(data_check, "_PATIENCE_S", 20.0)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(data_check.check, stack, journal, data_check.AT_END, final=True)
            time.sleep(0.7)
            user.commit()
            with pytest.raises(data_check.DataLost, match=r"public\.one was truncated \(1 row before, 0 now\)"):
                waiting.result()
