#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Back up the database and prove the backup by restoring it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_backup
short_description: Back up the database and prove the backup by restoring it
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Streams a compressed custom-format dump to the target host and into a scratch database at once.
  - Compares the restored copy with a content digest that was taken in the dump's own snapshot.
  - Then removes backups that are too old and were announced before; none that a rollback could still need, none in
    favour of one that has proven less, and nothing that it did not make itself.
extends_documentation_fragment:
  - pap_stack
  - pap_options.backup
attributes:
  check_mode:
    support: full
    description: No backup is taken; it says what the next one would remove, and when the others may go.
  diff_mode:
    support: none
    description: There is nothing to show.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 on the target host; the Docker SDK for Python where a site is a container.
notes:
  - Needs no role. Of the inventory's variables, the role C(stack) makes the whole O(stack), C(pap_stack).
  - Without O(release), it holds the deploy lock while it runs.
seealso:
  - module: pap.deploy.pap_rehearse
    description: Rehearses a release on the restored copy.
  - module: pap.deploy.pap_rollback
    description: Restores the backup if it has to.
options:
  release:
    description: Id of the release this belongs to. Empty takes a backup of its own.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Back up one database, and prove the backup
  pap.deploy.pap_backup:
    stack:
      environment: production
      state_dir: /srv/shop/pap-deploy
      database:
        name: shop
        host: /run/postgresql
        become: [sudo, -n, -u, postgres]
    keep_days: 30

- name: Back up in a deploy
  pap.deploy.pap_backup:
    stack: "{{ pap_stack }}"
    release: "{{ preflight.release }}"
"""

RETURN = r"""
backup:
  description: The manifest of the backup.
  returned: success, not in check mode
  type: dict
  sample: {path: /srv/pap/backups/pap-1.dump, bytes: 1048576, tables: 14, rows: 61204, proof: {kind: full}}
pap:
  description: The phase and the lines that are printed.
  returned: success
  type: dict
  sample: {phase: backup, lines: ["1.0 MB, restored and compared"], status: ok}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import options_of, run_of, run_phase, spec


def main() -> None:
    module = AnsibleModule(
        spec(
            "backup",
            release={"type": "str", "default": ""},
        ),
        supports_check_mode=True,
    )
    given = module.params

    def work(stack: Any, phase: Any) -> Any:
        options = options_of(module, phase.Options)
        return phase.run(stack, given["release"], run_of(given["stack"]["who"]), options, check_mode=module.check_mode)

    run_phase(module, "backup", work, phase="backup")


if __name__ == "__main__":
    main()
