#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Roll a stack back to where it was before a release."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_rollback
short_description: Roll a stack back to where it was before a release
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Reads the journal and the database, chooses the cheapest safe rollback strategy, shows its cost, and executes it.
  - Can be repeated and interrupted at any point.
extends_documentation_fragment:
  - pap_stack
  - pap_options.rollback
attributes:
  check_mode:
    support: full
    description: Shows the strategy and its cost; changes nothing.
  diff_mode:
    support: none
    description: There is nothing to show.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 on the target host; the Docker SDK for Python where a site is a container.
notes:
  - Needs no role. Of the inventory's variables, the role C(stack) makes the whole O(stack), C(pap_stack).
  - It can be repeated; every step finds out first whether it has been done.
seealso:
  - module: pap.deploy.pap_status
    description: Shows whether a release is unfinished.
  - module: pap.deploy.pap_backup
    description: Takes the backup that may have to be restored.
  - module: pap.deploy.pap_migrate
    description: Makes the restore point.
options:
  only_unfinished:
    description: Do nothing unless a release was interrupted.
    type: bool
    default: false
  plan_only:
    description:
      - Choose the strategy and show its cost, and go no further, so that they can be read before anything happens.
      - The backup is then not read as a whole yet.
    type: bool
    default: false
  planned:
    description: The RV(strategy) that a run with O(plan_only) has named; not shown again if unchanged.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Roll back
  pap.deploy.pap_rollback:
    stack: "{{ pap_stack }}"

- name: Drop quarantined databases
  pap.deploy.pap_rollback:
    stack: "{{ pap_stack }}"
    drop_failed: true
"""

RETURN = r"""
strategy:
  description: "The strategy that was used: V(nothing), V(image), V(downgrade), V(swap) or V(restore)."
  returned: success
  type: str
  sample: downgrade
release:
  description: The release that is rolled back.
  returned: when there is one
  type: str
  sample: 20260301T101500Z-9f3c
cost:
  description: What the strategy loses, for each table the rows written since the restore point.
  returned: when a release was rolled back, in check mode, and with O(plan_only)
  type: dict
  sample: {public.orders: {rows: 3, deleted: 0}}
besides:
  description: What else goes back, each as a sentence; large objects, sequences, definitions and settings of others.
  returned: when a release was rolled back, in check mode, and with O(plan_only)
  type: list
  elements: str
  sample: ["sequence public.orders_id_seq goes back from 120 to 117"]
refused:
  description: Why the strategy is impossible; empty if it is possible.
  returned: in check mode, and with O(plan_only)
  type: str
  sample: ""
kept:
  description: The quarantined database; empty if the strategy needed none.
  returned: when a release was rolled back
  type: str
  sample: pap_failed_9f3c
seconds:
  description: How long it took.
  returned: when a release was rolled back
  type: float
  sample: 3.1
unavailable_s:
  description: For how long users were without the API; none if it was not stopped, or does not answer yet.
  returned: when a release was rolled back
  type: float
  sample: 2.2
outcome:
  description: How the stack stands now, in one sentence.
  returned: when a release was rolled back
  type: str
  sample: "pap-staging runs 2.0 again"
dropped:
  description: Databases that were dropped.
  returned: with O(drop_failed)
  type: list
  elements: str
  sample: [pap_failed_9f3c]
pap:
  description: The phase and the lines that are printed.
  returned: success
  type: dict
  sample: {phase: rollback, lines: ["downgrade, nothing lost"], status: ok}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import options_of, run_of, run_phase, spec


def main() -> None:
    module = AnsibleModule(
        spec(
            "rollback",
            only_unfinished={"type": "bool", "default": False},
            plan_only={"type": "bool", "default": False},
            planned={"type": "str", "default": ""},
        ),
        supports_check_mode=True,
        mutually_exclusive=[
            *(("drop_failed", option) for option in ("only_unfinished", "accept_data_loss", "strategy", "take_over")),
            ("drop_failed", "plan_only", "planned"),
        ],
    )
    given = module.params

    def work(stack: Any, phase: Any) -> Any:
        options = given["hold"] if given["drop_failed"] else options_of(module, phase.Options)
        return phase.run(stack, given["release"], run_of(given["stack"]["who"]), options, check_mode=module.check_mode)

    run_phase(module, "cleanup" if given["drop_failed"] else "rollback", work, phase="rollback")


if __name__ == "__main__":
    main()
