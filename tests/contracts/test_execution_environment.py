"""The image for AWX brings what a controller is tested with."""

from __future__ import annotations

from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


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
