"""What a playbook says is read with every stdout callback: once, and beside nothing that a machine reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from integration.report.test_history import release
from papdeploy.releases.journal import State
from support import ROOT

VARIABLES = {
    "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "pap_environment": "staging",
    "pap_models": ["none"], "pap_smoke_username": "none", "pap_smoke_password": "not-shown",
}  # fmt: skip


@pytest.mark.parametrize("callback", ["pap_phases", "default", "minimal"])
def test_the_lines_are_shown(callback: str, tmp_path: Path) -> None:
    journal = release(State(tmp_path / "state"))
    inventory = tmp_path / "hosts.yml"
    variables = {**VARIABLES, "pap_state_dir": str(tmp_path / "state")}
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"pap": variables}}}))

    def play(playbook: str) -> str:
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "-i", inventory, ROOT / playbook],
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": callback,
                 "NO_COLOR": "1"},
            cwd=ROOT, capture_output=True, text=True, timeout=150,
        )  # fmt: skip
        return done.stdout + done.stderr

    lines = play("history.yml").splitlines()
    shown = [line for line in lines if journal.release in line and not line.lstrip().startswith('"')]
    assert len(shown) == 1 and sum(line.startswith("history ") for line in lines) == 1, "\n".join(lines)
    if callback == "default":  # a failure has its next step, too: this stack has no database and no API
        failed = play("check.yml")
        assert "Next: " in failed, failed
