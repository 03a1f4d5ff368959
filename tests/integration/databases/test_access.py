"""Who may connect to what is made beside the live database: after each statement of ours another role tries them all."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import psycopg2
import pytest
from papdeploy import backup, databases
from papdeploy.databases import managed_names as database_names
from papdeploy.databases.psql import Database, Session
from papdeploy.rehearsal import copies
from support.app_session import as_app
from support.backup import database_of, folder_of, forget, names
from support.rollback import SMALL, SMALL_UP, R, deploy

if TYPE_CHECKING:
    from support.postgres_servers import Server

OUTSIDER, PASSWORD = "pap_outsider", secrets.token_hex(8)


class Doors:
    """Tries every database beside ``live`` as a role that has nothing to do with it; ``entered`` says where it got in."""

    def __init__(self, server: Server, live: str) -> None:
        self.server, self.live = server, live
        self.entered: set[str] = set()
        self.tries = 0

    def kinds(self) -> set[str]:
        """The kinds of databases that were entered."""
        return {name[len(self.live) + 2 :].partition("_")[0] for name in self.entered}

    def try_all(self) -> None:
        for name in names(self.server):
            # Behind the fence is the live database itself; a session that comes in there is noticed and refused.
            if name.startswith(f"{self.live}__") and "__fenced_" not in name:
                self.tries += 1
                try:
                    psycopg2.connect(
                        host=self.server.host, port=self.server.port, dbname=name, user=OUTSIDER, password=PASSWORD
                    ).close()
                except psycopg2.OperationalError:
                    continue
                self.entered.add(name)


@pytest.fixture(params=["public", "owner only"])
def live(request: pytest.FixtureRequest, servers: dict[int, Server]) -> Iterator[Database]:
    """A database to which PUBLIC may connect, as by default, or to which only its owner may."""
    server = servers[18]
    server.sql(f"DROP ROLE IF EXISTS {OUTSIDER}")
    server.sql(f"CREATE ROLE {OUTSIDER} LOGIN PASSWORD '{PASSWORD}'")
    name = server.create("access")
    if request.param == "owner only":
        server.sql(f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC')
    database = database_of(server, name)
    as_app(database).execute(SMALL)
    yield database
    forget(server, name)
    server.sql(f"DROP ROLE {OUTSIDER}")


@pytest.fixture
def doors(servers: dict[int, Server], live: Database, monkeypatch: pytest.MonkeyPatch) -> Doors:
    tried = Doors(servers[18], live.conninfo.dbname)
    real, busy = Session.execute, threading.Lock()

    def execute(self: Session, statement: str) -> list[str]:
        lines = real(self, statement)
        if busy.acquire(blocking=False):
            try:
                tried.try_all()
            finally:
                busy.release()
        return lines

    monkeypatch.setattr(Session, "execute", execute)
    return tried


def may_connect(server: Server, name: str, role: str = OUTSIDER) -> bool:
    return bool(server.sql(f"SELECT has_database_privilege('{role}', '{name}', 'CONNECT')")[0][0])


def test_a_copy_is_closed_to_others_until_it_is_proven_and_then_open_as_the_live_database(
    servers: dict[int, Server], live: Database, doors: Doors, tmp_path: Path
) -> None:
    open_to_all = may_connect(servers[18], live.conninfo.dbname)
    taken = backup.take(live, folder_of(tmp_path), stack="st", release=R, keep_scratch=True)
    backup.verify(live, taken.path)
    assert doors.tries > 20 and doors.entered == set()
    scratch = str(taken.manifest.scratch)
    databases.ready_for_rehearsal(live, live.named(scratch))
    doors.try_all()
    assert doors.entered == ({scratch} if open_to_all else set())
    assert may_connect(servers[18], scratch) is open_to_all


def test_a_rollback_opens_nothing_that_was_closed_and_closes_nothing_that_was_open(
    servers: dict[int, Server], live: Database, doors: Doors, tmp_path: Path
) -> None:
    name = live.conninfo.dbname
    open_to_all = may_connect(servers[18], name)
    release = deploy(live, folder_of(tmp_path), kind="backup", up=SMALL_UP)
    result = release.roll_back()
    doors.try_all()
    assert doors.tries > 20
    # What had been the live database, put aside; never a copy.
    assert doors.kinds() == ({"failed"} if open_to_all else set())
    for which in (name, result["kept"]):
        assert may_connect(servers[18], which) is open_to_all
    privileges = servers[18].sql(
        "SELECT a.grantee::regrole::text, a.privilege_type FROM pg_database d,"
        f" aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE datname = '{name}' ORDER BY 1, 2"
    )
    assert (("-", "CONNECT") in privileges) is open_to_all and ("-", "TEMPORARY") in privileges


def test_a_sample_is_open_only_when_it_is_whole(servers: dict[int, Server], live: Database, doors: Doors) -> None:
    """A copy that no backup has proven: of some rows, or all, straight from the live database."""
    open_to_all = may_connect(servers[18], live.conninfo.dbname)
    filled: list[int] = []
    entered: list[int] = []
    stream = copies.transfer

    def watched(source: Database, target: Database, *rest: Any, **named: Any) -> None:
        doors.try_all()
        stream(source, target, *rest, **named)
        doors.try_all()
        filled.append(1)
        entered.extend([1] * len(doors.entered))

    with mock.patch.object(copies, "transfer", watched):
        for data in ("sample", "full", "schema"):
            maker = copies.Maker(live, R, data, 10)
            made = maker.again(time.monotonic() + 60)
            doors.try_all()
            assert doors.entered == ({made.name} if open_to_all else set())
            maker.drop()
            doors.entered.clear()
    assert len(filled) >= 3 and entered == []


def test_the_sample_of_doors_is_tried_at_all(servers: dict[int, Server], live: Database, doors: Doors) -> None:
    """A database that is open is found open: the tests above can fail."""
    made: Any = databases.create_empty(live, R)
    servers[18].sql(f'GRANT CONNECT ON DATABASE "{made.conninfo.dbname}" TO PUBLIC')
    with database_names.admin_session(live) as session:
        session.execute("SELECT 1")
    assert doors.kinds() == {"scratch"}
