"""Rows are not all that a database holds: what else a restore or a swap takes back is named, and asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from papdeploy import rollback
from papdeploy.app.stack import Stack
from papdeploy.core.errors import Refused
from papdeploy.core.records import as_object
from papdeploy.databases import content_digest, definitions, other_losses, write_counts, write_snapshot
from papdeploy.databases.write_counts import Own
from papdeploy.releases import smoke_test_logins
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run
from papdeploy.rollback import cost
from support.app_session import as_app
from support.backup import FakeApi, database_of, folder_of, forget, plain
from support.rollback import SMALL, SMALL_UP, Release, deploy, facts_of

if TYPE_CHECKING:
    from support.postgres_servers import Server

CONTENT = """
SELECT lo_from_bytea(70001, 'before'), lo_from_bytea(70002, 'before'), lo_from_bytea(70003, 'before');
CREATE SEQUENCE ticket_number; CREATE SEQUENCE by_ten CACHE 10; CREATE SEQUENCE down INCREMENT -5; CREATE SEQUENCE spare;
CREATE SEQUENCE round_trip MAXVALUE 3 CYCLE; SELECT setval('round_trip', 3);
CREATE TABLE identity_t (id bigint GENERATED ALWAYS AS IDENTITY, v text UNIQUE);
CREATE UNLOGGED TABLE scratchpad (v text);
CREATE VIEW shown AS SELECT v FROM t;
CREATE FUNCTION answer() RETURNS int LANGUAGE sql RETURN 42;
CREATE PUBLICATION pub FOR TABLE t;
CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w;
CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (password 'one');
CREATE TEXT SEARCH CONFIGURATION words (COPY = simple);
CREATE TYPE label AS ENUM ('a'); CREATE DOMAIN small AS int;
"""

# What is done by hand after the deploy, and what the plan must say of it.
CHANGES = {
    "large object rewritten": ("SELECT lo_put(70001, 0, 'after!')", "1 large object was written (70001)"),
    "large object made": ("SELECT lo_create(70009)", "1 large object was written (70009)"),
    "large object given away": ("ALTER LARGE OBJECT 70002 OWNER TO pg_monitor", "1 large object was written (70002)"),
    "large object deleted": ("SELECT lo_unlink(70003)", "up to 1 large object was deleted"),
    "every large object": (
        "SELECT lo_put(oid, 9, 'x') FROM pg_largeobject_metadata; SELECT lo_create(70008)",
        "4 large objects were written (70001, 70002, 70008 and 1 more)",
    ),
    "sequence set": (
        "SELECT setval('ticket_number', 7000)",
        "sequence public.ticket_number went from 1 (not yet used) to 7000, 7,000 numbers",
    ),
    "sequence used": (
        "SELECT nextval('ticket_number'); SELECT nextval('ticket_number')",
        "sequence public.ticket_number went from 7000 to 7002, 2 numbers",
    ),
    "sequence with a cache": ("SELECT nextval('by_ten')", "public.by_ten went from 1 (not yet used) to 10, up to 10 num"),
    "sequence downwards": ("SELECT nextval('down'), nextval('down')", "public.down went from -1 (not yet used) to -6, 2 n"),
    "sequence set, not used": ("SELECT setval('spare', 50, false)", "public.spare went from 1 (not yet used) to 50 (not yet"),
    "sequence set back": ("SELECT setval('t_id_seq', 5)", "sequence public.t_id_seq was set from 300 to 5"),
    "sequence that cycled": ("SELECT nextval('round_trip')", "sequence public.round_trip was set from 3 to 1"),
    "sequence made": ("CREATE SEQUENCE fresh; SELECT nextval('fresh')", "public.fresh, made since, has come to 1"),
    "sequence made, not used": ("CREATE SEQUENCE unused", "made since: sequence public.unused"),
    "sequence dropped": ("DROP SEQUENCE spare", "sequence public.spare was dropped"),
    "numbers that no row has": (
        "BEGIN; INSERT INTO identity_t (v) VALUES ('x'); ROLLBACK",
        "sequence public.identity_t_id_seq went from 1 (not yet used) to 1, 1 number",
    ),
    "unlogged table": ("INSERT INTO scratchpad VALUES ('x')", "public.scratchpad: 1 written"),
    "comment": ("COMMENT ON TABLE t IS 'mine'", "made since: comment on table public.t"),
    "grant": ("GRANT SELECT ON t TO pg_monitor", "changed since: table public.t (privileges)"),
    "grant on a column": ("GRANT SELECT (v) ON t TO pg_monitor", "changed since: column public.t.v (privileges)"),
    "owner": ("ALTER TABLE t OWNER TO pg_monitor", "changed since: table public.t (privileges, owner)"),
    "view": ("CREATE VIEW seen AS SELECT 1 AS one", "made since: view public.seen"),
    "view changed": ("CREATE OR REPLACE VIEW shown AS SELECT v || '' AS v FROM t", "changed since: view public.shown (view)"),
    "table": ("CREATE TABLE new_t (a int PRIMARY KEY, b text)", "made since: table public.new_t, index public.new_t_pkey"),
    "index": ("CREATE INDEX by_v ON t (v)", "made since: index public.by_v"),
    "function": (
        "CREATE OR REPLACE FUNCTION answer() RETURNS int LANGUAGE sql RETURN 43",
        "changed since: routine public.answer() (source)",
    ),
    "function dropped": ("DROP FUNCTION answer()", "dropped since: routine public.answer()"),
    "row security": ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", "changed since: table public.t (row security)"),
    "publication": ("CREATE PUBLICATION other FOR TABLE t", "made since: publication other"),
    "publication changed": ("ALTER PUBLICATION pub SET (publish = 'insert')", "changed since: publication pub (actions)"),
    "sequence altered": ("ALTER SEQUENCE unused INCREMENT 7", "changed since: sequence public.unused (increment)"),
    "setting of the database": ("ALTER DATABASE {db} SET work_mem = '64MB'", "changed since: settings of the database itself"),
    "grant on the database": ("REVOKE CONNECT ON DATABASE {db} FROM PUBLIC", "changed since: privileges of the database itse"),
    "default privileges": (
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO pg_monitor",
        "made since: default privileges postgres r",
    ),
    "options of a foreign server": (
        "ALTER SERVER far OPTIONS (ADD host 'x')", "changed since: server far (what it is)"),
    "password of a user mapping": (
        "ALTER USER MAPPING FOR PUBLIC SERVER far OPTIONS (SET password 'two')",
        "changed since: user mapping far PUBLIC (options)",
    ),
    "words of a text search configuration": (
        "ALTER TEXT SEARCH CONFIGURATION words DROP MAPPING FOR word",
        "changed since: text search configuration public.words (what it is)",
    ),
    "label of an enum": ("ALTER TYPE label ADD VALUE 'b'", "changed since: type public.label (labels)"),
    "check of a domain": ("ALTER DOMAIN small ADD CONSTRAINT up CHECK (VALUE > 0)", "made since: constraint public.small.up"),
    "statistics": ("CREATE STATISTICS pair ON id, v FROM t", "made since: statistics public.pair"),
    "default of a column": ("ALTER TABLE t ALTER v SET DEFAULT 'd'", "changed since: column public.t.v (default)"),
    "rule": ("CREATE RULE r AS ON DELETE TO t DO ALSO NOTHING", "made since: rule public.t.r"),
    "rule switched off": ("ALTER TABLE t DISABLE RULE r", "changed since: rule public.t.r (enabled)"),
    "privileges of a built-in function": (
        "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_sleep(float8) FROM PUBLIC", "made since: privileges on function pg_cat"),
}  # fmt: skip

# What changes nothing that a restore takes back.
HARMLESS = {
    "nothing": "SELECT 1",
    "statistics": "ANALYZE; VACUUM t",
    "temporary table": "CREATE TEMP TABLE x AS SELECT * FROM t; CREATE TEMP SEQUENCE y; SELECT nextval('y'); DROP TABLE x",
    "rolled back": "BEGIN; CREATE TABLE x (); COMMENT ON TABLE t IS 'x'; SELECT lo_put(70001, 0, 'y'); ROLLBACK",
    "there and back": "CREATE VIEW x AS SELECT 1 AS one; DROP VIEW x",
    "limit and comment of the database": "ALTER DATABASE {db} CONNECTION LIMIT 77; COMMENT ON DATABASE {db} IS 'mine'",
}


@pytest.fixture(scope="module", params=[18])
def release(request: pytest.FixtureRequest, servers: dict[int, Server], tmp_path_factory: Any) -> Iterator[Release]:
    server = servers[request.param]
    name = server.create("besides")
    database = database_of(server, name)
    as_app(database).execute([SMALL, *CONTENT.strip().split(";\n")])
    made = deploy(database, folder_of(tmp_path_factory.mktemp("besides")), kind="snapshot", up=SMALL_UP)
    yield made
    forget(server, name)


def after(release: Release, statements: str) -> rollback.RollbackPlan:
    """The plan after ``statements`` were executed, held against what a deploy notes just before."""
    database = release.database
    with database.session() as session:
        mark = plain(write_snapshot.take(session))
    release.facts.update(unfence={"mark": mark}, data=None, definitions=plain(definitions.note(database)))
    whole = statements.format(db=f'"{database.conninfo.dbname}"')
    as_app(database).execute(whole if "ROLLBACK" in whole else whole.split("; "))
    return release.choose(strategy="swap")


@pytest.mark.parametrize("case", CHANGES)
def test_what_goes_back_besides_rows_is_named_and_asked_for(release: Release, case: str) -> None:
    statements, said = CHANGES[case]
    plan = after(release, statements)
    assert said in plan.refused, plan.refused or plan.cost.sentence
    assert "rollback_accept_data_loss=true" in plan.hint
    assert said in plan.lines()[1], "named as the cost"


@pytest.mark.parametrize("case", HARMLESS)
def test_what_is_no_loss_is_not_called_one(release: Release, case: str) -> None:
    plan = after(release, HARMLESS[case])
    assert (plan.refused, plan.cost.besides, plan.cost.tables) == ("", (), {})
    assert plan.cost.sentence.startswith("loses nothing")


@pytest.mark.parametrize(("kind", "strategy"), [("snapshot", "swap"), ("backup", "restore")])
def test_with_a_yes_it_goes_back_and_stays_aside(
    servers: dict[int, Server], tmp_path: Path, kind: str, strategy: str
) -> None:
    """The whole way on an old server: refused, then gone, all named in the result, all readable in what is kept."""
    server = servers[16]
    name = server.create("aside")
    database = database_of(server, name)
    as_app(database).execute([SMALL, *CONTENT.strip().split(";\n")])
    release = deploy(database, folder_of(tmp_path), kind=kind, up=SMALL_UP)
    release.facts["definitions"] = plain(definitions.note(database))
    assert not release.choose().refused
    as_app(database).execute(
        [
            "SELECT lo_put(70001, 0, 'after!')",
            "SELECT setval('ticket_number', 7000)",
            "CREATE VIEW seen AS SELECT 1 AS one",
        ]
    )
    changed = content_digest.take(database)
    with pytest.raises(
        Refused, match=r"large object was written .70001.; sequence public.ticket_number .* view public.seen"
    ):
        release.roll_back()
    assert release.api.log == []
    result = release.roll_back(accept_data_loss=True)
    assert (result["strategy"], result["cost"], len(result["besides"])) == (strategy, {}, 3)
    assert content_digest.compare(release.before, content_digest.take(database)) == []
    assert content_digest.compare(changed, content_digest.take(database.named(result["kept"]))) == []
    forget(server, name)


def test_what_changes_at_the_last_moment_is_counted_under_the_fence(release: Release) -> None:
    assert not after(release, "SELECT 1").refused
    release.api.log.clear()
    release.api.on_stop = lambda: as_app(release.database).execute("SELECT nextval('ticket_number')")
    with pytest.raises(Refused, match=r"sequence public.ticket_number went"):
        release.roll_back()
    assert release.api.log == ["stop", "start"]
    release.api.on_stop = lambda: None


def test_an_earlier_version_noted_nothing_of_it(release: Release) -> None:
    after(release, "SELECT 1")
    for key in ("sequences", "large_objects"):
        del release.facts["unfence"]["mark"][key]
    assert "of which an earlier version of pap-deploy noted nothing" in release.choose().refused
    after(release, "SELECT 1")
    release.facts["definitions"] = None
    plan = release.choose()
    assert not plan.refused and "whether anybody has defined anything since" in plan.cost.sentence


@pytest.mark.parametrize(
    ("rehearsed", "login", "refused"),
    [
        (2, "SELECT nextval('ticket_number'), nextval('ticket_number')", False),
        (2, "BEGIN; SELECT nextval('ticket_number'); ROLLBACK", False),  # it failed: a number is taken, no row is left
        (2, "SELECT nextval('ticket_number') FROM generate_series(1, 5)", True),
        (0, "SELECT nextval('ticket_number')", True),
        (2, "SELECT setval('ticket_number', 3)", True),
    ],
    ids=["as rehearsed", "failed", "more than rehearsed", "not rehearsed", "set back"],
)
def test_numbers_that_our_own_login_takes(
    release: Release, tmp_path: Path, rehearsed: int, login: str, refused: bool
) -> None:
    """As many as the rehearsal saw, and once again for a login that is tried twice; then a user's comes on top."""
    state = State(tmp_path / "state")
    stack = Stack("st", "staging", state, release.database, FakeApi(), (), {})
    journal = state.begin(Run(user="u", host="h", pid=1))
    numbers = {"start": {}, "login": {"public.ticket_number": rehearsed}}
    journal.append("rehearse", "done", candidate={"wrote": {"numbers": numbers}})
    as_app(release.database).execute("SELECT setval('ticket_number', 100)")
    after(release, "SELECT 1")
    noted: list[Own] = []
    with smoke_test_logins.found(stack.database, journal, noted.append):
        as_app(release.database).execute(login)
    journal.append("login_smoke_test", "done", own_writes=noted[0].writes, own_numbers=noted[0].numbers)
    release.facts["own"] = as_object(smoke_test_logins.known(journal))
    plan = release.choose(strategy="swap")
    assert bool(plan.refused) == refused
    if not refused:
        assert "that the login smoke test wrote" in plan.cost.sentence
        as_app(release.database).execute("SELECT nextval('ticket_number')")
        assert "sequence public.ticket_number went from 100" in release.choose(strategy="swap").refused
    release.facts["own"] = {}


def test_what_the_api_takes_by_its_start(release: Release, tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    stack = Stack("st", "staging", state, release.database, FakeApi(), (), {})
    journal = state.begin(Run(user="u", host="h", pid=1))
    numbers = {"start": {"public.ticket_number": 1}, "login": {}}
    journal.append("rehearse", "done", candidate={"wrote": {"numbers": numbers}})
    with release.database.session() as session:
        before = other_losses.positions(session)
    as_app(release.database).execute("SELECT nextval('ticket_number')")
    assert smoke_test_logins.started(stack.database, journal, before) == {"public.ticket_number": 1}
    journal.append("activate", "done", own_numbers={"public.ticket_number": 1})
    journal.append(
        "login_smoke_test", "done", own_writes={"77": {"public.t": 1}}, own_numbers={"public.ticket_number": 2}
    )
    known = smoke_test_logins.known(journal)
    assert known == write_counts.Own({"77": {"public.t": 1}}, {"public.ticket_number": 3})


def test_large_objects_of_a_role_that_is_no_superuser(servers: dict[int, Server]) -> None:
    """It may not read the catalog of their content: its own small ones it looks at, of others the counters tell."""
    server = servers[18]
    name = server.create("lo_owner")
    server.sql("DO $$ BEGIN CREATE ROLE lo_owner LOGIN PASSWORD 'pw'; EXCEPTION WHEN duplicate_object THEN END $$")
    admin = database_of(server, name)
    as_app(admin).execute(
        [
            "SELECT lo_from_bytea(70001, 'a'), lo_from_bytea(70002, 'b')",
            "SELECT lo_from_bytea(70005, 'c')",
            "ALTER LARGE OBJECT 70001 OWNER TO lo_owner",
            "ALTER LARGE OBJECT 70002 OWNER TO lo_owner",
        ]
    )
    conninfo = replace(admin.conninfo, user="lo_owner", password="pw")
    role = replace(admin, conninfo=conninfo)
    for statement, said in (
        ("SELECT lo_put(70001, 0, 'x')", "1 large object was written (70001)"),
        ("SELECT lo_put(70005, 0, 'x')", "up to 1 piece of large objects was written"),
        ("SELECT lo_unlink(70002)", "up to 1 large object was deleted"),
        ("SELECT 1", "nothing was written"),
    ):
        with role.session() as session:
            mark = write_snapshot.take(session)
        as_app(admin).execute(statement)
        assert said in write_snapshot.written_since(role, mark).sentence()
    forget(server, name)


def test_a_table_that_the_role_may_not_read_is_named_with_the_right_that_it_needs(
    servers: dict[int, Server], release: Release
) -> None:
    """Created in the live database by another client: what is in it cannot be counted, so that a person has to say yes."""
    server, live, name = servers[18], release.database, release.database.conninfo.dbname
    server.sql(
        "DO $d$ BEGIN CREATE ROLE besides_weak LOGIN PASSWORD 'pw'; EXCEPTION WHEN duplicate_object THEN END $d$;"
        f'GRANT CONNECT ON DATABASE "{name}" TO besides_weak;'
        "GRANT SELECT ON ALL TABLES IN SCHEMA public, pap_deploy TO besides_weak;"
        "GRANT USAGE ON SCHEMA pap_deploy TO besides_weak;"
        "GRANT SELECT ON ALL SEQUENCES IN SCHEMA public, pap_deploy TO besides_weak;"
        "CREATE TABLE mine AS SELECT 1 AS one",
        name,
    )
    weak = replace(live, conninfo=replace(live.conninfo, user="besides_weak", password="pw"))
    found = cost.written(weak, facts_of(release.facts), None, "snapshot")
    assert not found.certain and found.why.endswith(
        "permission denied for table mine; give besides_weak the right to read it (GRANT SELECT), or the table to the"
        " database's owner"
    )
    server.sql("GRANT SELECT ON mine TO besides_weak", name)
    assert cost.written(weak, facts_of(release.facts), None, "snapshot").certain
    server.sql("DROP OWNED BY besides_weak; DROP ROLE besides_weak", name)


def test_within_the_deploy_numbers_that_no_row_holds_stop_no_rollback(release: Release) -> None:
    """A login that fails takes numbers and leaves no row; without a rehearsal it is unknown that they are its own."""
    failed = "BEGIN; INSERT INTO identity_t (v) VALUES ('x'); ROLLBACK"
    assert "identity_t_id_seq" in after(release, failed).refused
    release.facts["deploying"] = True
    plan = after(release, failed)
    assert not plan.refused and "identity_t_id_seq" in plan.cost.sentence
    for more in (
        "SELECT nextval('ticket_number')",
        "SELECT setval('t_id_seq', 4)",
        "INSERT INTO scratchpad VALUES ('a user')",
    ):
        assert after(release, more).refused, more
    release.facts["deploying"] = False


def test_the_definitions_of_another_database_tell_nothing(servers: dict[int, Server], release: Release) -> None:
    name = servers[18].create("another")
    noted = definitions.note(release.database)
    assert definitions.changed(database_of(servers[18], name), noted) == []
    forget(servers[18], name)
