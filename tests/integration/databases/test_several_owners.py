"""Where several roles own what a database holds, the code of each runs with the rights of its owner and no more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from papdeploy import backup
from papdeploy.core.errors import Refused
from papdeploy.databases import (
    owner_login,
    properties,
    relation_baseline,
    relation_losses,
    server_state,
    write_snapshot,
)
from papdeploy.databases.psql import Database
from papdeploy.rehearsal import copies
from support.backup import database_of, forget
from support.planted_owners import OWNERS, Ran, as_role, plant, witnessed
from support.planted_rows import PLANNED, PLANTED_BY_ROWS

if TYPE_CHECKING:
    from support.postgres_servers import Server

# To whom the database belongs, and who is a member of whom.
CASES = {
    "of the first, a member of the second": (OWNERS[0], f'GRANT "{OWNERS[1]}" TO "{OWNERS[0]}"'),
    "of a superuser": ("postgres", ""),
}


A_SUPERUSERS = pytest.mark.parametrize("planted", ["of a superuser"], indirect=True, scope="module")
EACH = pytest.mark.parametrize("planted", CASES, indirect=True, scope="module")


@pytest.fixture(scope="module")
def planted(request: pytest.FixtureRequest, server: Server) -> Iterator[tuple[Server, Database]]:
    owner, granted = CASES[request.param]
    name = server.create("several")
    plant(server, name)
    server.sql(f'ALTER DATABASE "{name}" OWNER TO "{owner}"; {granted}')
    yield server, database_of(server, name)
    forget(server, name)
    server.sql(f'REVOKE "{OWNERS[1]}" FROM "{OWNERS[0]}"')


def more_than_its_owner(server: Server, ran: list[Ran]) -> list[Ran]:
    """What ran in a session that may act as more roles than the one that planted it."""
    rows = server.sql(f"SELECT pg_has_role('{OWNERS[0]}', '{OWNERS[1]}', 'MEMBER')")
    own = {OWNERS[0]: {OWNERS[0], *([OWNERS[1]] if rows[0][0] else [])}, OWNERS[1]: {OWNERS[1]}}
    return [one for one in ran if not one.roles <= own[one.owner]]


@A_SUPERUSERS
def test_the_trap_works(planted: tuple[Server, Database], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the superuser itself, a proof runs nearly all of it; otherwise the tests below would prove nothing."""
    server, live = planted
    monkeypatch.setattr(owner_login, "confined", lambda database, *_, **__: (database, "it is switched off"))
    with witnessed(server) as ran:
        backup.take(live, tmp_path / "b", stack="st", release="trap")
    for owner in OWNERS:
        kinds = {one.kind for one in more_than_its_owner(server, ran) if one.owner == owner}
        assert kinds >= PLANTED_BY_ROWS | PLANNED | {"operator of a check"}


@EACH
def test_a_proof(planted: tuple[Server, Database], tmp_path: Path) -> None:
    server, live = planted
    with witnessed(server) as ran:
        taken = backup.take(live, tmp_path / "b", stack="st", release="r1")
    assert not [note for note in taken.manifest.notes if "superuser" in note]
    assert more_than_its_owner(server, ran) == []
    assert {one.owner for one in ran} == set(OWNERS)  # it ran, and as whom it should


@A_SUPERUSERS
def test_restore_by_hand_and_rehearsal(planted: tuple[Server, Database], tmp_path: Path) -> None:
    server, live = planted
    taken = backup.take(live, tmp_path / "b", stack="st", release="r7", proof="schema")
    with witnessed(server) as ran:
        by_hand = backup.rebuild(live, taken.path, f"{live.conninfo.dbname}__hand")
        copies.Maker(live, "r6", "sample", 5).first(time.monotonic() + 300)
    assert not [note for note in by_hand.notes if "superuser" in note]
    assert more_than_its_owner(server, ran) == []
    left = (
        "SELECT (SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) LIKE 'pap_deploy%'),"
        " (SELECT datacl::text FROM pg_database WHERE datname = current_database()) LIKE '%pap_deploy%'"
    )
    assert server.sql(left, by_hand.name) == [(0, False)]


@EACH
def test_what_reads_the_live_database(planted: tuple[Server, Database]) -> None:
    """Also of an owner who may not connect to it, and without a trace in what is compared of the server."""
    server, live = planted
    server.sql(f"REVOKE CONNECT ON DATABASE {live.conninfo.dbname} FROM PUBLIC")
    with live.session() as session:
        oid = session.scalar("SELECT oid::int8 AS oid FROM pg_database WHERE datname = current_database()")
        before = server_state.take(session, oid), properties.capture(session, live.conninfo.dbname)
    with witnessed(server) as ran:
        with live.session() as session:
            baseline = relation_baseline.take(session)
            mark = write_snapshot.take(session)
        for owner, table in zip(OWNERS, ("of_1.t_21", "of_2.t_21")):
            server.sql(f'SET SESSION AUTHORIZATION "{owner}"; DELETE FROM {table}', live.conninfo.dbname)
        found = relation_losses.compare(live, baseline, content=True)
        assert {"of_1.t_21", "of_2.t_21"} == {loss.table for loss in found.losses}
        write_snapshot.written_since(live, mark)
    assert more_than_its_owner(server, ran) == []
    with live.session() as session:
        assert "pap_deploy_rows" in str(session.scalar("SELECT datacl::text AS acl FROM pg_database WHERE datname ="
                                                       " current_database()"))  # fmt: skip
        assert server_state.changes(before[0], server_state.take(session, oid)) == []
        assert properties.capture(session, live.conninfo.dbname) == before[1]
    server.sql(f"GRANT CONNECT ON DATABASE {live.conninfo.dbname} TO PUBLIC")


# Whoever may refer to a table can have the rights of its owner: the server checks a foreign key as that one, and calls
# casts of the type that refers. Here the cast of a foreign key tries it on another's table, when that has its key.
REFERS = """
CREATE FUNCTION of_1.tries() RETURNS void LANGUAGE plpgsql VOLATILE AS $f$
BEGIN
    CREATE TABLE of_1.refers (x of_1.odd REFERENCES public.audit);
    INSERT INTO of_1.refers VALUES ('1');
    DROP TABLE of_1.refers;
EXCEPTION WHEN OTHERS THEN RAISE LOG 'planted|planter_one|no: %|-|planter_one', SQLERRM;
END $f$;
CREATE TYPE of_1.odd AS ENUM ('1');
CREATE FUNCTION of_1.odd_int(of_1.odd) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $f$
BEGIN
    PERFORM of_1.a_attack('cast');
    IF current_user = session_user THEN PERFORM of_1.tries(); END IF;
    RETURN 1;
END $f$;
CREATE CAST (of_1.odd AS int) WITH FUNCTION of_1.odd_int(of_1.odd) AS IMPLICIT;
CREATE TABLE of_1.parents (id int PRIMARY KEY); INSERT INTO of_1.parents VALUES (1);
CREATE TABLE of_1.children (x of_1.odd REFERENCES of_1.parents); INSERT INTO of_1.children VALUES ('1');
"""


@A_SUPERUSERS
def test_no_owner_may_refer_to_what_others_own_while_it_restores(
    planted: tuple[Server, Database], tmp_path: Path
) -> None:
    server, live = planted
    name = live.conninfo.dbname
    server.sql("CREATE TABLE public.audit (id int PRIMARY KEY); INSERT INTO public.audit VALUES (1)", name)
    server.sql("GRANT CREATE ON SCHEMA public TO planter_one; REVOKE REFERENCES ON of_1.likes FROM planter_one", name)
    as_role(server, name, OWNERS[0]).cursor().execute(REFERS)
    with witnessed(server) as ran:
        backup.take(live, tmp_path / "b", stack="st", release="r8")
    assert {one.kind for one in ran} >= {"cast", "no: permission denied for table audit"}
    assert more_than_its_owner(server, ran) == []


# What an owner may not do with its own, a superuser does not do for it: it says what is missing.
REFUSED = {
    'REVOKE SELECT ON of_1.t_20 FROM planter_one': "GRANT SELECT ON of_1.t_20 TO planter_one;",
    'REVOKE SELECT ON SEQUENCE of_1.numbers FROM planter_one': "GRANT SELECT ON of_1.numbers TO planter_one;",
    'GRANT REFERENCES ON of_2.p_15 TO planter_one; ALTER TABLE of_1.t_20 ADD FOREIGN KEY (a) REFERENCES of_2.p_15;'
    ' REVOKE REFERENCES ON of_2.p_15 FROM planter_one': "GRANT REFERENCES ON of_2.p_15 TO planter_one;",
    'CREATE TABLE of_1.below () INHERITS (of_1.t_20); ALTER TABLE of_1.below OWNER TO "planter two"; GRANT USAGE ON SCHEMA of_1 TO "planter two"': 'ALTER TABLE of_1.below OWNER TO planter_one;',
    'CREATE STATISTICS of_1.counted ON a, b FROM of_1.t_22; ALTER STATISTICS of_1.counted OWNER TO "planter two"': 'ALTER STATISTICS of_1.counted OWNER TO planter_one;',
    'ALTER SCHEMA of_1 OWNER TO "planter two"': "GRANT USAGE ON SCHEMA of_1 TO planter_one;",
}  # fmt: skip


@A_SUPERUSERS
def test_what_an_owner_may_not_do_with_its_own_is_refused(planted: tuple[Server, Database], tmp_path: Path) -> None:
    server, live = planted
    name = live.conninfo.dbname
    as_role(server, name, OWNERS[0]).cursor().execute("CREATE SEQUENCE of_1.numbers")
    for statement, hint in REFUSED.items():
        server.sql(statement, name)
        with witnessed(server) as ran, pytest.raises(Refused) as refused:
            backup.take(live, tmp_path / "b", stack="st", release="r9")
        assert refused.value.hint == f"As a superuser: {hint}"
        server.sql(hint, name)
        assert more_than_its_owner(server, ran) == []
    server.sql(
        "ALTER TABLE of_1.t_20 DROP CONSTRAINT t_20_a_fkey; DROP TABLE of_1.below; DROP STATISTICS of_1.counted", name
    )
