"""The first module on a host that cannot run there: as whom, with which Python, and what to do."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

_spec = importlib.util.spec_from_file_location("action_pap_package", ROOT / "plugins" / "action" / "pap_package.py")
assert _spec and _spec.loader
_action = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_action)
too_old = _action.too_old

OLD = "#!/bin/sh\n[ \"$1\" = -V ] && echo 'Python 3.6.15' && exit\necho 'SyntaxError: invalid syntax' >&2\nexit 1\n"
BROKEN = "#!/bin/sh\necho 'libpython3.so: cannot open shared object file' >&2\nexit 127\n"
INVENTORY = """\
all:
  hosts:
    old: {{ansible_python_interpreter: {folder}/old}}
    broken: {{ansible_python_interpreter: {folder}/broken}}
    missing: {{ansible_python_interpreter: {folder}/missing}}
    nobody:
      ansible_python_interpreter: {python}
      ansible_become: true
      ansible_become_method: su
      ansible_become_exe: {folder}/su
      ansible_become_user: pap-nobody
    full:
      ansible_python_interpreter: {python}
      ansible_become: true
      ansible_become_method: su
      ansible_become_exe: {folder}/works
      pap_state_dir: /dev/null/state
  vars: {{ansible_connection: local, pap_environment: staging, pap_models: [x], pap_smoke_username: a, pap_smoke_password: b}}
"""
SU = "#!/bin/sh\necho 'su: user pap-nobody does not exist' >&2\nexit 1\n"
WORKS = '#!/bin/sh\nfor last; do :; done\nHOME=/dev/null exec sh -c "$last"\n'


def test_versions() -> None:
    assert too_old("Python 3.9.2\n", "python3") is None and too_old("Python 3.13.0", "python3") is None
    assert too_old("", "python3") is None
    for version in ("2.7.18", "3.6.15", "3.8.18"):
        said = too_old(f"Python {version}", "/usr/bin/python3")
        assert said and "needs 3.9 or newer" in said[0] and "ansible_python_interpreter" in said[1]


@pytest.mark.timeout(120)
def test_each_host_is_told_why_it_cannot_be_used(tmp_path: Path) -> None:
    for name, text in (("old", OLD), ("broken", BROKEN), ("su", SU), ("works", WORKS)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "hosts.yml").write_text(INVENTORY.format(folder=tmp_path, python=sys.executable))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", tmp_path / "hosts.yml", ROOT / "history.yml"],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1", "COLUMNS": "300",
             "ANSIBLE_BECOME_ALLOW_SAME_USER": "true"},
        cwd=ROOT, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    of = {
        host: "\n".join(line for line in done.stdout.splitlines() if line.startswith(f"{host} "))
        for host in ("old", "broken", "missing", "nobody", "full")
    }
    assert "The Python of the target host is 3.6" in of["old"] and "needs 3.9 or newer there" in of["old"]
    assert "libpython3.so" in of["broken"] and f"{tmp_path}/broken" in of["broken"]
    assert "/missing' was not found" in of["missing"] and "ansible_python_interpreter" in of["missing"]
    assert "as user pap-nobody, by su" in of["nobody"] and "--ask-become-pass" in of["nobody"]
    full = of.pop("full")
    assert "cannot be unpacked to /dev/null" in full and "Free some room" in full
    assert "become" not in full, "the module ran as that user"
    assert all("Next: " in said for said in of.values()) and "Traceback" not in done.stdout + done.stderr
