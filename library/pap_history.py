#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""List the releases of a stack."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_history
short_description: List the releases of a stack
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Lists when, who, what, verdict, how long, how long the API was unavailable, and how its watch stands.
extends_documentation_fragment:
  - pap_stack
attributes:
  check_mode:
    support: full
    description: It changes nothing in any mode.
  diff_mode:
    support: none
    description: There is nothing to show.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 on the target host; the Docker SDK for Python where a site is a container.
notes:
  - Needs no role. Of the inventory's variables, the role C(stack) makes the whole O(stack), C(pap_stack).
  - Reads files only; the API and the database may be down.
seealso:
  - module: pap.deploy.pap_status
    description: Shows how one stack stands now.
  - module: pap.deploy.pap_report
    description: Writes the report of one release.
options:
  limit:
    description: How many releases, the newest first.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: List the releases
  pap.deploy.pap_history:
    stack: "{{ pap_stack }}"
"""

RETURN = r"""
releases:
  description: One dictionary for each release, the newest first.
  returned: success
  type: list
  elements: dict
  sample: [{release: 20260301T101500Z-9f3c, who: ada@control, from: "2.0", to: "2.1", verdict: finished, seconds: 41.2}]
pap:
  description: The phase and the lines that are printed.
  returned: success
  type: dict
  sample: {phase: history, lines: ["20260301T101500Z-9f3c finished"], status: ok}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import run_state, spec


def main() -> None:
    module = AnsibleModule(spec(limit={"type": "int", "default": 20}), supports_check_mode=True)
    run_state(module, "report", lambda state, phase: phase.releases(state, module.params["limit"]))


if __name__ == "__main__":
    main()
