"""The watch over the live database: what was lost since the look before, and when it does not look."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from papdeploy.core.durable import private_folder, write_durably
from papdeploy.core.records import as_object
from papdeploy.databases import relation_baseline, relation_losses, write_snapshot
from papdeploy.logwatch import data_rules, looks, process, rules
from papdeploy.logwatch.confidential import Confidential
from papdeploy.logwatch.sources import LogSpec
from papdeploy.logwatch.state import Rules, WatchState
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run
from support.backup import database_of, forget
from support.waiting import wait_until

if TYPE_CHECKING:
    from papdeploy.databases.psql import Session
    from support.postgres_servers import Server

SETUP = """
CREATE TABLE policies (id serial PRIMARY KEY, name text);
INSERT INTO policies (name) SELECT 'p' FROM generate_series(1, 1000);
CREATE TABLE one (k int); INSERT INTO one VALUES (1);
CREATE TABLE declared (k int); INSERT INTO declared SELECT generate_series(1, 100);
"""


class Watched:
    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.name = server.create("watched")
        self.database = database_of(server, self.name)
        server.sql(SETUP, self.name)
        self.state = State(private_folder(folder / "state"))
        self.journal = self.state.begin(Run(user="t", host="h", pid=1))
        log = folder / "api.log"
        log.write_text("")
        spec = data_rules.spec_of(self.database, ["declared"], "staging")
        process.prepare(
            self.journal.folder,
            {"api": LogSpec(files=(str(log),))},
            hours=1,
            interval_s=1,
            rules=Rules(),
            database=spec,
        )
        self.quiet()
        with self.database.session() as session:
            baseline = relation_baseline.take(session)
        write_durably(self.journal.folder / "data.json", json.dumps(as_object(baseline)).encode())

    def quiet(self) -> None:
        wait_until(lambda: self.server.sql(write_snapshot.OTHERS, self.name) == [(0,)], "a session is still there")

    def step(self, statement: str = "") -> list[str]:
        """The alarms that a step of the watch adds after ``statement``."""
        before = len(self.load().alarms)
        if statement:
            self.server.sql(statement, self.name)
            self.quiet()
        known = Confidential(database_password=self.server.password)
        return [alarm.why for alarm in process.one_step(self.journal.folder, known).alarms[before:]]

    def load(self) -> WatchState:
        state = rules.load(self.journal.folder)
        assert state is not None
        return state


@pytest.fixture
def watched(servers: dict[int, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(data_rules, "period_s", lambda _: 0.0)
    made = Watched(servers[18], tmp_path)
    yield made
    forget(servers[18], made.name)


def test_ordinary_deletes_are_no_alarm_but_a_bulk_loss_is(watched: Watched) -> None:
    assert watched.step() == []
    assert watched.step("INSERT INTO policies (name) VALUES ('x'); UPDATE policies SET name = 'y'") == []
    for place in range(3):  # a tenth of the table each: as users may, look after look
        assert watched.step(f"DELETE FROM policies WHERE id BETWEEN {place * 100 + 1} AND {place * 100 + 100}") == []
    (told,) = watched.step("DELETE FROM policies WHERE id BETWEEN 301 AND 401")
    assert told.startswith("data was lost: ") and "101 rows of public.policies were deleted" in told
    assert watched.step() == [], "told once"
    assert watched.step("DELETE FROM declared") == []
    (told,) = watched.step("TRUNCATE one")
    assert "public.one was truncated (1 row before, 0 now)" in told
    anew = watched.step("DROP TABLE policies; CREATE TABLE policies (id serial PRIMARY KEY, name text)")
    assert anew == ["data was lost: public.policies was dropped and created anew (1,000 rows before, 0 now)"]
    status = rules.status(watched.journal.folder)
    assert status.state == "alarm" and not status.ok and status.alarms[0].kind == data_rules.KIND


@pytest.mark.parametrize("between_statements", [False, True])
def test_a_server_that_hangs_within_a_comparison_is_not_waited_for(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, between_statements: bool
) -> None:
    """The look at the server was answered; after it the server answers nothing any more, or the time is over while
    nothing is asked."""

    def counters(session: Session) -> object:
        time.sleep(2 if between_statements else 0)
        return session.execute("SELECT pg_sleep(60)")

    monkeypatch.setattr(data_rules, "_PATIENCE_S", 1.0)
    monkeypatch.setattr(write_snapshot, "counters", counters)
    began = time.monotonic()
    assert watched.step() == []
    assert time.monotonic() - began < 15
    assert "did not answer within 1 s" in watched.load().blind["data"].message
    monkeypatch.undo()
    monkeypatch.setattr(data_rules, "period_s", lambda _: 0.0)
    watched.server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{watched.name}'")
    assert watched.step() == [] and "data" not in watched.load().blind


def compared(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many times the database was compared."""
    calls: list[Any] = []
    compare = relation_losses.compare
    monkeypatch.setattr(relation_losses, "compare", lambda *a, **b: calls.append(1) or compare(*a, **b))
    return lambda: len(calls)


def test_it_looks_once_a_minute_and_not_while_a_later_release_is_at_work(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = compared(watched, monkeypatch)
    monkeypatch.setattr(data_rules, "period_s", lambda _: 3600.0)
    watched.step()
    watched.step()
    assert count() == 1
    monkeypatch.setattr(data_rules, "period_s", lambda _: 0.0)
    watched.journal.append("release", "finished")
    watched.state.lock.release(watched.journal.release)
    later = watched.state.begin(Run(user="t", host="h", pid=1))
    assert watched.step("DROP TABLE one") == [] and count() == 1
    later.append("release", "refused")
    assert "public.one is gone" in watched.step()[0]


def test_a_database_that_does_not_answer_is_said_and_its_password_is_on_no_disk(watched: Watched) -> None:
    config = watched.journal.folder / "watch-config.json"
    assert watched.name in config.read_text() and watched.server.password not in config.read_text()
    watched.server.sql(f'ALTER DATABASE "{watched.name}" RENAME TO "{watched.name}_away"')
    assert watched.step() == []
    (told,) = watched.step()
    assert told == f'the database cannot be asked: database "{watched.name}" does not exist; 2 looks in a row'
    assert looks.read(watched.journal.folder)[-1].lost is None
    watched.server.sql(f'ALTER DATABASE "{watched.name}_away" RENAME TO "{watched.name}"')
    assert watched.step() == [] and looks.read(watched.journal.folder)[-1].lost == 0
    (alarm,) = watched.load().alarms
    assert alarm.over and "(over since" in rules.status(watched.journal.folder).summary
    assert rules.reasons([alarm]) == []
