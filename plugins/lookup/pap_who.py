"""Who runs this play: what a deploy lock and a journal say of their holder."""

from __future__ import annotations

import contextlib
import getpass
import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: pap_who
short_description: User, host and process of the running ansible-playbook
version_added: "0.1.0"
author: pap-deploy authors
description:
  - Returns one dictionary with C(user), C(host), C(pid), C(start), C(boot) and C(pidns), which identify the
    controller's process.
  - C(start) is when it started (clock ticks after the boot C(boot) of the host), C(pidns) the namespace of its id.
  - Where the controller's kernel does not provide one of the last three (other than Linux), it is empty.
options: {}
"""

EXAMPLES = r"""
- name: Say who deploys
  ansible.builtin.debug:
    msg: "{{ lookup('pap_who') }}"
"""

RETURN = r"""
_raw:
  description: User, host name, process id with its start and namespace, and boot id of the controller.
  type: list
  elements: dict
"""


class LookupModule(LookupBase):
    def run(self, terms: Any, variables: Any = None, **kwargs: Any) -> list[Any]:
        parent = multiprocessing.parent_process()
        pid = parent.pid if parent else os.getpid()
        stat = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()  # proc(5): the name before may hold anything
        namespace = ""
        with contextlib.suppress(OSError):
            namespace = str(Path(f"/proc/{pid}/ns/pid").readlink())
        return [
            {
                "user": os.environ.get("SUDO_USER") or _user(),
                "host": socket.gethostname(),
                "pid": pid,
                "start": int(stat[19]) if len(stat) > 19 else "",
                "boot": _read("/proc/sys/kernel/random/boot_id").strip(),
                "pidns": namespace,
            }
        ]


def _user() -> str:
    """The user's name; the number, where a container runs as a user that its passwd does not know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(errors="replace")
    return ""
