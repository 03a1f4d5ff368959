"""What restores and reads the rows of an application has its owner's rights and no more, where a superuser deploys."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from papdeploy import backup, databases
from papdeploy.backup import rights, steps
from papdeploy.core.errors import Refused, Unavailable
from papdeploy.databases import (
    content_digest,
    owner_login,
    properties,
    relation_baseline,
    relation_losses,
    server_state,
    write_snapshot,
)
from papdeploy.databases.managed_names import admin_session
from papdeploy.databases.psql import Database, Session
from papdeploy.phases import forecast
from papdeploy.rehearsal import copies
from papdeploy.sites.host import HostSite
from support.backup import database_of, forget
from support.planted_rows import OWNER, PLANNED, PLANTED_BY_ROWS, as_owner, disarmed, got_in, logins, plant

if TYPE_CHECKING:
    from support.postgres_servers import Server


@pytest.fixture(scope="module")
def planted(server: Server) -> Iterator[tuple[Server, Database, Path]]:
    with tempfile.TemporaryDirectory(prefix="pap-witness-") as folder:
        Path(folder).chmod(0o777)
        name = server.create("planted_rows")
        plant(server, name, Path(folder))
        yield server, database_of(server, name), Path(folder)
        forget(server, name)


def unconfined(database: Database, *_: Any, **__: Any) -> tuple[Database, str]:
    return database, "it is switched off"


def test_the_trap_works(
    planted: tuple[Server, Database, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As the superuser itself, a proof runs nearly all of it; otherwise the tests below would prove nothing."""
    server, live, witness = planted
    monkeypatch.setattr(owner_login, "confined", unconfined)
    with disarmed(server):
        taken = backup.take(live, tmp_path / "b", stack="st", release="trap")
        ran = got_in(server, witness)
    for path in witness.iterdir():
        path.unlink()
    assert f"role {OWNER}" in ran
    assert ran >= PLANTED_BY_ROWS | PLANNED, (PLANTED_BY_ROWS | PLANNED) - ran
    (note,) = [note for note in taken.manifest.notes if "superuser" in note]
    assert "it is switched off" in note and "public.holds" in note


def test_proof_rollback_restore_by_hand_and_rehearsal(planted: tuple[Server, Database, Path], tmp_path: Path) -> None:
    server, live, witness = planted
    taken = backup.take(live, tmp_path / "b", stack="st", release="r1")
    assert not [note for note in taken.manifest.notes if "superuser" in note]
    assert taken.manifest.needs_superuser == ()
    assert backup.verify(live, taken.path, release="r2").notes == []
    restored = backup.restore(live, taken.path, release="r3")
    server.sql(f'ALTER DATABASE "{restored.database.conninfo.dbname}" ALLOW_CONNECTIONS true')
    assert content_digest.compare(taken.digest, content_digest.take(restored.database)) == []
    by_hand = backup.rebuild(live, taken.path, f"{live.conninfo.dbname}__hand")
    assert not [note for note in by_hand.notes if "superuser" in note]
    for data, release in (("full", "r4"), ("schema", "r5"), ("sample", "r6")):
        copy = copies.Maker(live, release, data, 5).first(time.monotonic() + 300)
        assert copy.start.table_count >= taken.digest.table_count
    backup.take(live, tmp_path / "b", stack="st", release="r7", proof="schema")
    planned = databases.create_empty(live, "r10", "scratch")
    forecast.copy_schema(cast("Any", SimpleNamespace(database=live)), planned)
    assert got_in(server, witness) == set()
    assert server.sql("SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) LIKE 'pap_deploy%'",
                      restored.database.conninfo.dbname) == [(0,)]  # fmt: skip


def test_what_reads_the_live_database(planted: tuple[Server, Database, Path]) -> None:
    server, live, witness = planted
    with live.session() as session:
        baseline = relation_baseline.take(session)
        mark = write_snapshot.take(session)
    with as_owner(server, live.conninfo.dbname) as connection:
        connection.cursor().execute("UPDATE t_20 SET a = 2; DELETE FROM t_21")
    found = relation_losses.compare(live, baseline, content=True)
    assert [loss.table for loss in found.losses] == ["public.t_21"]
    assert databases.written_since(live, mark).tables["public.t_20"].rows == 1
    assert got_in(server, witness) == set()


class Elsewhere(HostSite):
    """A site that does not see this host's files, as a container."""

    sees_this_host = False


# What takes both: objects of a superuser among and below the application's, and rights that were granted on. Most of
# it the application can bring about by itself; none of it may lead to a superuser running what the application made.
MIXED = """
CREATE SCHEMA lent; GRANT CREATE, USAGE ON SCHEMA lent TO {owner}; GRANT USAGE ON SCHEMA lent TO planter_group;
CREATE FUNCTION public.stamp(v text) RETURNS text IMMUTABLE LANGUAGE sql RETURN v || '!';
CREATE TABLE public.audit (id int PRIMARY KEY, v text); INSERT INTO public.audit VALUES (1, 'seen');
GRANT SELECT, REFERENCES ON public.audit TO {owner};
CREATE VIEW public.overview AS SELECT a FROM public.t_20;
CREATE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO public.audit
  SELECT max(id) + 1, 'ddl' FROM public.audit; END $f$;
CREATE EXTENSION vector SCHEMA lent; COMMENT ON EXTENSION vector IS 'a comment of our own';
SELECT lo_from_bytea(70001, 'large'); ALTER LARGE OBJECT 70001 OWNER TO {owner};
SET SESSION AUTHORIZATION {owner};
CREATE TABLE lent.mine (id int REFERENCES public.audit, v text DEFAULT public.stamp('x')); INSERT INTO lent.mine VALUES (1);
CREATE MATERIALIZED VIEW lent.seen AS SELECT v FROM public.audit;
CREATE PUBLICATION p_of_rows FOR TABLE lent.mine;
GRANT SELECT ON lent.mine TO planter_group WITH GRANT OPTION;
SET ROLE planter_group; GRANT SELECT ON lent.mine TO PUBLIC;
RESET SESSION AUTHORIZATION;
REVOKE CREATE ON SCHEMA lent FROM {owner};
CREATE EVENT TRIGGER on_ddl ON ddl_command_end EXECUTE FUNCTION public.on_ddl();
"""


@pytest.mark.parametrize("where", ["here", "in a container"])
def test_a_database_of_several_owners_is_restored_by_both(
    planted: tuple[Server, Database, Path], tmp_path: Path, where: str
) -> None:
    server, _, witness = planted
    name = server.create("mixed")
    plant(server, name, witness)
    server.sql(f"DO $d$ BEGIN CREATE ROLE planter_group; EXCEPTION WHEN duplicate_object THEN END $d$;"
               f"GRANT planter_group TO {OWNER}")  # fmt: skip
    server.sql(MIXED.format(owner=OWNER), name)
    live = database_of(server, name)
    live = live if where == "here" else replace(live, site=Elsewhere())
    try:
        with live.session() as session:
            assert rights.needs_steps(session)
        backup.take(live, tmp_path / "b", stack="st", release="r1", proof="schema")
        taken = backup.take(live, tmp_path / "b", stack="st", release="r2")
        assert not [note for note in taken.manifest.notes if "superuser" in note]
        assert backup.verify(live, taken.path, release="r3").notes == []
        if where == "here":
            copies.Maker(live, "r4", "sample", 5).first(time.monotonic() + 300)
        assert got_in(server, witness) == set()
    finally:
        server.sql("DROP EVENT TRIGGER IF EXISTS on_ddl", name)
        forget(server, name)


def test_who_restores_what() -> None:
    listed = [
        "; a comment",
        "6; 2615 1 SCHEMA - s postgres",
        "7; 0 0 COMMENT - SCHEMA s postgres",
        "8; 1255 1 FUNCTION public f() postgres",
        "9; 1259 1 TABLE public t app",
        "10; 1259 2 TABLE public t postgres ours",
        "11; 2605 1 CAST - CAST (public.e AS integer) ",
        "12; 0 1 TABLE DATA public t dropped role",
        "13; 0 0 ACL public TABLE t app",
        "14; 826 1 DEFAULT ACL - DEFAULT PRIVILEGES FOR TABLES app",
        "15; 0 3 MATERIALIZED VIEW DATA public m app",
        "16; 3466 1 EVENT TRIGGER - e postgres",
        "17; 0 0 COMMENT - EVENT TRIGGER e postgres",
        "20; 2606 9 FK CONSTRAINT public t t_fkey app",
        "21; 0 2 TABLE DATA public u ours",
        "22; 0 3 TABLE DATA public v app",
    ]
    owners = steps.Owners({"app": "app", "my app": "my app", "ours": "ours", "postgres": ""}, unnamed="app")
    found = steps.steps(listed, owners)
    assert [(step.by, [line.split(";")[0] for line in step.entries]) for step in found] == [
        ("", ["6", "7"]),
        ("", ["8"]),
        ("app", ["9"]),
        ("ours", ["10"]),
        ("", ["11"]),
        ("app", ["12", "22"]),
        ("ours", ["21"]),
        ("", ["13", "14"]),
        ("app", ["20"]),
        ("app", ["15"]),
        ("", ["16", "17"]),
    ]


# What a list says may fit several roles, or none: nobody gets an entry that could be another's.
@pytest.mark.parametrize(
    ("line", "makers", "expected"),
    [
        ("9; 1259 1 TABLE public t my app", {"app": "app", "my app": "my app"}, None),
        ("9; 1259 1 TABLE public t my app", {"app": "app", "my app": ""}, None),
        ("9; 1259 1 TABLE public t my app", {"app": "", "my app": "my app"}, "my app"),
        ("9; 1259 1 TABLE public t my app", {"app": "", "my app": ""}, ""),
        ("9; 1259 1 TABLE public t my app", {"ours": "ours"}, None),
        ("9; 1259 1 TABLE public t app ", {"ours": "ours"}, None),
        ("9; 1259 1 TABLE public t app ", {"app ": "app "}, "app "),
        ("9; 0 0 COMMENT - CAST (public.e AS integer) ", {"app": "app"}, ""),
        ("9; 3600 1 TEXT SEARCH TEMPLATE public t ", {"app": "app"}, ""),
        ("9; 0 0 COMMENT public TEXT SEARCH TEMPLATE t ", {"app": "app"}, ""),
        ("9; 0 0 BLOBS - BLOBS ", {"app": "app"}, ""),
    ],
)
def test_what_could_be_another_s_is_refused(line: str, makers: dict[str, str], expected: str | None) -> None:
    if expected is None:
        with pytest.raises(Refused, match="app"):
            steps.Owners(makers).of(line)
    else:
        assert steps.Owners(makers).of(line) == expected


def test_where_no_login_is_let_in_the_note_says_so(
    planted: tuple[Server, Database, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, live, witness = planted
    hba = server.data / "pg_hba.conf"
    kept = hba.read_text()
    hba.write_text(f"host all +{OWNER} all reject\n{kept}")
    server.sql("SELECT pg_reload_conf()")
    monkeypatch.setattr(owner_login, "_logins", {})
    before = logins(server)
    try:
        with disarmed(server):
            taken = backup.take(live, tmp_path / "b", stack="st", release="r8")
            (note,) = [note for note in taken.manifest.notes if "superuser" in note]
            assert "pg_hba.conf" in note and "public.holds(integer,text)" in note
        with disarmed(server):
            (again,) = backup.verify(live, taken.path, release="r9").notes
            assert "pg_hba.conf" in again
        assert logins(server) <= before
    finally:
        for path in witness.iterdir():
            path.unlink()
        hba.write_text(kept)
        server.sql("SELECT pg_reload_conf()")


def test_what_an_application_can_bring_about_is_an_error_and_no_way_around(
    planted: tuple[Server, Database, Path], tmp_path: Path
) -> None:
    server, live, witness = planted
    name = live.conninfo.dbname
    server.sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0')
    try:
        with pytest.raises(Unavailable, match="too many connections"):
            backup.take(live, tmp_path / "b", stack="st", release="r8")
    finally:
        server.sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1')
    assert got_in(server, witness) == set()


RUN_AND_END = """
import os, signal, sys
from papdeploy.databases import content_digest
from papdeploy.databases.psql import Conninfo, Database
from papdeploy.sites.host import HostSite
name, host, port, user, bin_dir, end = sys.argv[1:]
database = Database(HostSite(), Conninfo(name, host, int(port), user, os.environ["SERVER_PASSWORD"]), bin_dir)
print(database.confined().conninfo.user, flush=True)
content_digest.take(database)
if end == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("end", ["ended", "killed"])
def test_a_login_goes_with_its_process_or_with_the_next_one(planted: tuple[Server, Database, Path], end: str) -> None:
    server, live, _ = planted

    def run(end: str) -> str:
        at = live.conninfo
        arguments = [at.dbname, at.host, str(at.port), at.user, live.bin_dir, end]
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(backup.__file__).parents[2]),
            "SERVER_PASSWORD": at.password,
        }
        ran = subprocess.run([sys.executable, "-c", RUN_AND_END, *arguments], env=environment, timeout=120,
                             capture_output=True, text=True, check=end == "ended")  # fmt: skip
        return ran.stdout.strip()

    with admin_session(live) as session:
        state = server_state.take(session, live.identity().oid)
        roles = properties.roles_of(session)
        name = run(end)
        assert name.startswith("pap_deploy_rows_")
        assert (name in logins(server)) == (end == "killed")
        assert server_state.changes(state, server_state.take(session, live.identity().oid)) == []
        assert properties.roles_of(session) == roles
    # Rights that were granted to it meanwhile do not matter.
    if end == "killed":
        server.sql(f"GRANT SELECT ON t_20 TO {name}; GRANT CONNECT ON DATABASE {live.conninfo.dbname} TO {name};"
                   f"CREATE TABLE public.left_by_it (); ALTER TABLE public.left_by_it OWNER TO {name}",
                   live.conninfo.dbname)  # fmt: skip
    run("ended")
    assert name not in logins(server)
    if end == "killed":
        query = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'left_by_it'"
        assert server.sql(query, live.conninfo.dbname) == [(OWNER,)]
        server.sql("DROP TABLE public.left_by_it", live.conninfo.dbname)


def test_the_password_is_in_no_statement(
    planted: tuple[Server, Database, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, live, _ = planted
    said: list[str] = []
    monkeypatch.setattr(owner_login, "_logins", {})
    execute = Session.execute
    monkeypatch.setattr(Session, "execute", lambda self, statement: said.append(statement) or execute(self, statement))
    password = live.confined().conninfo.password
    assert len(password) > 30
    assert any("CREATE ROLE" in statement for statement in said)
    assert not any(password in statement for statement in said)
