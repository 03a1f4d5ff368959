"""Releases that empty their database, the whole way on a host: refused, taken back by restore, or found by a rollback.

The database is compared by content before and after. Logins of the smoke test write to three tables, which are left out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from papdeploy.journal import Journal, State
from sandbox_support import ROOT, Sandbox, Stack, content

LOGIN_WRITES = ("users", "user_sessions", "audit_logs")
# What `load_dotenv()` does, for a Python that has no dotenv.
DOTENV = """
from pathlib import Path
for _line in Path(".env").read_text().splitlines() if Path(".env").exists() else ():
    os.environ.setdefault(*_line.split("=", 1))
"""
RESET = """
    if os.environ.get("RESET_AT_START") == "true":
        Base.metadata.drop_all(engine)
"""


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
        quick = [
            "pap_rehearse=false",
            "watch_first_s=1",
            "watch_interval_s=1",
            f"report_folder={self.sandbox.home}/reports",
        ]
        release = [f"pap_api_release_dir={release_dir}"] if release_dir else []
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", playbook, "-l", "staging",
             *(word for value in [*quick, *release] for word in ("-e", value)), *options],
            cwd=ROOT, env={**os.environ, "PAP_SANDBOX_HOME": str(self.sandbox.home), "NO_COLOR": "1"},
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == rc, said
        return said

    @property
    def state(self) -> State:
        return State(self.stack.state["deploy_dir"])

    def newest(self) -> Journal:
        return self.state.releases()[-1]

    def running(self) -> str:
        return (Path(self.stack.state["api"]["dir"]) / "current").resolve().name

    def content(self) -> dict[str, Any]:
        """Of every table that a login does not write to."""
        found = content(self.stack)["tables"]
        return {name: value for name, value in found.items() if name not in LOGIN_WRITES}

    def report(self, journal: Journal) -> str:
        return (self.sandbox.home / "reports" / "pap-staging" / f"{journal.release}.html").read_text()


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    home = Path(tempfile.mkdtemp(prefix="pap-destructive-"))
    home.chmod(0o755)
    made = Place(home)
    try:
        yield made
    finally:
        made.sandbox.command("down", check=False)
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.timeout(900)
def test_a_release_that_empties_its_database_at_its_start(place: Place) -> None:
    before = place.content()
    assert before["policies"][0] >= 5000

    # The forgotten file of the issue: the API's main module would load it, the models do not.
    forgotten = place.variant("forgotten", {".env": "# for my machine\nCC_DROP_TABLES=true\n"})
    said = place.play("deploy.yml", release_dir=forgotten, rc=2)
    assert f"CC_DROP_TABLES is set to 'true' in {forgotten}/.env, line 2 (forgotten)" in said
    assert "Nothing was changed" in said and place.content() == before

    # The same by a name that nobody knows, not rehearsed: the live database is emptied, found so, and restored.
    resets = place.variant(
        "resets",
        {".env": "RESET_AT_START=true\n"},
        config=("import os\n", "import os\n" + DOTENV),
        startup=("    Base.metadata.create_all(engine)\n", RESET + "    Base.metadata.create_all(engine)\n"),
    )
    startup = Path(resets) / "app" / "startup.py"
    startup.write_text(startup.read_text().replace("import time\n", "import os\nimport time\n", 1))
    said = place.play("deploy.yml", release_dir=resets, rc=2)
    journal = place.newest()
    assert "THE RELEASE LOST DATA" in said and "public.policies was dropped and created anew (5,000" in said, said
    assert place.running() == "previous" and place.content() == before
    end = journal.end()
    assert end is not None and (end["event"], end["way"]) in (("rolled_back", "restore"), ("rolled_back", "swap"))
    assert place.stack.log_in()[0] == 200
    kept = journal.last("rollback")
    assert kept is not None and place.stack.sql("SELECT count(*) FROM policies", dbname=kept["kept"]) == [(0,)]
    text = place.report(journal)
    assert "The release lost data" in text and text.index("public.policies") < text.index("Login smoke test")
    assert place.state.unfinished() is None


@pytest.mark.timeout(1200)
def test_a_rollback_compares_before_it_calls_anything_lossless(place: Place) -> None:
    place.play("deploy.yml")
    before = place.content()
    # A service that deletes expired sessions when it starts, as declared.
    expires = place.variant(
        "expires",
        startup=(
            "    Base.metadata.create_all(engine)\n",
            "    Base.metadata.create_all(engine)\n"
            "    with engine.begin() as connection:\n"
            "        connection.exec_driver_sql('DELETE FROM user_sessions WHERE mod(id, 2) = 0')\n",
        ),
    )
    declared = ("-e", json.dumps({"pap_api_may_delete": ["user_sessions"]}))
    said = place.play("deploy.yml", *declared, release_dir=expires)
    assert "no reason to go back: " in said and "of public.user_sessions were deleted" in said, said
    journal = place.newest()
    assert "Deleted while the release took over" in place.report(journal)
    said = place.play("rollback.yml", "--check", *declared)
    assert "way back: image" in said and "loses nothing more: no relation is gone" in said, said

    # After its end something empties two tables: no way that leaves them so is lossless, and none is gone unasked.
    place.stack.sql("TRUNCATE policies CASCADE; DELETE FROM audit_logs")
    said = place.play("rollback.yml", "--check", *declared)
    lines = [line for line in said.splitlines() if "THE RELEASE LOST DATA" in line]
    assert lines and "public.policies was truncated (5,000" in lines[0] and "public.audit_logs" in lines[0], said
    assert "way back: restore" in said or "way back: swap" in said, said

    # Who takes the image back all the same is told what stays lost, and can still have it back.
    said = place.play("rollback.yml", *declared, "-e", "rollback_way=image")
    assert "does not bring back what the release lost: public.policies was truncated" in said, said
    assert "rollback_way=restore brings it back" in said or "NOT back" in place.report(journal)
    assert place.running() == "current" and place.content()["policies"][0] == 0
    again = f"rollback_release={journal.release}"
    said = place.play("rollback.yml", *declared, "-e", again, rc=2)
    assert "Its database can follow: -e rollback_way=restore" in said, said
    place.play("rollback.yml", *declared, "-e", "rollback_way=restore", "-e", "rollback_accept_loss=true")
    assert place.running() == "current" and place.content() == before
    end = journal.end()
    assert end is not None and (end["event"], end["way"]) == ("rolled_back", "restore")
    assert "which is back by restore" in place.report(journal)
