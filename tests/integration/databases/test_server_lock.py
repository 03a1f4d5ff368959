"""The lock on the server: one stack at a time works on a database, and a run that was taken over commits nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest
from papdeploy import databases
from papdeploy.core.errors import Refused, TakenOver
from papdeploy.core.processes import Place, Process
from papdeploy.databases.psql import Database
from papdeploy.migrations import files
from papdeploy.migrations.options import RunOptions
from papdeploy.migrations.run import advisory_lock as migration_lock
from papdeploy.migrations.run import apply
from papdeploy.releases import lock, server_lock
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run
from papdeploy.releases.server_lock import ServerLock
from psycopg2 import extras
from support.backup import database_of, forget
from support.waiting import wait_until

if TYPE_CHECKING:
    from support.postgres_servers import Server

ELSEWHERE = Run(user="you", host="elsewhere", pid=1)
OTHER = Run(user="bob", host="other", pid=2)
MIGRATION = '"""One."""\n\n\ndef upgrade(db):\n    db.execute("CREATE TABLE made (a int)")\n'
WITHOUT = MIGRATION.replace("\n\n\ndef", "\n\ntransactional = False\n\n\ndef")


class Bench:
    """One live database, and stacks that call it theirs, each with a state folder of its own."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.live: Database = database_of(server, server.create("locked"))
        self.states: list[State] = []

    def stack(self, name: str, who: Run, database: Database | None = None) -> State:
        server = ServerLock(database or self.live)
        self.states.append(State(self.folder / name, run=who, stack=name, server=server))
        return self.states[-1]

    def sessions(self, pattern: str = "pap-deploy lock %") -> list[int]:
        rows = self.server.sql(f"SELECT pid FROM pg_stat_activity WHERE application_name LIKE '{pattern}' ORDER BY 1")
        return [row[0] for row in rows]

    def end(self) -> None:
        for state in self.states:
            held = state.lock.holder() if state.folder.exists() else None
            if held:
                state.lock.by(held.run).release(held.release)
        forget(self.server, self.live.conninfo.dbname)


@pytest.fixture
def bench(servers: dict[int, Server], tmp_path: Path) -> Iterator[Bench]:
    made = Bench(servers[18], tmp_path)
    try:
        yield made
    finally:
        made.end()


def test_a_second_stack_on_the_same_database_is_refused_by_name(bench: Bench) -> None:
    """Also between two modules of the first, and while the fence has renamed the database; not on another database."""
    one, two = bench.stack("one", ELSEWHERE), bench.stack("two", OTHER)
    release = one.begin(ELSEWHERE).release
    says = rf"Another stack works on database {bench.live.conninfo.dbname}: release {release} of stack one"
    for entry in (lambda: two.begin(OTHER), two.lock.refuse_held, lambda: two.lock.take("x", take_over=True)):
        with pytest.raises(Refused, match=says) as caught:
            entry()
        assert "compare pap_db_name and pap_state_dir" in caught.value.hint
        assert two.lock.holder() is None, "who was refused holds nothing"
    databases.fence(bench.live, release)
    with pytest.raises(Refused, match=says), two.lock.alone("manual"):
        pass
    databases.unfence(bench.live, release)
    aside = bench.stack("three", OTHER, bench.live.named(f"{bench.live.conninfo.dbname}_another"))
    with aside.lock.alone("manual"):
        pass
    one.lock.release(release)
    with two.lock.alone("manual"), pytest.raises(Refused, match=r"release manual-\S+ of stack two"):
        one.lock.refuse_held()
    wait_until(lambda: not bench.sessions())


@pytest.mark.parametrize("waiting", [0, 2])
def test_a_role_that_can_be_no_stack_s_keeps_nobody_waiting(bench: Bench, waiting: int) -> None:
    """Anybody may take an advisory lock: the application's role could keep every deploy and rollback out by it."""
    bench.server.sql(
        "DO $d$ BEGIN CREATE ROLE pretender LOGIN PASSWORD 'pw'; EXCEPTION WHEN duplicate_object THEN END $d$"
    )
    taking = f"SELECT pg_advisory_lock({server_lock.CLASS}, {server_lock.key(bench.live.conninfo.dbname)})"
    at = bench.live.conninfo
    held = [
        psycopg2.connect(
            host=at.host, port=at.port, user="pretender", password="pw", dbname="postgres", async_=number > 0
        )
        for number in range(waiting + 1)
    ]
    for connection in held:
        if connection.async_:
            extras.wait_select(connection)
        connection.cursor().execute(taking)
    one = bench.stack("one", ELSEWHERE)
    one.lock.refuse_held()
    with one.lock.alone("manual"):
        assert len(bench.sessions()) == 1


def test_the_lock_is_held_until_the_run_is_proven_gone(bench: Bench) -> None:
    controller = subprocess.Popen(["sleep", "600"])
    here, start = Place.here(), Process.of(controller.pid).start
    who = Run(user="me", host=here.host, pid=controller.pid, start=start, boot=here.boot, pidns=here.pidns)
    one, two = bench.stack("one", who), bench.stack("two", OTHER)
    one.begin(who)
    (keeper,) = bench.sessions()
    with pytest.raises(Refused):
        two.lock.refuse_held()
    assert bench.sessions() == [keeper]
    controller.kill()
    controller.wait()
    wait_until(lambda: not bench.sessions())
    two.lock.refuse_held()


@pytest.mark.parametrize("how", ["its process is killed", "its session is ended"])
def test_a_keeper_that_was_ended_is_followed_by_another(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(lock, "_LOOK_S", 0.05)
    one = bench.stack("one", ELSEWHERE)
    release = one.begin(ELSEWHERE).release
    (before,) = bench.sessions()
    with one.working(release):
        if "process" in how:
            keeper = one.lock.holder().keeper
            os.kill(keeper.pid, 9)
            wait_until(lambda: one.lock.holder().keeper not in (None, keeper))
        else:
            bench.server.sql(f"SELECT pg_terminate_backend({before})")
        wait_until(lambda: bench.sessions() not in ([], [before]))
    one.lock.release(release)
    wait_until(lambda: not bench.sessions())


def test_a_lock_that_was_removed_by_hand_comes_back(bench: Bench) -> None:
    """Beside a run that lives: in a module and between two, and for a second run that comes in that moment."""
    one, two = (
        bench.stack("one", ELSEWHERE),
        State(bench.folder / "one", run=OTHER, stack="one", server=ServerLock(bench.live)),
    )
    release = one.begin(ELSEWHERE).release
    before = one.lock.holder()
    wait_until(lambda: bench.sessions())
    for come in (two.lock.refuse_held, lambda: two.lock.take("manual-1"), lambda: two.begin(OTHER)):
        (one.folder / "lock.json").unlink()
        with pytest.raises(Refused, match=f"Another run holds this stack: {release} of one, started by you@elsewhere"):
            come()
    (one.folder / "lock.json").unlink()
    with one.working(release):
        (one.folder / "lock.json").unlink()
        one.lock.confirm(release)
    assert one.lock.holder().token == before.token
    (one.folder / "lock.json").unlink()
    two.lock.take("manual-2", take_over=True)
    with pytest.raises(TakenOver), one.working(release):
        pass
    two.lock.release("manual-2")
    wait_until(lambda: not bench.sessions())
    assert not (one.folder / "lock.json").exists(), "who gives it back is not contradicted"


def test_a_take_over_ends_the_sessions_of_the_old_run(bench: Bench) -> None:
    old, new = bench.stack("one", ELSEWHERE), bench.stack("one", OTHER)
    release = old.begin(ELSEWHERE).release
    names = (f"pap-deploy:{release}", f"pap-deploy:{release}:1234abcd")
    working = [bench.live.named(bench.live.conninfo.dbname).as_release(release)]
    connections = [
        psycopg2.connect(bench.server.url(bench.live.conninfo.dbname, "postgresql"), application_name=name)
        for name in (*names, "another_client", f"pap-deploy:{release}x")
    ]
    assert len(new.lock.server.sessions(release)) == 2 and working
    held = old.lock.holder()
    (old.folder / "lock.json").write_text((old.folder / "lock.json").read_text().replace(str(held.renewed_s), "1.0"))
    with pytest.raises(Refused, match=r"the server has a session of it \(pid \d+\)"):
        new.lock.take(release)
    new.lock.take(release, take_over=True)
    assert new.lock.server.sessions(release) == []
    for connection, ended in zip(connections, (True, True, False, False)):
        cursor = connection.cursor()
        if ended:
            with pytest.raises(psycopg2.OperationalError):
                cursor.execute("SELECT 1")
        else:
            cursor.execute("SELECT 1")
        connection.close()
    assert new.lock.guard(release) != old.lock.server.name_of(held)
    assert len(bench.sessions()) == 1, "the lock of the old run went to the new one"


@pytest.mark.parametrize("source", [MIGRATION, WITHOUT], ids=["in a transaction", "without one"])
def test_a_run_that_was_taken_over_commits_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Asked of the server by the migrating session itself, with the rights of an application's role."""
    monkeypatch.setattr(migration_lock, "KEEPER_S", 0.5)
    name = bench.live.conninfo.dbname
    bench.server.sql("DROP ROLE IF EXISTS plain")
    bench.server.sql("CREATE ROLE plain LOGIN PASSWORD 'plain'")
    bench.server.sql(f'GRANT ALL ON DATABASE "{name}" TO plain')
    bench.server.sql("GRANT ALL ON SCHEMA public TO plain", name)
    url = f"postgresql://plain:plain@{bench.server.host}:{bench.server.port}/{name}"
    old, new = bench.stack("one", ELSEWHERE), bench.stack("one", OTHER)
    release = old.begin(ELSEWHERE).release
    options = RunOptions(guard=old.lock.guard(release))
    migrations = files.load_sources({"2026_01_01_one.py": source})

    new.lock.take(release, take_over=True)
    with pytest.raises(Refused, match="another run has taken the stack over"):
        apply.apply(url, migrations, release=release, options=options)
    assert bench.server.sql("SELECT to_regclass('made')", name) == [(None,)]

    options = RunOptions(guard=new.lock.guard(release))
    assert apply.apply(url, migrations, release=release, options=options).applied
    assert bench.server.sql("SELECT to_regclass('made')", name) == [("made",)]
    new.lock.release(release)
    bench.server.sql("DROP OWNED BY plain CASCADE", name)
    bench.server.sql("DROP ROLE plain")
