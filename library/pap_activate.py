#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Activate the new release of the API."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_activate
short_description: Activate the new release of the API
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Lifts the fence and makes the candidate the active release; what was active is kept for switching back.
  - Does nothing where M(pap.deploy.pap_migrate) has done so already (O(pap.deploy.pap_migrate#module:take_over)).
extends_documentation_fragment:
  - pap_stack
attributes:
  check_mode:
    support: none
    description: Skipped in check mode; M(pap.deploy.pap_preflight) forecasts what it would do.
  diff_mode:
    support: none
    description: There is nothing to show.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 on the target host; the Docker SDK for Python where a site is a container.
notes:
  - Needs no role. Of the inventory's variables, the role C(stack) makes the whole O(stack), C(pap_stack).
  - The release must still hold the deploy lock.
seealso:
  - module: pap.deploy.pap_migrate
    description: Fences the database and applies the migrations before.
  - module: pap.deploy.pap_login_smoke_test
    description: Tests the API after.
  - module: pap.deploy.pap_rollback
    description: Takes the release back if it fails.
options:
  release:
    description: Id of the release this belongs to, as M(pap.deploy.pap_preflight) returned it.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Activate
  pap.deploy.pap_activate:
    stack: "{{ pap_stack }}"
    release: "{{ preflight.release }}"
"""

RETURN = r"""
pap:
  description: The phase and the lines that are printed.
  returned: success
  type: dict
  sample: {phase: activate, lines: ["release 2.1 answers"], status: ok}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import run_phase, spec


def main() -> None:
    module = AnsibleModule(spec(release={"type": "str", "required": True}), supports_check_mode=False)
    given = module.params
    run_phase(module, "activate", lambda stack, phase: phase.run(stack, given["release"]))


if __name__ == "__main__":
    main()
