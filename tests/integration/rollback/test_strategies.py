"""Every rollback strategy restores the content exactly, says what it costs first, and refuses to lose anything silently."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from papdeploy import databases, rollback
from papdeploy.app.stack import Stack
from papdeploy.core import text
from papdeploy.core.errors import PapError, Refused, Unhealthy
from papdeploy.core.records import as_object
from papdeploy.databases import content_digest, disk, smoke_test_writes, write_snapshot
from papdeploy.databases.psql import Database
from papdeploy.databases.write_counts import Own, Wrote
from papdeploy.releases import smoke_test_logins
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run
from papdeploy.rollback import restore_point
from support.app_session import as_app
from support.backup import FakeApi, database_of, fill, folder_of, forget, names, plain
from support.rollback import MIGRATE, SMALL, SMALL_DOWN, SMALL_UP, R, Release, deploy
from support.sandbox_stack import reachable_folder

if TYPE_CHECKING:
    from support.postgres_servers import Server


_AFTER = ["unfence", "activate", "validate", "login_smoke_test"]
# The steps of each strategy, in their order.
ORDER = {
    "nothing": _AFTER,
    "image": _AFTER,
    "downgrade": ["fence", "downgrade", *_AFTER],
    "swap": ["fence", "swap", *_AFTER],
    "restore": ["fence", "restore", "swap", *_AFTER],
}


def steps_done(release: Release) -> list[str]:
    return [phase.removeprefix("rollback.") for phase, event in release.notes if event == "done"]


@pytest.fixture
def server(servers: dict[int, Server]) -> Server:
    """The newest; the strategies that depend on the server's version are tried on both below."""
    return servers[18]


@pytest.fixture
def live(server: Server) -> Iterator[Database]:
    name = server.create("rollback")
    database = database_of(server, name)
    as_app(database).execute(SMALL)
    yield database
    forget(server, name)


@pytest.mark.parametrize("major", [16, 18])
@pytest.mark.parametrize(("kind", "strategy"), [("backup", "restore"), ("snapshot", "swap"), ("dump", "restore")])
def test_hostile_content_comes_back(
    servers: dict[int, Server], tmp_path: Path, kind: str, strategy: str, major: int
) -> None:
    server = servers[major]
    name = server.create("hostile")
    hostile = fill(server, name)
    server.sql(f'ALTER DATABASE "{name}" OWNER TO pap_owner')
    server.sql(f'ALTER DATABASE "{name}" SET search_path = public, "second ""schema"" x"')
    server.sql(f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC')
    server.sql(f'GRANT CONNECT ON DATABASE "{name}" TO pap_reader WITH GRANT OPTION')
    server.sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT 33')
    server.sql(f"COMMENT ON DATABASE \"{name}\" IS 'mine'")
    look = (
        "SELECT pg_get_userbyid(datdba), datacl::text, datconnlimit, datallowconn,"
        " shobj_description(oid, 'pg_database'), (SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = d.oid)"
        f" FROM pg_database d WHERE datname = '{name}'"
    )
    traits = server.sql(look)
    release = deploy(hostile, folder_of(tmp_path), kind=kind, up=MIGRATE)
    migrated = content_digest.take(hostile)
    assert len(content_digest.compare(release.before, migrated)) > 5
    plan = release.choose()
    assert (plan.strategy, plan.refused, plan.cost.tables) == (strategy, "", {})
    result = release.roll_back()
    assert content_digest.compare(release.before, content_digest.take(hostile)) == []
    assert _sorted_acl(server.sql(look)) == _sorted_acl(traits)
    analyzed = "SELECT count(*) FROM pg_statistic WHERE starelid = 'public.parted_old'::regclass"
    assert strategy == "swap" or server.sql(analyzed, name) != [(0,)], "the planner knows nothing of it"
    assert result["kept"] == f"{name}__failed_{R}"
    assert content_digest.compare(migrated, content_digest.take(hostile.named(result["kept"]))) == [], (
        "quarantined as it was"
    )
    assert release.api.log[0] == "stop"
    assert release.api.log[-1] == "switch old"
    assert release.choose().strategy == "nothing", "a second time there is nothing to do"
    assert databases.drop_created(hostile, R, ["failed"]) == [result["kept"]]
    forget(server, name)


@pytest.mark.parametrize(("kind", "strategy"), [("backup", "restore"), ("snapshot", "swap")])
def test_tablespaces_are_kept(server: Server, kind: str, strategy: str) -> None:
    """The copies are made where the database is; that is also where room for them is looked for."""
    name, spaces = server.create("spaces"), ("pap_one", "pap_two")
    database = database_of(server, name)
    with reachable_folder() as base, contextlib.ExitStack() as undo:
        for space in spaces:
            (base / space).mkdir()
            shutil.chown(base / space, server.data.owner())
            server.sql(f"CREATE TABLESPACE {space} LOCATION '{base / space}'")
            undo.callback(server.sql, f"DROP TABLESPACE {space}")
        undo.callback(forget, server, name)
        server.sql(f'ALTER DATABASE "{name}" SET TABLESPACE pap_one')
        server.sql(f'ALTER DATABASE "{name}" IS_TEMPLATE true')
        as_app(database).execute([SMALL, "CREATE TABLE elsewhere (i int) TABLESPACE pap_two"])
        where = (
            "SELECT (SELECT spcname FROM pg_tablespace t WHERE t.oid = d.dattablespace), (SELECT spcname"
            " FROM pg_tablespace t JOIN pg_class c ON c.reltablespace = t.oid WHERE c.relname = 'elsewhere')"
            " FROM pg_database d WHERE datname = current_database()"
        )
        release = deploy(database, folder_of(base), kind=kind, up=SMALL_UP)
        result = release.roll_back()
        assert result["strategy"] == strategy
        assert server.sql(where, name) == [spaces]
        templates = server.sql("SELECT datname FROM pg_database WHERE datistemplate AND datname !~ '^template'")
        assert templates == [(name,)], "what is put aside can be dropped, what takes its place is a template"
        server.sql(f'ALTER DATABASE "{name}" IS_TEMPLATE false')
        assert content_digest.compare(release.before, content_digest.take(database)) == []
        with mock.patch.object(
            type(database.site), "run", autospec=True, side_effect=type(database.site).run
        ) as looked:
            assert disk.free_at_server(database)
        assert looked.call_args.args[1] == ["df", "-Pk", "--", str(base / "pap_one")]


def _sorted_acl(rows: list[Any]) -> list[Any]:
    return [(row[0], sorted(str(row[1]).strip("{}").split(",")), *row[2:]) for row in rows]


def test_nothing_committed(server: Server, live: Database, tmp_path: Path) -> None:
    release = deploy(live, folder_of(tmp_path), kind="backup", up="", unfence=False)
    plan = release.choose()
    assert (plan.strategy, plan.cost.sentence) == (
        "nothing",
        "loses nothing: since the restore point no table is gone and no row was deleted",
    )
    result = release.roll_back()
    assert result["kept"] is None
    assert release.api.log == ["start"]
    assert steps_done(release) == ORDER["nothing"]
    assert content_digest.compare(release.before, content_digest.take(live)) == []
    assert databases.fence_state(live) is None


def test_image_only(live: Database, tmp_path: Path) -> None:
    release = deploy(live, folder_of(tmp_path), kind="backup", up="")
    assert release.choose().strategy == "image"
    release.roll_back()
    assert release.api.log == ["switch old"]
    assert steps_done(release) == ORDER["image"]


def test_old_release_on_the_new_schema(live: Database, tmp_path: Path) -> None:
    """The rehearsal has shown that the old release works on the migrated schema: nothing is undone, nothing lost."""
    release = deploy(live, folder_of(tmp_path), kind="backup", up=SMALL_UP, down=SMALL_DOWN, old_works_on_new=True)
    as_app(live).execute("INSERT INTO t (v) VALUES ('user')")
    plan = release.choose()
    assert plan.strategy == "image"
    assert release.choose(skip=("image",)).strategy == "downgrade"
    assert "1 written" in release.choose(skip=("image", "downgrade")).refused, "restore would lose the row"
    release.roll_back()
    assert as_app(live).scalar("SELECT count(*) AS n FROM t WHERE v = 'user' AND extra = 1") == 1


def test_downgrade_keeps_what_was_written(server: Server, live: Database, tmp_path: Path) -> None:
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP, down=SMALL_DOWN)
    as_app(live).execute("INSERT INTO t (v) VALUES ('user')")
    plan = release.choose()
    assert plan.strategy == "downgrade"
    result = release.roll_back()
    assert result["strategy"] == "downgrade"
    assert server.sql("SELECT v, count(*) FROM t GROUP BY v ORDER BY v", live.conninfo.dbname) == [
        ("old", 300),
        ("user", 1),
    ]
    assert databases.fence_state(live) is None
    assert steps_done(release) == ORDER["downgrade"]


@pytest.mark.parametrize("kind", ["snapshot", "backup"])
def test_loss_needs_a_yes_and_stays_readable(server: Server, live: Database, tmp_path: Path, kind: str) -> None:
    release = deploy(live, folder_of(tmp_path), kind=kind, up=SMALL_UP)
    assert release.choose().cost.tables == {}, "rows of the migration are not counted"
    as_app(live).execute("INSERT INTO t (v) VALUES ('user one'), ('user two')")
    as_app(live).execute("UPDATE t SET v = 'edited' WHERE id = 5; DELETE FROM t WHERE id = 6")
    plan = release.choose()
    assert plan.cost.tables == {"public.t": Wrote(3, 1)}
    assert "public.t: 3 written, up to 1 deleted" in plan.refused
    assert "rollback_accept_data_loss=true" in plan.hint
    with pytest.raises(Refused, match="3 written, up to 1 deleted"):
        release.roll_back()
    assert release.api.log == [], "nothing was touched"
    assert as_app(live).scalar("SELECT count(*) AS n FROM t") == 301
    result = release.roll_back(accept_data_loss=True)
    assert result["rows_lost"] == 4
    assert steps_done(release) == ORDER[result["strategy"]]
    said = f"is kept as {result['kept']}; only there: 4 rows (public.t: 3 written, up to 1 deleted; sequence public.t_id_seq"
    assert said in result["lines"][1]
    assert content_digest.compare(release.before, content_digest.take(live)) == []
    kept = live.named(result["kept"])
    assert as_app(kept).scalar("SELECT count(*) AS n FROM t WHERE v LIKE 'user%'") == 2


LOGIN = [{"public.audit": 1, "public.t": 1}, {"public.audit": 1}]


def log_in(live: Database) -> None:
    """What a login and a refused one write: the user's own row, and a line of the audit log each."""
    as_app(live).execute("BEGIN; UPDATE t SET v = 'now' WHERE id = 1; INSERT INTO audit VALUES ('in'); COMMIT")
    as_app(live).execute("INSERT INTO audit VALUES ('refused')")


@pytest.fixture
def release(live: Database, tmp_path: Path) -> Release:
    as_app(live).execute("CREATE TABLE audit (v text)")
    return deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP)


def smoke_tested(release: Release, before: str = "", app_session: str = "") -> dict[str, dict[str, int]]:
    """Log in as the smoke test does; ``before`` and ``beside`` are what users do. The transactions known as its own."""
    if before:
        as_app(release.database).execute(before)
    with release.database.session() as session:
        mark = write_snapshot.moment(session)
    log_in(release.database)
    if app_session:
        as_app(release.database).execute(app_session)
    return smoke_test_writes.certainly(release.database, mark, LOGIN)


def test_smoke_tests_own_rows_are_no_loss(live: Database, release: Release) -> None:
    release.facts["own"] = {"writes": smoke_tested(release)}
    assert len(release.facts["own"]["writes"]) == 2
    plan = release.choose()
    assert not plan.refused
    assert plan.cost.sentence.startswith("loses nothing but the 3 rows that the login smoke test wrote")
    as_app(live).execute("INSERT INTO t (v) VALUES ('a user')")
    assert "public.t: 1 written" in release.choose().refused
    assert release.choose().cost.rows == 1


@pytest.mark.parametrize(
    ("before", "beside", "known", "said"),
    [
        ("", "INSERT INTO audit VALUES ('a user')", 0, "public.audit: 3 written"),
        ("", "UPDATE t SET v = 'a user' WHERE id = 1", 0, "public.t: 1 written"),
        ("UPDATE t SET v = 'a user, below the row of the login' WHERE id = 1", "", 2, "public.t: 1 written"),
        ("INSERT INTO t (v) VALUES ('a user')", "", 2, "public.t: 1 written"),
    ],
    ids=["beside", "over", "below", "before"],
)
def test_a_users_row_is_never_taken_for_the_smoke_tests(
    release: Release, before: str, beside: str, known: int, said: str
) -> None:
    release.facts["own"] = {"writes": smoke_tested(release, before, beside)}
    assert len(release.facts["own"]["writes"]) == known
    assert said in release.choose().refused


def test_later_logins_of_ours_are_no_loss_either(live: Database, release: Release, tmp_path: Path) -> None:
    """The preflight of the next deploy logs in as well, and so does the rollback of one that was refused."""
    state = State(tmp_path / "state")
    stack = Stack("st", "staging", state, live, FakeApi(), (), {})
    journal = state.begin(Run(user="u", host="h", pid=1))
    journal.append("rehearse", "done", own_writes=LOGIN)
    noted: list[Own] = []
    with smoke_test_logins.found(stack.database, journal, noted.append):
        log_in(live)
    journal.append("login_smoke_test", "done", own_writes=noted[0].writes, own_numbers=noted[0].numbers)
    journal.append("release", "finished")

    def again(app_session: str = "") -> rollback.RollbackPlan:
        with smoke_test_logins.noted(stack.database, stack.state):
            log_in(live)
            if app_session:
                as_app(live).execute(app_session)
        release.facts["own"] = as_object(smoke_test_logins.known(journal))
        return release.choose()

    again()
    plan = again()
    assert plan.cost.sentence.startswith("loses nothing but the 7 rows"), "the last login's row of t, and 6 of the log"
    assert not plan.refused
    with smoke_test_logins.watched(live, journal):  # the watch logs in every minute, and tries no wrong password
        as_app(live).execute("BEGIN; UPDATE t SET v = 'now' WHERE id = 1; INSERT INTO audit VALUES ('in'); COMMIT")
    assert again().cost.sentence.startswith("loses nothing but the 10 rows")
    as_app(live).execute("UPDATE t SET v = 'a user, below the next login' WHERE id = 1")
    assert "public.t: 1 written" in again().refused
    assert "public.audit: 3 written" in again("INSERT INTO audit VALUES ('a user')").refused


def test_row_written_at_the_last_moment(live: Database, tmp_path: Path) -> None:
    """Between the plan and the fence a row comes in: counted again under the fence, refused, and all as it was."""
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP)
    assert not release.choose().refused
    release.api.on_stop = lambda: as_app(live).execute("INSERT INTO t (v) VALUES ('just now')")
    with pytest.raises(Refused, match="1 written"):
        release.roll_back()
    assert release.api.log == ["stop", "start"]
    assert databases.fence_state(live) is None
    assert as_app(live).scalar("SELECT count(*) AS n FROM t WHERE v = 'just now'") == 1


def test_what_was_set_aside_is_what_was_counted_under_the_fence(live: Database, tmp_path: Path) -> None:
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP)
    as_app(live).execute("INSERT INTO t (v) VALUES ('planned')")
    late = "INSERT INTO t (v) SELECT 'late' FROM generate_series(1, 30)"
    release.api.on_stop = lambda: as_app(live).execute(late)
    result = release.roll_back(accept_data_loss=True)
    assert (result["rows_lost"], result["cost"]["public.t"]["rows"]) == (31, 31)
    assert "only there: 31 rows, 1 when it was planned (public.t: 31 written" in result["lines"][1]
    assert as_app(live.named(result["kept"])).scalar("SELECT count(*) AS n FROM t WHERE v IN ('planned', 'late')") == 31


def test_the_old_api_is_waited_for_before_anything_is_checked(live: Database, tmp_path: Path) -> None:
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP)
    order: list[str] = []

    def healthy() -> dict[str, Any]:
        order.append("healthy")
        raise Unhealthy("it answered nothing in 60 s")

    result = release.roll_back(
        healthy=healthy,
        validate=lambda strategy: order.append("validate") or {},
        smoke=lambda: order.append("smoke") or {},
    )
    assert (order, result["unhealthy"]) == (["healthy", "validate"], "it answered nothing in 60 s"), "not asked again"


def test_crashed_server_cannot_count_deletions(server: Server, live: Database, tmp_path: Path) -> None:
    """Counters that were reset say nothing of deletions: that counts as a loss, never as none."""
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP)
    as_app(live).execute("DELETE FROM t WHERE id = 9; SELECT pg_stat_reset()")
    plan = release.choose()
    assert not plan.cost.certain
    assert "cannot be counted" in plan.refused
    assert not release.choose(accept_data_loss=True).refused


def test_truncate_is_seen(live: Database, tmp_path: Path) -> None:
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP)
    as_app(live).execute("TRUNCATE t")
    plan = release.choose()
    assert plan.lines()[0] == "THE RELEASE LOST DATA: public.t was truncated (300 rows before, 0 now)"
    assert (plan.strategy, plan.refused, plan.cost.tables) == ("swap", "", {}), "what it brings back, it does not lose"
    del release.facts["data"]  # as an older version of this program would have left it
    assert "emptied" in release.choose().refused


def test_mark_lost_by_a_kill_counts_cautiously(live: Database, tmp_path: Path) -> None:
    """The fence was lifted but its entry never reached the journal: the migration's rows count too."""
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP)
    release.facts["unfence"] = None
    assert "public.t: 300 written" in release.choose().refused


def test_fence_of_the_rollback_itself_proves_nothing(live: Database, tmp_path: Path) -> None:
    """A rollback that was killed after it raised the fence: what was written before that still counts."""
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP)
    as_app(live).execute("INSERT INTO t (v) VALUES ('user')")
    databases.fence(live, R)
    assert release.choose().cost.tables == {"public.t": Wrote(1, 0)}
    release.facts["unfence"] = None
    assert "public.t: 301 written" in release.choose().refused


def test_deploy_without_a_fence(live: Database, tmp_path: Path) -> None:
    """Online, the restore point is the backup from before; the fence of the rollback does not hide what came since."""
    release = deploy(live, folder_of(tmp_path), kind="backup", up=SMALL_UP)
    release.facts.update(
        restore_point=plain(as_object(restore_point.under_traffic(release.facts["backup"]["path"], live))), unfence=None
    )
    as_app(live).execute("INSERT INTO t (v) VALUES ('user')")
    assert "public.t: 301 written" in release.choose().refused
    databases.fence(live, R)
    assert "public.t: 301 written" in release.choose().refused


def test_failed_downgrade_falls_back(live: Database, tmp_path: Path) -> None:
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP, down="SELECT 1/0")
    result = release.roll_back()
    assert (result["strategy"], result["tried"]) == ("swap", ["downgrade"])
    assert "division by zero" in result["lines"][0]
    assert content_digest.compare(release.before, content_digest.take(live)) == []


def test_failed_downgrade_that_would_lose_rows_stops(live: Database, tmp_path: Path) -> None:
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP, down="SELECT 1/0")
    as_app(live).execute("INSERT INTO t (v) VALUES ('user')")
    with pytest.raises(PapError, match="division by zero"):
        release.roll_back()
    assert databases.fence_state(live) is not None, "still closed: nothing more can be written before a person decides"
    result = release.roll_back(accept_data_loss=True)
    assert result["strategy"] == "swap"
    assert as_app(live.named(result["kept"])).scalar("SELECT count(*) AS n FROM t WHERE v = 'user'") == 1


def sick() -> dict[str, Any]:
    raise Unhealthy("login: status 200: its body ended after 3 bytes of 100")


@pytest.mark.parametrize(
    ("facts", "written", "strategy", "tried"),
    [
        ({}, False, "swap", []),
        ({}, True, "swap", []),
        ({"old_works_on_new": True}, False, "swap", ["image"]),
        # Only the image can go back without a loss, so that it does not answer well changes nothing.
        ({"old_works_on_new": True}, True, "image", []),
    ],
)
def test_a_rollback_does_not_hang_on_what_the_old_api_answers(
    live: Database, tmp_path: Path, facts: dict[str, Any], written: bool, strategy: str, tried: list[str]
) -> None:
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP, **facts)
    if written:
        as_app(live).execute("INSERT INTO t (v) VALUES ('a user')")
    result = release.roll_back(smoke=sick, accept_data_loss=written and strategy == "swap")
    assert (result["strategy"], result["tried"]) == (strategy, tried)
    assert result["lines"][-1].startswith("but the API that it went back to does not answer well: login: status 200")
    assert release.api.version.label == "old" and databases.fence_state(live) is None
    if strategy == "swap":
        assert content_digest.compare(release.before, content_digest.take(live)) == []
    else:
        assert as_app(live).scalar("SELECT count(*) AS n FROM t WHERE v = 'a user'") == 1


def test_a_health_check_of_the_container_is_in_no_time_of_the_rollback(live: Database, tmp_path: Path) -> None:
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up="")
    said = "the container's own health check, run every 30 s, agrees 28 s later"

    def agreed() -> str:
        time.sleep(2.0)
        return said

    result = release.roll_back(agreed=agreed)
    assert result["waited_s"] >= 2.0
    assert said in result["lines"] and f"in {text.seconds(result['seconds'])}: " in result["lines"][0]
    began = time.monotonic()
    whole = release.roll_back(agreed=agreed)
    assert whole["seconds"] < time.monotonic() - began - 1.9, "the waiting is not in it"

    def unhealthy() -> str:
        raise Unhealthy("its health check is still starting, after 90 s")

    assert release.roll_back(agreed=unhealthy)["unhealthy"] == "its health check is still starting, after 90 s"


def test_a_row_that_comes_while_another_way_is_tried_keeps_the_image(live: Database, tmp_path: Path) -> None:
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP, old_works_on_new=True)
    release.api.on_stop = lambda: as_app(live).execute("INSERT INTO t (v) VALUES ('just now')")
    result = release.roll_back(smoke=sick)
    assert (result["strategy"], result["unhealthy"][:5]) == ("image", "login")
    assert (release.api.log, databases.fence_state(live)) == (["switch old", "stop", "start"], None)
    assert as_app(live).scalar("SELECT count(*) AS n FROM t WHERE v = 'just now'") == 1


WRONG_DOWN = SMALL_DOWN.replace("'old'", "'wrong'")


def test_wrong_schema_after_the_downgrade_falls_back(live: Database, tmp_path: Path) -> None:
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP, down=WRONG_DOWN)

    def validate(strategy: str) -> dict[str, Any]:
        if as_app(live).scalar("SELECT count(*) AS n FROM t WHERE v = 'wrong'"):
            raise PapError("not what it was")
        return {}

    result = release.roll_back(validate=validate)
    assert (result["tried"], result["strategy"]) == (["downgrade", "image"], "swap")
    assert content_digest.compare(release.before, content_digest.take(live)) == []


def test_half_a_migration_outside_a_transaction(live: Database, tmp_path: Path) -> None:
    up = (
        "ALTER TABLE t ADD COLUMN half int;"
        "INSERT INTO pap_deploy.ledger (event, identity, release) VALUES ('started', 'm1', 'r7')"
    )
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=up, down=SMALL_DOWN, unfence=False)
    plan = release.choose()
    assert (plan.strategy, plan.state.partial) == ("swap", ("m1",))
    release.roll_back()
    assert content_digest.compare(release.before, content_digest.take(live)) == []


def test_old_migration_that_is_still_running(server: Server, live: Database, tmp_path: Path) -> None:
    """The deploy was killed, its migration was not: it is ended before anything is decided."""
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up="", unfence=False)
    behind = databases.must_be_fenced(live, R)
    process = behind.site.popen(
        behind.tool("psql", "-X", "-c", "BEGIN; UPDATE t SET v = 'half'; SELECT pg_sleep(60)"),
        env=as_app(behind).environment(),
    )
    try:
        while not server.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
            pass
        plan = release.choose()
        assert len(plan.state.running) == 1
        assert "end 1 session of it still at work" in plan.steps
        release.roll_back()
        assert process.wait(10) != 0
    finally:
        process.kill()
    assert content_digest.compare(release.before, content_digest.take(live)) == []


REFUSALS: dict[str, tuple[str, Callable[[Release, pytest.MonkeyPatch], object], str]] = {
    "backup gone": ("backup", lambda r, f: Path(r.facts["restore_point"]["path"]).unlink(), "is gone"),
    "backup damaged": ("backup", lambda r, f: Path(r.facts["restore_point"]["path"]).write_bytes(b"x"), "is damaged"),
    "another release's": ("backup", lambda r, f: r.facts["identity"].update(stack="other"), "of another stack"),
    "snapshot gone": ("snapshot", lambda r, f: databases.drop_created(r.database, R, ["snap"]), "is not there any"),
    "old image gone": ("snapshot", lambda r, f: r.facts.update(api_problem="the old image was removed"), "old image"),
    "no disk": ("backup", lambda r, f: f.setattr("papdeploy.databases.disk.free_at_server", lambda d: 10_000), "Too little disk"),
    "prepared transaction": ("snapshot", lambda r, f: as_app(r.database).execute("BEGIN; PREPARE TRANSACTION 'p'"), "prepared"),
    "nothing to go back to": ("snapshot", lambda r, f: r.facts.update(restore_point=None), "no restore point"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refused_with_nothing_changed(
    server: Server, live: Database, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, spoil, said = REFUSALS[case]
    release = deploy(live, folder_of(tmp_path), kind=kind, up=SMALL_UP)
    if kind == "snapshot":
        release.facts["backup"] = None
    spoil(release, monkeypatch)
    before, there = content_digest.take(live), names(server)
    plan = release.choose()
    assert said in plan.refused, plan
    with pytest.raises(Refused, match="cannot be rolled back"):
        release.roll_back()
    assert release.api.log == []
    assert content_digest.compare(before, content_digest.take(live)) == []
    assert names(server) == there
    if case == "prepared transaction":
        as_app(live).execute("ROLLBACK PREPARED 'p'")


def test_snapshot_gone_falls_back_to_the_backup(live: Database, tmp_path: Path) -> None:
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP)
    databases.drop_created(live, R, ["snap"])
    plan = release.choose(accept_data_loss=True)
    assert plan.strategy == "restore"
    assert release.roll_back(accept_data_loss=True)["strategy"] == "restore"
    assert content_digest.compare(release.before, content_digest.take(live)) == []


def test_a_more_expensive_strategy_is_not_looked_at(
    live: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the whole backup, for an unneeded restore, would make the swap wait for the size of the data."""
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP)
    looked: list[Any] = []
    monkeypatch.setattr("papdeploy.backup.inspect", lambda *given: looked.append(given))
    assert release.choose().strategy == "swap"
    assert not looked


def test_asked_strategy(live: Database, tmp_path: Path) -> None:
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP, down=SMALL_DOWN)
    assert release.choose(strategy="swap").strategy == "swap"
    plan = release.choose(strategy="image")
    assert plan.refused.startswith("the strategy 'image' is impossible from here: the deploy was not rehearsed")
    assert plan.hint.startswith("Possible: downgrade, swap, restore (")
    with pytest.raises(Refused, match="Unknown rollback strategy"):
        release.choose(strategy="magic")


def test_plan_is_plain_data(live: Database, tmp_path: Path) -> None:
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up=SMALL_UP)
    told = plain(release.choose().as_dict())
    assert told["strategy"] == "swap"
    assert told["lines"][0] == "rollback strategy: swap (a snapshot from under the fence stands ready)"
    assert list(rollback.STRATEGIES) == list(ORDER)
