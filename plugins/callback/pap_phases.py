"""Print a deploy as the list of its phases and what each found."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible.plugins.callback.default import CallbackModule as Default

DOCUMENTATION = r"""
name: pap_phases
type: stdout
short_description: Print a deploy as the list of its phases and what each found
version_added: "0.1.0"
author: pap-deploy authors
description:
  - Prints the lines that the C(pap_*) modules return, and what failed with the next step.
  - Other tasks are silent unless they fail or print on purpose (C(debug)).
  - C(-v) shows everything as the default callback does.
  - Whatever a module or a remote host says, control characters are spelled out, and a message stays within its lines.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
"""


HOME = Path(__file__).resolve().parents[2] / "module_utils"
_spec = importlib.util.spec_from_file_location("pap_visible", HOME / "papdeploy" / "core" / "visible.py")
assert _spec and _spec.loader
_visible = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_visible)
visible, visible_block = _visible.visible, _visible.visible_block


def _shown(item: Any) -> Any:
    return visible_block(item) if isinstance(item, str) else item


class _Screen:
    """Ansible's display for text that came from anywhere: nothing in it acts on the terminal."""

    def __init__(self, display: Any) -> None:
        self.raw = display

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.raw, name)
        if name not in ("display", "banner", "warning", "error", "deprecated"):
            return found

        def shown(message: object, *arguments: Any, **options: Any) -> Any:
            return found(visible_block(str(message)), *arguments, **options)

        return shown


class CallbackModule(Default):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "pap_phases"

    _said: tuple[str, str] = ("", "")
    _failed: tuple[Any, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self._display: Any = _Screen(self._display)
        # In the log of a pipeline each line is there when it is printed, not when a block is full.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)
        self._play: Any = None
        self._begun: set[str] = set()  # hosts that this play has come to, in whatever wave

    @property
    def _verbose(self) -> bool:
        return bool(self._display.verbosity > 0)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        if play is not self._play:  # the next wave is of the same play
            self._begun = set()
        self._play = play
        if self._verbose:
            super().v2_playbook_on_play_start(play)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        if self._verbose:
            super().v2_playbook_on_task_start(task, is_conditional)

    v2_playbook_on_handler_task_start = v2_playbook_on_task_start

    def v2_playbook_on_cleanup_task_start(self, task: Any) -> None:
        if self._verbose:
            super().v2_playbook_on_cleanup_task_start(task)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._begun.add(host.get_name())
        if self._verbose:
            super().v2_runner_on_start(host, task)

    def v2_runner_on_skipped(self, result: Any) -> None:
        if self._verbose:
            super().v2_runner_on_skipped(result)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        if self._verbose:
            super().v2_runner_item_on_skipped(result)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        if self._verbose:
            super().v2_playbook_on_include(included_file)

    def v2_runner_on_ok(self, result: Any) -> None:
        data = result._result
        if "pap" in data:
            self._lines(result._host.get_name(), data["pap"])
            if self._verbose:
                super().v2_runner_on_ok(result)
        elif result._task.action in C._ACTION_DEBUG and "msg" in data:
            for message in data["msg"] if isinstance(data["msg"], list) else [data["msg"]]:
                self._paragraph(result._host.get_name(), str(message))
        elif self._verbose:
            super().v2_runner_on_ok(result)
        self._handle_warnings(data)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        if self._verbose:
            super().v2_runner_item_on_ok(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if ignore_errors and not self._verbose:
            return
        data = result._result
        if "censored" in data and not self._verbose:
            data = {"msg": "what it says is hidden, because it may hold a secret (no_log)"}
        if self._verbose or "msg" not in data:
            super().v2_runner_on_failed(result, ignore_errors)
            return
        host, color = result._host.get_name(), C.COLOR_ERROR
        if "results" in data and isinstance(data["results"], list):
            messages = [str(r.get("msg", "")) for r in data["results"] if r.get("failed")] or [str(data["msg"])]
        else:
            messages = [str(data["msg"])]
        hint = str(data.get("hint") or "")
        if self._failed == (host, messages, hint):  # a rescue that fails again, with what it came to rescue
            return
        self._failed = (host, messages, hint)
        self._show(host, "failed", f"at: {result._task.name or result._task.get_name().strip()}", color)
        for message in messages:
            if hint and message.endswith(hint):
                message = message[: -len(hint)].strip()
            self._paragraph(host, message, color)
        if hint:
            self._paragraph(host, f"Next: {hint}", color)
        detail = data.get("data") or {}
        if isinstance(detail, dict):
            for line in detail.get("lines") or []:
                self._show(host, "", str(line), color)
        if data.get("exception") and "module_stdout" in data:
            self._show(host, "", "Run again with -vvv for the traceback.", color)
        self._handle_warnings(data)

    v2_runner_item_on_failed = v2_runner_on_failed

    def v2_runner_on_unreachable(self, result: Any) -> None:
        host = result._host.get_name()
        why = str(result._result.get("msg", "")).strip()
        self._show(host, "failed", f"{host} cannot be reached: {why}", C.COLOR_UNREACHABLE)
        self._show(
            host, "", "Nothing can be said of this stack until it answers. Run the same command again then: it reads"
            " the journal and ends what was begun.", C.COLOR_UNREACHABLE,
        )  # fmt: skip

    def v2_on_file_diff(self, result: Any) -> None:
        diff = result._result.get("diff")
        if diff and (result._result.get("changed") or "pap" in result._result):
            parts = [diff] if isinstance(diff, dict) else diff
            text = self._get_diff([{key: _shown(item) for key, item in part.items()} for part in parts])
            if text:
                self._display.raw.display(text.rstrip("\n"))  # its colours are ours

    def v2_playbook_on_no_hosts_matched(self) -> None:
        self._display.display("no stack matched: check -l and the inventory", color=C.COLOR_SKIP)

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        if self._verbose:
            super().v2_playbook_on_no_hosts_remaining()

    def v2_playbook_on_stats(self, stats: Any) -> None:
        met = {host for host in stats.processed if stats.failures.get(host) or stats.dark.get(host)}
        left = [host for host in self._hosts() if self._begun and host not in self._begun | met]
        if left:
            self._display.display(
                f"not begun: {', '.join(left)} (the run ended before their turn)", color=C.COLOR_ERROR
            )
        for host in sorted(stats.processed):
            found = stats.summarize(host)
            bad = found["failures"] or found["unreachable"]
            text = (
                f"{host} : ok={found['ok']} changed={found['changed']} unreachable={found['unreachable']} "
                f"failed={found['failures']} skipped={found['skipped']} rescued={found['rescued']}"
            )
            self._display.display(text, color=C.COLOR_ERROR if bad else C.COLOR_OK)

    def _lines(self, host: str, pap: Any) -> None:
        if isinstance(pap, str):
            pap = json.loads(pap)
        color = {"failed": C.COLOR_ERROR, "warning": C.COLOR_WARN}.get(pap.get("status", ""))
        for line in pap.get("lines") or []:
            if not pap.get("phase"):  # of all stacks
                self._display.display(visible(str(line)), color=color)
                continue
            self._show(host, pap.get("phase", ""), str(line), color)

    def _paragraph(self, host: str, text: str, color: str | None = None) -> None:
        """A text of one or more lines. The later ones are marked, so that no text makes a line of its own."""
        first, *rest = text.strip("\n").split("\n")
        self._show(host, "", first, color)
        for line in rest:
            self._show(host, "", f"| {line}", color)

    def _show(self, host: str, phase: str, line: str, color: str | None = None) -> None:
        """One line: the phase in a column of its own, named once; the host in front when there are several."""
        many = len(self._hosts()) > 1
        head = phase if self._said != (host, phase) else ""
        if phase:
            self._said = (host, phase)
        front = f"{host}  " if many else ""
        self._display.display(f"{front}{visible(head):<17} {visible(line)}".rstrip(), color=color)

    def _hosts(self) -> list[str]:
        """The hosts of the play, in all its waves."""
        manager = self._play.get_variable_manager() if self._play else None
        inventory = getattr(manager, "_inventory", None)
        found = inventory.get_hosts(self._play.hosts, ignore_restrictions=True) if inventory else []
        return [host.get_name() for host in found]
