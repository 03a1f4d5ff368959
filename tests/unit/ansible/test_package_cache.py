"""The package on a target host: whole or not there, and never taken away from a run that still reads it."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from library import pap_package


def archive(text: str) -> str:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as package:
        package.writestr("papdeploy/__init__.py", text)
        package.writestr("papdeploy/core/__init__.py", "")
    return base64.b64encode(made.getvalue()).decode()


def test_what_another_run_reads_is_kept_and_what_was_unread_for_days_goes(tmp_path: Path) -> None:
    home = tmp_path / "cache"
    names = [f"{number:016x}" for number in range(5)]
    for number, name in enumerate(names):
        place = pap_package.unpack(home, name, archive(f"NUMBER = {number}"))
        assert (place / "papdeploy" / "__init__.py").read_text() == f"NUMBER = {number}"
    assert {path.name for path in home.iterdir()} == set(names)

    for number, name in enumerate(names):
        make_old(home / name, 10 * number)
    before = (home / names[4]).lstat().st_ino
    pap_package.unpack(home, names[4], archive("NUMBER = 4"), pytest.fail)
    assert (home / names[4]).lstat().st_ino == before, "it was unpacked again"
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


DIGEST, SENT = "0123456789abcdef", "print('sent')"
PLANTED = "print('planted')"


def runs(place: Path) -> str:
    """What the package in ``place`` does when it is imported."""
    argv = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(place)!r}); import papdeploy, papdeploy.core"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def compiled(source: Path) -> Path:
    return next((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc"))


def plant_in_bytecode(place: Path) -> None:
    source = place / "papdeploy" / "__init__.py"
    before, text = source.lstat(), source.read_text()
    source.write_text(PLANTED.ljust(len(text))[: max(len(text), len(PLANTED))])
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    subprocess.run([sys.executable, "-m", "compileall", "-q", "-f", str(source)], check=True)
    code = compiled(source).read_bytes()
    source.write_text(text)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    size = len(text.encode()).to_bytes(4, "little")
    compiled(source).write_bytes(code[:12] + size + code[16:])


def plant_a_link(place: Path) -> None:
    elsewhere = place.parent.parent / "elsewhere"
    (elsewhere / "core").mkdir(parents=True)
    (elsewhere / "__init__.py").write_text(PLANTED)
    (elsewhere / "core" / "__init__.py").write_text("")
    (place / "papdeploy").rename(place / "before")
    (place / "papdeploy").symlink_to(elsewhere)


PLANTS: dict[str, Callable[[Path], object]] = {
    "a line": lambda place: (place / "papdeploy" / "__init__.py").write_text(f"{SENT}\n{PLANTED}"),
    "bytecode": plant_in_bytecode,
    "a module more": lambda place: (place / "papdeploy" / "core.py").write_text(PLANTED),
    "a package more": lambda place: (place / "sqlalchemy.py").write_text(PLANTED),
    "a folder that is a link": plant_a_link,
    "a file less": lambda place: (place / "papdeploy" / "core" / "__init__.py").unlink(),
    "an open folder": lambda place: (place / "papdeploy").chmod(0o777),
    "an open file": lambda place: (place / "papdeploy" / "__init__.py").chmod(0o666),
    "no record": lambda place: (place / "compiled.json").unlink(),
    "a damaged record": lambda place: (place / "compiled.json").write_text("[[["),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_what_was_changed_is_not_run(tmp_path: Path, plant: str) -> None:
    home = tmp_path / "cache"
    place = pap_package.unpack(home, DIGEST, archive(SENT))
    assert runs(place) == "sent"
    PLANTS[plant](place)
    if plant in ("a line", "bytecode", "a folder that is a link"):
        assert "planted" in runs(place), "the plant is none"
    warnings: list[str] = []
    again = pap_package.unpack(home, DIGEST, archive(SENT), warnings.append)
    assert again == place and runs(place) == "sent"
    assert len(warnings) == 1 and str(place) in warnings[0]
    assert {path.name for path in home.iterdir()} == {DIGEST}
    assert not list(place.rglob("sqlalchemy*")) and not list(place.rglob("core.py"))
    pap_package.unpack(home, DIGEST, archive(SENT), pytest.fail)


def test_a_place_that_is_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    home, mine = tmp_path / "cache", tmp_path / "mine"
    home.mkdir(mode=0o700)
    (mine / "papdeploy").mkdir(parents=True)
    (mine / "papdeploy" / "__init__.py").write_text(PLANTED)
    (home / DIGEST).symlink_to(mine)
    assert runs(pap_package.unpack(home, DIGEST, archive(SENT))) == "sent"
    assert (mine / "papdeploy" / "__init__.py").read_text() == PLANTED


def test_what_another_python_compiled_is_no_reason_to_unpack_again(tmp_path: Path) -> None:
    place = pap_package.unpack(tmp_path / "cache", DIGEST, archive(SENT))
    other = place / "papdeploy" / "__pycache__" / "__init__.cpython-399.pyc"
    other.write_bytes(b"?")
    pap_package.unpack(tmp_path / "cache", DIGEST, archive(SENT), pytest.fail)
    assert not other.exists()


def wide(home: Path) -> None:
    home.chmod(0o777)


def linked(home: Path) -> None:
    home.rename(home.with_name("there"))
    home.symlink_to(home.with_name("there"))


def owned(home: Path) -> None:
    os.chown(home, 12345, 12345)


def above_wide(home: Path) -> None:
    home.parent.chmod(0o777)


def above_owned(home: Path) -> None:
    os.chown(home.parent, 12345, 12345)


def above_a_group(home: Path) -> None:
    os.chown(home.parent, -1, 12345)
    home.parent.chmod(0o770)


def above_a_link_of_another(home: Path) -> None:
    real = home.parent.with_name("real")
    home.parent.rename(real)
    home.parent.symlink_to(real)
    os.chown(home.parent, 12345, 12345, follow_symlinks=False)


@pytest.mark.parametrize(
    "spoil", [wide, linked, owned, above_wide, above_owned, above_a_group, above_a_link_of_another]
)
def test_a_folder_that_others_can_change_is_refused_and_left(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    if spoil.__name__.endswith(("owned", "group", "another")) and os.geteuid():
        pytest.skip("only root can give files away")
    home = tmp_path / "of-a-user" / "pap-deploy"
    pap_package.unpack(home, DIGEST, archive(SENT))
    (home / DIGEST / "papdeploy" / "__init__.py").write_text(PLANTED)
    spoil(home)
    with pytest.raises(pap_package.Unsafe, match=str(tmp_path / "of-a-user")):
        pap_package.unpack(home, DIGEST, archive(SENT))
    assert (home / DIGEST / "papdeploy" / "__init__.py").read_text() == PLANTED


def test_a_folder_of_ours_that_others_could_only_read_is_closed(tmp_path: Path) -> None:
    """The schema check keeps its catalogs there as well, and made it with the usual umask."""
    home = tmp_path / "pap-deploy"
    home.mkdir(mode=0o755)
    pap_package.unpack(home, DIGEST, archive(SENT))
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_user_without_a_home_to_write_to_gets_the_package_elsewhere(tmp_path: Path) -> None:
    """As a service's account has it, whose passwd entry names a folder that there is not, or that is root's."""
    program = Path(pap_package.__file__)
    arguments = {"digest": DIGEST, "archive": archive(SENT), "otherwise": str(tmp_path / "state" / "code")}
    environment = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}

    def sent(**more: str) -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, program], input=json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, **more}}),
            env={**environment, "HOME": "/proc/nowhere"}, capture_output=True, text=True,
        )  # fmt: skip
        found: dict[str, str] = json.loads(done.stdout)
        return found

    place = Path(sent()["code"])
    assert place == tmp_path / "state" / "code" / DIGEST and runs(place) == "sent"
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert sent()["code"] == str(place)
    told = sent(otherwise="/proc/neither")["msg"]
    assert "/proc/nowhere/.cache/pap-deploy (No such file" in told and "/proc/neither (No such file" in told
    assert "or set HOME or pap_state_dir" in told
