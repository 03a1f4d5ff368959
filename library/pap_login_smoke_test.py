#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Log in to the API as a person would, and look at its endpoints."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_login_smoke_test
short_description: Log in to the API as a person would, and look at its endpoints
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Health within a deadline, login, an authenticated call, a wrong password refused.
  - Declared endpoints must show no regressions from before the deploy.
extends_documentation_fragment:
  - pap_stack
attributes:
  check_mode:
    support: none
    description: Skipped in check mode, because a login writes to the database.
  diff_mode:
    support: none
    description: There is nothing to show.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 on the target host; the Docker SDK for Python where a site is a container.
notes:
  - Needs no role. Of the inventory's variables, the role C(stack) makes the whole O(stack), C(pap_stack).
  - The login writes to the database. These rows are known as smoke-test writes and do not count as lost by a rollback.
seealso:
  - module: pap.deploy.pap_validate
    description: Checks the schema as this checks the API.
  - module: pap.deploy.pap_rollback
    description: Takes the release back if the test fails.
options:
  release:
    description: Id of the release whose baseline is compared with. Empty compares with nothing.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Try the login
  pap.deploy.pap_login_smoke_test:
    stack: "{{ pap_stack }}"
"""

RETURN = r"""
smoke:
  description: Every check with its status and milliseconds.
  returned: success
  type: dict
  sample: {checks: [{name: health, status: 200, ms: 4.1}], endpoints: {}, healthy_after_s: 0.4}
pap:
  description: The phase and the lines that are printed.
  returned: success
  type: dict
  sample: {phase: login_smoke_test, lines: ["health, login, profile, wrong password"], status: ok}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import run_phase, spec


def main() -> None:
    module = AnsibleModule(spec(release={"type": "str", "default": ""}), supports_check_mode=False)
    given = module.params
    run_phase(
        module, "login_smoke_test", lambda stack, phase: phase.run(stack, given["release"]), phase="login_smoke_test"
    )


if __name__ == "__main__":
    main()
