#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rehearse a release on a copy of the data before production is touched."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_rehearse
short_description: Rehearse a release on a copy of the data before production is touched
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Runs the pending migrations and the schema check on a copy as the deploy will, and watches their locks.
  - Runs the downgrades, compares with the start, migrates again.
  - Starts the new release of the API on the copy, then the one that runs now, and tries both as the smoke test will.
  - Says how long the deploy will take, which locks it takes, whether it is reversible, and whether it could run online.
  - A release that fails its rehearsal is ended as refused. The copy is dropped.
extends_documentation_fragment:
  - pap_stack
  - pap_options.rehearse
attributes:
  check_mode:
    support: none
    description: Skipped in check mode.
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
  - The live database is measured before and after.
seealso:
  - module: pap.deploy.pap_backup
    description: Makes the copy that holds every row.
  - module: pap.deploy.pap_migrate
    description: Applies to the live database what was rehearsed.
options:
  release:
    description: Id of the release this belongs to, as M(pap.deploy.pap_preflight) returned it.
    type: str
    required: true
  mode:
    description: With V(online), a release that is not safe under traffic fails its rehearsal.
    type: str
    choices: [standard, online]
    default: standard
  schema:
    description: Options of the schema check, for example C(ignore).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Rehearse
  pap.deploy.pap_rehearse:
    stack: "{{ pap_stack }}"
    release: "{{ preflight.release }}"
"""

RETURN = r"""
rehearsal:
  description: The verdict, as the journal keeps it.
  returned: success
  type: dict
  sample: {online: {safe: true}, reversible: true, migrate_s: 0.8}
pap:
  description: The phase and the lines that are printed.
  returned: success
  type: dict
  sample: {phase: rehearse, lines: ["1 migration in 0.8 s, reversible"], status: ok}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import options_of, run_phase, spec


def main() -> None:
    module = AnsibleModule(
        spec(
            "rehearse",
            release={"type": "str", "required": True},
            mode={"type": "str", "choices": ["standard", "online"], "default": "standard"},
            schema={"type": "dict", "default": {}},
        ),
        supports_check_mode=False,
    )
    given = module.params

    def work(stack: Any, phase: Any) -> Any:
        options = options_of(module, phase.Options)
        encryption = phase.Encryption.of(given["encrypt"])
        return phase.run(stack, given["release"], options, alone=given["alone"], encryption=encryption)

    run_phase(module, "rehearse", work)


if __name__ == "__main__":
    main()
