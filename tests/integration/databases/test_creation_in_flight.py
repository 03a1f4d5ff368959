"""A CREATE DATABASE outlives the client that sent it: the next run neither meets its name as a duplicate nor waits for it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest
from papdeploy import backup, databases
from papdeploy.backup import by_hand
from papdeploy.core.errors import Refused
from papdeploy.databases import lifecycle
from papdeploy.databases.psql import Database
from support.app_session import as_app
from support.backup import database_of, forget
from support.waiting import wait_until

if TYPE_CHECKING:
    from support.postgres_servers import Server

pytestmark = pytest.mark.every_version
R = "r1"


@pytest.fixture
def live(server: Server) -> Iterator[Database]:
    name = server.create("flight")
    database = database_of(server, name)
    as_app(database).execute("CREATE TABLE t (v text)")
    yield database
    forget(server, name)


class Creation:
    """A CREATE DATABASE that has taken its name and goes no further, because the checkpointer sleeps."""

    def __init__(self, server: Server, name: str, application: str) -> None:
        self.server, self.name, self.error = server, name, ""
        self.checkpointer = server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")[0][0]
        self.connection = server.connect()
        self.pid = self.connection.get_backend_pid()
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT set_config('application_name', %s, false)", [application])
        self.thread = threading.Thread(target=self._create)

    def _create(self) -> None:
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(f'CREATE DATABASE "{self.name}" TEMPLATE template0 STRATEGY file_copy')
        except psycopg2.Error as error:
            self.error = str(error)

    def under_way(self) -> bool:
        """It has written its row, which is not visible yet."""
        row = self.server.sql(f"SELECT backend_xid IS NOT NULL FROM pg_stat_activity WHERE pid = {self.pid}")
        return bool(row and row[0][0])

    def gone(self) -> bool:
        return self.server.sql(f"SELECT 1 FROM pg_stat_activity WHERE pid = {self.pid} AND state = 'active'") == []

    def waited_for(self) -> bool:
        return self.server.sql("SELECT 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted") != []

    def wake(self) -> None:
        os.kill(self.checkpointer, signal.SIGCONT)


@contextlib.contextmanager
def creation(server: Server, name: str, application: str) -> Iterator[Creation]:
    made = Creation(server, name, application)
    os.kill(made.checkpointer, signal.SIGSTOP)
    try:
        made.thread.start()
        wait_until(made.under_way, "the name was not taken")
        yield made
    finally:
        made.wake()
        made.thread.join(30)
        made.connection.close()
        server.drop(name)


@contextlib.contextmanager
def waking(old: Creation, condition: Callable[[], object]) -> Iterator[None]:
    """The checkpointer wakes as soon as ``condition`` is true while the block works, or after a while: nothing hangs."""

    def wake() -> None:
        with contextlib.suppress(AssertionError):
            wait_until(condition)
        old.wake()

    thread = threading.Thread(target=wake)
    thread.start()
    try:
        yield
    finally:
        thread.join(40)


@pytest.mark.parametrize("kind", ["scratch", "snap"])
def test_what_a_killed_run_still_creates_is_ended(server: Server, live: Database, kind: str) -> None:
    name = live.conninfo.dbname
    taken = lifecycle.derived(name, kind, R)
    if kind == "snap":
        databases.fence(live, R)
    with creation(server, taken, f"pap-deploy:{R}") as old, waking(old, old.gone):
        if kind == "scratch":
            assert databases.create_empty(live, R).conninfo.dbname == taken
        else:
            assert databases.snapshot(databases.must_be_fenced(live, R), R, live=name).database == taken
        old.thread.join(30)
        assert old.error, "it was ended"
        assert server.sql(f"SELECT count(*) FROM pg_database WHERE datname = '{taken}'") == [(1,)]
    databases.cleanup_leftovers(live)


def test_a_foreign_create_database_is_left_alone_and_named(server: Server, live: Database) -> None:
    taken = lifecycle.derived(live.conninfo.dbname, "scratch", R)

    with creation(server, taken, "psql") as other, waking(other, other.waited_for):
        with pytest.raises(Refused, match=f"A database named {taken} exists, and pap-deploy did not make it"):
            databases.create_empty(live, R)
        other.thread.join(30)
        assert other.error == ""


def test_a_restore_by_hand_meets_another_of_the_same_name(server: Server, live: Database, tmp_path: Path) -> None:
    taken = backup.take(live, tmp_path / "b", stack="st", release=R)

    with creation(server, "by_hand_twice", "pap-deploy:cli") as other, waking(other, other.waited_for):
        with pytest.raises(Refused, match="There is a database by_hand_twice already"):
            by_hand.rebuild(live, taken.path, "by_hand_twice")
        other.thread.join(30)
        assert other.error == "", "it may be another person's restore, which goes on"
