"""The image for AWX brings what a controller is tested with."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from support import ROOT


def pinned() -> dict[str, set[str]]:
    """The versions that the tests run with, by package."""
    found: dict[str, set[str]] = {}
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text().splitlines():
            if "==" in line and not line.startswith("#"):
                requirement = Requirement(line)
                found.setdefault(requirement.name, set()).add(str(requirement.specifier).removeprefix("=="))
    return found


def test_the_execution_environment_takes_the_tested_versions() -> None:
    described = yaml.safe_load((ROOT / "execution-environment.yml").read_text())
    wanted = described["dependencies"]
    lines = [wanted["ansible_core"]["package_pip"], wanted["ansible_runner"]["package_pip"], *wanted["python"]]
    asked = [Requirement(line) for line in lines]
    assert {"ansible-core", "ansible-runner", "cryptography"} <= {requirement.name for requirement in asked}
    for requirement in asked:
        versions = pinned()[requirement.name]
        assert all(version in requirement.specifier for version in versions), f"{requirement}, but {versions}"


def test_the_collection_asks_for_the_same_versions() -> None:
    described = yaml.safe_load((ROOT / "execution-environment.yml").read_text())
    wanted = Requirement(described["dependencies"]["ansible_core"]["package_pip"]).specifier
    (asked,) = re.findall(r'^ANSIBLE = "([^"]+)"', (ROOT / "tools" / "build_collection.py").read_text(), re.MULTILINE)
    for version in ("2.18.99", "2.19.0", "2.21.99", "2.22.0"):
        assert (version in wanted) == (version in SpecifierSet(asked)), version


def test_the_builder_takes_it(tmp_path: Path) -> None:
    """The recipe of the image is made, with the base, the collection and each version that is asked for in it."""
    described = yaml.safe_load((ROOT / "execution-environment.yml").read_text())
    builder = Path(sys.executable).parent / "ansible-builder"
    subprocess.run([builder, "create", "--file", ROOT / "execution-environment.yml", "--context", tmp_path,
                    "--output-filename", "Containerfile"], check=True, capture_output=True, timeout=60)  # fmt: skip
    recipe = (tmp_path / "Containerfile").read_text()
    wanted = described["dependencies"]
    for text in (described["images"]["base_image"]["name"], wanted["python_interpreter"]["python_path"],
                 wanted["ansible_core"]["package_pip"], wanted["ansible_runner"]["package_pip"]):  # fmt: skip
        assert text in recipe, text
    assert (tmp_path / "_build" / "requirements.txt").read_text().splitlines() == wanted["python"]
    assert yaml.safe_load((tmp_path / "_build" / "requirements.yml").read_text()) == wanted["galaxy"]
