"""The fence: only the release can connect, superusers included; and it comes down by name, also after a crash."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from papdeploy import databases
from papdeploy.core.errors import PapError, Refused, Unavailable
from papdeploy.databases.psql import Database
from support.app_session import as_app
from support.backup import database_of, forget, make_roles, restart, run_and_die

if TYPE_CHECKING:
    from support.postgres_servers import Server

pytestmark = pytest.mark.every_version

R = "r1"


@pytest.fixture
def live(server: Server) -> Iterator[Database]:
    make_roles(server.sql)
    name = server.create("fence")
    server.sql(f'ALTER DATABASE "{name}" OWNER TO pap_owner')
    server.sql("ALTER ROLE pap_owner LOGIN PASSWORD 'pw'")
    database = database_of(server, name)
    as_app(database).execute("CREATE TABLE t (id serial, v text); INSERT INTO t (v) VALUES ('a')")
    as_app(database).execute("ALTER TABLE t OWNER TO pap_owner")
    yield database
    forget(server, name)


def connect(server: Server, name: str, user: str, password: str, **options: Any) -> Any:
    return psycopg2.connect(
        host=server.host, port=server.port, dbname=name, user=user, password=password, connect_timeout=5, **options
    )


def clients(server: Server) -> list[tuple[str, str]]:
    """The database's owner, a superuser as the app's role (as in containers), and a plain role."""
    return [("pap_owner", "pw"), (server.user, server.password), ("pap_reader", "pw")]


def test_everybody_is_out_and_the_release_is_in(server: Server, live: Database) -> None:
    name = live.conninfo.dbname
    pooled = [connect(server, name, *who) for who in clients(server)]  # a pooler holds its connections
    for connection in pooled:
        connection.cursor().execute("SELECT 1")
        connection.rollback()
    fenced = databases.fence(live, R)
    assert fenced.database == f"{name}__fenced_{R}"
    assert {entry.role for entry in fenced.ended} == {"pap_owner", "postgres", "pap_reader"}
    for connection in pooled:
        with pytest.raises(psycopg2.Error):
            connection.cursor().execute("INSERT INTO t (v) VALUES ('late')")
    for who in clients(server):
        with pytest.raises(psycopg2.OperationalError, match="does not exist"):
            connect(server, name, *who)
    behind = databases.must_be_fenced(live, R)
    as_app(behind).execute("INSERT INTO t (v) VALUES ('release')")
    owner = connect(server, fenced.database, "pap_owner", "pw", application_name=f"pap-deploy:{R}")
    owner.cursor().execute("INSERT INTO t (v) VALUES ('migration, as the app')")
    owner.commit()
    owner.close()
    lifted = databases.unfence(live, R)
    assert lifted.lifted is True
    assert lifted.mark.tables["public.t"].schema == "public"
    assert server.sql("SELECT v FROM t ORDER BY id", name) == [("a",), ("release",), ("migration, as the app",)]
    for who in clients(server):
        connect(server, name, *who).close()
    assert databases.unfence(live, R).lifted is False, "lifting twice is harmless"


def test_clients_that_hammer_do_not_get_in(server: Server, live: Database) -> None:
    """A container that restarts itself again and again, as superuser."""
    name = live.conninfo.dbname
    stop, written = threading.Event(), []

    def hammer(number: int) -> None:
        while not stop.is_set():
            try:
                connection = connect(server, name, *clients(server)[number % 2])
                with connection, connection.cursor() as cursor:
                    cursor.execute("INSERT INTO t (v) VALUES ('hammer') RETURNING id")
                    row = cursor.fetchone()[0]
                written.append(row)
                connection.close()
            except psycopg2.Error:
                time.sleep(0.002)

    threads = [threading.Thread(target=hammer, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.3)
        for _ in range(3):
            databases.fence(live, R, grace_s=0.2)
            behind = databases.must_be_fenced(live, R)
            first = as_app(behind).scalar("SELECT count(*) AS n FROM t")
            time.sleep(0.2)
            assert as_app(behind).scalar("SELECT count(*) AS n FROM t") == first
            databases.unfence(live, R)
            time.sleep(0.1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert written, "they did write while the fence was down"
    there = {row[0] for row in server.sql("SELECT id FROM t", name)}
    assert set(written) <= there, "every acknowledged row is there"


def test_running_transaction_gets_its_grace(server: Server, live: Database) -> None:
    name = live.conninfo.dbname
    writer = connect(server, name, "pap_owner", "pw")
    writer.cursor().execute("INSERT INTO t (v) VALUES ('in flight')")
    timer = threading.Timer(0.5, writer.commit)
    timer.start()
    databases.fence(live, R, grace_s=10)
    timer.join()
    behind = databases.must_be_fenced(live, R)
    assert as_app(behind).scalar("SELECT count(*) AS n FROM t WHERE v = 'in flight'") == 1


def test_settings_come_back_exactly(server: Server, live: Database) -> None:
    name = live.conninfo.dbname
    server.sql(f"COMMENT ON DATABASE \"{name}\" IS 'the customer''s own words'")
    server.sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT 9')
    server.sql(f"ALTER DATABASE \"{name}\" SET work_mem = '6MB'")
    server.sql(f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC')
    look = (
        "SELECT oid, datdba, datallowconn, datconnlimit, datacl::text, shobj_description(oid, 'pg_database'),"
        " (SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = d.oid)"
        f" FROM pg_database d WHERE datname = '{name}'"
    )
    before = server.sql(look)
    databases.fence(live, R)
    databases.unfence(live)
    assert server.sql(look) == before


def test_fence_again_converges_and_another_release_is_refused(live: Database) -> None:
    first = databases.fence(live, R)
    again = databases.fence(live, R)
    assert (again.database, again.since, again.before) == (first.database, first.since, first.before)
    with pytest.raises(Refused, match=f"behind the fence of release {R}"):
        databases.fence(live, "r2")
    with pytest.raises(Refused, match=f"belongs to release {R}, not to r2"):
        databases.unfence(live, "r2")
    assert databases.unfence(live).release == R


@pytest.mark.parametrize("in_flight", [False, True], ids=["before", "in-flight"])
def test_killed_at_every_statement(servers: dict[int, Server], in_flight: bool) -> None:
    """Up or down, nothing between; and a later run goes either way."""
    server = servers[18]
    name = server.create("kill")
    live = database_of(server, name)
    as_app(live).execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    for work in (partial(databases.fence, live, R), partial(databases.unfence, live, R)):
        for after in range(1, 40):
            if run_and_die(work, after, in_flight=in_flight):
                break
            state = databases.fence_state(live)
            where = live.named(state.database) if state else live
            assert as_app(where).scalar("SELECT count(*) AS n FROM t") == 1
        assert after > 3
    assert databases.fence_state(live) is None
    assert as_app(live).scalar("SELECT count(*) AS n FROM t") == 1
    forget(server, name)


def test_survives_a_restart_of_the_server(server: Server, live: Database) -> None:
    databases.fence(live, R)
    restart(server)
    for who in clients(server):
        with pytest.raises(psycopg2.OperationalError, match="does not exist"):
            connect(server, live.conninfo.dbname, *who)
    assert as_app(databases.must_be_fenced(live, R)).scalar("SELECT count(*) AS n FROM t") == 1
    databases.unfence(live)
    assert server.sql("SELECT count(*) FROM t", live.conninfo.dbname) == [(1,)]


def test_outsider_is_noticed(server: Server, live: Database) -> None:
    fenced = databases.fence(live, R)
    outsider = connect(server, fenced.database, "pap_owner", "pw", application_name="psql")
    try:
        with pytest.raises(Unavailable, match="A foreign session is behind the fence: psql of pap_owner"):
            databases.must_be_fenced(live, R)
    finally:
        outsider.close()


def test_obstacles_are_named_and_nothing_changes(server: Server, live: Database) -> None:
    name = live.conninfo.dbname
    as_app(live).execute("BEGIN; INSERT INTO t (v) VALUES ('prepared'); PREPARE TRANSACTION 'it''s open'")
    with pytest.raises(Refused, match=r"prepared transaction .*is open"):
        databases.fence(live, R)
    server.connect(name).close()
    assert databases.fence_state(live) is None
    as_app(live).execute("ROLLBACK PREPARED 'it''s open'")
    weak = replace(live, conninfo=replace(live.conninfo, user="pap_reader", password="pw"))
    with pytest.raises(Refused, match="may not rename it: it must own"):
        databases.fence(weak, R)
    assert databases.fence(live, R).live == name


def test_owner_without_superuser_can(server: Server, live: Database) -> None:
    """The least privilege that is enough: owner, CREATEDB, and the right to end other roles' sessions."""
    server.sql("ALTER ROLE pap_owner CREATEDB")
    server.sql("GRANT pg_signal_backend TO pap_owner")
    owner = replace(live, conninfo=replace(live.conninfo, user="pap_owner", password="pw"))
    other = connect(server, live.conninfo.dbname, "pap_reader", "pw")
    try:
        fenced = databases.fence(owner, R)
        assert len(fenced.ended) == 1
        behind = databases.must_be_fenced(owner, R)
        point = databases.snapshot(behind, R, live=live.conninfo.dbname)
        as_app(behind).execute("DELETE FROM t")
        databases.swap(owner, R, point.database)
        assert server.sql("SELECT count(*) FROM t", live.conninfo.dbname) == [(1,)]
    finally:
        other.close()
        server.sql("ALTER ROLE pap_owner NOCREATEDB")
        server.sql("REVOKE pg_signal_backend FROM pap_owner")


def test_session_that_may_not_be_ended_takes_the_fence_down_again(server: Server, live: Database) -> None:
    server.sql("ALTER ROLE pap_owner CREATEDB")
    owner = replace(live, conninfo=replace(live.conninfo, user="pap_owner", password="pw"))
    superuser = server.connect(live.conninfo.dbname)
    try:
        with pytest.raises(PapError, match=r"cannot be ended|did not end"):
            databases.fence(owner, R, grace_s=0.1, seconds=1)
        assert databases.fence_state(live) is None
        connect(server, live.conninfo.dbname, "pap_reader", "pw").close()
    finally:
        superuser.close()
        server.sql("ALTER ROLE pap_owner NOCREATEDB")


def test_live_name_that_came_back_is_refused(server: Server, live: Database) -> None:
    """Some images create the database that they miss: never mix the two up."""
    name = live.conninfo.dbname
    databases.fence(live, R)
    server.sql(f'CREATE DATABASE "{name}"')
    for work in (partial(databases.fence, live, R), partial(databases.unfence, live, R)):
        with pytest.raises(Refused, match="exist"):
            work()
    server.sql(f'DROP DATABASE "{name}"')
    assert databases.unfence(live, R).lifted


def test_database_called_postgres(servers: dict[int, Any]) -> None:
    """Many containers hold everything in a database called postgres."""
    server = servers[16]
    live = database_of(server, "postgres")
    databases.fence(live, R)
    try:
        with pytest.raises(psycopg2.OperationalError, match="does not exist"):
            server.connect("postgres")
        assert as_app(databases.must_be_fenced(live, R)).scalar("SELECT 1 AS one") == 1
    finally:
        databases.unfence(live, R)
    server.connect("postgres").close()


# What else might be a fence, and who is not kept out by it: why the fence is a name (see the decision record).
OTHER_MEANS = {
    "connection limit": ('ALTER DATABASE "{db}" CONNECTION LIMIT 0', "superuser"),
    "no privilege to connect": ('REVOKE ALL ON DATABASE "{db}" FROM PUBLIC, pap_owner', "superuser"),
    "read only by default": ('ALTER DATABASE "{db}" SET default_transaction_read_only = on', "everybody"),
}


@pytest.mark.parametrize("means", OTHER_MEANS)
def test_other_means_do_not_hold(server: Server, live: Database, means: str) -> None:
    statement, who = OTHER_MEANS[means]
    server.sql(statement.format(db=live.conninfo.dbname))
    user, password = ("pap_owner", "pw") if who == "everybody" else (server.user, server.password)
    connection = connect(server, live.conninfo.dbname, user, password)
    with connection, connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off; COMMIT; INSERT INTO t (v) VALUES ('got in')")
    connection.close()
    assert as_app(live).scalar("SELECT count(*) AS n FROM t WHERE v = 'got in'") == 1


def test_closed_to_connections_locks_the_release_out(server: Server, live: Database) -> None:
    server.sql(f'ALTER DATABASE "{live.conninfo.dbname}" ALLOW_CONNECTIONS false')
    with pytest.raises(Unavailable, match="not currently accepting"):
        as_app(live).execute("SELECT 1")
