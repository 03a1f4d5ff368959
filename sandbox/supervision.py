"""The process supervisor: one supervisord for all environments, a group of two processes (db, api) for each."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shlex
import socket
import subprocess
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError
from sandbox.layout import write

# supervisor.states.ProcessStates
RUNNING_STATES = {"STARTING", "RUNNING"}
# supervisor.xmlrpc.Faults
_NO_SUCH_NAME, _ALREADY_STARTED, _NOT_RUNNING, _ALREADY_ADDED = 10, 60, 70, 90
SOCKET_PATH_LIMIT = 100  # sockaddr_un holds 108


class Supervisor:
    """supervisord of one sandbox folder."""

    def __init__(self, home: Path, python: str) -> None:
        self.folder = home / "supervisor"
        self.python = python
        self.configuration = self.folder / "supervisord.conf"
        path = str(self.folder / "supervisor.sock")
        if len(path) > SOCKET_PATH_LIMIT:
            name = hashlib.sha256(path.encode()).hexdigest()[:16]
            path = f"{tempfile.gettempdir()}/pap-sandbox-{os.geteuid()}-{name}.sock"
        self.socket = path

    def _proxy(self) -> Any:
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport).supervisor

    def alive(self) -> bool:
        """Does supervisord take connections? (A dead one leaves its socket behind.)"""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            try:
                probe.connect(self.socket)
            except OSError:
                return False
        return True

    def states(self, group: str) -> dict[str, str]:
        """The state of each process of the group by name; empty if supervisord is down or does not know the group."""
        if not self.alive():
            return {}
        found = self._proxy().getAllProcessInfo()
        return {info["name"]: info["statename"] for info in found if info["group"] == group}

    def ensure_running(self) -> bool:
        """Start supervisord if it is not there; True if it was started."""
        self.folder.mkdir(mode=0o755, exist_ok=True)
        (self.folder / "conf.d").mkdir(exist_ok=True)
        write(
            self.configuration,
            f"""\
; Written by the sandbox.
[supervisord]
nodaemon = true
logfile = {_value(self.folder / "supervisord.log")}
logfile_maxbytes = 5MB
logfile_backups = 1
pidfile = {_value(self.folder / "supervisord.pid")}
umask = 022
loglevel = info

[unix_http_server]
file = {_value(self.socket)}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = {_value(f"unix://{self.socket}")}

[include]
files = conf.d/*.conf
""",
        )
        if self.alive():
            return False
        with (self.folder / "supervisord.out").open("w") as output, self._life_lock() as lock:
            subprocess.Popen(
                [self.python, "-m", "supervisor.supervisord", "-c", str(self.configuration)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=output,
                start_new_session=True,
                pass_fds=[lock],
                cwd="/",
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "TZ": "UTC",
                     "HOME": str(self.folder)},
            )  # fmt: skip
        if not wait_for(self.alive, 20):
            said = (self.folder / "supervisord.out").read_text(encoding="utf-8", errors="replace").strip()[-1000:]
            raise SandboxError(f"supervisord did not start: {said or 'see ' + str(self.folder / 'supervisord.log')}")
        return True

    @contextlib.contextmanager
    def _life_lock(self) -> Iterator[int]:
        """A lock to give to a new supervisord, which holds it as long as it lives; waits for the old one to be gone."""
        with (self.folder / "supervisord.lock").open("a") as file:
            if not wait_for(lambda: try_lock(file.fileno()), 70):
                raise SandboxError(f"An old supervisord does not end; see {self.folder / 'supervisord.log'}")
            yield file.fileno()

    def configure(self, group: str, text: str) -> None:
        """Make supervisord know the group with this configuration (see :func:`program`). If it was another, the group's
        processes are stopped."""
        write(self.folder / "conf.d" / f"{group}.conf", text)
        proxy = self._proxy()
        _, changed, _ = proxy.reloadConfig()[0]
        if group in changed:
            self._remove(group)
        with _unless(_ALREADY_ADDED):
            proxy.addProcessGroup(group)

    def put_down(self, group: str, name: str) -> bool:
        """Was the process started, and then stopped by command? (One that never ran is STOPPED too.)"""
        info = self._proxy().getProcessInfo(f"{group}:{name}")
        return bool(info["statename"] == "STOPPED" and info["start"] > 0)

    def start(self, group: str, name: str) -> bool:
        """Start a process unless it runs, without waiting for it; True if it was started."""
        state = self.states(group).get(name)
        if state in RUNNING_STATES:
            return False
        if state == "BACKOFF":  # it failed, and is about to be tried again
            with _unless(_NOT_RUNNING):
                self._proxy().stopProcess(f"{group}:{name}", True)
        with _unless(_ALREADY_STARTED):
            self._proxy().startProcess(f"{group}:{name}", False)
        return True

    def stop(self, group: str) -> None:
        """Stop the group's processes, wait until they are gone, and forget the group."""
        if self.alive() and self.states(group):
            self._remove(group)

    def _remove(self, group: str) -> None:
        proxy = self._proxy()
        with _unless(_NO_SUCH_NAME):
            proxy.stopProcessGroup(group, True)
            proxy.removeProcessGroup(group)

    def drop(self, group: str) -> None:
        """Stop the group and its configuration too; without any group left supervisord ends."""
        self.stop(group)
        (self.folder / "conf.d" / f"{group}.conf").unlink(missing_ok=True)
        if self.alive() and not any((self.folder / "conf.d").glob("*.conf")):
            self._proxy().shutdown()
            if not wait_for(lambda: not self.alive(), 20):
                raise SandboxError(f"supervisord did not stop; see {self.folder / 'supervisord.log'}")


def program(group: str, name: str, argv: list[str], log: Path, stop_signal: str, start_s: int) -> str:
    """The configuration of one process. Started at ``up`` only; started again when it ends by itself, unless it ends
    within ``start_s`` twice in a row: then it is FATAL."""
    return f"""\
[program:{group}-{name}]
process_name = {name}
command = {_value(shlex.join(argv))}
autostart = false
autorestart = true
startsecs = {start_s}
startretries = 1
stopsignal = {stop_signal}
stopwaitsecs = 60
redirect_stderr = true
stdout_logfile = {_value(log)}
stdout_logfile_maxbytes = 20MB
stdout_logfile_backups = 2
"""


def try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def group_of(group: str, names: list[str]) -> str:
    return f"[group:{group}]\nprograms = {','.join(f'{group}-{name}' for name in names)}\n"


def _value(value: object) -> str:
    """supervisord expands % in values."""
    return str(value).replace("%", "%%")


def wait_for(condition: Callable[[], bool], seconds: float, step: float = 0.05) -> bool:
    """Poll until ``condition()`` is true; False after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(step)
    return True


@contextlib.contextmanager
def _unless(code: int) -> Iterator[None]:
    """supervisord's fault ``code`` means that there is nothing to do."""
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if fault.faultCode != code:
            raise SandboxError(f"supervisord refused: {fault.faultString}") from fault
