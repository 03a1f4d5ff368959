"""Retention by whole playbooks: nights of backups without proof, a wrong date, other people's files; nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_killed import ROOT, Stack

MANIFEST = ".manifest.json"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    made = Stack(ROOT / ".artifacts" / "retention")
    try:
        yield made
    finally:
        made.sandbox("down")


@pytest.mark.timeout(900)
def test_nights_without_proof_lose_nothing_and_say_all(stack: Stack) -> None:
    stack.sandbox("reset", "staging")
    before = stack.content()
    folder = stack.home / "staging/pap-deploy/backups"
    shutil.rmtree(folder, ignore_errors=True)

    def backup(*options: str) -> str:
        numbers = ["-e", "backup_keep=1", "-e", "backup_keep_days=0"]
        done = stack.play("backup.yml", *numbers, *options)
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
    status = stack.play("status.yml")
    assert "the next backup removes nothing" in status.stdout and "KEEP.dump" in status.stdout, status.stdout
    gone = [json.loads(line) for line in (folder.parent / "retention/journal.jsonl").read_text().splitlines()]
    (removed,) = [entry for entry in gone if entry["event"] == "removed"]
    assert removed["name"].endswith(second) and len(removed["sha256"]) == 64 and removed["bytes"] > 1000
    assert stack.content() == before


def triple(name: str) -> set[str]:
    return {name, f"{name}.globals.sql", f"{name}{MANIFEST}"}


def plant(folder: Path, proven: Path) -> None:
    """What a person may put beside backups, and a manifest that a clock ahead has dated."""
    from papdeploy.backup import manifest

    for suffix in ("", MANIFEST):
        shutil.copy(f"{proven}{suffix}", folder / f"before-christmas-KEEP.dump{suffix}")
    ahead = proven.name.replace("_manual-", "_manual-9")
    plain = json.loads(Path(f"{proven}{MANIFEST}").read_text())
    plain.update(file=ahead, release=plain["release"].replace("manual-", "manual-9"), started="2999-01-01T00:00:00Z")
    shutil.copy(proven, folder / ahead)
    (folder / f"{ahead}{MANIFEST}").write_text(json.dumps(manifest.body(plain)))
    (folder / ".partial-notes.txt").write_text("a person's")
    os.mkfifo(folder / ".partial-pipe")
    (folder / "folder.dump.manifest.json").mkdir()
