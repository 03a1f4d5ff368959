"""Send the package: the first thing that a run does on a target host.

What fails here is mostly not ours: no right to become the user, a Python that is too old or not there. Ansible's words
for it seldom say as whom, with what, and what to do; this adds them.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action.normal import ActionModule as Normal

OLDEST = (3, 9)
_VERSION = re.compile(r"Python (\d+)\.(\d+)")


class ActionModule(Normal):
    """The module ``pap_package`` runs by this."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> Any:
        variables = task_vars or {}
        try:
            result = super().run(tmp, task_vars)
        except AnsibleConnectionFailure:
            raise  # the host is unreachable, and Ansible says so
        except AnsibleError as error:
            result = {"failed": True, "msg": str(error)}
        old = too_old(str(result.get("python", "")), self._interpreter(result, variables))
        if old and not result.get("failed"):
            return {"failed": True, "msg": " ".join(old), "hint": old[1]}
        if result.get("failed") and not result.get("hint"):
            said, hint = old or self._explained(result, variables)
            result.update(msg=f"{said} {hint}".strip(), hint=hint, exception="")  # no traceback says more
        return result

    def _explained(self, result: dict[str, Any], variables: dict[str, Any]) -> tuple[str, str]:
        """What happened and what to do, for a module that could not run."""
        said = str(result.get("msg", ""))
        if "module_stderr" in result:
            python = self._interpreter(result, variables)
            if old := too_old(self._version(python), python):
                return old
            last = str(result["module_stderr"]).strip().splitlines()[-1:]
            said = " ".join([said.rstrip(".") + ".", *last])
            return (
                said,
                f"The modules run with {python}: name a Python from {_least()} on (ansible_python_interpreter).",
            )
        become = getattr(self._connection, "become", None)
        if become is None or "invocation" in result:  # the module ran, and what it says is what failed
            return said, ""
        user, method = become.get_option("become_user") or "root", become.name
        hint = (
            f"Nothing was done. The modules were to run as user {user}, by {method} (ansible_become_user,"
            f" ansible_become_method). That user must exist on the host, have a shell, and be open to the user who logs"
            f" in; where {method} wants a password: --ask-become-pass or ansible_become_password."
        )
        return said, hint

    def _version(self, python: str) -> str:
        """What the interpreter calls itself; empty if it does not answer."""
        try:
            found = self._low_level_execute_command(f"{shlex.quote(python)} -V 2>&1", sudoable=True)
        except AnsibleError:
            return ""
        return str(found.get("stdout", ""))

    def _interpreter(self, result: dict[str, Any], variables: dict[str, Any]) -> str:
        """The Python that was used, as far as Ansible lets it be known."""
        facts = {**(variables.get("ansible_facts") or {}), **(result.get("ansible_facts") or {})}
        named = str(variables.get("ansible_python_interpreter") or "")
        discovered = facts.get("discovered_interpreter_python")
        return str(discovered or (named if named.startswith("/") else "") or "python3")


def _least() -> str:
    return ".".join(map(str, OLDEST))


def too_old(version: str, python: str) -> tuple[str, str] | None:
    """What to say of an interpreter ``python`` whose ``version`` is ``Python 3.8.18``; None if it is new enough."""
    found = _VERSION.search(version)
    if not found or tuple(map(int, found.groups())) >= OLDEST:
        return None
    return (
        f"The Python of the target host is {'.'.join(found.groups())} ({python}). pap-deploy needs {_least()} or newer"
        " there. Nothing was done.",
        "Install a newer one beside it, and name it: ansible_python_interpreter=/usr/bin/python3.11",
    )
