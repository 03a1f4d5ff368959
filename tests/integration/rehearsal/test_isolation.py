"""What works on a copy reaches no live database: each way that once did, with the live content before and after."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from papdeploy import databases
from papdeploy.core.database_identity import DatabaseIdentity
from papdeploy.core.errors import PapError, Refused, WrongDatabase
from papdeploy.core.records import as_object
from papdeploy.databases import live_state
from papdeploy.phases import forecast, live_check, preflight, report
from papdeploy.phases.live_check import LiveDatabaseChanged
from support.journals import last
from support.rehearsal_stack import WHO, Bench, migration
from support.waiting import wait_until

NOTE = "note: Mapped[str | None] = mapped_column(Text)"
ADD_NOTE = migration(
    'db.execute("ALTER TABLE users ADD COLUMN note text")', 'db.execute("ALTER TABLE users DROP COLUMN note")'
)


@pytest.fixture
def bench(servers: dict[int, Any], tmp_path: Path) -> Iterator[Bench]:
    server = servers[18]
    made = Bench(server, tmp_path, server.create("isolation"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def untouched(bench: Bench) -> Iterator[None]:
    """The live database is the same before and after, every row and every object; a login of the baseline apart."""
    before = bench.content()
    yield
    after = bench.content()
    del before.tables["public"]["users"], after.tables["public"]["users"]
    assert before.tables == after.tables
    assert before.catalog == after.catalog
    assert bench.databases() == [bench.dbname]


CALLS: dict[str, dict[str, Any]] = {
    "migrations.status": {"sources": {"2026_01_01_note.py": ADD_NOTE}},
    "migrations.plan": {"sources": {"2026_01_01_note.py": ADD_NOTE}},
    "migrations.apply": {"sources": {"2026_01_01_note.py": ADD_NOTE}},
    "migrations.revert": {"sources": {"2026_01_01_note.py": ADD_NOTE}, "count": 1},
    "migrations.baseline": {"sources": {"2026_01_01_note.py": ADD_NOTE}},
    "migrations.repair": {"sources": {"2026_01_01_note.py": ADD_NOTE}, "reason": "a test"},
    "schema.expect": {"models": ["app.models:Base"]},
    "schema.describe": {},
    "schema.check": {"expected": {}},
}


def test_no_call_does_anything_where_its_session_is_in_another_database(bench: Bench, untouched: None) -> None:
    bench.write_release("new", user=NOTE)
    beside_models = bench.stack.beside_models(bench.stack.api.candidate())
    with beside_models as app_session, forecast.scratch_database(bench.stack, "elsewhere") as scratch:
        expected = scratch.expect
        assert expected is not None
        assert expected.mark
        # The server answers for the live database, whatever the URL calls it: as it does behind a pooler.
        for name, request in CALLS.items():
            lies = [
                scratch.expecting(dataclasses.replace(expected, **lie)).expect
                for lie in (
                    {"oid": app_session.live().oid},
                    {"name": bench.dbname},
                    {"mark": "0" * 16},
                    {"started": "1.5"},
                )
            ]
            for lie in (app_session.live(), *lies):
                assert lie is not None
                with pytest.raises(WrongDatabase):
                    app_session.agent.call(
                        name, {"url": bench.server.url(expected.name), **request, "expect_database": as_object(lie)}
                    )
        with pytest.raises(WrongDatabase):
            scratch.expecting(app_session.live()).execute("CREATE TABLE public.never (id int)")
        assert scratch.scalar(
            "SELECT to_regclass('public.never') IS NULL AND to_regclass('public.users') IS NULL AS nothing"
        )
        app_session.move(scratch)
        assert app_session.call("schema.describe", {})["catalog"]["relations"] == []


# At its import: a program, and a driver, on the database of the environment.
AT_IMPORT = """
import os, subprocess, sys
code = "import os, psycopg2; c = psycopg2.connect(os.environ['DATABASE_URL'].replace('+psycopg2', '')); c.autocommit = True;"
code += " c.cursor().execute('DROP TABLE IF EXISTS items')"
subprocess.run([sys.executable, "-c", code], env={**os.environ, "PGOPTIONS": ""}{check})
"""


@pytest.mark.parametrize("check", ["", ", check=True"])
def test_what_is_only_looked_at_reaches_no_database_by_its_import(bench: Bench, untouched: None, check: str) -> None:
    """Neither models nor migrations: in the preflight, and in a plan."""
    bench.write_release("new", user=NOTE)
    at_import = AT_IMPORT.replace("{check}", check)
    request = {"sources": {"2026_01_01_note.py": ADD_NOTE.replace("def upgrade", f"{at_import}\n\ndef upgrade", 1)}}
    with bench.stack.beside_models(bench.stack.api.candidate()) as app_session:
        problems = app_session.call("migrations.plan", request)["problems"]
    assert [problem["kind"] for problem in problems] == (["import"] if check else [])
    package = bench.folder / "new" / "app" / "__init__.py"
    package.write_text(at_import)
    for mode in (True, False):
        found = preflight.run(
            bench.stack, {"2026_01_01_note.py": ADD_NOTE}, WHO, preflight.Options(), check_mode=mode, versions={}
        )
        assert found.pending == ["2026_01_01_note"]
        said = [line for line in found.pap.lines if line.startswith("CC_DROP_TABLES")]
        assert bool(said) is bool(check)


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_a_url_whose_query_names_the_live_database_is_pointed_at_the_copy(
    bench: Bench, untouched: None, driver: str
) -> None:
    bench.write_release("new", user=NOTE)
    url = bench.server.url(bench.dbname).replace("+psycopg2", f"+{driver}") + f"?dbname={bench.dbname}"
    (bench.folder / "env").write_text(f"DATABASE_URL={url}\n")
    options = preflight.Options()
    found = preflight.run(bench.stack, {"2026_01_01_note.py": ADD_NOTE}, WHO, options, check_mode=True, versions={})
    assert "ALTER TABLE users ADD COLUMN note text;" in found.diff[0].after
    with psycopg2.connect(url.replace(f"+{driver}", "")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        assert cursor.fetchone() == (bench.dbname,)


def test_a_live_url_that_leads_elsewhere_is_told_by_the_inventory_s_names(bench: Bench, untouched: None) -> None:
    bench.write_release("new", user=NOTE)
    other = bench.server.create("elsewhere")
    try:
        (bench.folder / "env").write_text(f"DATABASE_URL={bench.server.url(other)}\n")
        with pytest.raises(Refused, match="leads to another database") as caught:
            preflight.run(bench.stack, {}, WHO, preflight.Options(), check_mode=True, versions={})
        assert "pap_db_name" in caught.value.hint
    finally:
        bench.server.drop(other)


def test_a_copy_of_an_earlier_process_is_known_by_its_mark(bench: Bench, untouched: None) -> None:
    made = databases.create_empty(bench.stack.database, "r1")
    try:
        again = databases.expected(bench.stack.database, made.conninfo.dbname, "r1")
        assert again.expect == made.expect
        again.prove()
        bench.server.sql(f'COMMENT ON DATABASE "{made.conninfo.dbname}" IS NULL')
        with pytest.raises(WrongDatabase, match="not the one that pap-deploy made"):
            again.prove()
        assert isinstance(made.expect, DatabaseIdentity)
    finally:
        bench.server.drop(made.conninfo.dbname)


def test_a_missing_copy_is_a_clear_error(bench: Bench, untouched: None) -> None:
    with pytest.raises(PapError, match="There is no database named nowhere"):
        databases.expected(bench.stack.database, "nowhere", "r1")


LEGACY = '''"""A script with an engine of its own.

Date: 2026-01-01
"""

from app.database import engine


def run_migration():
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE items ADD COLUMN colour text")
    return True
'''
OWN_ENGINE = """
import os
import re
from sqlalchemy import create_engine

engine = create_engine(os.environ["APP_DB_URL"])
"""


def own_engine(bench: Bench) -> dict[str, str]:
    """A release whose own engine takes its URL from a variable of another name, and a legacy script that uses it."""
    bench.write_release("new", item="colour: Mapped[str | None] = mapped_column(Text)")
    (bench.folder / "new" / "app" / "database.py").write_text(OWN_ENGINE)
    (bench.folder / "env").write_text(f"APP_DB_URL={bench.server.url(bench.dbname)}\n")
    # The bench's API knows DATABASE_URL only, so it is not tried.
    bench.stack = dataclasses.replace(bench.stack, url_variable="APP_DB_URL", api=bench.api(trial_command=()))
    return {"2026_01_02_colour.py": LEGACY}


def test_a_legacy_script_does_not_run_in_check_mode(bench: Bench, untouched: None) -> None:
    script = own_engine(bench)
    sources = {"2026_01_01_note.py": ADD_NOTE, **script, "2026_01_03_later.py": ADD_NOTE.replace("note", "later")}
    found = preflight.run(bench.stack, sources, WHO, preflight.Options(), check_mode=True, versions={})
    lines = found.pap.lines
    assert (
        "2026_01_02_colour is a legacy script: what it does is known only by running it, as the rehearsal does" in lines
    )
    assert "not run here, because they come after it: 2026_01_03_later" in lines
    pending, differences, _ = found.diff
    assert "ALTER TABLE users ADD COLUMN note text;" in pending.after
    assert "-- 2026_01_02_colour: not run here" in pending.after
    assert differences.after == "known only when 2026_01_02_colour has run\n"
    # Alone, it makes no scratch database either.
    found = preflight.run(bench.stack, script, WHO, preflight.Options(), check_mode=True, versions={})
    assert found.diff[0].after == "-- 2026_01_02_colour: not run here\n"


BY_A_CHILD = """
    import subprocess, sys
    db.execute("ALTER TABLE users ADD COLUMN note text")
    subprocess.run([sys.executable, "-c", {code!r}], check=True)
"""
# As a driver that does not know PGOPTIONS, in which the runner forbids libpq to connect.
ALTER = "import os, psycopg2; os.environ.pop('PGOPTIONS', ''); c = psycopg2.connect({url!r}); c.autocommit = True; c.cursor().execute({sql!r})"


def child(url: str, sql: str) -> str:
    """A migration whose child connects by itself, with an address that no environment can change."""
    plain = url.replace("+psycopg2", "")
    return migration(
        BY_A_CHILD.format(code=ALTER.format(url=plain, sql=sql)), 'db.execute("ALTER TABLE users DROP note")'
    )


# Each reaches the live database of ``address`` past everything that the environment, a driver or a shell would tell.
WAYS_OUT = {
    "a client of its own": """
        import subprocess
        subprocess.run([{psql!r}, {address!r}, "-c", {sql!r}], env={{"LD_LIBRARY_PATH": {libraries!r}}}, check=True)
    """,
    "a shell": """
        import os
        assert os.system({shell!r}) == 0
    """,
    "another Python": """
        import os, sys
        assert os.spawnve(os.P_WAIT, sys.executable, [sys.executable, "-c", {child!r}], {{}}) == 0
    """,
    "a fork": """
        import os
        pid = os.fork()
        if not pid:
            try:
                exec({child!r})
                os._exit(0)
            finally:
                os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """,
    "a process that stays": """
        import subprocess, sys, time
        subprocess.Popen([sys.executable, "-c", {child!r}], env={{}}, start_new_session=True)
        time.sleep(1.5)
    """,
    "a socket": """
        import socket
        socket.create_connection(({host!r}, {port}))
    """,
}
UPDATE = "UPDATE items SET label = 'by the plan'"


@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_plan_has_no_way_out(bench: Bench, untouched: None, way: str) -> None:
    """Whatever a migration starts or opens: not a row of the live database is another one, and the plan says what the
    migration went for, and still shows what came before it."""
    bench.write_release("new", user=NOTE)
    address = bench.server.url(bench.dbname).replace("+psycopg2", "")
    psql = bench.server.bin_dir / "psql"
    child = f"import psycopg2; c = psycopg2.connect({address!r}); c.autocommit = True; c.cursor().execute({UPDATE!r})"
    body = WAYS_OUT[way].format(
        address=address,
        sql=UPDATE,
        psql=str(psql),
        libraries=os.environ.get("LD_LIBRARY_PATH", ""),
        shell=f"{psql} '{address}' -c \"{UPDATE}\"",
        child=child,
        host="127.0.0.1",
        port=bench.server.port,
    )
    sources = {
        "2026_01_01_note.py": ADD_NOTE,
        "2026_01_02_out.py": migration(body).replace("2026-01-01", "2026-01-02"),
        "2026_01_03_later.py": ADD_NOTE.replace("note", "later").replace("2026-01-01", "2026-01-03"),
    }
    found = preflight.run(bench.stack, sources, WHO, preflight.Options(), check_mode=True, versions={})
    lines = found.pap.lines
    (why,) = [line for line in lines if line.startswith("2026_01_02_out ")]
    assert "starts a pro" in why or "opens a connection (127.0.0.1:" in why
    assert bench.server.password not in "\n".join(lines)
    if way == "a process that stays":  # it failed, and the migration does not know
        assert why.endswith(", which reaches nothing from a plan")
    else:
        assert why.endswith("what it does is known only by running it, as the rehearsal does")
        assert "not run here, because they come after it: 2026_01_03_later" in lines
    assert "ALTER TABLE users ADD COLUMN note text;" in found.diff[0].after
    assert "no row was written" in lines[-1]


def test_a_program_that_needs_no_connection_runs_in_a_plan(bench: Bench, untouched: None) -> None:
    bench.write_release("new", user=NOTE)
    body = """
        import subprocess
        name = subprocess.run(["echo", "note"], capture_output=True, text=True, check=True).stdout.strip()
        db.execute(f"ALTER TABLE users ADD COLUMN {name} text")
    """
    sources = {"2026_01_01_note.py": migration(body, 'db.execute("ALTER TABLE users DROP note")')}
    found = preflight.run(bench.stack, sources, WHO, preflight.Options(), check_mode=True, versions={})
    assert "2026_01_01_note starts a program (echo), which reaches nothing from a plan" in found.pap.lines
    assert "ALTER TABLE users ADD COLUMN note text;" in found.diff[0].after
    assert not [line for line in found.pap.lines if "fail" in line]


def test_a_migration_that_fails_for_itself_fails_the_plan(bench: Bench, untouched: None) -> None:
    bench.write_release("new", user=NOTE)
    sources = {"2026_01_01_note.py": migration('db.execute("ALTER TABLE nothing ADD COLUMN note text")')}
    found = preflight.run(bench.stack, sources, WHO, preflight.Options(), check_mode=True, versions={})
    (line,) = [line for line in found.pap.lines if line.startswith("on an empty copy")]
    assert "2026_01_01_note failed (line" in line and "nothing" in line


def test_a_change_of_the_live_schema_fails_whatever_else_went_well(bench: Bench) -> None:
    bench.write_release("new", user=NOTE)
    sources = {
        "2026_01_01_note.py": child(
            bench.server.url(bench.dbname), "ALTER TABLE items ADD COLUMN IF NOT EXISTS own int"
        )
    }
    with pytest.raises(LiveDatabaseChanged) as caught:
        bench.rehearse(sources)
    error = caught.value
    assert f"The live database {bench.dbname} changed during the rehearsal, between 20" in error.message
    assert "column public.items.own is new" in error.message
    assert "not touched" not in str(error) and "unchanged" not in str(error)
    assert bench.databases() == [bench.dbname]
    assert bench.journal().ended().event == "refused" and error.data["ended"]
    # It stays in the status until a person says that it is dealt with.
    found = report.status(bench.stack, {}, preflight.Options()).status
    (change,) = found.live_changes
    assert found.next == f"look into it, then: ansible-playbook status.yml -l bench -e status_acknowledge={change.id}"
    assert any("column public.items.own is new" in line for line in found.attention)
    with pytest.raises(Refused, match=f"Open is 1 change: {change.id}"):
        report.status(bench.stack, {}, preflight.Options(), acknowledge="0000", who=WHO)
    found = report.status(bench.stack, {}, preflight.Options(), acknowledge=change.id, who=WHO).status
    assert not found.live_changes


def test_changes_of_another_client_are_not_blamed_on_the_release(bench: Bench) -> None:
    bench.write_release("new", user=NOTE)
    slow = migration('db.execute("ALTER TABLE users ADD COLUMN note text"); db.execute("SELECT pg_sleep(3)")')
    statements = ["CREATE INDEX by_hand ON items (label)", "UPDATE items SET label = 'x' WHERE id = 1"]

    def another_client() -> None:
        wait_until(lambda: len(bench.databases()) > 1, seconds=120)
        for statement in statements:
            bench.server.sql(statement, bench.dbname)

    with ThreadPoolExecutor() as pool:
        meanwhile = pool.submit(another_client)
        with pytest.raises(LiveDatabaseChanged) as caught:
            preflight.run(
                bench.stack, {"2026_01_01_note.py": slow}, WHO, preflight.Options(), check_mode=True, versions={}
            )
        meanwhile.result()
    assert "index public.items.by_hand is new" in caught.value.message or "by_hand" in caught.value.message
    assert "By whom cannot be told" in caught.value.message
    # Rows that are written meanwhile are what a live database is for: said, and no failure.
    statements[:] = ["UPDATE items SET label = 'y' WHERE id = 1"]
    with ThreadPoolExecutor() as pool:
        meanwhile = pool.submit(another_client)
        found = preflight.run(
            bench.stack, {"2026_01_01_note.py": slow}, WHO, preflight.Options(), check_mode=True, versions={}
        )
        meanwhile.result()
    said = found.pap.lines[-1]
    assert said == (
        "live database, before and after: the same schema, no session of what this run started was seen in it; rows were"
        " written to public.items meanwhile, by whom cannot be told"
    )


def test_a_quiet_plan_and_a_quiet_rehearsal_say_what_was_measured(bench: Bench, untouched: None) -> None:
    bench.write_release("new", user=NOTE)
    sources = {"2026_01_01_note.py": ADD_NOTE}
    seen = "no session of what this run started was seen in it"
    said = f"live database, before and after: the same schema, {seen}; no row was written"
    found = preflight.run(bench.stack, sources, WHO, preflight.Options(), check_mode=True, versions={})
    assert found.pap.lines[-1] == said
    bench.rehearse(sources)
    assert said in last(bench.journal(), "rehearse", "note")["lines"]


def test_a_run_of_migrations_on_the_live_database_is_seen_by_its_ledger(bench: Bench) -> None:
    with bench.stack.beside_models(bench.stack.api.running()) as app_session:
        assert app_session.call("migrations.apply", {"sources": {}})["applied"] == []
        app_session.call("migrations.apply", {"sources": {"2026_01_01_a.py": migration('db.execute("SELECT 1")')}})
        before = live_state.take(bench.stack.database)
        app_session.call(
            "migrations.apply",
            {
                "sources": {
                    "2026_01_01_a.py": migration('db.execute("SELECT 1")'),
                    "2026_01_02_b.py": migration('db.execute("SELECT 2")'),
                }
            },
        )
    found = live_state.changes(before, live_state.take(bench.stack.database))
    assert "rows were written to pap_deploy.ledger: migrations ran on this database." in found.catalog


def rehearsed(bench: Bench, sources: dict[str, str], **options: Any) -> dict[str, Any]:
    return bench.rehearse(sources, schema={"fail_on": "error"}, **options)


def test_a_legacy_script_with_the_application_s_engine_is_rehearsed_on_the_copy(bench: Bench, untouched: None) -> None:
    found = rehearsed(bench, own_engine(bench))
    assert found["verdict"] == "good"
    assert found["migrations"][0]["details"]["changed"] == ["column public.items.colour added"]


WITH_A_SHELL = '''"""A script that calls psql.

Date: 2026-01-01
"""

import os
import re
import subprocess


def run_migration():
    assert os.system("{psql} -qc 'ALTER TABLE items ADD COLUMN colour text'") == 0
    address = os.environ["APP_DB_URL"].replace("+psycopg2", "")
    subprocess.run(["{psql}", address, "-qc", "UPDATE items SET colour = current_database()"], check=True)
    return True
'''


def test_a_legacy_script_that_calls_psql_reaches_the_copy_only(bench: Bench, untouched: None) -> None:
    own_engine(bench)
    server = bench.server
    parts = {"PGHOST": server.host, "PGPORT": server.port, "PGUSER": server.user, "PGPASSWORD": server.password,
             "PGDATABASE": bench.dbname, "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}  # fmt: skip
    with (bench.folder / "env").open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in parts.items())
    sources = {"2026_01_02_colour.py": WITH_A_SHELL.replace("{psql}", str(server.bin_dir / "psql"))}
    plan = preflight.run(bench.stack, sources, WHO, preflight.Options(), check_mode=True, versions={})
    assert plan.diff[0].after == "-- 2026_01_02_colour: not run here\n"
    assert "no row was written" in plan.pap.lines[-1]
    found = rehearsed(bench, sources)
    assert found["migrations"][0]["details"]["changed"] == ["column public.items.colour added"]
    lines = last(bench.journal(), "rehearse", "note")["lines"]
    said = (
        "2026_01_02_colour starts a program (psql): a session there in the live database for a few ms is not measured"
    )
    assert said in lines, lines
    assert "no row was written" in lines[-2]


def test_rows_that_somebody_wrote_meanwhile_are_said_with_what_could_have_been_it(bench: Bench) -> None:
    """A session of a few milliseconds is not seen; then what the migration started is all that is known."""
    bench.write_release("new", user=NOTE)
    dsn = bench.server.url(bench.dbname).replace("+psycopg2", "")
    code = "import os, psycopg2; os.environ.pop('PGOPTIONS', '')"
    text = migration(
        f'''
        import subprocess, sys
        db.execute("ALTER TABLE users ADD COLUMN note text")
        subprocess.run([sys.executable, "-c", {code!r}], check=True)
        ''', 'db.execute("ALTER TABLE users DROP note")'
    )  # fmt: skip
    with (
        psycopg2.connect(dsn, application_name="somebody") as other,
        live_check.unchanged(bench.stack, "a try") as live,
    ):
        bench.rehearse({"2026_01_01_note.py": text})
        other.cursor().execute("UPDATE items SET label = 'another'")
        other.commit()
    said = r"rows were written to public\.items.* meanwhile, by whom cannot be told: perhaps by what this run started \(%s\)$"
    assert re.search(said % r"2026_01_01_note starts a program \(python\S*\)", live.sentence), live.sentence


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_a_legacy_script_with_an_address_of_its_own_gets_no_session(bench: Bench, untouched: None, driver: str) -> None:
    bench.write_release("new", item="colour: Mapped[str | None] = mapped_column(Text)")
    address = bench.server.url(bench.dbname).replace("+psycopg2", "")
    (bench.folder / "new" / "address.txt").write_text(address)
    text = LEGACY.replace("from app.database import engine\n", "").replace(
        "    with engine.begin()",
        f"    import sqlalchemy\n    address = open('address.txt').read().replace('://', '+{driver}://')\n"
        "    with sqlalchemy.create_engine(address).begin()",
    )
    with pytest.raises(PapError, match=r"was closed before it was used|connected to the live database"):
        rehearsed(bench, {"2026_01_02_colour.py": text})


def test_a_child_of_a_migration_works_on_the_copy(bench: Bench, untouched: None) -> None:
    """A child that connects by the environment, with a driver that does not know PGOPTIONS, is on the copy."""
    bench.write_release("new", user=NOTE)
    (bench.folder / "new" / ".env").write_text(f"JOBS_DSN={bench.server.url(bench.dbname)}\n")
    code = (
        "import os, psycopg2; os.environ.pop('PGOPTIONS', ''); seen = set()\n"
        "for name in ('DATABASE_URL', 'JOBS_DSN'):\n"
        "    c = psycopg2.connect(os.environ[name].replace('+psycopg2', '')); c.autocommit = True\n"
        "    q = c.cursor(); q.execute('SELECT current_database()'); seen.add(q.fetchone()[0])\n"
        "q.execute('CREATE TABLE public.by_a_child AS SELECT %s AS seen', (','.join(sorted(seen)),))"
    )
    text = migration(
        BY_A_CHILD.format(code=code)
        + '    db.execute("ALTER TABLE users ALTER COLUMN note SET DEFAULT (SELECT seen FROM by_a_child)")\n'
    )
    # It fails for what it asks of the child's table: that is there, in the copy.
    with pytest.raises(PapError, match="cannot use subquery in DEFAULT expression"):
        bench.rehearse({"2026_01_01_note.py": text})


LEAVES = {
    "a child": "subprocess.Popen([sys.executable, '-c', {code!r}], start_new_session=True)",
    "a daemon": "subprocess.run(['sh', '-c', {shell!r}], env={{}}, check=True)",
}


@pytest.mark.parametrize("how", LEAVES)
def test_a_migration_that_leaves_a_program_running_fails_and_that_is_ended(
    bench: Bench, untouched: None, how: str
) -> None:
    bench.write_release("new", user=NOTE)
    address = bench.server.url(bench.dbname).replace("+psycopg2", "")
    code = (
        f"import time, psycopg2; time.sleep(6); c = psycopg2.connect({address!r}); c.autocommit = True;"
        f" c.cursor().execute({UPDATE!r})"
    )
    shell = "setsid sleep 60 </dev/null >/dev/null 2>&1 &"
    body = "import subprocess, sys\n" + LEAVES[how].format(code=code, shell=shell)
    sources = {"2026_01_01_note.py": migration(f'db.execute("ALTER TABLE users ADD COLUMN note text")\n{body}')}
    began = time.monotonic()
    with pytest.raises(
        PapError, match=r"2026_01_01_note left a program running \((?:python\S*|sleep), process \d+\), which was"
    ):
        bench.rehearse(sources)
    time.sleep(max(0.0, 8 - (time.monotonic() - began)))  # longer than it would have slept


def test_a_session_of_a_child_on_the_live_database_is_named_and_ended(bench: Bench) -> None:
    bench.write_release("new", user=NOTE)
    address = bench.server.url(bench.dbname).replace("+psycopg2", "")
    code = (
        f"import os, time, psycopg2; os.environ.clear(); c = psycopg2.connect({address!r}, application_name='innocent')\n"
        "for _ in range(600):\n    c.cursor().execute('SELECT 1'); time.sleep(0.05)"
    )
    sources = {"2026_01_01_note.py": migration(BY_A_CHILD.format(code=code))}
    with pytest.raises(LiveDatabaseChanged) as caught:
        bench.rehearse(sources)
    error = caught.value
    assert f"Work of this run was on the live database {bench.dbname} during the rehearsal" in error.message
    assert "no change of its schema was seen" in error.message
    (session,) = error.data["sessions"]
    assert session["application"] == "innocent" and session["what"] == "the rehearsal of the migrations"
    assert sys.executable.rpartition("/")[2] in session["program"] and "psycopg2" in session["program"]
    assert report.status(bench.stack, {}, preflight.Options()).status.live_changes
    still = bench.server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'innocent'")
    assert still == [(0,)]


OVERRIDES = """
import os
import re
if os.path.exists(".env"):  # as load_dotenv(override=True)
    for line in open(".env"):
        os.environ.update([line.strip().split("=", 1)])
"""
READS_A_FILE = "import configparser\nsettings = configparser.ConfigParser()\nsettings.read('settings.ini')\n"


def test_what_leads_back_to_the_live_database_is_refused_by_its_name(bench: Bench, untouched: None) -> None:
    bench.write_release("new", user=NOTE)
    sources = {"2026_01_01_note.py": ADD_NOTE}
    package, url = bench.folder / "new" / "app" / "__init__.py", bench.server.url(bench.dbname)
    package.write_text(OVERRIDES)
    (bench.folder / "new" / ".env").write_text(f"DATABASE_URL={url}\n")
    with pytest.raises(PapError, match=r"DATABASE_URL leads to the live database .* again once the models"):
        bench.rehearse(sources)
    (bench.folder / "new" / ".env").unlink()
    package.write_text(READS_A_FILE)
    (bench.folder / "new" / "settings.ini").write_text(f"[database]\nurl = {url}\n")
    with pytest.raises(PapError, match=r"import of the models reads .*settings\.ini, which leads to the live database"):
        bench.rehearse(sources)
    package.write_text("")
    with (bench.folder / "env").open("a") as file:
        file.write(f"APP_CONFIG={bench.folder / 'new' / 'settings.ini'}\n")
    with pytest.raises(PapError, match="APP_CONFIG names a file that leads to the live database") as caught:
        bench.rehearse(sources)
    assert "Say in pap_api_trial_env what APP_CONFIG is to be on a copy" in caught.value.hint
    bench.stack = dataclasses.replace(bench.stack, copy_variables={"APP_CONFIG": ""})
    assert bench.rehearse(sources)["verdict"] == "good"


ENGINE = "import sqlalchemy\nengine = sqlalchemy.create_engine({url!r})\n"
EXPORTS = "#!/bin/sh\nexport DATABASE_URL={url}\nexec {python} api.py $1\n"


@pytest.mark.parametrize("how", ["a settings file", "a constant", "a start script"])
def test_a_program_that_leads_itself_to_the_live_database_is_not_tried(bench: Bench, untouched: None, how: str) -> None:
    """Only its main module does so, or its start script, which no import of the models shows; and the first thing that
    it would do there is the worst."""
    url = bench.server.url(bench.dbname)
    plain = url.replace("+psycopg2", "")
    ruin = "DROP TABLE items CASCADE"
    bench.write_release("new", user=NOTE, at_start=[ruin], **({"url": plain} if how == "a constant" else {}))
    program, folder = bench.folder / "new" / "api.py", bench.folder / "new"
    if how == "a settings file":
        program.write_text(OVERRIDES + program.read_text())
        (folder / ".env").write_text(f"DATABASE_URL={url}\n")
        why = rf"DATABASE_URL leads there, whatever it was before: it is set by {folder}/api\.py, line 6"
    elif how == "a constant":
        program.write_text(ENGINE.format(url=url) + program.read_text())
        why = f"it makes an engine for {bench.dbname} on 127.0.0.1"
    else:
        (folder / "start.sh").write_text(EXPORTS.format(url=plain, python=sys.executable))
        bench.stack = dataclasses.replace(bench.stack, api=bench.api(trial_command=("sh", "start.sh", "{port}")))
        why = "DATABASE_URL leads there, whatever it was before: it is set by the start command"
    with pytest.raises(PapError, match=f"new would be tried on the live database {bench.dbname}: {why}") as caught:
        bench.rehearse({"2026_01_01_note.py": ADD_NOTE})
    assert bench.server.password not in str(caught.value)
    assert "no session of what this run started was seen in it" in caught.value.data["live"]


def test_foreign_servers_of_a_copy_that_mean_the_live_database_mean_the_copy(bench: Bench, untouched: None) -> None:
    """Where the extension is not there, a wrapper of its name takes the same options."""
    bench.write_release("new", user=NOTE)
    port = bench.server.port
    options = {
        "itself": f"host '127.0.0.1', port '{port}', dbname '{bench.dbname}'",
        "by_default": f"dbname '{bench.dbname}'",
        "another_host": f"host 'other.example', port '{port}', dbname '{bench.dbname}'",
        "another_port": f"host 'localhost', port '1', dbname '{bench.dbname}'",
        "another_database": f"host 'localhost', port '{port}', dbname 'postgres'",
    }
    try:
        bench.server.sql("CREATE FOREIGN DATA WRAPPER postgres_fdw", bench.dbname)
        for name, text in options.items():
            bench.server.sql(f"CREATE SERVER {name} FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({text})", bench.dbname)
        changes = (
            "(SELECT string_agg(srvname || array_to_string(srvoptions, ',') , ';' ORDER BY 1) FROM pg_foreign_server)"
        )
        look = f"""
            db.execute("ALTER TABLE users ADD COLUMN note text")
            found = db.scalar("SELECT {changes}")
            name = db.scalar("SELECT current_database()")
            led = [part.partition("dbname=")[0] for part in found.split(";") if "dbname=" + name in part]
            assert name != {bench.dbname!r} and [part[:6] for part in led] == ["by_def", "itself"], found
            assert found.count("dbname={bench.dbname},") == 2, found
        """
        sources = {"2026_01_01_note.py": migration(look, 'db.execute("ALTER TABLE users DROP note")')}
        assert bench.rehearse(sources)["reversible"]
        found = preflight.run(bench.stack, sources, WHO, preflight.Options(), check_mode=True, versions={})
        assert not [line for line in found.pap.lines if "fail" in line]
    finally:
        bench.server.sql("DROP FOREIGN DATA WRAPPER postgres_fdw CASCADE", bench.dbname)
