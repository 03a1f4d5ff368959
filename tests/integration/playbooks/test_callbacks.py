"""What a playbook says is read with every stdout callback: once, and beside nothing that a machine reads."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize("callback", ["pap_phases", "default", "minimal", "oneline"])
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
    shown = [
        line for line in lines if journal.release in line and not line.lstrip().startswith('"') and " => {" not in line
    ]
    assert len(shown) == 1 and sum(line.startswith("history ") for line in lines) == 1, "\n".join(lines)
    if callback == "default":  # a failure has its next step, too: this stack has no database and no API
        failed = play("check.yml")
        assert "Next: " in failed, failed


AS_JSON = '''
import json
from ansible.plugins.callback import CallbackBase
DOCUMENTATION = """
name: one_json
type: stdout
short_description: One document at the end, as ansible.posix.json prints it
description: [x]
"""


class CallbackModule(CallbackBase):
    CALLBACK_TYPE, CALLBACK_NAME, found = "stdout", "one_json", []

    def v2_runner_on_ok(self, result):
        self.found.append(result._result)

    def v2_playbook_on_stats(self, stats):
        self._display.display(json.dumps(self.found, default=str))
'''


def test_beside_json_nothing_is_printed_and_the_lines_are_in_it(tmp_path: Path) -> None:
    journal = release(State(tmp_path / "state"))
    (tmp_path / "one_json.py").write_text(AS_JSON)
    variables = {**VARIABLES, "pap_state_dir": str(tmp_path / "state")}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"pap": variables}}}))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", tmp_path / "hosts.yml", ROOT / "history.yml"],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "one_json",
             "ANSIBLE_CALLBACK_PLUGINS": str(tmp_path), "NO_COLOR": "1"},
        cwd=ROOT, capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    said = [result["pap"]["lines"] for result in json.loads(done.stdout) if "pap" in result]
    assert len(said) == 1 and journal.release in "\n".join(said[0])
