"""A plan, a deploy and a rollback in the surroundings that a user's machine may have: its locale, clock, umask, home and
the folder of the clone. What is measured, and what is written, does not depend on them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import ROOT
from support.sandbox_playbooks import LOGIN_WRITES
from support.sandbox_stack import BIN, Sandbox, content
from support.surroundings import SURROUNDINGS, Surroundings, made_locales

LOCALEDEF = shutil.which("localedef") and Path("/usr/share/i18n/locales/tr_TR").is_file()


@pytest.fixture(scope="module")
def locales() -> Iterator[Path]:
    with made_locales() as folder:
        yield folder


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pap-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def clone(folder: Path) -> Path:
    """This project in ``folder``."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_plan_a_deploy_and_a_rollback(name: str, locales: Path, place: Path) -> None:
    surroundings = SURROUNDINGS[name]
    if not LOCALEDEF and "UTF-8" in surroundings.variables.get("LC_ALL", ""):
        pytest.skip("the locales cannot be made here (localedef)")
    root = clone(place / "Ünser Übungs'projekt (2)") if surroundings.in_odd_folder else ROOT
    sandbox = Sandbox(root / ".sandbox" if surroundings.in_odd_folder else place / "sandbox", root=root)
    sandbox.command("up", "staging")
    try:
        go_through(sandbox, surroundings, locales)
    finally:
        sandbox.command("down", check=False)


def go_through(sandbox: Sandbox, surroundings: Surroundings, locales: Path) -> None:
    stack = sandbox.stack()

    def rows() -> object:
        return {table: value for table, value in content(stack)["tables"].items() if table not in LOGIN_WRITES}

    def play(playbook: str, *words: str) -> str:
        variables: dict[str, Any] = {
            "report_folder": f"{sandbox.home}/reports",
            "watch_first_s": 1,
            **surroundings.choices,
        }
        done = subprocess.run(
            [str(BIN / "ansible-playbook"), *sandbox.argv(playbook, *words, **variables)[1:]], cwd=sandbox.root,
            env=surroundings.environment(sandbox.environment, locales), umask=surroundings.umask,
            capture_output=True, timeout=400,
        )  # fmt: skip
        said = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == 0, said
        assert "WARNING" not in said and "�" not in said, said
        return said

    before = rows()
    assert "a deploy would apply 2 migrations" in play("deploy.yml", "--check") and stack.running() == "previous"
    said = play("deploy.yml")
    assert stack.running() == "current", said
    private = [path for path in Path(stack.state["deploy_dir"]).rglob("*") if not path.is_symlink()]
    assert private and all(path.stat().st_mode & 0o077 == 0 for path in private)
    (page,) = [path for path in (sandbox.home / "reports").rglob("*.html") if path.name != "index.html"]
    assert "pap-staging" in page.read_text(encoding="utf-8")
    said = play("rollback.yml", "-e", "rollback_strategy=downgrade")
    assert stack.running() == "previous" and rows() == before, said
    play("status.yml")
    assert "rolled back" in play("history.yml")
