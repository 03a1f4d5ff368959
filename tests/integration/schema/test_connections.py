"""The check against a live server: rights, search paths, transactions, drivers, dumps, locks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from papdeploy.core.errors import PapError, Refused, Unavailable
from papdeploy.schema import CheckOptions, ModelSet, check, describe, expect, fingerprint, load_models
from papdeploy.schema.catalog import connection as session_module
from papdeploy.schema.catalog.connect import open_session
from papdeploy.schema.catalog.connection import Session
from papdeploy.schema.catalog.rows import Catalog
from papdeploy.schema.models.scratch_database import PREFIX, expected_on
from support import ROOT, postgres_servers

pytestmark = pytest.mark.every_version

CORPUS = ROOT / "tests" / "corpus" / "schema"
OPTIONS = CheckOptions(today="2026-01-01")


@pytest.fixture(scope="module")
def models() -> ModelSet:
    return load_models(["corpus_models:Base", "corpus_models:Other"], str(CORPUS))


@pytest.fixture(scope="module")
def expected(server: Any, models: ModelSet) -> Catalog:
    return expected_on(models, server.url("postgres"))[0]


@pytest.fixture(scope="module")
def live(server: Any, models: ModelSet) -> Iterator[str]:
    """A database that the models' own create_all made; tests leave it as it is."""
    name = server.create("live")
    create_all(models, server.url(name))
    yield name
    server.drop(name)


def create_all(models: ModelSet, url: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS audit")
        for metadata in models.metadatas:
            metadata.create_all(connection)


def role_url(server: Any, database: str, role: str, password: str = "only-connect") -> str:
    server.sql(
        f"DO $$ BEGIN CREATE ROLE {role} LOGIN PASSWORD '{password}'; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    )
    return f"postgresql+psycopg2://{role}:{password}@{server.host}:{server.port}/{database}"


def result_of(url: str, expected: Catalog, options: CheckOptions = OPTIONS) -> Any:
    with open_session(url) as session:
        return check(session, expected, options)


def found(result: Any) -> list[tuple[str, str]]:
    return [(d.kind, d.object) for d in result.differences]


@pytest.mark.parametrize("driver", ["postgresql+psycopg2", "postgresql+psycopg", "postgresql", "postgres"])
def test_every_driver_gives_the_same_catalog(server: Any, live: str, expected: Catalog, driver: str) -> None:
    if driver.endswith("psycopg"):
        pytest.importorskip("psycopg")
    result = result_of(server.url(live, driver), expected)
    assert result.matches, found(result)
    with open_session(server.url(live)) as reference, open_session(server.url(live, driver)) as session:
        assert fingerprint(describe(session)) == fingerprint(describe(reference))


def test_with_a_snapshot_the_check_is_two_messages(server: Any, live: str, expected: Catalog) -> None:
    with open_session(server.url(live)) as session:
        assert check(session, expected, OPTIONS).matches
        assert session.messages == 2


def test_a_role_that_may_only_connect(server: Any, live: str, expected: Catalog) -> None:
    url = role_url(server, live, "schema_reader")
    server.sql("REVOKE ALL ON SCHEMA public FROM PUBLIC; REVOKE ALL ON SCHEMA audit FROM PUBLIC", live)
    try:
        result = result_of(url, expected)
    finally:
        server.sql("GRANT USAGE ON SCHEMA public TO PUBLIC", live)
    assert result.matches, found(result)
    assert result.checked.positions == 0
    assert "may not read 7 sequence(s)" in result.notices[0]
    with pytest.raises(Refused, match="may not create a database"):
        expected_on(load_models(["corpus_models:Base"], str(CORPUS)), url)


def test_a_read_only_session(server: Any, live: str, expected: Catalog) -> None:
    url = role_url(server, live, "schema_read_only")
    server.sql("ALTER ROLE schema_read_only SET default_transaction_read_only = on")
    assert result_of(url, expected).matches


PINNED = (
    "search_path", "quote_all_identifiers", "IntervalStyle", "DateStyle", "TimeZone", "extra_float_digits", "jit",
    "lock_timeout", "statement_timeout", "standard_conforming_strings", "transaction_read_only", "bytea_output", "lc_monetary",
)  # fmt: skip


def settings(connection: sa.Connection) -> dict[str, str]:
    return {name: str(connection.exec_driver_sql(f"SHOW {name}").scalar()) for name in PINNED}


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_inside_an_open_transaction(server: Any, live: str, expected: Catalog, driver: str) -> None:
    """As the migration runner calls it: sees what the transaction did, ends nothing, leaves settings and locks."""
    pytest.importorskip(driver)
    engine = sa.create_engine(server.url(live, f"postgresql+{driver}"), poolclass=sa.pool.NullPool)
    with engine.connect() as connection, connection.begin() as transaction:
        connection.exec_driver_sql("SET LOCAL IntervalStyle = iso_8601")
        connection.exec_driver_sql("SET LOCAL lock_timeout = '7s'")
        connection.exec_driver_sql("SET search_path = audit, public")
        connection.exec_driver_sql("ALTER TABLE users DROP COLUMN api_key_sandbox")
        before = settings(connection)
        locks = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"
        held = connection.exec_driver_sql(locks).scalar()
        result = check(connection, expected, OPTIONS)
        assert found(result) == [("column_missing", "users.api_key_sandbox")]
        assert result.differences[0].why == "login reads users.api_key_sandbox: every login fails"
        assert settings(connection) == before
        assert connection.exec_driver_sql(locks).scalar() == held
        assert transaction.is_active
        connection.exec_driver_sql("ALTER TABLE users ADD COLUMN api_key_sandbox varchar(64)")
        assert check(connection, expected, OPTIONS).matches
        transaction.rollback()
    assert result_of(server.url(live), expected).matches


@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_outside_of_a_transaction_nothing_stays_open(
    server: Any, live: str, expected: Catalog, driver: str, autocommit: bool
) -> None:
    pytest.importorskip(driver)
    level = {"isolation_level": "AUTOCOMMIT"} if autocommit else {}
    engine = sa.create_engine(server.url(live, f"postgresql+{driver}"), poolclass=sa.pool.NullPool, **level)
    with engine.connect() as connection:
        before = settings(connection)
        connection.rollback()
        assert check(connection, expected, OPTIONS).matches
        raw = connection.connection.dbapi_connection
        assert int(raw.info.transaction_status) == 0
        assert settings(connection) == before


def test_a_failed_transaction_is_not_touched(server: Any, live: str, expected: Catalog) -> None:
    with sa.create_engine(server.url(live)).connect() as connection:
        with pytest.raises(sa.exc.ProgrammingError):
            connection.exec_driver_sql("SELECT nonsense")
        with pytest.raises(PapError, match="already failed"):
            check(connection, expected, OPTIONS)


@pytest.mark.parametrize("where", ["role", "database"])
def test_search_path_of_the_role_or_database(server: Any, models: ModelSet, expected: Catalog, where: str) -> None:
    """Unqualified models live where the path leads; the schema of the models' name stays itself."""
    name = server.create("paths")
    try:
        url = role_url(server, name, f"schema_path_{where}")
        target = f"ROLE schema_path_{where} IN DATABASE {name}" if where == "role" else f"DATABASE {name}"
        server.sql(f"GRANT CREATE ON DATABASE {name} TO schema_path_{where}")
        server.sql(f"CREATE SCHEMA app AUTHORIZATION schema_path_{where}", name)
        server.sql(f"ALTER {target} SET search_path = app, audit, public")
        create_all(models, url)
        assert server.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace", name) == [(0,)]
        result = result_of(url, expected)
        assert result.matches, found(result)
        assert result.checked.schema == "app"
        server.sql("ALTER TABLE app.users ALTER plan SET DEFAULT 'gold'; DROP INDEX app.ix_documents_plain", name)
        result = result_of(url, expected)
        assert sorted(found(result)) == [
            ("column_default", "users.plan"),
            ("index_missing", "documents.ix_documents_plain"),
        ]
        for difference in result.differences:
            for statement in difference.repair:
                assert " app." in statement
                server.sql(statement, name)
        assert result_of(url, expected).matches
        # a session with another search path says where to look
        assert not result_of(server.url(name), expected).matches or where == "database"
        options = CheckOptions(today="2026-01-01", schema="app")
        assert result_of(server.url(name), expected, options).matches
    finally:
        server.drop(name)


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_a_dump_and_restore_says_nothing(server: Any, live: str, expected: Catalog, form: str, tmp_path: Path) -> None:
    """Twice, because the second restore is of what the first one printed."""
    env = {"PGPASSWORD": server.password, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    connect = ["-h", server.host, "-p", str(server.port), "-U", server.user]
    source, made = live, []
    try:
        for number in range(2):
            dump = tmp_path / f"{number}.dump"
            how = [] if form == "plain" else ["-Fc"]
            command = [server.bin_dir / "pg_dump", *connect, *how, "-f", dump, source]
            subprocess.run(command, check=True, env=env, timeout=60)
            target = server.create("restored")
            made.append(target)
            if form == "plain":
                restore = [server.bin_dir / "psql", *connect, "-q", "-v", "ON_ERROR_STOP=1", "-f", dump, "-d", target]
            else:
                restore = [server.bin_dir / "pg_restore", *connect, "--exit-on-error", "-d", target, dump]
            subprocess.run(restore, check=True, env=env, timeout=60, stdout=subprocess.DEVNULL)
            result = result_of(server.url(target), expected)
            assert result.matches, found(result)
            source = target
    finally:
        for name in made:
            server.drop(name)


def test_the_scratch_database_is_dropped(server: Any, models: ModelSet) -> None:
    catalog, messages = expected_on(models, server.url("postgres"))
    assert server.sql(f"SELECT datname FROM pg_database WHERE datname LIKE '{PREFIX}%'") == []
    assert messages <= 7
    assert catalog.digest == models.digest(server.major)
    broken = ModelSet([sa.MetaData()], ["broken"], ["no_such_extension"])
    sa.Table("t", broken.metadatas[0], sa.Column("a", sa.Integer))
    with pytest.raises(PapError, match="no_such_extension"):
        expected_on(broken, server.url("postgres"))
    assert server.sql(f"SELECT datname FROM pg_database WHERE datname LIKE '{PREFIX}%'") == []


def test_a_role_without_createdb_uses_an_empty_database_and_leaves_it_empty(server: Any, models: ModelSet) -> None:
    name = server.create("blank")
    try:
        url = role_url(server, name, "schema_maker")
        server.sql(f"GRANT CREATE ON DATABASE {name} TO schema_maker")
        server.sql("GRANT CREATE ON SCHEMA public TO schema_maker", name)
        catalog, _ = expected_on(models, url)
        reference, _ = expected_on(models, server.url("postgres"))
        assert fingerprint(catalog) == fingerprint(reference)
        left = "SELECT count(*) FROM pg_class WHERE oid >= 16384"
        assert server.sql(left, name) == [(0,)]
    finally:
        server.drop(name)


def test_expect_refuses_a_database_that_is_not_empty(server: Any, live: str, models: ModelSet) -> None:
    with (
        sa.create_engine(server.url(live), poolclass=sa.pool.NullPool).connect() as connection,
        pytest.raises(Refused, match="not empty"),
    ):
        expect(models, connection)


@pytest.mark.parametrize(
    ("column", "hint"),
    [
        ("citext", "extension citext"),
        ("geometry(Point)", "extension postgis"),
        ("vector(3)", "extension vector"),
    ],
)
def test_a_type_of_an_extension_says_which(server: Any, column: str, hint: str) -> None:
    class Foreign(sa.types.UserDefinedType[Any]):
        cache_ok = True

        def get_col_spec(self, **_: Any) -> str:
            return column

    metadata = sa.MetaData()
    sa.Table("t", metadata, sa.Column("a", Foreign()))
    with pytest.raises(PapError) as caught:
        expected_on(ModelSet([metadata], ["t"]), server.url("postgres"))
    assert hint in caught.value.hint
    assert "CREATE TABLE t" in caught.value.message
    if column == "vector(3)":
        catalog, _ = expected_on(ModelSet([metadata], ["t"], ["vector"]), server.url("postgres"))
        assert [row.name for row in catalog.extensions] == ["plpgsql", "vector"]


def test_an_untrusted_extension_says_what_to_do(server: Any) -> None:
    url = role_url(server, "postgres", "schema_creator")
    server.sql("ALTER ROLE schema_creator CREATEDB")
    metadata = sa.MetaData()
    sa.Table("t", metadata, sa.Column("a", sa.Integer))
    with pytest.raises(PapError, match="permission denied") as caught:
        expected_on(ModelSet([metadata], ["t"], ["vector"]), url)
    assert "superuser" in caught.value.hint
    assert server.sql(f"SELECT datname FROM pg_database WHERE datname LIKE '{PREFIX}%'") == []


def test_a_lock_on_a_table_is_waited_for_and_named(
    server: Any, live: str, expected: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "LOCK_TIMEOUT_MS", 100)
    blocker = server.connect(live)
    blocker.autocommit = False
    try:
        blocker.cursor().execute("LOCK TABLE active_users, users IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unavailable, match="lock"):
            result_of(server.url(live), expected)
        release = threading.Timer(0.25, blocker.rollback)
        release.start()
        assert result_of(server.url(live), expected).matches
        release.join()
    finally:
        blocker.close()


def test_concurrent_ddl_does_not_break_the_reading(server: Any) -> None:
    """Tables come and go meanwhile: "could not open relation with OID" is tried again."""
    name = server.create("busy")
    stop = threading.Event()

    def churn() -> None:
        connection = server.connect(name)
        cursor = connection.cursor()
        while not stop.is_set():
            cursor.execute(
                "CREATE TABLE x (id serial PRIMARY KEY, a text CHECK (a <> ''), b int DEFAULT 1); CREATE VIEW y AS SELECT * FROM x"
            )
            cursor.execute("DROP VIEW y; DROP TABLE x")
            time.sleep(0.01)
        connection.close()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        with open_session(server.url(name)) as session:
            deadline = time.monotonic() + 3
            reads = 0
            while time.monotonic() < deadline:
                describe(session)
                reads += 1
        assert reads > 5
    finally:
        stop.set()
        thread.join()
        server.drop(name)


def test_a_lost_connection_is_a_sentence(server: Any, live: str, expected: Catalog) -> None:
    session = open_session(server.url(live))
    server.sql(f"SELECT pg_terminate_backend({session.raw.info.backend_pid})")
    with pytest.raises(Unavailable, match="Could not read the catalog"):
        check(session, expected, OPTIONS)


def test_a_standby(models: ModelSet) -> None:
    """A server in recovery answers reads: the same data directory, started again with standby.signal."""
    base = Path(tempfile.mkdtemp(prefix="pap-standby-"))
    base.chmod(0o755)
    server = postgres_servers.start_server(16, base / "server")
    try:
        expected, _ = expected_on(models, server.url("postgres"))
        create_all(models, server.url("postgres"))
        step_down = postgres_servers._unprivileged()
        control: list[str | Path] = [server.bin_dir / "pg_ctl", "-D", server.data, "-w", "-t", "60"]
        quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/", "timeout": 90, **step_down}
        options = f"-c listen_addresses=127.0.0.1 -p {server.port} -k '' -c hot_standby=on -c max_connections=60"
        subprocess.run([*control, "-m", "fast", "stop"], **quiet)
        (server.data / "standby.signal").touch()
        options += " -c max_prepared_transactions=5 -c log_min_messages=fatal"
        subprocess.run([*control, "-l", base / "server" / "log", "-o", options, "start"], **quiet)
        result = result_of(server.url("postgres"), expected)
        assert result.matches, found(result)
        assert result.checked.standby is True
        assert result.checked.positions == 7
        with pytest.raises(PapError, match="scratch database cannot be created"):
            expected_on(models, server.url("postgres"))
    finally:
        postgres_servers.stop_server(server)
        shutil.rmtree(base, ignore_errors=True)


def test_another_major_version_is_refused(server: Any, live: str, expected: Catalog) -> None:
    other = replace(expected, database=replace(expected.database, server_version=120000))
    with pytest.raises(PapError, match="of PostgreSQL 12, the database runs on"):
        result_of(server.url(live), other)


def test_another_driver_takes_one_statement_at_a_time(server: Any, live: str, expected: Catalog) -> None:
    """A stand-in for drivers without libpq (pg8000): psycopg2 behind a face that hides what Session looks for."""

    class Plain:
        def __init__(self, raw: Any) -> None:
            self.raw = raw
            self.statements: list[str] = []

        def cursor(self) -> Any:
            outer = self

            class Cursor:
                def __init__(self) -> None:
                    self.inner = outer.raw.cursor()

                def execute(self, sql: str) -> None:
                    assert "; SELECT" not in sql
                    outer.statements.append(sql)
                    self.inner.execute(sql)

                def __getattr__(self, name: str) -> Any:
                    return getattr(self.inner, name)

            return Cursor()

    raw = server.connect(live)
    raw.autocommit = False
    plain = Plain(raw)
    try:
        assert check(Session(plain), expected, OPTIONS).matches
        assert plain.statements[-1].startswith("RELEASE")
    finally:
        raw.rollback()
        raw.close()


@pytest.mark.parametrize("version", ["1.4", "2.0"])
def test_older_sqlalchemy(server: Any, models: ModelSet, version: str, tmp_path: Path) -> None:
    """The whole road with the application's SQLAlchemy: compile, create, describe, compare, in a process of its own."""
    folder = older_sqlalchemy(version)
    name = server.create("older")
    script = (
        "import sys, sqlalchemy as sa\n"
        f"sys.path[:0] = [{str(ROOT / 'module_utils')!r}]\n"
        "from papdeploy.schema import load_models, check, describe\n"
        "from papdeploy.schema.models.scratch_database import expected_on\n"
        f"assert sa.__version__.startswith({version!r}), sa.__version__\n"
        f"models = load_models(['corpus_models:Base', 'corpus_models:Other'], {str(CORPUS)!r})\n"
        f"url = {server.url(name)!r}\n"
        "expected, _ = expected_on(models, url)\n"
        "engine = sa.create_engine(url)\n"
        "with engine.begin() as connection:\n"
        "    connection.execute(sa.text('CREATE SCHEMA audit'))\n"
        "    for metadata in models.metadatas:\n"
        "        metadata.create_all(connection)\n"
        "with engine.connect() as connection:\n"
        "    result = check(connection, expected)\n"
        "    assert result.matches, result.differences\n"
        "    connection.execute(sa.text('ALTER TABLE users DROP COLUMN bio'))\n"
        "    print([(d.kind, d.object) for d in check(connection, expected).differences])\n"
        "    connection.close()\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False,
            env={**os.environ, "PYTHONPATH": str(folder)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout == "[('column_missing', 'users.bio')]\n"
    finally:
        server.drop(name)


def older_sqlalchemy(version: str) -> Path:
    """A folder with that SQLAlchemy, installed once; skips where no package index answers."""
    folder = ROOT / ".artifacts" / f"sqlalchemy-{version}"
    if not (folder / "sqlalchemy").is_dir():
        command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), f"sqlalchemy=={version}.*"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            pytest.skip(f"SQLAlchemy {version} cannot be installed here: {done.stderr.strip().splitlines()[-1:]}")
    return folder
