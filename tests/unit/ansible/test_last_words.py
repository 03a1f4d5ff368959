"""An interrupted run says last where its stacks stand, whatever the signal, and with the default callback."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from support import ROOT

PATH = ROOT / "plugins" / "plugin_utils" / "pap_last_words.py"
SLOW = "#!/bin/sh\ntouch {folder}/here\nexec sleep 60\n"
PLAY = """\
- hosts: all
  gather_facts: false
  tasks:
    - pap_rollback: {{stack: {{code: /nowhere, state_dir: {folder}/state}}, release: R-1}}
"""


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, without its ears."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("atexit.register", lambda *_, **__: None)
    spec = importlib.util.spec_from_file_location("last_words", PATH)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "last_words", made)
    spec.loader.exec_module(made)
    return made


# What was noted, and how the line of the stack goes on; nothing where there is none.
CASES: dict[str, tuple[list[tuple[str, str, bool] | tuple[str, str, bool, bool]], str]] = {
    "a status": ([("status", "", True)], ""),
    "in a backup of no release": ([("backup", "", False)], "pap: backup was interrupted. It had changed nothing"),
    "in the preflight": ([("preflight", "", False)], "pap: preflight was interrupted."),
    "in the backup": (
        [("rollback", "", True), ("preflight", "", False), ("preflight", "", True), ("backup", "R-2", False)],
        "pap: release R-2 was interrupted in backup. The API and the database are as they were.",
    ),
    "in the migration": (
        [("preflight", "", False), ("preflight", "", True), ("migrate", "R-2", False)],
        "pap: release R-2 was interrupted in migrate. The API may be stopped and the database fenced",
    ),
    "after the migration": (
        [("migrate", "R-2", False), ("migrate", "R-2", True), ("validate", "R-2", False)],
        "pap: release R-2 was interrupted in validate. The API may be stopped",
    ),
    "in a rollback by hand": ([("rollback", "", False)], "pap: the work was interrupted in rollback. The API may be"),
    "in the report": (
        [("migrate", "R-2", False), ("finish", "R-2", False), ("finish", "R-2", True), ("report", "R-2", False)],
        "pap: interrupted in report; the release had ended before.",
    ),
    "after all": ([("finish", "R-2", False), ("finish", "R-2", True)], ""),
    "after a preflight that failed": ([("preflight", "", False), ("preflight", "", False, True)], ""),
    "after it was told of, too": (
        [("preflight", "", False), ("preflight", "", False, True), ("mail", "", False), ("mail", "", True)], "",
    ),
    "after a status that failed": ([("status", "", False), ("status", "", False, True)], ""),
    "after a backup that failed": (
        [("preflight", "", False), ("preflight", "", True), ("backup", "R-2", False), ("backup", "R-2", False, True)],
        "pap: release R-2 failed in backup. The API and the database are as they were.",
    ),
    "in the rollback of what failed": (
        [("migrate", "R-2", False), ("migrate", "R-2", False, True), ("rollback", "R-2", False)],
        "pap: release R-2 was interrupted in rollback. The API may be stopped",
    ),
    "in the mail of a rollback that failed": (
        [("migrate", "R-2", False), ("rollback", "R-2", False), ("rollback", "R-2", False, True), ("mail", "", False)],
        "pap: release R-2 failed in rollback. The API may be stopped",
    ),
    "in the mail of a rollback by hand that failed": (
        [("rollback", "", False), ("rollback", "", False, True), ("mail", "", False)], "",
    ),
    "after a report that failed": (
        [("finish", "R-2", False), ("finish", "R-2", True), ("report", "R-2", False), ("report", "R-2", False, True)], "",
    ),
    "after a refusal without a receipt": (
        [("preflight", "", False), ("preflight", "", True), ("receipt", "R-2", False), ("receipt", "R-2", False, True)], "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_words(said: ModuleType, case: str) -> None:
    noted, begins = CASES[case]
    lines = said.words([said.Note("pap", *note) for note in noted])
    assert bool(lines) == bool(begins)
    if lines:
        assert lines[1].startswith(begins) and "status.yml -l pap" in lines[2] and "rollback.yml" in lines[3]


@pytest.mark.nightly  # seen once to stand still before its first task
@pytest.mark.timeout(90)
def test_what_failed_was_not_interrupted(tmp_path: Path) -> None:
    """The first stack fails, at once; the run is interrupted in the second."""
    for name, text in (("slow", SLOW), ("play.yml", PLAY)):
        (tmp_path / name).write_text(text.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    play = (tmp_path / "play.yml").read_text().replace("release: R-1", 'release: "{{ release }}"')
    (tmp_path / "play.yml").write_text(play.replace("hosts: all", "hosts: all\n  strategy: free"))
    common = "ansible_connection=local ansible_python_interpreter="
    (tmp_path / "hosts").write_text(
        f"bare release='' {common}/bin/false\nbegun release=R-2 {common}/bin/false\nslow release=R-1 {common}{tmp_path}/slow\n"
    )
    with (tmp_path / "said").open("w") as out:
        run = subprocess.Popen(
            [Path(sys.executable).parent / "ansible-playbook", "-i", tmp_path / "hosts", tmp_path / "play.yml"],
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "default"},
            cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
    limit = time.monotonic() + 60
    while not (tmp_path / "here").exists() or (tmp_path / "said").read_text().count("fatal: ") < 2:
        assert run.poll() is None and time.monotonic() < limit, (tmp_path / "said").read_text()
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGTERM)
    run.wait(20)
    lines = [line for line in (tmp_path / "said").read_text().splitlines() if line]
    assert lines[-4].startswith("begun: release R-2 failed in rollback."), lines
    assert lines[-3].startswith("slow: release R-1 was interrupted in rollback.")
    assert lines[-2].endswith("status.yml -l begun,slow")


@pytest.mark.parametrize(("number", "code"), [("INT", 99), ("TERM", -signal.SIGTERM), ("HUP", -signal.SIGHUP)])
@pytest.mark.timeout(90)
def test_a_run_that_is_interrupted(tmp_path: Path, number: str, code: int) -> None:
    for name, text in (("slow", SLOW), ("play.yml", PLAY)):
        (tmp_path / name).write_text(text.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    (tmp_path / "hosts").write_text(f"pap ansible_connection=local ansible_python_interpreter={tmp_path}/slow\n")
    run = subprocess.Popen(
        [Path(sys.executable).parent / "ansible-playbook", "-i", tmp_path / "hosts", tmp_path / "play.yml"],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "default"},
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    limit = time.monotonic() + 60
    while not (tmp_path / "here").exists():
        assert run.poll() is None and time.monotonic() < limit, run.communicate()[0]
        time.sleep(0.05)
    os.killpg(run.pid, getattr(signal, f"SIG{number}"))
    said = run.communicate(timeout=20)[0]
    assert run.returncode == code, said
    lines = [line for line in said.splitlines() if line]
    assert lines[-3].startswith("pap: release R-1 was interrupted in rollback. The API may be stopped"), said
    assert "ansible-playbook status.yml -l pap" in lines[-2] and "rollback.yml" in lines[-1]
    assert said.count("was interrupted in") == 1, "by one process only"
