"""Snapshots, swaps and marks; and that nothing is dropped that is not ours."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest
from papdeploy import backup, databases
from papdeploy.app.stack import Stack
from papdeploy.backup import restore_errors
from papdeploy.backup.retention import Settings
from papdeploy.core.clock import from_epoch
from papdeploy.core.durable import private_folder
from papdeploy.core.errors import PapError, Refused
from papdeploy.databases import content_digest, write_snapshot
from papdeploy.databases.psql import Database
from papdeploy.databases.write_counts import Wrote
from papdeploy.phases import cleanup, retention
from papdeploy.releases.journal import Journal, State
from papdeploy.releases.records import RestorePoint
from papdeploy.releases.run import Run
from papdeploy.rollback import restore_point
from support.app_session import as_app
from support.backup import FakeApi, database_of, fill, folder_of, forget, make_roles, names, restart
from support.waiting import wait_until

if TYPE_CHECKING:
    from support.postgres_servers import Server

R = "r1"


@pytest.fixture
def server(servers: dict[int, Server]) -> Server:
    """The newest; what depends on the server's version is tried on both."""
    return servers[18]


@pytest.fixture
def live(server: Server) -> Iterator[Database]:
    name = server.create("moves")
    database = database_of(server, name)
    as_app(database).execute("CREATE TABLE t (id serial PRIMARY KEY, v text)")
    as_app(database).execute("INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 99)")
    yield database
    forget(server, name)


@pytest.mark.parametrize("major", [16, 18])
def test_snapshot_is_equal_closed_and_keeps_its_traits(servers: dict[int, Server], major: int) -> None:
    server = servers[major]
    make_roles(server.sql)
    name = server.create("hostile")
    hostile = fill(server, name)
    server.sql(f"ALTER DATABASE \"{name}\" SET work_mem = '7MB'")
    before = content_digest.take(hostile)
    databases.fence(hostile, R)
    made = databases.snapshot(databases.must_be_fenced(hostile, R), R, live=name)
    assert made.method == ("clone" if server.major >= 18 else "copy")
    with pytest.raises(Exception, match="not currently accepting"):
        server.connect(made.database)
    again = databases.snapshot(databases.must_be_fenced(hostile, R), R, live=name)
    assert again.database == made.database, "repeated, it is made anew"
    as_app(databases.must_be_fenced(hostile, R)).execute("DROP TABLE parted CASCADE")
    databases.swap(hostile, R, made.database)
    assert content_digest.compare(before, content_digest.take(hostile)) == []
    assert server.sql("SHOW work_mem", name) == [("7MB",)]
    forget(server, name)


def test_swap_is_seen_whole(server: Server, live: Database) -> None:
    """A reader that asks all the time sees the old content, no database, or the new content: never a mixture."""
    name = live.conninfo.dbname
    databases.fence(live, R)
    made = databases.snapshot(databases.must_be_fenced(live, R), R, live=name)
    databases.unfence(live, R)
    as_app(live).execute("UPDATE t SET v = 'y'")
    seen: set[str] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                rows = server.sql("SELECT DISTINCT v FROM t", name)
                seen.add(",".join(sorted(row[0] for row in rows)))
            except Exception as error:  # noqa: BLE001 - what it says is looked at
                seen.add("absent" if "exist" in str(error) else "ended" if "terminat" in str(error) else str(error))

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.1)
    databases.fence(live, R)
    databases.swap(live, R, made.database)
    time.sleep(0.1)
    stop.set()
    reader.join()
    assert {"x", "y"} <= seen <= {"x", "y", "absent", "ended"}, seen


def test_another_version_of_the_collation_is_told_before_the_api_stops(server: Server, live: Database) -> None:
    """The server copies no such database, which a snapshot as the restore point would find out under the fence."""
    name = live.conninfo.dbname
    databases.refuse_uncopyable(live)
    server.sql(f"UPDATE pg_database SET datcollversion = '0.1' WHERE datname = '{name}'")
    with pytest.raises(Refused, match=r"would not copy .* version 0\.1 of its collation") as refused:
        databases.refuse_uncopyable(live)
    assert f'ALTER DATABASE "{name}" REFRESH COLLATION VERSION' in refused.value.hint
    with pytest.raises(PapError, match="has a collation version") as failed:
        databases.snapshot(live, R, live=name)
    assert "REFRESH COLLATION VERSION" in restore_errors.next_step(live, str(failed.value))


def test_swap_refuses_without_the_fence_and_with_foreign_databases(server: Server, live: Database) -> None:
    name = live.conninfo.dbname
    server.sql(f'CREATE DATABASE "{name}__restored_r1"')
    databases.fence(live, R)
    with pytest.raises(Refused, match="is not a database that pap-deploy made"):
        databases.swap(live, R, f"{name}__restored_r1")
    with pytest.raises(Refused, match="is not a database that pap-deploy made"):
        databases.swap(live, R, "template1")
    made = databases.snapshot(databases.must_be_fenced(live, R), R, live=name)
    databases.unfence(live, R)
    with pytest.raises(Refused, match=r"The fence of release r1 .* is not up"):
        databases.swap(live, R, made.database)
    server.sql(f'CREATE DATABASE "{name}__failed_r1"')
    databases.fence(live, R)
    with pytest.raises(Refused, match="pap-deploy did not make it"):
        databases.swap(live, R, made.database)


def test_replication_slot_is_in_the_way(server: Server, live: Database) -> None:
    """A logical slot is tied to the database that would be put aside: whoever reads it must be told first."""
    databases.fence(live, R)
    made = databases.snapshot(databases.must_be_fenced(live, R), R, live=live.conninfo.dbname)
    server.sql("ALTER SYSTEM SET wal_level = logical")
    restart(server, "fast")
    behind = databases.must_be_fenced(live, R)
    try:
        as_app(behind).execute("SELECT pg_create_logical_replication_slot('pap_test', 'pgoutput')")
        with pytest.raises(Refused, match="logical replication slot pap_test belongs to it"):
            databases.swap(live, R, made.database)
    finally:
        as_app(behind).execute("SELECT pg_drop_replication_slot('pap_test')")
        server.sql("ALTER SYSTEM RESET wal_level")
        restart(server, "fast")
    assert databases.swap(live, R, made.database).swapped


def test_subscription_at_rest_is_in_the_way(live: Database) -> None:
    """The fence lets it pass, since it keeps the database; a copy has none, and would not go on to replicate."""
    databases.fence(live, R)
    behind = databases.must_be_fenced(live, R)
    made = databases.snapshot(behind, R, live=live.conninfo.dbname)
    at_rest = "CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE)"
    as_app(behind).execute(f"CREATE SUBSCRIPTION pap_test {at_rest}")
    with pytest.raises(Refused, match="subscription pap_test belongs to it and would not follow"):
        databases.swap(live, R, made.database)
    as_app(behind).execute("DROP SUBSCRIPTION pap_test")
    assert databases.swap(live, R, made.database).swapped


def test_dropping_is_limited_to_ours(server: Server, live: Database) -> None:
    name = live.conninfo.dbname
    for foreign in (f"{name}__scratch_x", f"{name}__failed_y", f"{name}__snap_z"):
        server.sql(f'CREATE DATABASE "{foreign}"')
    server.sql(f"COMMENT ON DATABASE \"{name}__failed_y\" IS 'pap-deploy was here'")
    mine = databases.create_empty(live, R).conninfo.dbname
    assert databases.cleanup_leftovers(live) == [mine]
    for release in ("x", "y", "z"):
        assert databases.drop_created(live, release, ["scratch", "failed", "snap", "restored"]) == []
    assert {f"{name}__scratch_x", f"{name}__failed_y", f"{name}__snap_z"} <= names(server)


def test_unclaimed_that_was_never_recorded_is_cleared(server: Server, live: Database) -> None:
    """A kill between CREATE DATABASE and its record: no session can have been in it."""
    name = f"{live.conninfo.dbname}__scratch_{R}"
    unclaimed = f'CREATE DATABASE "{name}" TEMPLATE template0 ALLOW_CONNECTIONS false CONNECTION LIMIT 4711'
    server.sql(unclaimed)
    with pytest.raises(Refused, match="pap-deploy did not make it"):
        databases.create_empty(live, R)  # the look of one is not enough
    assert databases.cleanup_leftovers(live) == []
    live.registry.intend(name, "scratch", R)
    assert databases.create_empty(live, R).conninfo.dbname == name
    server.drop(name)
    live.registry.intend(name, "scratch", R)
    server.sql(unclaimed)
    assert databases.cleanup_leftovers(live) == [name]


def test_snapshots_of_older_releases_go_when_a_release_has_finished(
    server: Server, live: Database, tmp_path: Path
) -> None:
    name = live.conninfo.dbname
    for release in ("r1", "r2"):
        databases.fence(live, release)
        databases.snapshot(databases.must_be_fenced(live, release), release, live=name)
        databases.unfence(live, release)
    assert databases.cleanup_leftovers(live) == [], "that is for retention to decide"
    stack = Stack("st", "staging", State(tmp_path / "state"), live, FakeApi(), (), {})
    private_folder(stack.state.folder)
    for release, end in (("r1", "finished"), ("r2", "rolled_back")):
        journal = Journal(private_folder(private_folder(stack.state.releases_folder) / release))
        journal.append("release", "begin", release=release, number=int(release[1:]))
        journal.append("restore_point", "done", database=f"{name}__snap_{release}")
        journal.append("release", end, **({"strategy": "image"} if release == "r2" else {}))
    assert retention.superseded(stack, (), "r1").lines == [], "in force, and one whose image alone went back"
    journal.append("release", "finished")
    server.sql(f'ALTER DATABASE "{name}__snap_r1" IS_TEMPLATE true')
    assert retention.superseded(stack, (), "r2").lines == []
    server.sql(f'ALTER DATABASE "{name}__snap_r1" IS_TEMPLATE false')
    assert retention.superseded(stack, ("r1",), "r2").lines == [], "held"
    (line,) = retention.superseded(stack, (), "r2").lines
    assert line.startswith(f"removed {name}__snap_r1 (") and "a later one has finished" in line
    assert [entry.name for entry in databases.existing(live)] == [f"{name}__snap_r2"]


def test_failed_databases_go_by_days_only_without_rows_of_their_own(
    live: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Announced, then dropped; but never while it holds rows that nothing else has, or an unknown number of them."""
    stack = Stack("st", "staging", State(tmp_path / "state"), live, FakeApi(), (), {})
    journal = stack.state.begin(Run(user="u", host="h", pid=os.getpid()))
    release, name = journal.release, live.conninfo.dbname
    databases.fence(live, release)
    made = databases.snapshot(databases.must_be_fenced(live, release), release, live=name)
    databases.swap(live, release, made.database)
    failed = databases.derived(name, "failed", release)
    clock = time.time()
    monkeypatch.setattr(retention, "now", lambda: from_epoch(clock))

    def run(days: float) -> list[str]:
        return list(retention.apply(stack, Settings(keep_failed_days=days), (), run="manual-1").lines)

    def said(word: str, lines: list[str]) -> bool:
        return any(failed in line and word in line for line in lines)

    assert not any(failed in line for line in run(1)), "the release is unfinished"
    journal.append("release", "rolled_back", strategy="swap")
    clock += 40 * 86400
    for _ in range(2):
        assert run(1) == []
    assert said("holds an unknown number of rows", retention.forecast(stack, Settings(keep_failed_days=1), ()))
    journal.append("rollback.swap", "done", writes=write_snapshot.writes(live.named(failed)))
    for rows, certain in ((7, True), (0, False)):
        journal.append("rollback", "counted", rows_lost=rows, cost_certain=certain)
        journal.append("rollback", "done", kept=failed, strategy="swap", rows_lost=rows)
        journal.append("release", "rolled_back", strategy="swap")
        assert run(1) == run(1) == []
    assert {entry.name for entry in databases.existing(live)} == {failed}
    journal.append("rollback", "counted", rows_lost=0, cost_certain=True)
    as_app(live.named(failed)).execute("INSERT INTO t (v) VALUES ('written by a person')")
    assert run(1) == run(1) == []
    assert said(
        "holds 1 row or other change that nothing else has", retention.forecast(stack, Settings(keep_failed_days=1), ())
    )
    journal.append("rollback.swap", "done", writes=write_snapshot.writes(live.named(failed)))
    assert run(0) == run(0) == [], "with 0 days a person drops it"
    assert said("goes with the next backup", run(1)), "announced first"
    assert said("removed ", run(1))
    assert databases.existing(live) == []


def test_a_person_drops_what_is_over_and_nothing_that_a_rollback_could_need(
    server: Server, live: Database, tmp_path: Path
) -> None:
    name = live.conninfo.dbname
    stack = Stack("st", "staging", State(tmp_path / "state"), live, FakeApi(), (), {})
    me = Run(user="u", host="h", pid=os.getpid())
    made = {}
    for end in ("rolled_back", "finished", "failed"):
        journal = stack.state.begin(me)
        databases.fence(live, journal.release)
        behind = databases.must_be_fenced(live, journal.release)
        made[end] = databases.snapshot(behind, journal.release, live=name).database
        if end == "failed":
            databases.swap(live, journal.release, made[end])
            made[end] = databases.derived(name, "failed", journal.release)
            with pytest.raises(Refused, match="Another run holds this stack"):
                cleanup.run(stack, "", me)
            stack.state.lock.release(journal.release)  # it was killed
            with pytest.raises(Refused, match="is unfinished, and may still need what was kept"):
                cleanup.run(stack, "", me)
        else:
            databases.unfence(live, journal.release)
            stack.state.lock.release(journal.release)
        journal.append("release", "finished" if end == "finished" else "rolled_back")
    for check_mode in (True, False):
        found = cleanup.run(stack, "", me, check_mode=check_mode)
        assert found.dropped == [made["rolled_back"]]
        assert any("holds an unknown number of rows" in line and made["failed"] in line for line in found.pap.lines)
        left = {entry.name for entry in databases.existing(live)}
        assert left == (set(made.values()) if check_mode else {made["finished"], made["failed"]})
    with psycopg2.connect(server.url(made["failed"], "postgresql")) as looking:
        found = cleanup.run(stack, journal.release, me)
        assert not found.changed and "a session is connected to it" in found.pap.lines[0]
        with looking.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,), "no session was ended"
    looking.close()
    wait_until(lambda: not server.sql(f"SELECT 1 FROM pg_stat_activity WHERE datname = '{made['failed']}'"))
    assert cleanup.run(stack, journal.release, me).dropped == [made["failed"]]
    assert stack.state.lock.holder() is None
    assert not cleanup.run(stack, "", me).changed


WRITES = {
    "insert": ("INSERT INTO t (v) VALUES ('n')", Wrote(1, 0)),
    "update": ("UPDATE t SET v = 'u' WHERE id < 4", Wrote(3, 0)),
    "delete": ("DELETE FROM t WHERE id < 6", Wrote(0, 5)),
    "insert and delete": ("INSERT INTO t (v) VALUES ('n'); DELETE FROM t WHERE v = 'n'", Wrote(0, 1)),
    "truncate": ("TRUNCATE t", Wrote(0, 0, emptied=True)),
    "rolled back": ("BEGIN; INSERT INTO t (v) VALUES ('n'); ROLLBACK", None),
    "rolled back deletion": ("BEGIN; DELETE FROM t WHERE id < 3; ROLLBACK", Wrote(0, 2)),
    "read": ("SELECT count(*) FROM t", None),
    "vacuum": ("VACUUM FREEZE t", None),
}


@pytest.mark.parametrize("case", WRITES)
def test_written_since(live: Database, case: str) -> None:
    statement, expected = WRITES[case]
    with live.session() as session:
        mark = write_snapshot.take(session)
    as_app(live).execute(statement)
    time.sleep(0.05)
    found = databases.written_since(live, mark)
    assert found.certain
    assert found.tables.get("public.t") == expected
    # A number that a sequence gave to what was rolled back does not come back.
    assert bool(found.besides) is ("INSERT" in statement)
    assert found.nothing is (expected is None and not found.besides)


def test_written_by_a_transaction_that_was_open_at_the_mark(server: Server, live: Database) -> None:
    name = live.conninfo.dbname
    writer = server.connect(name)
    writer.autocommit = False
    writer.cursor().execute("INSERT INTO t (v) VALUES ('open')")
    server.sql("INSERT INTO t (v) VALUES ('before')", name)
    with live.session() as session:
        mark = write_snapshot.take(session)
    writer.commit()
    writer.close()
    server.sql("INSERT INTO t (v) VALUES ('after')", name)
    assert databases.written_since(live, mark).tables["public.t"].rows == 2


def test_open_session_may_hold_its_counters_back(live: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    as_app(live).execute("CREATE TABLE idle AS SELECT 1")
    with as_app(live).session() as writer:
        writer.execute("INSERT INTO t (v) VALUES ('hands its counters over')")
        with live.session() as session:
            mark = write_snapshot.take(session)
        assert databases.written_since(live, mark).so_far
        writer.execute("INSERT INTO t (v) VALUES ('keeps them for a second')")
        found = databases.written_since(live, mark)
        assert found.tables["public.t"].rows == 1
        assert "so far: a session is open" in found.sentence()
        with monkeypatch.context() as patch:
            patch.setattr(write_snapshot, "LOOK_BYTES", 0)
            found = databases.written_since(live, mark)
        assert "large or locked" in found.so_far
        assert not found.nothing
        with as_app(live).session() as locker:
            locker.execute("BEGIN; LOCK TABLE idle")
            assert "what went into 1 large or locked table," in databases.written_since(live, mark).so_far
    found = databases.written_since(live, mark)
    assert (found.tables["public.t"].rows, found.so_far) == (1, "")


def test_new_and_dropped_tables_count(live: Database) -> None:
    with live.session() as session:
        mark = write_snapshot.take(session)
    as_app(live).execute("CREATE TABLE n AS SELECT 1; DROP TABLE t")
    found = databases.written_since(live, mark)
    assert found.tables["public.n"].rows == 1
    assert found.tables["public.t"].emptied is True


@pytest.mark.parametrize("kind", ["auto", "backup", "dump", "snapshot"])
@pytest.mark.parametrize("written", [False, True], ids=["idle", "written"])
def test_restore_point(live: Database, tmp_path: Path, kind: str, written: bool) -> None:
    name = live.conninfo.dbname
    taken = backup.take(live, folder_of(tmp_path), stack="st", release=R)
    if written:
        as_app(live).execute("DELETE FROM t WHERE id = 1")
    databases.fence(live, R)
    behind = databases.must_be_fenced(live, R)

    def make() -> RestorePoint:
        return restore_point.make(
            behind, R, live=name, backup=str(taken.path), kind=kind, stack="st", folder=folder_of(tmp_path)
        )

    if kind == "backup" and written:
        with pytest.raises(Refused, match=r"written since the backup: public.t: 0 written, up to 1 deleted"):
            make()
        return
    point = make()
    snapshot = kind == "snapshot" or (kind == "auto" and written)
    assert point.kind == ("snapshot" if snapshot else "backup")
    if kind == "dump" or point.kind == "snapshot":
        assert point.path != str(taken.path)
    else:
        assert "hashed again under the fence and is equal (1 table, 99 rows)" in point.sentence
    assert point.mark and point.mark.tables


def test_change_that_no_counter_shows_is_found_by_the_hash(live: Database, tmp_path: Path) -> None:
    """A superuser who wrote with its counters off: the quick look sees nothing, the hash does."""
    taken = backup.take(live, folder_of(tmp_path), stack="st", release=R)
    as_app(live).execute("SET track_counts = off; DELETE FROM t WHERE id = 7")
    databases.fence(live, R)
    behind = databases.must_be_fenced(live, R)
    assert databases.written_since(behind, taken.manifest.mark).nothing
    with pytest.raises(Refused, match=r"is not what was backed up: table public.t has 98 rows, 99 before"):
        restore_point.make(behind, R, live=live.conninfo.dbname, backup=str(taken.path), kind="backup")
