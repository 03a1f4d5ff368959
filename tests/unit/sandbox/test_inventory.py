"""The shipped inventories: one file of variables for the three environments, readable while nothing is up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import ROOT

ENVIRONMENTS = ("staging", "production", "development")


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    program = Path(sys.executable).with_name("ansible-inventory")
    arguments = [argument for name in ENVIRONMENTS for argument in ("-i", str(ROOT / "inventory" / name))]
    done = subprocess.run(
        [str(program), *arguments, "--list"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PAP_SANDBOX_HOME": str(tmp_path_factory.mktemp("nothing") / "here")},
    )  # fmt: skip
    assert "WARNING" not in done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_one_stack_per_environment(environment: str, inventory: dict[str, Any]) -> None:
    host = f"pap-{environment}"
    assert inventory[environment]["hosts"] == [host]
    assert host in inventory["sandbox"]["hosts"]
    variables = inventory["_meta"]["hostvars"][host]
    assert variables["pap_environment"] == environment
    assert variables["pap_sandbox"] is True


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_variables_are_one_file(environment: str) -> None:
    link = ROOT / "inventory" / environment / "group_vars" / "sandbox.yml"
    assert link.resolve() == ROOT / "sandbox" / "group_vars.yml"
