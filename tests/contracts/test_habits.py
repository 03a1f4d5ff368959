"""What a contributor relies on: the index of decisions, the changelog, the hooks, and the order of the checks."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import tomllib
import yaml
from support import ROOT

BIN = Path(sys.executable).parent
RECORD = "# 7. Keep one thing\n\nStatus: accepted, 2026-01-31; amended by [8](0008-x.md)\n\n**Context.** …\n"


@pytest.fixture(scope="module")
def index() -> ModuleType:
    path = ROOT / "tools" / "generate_adr_index.py"
    spec = importlib.util.spec_from_file_location("generate_adr_index", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_index_of_decisions_is_current(index: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert index.main(["--check"]) == 0, capsys.readouterr().err


def test_a_decision_has_a_row_with_status_and_date(index: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "0007-keep-one-thing.md").write_text(RECORD)
    row = "| 7 | [Keep one thing](0007-keep-one-thing.md) | accepted, amended by [8](0008-x.md) | 2026-01-31 |\n"
    assert index.index(tmp_path).endswith(row)


@pytest.mark.parametrize(
    ("old", "new"),
    [("# 7.", "# 8."), ("# 7.", "# 0007:"), ("Status: ", ""), ("accepted", "decided"), ("2026-01-31", "January")],
)
def test_a_decision_without_title_or_status_is_named(index: ModuleType, tmp_path: Path, old: str, new: str) -> None:
    (tmp_path / "0007-keep-one-thing.md").write_text(RECORD.replace(old, new))
    with pytest.raises(ValueError, match=r"0007-keep-one-thing\.md"):
        index.index(tmp_path)


def test_every_fragment_goes_into_the_changelog() -> None:
    done = subprocess.run(
        [BIN / "antsibull-changelog", "lint"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version in yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text())["releases"]
    assert f"\nv{version}\n" in (ROOT / "CHANGELOG.rst").read_text()


def test_hooks_fetch_nothing_and_run_what_the_check_runs() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    entries = {hook["entry"].split()[0] for hook in repositories[0]["hooks"]}
    assert entries == {".venv/bin/ruff", ".venv/bin/yamllint", ".venv/bin/mypy", ".venv/bin/python"}
    for hook in repositories[0]["hooks"]:
        assert hook["language"] == "system", hook["id"]


def test_the_fast_checks_come_first() -> None:
    """A mistake of style is told in minutes, by the workflow and by `make test`, which the gate runs."""
    makefile = (ROOT / "Makefile").read_text()
    test, quick = (re.search(rf"^{name}: (.+?) ##", makefile, re.MULTILINE) for name in ("test", "lint"))
    assert test and test[1].split()[0] == "quick"
    assert quick and quick[1].split() == ["style", "ansible-lint"]
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]
    assert jobs["fast"]["steps"][-1]["run"] == "make quick"
    assert [name for name, job in jobs.items() if name != "fast" and job.get("needs") != "fast"] == []


def test_the_console_script_is_the_module() -> None:
    """`papdeploy` does what `python -m papdeploy` does."""
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["papdeploy"]
    module, _, function = script.partition(":")
    start = f"import sys; from {module} import {function}; sys.argv = ['papdeploy', '--help']; sys.exit({function}())"
    said = [
        subprocess.run(argv, cwd=ROOT / "module_utils", capture_output=True, text=True, timeout=60, check=True).stdout
        for argv in ([sys.executable, "-c", start], [sys.executable, "-m", "papdeploy", "--help"])
    ]
    assert said[0] and said[0].split()[2:] == said[1].split()[2:]


def phases() -> list[list[str]]:
    """The rows of the table of phases in docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.split("| phase | role |")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_table_of_phases_names_what_is_there() -> None:
    package = ROOT / "module_utils" / "papdeploy"
    for name, role, modules, phase, folders in phases():
        assert (ROOT / "roles" / role.strip("`")).is_dir(), name
        for module in re.findall(r"`(\w+)`", modules):
            assert (ROOT / "library" / f"{module}.py").exists(), f"{name}: {module}"
        assert (package / phase.strip("`")).exists(), f"{name}: {phase}"
        for folder in re.findall(r"`(\w+)`", folders):
            assert (package / folder).is_dir(), f"{name}: {folder}"


def test_the_table_of_phases_has_the_order_of_a_deploy() -> None:
    begun = re.findall(r"pap_phase: (\w+)", (ROOT / "playbooks" / "deploy.yml").read_text())
    listed = [role.strip("`") for _, role, *_ in phases()]
    assert len(begun) >= 8
    assert [role for role in listed if role in begun] == begun


def test_the_map_of_the_house_names_every_folder() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for path in (ROOT / "module_utils" / "papdeploy").iterdir():
        if path.is_dir() and path.name != "__pycache__":
            assert re.search(rf"\b{path.name}/", text), path.name
    for name in re.findall(r"`((?:phases|rollback|schema|tests|library|docs|tools)/[\w./-]+\.\w+)`", text):
        assert (ROOT / name).exists() or (ROOT / "module_utils" / "papdeploy" / name).exists(), name
