"""Settings that a role, a database or the server stores for every session, and names that no line holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from papdeploy import backup, databases
from papdeploy.core.errors import Refused
from papdeploy.databases import relation_baseline, relation_losses, write_snapshot
from papdeploy.databases.psql import Conninfo, Database
from papdeploy.rehearsal import copies
from papdeploy.sql.quoting import quote_ident
from support.backup import database_of, forget

if TYPE_CHECKING:
    from support.postgres_servers import Server

ONE, TWO = 'awk\nward "ro\tle', "second' ro%s\\le \x1b[31m"
SCHEMA, TABLE, COLUMN = "sch\n\"ema\x1b'%", "ta\r\nble \"x' % \\ ;--", 'co\nl"%'
SERVER = 'srv"\n'
NAME = "d\"b\n%'x\\ y"

# Each with what it would do to a session that took it: fail, wait, read a part, become another role, find other names.
STORED = """
ALTER ROLE {one} IN DATABASE {name} SET search_path = 'x y', public;
ALTER ROLE {one} IN DATABASE {name} SET default_transaction_read_only = on;
ALTER ROLE {one} SET statement_timeout = 1;
ALTER DATABASE {name} SET statement_timeout = 1;
ALTER DATABASE {name} SET row_security = off;
ALTER DATABASE {name} SET default_transaction_read_only = on;
ALTER DATABASE {name} SET default_transaction_isolation = 'serializable';
ALTER DATABASE {name} SET session_preload_libraries = 'plpgsql';
ALTER ROLE postgres IN DATABASE {name} SET search_path = nowhere;
ALTER ROLE postgres IN DATABASE {name} SET client_encoding = 'LATIN1';
ALTER ROLE postgres IN DATABASE {name} SET role = {two};
"""

HELD = """
CREATE SCHEMA {schema} AUTHORIZATION {two}; SET ROLE {two};
CREATE TABLE {schema}.{table} (id serial PRIMARY KEY, {column} text CHECK ({column} <> 'x'));
INSERT INTO {schema}.{table} ({column}) VALUES (E'a\\nb'), ('--done-');
CREATE TABLE {schema}.child (id int REFERENCES {schema}.{table}); INSERT INTO {schema}.child VALUES (1);
ALTER TABLE {schema}.child FORCE ROW LEVEL SECURITY; ALTER TABLE {schema}.child ENABLE ROW LEVEL SECURITY;
SET ROLE {one}; CREATE TABLE public.plain (id int PRIMARY KEY); INSERT INTO public.plain VALUES (1); SET ROLE NONE;
CREATE FOREIGN DATA WRAPPER {server}; ALTER FOREIGN DATA WRAPPER {server} OPTIONS (token 'hidden-of-wrapper');
CREATE SERVER {server} FOREIGN DATA WRAPPER {server} OPTIONS (host 'h', api_key 'hidden-of-server');
GRANT USAGE ON FOREIGN SERVER {server} TO {two}; SET ROLE {two};
CREATE USER MAPPING FOR {two} SERVER {server} OPTIONS (user 'u', password 'hidden-of-mapping');
CREATE FOREIGN TABLE {schema}.remote (a int) SERVER {server} OPTIONS (secret 'hidden-of-table', path '/x'); SET ROLE NONE;
CREATE USER MAPPING FOR PUBLIC SERVER {server} OPTIONS (password 'hidden-public');
"""


@pytest.fixture(scope="module")
def awkward(server: Server) -> Iterator[tuple[Server, Database]]:
    words = {"one": ONE, "two": TWO, "name": NAME, "schema": SCHEMA, "table": TABLE, "column": COLUMN, "server": SERVER}
    quoted = {key: quote_ident(word) for key, word in words.items()}
    for role in (ONE, TWO):
        server.sql(f"CREATE ROLE {quote_ident(role)} LOGIN")
    server.sql(f"CREATE DATABASE {quoted['name']} OWNER {quoted['one']}")
    server.databases.append(NAME)
    server.sql(HELD.format(**quoted), NAME)
    server.sql(STORED.format(**quoted))
    yield server, database_of(server, NAME)
    forget(server, NAME)


def test_nothing_stored_reaches_a_session_of_ours(awkward: tuple[Server, Database], tmp_path: Path) -> None:
    server, live = awkward
    live.execute(f"ALTER DATABASE {quote_ident(NAME)} SET local_preload_libraries = ''")  # no other session comes in
    with live.session() as session:
        mark, baseline = write_snapshot.take(session), relation_baseline.take(session)
    taken = backup.take(live, tmp_path / "b", stack="st", release="r1")
    assert taken.manifest.rows == 4 and taken.manifest.notes == ()
    assert backup.rebuild(live, taken.path, "awkward_by_hand").notes == []
    server.databases.append("awkward_by_hand")
    copies.Maker(live, "r2", "sample", 5).first(time.monotonic() + 300)
    assert databases.written_since(live, mark).rows == 0
    assert relation_losses.compare(live, baseline, content=True).losses == []
    for path in (tmp_path / "b").iterdir():
        if path.suffix != ".dump":
            assert b"hidden" not in path.read_bytes(), path
    live.execute(f"ALTER DATABASE {quote_ident(NAME)} RESET local_preload_libraries")


def test_an_administrator_without_these_rights_is_told_which(awkward: tuple[Server, Database], tmp_path: Path) -> None:
    """Of a user mapping pg_dump would leave out the password without a word; a wrapper is a superuser's."""
    server, live = awkward
    server.sql("CREATE ROLE awkward_admin LOGIN CREATEDB BYPASSRLS PASSWORD 'pw'")
    server.sql(f"GRANT {quote_ident(ONE)}, {quote_ident(TWO)} TO awkward_admin")
    server.sql(f"ALTER ROLE awkward_admin SET role = {quote_ident(TWO)}")
    admin = replace(live, conninfo=Conninfo(NAME, server.host, server.port, "awkward_admin", "pw"))
    with pytest.raises(Refused, match="user mapping for public on server"):
        backup.take(admin, tmp_path / "b", stack="st", release="r3")
    for user in ("PUBLIC", quote_ident(TWO)):
        live.execute(f"DROP USER MAPPING FOR {user} SERVER {quote_ident(SERVER)}")
    with pytest.raises(Refused, match="settings of role"):
        backup.take(admin, tmp_path / "b", stack="st", release="r3")
    for row in live.rows("SELECT DISTINCT setrole::regrole::text AS name FROM pg_db_role_setting WHERE setrole <> 0"):
        server.sql(f"ALTER ROLE {row['name']} IN DATABASE {quote_ident(NAME)} RESET ALL")
    with pytest.raises(Refused, match="foreign data wrapper"):
        backup.take(admin, tmp_path / "b", stack="st", release="r3")
