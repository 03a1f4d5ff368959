"""Who runs this play: what a deploy lock and a journal say of their holder."""

from __future__ import annotations

import getpass
import multiprocessing
import os
import socket
from pathlib import Path

from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: pap_who
short_description: User, host and process of the running ansible-playbook
version_added: "0.1.0"
author: pap-deploy authors
description:
  - Returns one dictionary with C(user), C(host), C(pid) and C(boot), which identify the controller's process.
options: {}
"""

EXAMPLES = r"""
- name: Say who deploys
  ansible.builtin.debug:
    msg: "{{ lookup('pap_who') }}"
"""

RETURN = r"""
_raw:
  description: The controller's user, host name, process id and boot id.
  type: list
  elements: dict
"""


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        parent = multiprocessing.parent_process()
        boot = Path("/proc/sys/kernel/random/boot_id")
        return [
            {
                "user": os.environ.get("SUDO_USER") or getpass.getuser(),
                "host": socket.gethostname(),
                "pid": parent.pid if parent else os.getpid(),
                "boot": boot.read_text().strip() if boot.exists() else "",
            }
        ]
