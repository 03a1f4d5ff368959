#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say whether the database matches the models."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_validate
short_description: Say whether the database matches the models
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Compares the live catalog with what the server makes of the models' own DDL. Reads only.
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
seealso:
  - module: pap.deploy.pap_status
    description: Shows drift together with everything else.
options:
  release:
    description: Id of the release whose models are compared with. Empty takes the API that runs.
    type: str
    default: ""
  options:
    description: Options of the schema check, for example C(ignore) and C(fail_on).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Check the schema
  pap.deploy.pap_validate:
    stack: "{{ pap_stack }}"
"""

RETURN = r"""
matches:
  description: Whether there is no difference of the severity that fails.
  returned: success
  type: bool
  sample: true
differences:
  description: Every difference, with its object, severity, what was expected and found, and the SQL that repairs it.
  returned: always
  type: list
  elements: dict
  sample: [{object: table public.orders, severity: error, expected: column total numeric, found: column total integer}]
allowed:
  description: Differences that the allow file lets pass, with their reason.
  returned: success
  type: list
  elements: dict
  sample: [{object: index public.orders_idx, severity: warning, allowed: dropped by hand until 2026-04-01}]
notices:
  description: Sentences about the check itself, for example of an allowance that has expired.
  returned: success
  type: list
  elements: str
  sample: ["the allowance of index public.orders_idx expires in 3 days"]
checked:
  description: What was compared, with C(database), C(server_version), C(schema), C(tables) and C(fail_on).
  returned: success
  type: dict
  sample: {database: pap, server_version: 180000, schema: public, tables: 42, fail_on: error}
pap:
  description: The phase and the lines that are printed.
  returned: success
  type: dict
  sample: {phase: validate, lines: ["42 tables match the models"], status: ok}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import run_phase, spec


def main() -> None:
    module = AnsibleModule(
        spec(release={"type": "str", "default": ""}, options={"type": "dict", "default": {}}),
        supports_check_mode=True,
    )
    given = module.params

    def work(stack: Any, phase: Any) -> Any:
        return phase.run(stack, given["release"], phase.CheckOptions.from_dict(given["options"]))

    run_phase(module, "validate", work)


if __name__ == "__main__":
    main()
