"""Run a module and show what it says: its progress while it runs, and its lines where another callback would hide them.

What a task of a user's own leaves out of the option ``stack`` is filled in: its name, its folder, whose run it is, and
the package, which is sent first.

The module runs as it always does. Beside a long one a thread reads the line that the module keeps in
``<state_dir>/progress-<phase>`` on the target host (papdeploy/phases/progress.py), over the same connection. If the
reading fails nothing is shown, and nothing else happens. On a terminal the line is drawn anew in place; elsewhere one
line a minute is printed.

The callback ``pap_phases`` prints the lines that a module returns; where the stdout callback is another one, this does,
because most of them show no more of a result than ``ok``. Nothing is printed beside JSON.

The plugins of the modules' names are links to this file: Ansible finds an action plugin by the module's name.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import json
import os
import shlex
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible.plugins.action.normal import ActionModule as Normal
from ansible.plugins.loader import action_loader, lookup_loader
from ansible.utils.display import Display

HOME = Path(__file__).resolve().parents[2] / "module_utils"
_spec = importlib.util.spec_from_file_location("pap_visible", HOME / "papdeploy" / "core" / "visible.py")
assert _spec and _spec.loader
_visible = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_visible)
_LAST_WORDS = Path(__file__).resolve().parents[1] / "plugin_utils" / "pap_last_words.py"
if "pap_last_words" not in sys.modules:  # one for all links to this file
    _spec = importlib.util.spec_from_file_location("pap_last_words", _LAST_WORDS)
    assert _spec and _spec.loader
    sys.modules["pap_last_words"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["pap_last_words"])
_last_words: Any = sys.modules["pap_last_words"]
display = Display()

STATE = "/var/lib/pap-deploy"
LOG_EVERY_S = 60.0
_FIRST_S, _SLOWEST_S = 1.0, 5.0
_CLEAR = "\r\x1b[K"
_LONG = ("backup", "rehearse", "migrate", "login_smoke_test", "rollback")


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
    """The modules ``pap_*`` run by this."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> Any:
        variables = task_vars or {}
        self._note(variables)
        try:
            result = self._fill_in(variables) or self._run_shown(tmp, variables)
        except Exception:  # not what interrupts
            self._note(variables, failed=True)
            raise
        failed = bool(result.get("failed") or result.get("unreachable"))
        self._note(variables, ended=not failed, failed=failed)
        return result

    def _note(self, variables: dict[str, Any], *, ended: bool = False, failed: bool = False) -> None:
        """For the last words of a run that is interrupted."""
        host, release = str(variables.get("inventory_hostname", "")), str(self._task.args.get("release") or "")
        _last_words.NOTES.add(_last_words.Note(host, self._phase, release, ended, failed))

    def _run_shown(self, tmp: Any, variables: dict[str, Any]) -> Any:
        callback = str(C.DEFAULT_STDOUT_CALLBACK).rpartition(".")[2]
        if "json" in callback:
            return super().run(tmp, variables)
        if self._phase not in _LONG:
            result = super().run(tmp, variables)
        else:
            result = self._with_progress(tmp, variables)
        if callback != "pap_phases" and not self._task.no_log:
            self._print(result, variables)
        return result

    @property
    def _phase(self) -> str:
        return str(self._task.action).rpartition(".")[2].removeprefix("pap_")

    def _fill_in(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """Complete the option ``stack``. Returns the result of sending the package if that failed, else nothing."""
        given = self._task.args.get("stack")
        if not isinstance(given, dict):
            return {}
        stack = self._task.args["stack"] = dict(given)
        stack["name"] = stack.get("name") or task_vars["inventory_hostname"]
        stack["state_dir"] = stack.get("state_dir") or f"{STATE}/{stack['name']}"
        stack["who"] = stack.get("who") or self._looked_up("pap_who", task_vars)
        if not stack.get("code"):
            sent = self._sent(f"{stack['state_dir']}/code", task_vars)
            if sent.get("failed") or sent.get("unreachable"):
                return sent
            stack["code"] = sent["code"]
        return {}

    def _sent(self, otherwise: str, task_vars: dict[str, Any]) -> dict[str, Any]:
        """The result of the task that sends the package, which the role ``stack`` has of its own."""
        task = self._task.copy()
        task.args = {**self._looked_up("pap_package", task_vars), "otherwise": otherwise}
        task.action = f"{self._namespace}pap_package"
        parts = {name: getattr(self, f"_{name}") for name in ("connection", "play_context", "loader", "templar")}
        action = action_loader.get(task.action, task=task, shared_loader_obj=self._shared_loader_obj, **parts)
        return dict(action.run(task_vars=task_vars))

    @property
    def _namespace(self) -> str:
        """What stands before the names of our plugins: nothing in a project, ``pap.deploy.`` in a collection."""
        space, _, _ = str(self._task.resolved_action or self._task.action).rpartition("pap_")
        return "" if space.startswith("ansible.") else space

    def _looked_up(self, name: str, task_vars: dict[str, Any]) -> Any:
        lookup = lookup_loader.get(f"{self._namespace}{name}", loader=self._loader, templar=self._templar)
        return lookup.run([], task_vars)[0]

    def _with_progress(self, tmp: Any, task_vars: dict[str, Any]) -> Any:
        over = threading.Event()
        thread = threading.Thread(target=self._show, args=(task_vars, over), daemon=True)
        thread.start()
        try:
            return super().run(tmp, task_vars)
        finally:
            over.set()
            thread.join(2)

    def _print(self, result: dict[str, Any], task_vars: dict[str, Any]) -> None:
        """The lines of a result, or what to do after a failure, as the callback ``pap_phases`` has them."""
        said = result.get("pap") or {}
        said = json.loads(said) if isinstance(said, str) else said
        lines = [str(line) for line in said.get("lines") or ()]
        if result.get("failed") and result.get("hint"):
            data = result.get("data")
            details = data.get("lines") if isinstance(data, dict) else ()
            lines += [f"Next: {result['hint']}", *(str(line) for line in details or ())]
        if said and not said.get("phase"):  # of all stacks
            for line in lines:
                display.display(_visible.visible(line))
            return
        front = "" if _alone(task_vars) else f"{task_vars.get('inventory_hostname', '')}  "
        head = str(said.get("phase") or self._phase)
        for number, line in enumerate(lines):
            display.display(f"{front}{'' if number else head:<17} {_visible.visible(line)}")

    def _show(self, task_vars: dict[str, Any], over: threading.Event) -> None:
        alone = _alone(task_vars)
        width = WIDTH if alone else 0
        head = "" if alone else f"{task_vars.get('inventory_hostname', '')}  "
        phase = self._phase
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


def _alone(task_vars: dict[str, Any]) -> bool:
    return len(task_vars.get("ansible_play_hosts_all") or ()) <= 1
