"""Kill the rollback at every SQL statement, again and again: the next run goes on, and the end is the old content."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from papdeploy import databases
from papdeploy.databases import content_digest
from papdeploy.databases.managed_names import admin_session
from papdeploy.databases.psql import Database
from papdeploy.releases.version import Version
from support.app_session import as_app
from support.backup import FakeApi, database_of, folder_of, forget, run_and_die
from support.rollback import SMALL, SMALL_DOWN, SMALL_UP, R, Release, deploy
from support.waiting import wait_until

if TYPE_CHECKING:
    from support.postgres_servers import Server

OF_THE_RELEASE = f"application_name = 'pap-deploy:{R}'"


@pytest.fixture
def live(servers: dict[int, Server]) -> Iterator[Database]:
    server = servers[18]
    name = server.create("kill")
    database = database_of(server, name)
    as_app(database).execute(SMALL)
    yield database
    forget(server, name)


class FileApi(FakeApi):
    """Remembers in a file which version runs, as the real ones do: the process that asks may be killed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        path.write_text("new")

    def running(self) -> Version:
        label = self.path.read_text()
        return Version(label, label)

    def switch(self, version: Version) -> None:
        self.path.write_text(version.label)


@pytest.mark.parametrize("every", [pytest.param(4, marks=pytest.mark.nightly), 19], ids="every {}th".format)
@pytest.mark.parametrize("in_flight", [False, True], ids=["before", "in-flight"])
@pytest.mark.parametrize(
    ("kind", "down"),
    [("snapshot", ""), ("backup", ""), ("snapshot", SMALL_DOWN)],
    ids=["swap", "restore", "downgrade"],
)
def test_killed_at_every_statement(
    live: Database, tmp_path: Path, kind: str, down: str, in_flight: bool, every: int
) -> None:
    release = deploy(live, folder_of(tmp_path), kind=kind, up=SMALL_UP, down=down)
    migrated = content_digest.take(live)
    release.api = FileApi(tmp_path / "current")
    kills = 0
    # Each run goes on from where the last one was killed. The first statements only ask; all steps are hit by and by.
    for after in range(11 + in_flight, 400, every):
        if run_and_die(lambda: release.roll_back(accept_data_loss=True), after, in_flight=in_flight):
            break
        kills += 1
        _one_of_three(release, migrated)
    else:
        pytest.fail("it never came to its end")
    assert kills >= 5
    content = content_digest.take(live)
    assert content_digest.compare(release.before, content, ignore_schemas=("pap_deploy",), positions=False) == []
    assert release.api.running().label == "old"
    assert databases.fence_state(live) is None
    if not down:
        aside = live.named(databases.derived(live.conninfo.dbname, "failed", R))
        assert content_digest.compare(migrated, content_digest.take(aside)) == []
    databases.cleanup_leftovers(live)
    assert {entry.kind for entry in databases.existing(live)} <= {"failed", "snap"}


def _one_of_three(release: Release, migrated: content_digest.ContentDigest) -> None:
    """After a kill, exactly one whole content is reachable: under the live name, or behind the fence."""
    live = release.database
    # The statement that was in flight ends after its client; which of the contents is reachable is decided then.
    with admin_session(live) as session:
        wait_until(lambda: session.scalar(f"SELECT count(*) AS n FROM pg_stat_activity WHERE {OF_THE_RELEASE}") == 0)
    state = databases.fence_state(live)
    where = live.named(state.database) if state else live
    found = content_digest.take(where)
    options: dict[str, Any] = {"ignore_schemas": ("pap_deploy",), "positions": False}
    assert [] in (
        content_digest.compare(release.before, found, **options),
        content_digest.compare(migrated, found, **options),
    )


def test_writers_all_the_time(servers: dict[int, Server], live: Database, tmp_path: Path) -> None:
    """Writers keep trying through deploy and rollback and remember every acknowledged id: each of them is in the
    database afterwards or in the one that was quarantined, and those are the ones that were counted."""
    server, name = servers[18], live.conninfo.dbname
    stop = threading.Event()
    acknowledged: list[int] = []
    lock = threading.Lock()

    def write() -> None:
        while not stop.is_set():
            try:
                connection = server.connect(name)
                cursor = connection.cursor()
                while not stop.is_set():
                    cursor.execute("INSERT INTO t (v) VALUES ('user') RETURNING id")
                    with lock:
                        acknowledged.append(cursor.fetchone()[0])
                    time.sleep(0.002)
            except psycopg2.Error:
                time.sleep(0.01)

    def more() -> None:
        """Until some more rows were acknowledged."""
        enough = len(acknowledged) + 20
        wait_until(lambda: len(acknowledged) >= enough, "no row is acknowledged", seconds=60)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    try:
        more()
        release = deploy(live, folder_of(tmp_path), kind="auto", up=SMALL_UP)
        more()
        plan = release.choose()
        assert "written" in plan.refused
        result = release.roll_back(accept_data_loss=True)
        more()
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert release.facts["restore_point"]["kind"] == "snapshot", "something was written since the backup"
    now = {row[0] for row in server.sql("SELECT id FROM t", name)}
    aside = {row[0] for row in server.sql("SELECT id FROM t", result["kept"])}
    users_aside = {row[0] for row in server.sql("SELECT id FROM t WHERE v = 'user'", result["kept"])}
    assert set(acknowledged) <= now | aside
    snapshot_time = set(acknowledged) & now & aside
    lost = [number for number in users_aside if number not in snapshot_time]
    assert lost
    assert result["rows_lost"] == result["cost"]["public.t"]["rows"] >= len(set(lost) - now)
    assert max(now) > 300
