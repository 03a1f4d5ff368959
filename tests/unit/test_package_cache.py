"""The package on a target host: whole or not there, and never taken away from a run that still reads it."""

from __future__ import annotations

import base64
import io
import os
import time
import zipfile
from pathlib import Path

from library import pap_package


def archive(text: str) -> str:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as package:
        package.writestr("papdeploy/__init__.py", text)
    return base64.b64encode(made.getvalue()).decode()


def test_what_another_run_reads_is_kept_and_what_nobody_read_for_days_goes(tmp_path: Path) -> None:
    home = tmp_path / "cache"
    names = [f"{number:016x}" for number in range(5)]
    for number, name in enumerate(names):
        place = pap_package.unpack(home, name, archive(f"NUMBER = {number}"))
        assert (place / "papdeploy" / "__init__.py").read_text() == f"NUMBER = {number}"
    assert {path.name for path in home.iterdir()} == set(names)

    for number, name in enumerate(names):
        make_old(home / name, 10 * number)
    pap_package.unpack(home, names[4], archive("not unpacked again"))
    assert {path.name for path in home.iterdir()} == {names[4], names[0], names[1]}
    assert (home / names[4] / "papdeploy" / "__init__.py").read_text() == "NUMBER = 4"
    assert home.stat().st_mode & 0o777 == 0o700


def make_old(path: Path, seconds: float) -> None:
    at = time.time() - 3 * 86400 - seconds
    os.utime(path, (at, at), follow_symlinks=False)


def test_what_is_not_of_this_module_stays_in_its_folder(tmp_path: Path) -> None:
    """The catalogs of the schema check are kept in the same cache, and a person may put down anything anywhere."""
    home = tmp_path / "cache"
    mine = tmp_path / "mine"
    for folder in (home / "schema", home / "notes", home / "DEADBEEFDEADBEEF", mine, home / ".new-0123456"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("kept")
    (home / ("0" * 15 + "f")).symlink_to(mine)
    os.mkfifo(home / ("e" * 16))
    (home / "0123456789abcdef.txt").write_text("")
    abandoned = home / ".new-abc_1234"
    abandoned.mkdir()
    names = [f"{number:016x}" for number in range(5)]
    for name in names:
        pap_package.unpack(home, name, archive(""))
    for path in home.iterdir():
        make_old(path, 0 if path != abandoned else 9)
    before = {path.name for path in home.iterdir()}
    pap_package.unpack(home, names[4], archive(""))
    gone = before - {path.name for path in home.iterdir()}
    assert abandoned.name in gone and gone - {abandoned.name} <= set(names[:4]), gone
    assert (mine / "file").read_text() == "kept"
