#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fence the database, apply the pending migrations and prove the schema in one transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_migrate
short_description: Apply the pending migrations with their proof in one transaction
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Stops the API, fences the database, makes sure of a restore point.
  - Applies the pending migrations, their ledger rows and the schema check against the new models in one transaction.
extends_documentation_fragment:
  - pap_stack
  - pap_options.migrate
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
  - What fails is rolled back by PostgreSQL; the release is then ended by M(pap.deploy.pap_rollback).
seealso:
  - module: pap.deploy.pap_rehearse
    description: Rehearses the migration on a copy before.
  - module: pap.deploy.pap_activate
    description: Activates the new release after.
  - module: pap.deploy.pap_rollback
    description: Takes the release back if it fails.
options:
  release:
    description: Id of the release this belongs to, as M(pap.deploy.pap_preflight) returned it.
    type: str
    required: true
  mode:
    description:
      - V(online) leaves the API running and raises no fence, for a release that its rehearsal found safe under traffic.
      - Every other release is then refused.
    type: str
    choices: [standard, online]
    default: standard
  schema:
    description: Options of the schema check, for example C(ignore).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Migrate
  pap.deploy.pap_migrate:
    stack: "{{ pap_stack }}"
    release: "{{ preflight.release }}"
"""

RETURN = r"""
applied:
  description: Migrations that were committed, with seconds and statements.
  returned: success
  type: list
  elements: dict
  sample: [{name: 0042_add_index.sql, seconds: 0.8, statements: [CREATE INDEX ON orders (created_at)]}]
took_over:
  description: Whether the new release has been activated too.
  returned: success
  type: bool
  sample: true
pap:
  description: The phase and the lines that are printed.
  returned: success
  type: dict
  sample: {phase: migrate, lines: ["1 migration in 0.8 s"], status: ok}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import options_of, run_phase, spec


def main() -> None:
    module = AnsibleModule(
        spec(
            "migrate",
            release={"type": "str", "required": True},
            mode={"type": "str", "choices": ["standard", "online"], "default": "standard"},
            schema={"type": "dict", "default": {}},
        ),
        supports_check_mode=False,
    )
    given = module.params

    def work(stack: Any, phase: Any) -> Any:
        return phase.run(stack, given["release"], options_of(module, phase.Options))

    run_phase(module, "migrate", work, phase="migrate")


if __name__ == "__main__":
    main()
