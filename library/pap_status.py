#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say how a stack stands and what to do next."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_status
short_description: Say how a stack stands and what to do next
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Says what runs, what is pending, whether anything is unfinished, held or drifting, and the next command to type.
  - What would refuse a deploy is a finding here, not a failure.
extends_documentation_fragment:
  - pap_stack
attributes:
  check_mode:
    support: full
    description: Reads only, in any mode; a scratch database may come and go. Notes O(acknowledge) outside of it.
  diff_mode:
    support: none
    description: There is nothing to show.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 on the target host; the Docker SDK for Python where a site is a container.
notes:
  - Needs no role. Of the inventory's variables, the role C(stack) makes the whole O(stack), C(pap_stack).
seealso:
  - module: pap.deploy.pap_preflight
    description: Refuses a deploy for what is a finding here.
  - module: pap.deploy.pap_history
    description: Lists past releases.
  - module: pap.deploy.pap_watch
    description: Shows the log watch in full.
options:
  migrations:
    description: File name to text of every migration, as the P(pap.deploy.pap_migrations#lookup) lookup reads them.
    type: dict
    default: {}
  schema:
    description: Options of the schema check.
    type: dict
    default: {}
  acknowledge:
    description:
      - Id of a change of the live database that a plan or a rehearsal measured, and that a person has dealt with.
      - It is no longer shown then.
    type: str
"""

EXAMPLES = r"""
- name: Show the status of the stack
  pap.deploy.pap_status:
    stack: "{{ pap_stack }}"
    migrations: "{{ lookup('pap.deploy.pap_migrations', pap_migrations_dirs) }}"
  register: found
"""

RETURN = r"""
status:
  description: >-
    C(running), C(candidate), C(pending), C(unfinished), C(holder), C(last), C(watch), C(databases),
    C(live_changes) (measured in the live database, and not acknowledged), C(attention) (what a person has to look
    at) and C(next) (the command to type).
  returned: success
  type: dict
  sample:
    running: "2.0"
    candidate: "2.1"
    pending: [0042_add_index.sql]
    unfinished: ""
    attention: []
    next: ansible-playbook deploy.yml -l staging
pap:
  description: The phase and the lines that are printed.
  returned: success
  type: dict
  sample: {phase: status, lines: ["2.0 runs, 1 migration is pending"], status: ok}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import run_of, run_phase, spec


def main() -> None:
    module = AnsibleModule(
        spec(
            migrations={"type": "dict", "default": {}},
            schema={"type": "dict", "default": {}},
            acknowledge={"type": "str"},
        ),
        supports_check_mode=True,
    )
    given = module.params
    run_phase(
        module,
        "report",
        lambda stack, phase: phase.status(
            stack,
            given["migrations"],
            phase.preflight.Options(schema=given["schema"], allow_out_of_order=True),
            acknowledge="" if module.check_mode else given["acknowledge"] or "",
            who=run_of(given["stack"]["who"]),
        ),
        phase="status",
    )


if __name__ == "__main__":
    main()
