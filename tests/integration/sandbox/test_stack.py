"""The sandbox as a whole: its commands, its API over HTTP on each release, what it keeps apart and what it survives."""

from __future__ import annotations

import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import psycopg2.errors
import pytest
from support.postgres_servers import free_port
from support.sandbox_stack import ROOT, Sandbox, Stack, content, reachable_folder, shipped_migrations
from support.waiting import gone, wait_until

NEXT = ROOT / "sandbox" / "migrations" / "next" / "2025_11_10_add_audit_request_id.py"
ROWS = {
    "audit_logs": 50000, "environments": 4, "peps": 300, "policies": 5000, "protected_resources": 4000,
    "user_sessions": 1500, "users": 3000,
}  # fmt: skip
LISTS = {"/policies/": 5000, "/resources/": 4000, "/peps/": 300, "/audit/": 50000}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with reachable_folder() as folder:
        sandbox = Sandbox(folder / "home")
        try:
            sandbox.command("up", "staging")
            yield sandbox
        finally:
            sandbox.command("down")


@pytest.fixture
def stack(sandbox: Sandbox) -> Iterator[Stack]:
    """Staging, as it is at first; put back afterwards if a test changed more than rows."""
    stack = sandbox.stack("staging")
    if stack.request("/version")[1]["release"] != "previous":
        sandbox.command("reset", "staging")
    yield stack
    if (stack.base / "api" / "current").readlink() != Path("../../releases/previous"):
        sandbox.command("reset", "staging")


def pids(stack: Stack) -> tuple[int, int]:
    postmaster = int((stack.base / "db" / "data" / "postmaster.pid").read_text().split()[0])
    return postmaster, int(stack.request("/version")[1]["pid"])


# The commands


def test_up_again_starts_nothing(sandbox: Sandbox, stack: Stack) -> None:
    before = pids(stack)
    done = sandbox.command("up", "staging")
    assert done.stdout.startswith("staging: already up: API previous 2.0 at http://127.0.0.1:")
    assert pids(stack) == before


def test_status_of_what_is_up_and_what_was_never_made(sandbox: Sandbox, stack: Stack) -> None:
    lines = sandbox.command("status").stdout.splitlines()
    assert lines[0] == "development: not made yet"
    assert lines[1].startswith("staging: up: API previous 2.0 at ")
    assert stack.state["api"]["url"] in lines[1]


def test_down_and_up_keep_the_data_and_the_addresses(sandbox: Sandbox, stack: Stack) -> None:
    assert stack.request("/policies/", {"name": "kept"}, stack.token())[0] == 201
    before, state = content(stack), stack.state
    assert sandbox.command("down", "staging").stdout == "staging: stopped\n"
    assert sandbox.command("down", "staging").stdout == "staging: was not up\n"
    assert sandbox.command("status", "staging").stdout == "staging: down, release previous\n"
    assert sandbox.command("up", "staging").stdout.startswith("staging: started in ")
    assert content(stack) == before
    assert stack.state == state


def test_reset_puts_back_content_release_roles_and_records(sandbox: Sandbox, stack: Stack) -> None:
    sandbox.command("reset", "staging")
    before = content(stack)
    stack.migrate(shipped_migrations())
    assert stack.switch("current").returncode == 0
    stack.sql("DROP TABLE user_sessions; DELETE FROM audit_logs WHERE id % 2 = 0; CREATE TABLE extra (id int)")
    stack.sql("ALTER DATABASE control_core_db CONNECTION LIMIT 3")
    stack.sql("CREATE DATABASE control_core_db__failed")
    stack.sql("DROP OWNED BY control_core_reader; DROP ROLE control_core_reader")
    with (stack.base / "api" / "env").open("a") as file:
        file.write("CC_DROP_TABLES=true\n")
    (stack.base / "pap-deploy" / "journal").write_text("a release")
    assert content(stack) != before
    done = sandbox.command("reset", "staging")
    assert done.stdout.startswith("staging: reset in ")
    assert "API previous 2.0" in done.stdout
    assert content(stack) == before
    assert stack.sql("SELECT datconnlimit FROM pg_database WHERE datname = 'control_core_db'") == [(-1,)]
    assert stack.sql("SELECT count(*) FROM pg_database WHERE NOT datistemplate") == [(2,)]
    assert stack.sql("SELECT 1", "control_core_reader") == [(1,)]
    assert "CC_DROP_TABLES" not in (stack.base / "api" / "env").read_text()
    assert list((stack.base / "pap-deploy").iterdir()) == []
    assert stack.request("/version")[1]["release"] == "previous"


@pytest.mark.nightly
def test_another_postgresql_needs_a_reset(sandbox: Sandbox) -> None:
    sandbox.command("up", "production", PAP_SANDBOX_PG="16")
    stack = sandbox.stack("production")
    try:
        assert stack.sql("SHOW server_version")[0][0].startswith("16.")
        before = content(stack)
        refused = sandbox.command("up", "production", check=False, PAP_SANDBOX_PG="18")
        assert refused.returncode == 1
        assert "PAP_SANDBOX_PG=18 python -m sandbox reset production" in refused.stderr
        assert content(stack) == before
        sandbox.command("reset", "production", PAP_SANDBOX_PG="18")
        assert stack.sql("SHOW server_version")[0][0].startswith("18.")
        assert {name: rows for name, (rows, _) in content(stack)["tables"].items()} == ROWS
    finally:
        sandbox.command("down", "production")


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (("up", "nowhere"), {}, "no such environment: nowhere"),
        (("fly",), {}, "invalid choice: 'fly'"),
        (("up", "production"), {"PAP_SANDBOX_PG": "9"}, "PAP_SANDBOX_PG is 9; the wheel carries PostgreSQL 16 and 18"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: tuple[str, ...], environment: dict[str, str], says: str, sandbox: Sandbox
) -> None:
    done = sandbox.command(*arguments, check=False, **environment)
    assert done.returncode != 0
    assert says in done.stderr


def test_a_dead_supervisor_takes_its_servers_along_and_up_recovers(sandbox: Sandbox, stack: Stack) -> None:
    before, (postmaster, api) = content(stack), pids(stack)
    supervisord = int((sandbox.home / "supervisor" / "supervisord.pid").read_text())
    os.kill(supervisord, signal.SIGKILL)
    done = sandbox.command("up", "staging")
    assert done.stdout.startswith("staging: started in ")
    assert not {postmaster, api} & set(pids(stack))
    assert gone(postmaster)
    assert content(stack) == before
    assert "database system was not properly shut down" not in (stack.base / "db/log/postgresql.log").read_text()


@pytest.mark.parametrize("moment", ["just started", "running"])
def test_an_api_that_is_killed_comes_back_by_itself(moment: str, sandbox: Sandbox, stack: Stack) -> None:
    assert stack.control("restart").returncode == 0
    if moment == "running":
        wait_until(lambda: sandbox.process("staging", "api") == "RUNNING", "the API is not running", seconds=60)
    postmaster, api = pids(stack)
    os.kill(api, signal.SIGKILL)

    def back() -> bool:
        try:
            return bool(stack.request("/version")[1]["pid"] != api)
        except OSError:
            return False

    wait_until(back, "the API did not come back", seconds=60)
    assert pids(stack)[0] == postmaster


def test_a_remembered_port_that_is_taken_is_left_to_its_owner(sandbox: Sandbox, stack: Stack) -> None:
    sandbox.command("down", "staging")
    before = stack.state
    ports = [before[part]["port"] for part in ("postgres", "api")]
    listeners = []
    for port in ports:
        listeners.append(socket.socket())
        listeners[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listeners[-1].bind(("127.0.0.1", port))
        listeners[-1].listen()
    try:
        sandbox.command("up", "staging")
        assert not set(ports) & {stack.state[part]["port"] for part in ("postgres", "api")}
        assert stack.log_in()[0] == 200
        assert sandbox.command("up", "staging").stdout.startswith("staging: already up")
    finally:
        for listener in listeners:
            listener.close()


def test_an_api_that_was_stopped_or_is_refused_is_reported_not_started_or_waited_for(
    sandbox: Sandbox, stack: Stack
) -> None:
    """As after a deploy that was killed under its fence: the next one must be able to start and recover."""
    assert stack.control("stop").returncode == 0
    done = sandbox.command("up", "staging", check=False)
    assert done.returncode == 3
    assert "the API does not answer (it was stopped, by a deploy or by hand, and is left so" in done.stdout
    stack.sql("ALTER ROLE control_core NOLOGIN")
    try:
        done = sandbox.command("up", "staging", check=False)
        assert done.returncode == 3
        assert "the API does not answer (the database refuses its role" in done.stdout
    finally:
        stack.sql("ALTER ROLE control_core LOGIN")
    assert stack.control("restart").returncode == 0
    assert stack.log_in()[0] == 200


# What is whose


def test_secrets_are_in_files_of_their_own(stack: Stack) -> None:
    for path in (stack.base / "api" / "env", *(stack.base / "secrets").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for folder in ("secrets", "api", "db/log", "pap-deploy"):
        assert stat.S_IMODE((stack.base / folder).stat().st_mode) == 0o700, folder
    state = (stack.base / "state.json").read_text()
    for path in (stack.base / "secrets").iterdir():
        assert path.read_text() not in state, path.name


def test_the_apps_role_is_an_ordinary_one(stack: Stack) -> None:
    assert stack.sql("SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = 'control_core'") == [
        (False, False, False)
    ]
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'control_core_db'"
    assert stack.sql(owner) == [("control_core",)]
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    assert stack.sql(owners) == [("control_core",)]
    assert stack.sql("SELECT count(*) FROM peps", "control_core_reader") == [(300,)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        stack.sql("SELECT password_hash FROM users", "control_core_reader")


def test_servers_listen_on_loopback_only_and_not_as_root(stack: Stack) -> None:
    assert stack.sql("SHOW listen_addresses") == [("127.0.0.1",)]
    assert stack.sql("SHOW unix_socket_directories") == [("",)]
    postmaster, _ = pids(stack)
    assert Path(f"/proc/{postmaster}").stat().st_uid != 0
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(host="127.0.0.1", port=stack.state["postgres"]["port"], user="postgres", password="wrong")


# The API


def test_login_tells_who_and_writes_what_the_real_one_writes(stack: Stack) -> None:
    counts = (
        "SELECT (SELECT count(*) FROM user_sessions), (SELECT count(*) FROM audit_logs), max(last_login) FROM users"
    )
    before = stack.sql(counts)[0]
    status, body = stack.log_in()
    assert status == 200
    assert set(body) == {"access_token", "token_type", "user", "force_password_change"}
    assert (body["token_type"], body["user"]["username"], body["force_password_change"]) == ("bearer", "admin", False)
    sessions, audits, last_login = stack.sql(counts)[0]
    assert (sessions, audits) == (before[0] + 1, before[1] + 1)
    assert last_login > before[2]
    row = stack.sql("SELECT action, outcome, user_id FROM audit_logs ORDER BY id DESC LIMIT 1")
    assert row == [("auth.login", "success", 1)]
    status, me = stack.request("/auth/me", token=body["access_token"])
    assert (status, me["username"]) == (200, "admin")


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("admin", "wrong"),
        ("admin", ""),
        ("nobody", "sandbox-only"),
        ("user0049", "sandbox-only"),
        ("ADMIN", "sandbox-only"),
    ],
    ids=["wrong password", "empty password", "unknown user", "inactive user", "other case"],
)
def test_a_wrong_login_is_401_and_leaves_an_audit_row(username: str, password: str, stack: Stack) -> None:
    sessions = stack.sql("SELECT count(*) FROM user_sessions")
    status, body = stack.log_in(username, password)
    assert (status, body) == (401, {"detail": "Incorrect username or password"})
    assert stack.sql("SELECT count(*) FROM user_sessions") == sessions
    row = stack.sql("SELECT outcome, details->>'username' FROM audit_logs ORDER BY id DESC LIMIT 1")
    assert row == [("failure", username)]


@pytest.mark.parametrize("token", [None, "", "nonsense", "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIiwianRpIjoieCJ9."])
def test_without_a_good_token_nothing_is_shown(token: str | None, stack: Stack) -> None:
    for path in ("/auth/me", *LISTS):
        assert stack.request(path, token=token)[0] == 401, path
    assert stack.request("/policies/", {"name": "x"}, token)[0] == 401


def test_a_token_whose_session_is_gone_is_refused(stack: Stack) -> None:
    token = stack.token()
    assert stack.request("/auth/me", token=token)[0] == 200
    stack.sql("DELETE FROM user_sessions WHERE id = (SELECT max(id) FROM user_sessions)")
    assert stack.request("/auth/me", token=token)[0] == 401


def test_lists_come_in_pages(stack: Stack) -> None:
    token = stack.token()
    for path, at_least in LISTS.items():
        status, body = stack.request(f"{path}?limit=3&offset=2", token=token)
        assert status == 200, path
        assert len(body["items"]) == 3
        assert body["total"] >= at_least
        assert stack.request(f"{path}?limit=0", token=token)[0] == 422
    first, second = (stack.request(f"/policies/?limit=1&offset={n}", token=token)[1]["items"][0]["id"] for n in (0, 1))
    assert first < second


def test_what_is_acknowledged_is_in_the_database(stack: Stack) -> None:
    token = stack.token()
    name = f"política № {time.time_ns()}"
    status, body = stack.request("/policies/", {"name": name, "conditions": {"zone": "東京"}}, token)
    assert status == 201
    row = stack.sql(f"SELECT name, conditions->>'zone', created_by FROM policies WHERE id = {int(body['id'])}")
    assert row == [(name, "東京", 1)]
    assert stack.request("/policies/", {"name": name}, token)[0] == 409
    assert stack.request("/policies/", {"name": "x", "priority": 5000}, token)[0] == 422
    status, body = stack.request("/resources/", {"name": name, "resource_type": "api"}, token)
    assert status == 201
    assert stack.sql(f"SELECT name FROM protected_resources WHERE id = {int(body['id'])}") == [(name,)]


def test_health_is_static_and_an_error_is_logged_with_its_traceback(stack: Stack) -> None:
    token = stack.token()
    stack.sql("ALTER TABLE policies RENAME COLUMN priority TO priority_")
    try:
        assert stack.request("/health") == (200, {"status": "healthy"})
        assert stack.log_in()[0] == 200
        assert stack.request("/policies/", token=token)[0] == 500
    finally:
        stack.sql("ALTER TABLE policies RENAME COLUMN priority_ TO priority")
    log = stack.base / "api" / "log" / "api.log"  # written after the answer is sent
    wait_until(
        lambda: "column policies.priority does not exist" in log.read_text(), "the error is not in the log", seconds=60
    )
    assert "Traceback (most recent call last)" in log.read_text()


def test_importing_the_app_prints_the_database_url(stack: Stack) -> None:
    log = (stack.base / "api" / "log" / "api.log").read_text()
    password = (stack.base / "secrets" / "password-control_core").read_text()
    assert f"Connecting to database: postgresql://control_core:{password}@" in log


# Its releases


def test_the_current_release_has_settings_and_new_fields(stack: Stack) -> None:
    token = stack.token()
    assert stack.request("/settings/github", token=token)[0] == 404
    paths = set(stack.request("/openapi.json")[1]["paths"])
    stack.migrate(shipped_migrations())
    assert stack.switch("current").returncode == 0
    assert stack.request("/version")[1] | {"pid": 0, "started_at": ""} == {
        "release": "current", "version": "2.1", "environment": "staging", "pid": 0, "started_at": "",
    }  # fmt: skip
    now = set(stack.request("/openapi.json")[1]["paths"])
    assert now - paths == {"/settings/github", "/settings/opal", "/settings/opal/bouncers"}
    assert paths < now
    assert stack.request("/auth/me", token=token)[0] == 200  # sessions survive a deploy
    assert stack.request("/settings/github", token=token) == (200, {"configured": False})
    status, saved = stack.request(
        "/settings/github", {"repo_url": "https://git.example/policies", "access_token": "s3cret"}, token, "PUT"
    )
    assert (status, saved["branch"], saved["access_token_set"]) == (200, "main", True)
    assert "s3cret" not in str(stack.request("/settings/github", token=token))
    assert stack.sql("SELECT repo_url, access_token FROM github_configuration") == [
        ("https://git.example/policies", "s3cret")
    ]
    status, saved = stack.request("/settings/opal", {"server_url": "https://opal.example"}, token, "PUT")
    assert (status, saved["enable_statistics"], saved["api_key_set"]) == (200, True, False)
    assert stack.request("/settings/opal", {"no_such_field": 1}, token, "PUT")[0] == 422
    assert stack.request("/settings/opal/bouncers", token=token) == (200, {"items": []})
    item = stack.request("/resources/?limit=1", token=token)[1]["items"][0]
    assert (item["auto_discovered"], item["bouncer_id"]) == (False, None)
    status, policy = stack.request("/policies/", {"name": "with rego", "rego_code": "allow := true"}, token)
    assert (status, policy["folder"], policy["rego_code"]) == (201, "enabled", "allow := true")


def test_the_previous_release_works_on_the_new_schema(stack: Stack) -> None:
    """So a rollback of the API alone is possible after the shipped migrations."""
    stack.migrate(shipped_migrations())
    assert stack.switch("previous").returncode == 0
    token = stack.token()
    assert all(stack.request(path, token=token)[0] == 200 for path in LISTS)
    assert stack.request("/policies/", {"name": "old API, new schema"}, token)[0] == 201
    assert stack.request("/resources/", {"name": "old", "resource_type": "api"}, token)[0] == 201
    stack.migrate(reversed(shipped_migrations()), "downgrade")


@pytest.mark.nightly
def test_the_current_release_on_the_old_schema_logs_in_but_does_not_work(stack: Stack) -> None:
    """Why a login test alone proves little: the missing tables are created at start, the missing columns are not."""
    assert stack.switch("current").returncode == 0
    token = stack.token()
    answers = {path: stack.request(path, token=token)[0] for path in LISTS}
    assert answers == {"/policies/": 500, "/resources/": 500, "/peps/": 500, "/audit/": 200}
    assert stack.request("/settings/github", token=token)[0] == 200


@pytest.mark.nightly
def test_the_next_release_records_requests(stack: Stack) -> None:
    stack.migrate([*shipped_migrations(), NEXT])
    assert stack.switch("next").returncode == 0
    token = stack.token()
    assert "request_id" in stack.request("/audit/?limit=1", token=token)[1]["items"][0]


def test_broken_login_is_500_for_the_right_password_only(stack: Stack) -> None:
    stack.migrate(shipped_migrations())
    assert stack.switch("broken-login").returncode == 0
    assert stack.request("/health")[0] == 200
    assert stack.log_in()[0] == 500
    assert stack.log_in(password="wrong")[0] == 401
    assert "AttributeError: 'str' object has no attribute 'value'" in (stack.base / "api/log/api.log").read_text()


@pytest.mark.nightly
def test_broken_boot_fails_to_start_and_says_why(sandbox: Sandbox, stack: Stack) -> None:
    stack.migrate(shipped_migrations())
    done = stack.switch("broken-boot")
    assert done.returncode == 1
    assert "cannot import name 'telemetry'" in done.stderr
    with pytest.raises(OSError):
        stack.request("/health")
    assert sandbox.command("up", "staging", check=False).returncode == 3
    assert stack.switch("previous").returncode == 0
    stack.migrate(reversed(shipped_migrations()), "downgrade")


# Its environments


@pytest.fixture(scope="module")
def development(sandbox: Sandbox) -> Stack:
    sandbox.command("up", "development")
    return sandbox.stack("development")


def test_environments_are_apart(development: Stack, stack: Stack) -> None:
    before = content(stack)
    assert development.request("/version")[1]["environment"] == "development"
    token = development.token()
    assert development.request("/policies/", {"name": "here only"}, token)[0] == 201
    assert stack.request("/auth/me", token=token)[0] == 401
    assert content(stack) == before
    identifier = "SELECT system_identifier FROM pg_control_system()"
    assert development.sql(identifier) != stack.sql(identifier)
    assert len({each.state[part]["port"] for each in (stack, development) for part in ("postgres", "api")}) == 4
    for path in (stack.base / "secrets").iterdir():
        assert path.read_text() != (development.base / "secrets" / path.name).read_text(), path.name


@pytest.mark.parametrize(
    ("environment", "value", "dropped"),
    [("staging", "true", False), ("development", "false", False), ("development", "TRUE", True)],
)
def test_tables_are_dropped_in_development_only(
    environment: str, value: str, dropped: bool, development: Stack, stack: Stack, sandbox: Sandbox
) -> None:
    stack = development if environment == "development" else stack
    before = stack.sql("SELECT count(*) FROM policies")
    assert before[0][0] >= 5000
    env_file = stack.base / "api" / "env"
    lines = env_file.read_text()
    try:
        env_file.write_text(f"{lines}CC_DROP_TABLES={value}\n")
        assert stack.control("restart").returncode == 0
        assert stack.sql("SELECT count(*) FROM policies") == ([(0,)] if dropped else before)
        status, body = stack.log_in()  # an emptied database gets its admin again
        assert (status, body["force_password_change"]) == (200, dropped)
        log = (stack.base / "api" / "log" / "api.log").read_text()
        assert ("ignored: this is staging" in log) == (environment == "staging")
        # The line is a person's: it stays when the sandbox comes up again.
        sandbox.command("up", environment)
        assert f"CC_DROP_TABLES={value}" in env_file.read_text()
    finally:
        env_file.write_text(lines)
        assert stack.control("restart").returncode == 0


def test_ports_for_tests_and_for_the_sandbox_do_not_meet() -> None:
    from sandbox.layout import PORTS

    assert free_port() not in PORTS
