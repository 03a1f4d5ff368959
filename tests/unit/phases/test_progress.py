"""The line that a long phase keeps while it works."""

from __future__ import annotations

import importlib
import json
import os
import pty
import stat
import subprocess
import sys
import termios
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from papdeploy.backup import copy_progress
from papdeploy.core.redact import MASK, Redactor
from papdeploy.phases.progress import Progress, sentence

ROWS = {"event": "progress", "identity": "fill", "rows_done": 0, "rows_total": 9000, "estimated": True}


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"event": "step", "step": "migrating the copy"}, "migrating the copy"),
        (
            {"event": "copying", "dumped": 40_000_000, "made": 250_000_000, "of": 1_000_000_000, "seconds": 10.0},
            "dumped 40.0 MB, restored 250.0 MB of about 1.0 GB, 25.0 MB/s, about 30 s left",
        ),
        (
            {"event": "copying", "dumped": 40_000_000, "made": 0, "of": 1_000_000_000, "seconds": 10.0},
            "dumped 40.0 MB, 4.0 MB/s",
        ),
        # a copy may become larger than its original: nothing is left then, and nothing is below zero
        (
            {"event": "copying", "dumped": 0, "made": 1_100_000_000, "of": 1_000_000_000, "seconds": 10.0},
            "restored 1.1 GB of about 1.1 GB, 110.0 MB/s",
        ),
        ({"event": "copying", "dumped": 0, "made": 0, "of": 1, "seconds": 0.0}, ""),
        (
            {**ROWS, "rows_done": 3000, "rows_per_second": 20.0},
            "fill: 3,000 of about 9,000 rows, 20 rows/s, 5 min left",
        ),
        ({**ROWS, "rows_done": 9000, "rows_per_second": 0}, "fill: 9,000 of about 9,000 rows, 0 rows/s"),
        ({"event": "checked", "matches": True}, ""),
    ],
)
def test_sentences(event: dict[str, Any], said: str) -> None:
    assert sentence(event) == said


def test_the_file_is_private_and_goes_with_the_phase(tmp_path: Path) -> None:
    file = tmp_path / "progress-backup"
    file.write_text("of a run that was killed")
    with Progress(tmp_path, "backup") as say:
        assert not file.exists()
        say({"event": "step", "step": "one\ntwo"})
        assert file.read_text() == "one two\n" and stat.S_IMODE(file.stat().st_mode) == 0o600
        for done in range(1000):  # the pieces of a backfill follow each other fast: the file is not written for each
            say({**ROWS, "rows_done": done, "rows_per_second": 20.0})
        assert file.read_text() == "one two\n"
        say({"event": "step", "step": "three"})
        assert file.read_text() == "three\n"
    assert list(tmp_path.iterdir()) == []


def test_the_line_shows_no_secret_and_obeys_no_migration(tmp_path: Path) -> None:
    with Progress(tmp_path, "migrate", Redactor(["hunter2x"])) as say:
        say({"event": "output", "identity": "a", "line": "\x1b[2K done hunter2x\rfinished  \u202e"})
        assert (tmp_path / "progress-migrate").read_text() == f"a: \\x1b[2K done {MASK} finished \\u202e\n"


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    with Progress(tmp_path / "gone", "backup") as say:
        say({"event": "step", "step": "one"})


def test_a_copy_is_told_of_while_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([100, 200])
    monkeypatch.setattr(copy_progress, "_bytes", lambda copy: next(sizes, 300))
    heard: list[dict[str, Any]] = []
    enough = threading.Event()

    def emit(event: dict[str, Any]) -> None:
        heard.append(event)
        if len(heard) == 2:
            enough.set()

    copy: Any = object()
    with copy_progress.told(emit, copy, of=300, dumped=lambda: 7, every_s=0.01):
        assert enough.wait(30)
    assert [event["made"] for event in heard[:2]] == [100, 200]
    assert {(event["event"], event["dumped"], event["of"]) for event in heard} == {("copying", 7, 300)}


class Shown:
    """The action plugin with a module and a target host that are not there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, width: int, hosts: int = 1) -> None:
        self.plugin = importlib.import_module("pap_progress")
        self.said: list[str] = []
        self.looked: list[str] = []
        self.enough = threading.Event()
        monkeypatch.setattr(self.plugin, "WIDTH", width)
        monkeypatch.setattr(self.plugin, "_FIRST_S", 0.001)
        monkeypatch.setattr(self.plugin, "LOG_EVERY_S", 0.001)
        monkeypatch.setattr(self.plugin.display, "display", lambda text, **_: self.said.append(text))
        monkeypatch.setattr(self.plugin.Normal, "run", lambda *_: {"waited": self.enough.wait(30)})
        monkeypatch.setattr(self.plugin.ActionModule, "read", lambda _, path: self._read(path))
        self.lines: list[Any] = []
        self.hosts = [f"stack-{number}" for number in range(hosts)]

    def _read(self, path: str) -> str:
        self.looked.append(path)
        if not self.lines:
            self.enough.set()
            return ""
        line = self.lines.pop(0)
        if isinstance(line, Exception):
            self.enough.set()
            raise line
        return str(line)

    def run(self) -> dict[str, Any]:
        action = self.plugin.ActionModule.__new__(self.plugin.ActionModule)
        action._connection = SimpleNamespace(become=None)
        action._task = SimpleNamespace(
            action="pap_backup", args={"stack": {"state_dir": "/var/lib/pap-deploy/x", "who": {"pid": 1}, "code": "/x"}}
        )
        found = action.run(None, {"ansible_play_hosts_all": self.hosts, "inventory_hostname": self.hosts[0]})
        assert found == {"waited": True}
        return dict(found)


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "plugins" / "action"))


def test_on_a_terminal_one_line_is_drawn_anew_and_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown(monkeypatch, width=60)
    shown.lines = ["dumped 1 MB", "dumped 2 MB, and so much more that it is longer than the line"]
    shown.run()
    assert set(shown.looked) == {"/var/lib/pap-deploy/x/progress-backup"}
    assert all(text.startswith("\r\x1b[K") for text in shown.said) and shown.said[-1] == "\r\x1b[K"
    assert shown.said[0].endswith("backup            0:00 dumped 1 MB")
    assert len(shown.said) == 3 and len(shown.said[1]) <= 60 + len("\r\x1b[K"), "a line that wraps could not be wiped"


@pytest.mark.parametrize(("hosts", "head"), [(1, "backup"), (3, "stack-0  backup")])
def test_in_a_log_a_line_is_printed_from_time_to_time(monkeypatch: pytest.MonkeyPatch, hosts: int, head: str) -> None:
    shown = Shown(monkeypatch, width=0 if hosts == 1 else 100, hosts=hosts)
    shown.lines = ["dumped 1 MB", "dumped 1 MB", "dumped 2 MB"]
    shown.run()
    assert [text[-11:] for text in shown.said] == ["dumped 1 MB", "dumped 1 MB", "dumped 2 MB"]
    assert all(text.startswith(f"{head} ") and "\r" not in text for text in shown.said)


def test_a_failed_reading_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown(monkeypatch, width=60)
    shown.lines = ["dumped 1 MB", OSError("the connection is gone")]
    shown.run()
    assert shown.said[-1] == "\r\x1b[K" and len(shown.said) == 2


MODULE = """#!/usr/bin/python
import json, pathlib, sys, time
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({"stack": {"type": "dict"}})
folder = pathlib.Path(module.params["stack"]["state_dir"])
(folder / "progress-backup").write_text("dumped 1 MB of 2 MB\\n")
for _ in range(600):
    if (folder / "seen").exists():
        break
    time.sleep(0.1)
module.exit_json(changed=False, msg="made")
"""


def test_on_a_real_terminal_under_ansible_itself(tmp_path: Path) -> None:
    """Nothing is faked here but the module: the plugin uses what Ansible gives no promise for."""
    root = Path(__file__).parents[3]
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "pap_backup.py").write_text(MODULE)
    task = {"pap_backup": {"stack": {"state_dir": str(tmp_path), "who": {"pid": 1}, "code": "/x"}}, "register": "made"}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False,
            "vars": {"ansible_python_interpreter": sys.executable}, "tasks": [task]}  # fmt: skip
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "AWX_ISOLATED_DATA_DIR")}
    environment.update(
        TERM="xterm", ANSIBLE_LIBRARY=str(tmp_path / "library"), ANSIBLE_CONFIG=str(tmp_path / "none.cfg"),
        ANSIBLE_ACTION_PLUGINS=str(root / "plugins" / "action"),
    )  # fmt: skip
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    play_it: list[str | Path] = [Path(sys.executable).parent / "ansible-playbook", "play.yml"]
    with subprocess.Popen(
        play_it, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=end, stderr=end
    ) as run:
        os.close(end)
        said = b""
        while True:
            try:
                said += os.read(terminal, 4096)
            except OSError:  # the other end is closed
                break
            if b"dumped 1 MB of 2 MB" in said:
                (tmp_path / "seen").touch()
    os.close(terminal)
    assert run.returncode == 0, said.decode()
    assert b"\r\x1b[Kbackup            0:0" in said and b"dumped 1 MB of 2 MB" in said, said.decode()
    assert b"ok: [localhost]" in said.rpartition(b"dumped")[2], "it is wiped, and the task's own line comes after it"
