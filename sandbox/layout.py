"""Where everything is: one folder for the sandbox, one in it per environment."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.account import Account, reaches
from sandbox.errors import SandboxError

REPOSITORY = Path(__file__).resolve().parents[1]
ELSEWHERE = Path("/var/lib/pap-sandbox")
ENVIRONMENTS = ("development", "staging", "production")
LOCK_SECONDS = 180.0
# Below the ports that outgoing connections use, so that a remembered port stays free.
PORTS = range(20000, 32000)


def entry() -> Path:
    """The folder's name as a person knows it; it may be a link to where the folder is."""
    return Path(os.environ.get("PAP_SANDBOX_HOME") or REPOSITORY / ".sandbox").absolute()


def open_home(account: Account | None) -> Path:
    """The folder, made if need be where ``account`` can reach it, without links in its path.

    A repository below /root is closed to the account that PostgreSQL runs as: then the folder is made in /var/lib and
    the ignored folder of the repository is a link to it.
    """
    home = entry()
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        if home.is_symlink():  # to a folder that is gone
            home.unlink()
        home.mkdir(mode=0o755, exist_ok=True)
        if not reaches(account, home):
            home.rmdir()
            ELSEWHERE.mkdir(mode=0o755, parents=True, exist_ok=True)
            elsewhere = Path(tempfile.mkdtemp(prefix=f"{home.parent.name}-", dir=ELSEWHERE))
            elsewhere.chmod(0o755)
            home.symlink_to(elsewhere)
    home = home.resolve()
    if not reaches(account, home):
        raise SandboxError(
            f"The account {account.name if account else ''} that PostgreSQL runs as cannot reach {home}. "
            f"Remove that folder (its databases are lost), then try again: it will be made elsewhere."
        )
    return home


@dataclass(frozen=True)
class Layout:
    """The paths of one environment below ``home``."""

    home: Path
    environment: str

    @property
    def base(self) -> Path:
        return self.home / self.environment

    @property
    def state_file(self) -> Path:
        return self.base / "state.json"

    @property
    def secrets(self) -> Path:
        return self.base / "secrets"

    @property
    def db(self) -> Path:
        return self.base / "db"

    @property
    def api(self) -> Path:
        return self.base / "api"

    @property
    def env_file(self) -> Path:
        return self.api / "env"

    @property
    def current(self) -> Path:
        return self.api / "current"

    @property
    def deploy(self) -> Path:
        """Where the deploy keeps its releases, journals and backups."""
        return self.base / "pap-deploy"

    @property
    def releases(self) -> Path:
        return self.home / "releases"

    def state(self) -> dict[str, Any] | None:
        """What is remembered of this environment; None if it was never made."""
        try:
            return dict(json.loads(self.state_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def secret(self, name: str) -> str:
        """The remembered random secret ``name``, made when first asked for."""
        path = self.secrets / name
        if not path.exists():
            self.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
            write(path, secrets.token_urlsafe(24), 0o600)
        return path.read_text(encoding="utf-8")


def write(path: Path, text: str, mode: int = 0o644) -> bool:
    """Replace the file's content at once; True if it was another."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_text(encoding="utf-8") == text:
            return False
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)
    return True


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """One command at a time changes the sandbox."""
    with (home / "lock").open("a") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SandboxError(
                        f"Another sandbox command has been at work for {LOCK_SECONDS:.0f} s. See who: fuser {home}/lock"
                    ) from None
                time.sleep(0.1)
        yield


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(but: set[int]) -> int:
    """A port of the loopback interface that no program listens on and that is not in ``but``."""
    for _ in range(200):
        port = random.choice(PORTS)
        if port not in but and port_is_free(port):
            return port
    raise SandboxError(f"No free port found between {PORTS.start} and {PORTS.stop}.")
