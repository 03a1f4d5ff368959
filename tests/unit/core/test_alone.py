"""Work in a child process leaves nothing behind, however it ends."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from papdeploy.core import alone, confined
from papdeploy.core.errors import DeadlineExceeded, Unavailable


@pytest.mark.parametrize("confined", [False, True])
def test_its_temporary_files_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, confined: bool) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def work() -> dict[str, Any]:
        script = "import tempfile; print(tempfile.mkdtemp(), end='')"
        made = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
        return {"made": [tempfile.mkdtemp(), made]}

    made = alone.run(work, 60, confined=confined)["made"]
    assert all(path.startswith(f"{tmp_path}/pap-deploy-") for path in made), made
    assert list(tmp_path.iterdir()) == []
    assert "TMPDIR" not in os.environ or os.environ["TMPDIR"] not in made[0]


def test_so_they_do_when_it_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def work() -> dict[str, Any]:
        tempfile.mkdtemp()
        time.sleep(60)
        return {}

    with pytest.raises(DeadlineExceeded):
        alone.run(work, 1)
    assert list(tmp_path.iterdir()) == []


def _overwritten(path: Path) -> None:
    with path.open("r+") as file:
        file.write("new")


CHANGES: dict[str, Callable[[Path], object]] = {
    "made": lambda folder: (folder / "new").touch(),
    "made without flags": lambda folder: os.close(os.open(folder / "new", os.O_CREAT)),
    "emptied": lambda folder: (folder / "old").write_text(""),
    "cut": lambda folder: os.truncate(os.open(folder / "old", os.O_RDWR), 0),
    "overwritten": lambda folder: _overwritten(folder / "old"),
    "removed": lambda folder: shutil.rmtree(folder),
    "renamed": lambda folder: (folder / "old").rename(folder / "new"),
    "linked": lambda folder: (folder / "new").symlink_to("old"),
    "a folder": lambda folder: (folder / "new").mkdir(),
    "closed to all": lambda folder: (folder / "old").chmod(0),
    "by a program": lambda folder: subprocess.run(
        ["sh", "-c", "echo new > new; echo new > old"], cwd=folder, check=True
    ),
    "by the C library": lambda folder: ctypes.CDLL(None).system(f"cd {folder} && echo new > new; rm old".encode()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_no_file_changes_where_everything_is_refused(tmp_path: Path, change: Callable[[Path], object]) -> None:
    (tmp_path / "old").write_text("old")

    def work() -> dict[str, Any]:
        try:
            change(tmp_path)
        except (OSError, subprocess.CalledProcessError):
            return {"read": (tmp_path / "old").read_text()}
        return {"read": "old"}

    mode = (tmp_path / "old").stat().st_mode
    assert alone.run(work, 60, refused=confined.EVERYTHING) == {"read": "old"}
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old", "old")]
    assert (tmp_path / "old").stat().st_mode == mode


def test_every_call_has_its_number() -> None:
    assert {len(numbers) for _, numbers in confined._MACHINES.values()} == {len(confined.EVERYTHING)}


def test_a_session_of_the_parent_is_not_there() -> None:
    ours, theirs = socket.socketpair()

    def work() -> dict[str, Any]:
        ours.send(b"Terminate")
        return {}

    with ours, theirs:
        with pytest.raises(Unavailable, match="OSError"):
            alone.run(work, 60)
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(9)
