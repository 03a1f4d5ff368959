"""What the commands do to one environment: up, down, reset, status."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import time
import urllib.error
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import control, launch, postgresql
from sandbox.account import server_account
from sandbox.build import build_all
from sandbox.errors import SandboxError
from sandbox.layout import REPOSITORY, Layout, entry, free_port, locked, open_home, port_is_free, write
from sandbox.releases import FIRST
from sandbox.supervision import RUNNING_STATES, Supervisor, group_of, program, try_lock, wait_for

PASSWORD = "sandbox-only"
API_SECONDS = 20.0
_STATES = {"STOPPED": "it was stopped, by a deploy or by hand, and is left so"}


@dataclass(frozen=True)
class Outcome:
    """What a command did to an environment. ``ok`` is False if something of it does not answer."""

    environment: str
    text: str
    changed: bool = False
    ok: bool = True

    def __str__(self) -> str:
        return f"{self.environment}: {self.text}"


class Environment:
    """One environment: its server, its API, and what is remembered of it (``state.json``, read by the inventory)."""

    def __init__(self, name: str) -> None:
        self.account = server_account()
        self.name = name
        self.home = open_home(self.account)
        self.layout = Layout(self.home, name)
        self.state = self.layout.state() or {}

    # commands -------------------------------------------------------------------------------------------------------

    def up(self, verb: str = "", started: float | None = None) -> Outcome:
        """Bring up what is not up; but not an API that was stopped by command: a deploy may stand between its steps."""
        started = started or time.monotonic()
        with locked(self.home):
            _require_packages()
            build_all(self.layout.releases)
            made = self._prepare()
            supervisor = self._supervisor()
            supervisor.ensure_running()
            if self._free_ports(supervisor.states(self.name)):
                self._remember()
                self._write_env_file()
            supervisor.configure(self.name, self._configuration())
            changed = supervisor.start(self.name, "db")
            if not wait_for(self._database_answers, 60):
                raise SandboxError(f"PostgreSQL of {self.name} does not answer; see {self._database_log()}")
            if not supervisor.put_down(self.name, "api"):
                changed = supervisor.start(self.name, "api") or changed
            version, problem = self._wait_for_api()
        verb = verb or ("made" if made else "started" if changed else "")
        text = f"{verb} in {time.monotonic() - started:.1f} s" if verb else "already up"
        text += f": {self._where(version)}"
        return Outcome(self.name, f"{text}; {problem}" if problem else text, changed or made, ok=not problem)

    def down(self) -> Outcome:
        """Stop the API and the server; the data stays."""
        with locked(self.home):
            supervisor = self._supervisor()
            was = supervisor.states(self.name)
            supervisor.drop(self.name)
        return Outcome(self.name, "stopped" if was else "was not up", bool(was))

    def reset(self) -> Outcome:
        """Back to the first release and its data; what was deployed, and the records of it, are gone."""
        started = time.monotonic()
        with locked(self.home):
            supervisor = self._supervisor()
            supervisor.stop(self.name)
            for path in (self.layout.deploy, self.layout.db / "data", self.layout.db / "log", self.layout.api):
                if path.exists():
                    shutil.rmtree(path)
        return self.up("reset", started)

    def status(self) -> dict[str, Any]:
        """What is there and what answers, as plain data."""
        result: dict[str, Any] = {"environment": self.name, "made": bool(self.state), "db": None, "api": None}
        if not self.state:
            return result
        states = self._supervisor().states(self.name)
        version, _ = self._version()
        current = self.layout.current
        return result | {
            "db": {"process": states.get("db", "DOWN"), "answers": self._database_answers()},
            "api": {"process": states.get("api", "DOWN"), "answers": version},
            "current": current.resolve().name if current.exists() else None,
            "where": self._where(version),
        }

    # parts ----------------------------------------------------------------------------------------------------------

    def _supervisor(self) -> Supervisor:
        return Supervisor(self.home, self.state.get("python", sys.executable))

    def _server(self) -> postgresql.Server:
        postgres = self.state["postgres"]
        return postgresql.Server(self.layout, Path(postgres["bin_dir"]), postgres["major"], self.account)

    def _prepare(self) -> bool:
        """Make what is missing on disk; True if the database was made."""
        asked = postgresql.major_asked()
        known = self.state.get("postgres", {}).get("major")
        data = self.layout.db / "data"
        if asked and known and asked != known and data.exists():
            raise SandboxError(
                f"The database of {self.name} is of PostgreSQL {known}, PAP_SANDBOX_PG asks for {asked}. "
                f"Start again with it: PAP_SANDBOX_PG={asked} python -m sandbox reset {self.name}"
            )
        self.layout.base.mkdir(mode=0o755, exist_ok=True)
        self.layout.db.mkdir(mode=0o755, exist_ok=True)
        for folder in (self.layout.db / "log", self.layout.api, self.layout.api / "log"):
            folder.mkdir(mode=0o700, exist_ok=True)
        self.layout.deploy.mkdir(mode=0o700, exist_ok=True)
        self._remember(asked or known or postgresql.DEFAULT_MAJOR)
        made = False
        if not data.exists():
            server = self._server()
            server.make_pristine(self.state["python"], self.layout.releases / FIRST, PASSWORD)
            server.restore_pristine()
            made = True
        if not self.layout.current.is_symlink():
            self.layout.current.symlink_to(f"../../releases/{FIRST}")
        self._write_env_file()
        return made

    def _remember(self, major: str | None = None) -> None:
        """Write state.json: what the inventory reads."""
        layout, known = self.layout, self.state
        postgres, api = known.get("postgres", {}), known.get("api", {})
        major = major or postgres["major"]
        python = known.get("python") if Path(known.get("python", "")).is_file() else sys.executable
        bin_dir = Path(postgres["bin_dir"]) if postgres.get("major") == major else None
        if bin_dir is None or not bin_dir.is_dir():
            bin_dir = postgresql.programs(self.home, major, self.account)
        db_port = postgres.get("port") or free_port(self._other_ports())
        api_port = api.get("port") or free_port(self._other_ports() | {db_port})
        for role in (postgresql.ADMIN, postgresql.OWNER, postgresql.READER):
            layout.secret(f"password-{role}")
        api_command = [python, control.__file__, str(layout.state_file)]
        self.state = {
            "environment": self.name,
            "python": python,
            "releases_dir": str(layout.releases),
            "deploy_dir": str(layout.deploy),
            "supervisor_socket": Supervisor(self.home, str(python)).socket,
            "postgres": {
                "major": major,
                "bin_dir": str(bin_dir),
                "host": "127.0.0.1",
                "port": db_port,
                "database": postgresql.DATABASE,
                "admin_user": postgresql.DEPLOYER,
                "admin_password_file": str(layout.secrets / f"password-{postgresql.DEPLOYER}"),
                "superuser": postgresql.ADMIN,
                "superuser_password_file": str(layout.secrets / f"password-{postgresql.ADMIN}"),
                "owner": postgresql.OWNER,
                "owner_password_file": str(layout.secrets / f"password-{postgresql.OWNER}"),
                "log_files": [str(self._database_log())],
            },
            "api": {
                "dir": str(layout.api),
                "port": api_port,
                "url": f"http://127.0.0.1:{api_port}",
                "env_file": str(layout.env_file),
                "log_files": [str(self._api_log())],
                "restart": [*api_command, "restart"],
                "stop": [*api_command, "stop"],
                "start": [*api_command, "start"],
            },
        }
        write(layout.state_file, json.dumps(self.state, indent=2) + "\n")

    def _other_ports(self) -> set[int]:
        """The ports that other environments remember, up or not."""
        states = (json.loads(path.read_text(encoding="utf-8")) for path in self.home.glob("*/state.json"))
        return {state[part]["port"] for state in states for part in ("postgres", "api")}

    def _free_ports(self, states: dict[str, str]) -> bool:
        """Take another port where another program listens on a remembered one; True if one was taken."""
        taken = False
        for part, name in (("postgres", "db"), ("api", "api")):
            lock = self._lock_file(name)
            ours = states.get(name) in RUNNING_STATES or _held(lock)
            if not ours and not port_is_free(self.state[part]["port"]):
                self.state[part]["port"] = free_port(self._other_ports())
                taken = True
        if taken:
            self.state["api"]["url"] = f"http://127.0.0.1:{self.state['api']['port']}"
        return taken

    def _write_env_file(self) -> None:
        """The API's environment. Lines that a person added stay; only the database's address follows the server."""
        url = f"DATABASE_URL={self._server().url(self.state['postgres']['port'])}"
        path = self.layout.env_file
        if not path.exists():
            lines = [url, f"SECRET_KEY={self.layout.secret('secret-key')}", f"ENVIRONMENT={self.name}"]
            write(path, "\n".join(lines) + "\n", 0o600)
        else:
            lines = path.read_text(encoding="utf-8").splitlines()
            lines = [url if line.startswith("DATABASE_URL=") else line for line in lines]
            write(path, "\n".join(lines) + "\n", 0o600)

    def _lock_file(self, name: str) -> Path:
        return self.layout.base / f"{name}.lock"

    def _database_log(self) -> Path:
        return self.layout.db / "log" / "postgresql.log"

    def _api_log(self) -> Path:
        return self.layout.api / "log" / "api.log"

    def _configuration(self) -> str:
        launcher = [self.state["python"], "-I", launch.__file__]
        server = self._server()
        account = ["--account", f"{self.account.uid}:{self.account.gid}"] if self.account else []
        db = [*launcher, *account, "--lock", str(self._lock_file("db")), "--die-with-parent", "SIGINT",
              "--directory", str(server.data), "--", str(server.bin_dir / "postgres"), "-D", str(server.data),
              "-p", str(self.state["postgres"]["port"])]  # fmt: skip
        api = [*launcher, "--lock", str(self._lock_file("api")), "--die-with-parent", "SIGTERM",
               "--directory", str(self.layout.current), "--environment", str(self.layout.env_file), "--",
               self.state["python"], "-m", "uvicorn", "app.main:app", "--host", "127.0.0.1",
               "--port", str(self.state["api"]["port"]), "--timeout-graceful-shutdown", "3"]  # fmt: skip
        return "\n".join(
            [
                program(self.name, "db", db, self._database_log(), "INT", 1),
                program(self.name, "api", api, self._api_log(), "TERM", 5),
                group_of(self.name, ["db", "api"]),
            ]
        )

    def _database_answers(self) -> bool:
        return self._server().answers(self.state["postgres"]["port"])

    def _version(self) -> tuple[dict[str, Any] | None, str]:
        """What the API says of itself; or None and why not."""
        try:
            with control.OPENER.open(self.state["api"]["url"] + "/version", timeout=5) as answer:
                return dict(json.load(answer)), ""
        except (urllib.error.URLError, OSError, ValueError) as error:
            return None, str(getattr(error, "reason", error))

    def _wait_for_api(self) -> tuple[dict[str, Any] | None, str]:
        """What the API says once it answers. In the middle of a deploy it may not: that is said, not raised."""
        deadline = time.monotonic() + API_SECONDS
        while True:
            version, problem = self._version()
            if version is not None:
                return version, ""
            state = self._supervisor().states(self.name).get("api", "DOWN")
            postgres = self.state["postgres"]
            refused = not self._server().answers(postgres["port"], postgresql.OWNER, postgresql.DATABASE)
            if state not in RUNNING_STATES or refused or time.monotonic() > deadline:
                why = "the database refuses its role" if refused else _STATES.get(state, f"its process is {state}")
                return None, f"the API does not answer ({why}; {problem}), see {self._api_log()}"
            time.sleep(0.1)

    def _where(self, version: dict[str, Any] | None) -> str:
        postgres, api = self.state["postgres"], self.state["api"]
        release = f"{version['release']} {version['version']}" if version else "not answering"
        return (
            f"API {release} at {api['url']}, PostgreSQL {postgres['major']} "
            f"at {postgres['host']}:{postgres['port']}/{postgres['database']}"
        )


def _held(lock: Path) -> bool:
    """Does a process of ours still hold the lock of its server?"""
    if not lock.exists():
        return False
    with lock.open("a") as file:
        return not try_lock(file.fileno())


def _require_packages() -> None:
    missing = [name for name in ("fastapi", "uvicorn", "argon2", "jwt", "sqlalchemy", "psycopg2", "supervisor")
               if importlib.util.find_spec(name) is None]  # fmt: skip
    if missing:
        raise SandboxError(
            f"{sys.executable} lacks {', '.join(missing)}. "
            f"Install: {sys.executable} -m pip install -r {REPOSITORY / 'requirements-sandbox.txt'}"
        )


def home_exists() -> bool:
    """Has a sandbox been made at all?"""
    return entry().exists()
