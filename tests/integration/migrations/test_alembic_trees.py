"""Alembic trees as they are, on our runner: what Alembic makes of a twin database is what the runner makes of this one."""

from __future__ import annotations

import functools
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from papdeploy.core import alone
from papdeploy.core.errors import PapError, Refused, Unavailable
from papdeploy.databases import version_tables
from papdeploy.databases.psql import Conninfo, Database
from papdeploy.migrations.alembic import offline
from papdeploy.migrations.alembic.declaration import Declaration
from papdeploy.migrations.authoring import lint
from papdeploy.rehearsal import copies, sampling
from papdeploy.schema import CheckOptions, compare, describe
from papdeploy.schema.catalog.connect import open_session
from papdeploy.sites.host import HostSite
from support import ROOT
from support.alembic_trees import Project, asynchronous, call, forty, full_stack, grown, inside, made
from support.migration_runner import migration
from support.postgres_servers import Server

pytestmark = pytest.mark.every_version


@pytest.fixture
def twin(server: Server) -> Iterator[str]:
    name = server.create()
    yield name
    server.drop(name)


@pytest.fixture(params=["generic", "async", pytest.param("pyproject", marks=pytest.mark.nightly)])
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Project:
    return made(tmp_path / "release", request.param)


def dumped(server: Server, database: str) -> str:
    """Catalog and content, without our own schema."""
    argv = [str(server.bin_dir / "pg_dump"), "--exclude-schema=pap_deploy", server.url(database, "postgresql")]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return re.sub(r"^\\(un)?restrict .*$", "", text, flags=re.M)


def rows(server: Server, database: str, query: str) -> list[tuple[Any, ...]]:
    with server.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def test_as_alembic_makes_it(server: Server, database: str, twin: str, project: Project) -> None:
    grown(project)
    driver = "postgresql+asyncpg" if "asyncio" in project.env_py.read_text() else "postgresql"
    project.alembic(server.url(twin, driver), "upgrade", "heads")
    result = call("apply", project, server.url(database, driver), {"target": "heads"})
    assert len(result["applied"]) == 7
    assert dumped(server, database) == dumped(server, twin)
    again = call("apply", project, server.url(database), {"target": "heads"})
    assert not again["changed"]
    current = [sorted(project.alembic(server.url(name, driver), "current").split()) for name in (database, twin)]
    assert current[0] == current[1]


ADD = "op.add_column('users', sa.Column({0!r}, sa.Text))"
DROP = "op.drop_column('users', {0!r})"


def plain(project: Project, *names: str) -> None:
    """Revisions that make a table and add a column each."""
    project.revision("base1", "op.create_table('users', sa.Column('id', sa.Integer, primary_key=True))",
                     "op.drop_table('users')")  # fmt: skip
    for name in names:
        project.revision(name, ADD.format(name), DROP.format(name))


@pytest.fixture
def tree(tmp_path: Path) -> Project:
    return made(tmp_path / "release")


def columns(server: Server, database: str) -> list[str]:
    found = server.sql(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('users') AND attnum > 0 AND NOT attisdropped"
        " ORDER BY attnum", database)  # fmt: skip
    return [row[0] for row in found]


def test_all_that_is_pending_is_one_transaction(server: Server, database: str, tree: Project) -> None:
    plain(tree, "a1", "a2")
    tree.revision("bad1", ADD.format("x") + "\nop.execute('SELECT 1/0')")
    with pytest.raises(PapError, match=r"Migration bad1 failed \(line 13\): .*division by zero"):
        call("apply", tree, server.url(database))
    assert server.sql("SELECT to_regclass('users'), to_regclass('alembic_version')", database) == [(None, None)]
    assert server.sql("SELECT event, identity FROM pap_deploy.ledger", database) == [("failed", "bad1")]


def test_reverts_what_a_release_applied(server: Server, database: str, tree: Project) -> None:
    plain(tree, "a1")
    call("apply", tree, server.url(database), release="old")
    plain_versions = server.sql("SELECT version_num FROM alembic_version", database)
    tree.revision("a2", ADD.format("a2"), DROP.format("a2"), down="a1")
    tree.revision("a3", ADD.format("a3"), DROP.format("a3"), down="a2")
    call("apply", tree, server.url(database), release="new")
    assert columns(server, database) == ["id", "a1", "a2", "a3"]
    back = call("revert", tree, server.url(database), since_release="new", release="new")
    assert [each["identity"] for each in back["reverted"]] == ["a3", "a2"]
    assert columns(server, database) == ["id", "a1"]
    assert server.sql("SELECT version_num FROM alembic_version", database) == plain_versions == [("a1",)]
    assert [each["identity"] for each in call("status", tree, server.url(database))["pending"]] == ["a2", "a3"]


def test_needs_no_baseline(server: Server, database: str, tree: Project) -> None:
    plain(tree, "a1")
    tree.alembic(server.url(database), "upgrade", "head")
    tree.revision("a2", ADD.format("a2"), DROP.format("a2"), down="a1")
    state = call("status", tree, server.url(database))
    assert [each["identity"] for each in state["applied"]] == ["base1", "a1"] and not state["problems"]
    result = call("apply", tree, server.url(database))
    assert [each["identity"] for each in result["applied"]] == ["a2"]
    reverted = call("revert", tree, server.url(database), identities=["a2", "a1"])
    assert [each["identity"] for each in reverted["reverted"]] == ["a2", "a1"]


def test_the_whole_graph_reverts_to_its_beginning(server: Server, database: str, tree: Project) -> None:
    grown(tree)
    call("apply", tree, server.url(database), {"target": "heads"})
    call("revert", tree, server.url(database), {"target": "heads"}, since_release="r1", release="r2")
    left = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    assert rows(server, database, left) == [], "the version table came with the release, and goes with it"


def test_a_version_table_of_before_stays(server: Server, database: str, tree: Project) -> None:
    plain(tree)
    tree.alembic(server.url(database), "upgrade", "head")
    tree.alembic(server.url(database), "downgrade", "base")
    call("apply", tree, server.url(database))
    call("revert", tree, server.url(database), since_release="r1", release="r2")
    assert rows(server, database, "SELECT count(*) FROM alembic_version") == [(0,)]


def test_ledger_and_versions_that_disagree_are_refused(server: Server, database: str, tree: Project) -> None:
    url = server.url(database)
    plain(tree, "a1", "a2")
    call("apply", tree, url)
    tree.alembic(url, "downgrade", "-1")
    with pytest.raises(Refused, match=r"a2 is applied by the ledger .* downgraded or stamped .*alembic stamp a2"):
        call("apply", tree, url)
    with pytest.raises(Refused, match="a2 is applied by the ledger"):
        call("revert", tree, url, count=1)
    call("repair", tree, url, reason="downgraded by hand")
    assert [each["identity"] for each in call("apply", tree, url)["applied"]] == ["a2"]
    call("revert", tree, url, identities=["a2"])
    tree.alembic(url, "upgrade", "head")
    with pytest.raises(Refused, match=r"a2 was reverted by release r1 .* upgraded or stamped past"):
        call("apply", tree, url)
    call("repair", tree, url, reason="upgraded by hand")
    assert not call("apply", tree, url)["changed"]


def test_a_database_ahead_of_the_tree_is_refused(server: Server, database: str, tree: Project) -> None:
    plain(tree, "a1")
    call("apply", tree, server.url(database))
    server.sql("UPDATE alembic_version SET version_num = 'newer'", database)
    with pytest.raises(
        Refused, match=r"at the Alembic revision newer \(table alembic_version\), which is not in the tree"
    ):
        call("apply", tree, server.url(database))


def test_an_edited_revision_is_refused(server: Server, database: str, tree: Project) -> None:
    plain(tree)
    call("apply", tree, server.url(database))
    path = next(tree.versions.glob("*base1.py"))
    path.write_text(path.read_text() + "\nnote = 1\n")
    with pytest.raises(Refused, match="base1 was edited after it was applied"):
        call("apply", tree, server.url(database))


def test_target(server: Server, database: str, tree: Project) -> None:
    url = server.url(database)
    plain(tree, "a1", "a2")
    assert [each["identity"] for each in call("apply", tree, url, {"target": "a1"})["applied"]] == ["base1", "a1"]
    assert not call("apply", tree, url, {"target": "base1"})["changed"]
    tree.revision("b2", ADD.format("b2"), DROP.format("b2"), down="a1")
    with pytest.raises(Refused, match=r"Multiple head.*pap_target: heads"):
        call("apply", tree, url)
    assert {each["identity"] for each in call("apply", tree, url, {"target": "heads"})["applied"]} == {"a2", "b2"}
    assert (
        "Can't locate revision 'nothing'" in call("status", tree, url, {"target": "nothing"})["problems"][0]["message"]
    )
    with pytest.raises(Refused, match="Can't locate revision 'nothing'"):
        call("apply", tree, url, {"target": "nothing"})
    call("revert", tree, url, {"target": "nothing"}, identities=["b2"])


@pytest.mark.parametrize("order", ["first", "last"])
def test_the_tree_runs_before_or_after_what_has_a_date(
    server: Server, database: str, tree: Project, order: str
) -> None:
    plain(tree, "a1")
    (tree.folder / "dated").mkdir()
    (tree.folder / "dated" / "2026_01_01_dated.sql").write_text("CREATE TABLE dated (id int);\n")
    text = call("plan", tree, server.url(database), declared={"order": order}, folders=["dated"])["text"]
    assert (text.index("ADD COLUMN a1") < text.index("CREATE TABLE dated")) == (order == "first")


def test_plan(server: Server, database: str, tree: Project) -> None:
    plain(tree, "a1")
    tree.revision("reads1", "for row in op.get_bind().execute(sa.text('SELECT 1')):\n    op.execute('SELECT 2')")
    plan = call("plan", tree, server.url(database))
    assert plan["sql"]["a1"] == {"statements": ["ALTER TABLE users ADD COLUMN a1 TEXT"], "exact": True, "why": ""}
    assert (
        not plan["sql"]["reads1"]["exact"]
        and "cannot write the rest without a database" in plan["sql"]["reads1"]["why"]
    )
    assert "-- a1 (in the transaction): Do a1." in plan["text"]


# What a revision or env.py does beside SQL; a file beside it would be changed, or the server's port {port} be reached.
_CONNECT = "import socket\nsocket.create_connection(('127.0.0.1', {port}), 5).close()"
OUTWARD = {
    "a program": ("import subprocess\nsubprocess.run(['sh', '-c', 'echo new > marker; rm kept'])", r"starts a program \(sh\)"),
    "a program of psql": ("import os, subprocess\nsubprocess.run(['psql', os.environ['DATABASE_URL'], '-c', 'CREATE TABLE marker ()'])",
                          r"starts a program \(psql\)"),
    "swallowed": ("import os\ntry:\n    os.system('touch marker')\nexcept Exception:\n    raise ValueError('it failed')",
                  r"starts a program \(touch\)"),
    "a socket": (_CONNECT, r"opens a connection \(127.0.0.1:{port}\)"),
    "HTTP": ("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:{port}/secret')", r"opens a connection \(127.0.0.1:{port}\)"),
    "a driver": ("import os, psycopg2\npsycopg2.connect(os.environ['DATABASE_URL'].replace('+psycopg2', ''))",
                 r"opens a connection \(psycopg2.connect\)"),
}  # fmt: skip
CHANGES = {
    "a file": ("open('marker', 'w').close()", r"it writes a file \(marker\), which is not done to read its SQL"),
    "a file removed": ("import os\nos.remove('kept')", r"it removes a file \(kept\)"),
    "a folder removed": ("import shutil\nshutil.rmtree('.', ignore_errors=True)", r"it removes files"),
    "by the C library": ("import ctypes\nassert ctypes.CDLL(None).system(b'echo new > marker && rm kept') == 0", "AssertionError"),
    "the process": ("import os\nos._exit(0)", r"os._exit\(0\) was called"),
    "without end": ("while True:\n    pass", "it did not end within 0.5 s"),
}  # fmt: skip


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        found.setblocking(False)
        yield found


def untouched(server: Server, database: str, tree: Project, listener: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert (tree.folder / "kept").read_text() == "kept" and not (tree.folder / "marker").exists()
    assert server.sql("SELECT to_regclass('marker')", database) == [(None,)]


def test_what_revisions_do_beside_sql_is_not_done_to_read_it(
    server: Server, database: str, tree: Project, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "_EACH_S", 0.5)
    port = listener.getsockname()[1]
    (tree.folder / "kept").write_text("kept")
    plain(tree)
    expected = {}
    for number, (does, told) in enumerate([*OUTWARD.values(), *CHANGES.values()]):
        name = tree.revision(f"wild{number}", "op.execute('SELECT 1')\n" + does.format(port=port))
        expected[name] = re.compile(told.format(port=port))
    tree.revision("last1", ADD.format("a"))
    url = server.url(database)
    call("status", tree, url)
    call("apply", tree, url, dry_run=True)
    plan = call("plan", tree, url)
    assert plan["problems"] == [] and plan["sql"]["last1"]["exact"]
    with inside(tree, url):
        report = lint.run([], url=url, declared=Declaration("alembic.ini"))
    unread = {each.file: each.message for each in report.live if each.rule == "unread-sql"}
    assert len(unread) == len(expected)
    for name, words in expected.items():
        assert plan["sql"][name]["statements"] == ["SELECT 1"]
        assert words.search(plan["sql"][name]["why"]), name
        assert any(file.endswith(f"_{name}.py") and words.search(message) for file, message in unread.items()), name
    untouched(server, database, tree, listener)


@pytest.mark.parametrize(
    ("does", "told", "in_env"), [(*case, number % 2 == 0) for number, case in enumerate(OUTWARD.values())], ids=OUTWARD
)
def test_what_a_tree_does_when_it_is_read_is_refused(
    server: Server, database: str, tree: Project, listener: socket.socket, does: str, told: str, in_env: bool
) -> None:
    port = listener.getsockname()[1]
    (tree.folder / "kept").write_text("kept")
    plain(tree)
    if in_env:
        tree.env_py.write_text(f"{does.format(port=port)}\n{tree.env_py.read_text()}")
    else:
        tree.revision("wild1", "pass", head=does.format(port=port))
    looks: list[tuple[str, dict[str, Any]]] = [("status", {}), ("plan", {}), ("apply", {"dry_run": True})]
    for name, request in [*looks, ("apply", {})]:
        with pytest.raises(Refused, match=f"The Alembic tree {told.format(port=port)} when it is read") as refusal:
            call(name, tree, server.url(database), **request)
        problems = [each["kind"] for each in refusal.value.data.get("problems", [])]
        assert problems == (["import"] if (name, request) in looks else [])
    untouched(server, database, tree, listener)


def test_a_tree_that_ends_its_process_is_refused(server: Server, database: str, tree: Project) -> None:
    tree.env_py.write_text("import os\nos._exit(0)\n")
    with pytest.raises(Refused, match=r"The Alembic tree of alembic.ini cannot be read: its process ended by itself"):
        call("plan", tree, server.url(database))


def test_reading_a_tree_keeps_from_it_what_it_can_do_without(server: Server, database: str, tree: Project) -> None:
    """The linker is asked for libraries, an event loop has a socket of its own, and a server may be away."""
    first = "import asyncio, ctypes.util, logging.handlers\nassert ctypes.util.find_library('c')\nasyncio.run(asyncio.sleep(0))\n"
    away = "try:\n    import socket\n    socket.create_connection(('127.0.0.1', 1))\nexcept OSError:\n    pass\n"
    tree.env_py.write_text(f"{first}{away}{tree.env_py.read_text()}")
    plain(tree)
    assert [each["identity"] for each in call("plan", tree, server.url(database))["pending"]] == ["base1"]
    assert call("apply", tree, server.url(database))["changed"]


def test_a_tree_is_read_in_one_process_and_run_in_another(
    server: Server, database: str, tree: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain(tree, *(f"a{number}" for number in range(8)))
    began: list[float] = []
    really = alone.run

    def run(work: alone.Work, seconds: float, **more: Any) -> Any:
        began.append(seconds)
        return really(work, seconds, **more)

    monkeypatch.setattr(alone, "run", run)
    call("plan", tree, server.url(database))
    assert len(began) == 2
    with inside(tree, server.url(database)):
        lint.run([], url=server.url(database), declared=Declaration("alembic.ini"))
    assert len(began) == 4


def test_where_nothing_can_be_confined_no_revision_is_run_for_its_sql(
    server: Server, database: str, tree: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alone, "confine", lambda _: "no such filter")
    plain(tree)
    tree.revision("wild1", "open('marker', 'w').close()")
    plan = call("plan", tree, server.url(database))
    assert plan["sql"]["base1"] == {"statements": [], "exact": False, "why": "not read: cannot be confined here"}
    assert "-- a guess: not read: cannot be confined here" in plan["text"]
    assert not (tree.folder / "marker").exists()


ENV = """
from alembic import context
config = context.config
{first}
if context.is_offline_mode():
    context.configure(url="postgresql://", literal_binds=True{offline})
    with context.begin_transaction():
        context.run_migrations()
else:
    from sqlalchemy import create_engine, pool
    import os
    with create_engine(os.environ["DATABASE_URL"], poolclass=pool.NullPool).connect() as connection:
        context.configure(connection=connection{online})
        with context.begin_transaction():
            context.run_migrations()
"""


@pytest.mark.parametrize(
    ("first", "offline", "online", "table"),
    {
        "both": ("", ", version_table='v'", ", version_table='v'", "v"),
        "online alone": ("", "", ", version_table='v', version_table_schema='s'", "s.v"),
        "by a name": ("NAME = 'v'", "", ", version_table=NAME", "v"),
        "quoted": ("", ", version_table='My \"v'", ", version_table='My \"v'", '"My ""v"'),
    }.values(),
)
def test_the_version_table_under_any_name(
    server: Server, database: str, tree: Project, first: str, offline: str, online: str, table: str
) -> None:
    server.sql("CREATE SCHEMA s", database)
    tree.env_py.write_text(ENV.format(first=first, offline=offline, online=online))
    plain(tree, "a1")
    call("apply", tree, server.url(database))
    assert server.sql(f"SELECT version_num FROM {table}", database) == [("a1",)]
    assert "a1 (head)" in tree.alembic(server.url(database), "current")


def test_refused_in_words(server: Server, database: str, tmp_path: Path, tree: Project) -> None:
    multidb = made(tmp_path / "multi", "multidb")
    with pytest.raises(Refused, match="a tree for several databases"):
        call("status", multidb, server.url(database))
    with pytest.raises(Refused, match=r"There is no nowhere.ini in .*release"):
        call("status", tree, server.url(database), {"ini": "nowhere.ini"})
    tree.env_py.write_text(ENV.format(first="", offline="", online=", version_table=f()"))
    with pytest.raises(Refused, match=r"env.py, line \d+: version_table is computed where env.py connects"):
        call("status", tree, server.url(database))
    tree.env_py.write_text("from alembic import context\n")
    with pytest.raises(Refused, match="configures nothing when it runs offline"):
        call("status", tree, server.url(database))
    tree.env_py.write_text(
        "import os, psycopg2\npsycopg2.connect(os.environ['DATABASE_URL'].replace('+psycopg2', ''))\n"
    )
    with pytest.raises(Refused, match=r"The Alembic tree opens a connection \(psycopg2.connect\) when it is read"):
        call("status", tree, server.url(database))
    tree.env_py.write_text(ENV.format(first="", offline="", online=""))
    tree.revision("base1", "pass")
    tree.revision("lost1", "pass", down="gone")
    with pytest.raises(Refused, match=r"The Alembic tree of alembic.ini"):
        call("status", tree, server.url(database))


@pytest.mark.parametrize(
    ("offline", "sign"), [("driver://", "%"), ("postgresql+asyncpg://", "%"), ("postgresql://", "%%")]
)
def test_asyncpg_sends_percent_signs_as_they_are(
    server: Server, database: str, tree: Project, offline: str, sign: str
) -> None:
    """By the driver of env.py: the application may have another one."""
    plain(tree)
    select = "SELECT 'a%b' AS x, 7 % 4 AS n".replace("%", sign)
    tree.revision("percent1", f"op.get_bind().exec_driver_sql(\"CREATE TABLE p AS {select}\")\n"
                  "op.execute(\"INSERT INTO p SELECT '50%', 1 WHERE 'abc' LIKE 'a%'\")")  # fmt: skip
    tree.env_py.write_text(ENV.format(first="", offline="", online="").replace('url="postgresql://', 'url="' + offline))
    call("apply", tree, server.url(database, "postgresql+asyncpg"))
    assert server.sql("SELECT * FROM p ORDER BY n DESC", database) == [("a%b", 3), ("50%", 1)]


def test_a_model_check_and_a_copy_know_the_version_table(server: Server, database: str) -> None:
    server.sql("CREATE SCHEMA s; CREATE TABLE a (id int); CREATE TABLE s.a (id int)", database)
    with open_session(server.url(database)) as session:
        empty = describe(session)
    server.sql("CREATE TABLE s.more (version_num text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), by text);"
               "CREATE TABLE s.documents (id serial PRIMARY KEY, version_num text NOT NULL);"
               "CREATE TABLE s.parts (version_num text PRIMARY KEY, part text NOT NULL)", database)  # fmt: skip
    with open_session(server.url(database)) as session:
        found = compare(empty, describe(session), CheckOptions(schema="s"))
    assert {item.object.rpartition(".")[2] for item in found if item.kind == "table_extra"} == {"documents", "parts"}
    server.sql("DROP TABLE s.documents, s.parts", database)
    server.sql('CREATE TABLE "My v" (version_num varchar(32) PRIMARY KEY);'
               "CREATE TABLE s.versions (version_num varchar(255) NOT NULL); CREATE TABLE notes (version_num int)",
               database)  # fmt: skip
    with open_session(server.url(database)) as session:
        found = compare(empty, describe(session), CheckOptions(schema="public"))
    assert [(item.kind, item.object) for item in found] == [("table_extra", "notes")]
    conninfo = Conninfo(database, server.host, server.port, server.user, server.password)
    live = Database(HostSite(), conninfo, str(server.bin_dir))
    assert version_tables.patterns(live) == ['"public"."My v"', '"s"."more"', '"s"."versions"']


def test_what_env_py_sends_beside_the_revisions_is_told(server: Server, database: str, tree: Project) -> None:
    tree.env_py.write_text(ENV.format(first="", offline="", online="") + "        connection.execute('SELECT 1')\n")
    plain(tree)
    assert call("plan", tree, server.url(database))["notes"] == [
        "env.py sends SQL of its own where it connects (line 16): it is not run here."
    ]


def test_another_schema_or_role_that_env_py_sets_is_refused(server: Server, database: str, tree: Project) -> None:
    plain(tree)
    for sends in (
        "connection.execute(text('SET search_path TO app'))",
        "connection.exec_driver_sql(f'set local search_path = {name}, public')",
        "context.execute('SET search_path TO %s' % name)",
        "connection.execute(\"SELECT set_config('search_path', 'app', false)\")",
        "connection.execute('SET ROLE x')",
    ):
        tree.env_py.write_text(ENV.format(first="", offline="", online="") + f"        {sends}\n")
        with pytest.raises(Refused, match=r"env.py, line 16: env.py sends .* not run here"):
            call("status", tree, server.url(database))


def test_versions_that_the_connection_does_not_see_are_told(server: Server, database: str, tree: Project) -> None:
    plain(tree)
    server.sql("CREATE SCHEMA app", database)
    schema = server.url(database) + "?options=-csearch_path%3Dapp"
    call("apply", tree, schema)
    with pytest.raises(Refused, match=r"The versions are in app.alembic_version, which this connection does not see"):
        call("apply", tree, server.url(database))
    assert [each["kind"] for each in call("status", tree, server.url(database))["problems"]] == ["version"]
    assert not call("apply", tree, schema)["changed"]


ONLINE = "context.configure(connection=connection, version_table='v')"


@pytest.mark.parametrize(
    ("first", "offline", "online"),
    {
        "positional": ("", "", "context.configure(connection, version_table='v')"),
        "options by name": ("MORE = {'version_table': 'v'}", "", "context.configure(connection=connection, **MORE)"),
        "all by name": ("", "", "context.configure(**{'connection': connection, 'version_table': 'v'})"),
        "computed in both": (
            "def more(): return {'version_table': 'v'}", ", **more()", "context.configure(connection, **more())",
        ),
    }.values(),
)  # fmt: skip
def test_every_form_of_the_online_configure_is_heard(
    server: Server, database: str, tree: Project, first: str, offline: str, online: str
) -> None:
    text = ENV.format(first=first, offline=offline, online=", version_table='v'")
    tree.env_py.write_text(text.replace(ONLINE, online))
    plain(tree, "a1")
    call("apply", tree, server.url(database))
    assert server.sql("SELECT version_num FROM v", database) == [("a1",)]


def test_options_that_cannot_be_heard_are_refused(server: Server, database: str, tree: Project) -> None:
    plain(tree)
    for given, what in (
        ("**more()", r"\*\*more\(\)"),
        ("transaction_per_migration=f()", "transaction_per_migration"),
        ("on_version_apply=f()", "on_version_apply"),
    ):
        tree.env_py.write_text(ENV.format(first="", offline="", online=f", {given}"))
        with pytest.raises(Refused, match=rf"env.py, line \d+: {what} is computed where env.py connects"):
            call("status", tree, server.url(database))


def locations_in_env(tree: Project) -> None:
    """version_locations only in env.py."""
    (tree.folder / "elsewhere").mkdir()
    text = tree.env_py.read_text()
    where = "context.script.version_locations = ['elsewhere', 'alembic/versions']"
    tree.env_py.write_text(text.replace("config = context.config\n", f"config = context.config\n{where}\n", 1))
    tree.revision("base1", "op.execute('CREATE TABLE one ()')")
    moved = next(tree.versions.glob("*base1.py"))
    moved.rename(tree.folder / "elsewhere" / moved.name)
    tree.revision("next1", "op.execute('CREATE TABLE two ()')", down="base1")


def ini_in_a_package(tree: Project) -> None:
    """An ini file inside a package, whose script_location is relative to it."""
    package = tree.folder / "service"
    package.mkdir()
    for name in ("alembic", "alembic.ini"):
        (tree.folder / name).rename(package / name)
    (package / "alembic.ini").write_text((package / "alembic.ini").read_text().replace("%(here)s/alembic", "alembic"))
    tree.ini, tree.where = "service/alembic.ini", "service"
    tree.revision("base1", "op.execute('CREATE TABLE one ()')")


def per_migration(tree: Project) -> None:
    """A label of an enum that the next revision uses: the tree commits after each."""
    options = ", transaction_per_migration=True"
    tree.env_py.write_text(ENV.format(first="", offline=options, online=options))
    tree.revision("base1", "op.execute(\"CREATE TYPE mood AS ENUM ('ok')\")\nop.execute('CREATE TABLE m (mood mood)')")
    tree.revision("label1", "op.execute(\"ALTER TYPE mood ADD VALUE 'sad'\")")
    tree.revision("use1", "op.execute(\"INSERT INTO m VALUES ('sad')\")")


def commits_by_itself(tree: Project) -> None:
    """The way of before autocommit_block()."""
    tree.revision("base1", "op.execute('CREATE TABLE one (id int)')")
    tree.revision("commit1", "op.execute('COMMIT')\nop.execute('CREATE INDEX CONCURRENTLY one_id ON one (id)')")
    tree.revision("after1", "op.execute('CREATE TABLE two ()')")


def dated_names(tree: Project) -> None:
    """Files whose names and ids look like ours."""
    tree.revision("2024_01_02_begin", "op.execute('CREATE TABLE one ()')", down=None)
    tree.revision("2023_01_02_then", "op.execute('CREATE TABLE two ()')", down="2024_01_02_begin")


def colons_and_percents(tree: Project) -> None:
    tree.revision("base1", "op.execute(\"CREATE TABLE t AS SELECT '50%' AS a, 'x'::text AS b, 'c\\\\:d' AS c\")\n"
                  "op.execute(sa.text('INSERT INTO t VALUES (:a, :b, :c)').bindparams(a='%s', b=':b', c='%%'))")  # fmt: skip


def context_and_x(tree: Project) -> None:
    tree.revision("base1", "assert context.config.get_main_option('script_location')\n"
                  "name = context.get_x_argument(as_dictionary=True).get('name', 'nobody')\n"
                  "op.create_table(name, sa.Column('id', sa.Integer))", head="from alembic import context")  # fmt: skip


def naming_and_batch(tree: Project) -> None:
    tree.revision("base1", "op.create_table('p', sa.Column('id', sa.Integer, primary_key=True))\n"
                  "op.create_table('c', sa.Column('p_id', sa.Integer))")  # fmt: skip
    tree.revision("batch1", "with op.batch_alter_table('c') as b:\n    b.create_foreign_key('c_p', 'p', ['p_id'], ['id'])\n"
                  "with op.batch_alter_table('c', recreate='always') as b:\n    b.add_column(sa.Column('n', sa.Integer))")  # fmt: skip


def lazy_imports(tree: Project) -> None:
    """A revision that imports the application only when it runs, and reads a file beside it."""
    (tree.folder / "lazily_imported_app.py").write_text("NAME = 'one'\n")
    (tree.folder / "data.sql").write_text("CREATE TABLE two ()")
    tree.revision("base1", "from lazily_imported_app import NAME\nop.execute(f'CREATE TABLE {NAME} ()')\n"
                  "op.execute(open('data.sql').read())")  # fmt: skip


BY_DAY = [locations_in_env, per_migration, commits_by_itself]
BY_NIGHT = [ini_in_a_package, dated_names, colons_and_percents, context_and_x, naming_and_batch, lazy_imports]
TRAPS = [*BY_DAY, *(pytest.param(trap, marks=pytest.mark.nightly) for trap in BY_NIGHT)]


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
def test_traps(server: Server, database: str, twin: str, tree: Project, trap: Any) -> None:
    trap(tree)
    tree.alembic(server.url(twin), *(["-x", "name=me"] if trap is context_and_x else []), "upgrade", "heads")
    call("apply", tree, server.url(database), {"target": "heads", "x": ["name=me"]})
    assert dumped(server, database) == dumped(server, twin)
    assert not call("apply", tree, server.url(database), {"target": "heads"})["changed"]


@pytest.mark.parametrize(
    ("upgrade", "words"),
    {
        "commit of the bind": ("op.get_bind().commit()", r"broke a rule of the runner: commit\(\) was called"),
        "another engine": (
            "sa.create_engine(context.config.get_main_option('sqlalchemy.url')).connect()",
            "it opened a second connection",
        ),
        "swallowed": ("try:\n    op.execute('SELECT 1/0')\nexcept Exception:\n    pass", "swallowed an error"),
        "a lock released": ("op.execute('SELECT pg_advisory_unlock_all()')", "advisory lock is gone"),
    }.values(),
)
def test_rules_hold_in_revisions(server: Server, database: str, tree: Project, upgrade: str, words: str) -> None:
    plain(tree)
    tree.revision("bad1", upgrade, head="from alembic import context")
    with pytest.raises(PapError, match=words):
        call("apply", tree, server.url(database))
    assert server.sql("SELECT to_regclass('users')", database) == [(None,)]


def test_what_takes_a_revision_out_of_the_transaction(server: Server, database: str, tree: Project) -> None:
    (tree.folder / "helping.py").write_text(
        "def end(op):\n    op.get_bind().exec_driver_sql('COMMIT')\n\ndef nothing(op):\n    print('commit')\n\n"
        "def in_block(op):\n    with op.get_context().autocommit_block():\n        pass\n"
    )
    remains = {
        "column": "op.add_column('users', sa.Column('end', sa.Text))",
        "value": "op.get_bind().execute(sa.text('SELECT :c'), {'c': 'commit'})",
        "row": "op.bulk_insert(sa.table('users', sa.column('end')), [{'end': 'COMMIT'}])",
        "helper": "helping.nothing(op)",
    }
    leaves = {
        "sent": "op.execute('COMMIT')",
        "connection": "op.get_bind().execute(\n    sa.text(\n        'end;'\n    )\n)",
        "options": "op.execute(sa.text('commit').execution_options(a=1))",
        "helps": "helping.end(op)",
        "block": "in_block(op)",
    }
    for name, sends in {**remains, **leaves}.items():
        tree.revision(name, sends, head="import helping\nfrom helping import in_block")
    pending = call("status", tree, server.url(database))["pending"]
    assert {each["identity"]: each["transactional"] for each in pending} == {
        **dict.fromkeys(remains, True), **dict.fromkeys(leaves, False),
    }  # fmt: skip


def test_a_block_that_was_not_foreseen_is_refused(server: Server, database: str, tree: Project) -> None:
    (tree.folder / "hidden_block.py").write_text("def f(op):\n    op.get_context().autocommit_block().__enter__()\n")
    plain(tree)
    tree.revision("hidden1", "import hidden_block\nhidden_block.f(op)")
    with pytest.raises(PapError, match=r"hidden1 reaches an autocommit_block\(\) that its file does not show"):
        call("apply", tree, server.url(database))
    assert server.sql("SELECT to_regclass('users')", database) == [(None,)]


BLOCK = "with op.get_context().autocommit_block():\n    op.execute('SELECT 1')\n"


def test_an_orm_session_commits_in_the_pieces_of_a_block_revision(server: Server, database: str, tree: Project) -> None:
    plain(tree)
    orm = "session = Session(bind=op.get_bind())\nsession.execute(sa.text('INSERT INTO users DEFAULT VALUES'))\nsession.commit()\n"
    tree.revision("orm1", orm + BLOCK + orm, head="from sqlalchemy.orm import Session")
    call("apply", tree, server.url(database))
    assert rows(server, database, "SELECT count(*) FROM users") == [(2,)]


@pytest.mark.parametrize("direction", ["upgrade", "downgrade"])
def test_a_block_revision_looks_at_the_rows_before_it_commits(
    server: Server, database: str, tree: Project, direction: str
) -> None:
    """Somebody else moves the row while the run is under way."""
    plain(tree)
    made = "op.execute('CREATE TABLE twice (id int)')\n"
    tree.revision("block1", made + BLOCK, "op.execute('CREATE TABLE twice (id int)')\n" + BLOCK)
    tree.revision("last1", ADD.format("a"), DROP.format("a"))
    url = server.url(database)
    if direction == "downgrade":
        call("apply", tree, url)
        server.sql("DROP TABLE twice", database)
    to = {"upgrade": "block1", "downgrade": "base1"}[direction]

    def moves(event: dict[str, Any]) -> None:
        if event["event"] == "committed" and "block1" not in event["identities"]:
            server.sql(f"UPDATE alembic_version SET version_num = '{to}'", database)

    with pytest.raises(PapError, match=r"block1 was not run: the rows of alembic_version"):
        if direction == "upgrade":
            call("apply", tree, url, emit=moves)
        else:
            call("revert", tree, url, identities=["last1", "block1"], emit=moves)
    assert server.sql("SELECT to_regclass('twice')", database) == [(None,)]


def test_a_downgrade_without_a_plain_upgrade(server: Server, database: str, tree: Project) -> None:
    plain(tree)
    tree.revision("partial1", "op.execute('SELECT 1')", "pass")
    path = next(tree.versions.glob("*partial1.py"))
    path.write_text(path.read_text() + "\n\nimport functools\nupgrade = functools.partial(upgrade)\n")
    assert [each["reversible"] for each in call("status", tree, server.url(database))["pending"]] == [True, False]
    call("apply", tree, server.url(database))


def test_downgrades_that_are_none(server: Server, database: str, tree: Project) -> None:
    plain(tree)
    tree.revision("pass1", ADD.format("a"), "pass")
    tree.revision("unnamed1", "op.create_unique_constraint('u', 'users', ['id'])", "op.drop_constraint(None, 'users')")
    tree.revision("raises1", ADD.format("b"), "raise NotImplementedError('no way back')")
    tree.revision("merge1", "pass", "pass")
    url = server.url(database)
    pending = call("status", tree, url)["pending"]
    assert {each["identity"]: each["reversible"] for each in pending} == {
        "base1": True, "pass1": False, "unnamed1": True, "raises1": False, "merge1": True,
    }  # fmt: skip
    call("apply", tree, url, {"target": "unnamed1"})
    with pytest.raises(PapError, match="Migration unnamed1 failed"):
        call("revert", tree, url, {"target": "unnamed1"}, identities=["unnamed1"])
    with pytest.raises(Refused, match="pass1 cannot be reverted: it has no downgrade"):
        call("revert", tree, url, {"target": "unnamed1"}, identities=["unnamed1", "pass1"])


@pytest.mark.parametrize("block", [False, True])
def test_killed_in_the_middle(server: Server, database: str, tree: Project, block: bool) -> None:
    """What was in a transaction is not there; a block of before its end is, and the revision can run again."""
    plain(tree)
    flag = tree.folder / "kill"
    flag.touch()
    kill = f"import os\nif os.path.exists({str(flag)!r}):\n    os.kill(os.getpid(), 9)"
    first = (
        "with op.get_context().autocommit_block():\n    op.execute('CREATE TABLE IF NOT EXISTS b ()')\n"
        if block
        else ""
    )
    tree.revision("killed1", f"{first}{ADD.format('a')}\n{kill}", DROP.format("a"))
    url = server.url(database)
    command = [sys.executable, "-m", "papdeploy", "migrate", "--alembic", "alembic.ini", "--database-url", url]
    environment = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(ROOT / "module_utils")}
    ran = subprocess.run(command, cwd=tree.folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == -9, ran.stderr
    assert columns(server, database) == (["id"] if block else [])
    assert call("status", tree, url)["interrupted"] == (["killed1"] if block else [])
    flag.unlink()
    ran = subprocess.run(command, cwd=tree.folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert columns(server, database) == ["id", "a"]
    assert server.sql("SELECT version_num FROM alembic_version", database) == [("killed1",)]


KILLED = (
    "import os, sys\nfrom papdeploy.migrations.run import execute\nexecute.record_alone = lambda *_: os.kill(os.getpid(), 9)\n"
    "from papdeploy.__main__ import main\nsys.exit(main(sys.argv[1:]))"
)


@pytest.mark.parametrize("way", [BLOCK, "op.execute('COMMIT')\n"], ids=["block", "commit"])
def test_killed_between_the_version_row_and_the_ledger(server: Server, database: str, tree: Project, way: str) -> None:
    """It is this release's work all the same, in both directions."""
    plain(tree)
    tree.revision("killed1", way + ADD.format("a"), way + DROP.format("a"))
    url = server.url(database)
    environment = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(ROOT / "module_utils")}

    def killed(*arguments: str) -> None:
        command = [sys.executable, "-c", KILLED, *arguments, "--alembic", "alembic.ini", "--database-url", url]
        ran = subprocess.run(command, cwd=tree.folder, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == -9, ran.stderr

    killed("migrate", "--release", "new")
    state = call("status", tree, url)
    assert (state["applied"][-1]["identity"], state["applied"][-1]["release"]) == ("killed1", "new")
    assert state["pending"] == state["problems"] == [] and not call("apply", tree, url)["changed"]
    killed("revert", "killed1")
    state = call("status", tree, url)
    assert [each["identity"] for each in state["pending"]] == ["killed1"] and not state["problems"]
    call("apply", tree, url, release="newer")
    back = call("revert", tree, url, since_release="newer")
    assert [each["identity"] for each in back["reverted"]] == ["killed1"]
    killed("migrate", "--release", "newest")
    back = call("revert", tree, url, since_release="newest")
    assert [each["identity"] for each in back["reverted"]] == ["killed1"] and columns(server, database) == ["id"]


@pytest.mark.parametrize("order", ["first", "last"])
def test_both_kinds_in_one_plan(server: Server, database: str, tree: Project, order: str) -> None:
    folder = tree.folder / "ours"
    folder.mkdir()
    (folder / "2026_01_01_notes.py").write_text(migration('db.execute("CREATE TABLE notes (id int)")',
                                                          'db.execute("DROP TABLE notes")'))  # fmt: skip
    plain(tree, "a1")
    url, ours = server.url(database), {"folders": [str(folder)]}
    done = call("apply", tree, url, {"order": order}, **ours)
    names = ["base1", "a1", "2026_01_01_notes"] if order == "first" else ["2026_01_01_notes", "base1", "a1"]
    assert [each["identity"] for each in done["applied"]] == names and len(done["transactions"]) == 1
    tree.revision("a2", ADD.format("a2"), DROP.format("a2"), down="a1")
    (folder / "2026_01_02_more.py").write_text(migration('db.execute("CREATE TABLE more (id int)")'))
    assert len(call("status", tree, url, {"order": order}, **ours)["pending"]) == 2, "neither is out of order"
    back = call("revert", tree, url, {"order": order}, since_release="r1", **ours)
    assert [each["identity"] for each in back["reverted"]] == names[::-1]


def test_new_writes_a_revision(server: Server, database: str, tree: Project) -> None:
    plain(tree)
    url = server.url(database, "postgresql")
    server.sql("CREATE TABLE users (id serial PRIMARY KEY)", database)
    tree.alembic(server.url(database), "stamp", "head")
    (tree.folder / "written_models.py").write_text(
        "from sqlalchemy import *\nfrom sqlalchemy.orm import declarative_base\nBase = declarative_base()\n"
        "class User(Base):\n    __tablename__ = 'users'\n    id = Column(Integer, primary_key=True)\n"
        "    note = Column(Text, server_default=text(\"'a:b %'\"))\n    n = Column(Integer, index=True)\n"
    )
    environment = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": f"{ROOT / 'module_utils'}:{tree.folder}"}
    command = [sys.executable, "-m", "papdeploy"]
    more = ["--alembic", "alembic.ini"]
    models = "written_models:Base"
    for arguments in (
        ["new", "add_notes", "--from-models", models],
        ["migrate", "--models", models],
        ["lint", "--offline"],
    ):
        ran = subprocess.run([*command, *arguments, *more], cwd=tree.folder, env=environment, capture_output=True,
                             text=True, check=False)  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert sorted(columns(server, database)) == ["id", "n", "note"]
    assert "add_notes" in tree.alembic(server.url(database), "history")


def test_a_python_without_alembic(
    server: Server, database: str, tree: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "alembic.script", None)
    with pytest.raises(Unavailable, match=r"no Alembic .*Add the package alembic to the requirements of the release"):
        call("status", tree, server.url(database))


def test_a_tree_that_is_not_whole(server: Server, database: str, tree: Project) -> None:
    plain(tree)
    tree.revision("base1", "pass", down=None)
    with pytest.raises(Refused, match="base1 is present more than once"):
        call("status", tree, server.url(database))
    for path in tree.versions.glob("*.py"):
        path.unlink()
    tree.revision("wild1", "pass", head="import psycopg2\npsycopg2.connect('')")
    with pytest.raises(Refused, match=r"The Alembic tree opens a connection \(psycopg2.connect\) when it is read"):
        call("status", tree, server.url(database))


def test_advice_is_of_alembic(server: Server, database: str, tree: Project) -> None:
    plain(tree)
    tree.revision("slow1", "op.create_index('users_id', 'users', ['id'], postgresql_concurrently=True)")
    with pytest.raises(PapError, match=r"slow1 failed \(line 12\).*autocommit_block"):
        call("apply", tree, server.url(database))


def test_a_revision_among_our_own_files_is_told(server: Server, database: str, tree: Project) -> None:
    plain(tree)
    with pytest.raises(Refused, match=r"is a revision of an Alembic tree.*pap_alembic"):
        call("status", tree, server.url(database), alembic=None, folders=[str(tree.versions)])


def test_a_version_table_behind_the_schema(server: Server, database: str, tree: Project) -> None:
    plain(tree, "a1")
    tree.alembic(server.url(database), "upgrade", "head")
    tree.alembic(server.url(database), "stamp", "base1")
    with pytest.raises(
        PapError, match=r"a1 failed .*DuplicateColumn.*version table is behind its schema: `alembic stamp`"
    ):
        call("apply", tree, server.url(database))


@pytest.mark.parametrize("kept", ["schema", "sample"])
def test_copies_without_rows_keep_the_versions(server: Server, database: str, tree: Project, kept: str) -> None:
    plain(tree, "a1")
    tree.revision("other1", "op.execute('CREATE TABLE o ()')", down=None)
    call("apply", tree, server.url(database), {"target": "heads"})
    server.sql("INSERT INTO users SELECT generate_series(1, 9)", database)
    name = server.create("copy")
    live, copy = (
        Database(
            HostSite(), Conninfo(each, server.host, server.port, server.user, server.password), str(server.bin_dir)
        )
        for each in (database, name)
    )
    stream = functools.partial(copies.transfer, deadline=time.monotonic() + 60)
    if kept == "schema":
        stream(live, copy, ["--schema-only"])
    else:
        sampling.copy_sample(live, copy, 1, stream)
    stream(live, copy, copies.what_was_applied(live))
    assert server.sql("SELECT version_num FROM alembic_version ORDER BY 1", name) == [("a1",), ("other1",)]
    state = call("status", tree, server.url(name), {"target": "heads"})
    assert state["pending"] == [] and state["problems"] == []
    server.drop(name)


@pytest.mark.parametrize(
    "service",
    [
        full_stack,
        pytest.param(asynchronous, marks=pytest.mark.nightly),
        pytest.param(forty, marks=pytest.mark.nightly),
    ],
    ids=lambda service: service.__name__,
)
def test_services(server: Server, database: str, twin: str, tmp_path: Path, service: Any) -> None:
    """A service that Alembic has brought to where it is: its release is deployed, and goes back."""
    tree, before = service(tmp_path / "release")
    driver = "postgresql+asyncpg" if service is asynchronous else "postgresql+psycopg2"
    for name in (database, twin):
        tree.alembic(server.url(name, driver), "upgrade", before)
    start = dumped(server, database)
    tree.alembic(server.url(twin, driver), "upgrade", "head")
    done = call("apply", tree, server.url(database, driver))["applied"]
    assert len(done) >= 2 and dumped(server, database) == dumped(server, twin)
    call("revert", tree, server.url(database, driver), since_release="r1", release="r1")
    assert dumped(server, database) == start
    call("apply", tree, server.url(database, driver), release="r2")
    assert dumped(server, database) == dumped(server, twin)
