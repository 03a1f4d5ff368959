"""Run a long module and show meanwhile what it says of its progress.

The module runs as it always does; beside it a thread reads the line that the module keeps in
``<state_dir>/progress-<phase>`` on the target host (papdeploy/phases/progress.py), over the same connection. If the
reading fails nothing is shown, and nothing else happens. On a terminal the line is drawn anew in place; elsewhere one
line a minute is printed.

The plugins of the modules' names are links to this file: Ansible finds an action plugin by the module's name.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import os
import shlex
import threading
import time
from pathlib import Path
from typing import Any

from ansible.plugins.action.normal import ActionModule as Normal
from ansible.utils.display import Display

HOME = Path(__file__).resolve().parents[2] / "module_utils"
_spec = importlib.util.spec_from_file_location("pap_visible", HOME / "papdeploy" / "core" / "visible.py")
assert _spec and _spec.loader
_visible = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_visible)
display = Display()

LOG_EVERY_S = 60.0
_FIRST_S, _SLOWEST_S = 1.0, 5.0
_CLEAR = "\r\x1b[K"


def _terminal_width() -> int:
    """Columns of the terminal; 0 where the output is a log. Asked at import: the workers have no terminal any more."""
    logged = os.environ.get("CI") or os.environ.get("AWX_ISOLATED_DATA_DIR") or os.environ.get("TERM") == "dumb"
    if not logged:
        with contextlib.suppress(OSError):
            if os.isatty(1):
                return os.get_terminal_size(1).columns
    return 0


WIDTH = _terminal_width()


class ActionModule(Normal):
    """The modules ``pap_backup``, ``pap_rehearse``, ``pap_migrate``, ``pap_login_smoke_test`` and ``pap_rollback`` run
    by this."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> Any:
        over = threading.Event()
        thread = threading.Thread(target=self._show, args=(task_vars or {}, over), daemon=True)
        thread.start()
        try:
            return super().run(tmp, task_vars)
        finally:
            over.set()
            thread.join(2)

    def _show(self, task_vars: dict[str, Any], over: threading.Event) -> None:
        alone = len(task_vars.get("ansible_play_hosts_all") or []) <= 1
        width = WIDTH if alone else 0
        head = "" if alone else f"{task_vars.get('inventory_hostname', '')}  "
        phase = self._task.action.rpartition(".")[2].removeprefix("pap_")
        started, pause, drawn = time.monotonic(), _FIRST_S, False
        with contextlib.suppress(Exception):  # whatever is wrong with the reading, the module goes on
            reader = self._beside()
            path = f"{self._task.args['stack']['state_dir']}/progress-{phase}"
            while not over.wait(pause if width else LOG_EVERY_S):
                pause = min(pause * 1.2, _SLOWEST_S)
                line = reader.read(path)
                if line and not over.is_set():
                    passed = int(time.monotonic() - started)
                    text = f"{head}{phase:<17} {passed // 60}:{passed % 60:02} {line}"
                    if width:
                        display.display(f"{_CLEAR}{text[: width - 1]}", newline=False, screen_only=True)
                        drawn = True
                    else:
                        display.display(text, screen_only=True)
        if drawn:
            display.display(_CLEAR, newline=False, screen_only=True)

    def _beside(self) -> ActionModule:
        """This action with a connection of its own state: two commands at once must not share a password prompt."""
        beside = copy.copy(self)
        beside._connection = copy.copy(self._connection)
        if getattr(beside._connection, "become", None):
            beside._connection.become = copy.copy(beside._connection.become)
        return beside

    def read(self, path: str) -> str:
        """The line in the file ``path`` on the target host; empty if there is none."""
        found = self._low_level_execute_command(f"cat {shlex.quote(path)} 2>/dev/null", sudoable=True)
        return str(_visible.visible(found["stdout"].strip())) if found["rc"] == 0 else ""
