"""What the application's role plants in its own database never runs with the rights of the administrating role.

Twins of every function, aggregate and operator that our SQL could name are planted, under a search path that prefers
them and under the usual one, where a closer match of types wins (CVE-2018-1058). Each raises: had one been called,
the work would have failed.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest
from papdeploy import backup, databases
from papdeploy.core.durable import private_folder
from papdeploy.core.errors import CommandFailed, PapError, VerificationFailed
from papdeploy.core.registry import Registry
from papdeploy.databases import content_digest, ledger_table, properties, psql, write_snapshot
from papdeploy.databases.managed_names import admin_session
from papdeploy.databases.psql import Database
from papdeploy.rehearsal import observe, sampling
from support.app_session import as_app
from support.backup import database_of
from support.rollback import LEDGER, Release, deploy

if TYPE_CHECKING:
    from support.postgres_servers import Server

pytestmark = pytest.mark.every_version

SOURCES = Path(psql.__file__).parent
OWNER = "planter"
NEWEST = int(os.environ.get("PAP_POSTGRES", "18").split()[-1])
PATHS = {"a path that prefers public": "public, pg_catalog", "the usual path": '"$user", public'}
# Stands for types that a query of ours has where the built-in function takes text.
CLOSER = ("name", "character varying", '"char"')


@dataclass(frozen=True)
class Head:
    entry: object


def named_in_our_sql() -> set[str]:
    """Every word that our sources follow by a bracket: more than the functions that our SQL calls, never fewer."""
    return {
        word.lower()
        for path in SOURCES.rglob("*")
        if path.suffix in (".py", ".sql")
        for word in re.findall(r"\b([A-Za-z_][A-Za-z0-9_]*)\s*\(", path.read_text(encoding="utf-8"))
    }


def signatures(words: list[str]) -> list[list[str]]:
    """The arguments as they are, and with each text or name as a type that a query of ours may be closer to."""
    closer = [
        [*words[:at], kind, *words[at + 1 :]]
        for at, word in enumerate(words) if word in ("text", "name") for kind in CLOSER if kind != word
    ]  # fmt: skip
    return [words, *closer]


def attempt(cursor: psycopg2.extensions.cursor, statement: str) -> bool:
    """Run what may not be possible for this signature (pseudo-types); True if it was."""
    cursor.execute("SAVEPOINT one")
    try:
        cursor.execute(statement)
    except psycopg2.Error:
        cursor.execute("ROLLBACK TO one")
        return False
    cursor.execute("RELEASE one")
    return True


def function(name: str, arguments: str, returns: str) -> str:
    body = f"BEGIN RAISE EXCEPTION 'planted {name} ran as %', current_user; END"
    return f'CREATE FUNCTION public."{name}"({arguments}) RETURNS {returns} LANGUAGE plpgsql AS $p$ {body} $p$'


def plant(connection: psycopg2.extensions.connection) -> int:
    """Plant the twins as the owner of the database; how many there are."""
    planted = 0
    cursor = connection.cursor()
    cursor.execute("CREATE FUNCTION public.planted_state(anyelement, anyelement) RETURNS anyelement LANGUAGE plpgsql AS"
                   " $p$ BEGIN RAISE EXCEPTION 'a planted aggregate ran as %', current_user; END $p$")  # fmt: skip
    cursor.execute(
        "SELECT p.proname, p.prokind, oidvectortypes(p.proargtypes), format_type(p.prorettype, NULL), p.proretset"
        " FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = 'pg_catalog' AND p.proname = ANY (%s)",
        (sorted(named_in_our_sql()),),
    )
    for name, kind, arguments, returns, several in cursor.fetchall():
        words = [word for word in arguments.split(", ") if word]
        if kind == "a":
            star = arguments or "*"
            planted += attempt(cursor, f'CREATE AGGREGATE public."{name}"({star}) (sfunc = int4pl, stype = int4)')
            continue
        any_text = [["text"] * count for count in (1, 2, 3)]
        for signature in any_text if '"any"' in arguments else signatures(words):
            returning = f"SETOF {returns}" if several else returns
            planted += attempt(cursor, function(name, ", ".join(signature), returning))
    cursor.execute("SELECT DISTINCT oprname FROM pg_catalog.pg_operator")
    for number, (operator,) in enumerate(cursor.fetchall()):
        for left in ("name", "text", "oid", '"char"'):
            for right in ("name", "text", "oid", '"char"', "unknown"):
                made = f"op_{number}_{left}_{right}".replace('"', "")
                returns = "text" if operator == "||" else "boolean"
                if attempt(cursor, function(made, f"{left}, {right}", returns)):
                    planted += attempt(
                        cursor,
                        f'CREATE OPERATOR public.{operator} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public."{made}")',
                    )
    connection.commit()
    return planted


@pytest.fixture(
    params=[pytest.param(path, marks=[pytest.mark.nightly] if path == "the usual path" else []) for path in PATHS],
    scope="module",
)
def planted(request: pytest.FixtureRequest, servers: dict[int, Server]) -> Iterator[tuple[Server, Database]]:
    """A database that belongs to a role without rights of its own, full of twins, with a few rows."""
    server = servers[NEWEST]
    name = server.create("planted")
    server.sql(f"DO $d$ BEGIN CREATE ROLE {OWNER} LOGIN PASSWORD 'pw'; EXCEPTION WHEN duplicate_object THEN END $d$")
    server.sql(f'ALTER DATABASE "{name}" OWNER TO {OWNER}')
    server.sql(f"ALTER SCHEMA public OWNER TO {OWNER}", name)
    with contextlib.closing(
        psycopg2.connect(host=server.host, port=server.port, user=OWNER, password="pw", dbname=name)
    ) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TYPE mood AS ENUM ('good', 'bad')")
        cursor.execute("CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL, mood mood DEFAULT 'good')")
        cursor.execute("CREATE TABLE items (id int PRIMARY KEY, user_id int REFERENCES users, label varchar)")
        cursor.execute("INSERT INTO users (name) SELECT 'u' || g FROM generate_series(1, 50) g")
        cursor.execute("INSERT INTO items SELECT g, g, 'i' FROM generate_series(1, 50) g")
        cursor.execute(LEDGER)
        # A cast of a type of one's own is called wherever its values become text or JSON by an explicit conversion.
        for kind in ("text", "json", "jsonb"):
            cursor.execute(function(f"mood_{kind}", "mood", kind))
            cursor.execute(f"CREATE CAST (mood AS {kind}) WITH FUNCTION public.mood_{kind}(mood) AS ASSIGNMENT")
            cursor.execute(function(f"users_{kind}", "users", kind))
            cursor.execute(f"CREATE CAST (users AS {kind}) WITH FUNCTION public.users_{kind}(users)")
        connection.commit()
        assert plant(connection) > 300
    server.sql(f'ALTER DATABASE "{name}" SET search_path = {PATHS[request.param]}')
    yield server, database_of(server, name)
    server.drop(name)


def test_without_the_pins_they_run(planted: tuple[Server, Database], monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the tests below would pass without proving anything."""
    _, live = planted
    monkeypatch.setattr(psql, "PINNED", {})
    with pytest.raises(PapError, match="planted"), live.session() as session:
        session.rows("SELECT d.datname || '.'::text AS name FROM pg_database d")
        properties.capture(session, live.conninfo.dbname)


def test_everything_that_reads(planted: tuple[Server, Database]) -> None:
    _, live = planted
    assert live.facts().superuser
    assert live.identity().name == live.conninfo.dbname
    with live.session() as session:
        mark = write_snapshot.take(session)
        assert properties.capture(session, live.conninfo.dbname).owner == OWNER
        properties.roles_of(session)
        observe.files(session)
        assert ledger_table.ledger_records(session, Head, "SELECT to_jsonb(l) AS entry FROM ledger AS l") == []
    assert write_snapshot.written_since(live, mark).rows == 0
    assert content_digest.take(live).tables["public"]["users"].rows == 50
    with observe.LockWatch(live, "pap-deploy:x") as watch:
        pass
    assert watch.problem is None
    with admin_session(live) as session:
        assert session.scalar("SELECT 1 AS one") == 1


@pytest.mark.parametrize("kind", ["backup", "snapshot"])
def test_backup_fence_and_both_restores(planted: tuple[Server, Database], tmp_path: Path, kind: str) -> None:
    server, live = planted
    folder = private_folder(server.state / f"{live.conninfo.dbname}-{kind}")  # each time a stack of its own
    live = replace(live, registry=Registry(folder, database=live.conninfo.dbname))
    up = "INSERT INTO pap_deploy.ledger (event, identity, release) VALUES ('applied', 'm1', 'r7')"
    with live.session() as session:
        session.execute("DROP SCHEMA pap_deploy CASCADE")
    release: Release = deploy(live, tmp_path, kind=kind, up=up)
    try:
        assert release.roll_back()["strategy"] == ("restore" if kind == "backup" else "swap")
        assert content_digest.compare(release.before, content_digest.take(live)) == []
        copy = databases.create_empty(live, "sample", "scratch")
        databases.ready_for_rehearsal(live, copy)
        from papdeploy.rehearsal import copies

        def stream(source: Database, target: Database, options: list[str]) -> None:
            copies.transfer(source, target, options, deadline=time.monotonic() + 600)

        assert sampling.copy_sample(live, copy, 5, stream) > 0
    finally:
        databases.drop_created(live, "sample", ("scratch",))
        for (name,) in server.sql(
            f"SELECT datname FROM pg_database WHERE datname LIKE '{live.conninfo.dbname}\\_\\_%'"
        ):
            server.drop(name)


HOSTILE_LEDGERS = {
    "a view": "CREATE VIEW pap_deploy.ledger AS SELECT public.evil() AS identity",
    "a type with a cast": "CREATE TABLE pap_deploy.ledger (id int, event mood, identity text, release text);"
    " INSERT INTO pap_deploy.ledger VALUES (1, 'good', 'm', 'r7')",
    "a domain": "CREATE TABLE pap_deploy.ledger (id int, event text, identity odd, release text);"
    " INSERT INTO pap_deploy.ledger VALUES (1, 'applied', 'm', 'r7')",
}


@pytest.mark.parametrize("what", HOSTILE_LEDGERS)
def test_a_ledger_that_cannot_be_is_named_and_not_read(
    database: str, server: Server, what: str, tmp_path: Path
) -> None:
    live = database_of(server, database)
    as_app(live).execute(
        "CREATE TABLE ran (x int); CREATE SCHEMA pap_deploy; CREATE TYPE mood AS ENUM ('good');"
        "CREATE FUNCTION evil() RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.ran VALUES (1); RETURN 'x'; END $$;"
        "CREATE FUNCTION evil(mood) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.ran VALUES (1); RETURN 'x'; END $$;"
        "CREATE FUNCTION evil_json(mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.ran VALUES (1); RETURN '1'; END $$;"
        "CREATE CAST (mood AS text) WITH FUNCTION evil(mood) AS IMPLICIT; CREATE CAST (mood AS json) WITH FUNCTION evil_json(mood);"
        f"CREATE DOMAIN odd AS text; {HOSTILE_LEDGERS[what]}"
    )
    with live.session() as session, pytest.raises(VerificationFailed, match=r"pap_deploy\.ledger is a "):
        ledger_table.ledger_records(session, Head, "SELECT to_jsonb(l) AS entry FROM ledger AS l")
    with pytest.raises(VerificationFailed):
        backup.take(live, tmp_path, stack="st", release="r1")
    # What is swapped in after the look meets the condition of the read itself.
    with live.session() as session, contextlib.suppress(CommandFailed):
        assert session.rows(ledger_table._LEDGER + "SELECT identity FROM ledger") == []
    assert as_app(live).scalar("SELECT count(*) FROM ran") == 0


def test_a_backup_says_which_functions_of_others_a_superuser_ran(database: str, server: Server, tmp_path: Path) -> None:
    """Restoring rows calls them, and no other: docs/security.md says how to avoid it."""
    server.sql("DO $d$ BEGIN CREATE ROLE planter_of_checks; EXCEPTION WHEN duplicate_object THEN END $d$")
    made = [
        "checked(int) RETURNS boolean",
        "of_domain(int) RETURNS boolean",
        "generated(int) RETURNS int",
        "idle(int) RETURNS int",
    ]
    for signature in made:
        returned = "$1 > 0" if signature.endswith("boolean") else "$1"
        server.sql(f"CREATE FUNCTION {signature} IMMUTABLE LANGUAGE sql RETURN {returned}", database)
        server.sql(f"ALTER FUNCTION {signature.split(' ')[0]} OWNER TO planter_of_checks", database)
    server.sql(
        "CREATE DOMAIN positive AS int CHECK (of_domain(VALUE));"
        "CREATE TABLE t (a int CHECK (checked(a)), b positive, c int GENERATED ALWAYS AS (generated(a)) STORED, d int DEFAULT idle(1));"
        "INSERT INTO t VALUES (1, 1)",
        database,
    )
    live = database_of(server, database)
    taken = backup.take(live, tmp_path / "b", stack="st", release="r1")
    (note,) = [note for note in taken.manifest.notes if "superuser" in note]
    assert "restoring public.t, type public.positive ran functions of planter_of_checks with the rights of pos" in note
    assert ": public.checked(integer), public.generated(integer), public.of_domain(integer); for postgres is a" in note
    server.sql("ALTER TABLE t OWNER TO planter_of_checks; ALTER DOMAIN positive OWNER TO planter_of_checks", database)
    mended = backup.take(live, tmp_path / "b", stack="st", release="r2")
    assert not any("superuser" in note for note in mended.manifest.notes)
    server.sql("DROP OWNED BY planter_of_checks CASCADE", database)
