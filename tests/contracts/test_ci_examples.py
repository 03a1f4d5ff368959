"""The pipelines in docs/ci are YAML, and call the check with options that it has."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import yaml

CI = Path(__file__).resolve().parents[2] / "docs" / "ci"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pull_request", CI / "pull_request.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands(text: str) -> list[list[str]]:
    joined = re.sub(r"\s*\n\s+(?=--)", " ", text)
    return [shlex.split(line.strip()) for line in joined.splitlines() if "pull_request.py --" in line]


@pytest.mark.parametrize("name", ["github-pull-request.yml", "gitlab-pull-request.yml", "README.md"])
def test_the_commands_are_ones_that_the_program_takes(program: ModuleType, name: str) -> None:
    text = (CI / name).read_text()
    if name.endswith(".yml"):
        assert isinstance(yaml.safe_load(text), dict)
    found = commands(text)
    assert found
    for words in found:
        start = next(i for i, word in enumerate(words) if word.endswith("pull_request.py"))
        options = program.parser().parse_args(words[start + 1 :])
        assert options.base and options.database_url.startswith("postgresql://")


def test_the_exit_codes_are_documented(program: ModuleType) -> None:
    text = (CI / "README.md").read_text()
    documented = {int(code) for code in re.findall(r"^\| (\d) \|", text, re.MULTILINE)}
    codes = [program.LINT, program.UNCHECKED, program.NOT_APPLIED, program.NOT_REVERTED, program.NOT_REPEATABLE,
             program.DIFFERS, program.EDITED, program.NO_RECEIPT]  # fmt: skip
    assert documented == {0, *codes}
