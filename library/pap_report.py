#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the report of a release."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_report
short_description: Write the report of a release
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Makes C(report.json) and the self-contained page C(report.html) beside the release's journal.
extends_documentation_fragment:
  - pap_stack
attributes:
  check_mode:
    support: full
    description: It changes nothing of the stack in any mode.
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
  - module: pap.deploy.pap_overview
    description: Makes one page of the reports of many stacks.
  - module: pap.deploy.pap_history
    description: Lists the releases in the terminal.
options:
  release:
    description: Id of the release. Empty takes the newest one.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Write the report
  pap.deploy.pap_report:
    stack: "{{ pap_stack }}"
    release: "{{ preflight.release }}"
  register: reported
"""

RETURN = r"""
written:
  description: Whether there is a release to report on.
  returned: success
  type: bool
  sample: true
files:
  description: The two files on the target host.
  returned: success
  type: list
  elements: str
  sample: [/srv/pap/releases/20260301T101500Z-9f3c/report.json, /srv/pap/releases/20260301T101500Z-9f3c/report.html]
release:
  description: Id of the release.
  returned: success
  type: str
  sample: 20260301T101500Z-9f3c
row:
  description: The stack's line of the table that ends a run over many stacks.
  returned: when there is a release
  type: dict
  sample: {stack: pap-staging, verdict: finished, seconds: 41.2}
pap:
  description: The phase and the lines that are printed.
  returned: success
  type: dict
  sample: {phase: report, lines: ["written"], status: ok}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import run_state, spec


def main() -> None:
    module = AnsibleModule(spec(release={"type": "str", "default": ""}), supports_check_mode=True)
    run_state(module, "report", lambda state, phase: phase.write(state, module.params["release"]))


if __name__ == "__main__":
    main()
