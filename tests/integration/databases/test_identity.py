"""What only looks like ours is never taken for it: copies, renames, forged comments, other stacks, other versions."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import pytest
from papdeploy import backup, databases, rollback
from papdeploy.app.stack import Stack
from papdeploy.core.durable import private_folder
from papdeploy.core.errors import PapError, Refused
from papdeploy.core.records import as_object, read
from papdeploy.databases import content_digest, relation_baseline, relation_losses
from papdeploy.databases.managed_names import admin_session, look
from papdeploy.databases.psql import Database
from papdeploy.phases import cleanup
from papdeploy.phases import rollback as rollback_phase
from papdeploy.releases.journal import Journal, State
from papdeploy.releases.run import Run
from papdeploy.sql.quoting import quote_ident, quote_literal
from support.app_session import as_app
from support.backup import FakeApi, database_of, folder_of, forget, names, registry_of
from support.rollback import SMALL, SMALL_DOWN, SMALL_UP, R, deploy, facts_of

if TYPE_CHECKING:
    from support.postgres_servers import Server

ME = Run(user="u", host="h", pid=1)


@pytest.fixture
def server(servers: dict[int, Server]) -> Server:
    return servers[18]


@pytest.fixture
def live(server: Server) -> Iterator[Database]:
    name = server.create("mine")
    database = database_of(server, name)
    as_app(database).execute(SMALL)
    yield database
    forget(server, name)


def copied(database: Database, name: str, called: str, *options: str) -> None:
    """What a person does who wants a look: pg_dump -C, another name put in, psql."""
    site, source = database.site, database.named(name)
    script = site.run(source.tool("pg_dump", "-C", *options), env=source.environment(), timeout=60).stdout.decode()
    text = script.replace(quote_ident(name)[1:-1], called)
    target = database.named("postgres")
    site.run(target.tool("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1"), env=target.environment(), input=text.encode())


def why(database: Database, name: str) -> str:
    return {entry.name: str(entry.why) for entry in databases.look_alikes(database)}[name]


@pytest.mark.parametrize("options", [("-s",), ()], ids=["schema", "whole"])
def test_a_look_at_the_fenced_database_never_becomes_the_live_one(
    server: Server, live: Database, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """A deploy was killed with the fence up, and a person made a copy to look at. The name sorts first, as theirs did."""
    release = deploy(live, folder_of(tmp_path), kind="snapshot", up="", unfence=False)
    look_at = f"a_look_{live.conninfo.dbname}"
    fenced = databases.fence_state(live).database
    copied(live, fenced, look_at, *options)
    assert names(server) >= {look_at, fenced}
    assert databases.fence_state(live).database == fenced
    assert release.choose().strategy == "nothing"
    release.roll_back()
    assert content_digest.compare(release.before, content_digest.take(live)) == []
    assert fenced not in names(server)
    assert why(live, look_at).startswith("a copy")
    server.drop(look_at)


def forged(database: Database, name: str, **changes: Any) -> None:
    """Put the record of our failed database on another one, with ``changes``."""
    with admin_session(database) as session:
        found = look(session, name)
        assert found is not None and found.record is not None
        record = {**as_object(found.record), **changes}
        session.execute(
            f"COMMENT ON DATABASE {quote_ident(name)} IS {quote_literal('pap-deploy ' + json.dumps(record))}"
        )


def kept_aside(live: Database) -> str:
    """A failed database as a rollback keeps it."""
    databases.fence(live, R)
    made = databases.snapshot(databases.must_be_fenced(live, R), R, live=live.conninfo.dbname)
    databases.swap(live, R, made.database)
    return databases.derived(live.conninfo.dbname, "failed", R)


def _renamed(server: Server, live: Database, name: str) -> str:
    server.sql(f'ALTER DATABASE "{name}" RENAME TO "rescue_{name}"')
    server.sql("INSERT INTO t (v) VALUES ('a person, later')", f"rescue_{name}")
    return f"rescue_{name}"


def _copied(server: Server, live: Database, name: str) -> str:
    copied(live, name, f"rescue_{name}")
    return f"rescue_{name}"


def _replaced(server: Server, live: Database, name: str) -> str:
    """A copy takes the very name, while the original goes by another."""
    copied(live, name, f"rescue_{name}")
    server.sql(f'DROP DATABASE "{name}"')
    server.sql(f'ALTER DATABASE "rescue_{name}" RENAME TO "{name}"')
    return name


def _forged(server: Server, live: Database, name: str) -> str:
    """Its owner gives it a record that is right in everything, its OID too; only this stack did not make it."""
    _replaced(server, live, name)
    oid = server.sql(f"SELECT oid::int FROM pg_database WHERE datname = '{name}'")[0][0]
    forged(live, name, oid=oid)
    return name


def _other_stack(server: Server, live: Database, name: str) -> str:
    forged(live, name, stack="0123456789abcdef", stack_name="pap-other")
    return name


def _claimed(server: Server, live: Database, name: str) -> str:
    server.sql(f"COMMENT ON DATABASE \"{name}\" IS 'do not drop, Anna'")
    return name


TAKEN: dict[str, tuple[Callable[[Server, Database, str], str], str]] = {
    "renamed": (_renamed, "or that one renamed by hand"),
    "copied": (_copied, "a copy of "),
    "replaced by a copy": (_replaced, "a copy: the original has OID "),
    "forged": (_forged, "this stack's state folder does not know it"),
    "of another stack": (_other_stack, "made from another state folder, by stack pap-other"),
    "claimed by a person": (_claimed, "its record was replaced"),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_only_looks_like_a_failed_database_of_ours_stays(
    server: Server, live: Database, tmp_path: Path, case: str
) -> None:
    take, said = TAKEN[case]
    name = take(server, live, kept_aside(live))
    stack = Stack("st", "staging", State(tmp_path / "state"), live, FakeApi(), (), {})
    assert said in why(live, name)
    assert name not in {entry.name for entry in databases.existing(live)}
    for release in (R, "None", ""):
        databases.drop_created(live, release, databases.managed_names.KINDS)
    databases.cleanup_leftovers(live)
    assert name not in cleanup.run(stack, "", ME).dropped
    assert name in names(server)
    assert as_app(live.named(name)).scalar("SELECT count(*) AS n FROM t") >= 300
    with pytest.raises(Refused, match=r"did not make it|not there any more"):
        databases.drop_named(live, name)
    if name.startswith("rescue_"):
        server.drop(name)


def test_what_cannot_or_must_not_be_dropped_is_left_with_its_sessions(
    server: Server, live: Database, tmp_path: Path
) -> None:
    """Each is judged by itself, before anybody's session is ended."""
    name = kept_aside(live)
    stack = Stack("st", "staging", State(tmp_path / "state"), live, FakeApi(), (), {})
    journal = Journal(tmp_path / "state" / "releases" / R)
    private_folder(stack.state.folder)
    private_folder(journal.folder.parent)
    private_folder(journal.folder)
    journal.append("release", "begin", stack="st")
    journal.append("release", "rolled_back", strategy="restore")

    def left(said: str, obstacle: str = "") -> None:
        for check_mode in (True, False):
            found = cleanup.run(stack, R, ME, check_mode=check_mode)
            assert (found.changed, found.dropped, found.pap.status) == (False, [], "warning")
            assert said in found.pap.lines[0]
        assert databases.existing(live)[0].obstacle == (obstacle or said)

    with server.connect(name) as reader:
        left("a session is connected to it")
        with reader.cursor() as cursor:
            cursor.execute("SELECT 1")  # still there
    reader.close()
    server.sql(f'ALTER DATABASE "{name}" IS_TEMPLATE true')
    left(
        "held: IS_TEMPLATE is set on it",
        "a person holds it as a template (ALTER DATABASE … IS_TEMPLATE false releases it)",
    )
    server.sql(f'ALTER DATABASE "{name}" IS_TEMPLATE false')
    as_app(live.named(name)).execute("BEGIN; INSERT INTO t (v) VALUES ('p'); PREPARE TRANSACTION 'held'")
    left("prepared transaction held is open in it")
    live.named(name).execute("ROLLBACK PREPARED 'held'")
    assert cleanup.run(stack, R, ME).dropped == [name]


def test_two_stacks_on_one_database_leave_each_others_alone(server: Server, live: Database) -> None:
    other = replace(live, registry=registry_of(server, live.conninfo.dbname, "other"))
    mine, theirs = (databases.create_empty(each, release) for each, release in ((live, "r1"), (other, "r2")))
    assert databases.cleanup_leftovers(live) == [mine.conninfo.dbname]
    theirs.prove()
    assert [entry.name for entry in databases.existing(other)] == [theirs.conninfo.dbname]
    assert "by stack other" in why(live, theirs.conninfo.dbname)
    databases.fence(other, "r2")
    assert databases.fence_state(live) is None
    with pytest.raises(Refused) as refusal:
        databases.refuse_absent(live)
    assert "behind the fence that release r2 raised" in refusal.value.hint
    with pytest.raises(Refused):
        databases.fence(live, "r3")
    assert not databases.unfence(live).lifted
    assert databases.unfence(other, "r2").lifted


def test_fence_record_of_an_older_release_stops_nothing(server: Server, live: Database) -> None:
    """A copy of what once was fenced, and a globals file that carried the record along, stand about for years."""
    databases.fence(live, "r1")
    old = databases.fence_state(live).database
    copied(live, old, f"kept_{old}")
    databases.unfence(live, "r1")
    server.sql(f'ALTER DATABASE "kept_{old}" RENAME TO "{old}"')
    assert why(live, old).startswith("a copy")
    databases.refuse_unready(live, "r2")
    databases.fence(live, "r2")
    assert databases.unfence(live).release == "r2"
    assert old in names(server)


def test_owner_of_the_database_cannot_lose_the_fence(server: Server, live: Database) -> None:
    """A migration that comments on its database replaces the record; what the state folder knows is enough."""
    server.sql(f"COMMENT ON DATABASE \"{live.conninfo.dbname}\" IS 'the customer''s'")
    state = databases.fence(live, R)
    for comment in ("'by a migration'", "NULL", '\'pap-deploy {"kind": "fenced", "release": "other"}\''):
        server.sql(f'COMMENT ON DATABASE "{state.database}" IS {comment}')
        assert databases.fence_state(live).release == R
    databases.unfence(live, R)
    with admin_session(live) as session:
        assert look(session, live.conninfo.dbname).comment == "the customer's"


def test_lost_state_folder_says_how_to_lift_the_fence_by_hand(server: Server, live: Database) -> None:
    server.sql(f'ALTER DATABASE "{live.conninfo.dbname}" CONNECTION LIMIT 7')
    server.sql(f"COMMENT ON DATABASE \"{live.conninfo.dbname}\" IS 'it''s ours'")
    fenced = databases.fence(live, R).database
    lost = replace(live, registry=registry_of(server, live.conninfo.dbname, "lost"))
    copied(live, fenced, f"a_look_{R}")
    said = databases.stranded(lost)
    assert f"{fenced} is {live.conninfo.dbname} itself, behind the fence that release {R} raised" in said
    assert databases.stranded(live) == "", "to the stack that raised it, it is no riddle"
    statements = said.partition("as superuser or owner: ")[2]
    live.named("postgres").execute(statements)
    with admin_session(live) as session:
        found = look(session, live.conninfo.dbname)
    assert (found.connection_limit, found.comment, found.allow_connections) == (7, "it's ours", True)
    server.drop(f"a_look_{R}")


def test_fence_of_the_version_before_is_lifted_by_name_and_journal(
    server: Server, live: Database, tmp_path: Path
) -> None:
    """pap-deploy was upgraded while a release was interrupted: its record has neither stack nor OID."""
    state = State(tmp_path / "state")
    journal = state.begin(ME, stack="pap")
    upgraded = replace(live, registry=state.registry("pap", live.conninfo.dbname))
    name = databases.derived(live.conninfo.dbname, "fenced", journal.release)
    before = {"allow_connections": True, "connection_limit": -1, "comment": None}
    record = {"kind": "fenced", "of": live.conninfo.dbname, "release": journal.release, "at": "x", "before": before}
    server.sql(f'ALTER DATABASE "{live.conninfo.dbname}" RENAME TO "{name}"')
    server.sql(f"COMMENT ON DATABASE \"{name}\" IS 'pap-deploy {json.dumps(record)}'")
    assert databases.fence_state(upgraded) is None, "no journal tells of it"
    oid = server.sql(f"SELECT oid::int FROM pg_database WHERE datname = '{name}'")[0][0]
    journal.append("fence", "begin")
    journal.append("fence", "done", oid=oid, database=name)
    assert databases.fence_state(upgraded).release == journal.release
    assert databases.unfence(upgraded).lifted


def test_dump_from_behind_the_fence_carries_no_record(server: Server, live: Database, tmp_path: Path) -> None:
    server.sql(f"COMMENT ON DATABASE \"{live.conninfo.dbname}\" IS 'in life'")
    databases.fence(live, R)
    behind = databases.must_be_fenced(live, R)
    taken = backup.take(behind, folder_of(tmp_path), stack="st", release=R, live=live.conninfo.dbname)
    assert taken.manifest.properties.comment == "in life"
    sql = taken.path.with_name(taken.path.name + ".globals.sql").read_text()
    assert "IS 'in life'" in sql
    assert "pap-deploy {" not in sql


NEEDED = ("failed", "restored")


@pytest.mark.parametrize("kind", NEEDED)
def test_name_that_a_rollback_needs_is_found_before_the_api_stops(
    server: Server, live: Database, tmp_path: Path, kind: str
) -> None:
    release = deploy(live, folder_of(tmp_path), kind="backup", up=SMALL_UP)
    theirs = databases.derived(live.conninfo.dbname, kind, R)
    server.sql(f'CREATE DATABASE "{theirs}"')
    plan = release.choose()
    assert f"A database named {theirs} exists, and pap-deploy did not make it" in plan.refused
    with pytest.raises(Refused):
        release.roll_back()
    assert release.api.log == []
    with pytest.raises(Refused, match=theirs):
        databases.refuse_unready(live, R)
    server.drop(theirs)
    assert release.roll_back()["strategy"] == "restore"


def test_missing_right_is_found_before_the_api_stops(server: Server, live: Database) -> None:
    server.sql("DO $$ BEGIN CREATE ROLE pap_weak LOGIN CREATEDB PASSWORD 'pw'; EXCEPTION WHEN OTHERS THEN NULL; END $$")
    weak = replace(live, conninfo=replace(live.conninfo, user="pap_weak", password="pw"))
    with pytest.raises(Refused, match="may not rename it: it must own"):
        databases.refuse_unready(weak)
    server.sql(f'ALTER DATABASE "{live.conninfo.dbname}" OWNER TO pap_weak')
    databases.refuse_unready(weak)
    with server.connect(live.conninfo.dbname), pytest.raises(Refused, match="may not end the sessions of postgres"):
        databases.refuse_unready(weak)
    server.sql(f'ALTER DATABASE "{live.conninfo.dbname}" OWNER TO postgres; DROP ROLE pap_weak')


def test_restore_point_below_a_rollback_by_swap_is_still_known(server: Server, live: Database, tmp_path: Path) -> None:
    """The swap gave the live name to another OID; the release below goes back to its backup all the same."""
    below = deploy(live, folder_of(tmp_path), kind="backup", up=SMALL_UP)
    databases.fence(live, "r8")
    snap = databases.snapshot(databases.must_be_fenced(live, "r8"), "r8", live=live.conninfo.dbname)
    databases.swap(live, "r8", snap.database)
    lost = replace(live, registry=registry_of(server, live.conninfo.dbname, "lost"))
    for deep in (True, False):  # --check, and the plan that is printed first, say the same
        assert not below.choose(strategy="restore", accept_data_loss=True, deep=deep).refused
        other = replace(below, database=lost)
        assert "is of another database" in other.choose(strategy="restore", accept_data_loss=True, deep=deep).refused
    assert below.roll_back(accept_data_loss=True)["strategy"] == "restore"
    assert content_digest.compare(below.before, content_digest.take(live)) == []


@pytest.mark.parametrize("strategy", ["image", "restore"])
def test_what_another_rollback_put_in_place_is_not_called_a_loss_and_its_rows_are_not_given_up(
    live: Database, tmp_path: Path, strategy: str
) -> None:
    """Of a database that a later rollback restored, every OID, counter and transaction is new: nothing was lost."""
    below = deploy(live, folder_of(tmp_path), kind="backup", up=SMALL_UP, old_works_on_new=strategy == "image")
    databases.fence(live, "r8")
    behind = databases.must_be_fenced(live, "r8")
    databases.swap(live, "r8", databases.snapshot(behind, "r8", live=live.conninfo.dbname).database)
    databases.unfence(live, "r8")
    for written in (False, True):
        if written:
            as_app(live).execute("INSERT INTO t (v) SELECT 'customer' FROM generate_series(1, 100)")
        plan = below.choose(strategy=strategy)
        assert not plan.lost and "loses nothing" not in plan.cost.sentence, plan.lines()
        assert "a rollback has put another database in its place since" in plan.cost.sentence, plan.lines()
        if strategy == "restore":
            assert plan.refused and "-e rollback_accept_data_loss=true" in plan.hint
    with pytest.raises(Refused, match="a rollback has put another database in its place"):
        relation_losses.compare(live, read(relation_baseline.Baseline, below.facts["data"]))


def test_named_strategy_happens_or_fails_and_stays_available(
    server: Server, live: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = deploy(live, folder_of(tmp_path), kind="backup", up=SMALL_UP, down=SMALL_DOWN, old_works_on_new=True)
    plan = release.choose(strategy="restore")
    assert (plan.strategy, plan.refused) == ("restore", "")
    migrated = content_digest.take(live)

    def restore() -> rollback.Result:
        return rollback.run(
            release.choose(strategy="restore"), database=live, api=release.api, facts=facts_of(release.facts),
            hooks=release.hooks(), asked=True,
        )  # fmt: skip

    with monkeypatch.context() as patch:
        patch.setattr(backup, "restore", lambda *_, **__: (_ for _ in ()).throw(PapError("pg_restore failed")))
        with pytest.raises(PapError, match="pg_restore failed") as failure:
            restore()
    assert "since rollback_strategy=restore was asked for" in failure.value.hint
    assert release.api.log == ["stop", "start"], "it was called off: what ran before runs again"
    assert ("rollback.restart", "done") in release.notes, "by which the journal knows that it was called off"
    assert databases.fence_state(live) is None
    assert content_digest.compare(migrated, content_digest.take(live)) == []
    assert restore().strategy == "restore", "it can be asked for again"
    assert content_digest.compare(release.before, content_digest.take(live)) == []


def test_named_way_is_remembered_by_a_rollback_that_was_interrupted(live: Database, tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    journal = state.begin(ME, stack="st")
    journal.append("release", "finished")
    journal.append("rollback", "begin", asked="restore")
    assert rollback_phase._asked(journal, rollback_phase.Options()) == "restore"
    assert rollback_phase._asked(journal, rollback_phase.Options(strategy="image")) == "image"
    journal.append("rollback.restart", "done")
    assert rollback_phase._asked(journal, rollback_phase.Options()) == "", "it was called off, and is over"


def test_release_of_another_stack_in_one_folder_is_not_taken_back(live: Database, tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    journal = state.begin(ME, stack="theirs")
    stack: Any = Stack("st", "staging", state, live, FakeApi(), (), {})
    with pytest.raises(Refused, match=f"Release {journal.release} is of another stack: theirs, not st"):
        rollback_phase._refuse_other_stack(stack, journal)


def test_copy_in_use_by_another_run_of_this_stack_stays(server: Server, live: Database) -> None:
    """A status or a plan makes its scratch database without the deploy lock."""
    registry = live.registry
    made = databases.create_empty(live, "plan-1").conninfo.dbname
    maker = subprocess.Popen(["sleep", "600"])
    try:
        known = registry.known()[made]
        started = Path(f"/proc/{maker.pid}/stat").read_text().rpartition(")")[2].split()[19]
        lines = (registry.folder / "databases.jsonl").read_text().splitlines()
        lines = [json.dumps({**json.loads(line), "pid": maker.pid, "started": started}) for line in lines]
        (registry.folder / "databases.jsonl").write_text("\n".join(lines) + "\n")
        assert known.name == made
        assert databases.cleanup_leftovers(live) == []
    finally:
        maker.kill()
        maker.wait()
    assert databases.cleanup_leftovers(live) == [made]
