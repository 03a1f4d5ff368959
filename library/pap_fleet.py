#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say what became of each stack of a run."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_fleet
short_description: Say what became of each stack of a run
version_added: "0.3.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Makes the table that ends a run over many stacks, with a line and a verdict for each of them, also for those that
    could not be reached and those that the run did not come to.
  - Changes nothing, and reaches no stack.
attributes:
  check_mode:
    support: full
    description: It only says what the run has found.
  diff_mode:
    support: none
    description: There is nothing to show.
  platform:
    support: full
    platforms: posix
    description: Runs on the controller, with the Python of Ansible.
notes:
  - Runs on the controller; delegate it to C(localhost).
seealso:
  - module: pap.deploy.pap_overview
    description: The same as a page, over all runs.
options:
  code:
    description: Folder to import C(papdeploy) from, on the controller.
    type: path
    required: true
  stacks:
    description:
      - What the run knows of each stack, by its name. C(row) is that of M(pap.deploy.pap_report), C(failed) the task at
        which it failed, C(begun) that a release was open then, C(finished) that all phases had passed, C(waiting) that
        another one failed before its turn, C(planned) that the plan has looked at it, C(idle) that there was nothing to
        deploy.
      - Empty for a stack from which no task has come back.
    type: dict
    required: true
  refused:
    description: Stacks whose variables are wrong or were not checked, so that the run began nothing with them.
    type: list
    elements: str
    default: []
  unreachable:
    description: Stacks that have never answered. One that is lost later has failed.
    type: list
    elements: str
    default: []
    version_added: "0.3.0"
"""

EXAMPLES = r"""
- name: Show the verdict of each stack
  pap.deploy.pap_fleet:
    code: "{{ playbook_dir }}/../module_utils"
    stacks:
      pap-001: {failed: "Preflight (1/9)"}
      pap-002: {waiting: true}
      pap-003: {}
    unreachable: [pap-003]
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
verdicts:
  description: The verdict of each stack.
  returned: success
  type: dict
  sample: {pap-001: refused, pap-002: not deployed, pap-003: unreachable}
pap:
  description: The lines that are printed, a table.
  returned: success
  type: dict
  sample: {phase: "", lines: ["stack    verdict", "pap-001  refused"], status: failed}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import run_code


def main() -> None:
    names = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        {
            "code": {"type": "path", "required": True},
            "stacks": {"type": "dict", "required": True},
            "refused": names,
            "unreachable": names,
        },
        supports_check_mode=True,
    )
    asked = module.params

    def work(fleet: Any) -> Any:
        stacks = {name: fleet.known(told) for name, told in asked["stacks"].items()}
        return fleet.verdicts(stacks, asked["refused"], asked["unreachable"], planned=module.check_mode)

    run_code(module, asked["code"], "phases.fleet", work)


if __name__ == "__main__":
    main()
