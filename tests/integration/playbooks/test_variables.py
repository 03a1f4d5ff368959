"""What every playbook begins with, played by Ansible: each host's own problems, and no host's problem in another's message."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support import ROOT

INVENTORY = """\
all:
  hosts:
    wrong: {pap_environment: Production, pap_db_nme: x, backup_prof: none, pap_smoke_password: "", pap_rehearse: ture}
    without: {}
    sealed:
      pap_environment: staging
      pap_smoke_password: !vault |
        $ANSIBLE_VAULT;1.1;AES256
        6162
    right: {pap_environment: staging, pap_rehearse: "no", pap_api_image: "{{ a_later_fact }}", backup_dir: /srv}
    own: {pap_environment: staging, pap_region: eu, pap_own_variables: [pap_region]}
  vars: {ansible_connection: local, pap_models: [x], pap_smoke_username: a, pap_smoke_password: b}
"""


def test_each_host_is_told_its_own_problems(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    (tmp_path / "play.yml").write_text(f"- import_playbook: {ROOT}/playbooks/begin.yml\n")
    ansible = Path(sys.executable).parent / "ansible-playbook"
    done = subprocess.run(
        [ansible, "-i", tmp_path / "hosts.yml", tmp_path / "play.yml", "-e", "serial_number=1"],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1", "COLUMNS": "300"},
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    of = {host: [line for line in done.stdout.splitlines() if line.startswith(f"{host} ")] for host in
          ("wrong", "without", "sealed", "right", "own")}  # fmt: skip
    told = "\n".join(of["wrong"])
    for part in (
        "backup_prof is not a variable of pap-deploy. Did you mean backup_proof?",
        "pap_db_nme is not a variable of pap-deploy. Did you mean pap_db_name?",
        "pap_environment is 'Production', which is not production",
        "pap_rehearse must be one of true, false.",
        "pap_smoke_password is empty.",
    ):
        assert part in told
    assert "pap_environment is missing: development, staging, production" in "\n".join(of["without"])
    assert "pap_smoke_password cannot be decrypted" in "\n".join(of["sealed"])
    # The hosts that are left are told of two environments, and of nothing else.
    assert "This run would touch 2 environments (Production, staging)" in "\n".join(of["right"] + of["own"])
    assert "is not a variable" not in "\n".join(of["right"] + of["own"])
