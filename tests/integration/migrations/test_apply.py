"""Apply: whole, once, recorded; and refused where the files and the ledger disagree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from papdeploy.core.errors import PapError, Refused, Unavailable
from papdeploy.core.records import plain
from papdeploy.migrations import files, ledger, planning
from papdeploy.migrations.ledger import Ledger
from papdeploy.migrations.run import apply, baseline, plan_on_copy
from papdeploy.migrations.run.records import Lock
from support.migration_runner import ADD_X, CREATE_A, FILL_A, Bench, Verdict, migration
from support.postgres_servers import Server

THREE = {"2025_01_01_a.py": CREATE_A, "2025_01_02_fill.py": FILL_A, "2025_01_03_x.py": ADD_X}


@pytest.fixture
def bench(server: Server, database: str) -> Bench:
    return Bench(server, database)


def test_all_pending_in_one_transaction_then_nothing(bench: Bench) -> None:
    result = bench.apply(THREE)
    assert [ran.identity for ran in result.applied] == ["2025_01_01_a", "2025_01_02_fill", "2025_01_03_x"]
    assert len(result.transactions) == 1 and result.changed
    assert plain(result.applied[1].statements) == [
        {"sql": "INSERT INTO a SELECT g, g FROM generate_series(1, 100) AS g", "rows": 100,
         "ms": result.applied[1].statements[0].ms}
    ]  # fmt: skip
    assert bench.columns() == ["id", "n", "x"]
    rows = bench.ledger(
        "event, identity, checksum, release, who, seconds > 0, jsonb_array_length(statements), run::text"
    )
    expected = {m.identity: m.checksum for m in files.load_sources(THREE)}
    assert rows == [("applied", name, expected[name], "r1", "tester", True, 1, result.run) for name in expected]
    assert bench.scalar("SELECT count(DISTINCT xmin::text) FROM pap_deploy.ledger") == 1

    again = bench.apply(THREE)
    assert again.applied == [] and not again.changed
    assert len(bench.ledger()) == 3


def test_a_failure_leaves_nothing_but_its_note(bench: Bench) -> None:
    bad = migration('db.execute("SELECT 1")\ndb.execute("ALTER TABLE missing ADD COLUMN x int")')
    with pytest.raises(PapError) as caught:
        bench.apply({**THREE, "2025_01_04_bad.py": bad})
    assert bench.tables() == []
    assert bench.ledger() == [("failed", "2025_01_04_bad")]
    error = caught.value
    assert "2025_01_04_bad failed (line 7)" in error.message and "missing" in error.message
    assert error.data["statement"] == "ALTER TABLE missing ADD COLUMN x int"
    assert error.data["sqlstate"] == "42P01" and error.data["committed"] == []
    assert planning.compare(files.load_sources(THREE), _book(bench)).pending[0].identity == "2025_01_01_a"


def _book(bench: Bench) -> Ledger:
    connection = bench.server.connect(bench.name)
    try:
        return ledger.read(lambda query: planning.rows(connection, query))
    finally:
        connection.close()


def test_the_check_decides_before_commit(bench: Bench) -> None:
    seen: list[bool] = []

    def check(matches: bool) -> Callable[[Any], Verdict]:
        def run(connection: Any) -> Verdict:
            seen.append(connection.exec_driver_sql("SELECT to_regclass('a') IS NOT NULL").scalar())
            return Verdict(matches, differences=[{"kind": "column_missing", "object": "a.y"}])

        return run

    with pytest.raises(PapError, match=r"does not match the models: 1 difference.*a\.y") as caught:
        bench.apply(THREE, check=check(False))
    assert seen == [True]  # it looked inside the transaction
    assert bench.tables() == [] and caught.value.data["check"]["matches"] is False
    assert bench.apply(THREE, check=check(True)).check["matches"] is True
    assert bench.tables() == ["a"]
    with pytest.raises(PapError, match="does not match"):  # nothing pending: the check still speaks
        bench.apply(THREE, check=check(False))


def test_a_check_that_raises_commits_nothing(bench: Bench) -> None:
    def check(connection: Any) -> Verdict:
        connection.exec_driver_sql("SELECT 1/0")
        return Verdict(True)

    with pytest.raises(PapError, match="division by zero"):
        bench.apply(THREE, check=check)
    assert bench.tables() == []


def test_a_check_cannot_end_the_transaction(bench: Bench) -> None:
    def check(connection: Any) -> Verdict:
        connection.commit() if hasattr(connection, "commit") else None
        connection.rollback() if hasattr(connection, "rollback") else None
        return Verdict(False)

    with pytest.raises(PapError, match="does not match"):
        bench.apply(THREE, check=check)
    assert bench.tables() == []


def test_plan_and_status_touch_nothing(bench: Bench) -> None:
    connection = bench.server.connect(bench.name)
    connection.set_session(readonly=True)
    plan = plan_on_copy.plan(connection, files.load_sources(THREE))
    connection.close()
    assert [m.identity for m in plan.pending] == ["2025_01_01_a", "2025_01_02_fill", "2025_01_03_x"]
    assert plan.exact and not plan.state.ledger_exists
    assert "ALTER TABLE a ADD COLUMN x text;" in plan.as_text()
    assert bench.scalar("SELECT to_regnamespace('pap_deploy') IS NULL")


def test_plan_on_a_scratch_copy_gives_the_sql_that_runs(bench: Bench) -> None:
    loop = migration('for n in range(db.scalar("SELECT 2")):\n    db.execute(f"CREATE TABLE t{n} (id int)")')
    scratch = bench.server.create("scratch")
    connection = bench.server.connect(bench.name)
    sources = files.load_sources({"2025_01_01_loop.py": loop})
    try:
        guess = plan_on_copy.plan(connection, sources)
        with pytest.raises(PapError, match="leads to the database itself"):  # by whatever address
            plan_on_copy.plan(connection, sources, scratch=bench.url.replace("127.0.0.1", "localhost"))
        assert bench.tables() == []
        exact = plan_on_copy.plan(connection, sources, scratch=bench.server.url(scratch))
    finally:
        connection.close()
        bench.server.drop(scratch)
    assert not guess.exact and "a guess" in guess.as_text()
    assert exact.exact
    assert list(exact.sql["2025_01_01_loop"].statements) == [
        "SELECT 2",
        "CREATE TABLE t0 (id int)",
        "CREATE TABLE t1 (id int)",
    ]
    assert bench.tables() == []


def test_dry_run_says_and_does_not(bench: Bench) -> None:
    result = bench.apply(THREE, dry_run=True)
    assert result.changed and result.pending == ["2025_01_01_a", "2025_01_02_fill", "2025_01_03_x"]
    assert bench.tables() == [] and bench.ledger() == []


PROBLEMS: dict[str, tuple[Callable[[dict[str, str]], object], str, str]] = {
    "edited": (
        lambda s: s.update({"2025_01_01_a.py": CREATE_A + "# x\n"}),
        "was edited after it was applied",
        "repair",
    ),
    "missing": (lambda s: s.pop("2025_01_01_a.py"), "its file is gone", "older checkout"),
    "out_of_order": (lambda s: s.update({"2025_01_02_between.py": ADD_X}), "sorts before 2025_01_03_x", "allow"),
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_disagreement_is_refused_with_the_next_step(bench: Bench, kind: str) -> None:
    change, message, hint = PROBLEMS[kind]
    bench.apply(THREE)
    sources = dict(THREE)
    change(sources)
    sources["2025_02_01_new.py"] = migration('db.execute("CREATE TABLE new (id int)")')
    with pytest.raises(Refused, match=message) as caught:
        bench.apply(sources)
    assert hint in caught.value.hint
    assert [problem["kind"] for problem in caught.value.data["problems"]] == [kind]
    assert bench.tables() == ["a"]


def test_out_of_order_on_request(bench: Bench) -> None:
    bench.apply(THREE)
    older = migration('db.execute("CREATE TABLE older (id int)")')
    bench.apply({**THREE, "2024_01_01_older.py": older}, allow_out_of_order=True)
    assert bench.tables() == ["a", "older"]


def test_line_ends_are_no_edit(bench: Bench) -> None:
    bench.apply(THREE)
    dos = {name: text.replace("\n", "\r\n") + "\r\n" for name, text in THREE.items()}
    assert not bench.apply(dos).changed


@pytest.mark.parametrize("kind", ["edited", "missing"])
def test_repair_accepts_and_records(bench: Bench, kind: str) -> None:
    bench.apply(THREE)
    sources = dict(THREE)
    PROBLEMS[kind][0](sources)
    loaded = files.load_sources(sources)
    with pytest.raises(Refused, match="needs a reason"):
        baseline.repair(bench.url, loaded)
    dry = baseline.repair(bench.url, loaded, dry_run=True)
    assert dry.marked == ["2025_01_01_a"] and len(bench.ledger()) == 3
    baseline.repair(bench.url, loaded, reason="only a comment", who="me")
    event = {"edited": "repaired", "missing": "forgotten"}[kind]
    assert bench.ledger()[-1] == (event, "2025_01_01_a")
    assert bench.sql("SELECT details->>'reason' FROM pap_deploy.ledger ORDER BY id DESC LIMIT 1") == [
        ("only a comment",)
    ]
    assert not bench.apply(sources).changed
    with pytest.raises(Refused, match="nothing to repair"):
        baseline.repair(bench.url, loaded, identities=["2025_01_03_x"], reason="asked for twice")


def test_only_one_with_what_it_requires(bench: Bench) -> None:
    sources = {
        "2025_01_01_a.py": CREATE_A,
        "2025_01_02_other.py": migration('db.execute("CREATE TABLE other (id int)")'),
        "2025_01_03_x.py": ADD_X.replace('"""A migration."""', '"""A migration."""\nrequires = ["2025_01_01_a"]'),
    }
    bench.apply(sources, only=("2025_01_03_x",))
    assert bench.tables() == ["a"] and bench.applied() == ["2025_01_01_a", "2025_01_03_x"]


def test_each_in_its_own_transaction(bench: Bench) -> None:
    bad = migration('db.execute("SELECT 1/0")')
    with pytest.raises(PapError, match="division by zero") as caught:
        bench.apply({**THREE, "2025_01_04_bad.py": bad}, transaction="each")
    assert caught.value.data["committed"] == ["2025_01_01_a", "2025_01_02_fill", "2025_01_03_x"]
    assert "still in force: 2025_01_01_a" in caught.value.hint
    assert bench.columns() == ["id", "n", "x"]


def test_settings_of_one_migration_do_not_reach_the_next(bench: Bench) -> None:
    sources = {
        "2025_01_01_a.py": migration(
            """
            db.execute("CREATE SCHEMA other")
            db.execute("CREATE ROLE helper_%s NOLOGIN" % db.scalar("SELECT current_database()"))
            db.execute("SELECT set_config('search_path', 'other', false)")
            db.execute("SET lock_timeout = 0; SET ROLE pg_monitor; SET work_mem = '7MB'")
            """
        ),
        "2025_01_02_b.py": migration(
            """
            assert db.scalar("SHOW search_path") == '"$user", public'
            assert db.scalar("SHOW lock_timeout") == "5s"
            assert db.scalar("SELECT current_user") == "postgres"
            assert db.scalar("SHOW work_mem") == "4MB"
            db.execute("CREATE TABLE here (id int)")
            """
        ),
    }
    bench.apply(sources)
    bench.sql(f"DROP ROLE helper_{bench.name}")
    assert bench.tables() == ["here"]


def test_what_it_did_to_others_is_observed(bench: Bench) -> None:
    bench.apply({"2025_01_01_a.py": CREATE_A, "2025_01_02_fill.py": FILL_A})
    rewrite = migration('db.execute("ALTER TABLE a ALTER COLUMN n TYPE bigint")')
    note = migration("db.execute(\"COMMENT ON TABLE a IS 'x'\")")
    sources = {"2025_01_01_a.py": CREATE_A, "2025_01_02_fill.py": FILL_A}
    result = bench.apply({**sources, "2025_01_03_r.py": rewrite, "2025_01_04_n.py": note}, observe=True)
    first, second = result.applied
    assert first.rewritten == ("public.a",) and second.rewritten == ()
    assert Lock("public.a", "AccessExclusiveLock") in (first.locks or ())
    assert Lock("public.a", "ShareUpdateExclusiveLock") in (second.locks or ())
    assert (first.wal_bytes or 0) > 0


def test_secrets_do_not_reach_result_or_ledger(bench: Bench) -> None:
    secret = bench.server.password
    leak = migration(f"db.execute(\"COMMENT ON DATABASE {bench.name} IS 'postgresql://u:{secret}@h/d'\")")
    result = bench.apply({"2025_01_01_leak.py": leak})
    assert secret not in str(result.as_json()) and "********" in str(result.as_json())
    assert secret not in str(bench.ledger("*"))
    bad = migration(f"raise ValueError('password={secret}')")
    with pytest.raises(PapError) as caught:
        bench.apply({"2025_01_01_leak.py": leak, "2025_01_02_bad.py": bad})
    assert secret not in str(caught.value.as_dict())


def test_the_ledger_is_append_only(bench: Bench) -> None:
    bench.apply(THREE)
    for statement in (
        "UPDATE pap_deploy.ledger SET who = 'x'",
        "DELETE FROM pap_deploy.ledger",
        "TRUNCATE pap_deploy.ledger",
    ):
        with pytest.raises(Exception, match="append-only"):
            bench.sql(statement)
    assert len(bench.ledger()) == 3


def test_a_role_that_may_not_read_the_ledger_is_told_so(bench: Bench) -> None:
    bench.apply(THREE)
    bench.sql(f"CREATE ROLE reader_{bench.name} LOGIN PASSWORD 'reader'")
    url = bench.url.replace(f"postgres:{bench.server.password}", f"reader_{bench.name}:reader")
    try:
        with pytest.raises(Unavailable, match="may not read it"):
            apply.apply(url, files.load_sources(THREE))
    finally:
        bench.sql(f"DROP ROLE reader_{bench.name}")


def test_a_role_that_may_not_create_is_refused_whole(bench: Bench) -> None:
    bench.sql(f"CREATE ROLE reader_{bench.name} LOGIN PASSWORD 'reader'")
    url = bench.url.replace(f"postgres:{bench.server.password}", f"reader_{bench.name}:reader")
    try:
        with pytest.raises(PapError, match="permission denied for database") as caught:
            apply.apply(url, files.load_sources(THREE))
        assert "use the owner" in caught.value.hint
    finally:
        bench.sql(f"DROP ROLE reader_{bench.name}")
    assert bench.tables() == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://u:p@h/d", "starts with mysql"),
        ("postgresql://postgres:wrong@{host}:{port}/{name}", "did not accept the connection"),
        ("postgresql://postgres:x@127.0.0.1:1/{name}", "did not accept the connection"),
    ],
)
def test_no_database_is_one_sentence(bench: Bench, url: str, message: str) -> None:
    url = url.format(host=bench.server.host, port=bench.server.port, name=bench.name)
    with pytest.raises(PapError, match=message) as caught:
        apply.apply(url, files.load_sources(THREE))
    assert "wrong" not in str(caught.value.as_dict())
