"""A table that somebody holds for good ends a run in words that lead on: which table, who, since when, how to end it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import psycopg2
import pytest
from papdeploy.core.errors import PapError
from papdeploy.databases import content_digest
from papdeploy.databases.psql import Database, Session
from papdeploy.schema.catalog import connect, connection
from support.backup import database_of

if TYPE_CHECKING:
    from support.postgres_servers import Server

NAME = 'public."od\nd ""one"'


@pytest.fixture
def held(server: Server, database: str) -> Iterator[tuple[Server, Database, psycopg2.extensions.connection]]:
    server.sql(f"CREATE TABLE {NAME} (id int PRIMARY KEY)", dbname=database)
    with contextlib.closing(server.connect(database)) as holder:
        yield server, database_of(server, database), holder


def read_by_psql(database: Database, _: str) -> None:
    content_digest.take(database, lock_timeout_s=0.2)


def wait_in_psql(database: Database, _: str) -> None:
    with database.session({"lock_timeout": "200ms"}) as session:
        session.execute(f"SELECT count(*) FROM {NAME}")


def read_by_driver(_: Database, url: str) -> None:
    with connect.open_session(url) as session:
        session.read(f"SELECT count(*) FROM {NAME}")


@pytest.mark.parametrize("read", [read_by_psql, wait_in_psql, read_by_driver])
@pytest.mark.parametrize("prepared", [False, True])
def test_who_holds_it_is_told_with_the_way_to_end_it(
    held: tuple[Server, Database, psycopg2.extensions.connection],
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    read: object,
    prepared: bool,
) -> None:
    server, target, holder = held
    monkeypatch.setattr(connection, "LOCK_TIMEOUT_MS", 100)
    cursor = holder.cursor()
    cursor.execute("BEGIN")
    cursor.execute(f"LOCK TABLE {NAME}")
    pid = holder.info.backend_pid
    if prepared:
        cursor.execute("PREPARE TRANSACTION 'left ''for good'")
    try:
        with pytest.raises(PapError) as failed:
            read(target, server.url(database))  # type: ignore[operator]
        who = "the prepared transaction 'left ''for good'" if prepared else f"process {pid}"
        since = "prepared" if prepared else "its transaction began"
        said = rf"stayed locked.*: {re.escape(NAME)} by {re.escape(who)} \(role postgres, .*{since} \d{{4}}-.* UTC\)"
        assert re.search(said, failed.value.message), failed.value.message
        (end,) = re.findall(r"end it \((.*);\), then try again", failed.value.hint)
        server.sql(end, dbname=database)
        read(target, server.url(database))  # type: ignore[operator]
    finally:
        if prepared:
            with contextlib.suppress(psycopg2.Error):
                server.sql("ROLLBACK PREPARED 'left ''for good'", dbname=database)


def test_a_holder_that_is_gone(monkeypatch: pytest.MonkeyPatch, server: Server, database: str) -> None:
    target = database_of(server, database)
    with target.session() as session, pytest.raises(PapError) as failed:
        session.execute("DO $$ BEGIN RAISE EXCEPTION 'canceling statement due to lock timeout'; END $$")
    assert "whoever held it is gone by now" in failed.value.message and failed.value.hint == "Try again."
    monkeypatch.setattr(Session, "rows", lambda *_: (_ for _ in ()).throw(PapError("no room.")))
    with target.session() as session, pytest.raises(PapError, match=r"by whom cannot be asked \(no room\)"):
        session.execute("DO $$ BEGIN RAISE EXCEPTION 'canceling statement due to lock timeout'; END $$")
