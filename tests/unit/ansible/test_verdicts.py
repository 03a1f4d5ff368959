"""The last play of a deploy: what each stack is called, and that each is called something.

The playbook is the real one; its roles are replaced by ones that do nothing but say what the next task needs, and fail
where they are told to. What the roles do has tests of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

OPEN = "- {ansible.builtin.set_fact: {pap_release: R-1}}\n"
FAILS = "- {name: %s, ansible.builtin.fail: {msg: it is away}, when: fails | default('') == '%s'}\n"
ROLES = {
    "preflight/tasks/main": FAILS % ("", "preflight") + OPEN,
    "finish/tasks/main": "- {ansible.builtin.debug: {msg: }, register: __finish}\n",
    "watch/tasks/start": FAILS % ("Detach", "watch"),
    "receipt/tasks/write": FAILS % ("Sign", "receipt"),
    **{
        f"{name}/tasks/{tasks}": "[]\n"
        for name, tasks in (
            *((name, "main") for name in ("backup", "rehearse", "migrate", "activate", "login_smoke_test", "validate")),
            *((name, "main") for name in ("receipt", "report", "notify", "rollback")),
            *(("watch", tasks) for tasks in ("prepare", "first")),
            ("report", "trace"),
        )
    },
}
INVENTORY = """\
all:
  vars: {{ansible_connection: local, ansible_python_interpreter: {python}, pap_environment: staging, pap_models: [x],
    pap_smoke_username: a, pap_smoke_password: b}}
  children:
    fleet:
      hosts:
        pap-1: {{fails: receipt}}
        pap-2: {{fails: watch}}
        pap-3: {{pap_sandbox: true, pap_sandbox_home: /dev/null/sandbox, watch_runner: process}}
        pap-4: {{ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1}}
        pap-5: {{fails: preflight}}
        pap-6: {{}}
    one:
      hosts:
        pap-7: {{}}
"""


def play(folder: Path, *options: str) -> tuple[int, str]:
    for name, text in ROLES.items():
        path = folder / "roles" / f"{name}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "hosts.yml").write_text(INVENTORY.format(python=sys.executable))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", folder / "hosts.yml", ROOT / "deploy.yml", *options],
        env={
            **os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_ROLES_PATH": str(folder / "roles"),
            "NO_COLOR": "1", "COLUMNS": "300",
        },
        cwd=ROOT, capture_output=True, text=True, timeout=110, input="y\n" * 20,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def table(said: str) -> dict[str, str]:
    lines = said.splitlines()
    head = lines.index("stack  verdict")
    rows = (line.split(maxsplit=1) for line in lines[head + 1 :] if not line.partition(" : ")[2])
    return {row[0]: row[1] for row in rows if len(row) == 2 and row[0].startswith("pap-")}


@pytest.mark.timeout(120)
def test_what_fails_after_the_deploy_ends_no_run_and_is_not_unreachable(tmp_path: Path) -> None:
    code, said = play(tmp_path, "-l", "fleet", "-e", "pap_serial=1", "-e", "pap_stop_after_failure=false")
    assert code == 4, said  # as one is unreachable
    assert table(said) == {
        "pap-1": "finished, then failed",
        "pap-2": "finished, then failed",
        "pap-3": "failed",
        "pap-4": "unreachable",
        "pap-5": "refused",
        "pap-6": "finished",
    }, said
    for task in ("Sign", "Detach"):
        assert f'Release R-1 is live; failed at "{task}", after the deploy. it is away' in said, said
    assert 'The deploy failed at "ansible.builtin.fail".' in said, said
    assert "not begun" not in said


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "options",
    [
        ("--start-at-task", "Backup (2/9)"),
        ("--start-at-task", "Notify: deploy started"),
        ("--skip-tags", "always"),
        ("--step",),
    ],
)
def test_a_part_is_refused_where_the_check_was_skipped(tmp_path: Path, options: tuple[str, ...]) -> None:
    stacks = "fleet" if "always" in options else "one"
    code, said = play(tmp_path, "-l", stacks, "-e", "ansible_connection=local", *options)
    assert code == 2, said
    assert f"{' '.join(options)} " in said and "would run a part of this playbook." in said, said
    assert "Nothing was done." in said
    assert "The deploy failed" not in said and "rescued=1" not in said, said
    assert stacks == "one" or table(said)["pap-6"] == "refused", said
