"""A look at real servers: connections that run out, a lock that is waited for, a standby that stops, a role without rights."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from papdeploy.core.clock import later, now
from papdeploy.logwatch import look_rules, look_server, looks
from papdeploy.logwatch.looks import Look
from papdeploy.logwatch.state import Rules
from support.backup import database_of
from support.postgres_servers import Server, _unprivileged, free_port
from support.waiting import wait_until

if TYPE_CHECKING:
    from papdeploy.databases.psql import Database


@dataclass
class Seen:
    """Looks at one server, a minute apart, however fast they follow."""

    database: Database
    looks: list[Look]
    before: Look

    @classmethod
    def of(cls, database: Database) -> Seen:
        first = look_server.look(database)
        assert first.server is not None, first
        return cls(database, [], Look(now(), server=first.server))

    def look(self, rules: Rules = Rules()) -> dict[str, look_rules.Verdict]:  # noqa: B008  (it is frozen)
        at = later(self.looks[-1].at if self.looks else self.before.at, 60)
        found = look_server.look(self.database)
        self.looks.append(Look(at, server=found.server, not_looked=found.not_looked))
        return {
            f"{each.kind} {each.subject}".strip(): each for each in look_rules.judge(self.looks, self.before, rules)
        }

    @property
    def told(self) -> list[str]:
        return looks.told(self.looks[-1])


def test_a_quiet_server_is_well_on_each_version(servers: dict[int, Server]) -> None:
    for server in servers.values():
        seen = Seen.of(database_of(server, "postgres"))
        assert [each for each in seen.look().values() if each.bad] == [], server.major
        assert f"of {server.sql('SHOW max_connections')[0][0]} connections" in seen.told[0]


def test_connections_that_run_out_are_counted_and_at_last_refused(servers: dict[int, Server]) -> None:
    server = servers[18]
    name = server.create("crowd")
    seen, held = Seen.of(database_of(server, name)), list[Any]()

    def connects() -> bool:
        try:
            held.append(server.connect(name))
        except psycopg2.OperationalError:
            return False
        return True

    try:
        while connects():
            pass
        held.pop().close()  # one is left for the look
        wait_until(lambda: look_server.look(seen.database).server is not None)
        assert seen.look()["connections"].bad is None
        verdict = seen.look()["connections"]
        assert verdict.bad and "of 60 connections of the server are in use, limit 54, before the deploy " in verdict.why
        assert verdict.why.endswith("; 2 looks in a row")
        wait_until(connects)  # the session of the look before may not be gone yet
        found = seen.look()
        assert seen.looks[-1].server is None and found["database"].bad is None
        verdict = seen.look()["database"]
        assert verdict.bad and "too many clients already" in verdict.why, verdict
        assert seen.told == ["not looked at: the database (sorry, too many clients already)"]
    finally:
        for connection in held:
            connection.close()
    wait_until(lambda: look_server.look(seen.database).server is not None)
    found = seen.look()
    assert found["connections"].bad is False and found["database"].bad is False


def test_who_waits_for_whom_is_said(servers: dict[int, Server]) -> None:
    for server in servers.values():
        name = server.create("waits")
        server.sql("CREATE TABLE t (id int)", name)
        seen = Seen.of(database_of(server, name))
        holder, waiter = server.connect(name), server.connect(name)
        try:
            holder.cursor().execute("SET application_name = 'etl'; BEGIN; LOCK TABLE t")
            waiter.cursor().execute("SET application_name = 'uvicorn'")
            process = subprocess.Popen(
                [server.bin_dir / "psql", server.url(name, "postgresql"), "-qc", "SELECT * FROM t"],
                env={"PGAPPNAME": "uvicorn"}, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            rules = Rules(wait_s=1, idle_s=1)
            wait_until(lambda: seen.look(rules)["wait"].bad)  # noqa: B023
            verdicts = seen.look(rules)
            assert (
                "a session waits for a lock for " in verdicts["wait"].why
                and "limit 1 s: uvicorn (" in verdicts["wait"].why
            )
            assert "waits for etl (process " in verdicts["wait"].why and "idle in transaction)" in verdicts["wait"].why
            assert verdicts["idle"].bad and "is idle in an open transaction for " in verdicts["idle"].why
        finally:
            holder.close()
            waiter.close()
        process.wait(20)
        found = seen.look(rules)
        assert (found["wait"].bad, found["idle"].bad) == (False, False)


def test_what_a_role_may_not_see_is_not_good(servers: dict[int, Server]) -> None:
    server = servers[18]
    name = server.create("modest")
    server.sql("CREATE ROLE modest LOGIN PASSWORD 'm'")
    try:
        database = database_of(server, name)
        modest = replace(database, conninfo=replace(database.conninfo, user="modest", password="m"))
        found = look_server.look(modest)
        assert found.server is not None and found.server.replicas is None and found.server.longest_wait_s is None
        (missed,) = found.not_looked
        assert missed.sentence == (
            "not looked at: waits, replicas and slots (role modest may not see other sessions:"
            " GRANT pg_monitor TO modest)"
        )
        server.sql("GRANT pg_monitor TO modest")
        assert look_server.look(modest).not_looked == ()
    finally:
        server.sql("DROP ROLE modest")


def test_a_server_that_hangs_is_not_waited_for(servers: dict[int, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_server, "_PATIENCE_S", 1.0)
    monkeypatch.setattr(look_server, "_QUERY", "SELECT pg_sleep(4);")
    began = time.monotonic()
    found = look_server.look(database_of(servers[18], "postgres"))
    assert found.server is None and found.not_looked[0].why == "it did not answer within 1 s"
    assert time.monotonic() - began < 4


@dataclass
class Standby:
    server: Server
    home: Path
    port: int

    def control(self, *words: str) -> None:
        subprocess.run(
            [self.server.bin_dir / "pg_ctl", "-D", self.home / "data", "-w", "-t", "60", *words], check=True,
            stdout=subprocess.DEVNULL, cwd="/", timeout=120, **_unprivileged(),
        )  # fmt: skip

    def start(self) -> None:
        options = (
            f"-p {self.port} -k {self.home} -c fsync=off -c max_prepared_transactions=5 -c listen_addresses=127.0.0.1"
        )
        self.control("-l", str(self.home / "log"), "-o", options, "start")

    def stop(self) -> None:
        self.control("-m", "immediate", "stop")


@pytest.fixture
def standby(servers: dict[int, Server]) -> Iterator[Standby]:
    server = servers[18]
    home = server.data.parent.with_name(f"{server.data.parent.name}-standby-{free_port()}")
    home.mkdir()
    person = _unprivileged()
    if person:
        os.chown(home, person["user"], person["group"])
    made = Standby(server, home, free_port())
    server.sql("SELECT pg_create_physical_replication_slot('standby1', true)")
    try:
        subprocess.run(
            [server.bin_dir / "pg_basebackup", "-D", home / "data", "-d",
             f"host={server.host} port={server.port} user={server.user} application_name=standby1", "-S", "standby1",
             "-R", "-X", "stream", "-c", "fast", "--no-sync"],
            check=True, env={"PGPASSWORD": server.password, "PATH": "/usr/bin:/bin"}, cwd="/", timeout=120,
            stdout=subprocess.DEVNULL, **person,
        )  # fmt: skip
        made.start()
        wait_until(lambda: server.sql("SELECT state FROM pg_stat_replication") == [("streaming",)])
        yield made
    finally:
        subprocess.run(
            [server.bin_dir / "pg_ctl", "-D", home / "data", "-m", "immediate", "stop"], cwd="/", check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, **person,
        )  # fmt: skip
        wait_until(lambda: server.sql("SELECT active FROM pg_replication_slots") == [(False,)])
        server.sql("SELECT pg_drop_replication_slot('standby1')")
        shutil.rmtree(home, ignore_errors=True)


def test_a_standby_that_stops_is_missed_with_its_slot_and_forgiven(standby: Standby) -> None:
    server = standby.server
    seen = Seen.of(database_of(server, "postgres"))
    assert seen.before.server and seen.before.server.replicas and seen.before.server.slots
    name = seen.before.server.replicas[0].name
    assert name.startswith("standby1") and seen.before.server.slots[0].active
    assert seen.look()[f"replica {name}"].bad is False and any(f"standby {name}" in line for line in seen.told)
    standby.stop()
    wait_until(lambda: server.sql("SELECT count(*) FROM pg_stat_replication") == [(0,)])
    found = [seen.look() for _ in range(6)]
    assert [each[f"replica {name}"].bad for each in found] == [None] * 5 + [True]
    assert found[-1][f"replica {name}"].why == f"the standby {name} is away for 5 min, limit 5 min"
    assert found[-1]["slot standby1"].bad
    assert found[-1]["slot standby1"].why.startswith("the replication slot standby1 has no reader and keeps ")
    assert "pg_drop_replication_slot('standby1')" in found[-1]["slot standby1"].advice
    assert "replica" in look_rules.INFRASTRUCTURE and "slot" in look_rules.INFRASTRUCTURE
    late = Seen.of(seen.database)  # for a deploy that begins now, the slot was dead before
    assert "slot standby1" not in late.look()
    assert look_rules.dead_before(late.before)[0].startswith(
        "before the deploy already, the replication slot standby1 has no reader"
    )
    standby.start()
    wait_until(lambda: server.sql("SELECT state FROM pg_stat_replication") == [("streaming",)])
    again = seen.look()
    assert (again[f"replica {name}"].bad, again["slot standby1"].bad) == (False, False)
