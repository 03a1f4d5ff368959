#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Look at a stack before a deploy: refuse, forecast, or open a release."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_preflight
short_description: Look at a stack before a deploy and open a release
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Guards refuse with one sentence before anything is changed.
  - If there is something to deploy, takes the deploy lock and opens a release with its journal.
  - In check mode the pending migrations run on an empty copy of the schema, which gives their true SQL.
extends_documentation_fragment:
  - pap_stack
  - pap_options.preflight
attributes:
  check_mode:
    support: full
    description: >-
      Measures that no row of the live database is written; a scratch database without rows is made and dropped. With
      O(try_login) it then logs in to the live API as the deploy would, also with a wrong password. The API writes what
      a login writes, which is noted in the journal of the release in force.
  diff_mode:
    support: full
    description: The pending SQL, the schema's differences now and after, the API's version.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 on the target host; the Docker SDK for Python where a site is a container.
notes:
  - Needs no role. Of the inventory's variables, the role C(stack) makes the whole O(stack), C(pap_stack).
  - The release that it opens holds the deploy lock until it ends, by M(pap.deploy.pap_finish) or
    M(pap.deploy.pap_rollback).
seealso:
  - module: pap.deploy.pap_status
    description: Shows the same findings without opening a release.
  - module: pap.deploy.pap_rollback
    description: Ends a release that was interrupted.
  - module: pap.deploy.pap_backup
    description: The next phase of a deploy.
options:
  migrations:
    description: File name to text of every migration, as the P(pap.deploy.pap_migrations#lookup) lookup reads them.
    type: dict
    required: true
  versions:
    description: Versions to note in the journal.
    type: dict
    default: {}
  schema:
    description: Options of the schema check, for example C(ignore).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Look before the deploy
  pap.deploy.pap_preflight:
    stack: "{{ pap_stack }}"
    migrations: "{{ lookup('pap.deploy.pap_migrations', pap_migrations_dirs) }}"
  register: looked
"""

RETURN = r"""
release:
  description: Id of the release that was opened; empty if there is nothing to deploy, and in check mode.
  returned: success
  type: str
  sample: 20260301T101500Z-9f3c
nothing_to_do:
  description: Whether the stack is at the candidate already.
  returned: success
  type: bool
  sample: false
would_fail:
  description: In check mode, why a deploy would fail, as far as the plan can tell; else empty.
  returned: success
  type: str
  sample: ""
from:
  description: The version that runs, for a person.
  returned: success
  type: str
  sample: "2.0"
to:
  description: The version to deploy, likewise.
  returned: success
  type: str
  sample: "2.1"
pending:
  description: Migrations that the deploy will apply, in order.
  returned: success
  type: list
  elements: str
  sample: [0042_add_index.sql]
pap:
  description: The phase and the lines that are printed.
  returned: success
  type: dict
  sample: {phase: preflight, lines: ["2.0 to 2.1, 1 pending migration"], status: ok}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import options_of, run_of, run_phase, spec


def main() -> None:
    module = AnsibleModule(
        spec(
            "preflight",
            migrations={"type": "dict", "required": True},
            versions={"type": "dict", "default": {}},
            schema={"type": "dict", "default": {}},
        ),
        supports_check_mode=True,
    )
    given = module.params

    def work(stack: Any, phase: Any) -> Any:
        return phase.run(
            stack,
            given["migrations"],
            run_of(given["stack"]["who"]),
            options_of(module, phase.Options),
            check_mode=module.check_mode,
            versions=given["versions"],
        )

    run_phase(module, "preflight", work)


if __name__ == "__main__":
    main()
