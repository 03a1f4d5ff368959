"""What works on a copy reaches no live database: each way that once did, with the live content before and after."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from papdeploy import databases
from papdeploy.core.database_identity import DatabaseIdentity
from papdeploy.errors import PapError, Refused, WrongDatabase
from papdeploy.phases import plan, preflight
from rehearse_support import WHO, Bench, migration

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


CALLS = {
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
    with beside_models as beside, plan.scratch_database(bench.stack, "elsewhere") as scratch:
        expected = scratch.expect
        assert expected is not None
        assert expected.mark
        # The server answers for the live database, whatever the URL calls it: as it does behind a pooler.
        for name, request in CALLS.items():
            lies = [
                scratch.expecting(dataclasses.replace(expected, **lie)).expect
                for lie in (
                    {"oid": beside.live().oid},
                    {"name": bench.dbname},
                    {"mark": "0" * 16},
                    {"started": "1.5"},
                )
            ]
            for lie in (beside.live(), *lies):
                assert lie is not None
                with pytest.raises(WrongDatabase):
                    beside.agent.call(
                        name, {"url": bench.server.url(expected.name), **request, "expect_database": lie.as_dict()}
                    )
        with pytest.raises(WrongDatabase):
            scratch.expecting(beside.live()).execute("CREATE TABLE public.never (id int)")
        assert scratch.scalar(
            "SELECT to_regclass('public.never') IS NULL AND to_regclass('public.users') IS NULL AS nothing"
        )
        assert beside.call("schema.describe", {}, at=scratch)["catalog"]["relations"] == []


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_a_url_whose_query_names_the_live_database_is_refused(bench: Bench, untouched: None, driver: str) -> None:
    bench.write_release("new", user=NOTE)
    url = bench.server.url(bench.dbname).replace("+psycopg2", f"+{driver}") + f"?dbname={bench.dbname}"
    (bench.folder / "env").write_text(f"DATABASE_URL={url}\n")
    options = preflight.Options()
    with contextlib.suppress(WrongDatabase):  # who reads the URL as libpq does re-points it; who does not is refused
        preflight.run(bench.stack, {"2026_01_01_note.py": ADD_NOTE}, WHO, options, check_mode=True, versions={})
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
from sqlalchemy import create_engine

engine = create_engine(os.environ["APP_DB_URL"])
"""


def own_engine(bench: Bench) -> dict[str, str]:
    """A release whose own engine takes its URL from a variable of another name, and a legacy script that uses it."""
    bench.write_release("new", item="colour: Mapped[str | None] = mapped_column(Text)")
    (bench.folder / "new" / "app" / "database.py").write_text(OWN_ENGINE)
    (bench.folder / "env").write_text(f"APP_DB_URL={bench.server.url(bench.dbname)}\n")
    bench.stack = dataclasses.replace(bench.stack, url_variable="APP_DB_URL")
    return {"2026_01_02_colour.py": LEGACY}


def test_a_legacy_script_does_not_run_in_check_mode(bench: Bench, untouched: None) -> None:
    script = own_engine(bench)
    sources = {"2026_01_01_note.py": ADD_NOTE, **script, "2026_01_03_later.py": ADD_NOTE.replace("note", "later")}
    found = preflight.run(bench.stack, sources, WHO, preflight.Options(), check_mode=True, versions={})
    lines = found["pap"]["lines"]
    assert (
        "2026_01_02_colour is a legacy script: what it does is known only by running it, as the rehearsal does" in lines
    )
    assert "not run here, because they come after it: 2026_01_03_later" in lines
    pending, differences, _ = found["diff"]
    assert "ALTER TABLE users ADD COLUMN note text;" in pending["after"]
    assert "-- 2026_01_02_colour: not run here" in pending["after"]
    assert differences["after"] == "known only when 2026_01_02_colour has run\n"
    # Alone, it makes no scratch database either.
    found = preflight.run(bench.stack, script, WHO, preflight.Options(), check_mode=True, versions={})
    assert found["diff"][0]["after"] == "-- 2026_01_02_colour: not run here\n"
