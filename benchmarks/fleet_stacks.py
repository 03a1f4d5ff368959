"""Many stacks for tests and benchmarks: one PostgreSQL server of the sandbox, a database and an API process for each.

The server and its data are the sandbox's staging; each stack's database is a copy of it. An API is started and stopped
by this file itself: ``python fleet_stacks.py start|stop|restart FOLDER``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sandbox.layout import free_port  # noqa: E402

READY_S = 60.0


class Fleet:
    """Stacks ``pap-001`` … on one server, in ``home``. Leave the context to stop everything."""

    def __init__(self, home: Path, count: int) -> None:
        self.home = home
        self.names = [f"pap-{number:03d}" for number in range(1, count + 1)]
        self.sandbox = home / "sandbox"
        self.ports: set[int] = set()
        self.environment = {**os.environ, "PAP_SANDBOX_HOME": str(self.sandbox), "NO_COLOR": "1"}

    def __enter__(self) -> Fleet:
        try:
            self._set_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _set_up(self) -> None:
        self._sandbox("up", "staging")
        self.state = json.loads((self.sandbox / "staging" / "state.json").read_text())
        subprocess.run(self.state["api"]["stop"], check=True, stdout=subprocess.DEVNULL, timeout=60)
        self.sql("postgres", "ALTER SYSTEM SET max_connections = 400")
        self._restart_server()
        template, owner = self.state["postgres"]["database"], self.state["postgres"]["owner"]
        for name in self.names:
            self.sql("postgres", f'CREATE DATABASE "{name}" TEMPLATE {template} OWNER {owner}')
            self._make(name)
        self.start(self.names)

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            with contextlib.suppress(OSError):
                stop(self.folder(name))
        self._sandbox("down")

    def folder(self, name: str) -> Path:
        return self.home / "stacks" / name

    def start(self, names: list[str]) -> None:
        """Start the APIs of these stacks, a few at a time, and wait until they answer."""
        for begin in range(0, len(names), 4):
            several = [self.folder(name) for name in names[begin : begin + 4]]
            for folder in several:
                launch(folder)
            for folder in several:
                wait(folder)

    def inventory(self, **variables: object) -> Path:
        """An inventory of all stacks, with these variables for each."""
        postgres = self.state["postgres"]
        control = [sys.executable, __file__]
        hosts = {}
        for name in self.names:
            folder = str(self.folder(name))
            hosts[name] = {
                "pap_db_name": name,
                "pap_api_dir": folder,
                "pap_api_env_file": f"{folder}/env",
                "pap_api_url": f"http://127.0.0.1:{port(self.folder(name))}",
                "pap_api_start_command": [*control, "start", folder],
                "pap_api_stop_command": [*control, "stop", folder],
                "pap_api_restart_command": [*control, "restart", folder],
                "pap_api_log_files": [f"{folder}/api.log"],
                "pap_state_dir": f"{folder}/pap-deploy",
            }
        shared = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "pap_environment": "staging",
            "pap_migrations_dirs": [str(ROOT / "migrations"), "{{ pap_api_release_dir }}/migrations"],
            "pap_db_host": postgres["host"],
            "pap_db_port": postgres["port"],
            "pap_db_bin_dir": postgres["bin_dir"],
            "pap_db_admin_user": postgres["superuser"],
            "pap_db_admin_password": Path(postgres["superuser_password_file"]).read_text(),
            "pap_db_log_files": postgres["log_files"],
            "pap_api_python": self.state["python"],
            "pap_api_release_dir": f"{self.state['releases_dir']}/current",
            "pap_models": ["app.models", "app.models_config", "app.database:Base"],
            "pap_smoke_username": "admin",
            "pap_smoke_password": "sandbox-only",
            "pap_smoke_endpoints": ["/policies/", "/resources/", "/peps/"],
            "report_folder": str(self.home / "reports"),
            "watch_first_s": 1,
            "watch_runner": "process",
            "watch_hours": 0.1,
            **variables,
        }
        path = self.home / "hosts.yml"
        path.write_text(yaml.safe_dump({"staging": {"hosts": hosts, "vars": shared}}))
        return path

    def _make(self, name: str) -> None:
        folder = self.folder(name)
        folder.mkdir(parents=True)
        (folder / "current").symlink_to(f"{self.state['releases_dir']}/previous")
        lines = (self.sandbox / "staging" / "api" / "env").read_text().splitlines()
        database = self.state["postgres"]["database"]
        (folder / "env").write_text("\n".join(line.replace(f"/{database}", f"/{name}") for line in lines) + "\n")
        self.ports.add(chosen := free_port(self.ports))
        (folder / "port").write_text(str(chosen))

    def _sandbox(self, *command: str) -> None:
        subprocess.run([sys.executable, "-m", "sandbox", *command], cwd=ROOT, env=self.environment, check=True,
                       stdout=subprocess.DEVNULL, timeout=300)  # fmt: skip

    def _restart_server(self) -> None:
        self._sandbox("down")
        self._sandbox("up", "staging")
        subprocess.run(self.state["api"]["stop"], check=True, stdout=subprocess.DEVNULL, timeout=60)

    def sql(self, database: str, statement: str) -> str:
        """What ``statement`` gives, as the server's superuser."""
        postgres = self.state["postgres"]
        return subprocess.run(
            [f"{postgres['bin_dir']}/psql", "-X", "-q", "-A", "-t", "-h", postgres["host"], "-p", str(postgres["port"]),
             "-U", postgres["superuser"], "-d", database, "-v", "ON_ERROR_STOP=1", "-c", statement],
            env={**os.environ, "PGPASSWORD": Path(postgres["superuser_password_file"]).read_text()}, check=True,
            capture_output=True, text=True, timeout=120,
        ).stdout.strip()  # fmt: skip


def port(folder: Path) -> int:
    return int((folder / "port").read_text())


def launch(folder: Path) -> None:
    """Start the API of a stack, detached."""
    env = dict(line.split("=", 1) for line in (folder / "env").read_text().splitlines() if "=" in line)
    with (folder / "api.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "app.main:app", "--host", "127.0.0.1", "--port", str(port(folder))],
            cwd=(folder / "current").resolve(), env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, start_new_session=True,
        )  # fmt: skip
    (folder / "pid").write_text(str(process.pid))


def wait(folder: Path) -> None:
    """Wait until it answers; TimeoutError if it does not."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + READY_S
    while True:
        with contextlib.suppress(OSError):
            opener.open(f"http://127.0.0.1:{port(folder)}/health", timeout=2)
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"the API of {folder.name} does not answer; see {folder / 'api.log'}")
        time.sleep(0.1)


def stop(folder: Path) -> None:
    """Stop the API of a stack and wait until it is gone."""
    try:
        pid = int((folder / "pid").read_text())
    except FileNotFoundError:
        return
    for sent, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sent)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not alive(pid):
                (folder / "pid").unlink(missing_ok=True)
                return
            time.sleep(0.05)


def runs(folder: Path) -> bool:
    """Whether the API of a stack has a process."""
    path = folder / "pid"
    return path.exists() and alive(int(path.read_text()))


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not yet collected by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    verb, place = sys.argv[1], Path(sys.argv[2])
    if verb in ("stop", "restart"):
        stop(place)
    if verb in ("start", "restart"):
        if not runs(place):  # a start of what runs already does nothing, as with a supervisor
            launch(place)
        wait(place)
