"""What counts of a release folder: everything that can change what runs, and nothing that differs by itself."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from papdeploy.app import content
from papdeploy.core.errors import Unavailable
from papdeploy.core.records import read
from papdeploy.receipts.subject import differences, runtime_differences
from papdeploy.releases.parts import Runtime
from unit.receipts.test_sign import subject


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "release"
    (made / "app" / "templates").mkdir(parents=True)
    for name in ("main.py", "models.py", "templates/mail.txt"):
        (made / "app" / name).write_text(f"# {name}\n")
    (made / "start.sh").write_text("#!/bin/sh\n")
    (made / "static").symlink_to("app/templates")
    (made / ".env").write_text("SECRET=one\n# NOT_THIS=1\nexport URL='x'\n")
    return made


def compiled(folder: Path, mode: py_compile.PycInvalidationMode) -> None:
    source = folder / "app" / "main.py"
    py_compile.compile(str(source), cfile=importlib.util.cache_from_source(str(source)), invalidation_mode=mode)


def write(name: str, text: str = "x") -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return change


def linked(folder: Path) -> None:
    (folder / "static").unlink()
    (folder / "static").symlink_to("app")


def venv(folder: Path) -> None:
    write("env/pyvenv.cfg")(folder)
    write("env/lib/site-packages/x.py")(folder)


COUNTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a file was edited": (write("app/main.py"), "app/main.py is another one"),
    "a file was added": (write("app/sitecustomize.py"), "app/sitecustomize.py was added"),
    "a file is gone": (lambda f: (f / "app/models.py").unlink(), "app/models.py is gone"),
    "an empty file was added": (write("app/empty.py", ""), "app/empty.py was added"),
    "a .pyc that takes a module's place": (write("app/json.pyc"), "app/json.pyc was added"),
    "bytecode that Python takes without its source": (
        lambda f: compiled(f, py_compile.PycInvalidationMode.UNCHECKED_HASH),
        f"app/__pycache__/{Path(importlib.util.cache_from_source('main.py')).name} was added",
    ),
    "a file can be executed": (lambda f: (f / "start.sh").chmod(0o755), "start.sh is another one"),
    "a link leads elsewhere": (linked, "static is another one"),
    "a file became a link": (
        lambda f: [(f / "start.sh").unlink(), (f / "start.sh").symlink_to("app")], "start.sh is another one",
    ),
    "a hidden file": (write(".config"), ".config was added"),
    "a package called venv": (write("venv/main.py"), "venv/main.py was added"),
    "settings that are part of the release": (write(".env.production"), ".env.production was added"),
    "a lock file": (write("requirements.lock"), "requirements.lock was added"),
}  # fmt: skip
DOES_NOT_COUNT: dict[str, Callable[[Path], Any]] = {
    "what Python compiles": lambda f: compiled(f, py_compile.PycInvalidationMode.TIMESTAMP),
    "times": lambda f: os.utime(f / "app/main.py", (1, 1)),
    "what may be read by whom": lambda f: (f / "app/main.py").chmod(0o640),
    "the value of a setting": write(".env", "SECRET=two\nURL=y\n"),
    "a repository": write(".git/HEAD"),
    "a virtual environment, whatever its name": venv,
    "a log": write("app/today.log"),
    "a FIFO": lambda f: os.mkfifo(f / "app/pipe"),
    "a socket": lambda f: socket.socket(socket.AF_UNIX).bind(str(f / "s")),
    "what the inventory says": lambda f: [
        write("uploads/deep/1.png")(f),
        write("cache.db")(f),
        write("cache.db-wal")(f),
    ],
    "an empty folder": lambda f: (f / "tmp").mkdir(),
}


@pytest.mark.parametrize("case", COUNTS)
def test_what_counts_is_named(case: str, folder: Path) -> None:
    before = content.look(folder)
    change, said = COUNTS[case]
    change(folder)
    after = content.look(folder)
    assert before.changes_to(after) == [said] and before.checksum != after.checksum


@pytest.mark.parametrize("case", DOES_NOT_COUNT)
def test_what_does_not_count(case: str, folder: Path) -> None:
    ignore = ("uploads", "cache.db*")
    before = content.look(folder, ignore)
    DOES_NOT_COUNT[case](folder)
    after = content.look(folder, ignore)
    assert before == after and before.checksum == after.checksum


def test_the_same_files_in_another_order_are_the_same_release(folder: Path, tmp_path: Path) -> None:
    chance = random.Random(5)
    other = tmp_path / "other"
    paths = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
    chance.shuffle(paths)
    for path in paths:
        target = other / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target, follow_symlinks=False)
    assert content.look(other).checksum == content.look(folder).checksum


def test_names_of_settings_count_and_values_do_not(folder: Path) -> None:
    write("app/.env.local", "DEBUG=1\nlower = 2\nnot a line\n=3\n")(folder)
    assert content.look(folder).variables == ("DEBUG", "SECRET", "URL", "lower")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_cannot_be_read_is_said(folder: Path) -> None:
    (folder / "app").chmod(0)
    with pytest.raises(Unavailable, match="app cannot be read"):
        content.look(folder)


RUNTIME = {"python": "CPython 3.11", "packages": {"fastapi": "0.110.0", "sqlalchemy": "2.0.29"}, "variables": ["URL"]}


@pytest.mark.parametrize(
    ("here", "sentence"),
    [
        (RUNTIME, None),
        ({**RUNTIME, "python": "CPython 3.12"}, "staging ran it with CPython 3.11, here it is CPython 3.12"),
        (
            {**RUNTIME, "packages": {"fastapi": "0.111.0", "httpx": "1"}},
            "package: fastapi (staging had 0.110.0, here 0.111.0), httpx (staging had none, here 1), sqlalchemy (staging had"
            " 2.0.29, here none)",
        ),
        ({**RUNTIME, "variables": []}, "variable set in staging and not here: URL"),
        ({**RUNTIME, "variables": ["URL", "SENTRY_DSN", "DEBUG"]}, "variable set here and not in staging: DEBUG"),
    ],
)
def test_what_staging_ran_it_with(here: dict[str, Any], sentence: str | None) -> None:
    there, wanted = read(Runtime, RUNTIME), read(Runtime, here)
    assert runtime_differences(there, wanted, "staging", ["SENTRY_*"]) == ([sentence] if sentence else [])
    assert differences(subject(runtime=RUNTIME), subject(runtime=here), "staging", ["SENTRY_*"]) == (
        [sentence] if sentence else []
    )


def test_a_receipt_that_does_not_say_with_what_is_none_where_it_is_known() -> None:
    assert differences(subject(), subject(runtime=RUNTIME)) == [
        "the receipt does not record with which packages and variables it ran in staging"
    ]
    assert differences(subject(runtime=RUNTIME), subject()) == []
