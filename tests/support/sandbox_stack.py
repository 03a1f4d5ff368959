"""What the tests of the sandbox share: its command line, its API as a client sees it, its database as an admin does."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
from papdeploy.releases.journal import State

from support import ROOT

BIN = Path(sys.executable).parent
PASSWORD = "sandbox-only"
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextlib.contextmanager
def reachable_folder() -> Iterator[Path]:
    """A folder that the account of PostgreSQL reaches too; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="pap-sandbox-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


class Sandbox:
    """A sandbox in a folder of its own."""

    def __init__(self, home: Path, python: str = sys.executable, root: Path = ROOT, **run: Any) -> None:
        self.home, self.python, self.root, self.run_arguments = home, python, root, run
        self.surroundings: dict[str, str] = {}  # of whoever plays a playbook
        self.umask = -1  # the test's own

    def command(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [self.python, str(self.root / "sandbox"), *arguments],
            env={**os.environ, "PAP_SANDBOX_HOME": str(self.home), **environment},
            cwd="/", capture_output=True, text=True, timeout=120, check=False, **self.run_arguments,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def process(self, environment: str, name: str) -> str:
        """What the supervisor says of the process."""
        return str(json.loads(self.command("status", "--json", environment).stdout)[0][name]["process"])

    def stack(self, environment: str = "staging") -> Stack:
        return Stack(self.home / environment)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PAP_SANDBOX_HOME": str(self.home), "NO_COLOR": "1", **self.surroundings}

    def argv(self, playbook: str, *options: str, limit: str = "staging", **variables: Any) -> list[str]:
        """The command line of a playbook; ``options`` are words of it, and come after ``variables``."""
        extra = ["-e", json.dumps(variables, default=str)] if variables else []
        return [str(BIN / "ansible-playbook"), playbook, "-l", limit, *extra, *options]

    def run(self, playbook: str, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        """How a playbook ended."""
        argv = self.argv(playbook, *options, **variables)
        return subprocess.run(
            argv, cwd=ROOT, env=self.environment, umask=self.umask, capture_output=True, text=True, timeout=900
        )

    def play(self, playbook: str, *options: str, rc: int | tuple[int, ...] = 0, **variables: Any) -> str:
        """What a playbook says, which must end with ``rc``."""
        done = self.run(playbook, *options, **variables)
        said = done.stdout + done.stderr
        assert done.returncode in (rc if isinstance(rc, tuple) else (rc,)), said
        return said


class Stack:
    """One environment of a sandbox that is up."""

    def __init__(self, base: Path) -> None:
        self.base = base

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.base / "state.json").read_text()))

    @property
    def remembers(self) -> State:
        """What deploys keep of it."""
        return State(self.state["deploy_dir"])

    def running(self) -> str:
        """The release that its API runs."""
        return (Path(self.state["api"]["dir"]) / "current").resolve().name

    def connect(self, user: str = "postgres", dbname: str = "control_core_db") -> psycopg2.extensions.connection:
        postgres = self.state["postgres"]
        connection = psycopg2.connect(
            host=postgres["host"], port=postgres["port"], user=user, dbname=dbname, connect_timeout=10,
            password=(self.base / "secrets" / f"password-{user}").read_text(),
        )  # fmt: skip
        connection.autocommit = True
        return connection

    def sql(self, statement: str, user: str = "postgres", dbname: str = "control_core_db") -> list[tuple[Any, ...]]:
        connection = self.connect(user, dbname)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def control(self, action: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.state["api"][action], cwd="/", capture_output=True, text=True, timeout=120, check=False
        )

    def switch(self, release: str) -> subprocess.CompletedProcess[str]:
        """Make the release the running one and start it."""
        current = self.base / "api" / "current"
        current.unlink()
        current.symlink_to(f"../../releases/{release}")
        return self.control("restart")

    def request(
        self, path: str, body: Any = None, token: str | None = None, method: str | None = None
    ) -> tuple[int, Any]:
        """Status and JSON (or text) of the answer."""
        headers = {"Content-Type": "application/json", "User-Agent": "pap-tests"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = json.dumps(body).encode() if body is not None else None
        asked = urllib.request.Request(self.state["api"]["url"] + path, data, headers, method=method)
        try:
            with _OPENER.open(asked, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            return error.code, json.loads(text) if text.startswith("{") else text

    def log_in(self, username: str = "admin", password: str = PASSWORD) -> tuple[int, Any]:
        return self.request("/auth/login", {"username": username, "password": password})

    def token(self) -> str:
        status, body = self.log_in()
        assert status == 200, body
        return str(body["access_token"])

    def migrate(self, paths: Iterable[Path], function: str = "upgrade") -> None:
        """Run migrations as the API's own role, in one transaction."""
        connection = self.connect("control_core")
        try:
            connection.autocommit = False
            with connection, connection.cursor() as cursor:
                run_migrations(cursor, paths, function)
        finally:
            connection.close()


class PlainDb:
    """The part of a migration's ``db`` that those of the sandbox use, on a cursor: no ledger, no guards."""

    def __init__(self, cursor: psycopg2.extensions.cursor) -> None:
        self.execute = cursor.execute


def run_migrations(cursor: psycopg2.extensions.cursor, paths: Iterable[Path], function: str = "upgrade") -> None:
    for path in paths:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        getattr(module, function)(PlainDb(cursor))


def shipped_migrations() -> list[Path]:
    return [
        ROOT / "migrations" / f"{name}.py" for name in ("add_settings_and_policy_fields", "add_auto_discovery_fields")
    ]


CONTENT = """
SELECT format('SELECT %L, count(*), sum(hashtextextended(t::text, 0)::numeric) FROM %I AS t', relname, relname)
FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname
"""


def content(stack: Stack) -> dict[str, Any]:
    """Rows and checksum of every table, and where every sequence stands."""
    rows = [stack.sql(query)[0] for (query,) in stack.sql(CONTENT)]
    sequences = stack.sql("SELECT sequencename, last_value FROM pg_sequences ORDER BY 1")
    return {"tables": {name: (count, checksum) for name, count, checksum in rows}, "sequences": sequences}
