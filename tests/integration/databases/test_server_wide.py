"""What acts on the whole server does not run on a copy; what gets there all the same is measured and named."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from papdeploy.core.errors import PapError
from papdeploy.databases import live_state, server_state
from papdeploy.databases.psql import Conninfo, Database
from papdeploy.phases import preflight, report
from papdeploy.phases.live_check import LiveDatabaseChanged
from papdeploy.rehearsal import RehearsalFailed
from papdeploy.sites.host import HostSite
from support.journals import last
from support.rehearsal_stack import WHO, Bench, migration

pytestmark = pytest.mark.every_version

NOTE = "note: Mapped[str | None] = mapped_column(Text)"
ROLES = ("wide_app", "wide_reader", "wide_new")


@pytest.fixture
def bench(servers: dict[int, Any], tmp_path: Path) -> Iterator[Bench]:
    server = servers[18]
    made = Bench(server, tmp_path, server.create("wide"))
    server.sql("CREATE ROLE wide_app LOGIN PASSWORD 'old'; CREATE ROLE wide_reader")
    try:
        yield made
    finally:
        server.sql(f'ALTER DATABASE "{made.dbname}" ALLOW_CONNECTIONS true')
        server.sql("ALTER SYSTEM RESET ALL")
        made.close()
        server.drop(made.dbname)
        for role in ROLES:
            server.sql(f"DROP ROLE IF EXISTS {role}")


def server_of(bench: Bench) -> server_state.ServerState:
    return live_state.take(bench.stack.database).server


def look(bench: Bench, phase: str, sources: dict[str, str]) -> list[str]:
    """A plan or a rehearsal; its lines."""
    bench.write_release("new", user=NOTE)
    if phase == "plan":
        found = preflight.run(bench.stack, sources, WHO, preflight.Options(), check_mode=True, versions={})
        assert found.would_fail == ""
        return [*found.pap.lines, *found.diff[0].after.splitlines()]
    bench.rehearse(sources)
    return list(last(bench.journal(), "rehearse", "note")["lines"])


# Everything that a copy must not do to its server, by every way through the runner's connection.
UPGRADE = """
db.execute("ALTER TABLE users ADD COLUMN note text; ALTER ROLE wide_app SET work_mem = '64MB'; SELECT 1")
db.execute("ALTER DATABASE {live} SET search_path = app, public")
db.execute("ALTER DATABASE {live} CONNECTION LIMIT 3")
db.execute("ALTER DATABASE {live} ALLOW_CONNECTIONS false")
db.execute("COMMENT ON DATABASE {live} IS 'mine'")
db.execute("REVOKE CONNECT ON DATABASE {live} FROM wide_reader, PUBLIC")
db.execute("/* now */ alter role wide_app password 'x'")
db.execute("CREATE ROLE wide_new")
db.execute("GRANT wide_reader TO wide_app")
db.execute("GRANT SET ON PARAMETER work_mem TO wide_app")
db.execute("ALTER ROLE wide_app SET lock_timeout = :value", {{"value": "1s"}})
assert db.rows("DROP OWNED BY wide_reader") == []
from sqlalchemy import text
db.connection.execute(text("ALTER ROLE ALL SET statement_timeout = '1h'"))
cursor = db.connection.connection.cursor()
cursor.execute("SELECT 1")
cursor.execute("DO $$ BEGIN IF true THEN CREATE ROLE wide_new; END IF; END $$")
assert cursor.description is None
"""
DOWNGRADE = """
db.execute("ALTER TABLE users DROP COLUMN note")
db.execute("ALTER DATABASE {live} RESET ALL")
db.execute("DROP ROLE wide_reader")
"""
ALONE = """
db.execute("ALTER SYSTEM SET work_mem = '63MB'")
db.execute("DROP DATABASE {live} WITH (FORCE)")
db.execute("CREATE TABLESPACE wide LOCATION '/nowhere'")
"""


@pytest.mark.parametrize(("phase", "driver"), [("plan", "psycopg2"), ("plan", "psycopg"), ("rehearsal", "psycopg2")])
def test_what_acts_on_the_whole_server_is_left_out_and_said(bench: Bench, phase: str, driver: str) -> None:
    url = bench.server.url(bench.dbname).replace("+psycopg2", f"+{driver}")
    (bench.folder / "env").write_text(f"DATABASE_URL={url}\n")
    upgrade = UPGRADE if driver == "psycopg2" else UPGRADE.replace(", :value", "")
    before = server_of(bench)
    lines = look(
        bench,
        phase,
        {
            "2026_01_01_wide.py": migration(upgrade.format(live=bench.dbname), DOWNGRADE.format(live=bench.dbname)),
            "2026_01_02_alone.py": migration(ALONE.format(live=bench.dbname), "pass", transactional=False),
        },
    )
    assert server_of(bench) == before
    left = [line for line in lines if line.startswith("not run here, because it acts on the whole server: ")]
    says = "not run here, because it acts on the whole server: {}; the {} runs it on the live database".format
    assert says("ALTER ROLE wide_app SET work_mem = … (line 11) of 2026_01_01_wide", "deploy") in left
    assert says("alter role wide_app password … (line 17) of 2026_01_01_wide", "deploy") in left
    assert says("ALTER SYSTEM SET work_mem = … (line 11) of 2026_01_02_alone", "deploy") in left
    assert len([line for line in left if "the deploy runs" in line]) == 17
    assert not any("'x'" in line for line in left)
    fails = [
        line for line in left if line.endswith("(behind the fence it fails, for there the database has another name)")
    ]
    assert len(fails) == (6 if phase == "plan" else 7)
    if phase == "plan":
        assert "ALTER TABLE users ADD COLUMN note text;" in lines
        assert lines[lines.index("CREATE ROLE wide_new;") - 1].startswith("-- not run here")
    else:
        assert says("DROP ROLE wide_reader (line 34) of 2026_01_01_wide", "rollback") in left
        assert any("equal to the start, apart from what acts on the whole server" in line for line in lines)
        assert any(line.startswith("not safe under traffic: 2026_01_01_wide acts on the whole") for line in lines)


def test_the_deploy_itself_runs_it(bench: Bench) -> None:
    text = migration("db.execute(\"ALTER ROLE wide_app SET work_mem = '64MB'; ALTER ROLE wide_app SET jit = off\")")
    before = server_of(bench)
    with bench.stack.beside_models(bench.stack.api.running()) as app_session:
        done = app_session.call("migrations.apply", {"sources": {"2026_01_01_a.py": text}})
    assert done["left_out"] == []
    assert server_state.changes(before, server_of(bench)) == [
        "role wide_app: setting jit is new.",
        "role wide_app: setting work_mem is new.",
    ]


def test_what_failed_for_want_of_it_is_said(bench: Bench) -> None:
    text = migration('db.execute("CREATE ROLE wide_new"); db.execute("GRANT SELECT ON users TO wide_new")')
    sources = {"2026_01_01_a.py": text}
    bench.write_release("new")
    found = preflight.run(bench.stack, sources, WHO, preflight.Options(), check_mode=True, versions={})
    assert 'role "wide_new" does not exist' in found.would_fail
    assert any("CREATE ROLE wide_new (line" in line for line in found.pap.lines)
    with pytest.raises(RehearsalFailed, match='role "wide_new" does not exist') as caught:
        bench.rehearse(sources)
    assert "run it on the server by hand, before the deploy" in caught.value.hint


# What no reading of the statement finds: SQL that is put together where it runs.
HIDDEN = {
    "ALTER DATABASE {live} SET search_path = app": "database {live}: setting search_path is new",
    "ALTER DATABASE {live} CONNECTION LIMIT 3": "database {live}: connection limit was -1, is 3",
    "ALTER DATABASE {live} SET default_transaction_read_only = on": "setting default_transaction_read_only is new",
    "REVOKE CONNECT ON DATABASE {live} FROM PUBLIC": "database {live}: privileges was",
    "COMMENT ON DATABASE {live} IS 'x'": "database {live}: comment is new",
    "ALTER ROLE wide_app SET work_mem = '64MB'": "role wide_app: setting work_mem is new",
    "ALTER ROLE wide_app IN DATABASE {live} SET jit = off": "role wide_app: setting jit in database {live} is new",
    "ALTER ROLE ALL SET vacuum_cost_delay = 1": "every role is new",
    "ALTER ROLE wide_app PASSWORD 'x'": "role wide_app: password is another than before",
    "ALTER ROLE wide_app VALID UNTIL '2030-01-01'": "role wide_app: password is valid until is new",
    "ALTER ROLE wide_app NOLOGIN": "role wide_app: may log in was true, is false",
    "CREATE ROLE wide_new": "role wide_new is new",
    "DROP ROLE wide_reader": "role wide_reader is gone",
    "GRANT wide_reader TO wide_app": "role wide_app: membership in wide_reader by postgres is new",
    "GRANT SET ON PARAMETER work_mem TO wide_app": "parameter work_mem is new",
    "ALTER DATABASE {live} ALLOW_CONNECTIONS false": 'it allows no connections any more; ALTER DATABASE "{live}" ALLOW_CONNECTIONS',
}


@pytest.mark.parametrize("statement", HIDDEN)
def test_every_difference_is_named(bench: Bench, statement: str) -> None:
    before = live_state.take(bench.stack.database)
    bench.server.sql(statement.format(live=bench.dbname))
    try:
        found = live_state.from_outside(bench.stack.database, before)
    finally:
        bench.server.sql("ALTER ROLE ALL RESET ALL; REVOKE ALL ON PARAMETER work_mem FROM wide_app")
        bench.server.sql(f'ALTER DATABASE "{bench.dbname}" ALLOW_CONNECTIONS true')
    assert [text for text in found if HIDDEN[statement].format(live=bench.dbname) in text], found
    assert len(found) == 1
    assert not any("64MB" in text or "'x'" in text for text in found)


def test_alter_system_is_seen_where_the_file_may_be_read(bench: Bench) -> None:
    before = server_of(bench)
    bench.server.sql("ALTER SYSTEM SET work_mem = '63MB'")
    assert server_state.changes(before, server_of(bench)) == ["server is new."]
    # A role that may read neither the file nor the passwords measures the rest.
    bench.server.sql("ALTER ROLE wide_app PASSWORD 'app'")
    database = bench.stack.database
    plain = dataclasses.replace(
        database, conninfo=dataclasses.replace(database.conninfo, user="wide_app", password="app")
    )
    with plain.session() as session:
        seen = server_state.take(session, before_oid(bench))
    assert "server" not in seen and "password" not in seen["role wide_app"]
    assert seen["role wide_app"]["may log in"] == "true"


def before_oid(bench: Bench) -> int:
    return int(bench.server.sql(f"SELECT oid FROM pg_database WHERE datname = '{bench.dbname}'")[0][0])


def hidden(statement: str) -> str:
    return migration(
        'db.execute("ALTER TABLE users ADD COLUMN note text")\n'
        f"db.execute(\"DO $$ BEGIN EXECUTE '{statement}'; END $$\")",
        'db.execute("ALTER TABLE users DROP COLUMN note")',
    )


@pytest.mark.parametrize("phase", ["plan", "rehearsal"])
def test_what_passes_nevertheless_fails_and_stays_in_the_status(bench: Bench, phase: str) -> None:
    with pytest.raises(LiveDatabaseChanged) as caught:
        look(bench, phase, {"2026_01_01_a.py": hidden("ALTER ROLE wide_app SET work_mem = 65536")})
    assert "role wide_app: setting work_mem is new" in caught.value.message
    (change,) = report.status(bench.stack, {}, preflight.Options()).status.live_changes
    assert change.id == caught.value.data["id"]


@pytest.mark.parametrize("phase", ["plan", "rehearsal"])
def test_a_live_database_that_cannot_be_measured_afterwards_fails(bench: Bench, phase: str) -> None:
    text = hidden(f"ALTER DATABASE {bench.dbname} ALLOW_CONNECTIONS false")
    with pytest.raises(LiveDatabaseChanged) as caught:
        look(bench, phase, {"2026_01_01_a.py": text})
    said = caught.value.message
    assert f"The live database {bench.dbname} cannot be measured any more" in said
    assert f'ALTER DATABASE "{bench.dbname}" ALLOW_CONNECTIONS true opens it again' in said
    found = report.status(bench.stack, {}, preflight.Options()).status
    assert any("cannot be measured any more" in line for line in found.attention)
    bench.server.sql(f"ALTER DATABASE {bench.dbname} ALLOW_CONNECTIONS true")
    found = report.status(bench.stack, {}, preflight.Options(), acknowledge=caught.value.data["id"], who=WHO).status
    assert not found.live_changes


def test_nothing_is_known_where_the_server_does_not_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> None:
        raise PapError("The server does not answer.")

    sources = {"2026_01_01_note.py": migration('db.execute("ALTER TABLE users ADD COLUMN note text")')}
    before = live_state.take(bench.stack.database)
    answers = iter([lambda: before, gone])
    monkeypatch.setattr(live_state, "take", lambda _: next(answers)())
    monkeypatch.setattr(live_state, "from_outside", gone)
    with pytest.raises(LiveDatabaseChanged, match=r"cannot be measured any more \(The server does not answer\)"):
        look(bench, "plan", sources)


def test_every_server_is_read_by_every_role(server: Any) -> None:
    server.sql("CREATE ROLE wide_app LOGIN PASSWORD 'app'")
    try:
        for user, password in ((server.user, server.password), ("wide_app", "app")):
            conninfo = Conninfo("postgres", server.host, server.port, user, password)
            with Database(HostSite(), conninfo, str(server.bin_dir)).session() as session:
                oid = int(session.scalar("SELECT oid::int8 AS o FROM pg_database WHERE datname = 'postgres'"))
                seen = server_state.take(session, oid)
                assert server_state.changes(seen, server_state.take(session, oid)) == []
            assert seen["database postgres"]["owner"] == "postgres"
            assert ("password" in seen["role wide_app"]) == (user == server.user)
    finally:
        server.sql("DROP ROLE wide_app")
