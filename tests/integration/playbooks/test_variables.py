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
    locked:
      pap_environment: staging
      ansible_become_password: "{{ vault_become }}"
      vault_become: !vault |
        $ANSIBLE_VAULT;1.1;AES256
        6162
    right: {pap_environment: staging, pap_rehearse: "no", pap_api_image: "{{ a_later_fact }}", backup_dir: /srv}
    sandboxed: {pap_environment: staging, pap_sandbox: "{{ 1 == 1 }}"}
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
          ("wrong", "without", "sealed", "locked", "right", "sandboxed", "own")}  # fmt: skip
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
    assert "watch_runner is auto, and a sandbox installs no timer" in "\n".join(of["sandboxed"])
    assert "pap_smoke_password cannot be decrypted" in "\n".join(of["sealed"])
    assert "ansible_become_password (from vault_become) cannot be decrypted" in "\n".join(of["locked"])
    # The hosts that are left are told of two environments, and of nothing else.
    assert "This run would touch 2 environments (Production, staging)" in "\n".join(of["right"] + of["own"])
    assert "is not a variable" not in "\n".join(of["right"] + of["own"])


SET_IN = {
    "group_vars/all.yml": "backup_kep: 3\npap_schema_options: {fail_onn: error}\n",
    "host_vars/shop.yml": "watch_hourss: 3\npap_stop_after_failure: 'flase'\nbackup_encrypt: {methd: age}\n",
    "hosts.yml": """\
all:
  hosts: {shop: {ansible_connection: local, pap_environment: staging, receipt_requird: true}}
  children: {shops: {hosts: {shop: {}}, vars: {rehearse_dataa: full}}}
""",
    "begin.yml": f"- import_playbook: {ROOT}/playbooks/begin.yml\n",
}
OWN = {
    "vars.yml": "finish_keep_container: 2\n",
    "play.yml": """\
- hosts: all
  gather_facts: false
  vars: {migrate_lock_timeout: 3}
  vars_files: [vars.yml]
  roles:
    - {role: backup, backup_prof: none}
""",
}


def test_wherever_a_variable_is_set(tmp_path: Path) -> None:
    for name, text in {**SET_IN, **OWN}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    ansible = Path(sys.executable).parent / "ansible-playbook"

    def told(playbook: str, *words: str) -> str:
        done = subprocess.run(
            [ansible, "-i", tmp_path / "hosts.yml", tmp_path / playbook, *words],
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"},
            cwd=ROOT, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 2, done.stdout + done.stderr
        return done.stdout

    said = told("begin.yml", "-e", "preflight_forse=true", "-e", "pap_rehearse=ture")
    near = {
        "backup_kep": "backup_keep", "watch_hourss": "watch_hours", "receipt_requird": "receipt_required",
        "rehearse_dataa": "rehearse_data", "preflight_forse": "preflight_force",
    }  # fmt: skip
    for wrong, right in near.items():
        assert f"{wrong} is not a variable of pap-deploy. Did you mean {right}?" in said
    assert "pap_schema_options.fail_onn is not known. Did you mean pap_schema_options.fail_on?" in said
    assert "backup_encrypt.methd is not known. Did you mean backup_encrypt.method?" in said
    for switch in ("pap_rehearse", "pap_stop_after_failure"):
        assert f"{switch} must be one of true, false." in said

    (
        tmp_path / "group_vars" / "all.yml"
    ).unlink()  # a type that is wrong is refused by Ansible itself in a play of one's own
    (tmp_path / "host_vars" / "shop.yml").unlink()
    said = told("play.yml")
    near = {"migrate_lock_timeout": "migrate_lock_timeout_s", "finish_keep_container": "finish_keep_containers",
            "backup_prof": "backup_proof"}  # fmt: skip
    for wrong, right in near.items():
        assert f"{wrong} is not a variable of pap-deploy. Did you mean {right}?" in said
