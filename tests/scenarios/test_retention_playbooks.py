"""By whole playbooks: nights of backups without proof, a wrong date, other people's files, and nothing is lost; and no one
else comes into a copy."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest
from support import ROOT
from support.interrupted_deploys import Interrupted

MANIFEST = ".manifest.json"


@pytest.fixture(scope="module")
def stack() -> Iterator[Interrupted]:
    made = Interrupted(ROOT / ".artifacts" / "retention")
    try:
        yield made
    finally:
        made.command("down")


@pytest.mark.timeout(900)
def test_nights_without_proof_lose_nothing_and_say_all(stack: Interrupted) -> None:
    stack.command("reset", "staging")
    before = stack.content()
    folder = stack.home / "staging/pap-deploy/backups"
    shutil.rmtree(folder, ignore_errors=True)

    def backup(*options: str) -> str:
        numbers = ["-e", "backup_keep=1", "-e", "backup_keep_days=0"]
        done = stack.run("backup.yml", *numbers, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    backup()
    (proven,) = folder.glob("*.dump")
    plant(folder, proven)
    first = {path.name for path in folder.iterdir()}

    none = ("-e", "backup_proof=none")
    said = backup(*none)
    (second,) = {path.name for path in folder.glob("*.dump")} - first
    assert "not restored" in said and first | triple(second) == {path.name for path in folder.iterdir()}
    assert f"goes with the next backup: {folder / second}" in said
    for word in (
        "KEEP.dump",
        ".partial-notes.txt",
        "(a FIFO)",
        "(a folder)",
        "copy or renamed by hand",
        "still to come",
    ):
        assert word in said, (word, said)

    said = backup(*none)
    left = {path.name for path in folder.iterdir()}
    (third,) = {path.name for path in folder.glob("*.dump")} - first
    assert f"removed {folder / second}" in said, "as announced, for one that has proven as much"
    assert left == first | triple(third), "the proven one, and all that is not ours"

    checked = backup(*none, "--check")
    assert f"the next backup removes {folder / third}" in checked
    assert {path.name for path in folder.iterdir()} == left
    status = stack.run("status.yml")
    assert "the next backup removes nothing" in status.stdout and "KEEP.dump" in status.stdout, status.stdout
    gone = [json.loads(line) for line in (folder.parent / "retention/journal.jsonl").read_text().splitlines()]
    (removed,) = [entry for entry in gone if entry["event"] == "removed"]
    assert removed["name"].endswith(second) and len(removed["sha256"]) == 64 and removed["bytes"] > 1000
    assert stack.content() == before


def triple(name: str) -> set[str]:
    return {name, f"{name}.globals.sql", f"{name}{MANIFEST}"}


def plant(folder: Path, proven: Path) -> None:
    """What a person may put beside backups, and a manifest that a clock ahead has dated."""
    from support import backup_files

    for suffix in ("", MANIFEST):
        shutil.copy(f"{proven}{suffix}", folder / f"before-christmas-KEEP.dump{suffix}")
    ahead = proven.name.replace("_manual-", "_manual-9")
    plain = json.loads(Path(f"{proven}{MANIFEST}").read_text())
    plain.update(file=ahead, release=plain["release"].replace("manual-", "manual-9"), started="2999-01-01T00:00:00Z")
    shutil.copy(proven, folder / ahead)
    backup_files.write(folder / ahead, plain)
    (folder / ".partial-notes.txt").write_text("a person's")
    os.mkfifo(folder / ".partial-pipe")
    (folder / "folder.dump.manifest.json").mkdir()


class Loop(threading.Thread):
    """Another role that tries every database beside the live one, as fast as it can."""

    def __init__(self, state: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.state = state
        self.over = threading.Event()
        self.seen: set[str] = set()
        self.entered: set[str] = set()

    def connect(self, dbname: str, user: str, password: str) -> psycopg2.extensions.connection:
        postgres = self.state["postgres"]
        return psycopg2.connect(
            host=postgres["host"], port=postgres["port"], user=user, password=password, dbname=dbname
        )

    def run(self) -> None:
        admin = self.connect("postgres", *self.state["admin"])
        admin.autocommit = True
        while not self.over.wait(0.02):
            with admin.cursor() as cursor:
                cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, 'control_core_db__')")
                for (name,) in cursor.fetchall():
                    self.seen.add(name)
                    with contextlib.suppress(psycopg2.OperationalError):
                        self.connect(name, "pap_outsider", "outsider").close()
                        self.entered.add(name)
        admin.close()


@pytest.mark.timeout(900)
@pytest.mark.nightly
def test_another_role_comes_into_no_copy_during_a_deploy(stack: Interrupted) -> None:
    """Of a database that is open to its owner only. An outsider who is refused does not disturb the deploy either."""
    stack.command("reset", "staging")
    home = stack.home / "staging"
    state = json.loads((home / "state.json").read_text())
    state["admin"] = ("postgres", (home / "secrets/password-postgres").read_text())
    loop = Loop(state)
    admin = loop.connect("postgres", *state["admin"])
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute("DROP ROLE IF EXISTS pap_outsider")
        cursor.execute("CREATE ROLE pap_outsider LOGIN PASSWORD 'outsider'")
        cursor.execute("REVOKE CONNECT ON DATABASE control_core_db FROM PUBLIC")
    loop.start()
    # The watch would take the release back for the refusals in the database's log.
    options = ["pap_rehearse=true", "migrate_restore_point=snapshot", "watch_enabled=false"]
    done = stack.run("deploy.yml", *(word for option in options for word in ("-e", option)))
    back = stack.run("rollback.yml", "-e", "rollback_strategy=swap", "-e", "rollback_accept_data_loss=true")
    loop.over.set()
    loop.join(60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert back.returncode == 0, back.stdout + back.stderr
    kinds = {name.removeprefix("control_core_db__").partition("_")[0] for name in loop.seen}
    assert kinds >= {"scratch", "snap", "failed"}
    assert loop.entered == set()
    with admin.cursor() as cursor:
        cursor.execute(
            "SELECT bool_or(has_database_privilege('pap_outsider', oid, 'CONNECT')) FROM pg_database WHERE datname LIKE 'control%'"
        )
        assert cursor.fetchone() == (False,)
    admin.close()
