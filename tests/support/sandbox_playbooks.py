"""A sandbox of a test's own with its staging stack, releases made from the sandbox's own, and playbooks that run on it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from papdeploy.releases.journal import Journal, State

from support.sandbox_stack import Sandbox, Stack, content

LOGIN_WRITES = ("users", "user_sessions", "audit_logs")
QUICK = {"pap_rehearse": False, "watch_first_s": 1, "watch_interval_s": 1}


class Place:
    """A sandbox, its staging stack, and releases that were broken on purpose."""

    def __init__(self, home: Path) -> None:
        self.sandbox = Sandbox(home)
        self.sandbox.command("up", "staging")
        self.stack: Stack = self.sandbox.stack("staging")

    def variant(self, name: str, files: dict[str, str] | None = None, **edits: tuple[str, str]) -> str:
        """A copy of the release `current` with ``files`` added and, by module of the app, one text replaced."""
        folder = self.sandbox.home / "variants" / name
        shutil.copytree(self.sandbox.home / "releases" / "current", folder)
        for module, (old, new) in edits.items():
            path = folder / "app" / f"{module}.py"
            assert path.read_text().count(old) == 1, (module, old)
            path.write_text(path.read_text().replace(old, new))
        for path_name, text in (files or {}).items():
            (folder / path_name).write_text(text)
        return str(folder)

    def play(self, playbook: str, *options: str, release_dir: str = "", rc: int = 0) -> str:
        """What the playbook says, which must end with ``rc``; ``options`` are words of its command line."""
        release = {"pap_api_release_dir": release_dir} if release_dir else {}
        reports = self.sandbox.home / "reports"
        return self.sandbox.play(playbook, *options, rc=rc, report_folder=reports, **QUICK, **release)

    @property
    def state(self) -> State:
        return self.stack.remembers

    def newest(self) -> Journal:
        return self.state.releases()[-1]

    def running(self) -> str:
        return self.stack.running()

    def content(self) -> dict[str, Any]:
        """Of every table that a login does not write to."""
        found = content(self.stack)["tables"]
        return {name: value for name, value in found.items() if name not in LOGIN_WRITES}

    def report(self, journal: Journal) -> str:
        return (self.sandbox.home / "reports" / "pap-staging" / f"{journal.release}.html").read_text()


@contextlib.contextmanager
def sandbox_place(name: str) -> Iterator[Place]:
    """A place whose folder the account of PostgreSQL reaches; taken down and removed at the end."""
    home = Path(tempfile.mkdtemp(prefix=f"pap-{name}-"))
    home.chmod(0o755)
    made = Place(home)
    try:
        yield made
    finally:
        made.sandbox.command("down", check=False)
        shutil.rmtree(home, ignore_errors=True)
