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
  - Run the role C(stack) first; it unpacks the package and sets C(pap_stack).
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
  who:
    description:
      - Who backs up, as the P(pap.deploy.pap_who#lookup) lookup says.
      - Without O(release), they hold the deploy lock.
    type: dict
    required: true
  proof:
    description: V(full) restores and compares rows, V(schema) restores the schema only, V(none) proves nothing.
    type: str
    choices: [full, schema, none]
    default: full
  ask_above_gb:
    description: Size of the database in GB above which V(full) must be chosen explicitly.
    type: float
    default: 100
  keep_copy:
    description: Keep the restored copy for the rehearsal.
    type: bool
    default: false
  verify:
    description: Path of an existing backup to restore and compare instead of taking a new one.
    type: path
  encrypt:
    description:
      - "Encryption at rest: C(method) (V(age) or V(gpg)), C(recipients), and C(identity), the age identity file or
        GnuPG's home folder that can decrypt. A proof needs it."
    type: dict
    default: {}
  keep:
    description: How many backups to keep. Those of the release in force and of an unfinished one are kept as well.
    type: int
    default: 10
  keep_days:
    description: Days for which every backup is kept.
    type: int
    default: 14
  keep_failed_days:
    description: Days after which a quarantined database is dropped. 0 leaves that to a person.
    type: int
    default: 0
  hold:
    description: >-
      What is not removed, by file name, SHA-256, release or name of a database; or V(all). A file C(NAME.dump.hold)
      beside a backup and C(IS_TEMPLATE) on a database hold as well.
    type: list
    elements: str
    default: []
  accept:
    description: >-
      Differences between the database and its restored copy that are known and no fault: C(difference), the id that the
      failed proof printed, C(reason), and C(until), the last day (YYYY-MM-DD). They are recorded in the manifest. An
      entry that matches nothing is refused; a loss of rows or values cannot be accepted.
    type: list
    elements: dict
    default: []
  engine:
    description:
      - V(pgbackrest) takes a backup of the whole cluster into the repository that the site already has, and records its
        label. A rollback does not restore it by itself.
    type: str
    choices: [pg_dump, pgbackrest]
    default: pg_dump
  pgbackrest:
    description: "C(stanza); and C(config), C(program), C(type) (V(full), V(diff) or V(incr)), C(timeout_s) if need be."
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Back up
  pap.deploy.pap_backup:
    stack: "{{ pap_stack }}"
    release: "{{ preflight.release }}"
    who: "{{ lookup('pap.deploy.pap_who') }}"
"""

RETURN = r"""
backup:
  description: The manifest of the backup.
  returned: success, not in check mode
  type: dict
  sample: {path: /srv/pap/backups/pap-1.dump, bytes: 1048576, tables: 14, rows: 61204, proof: {kind: full}}
pap:
  description: The phase and the lines that the C(pap_phases) callback prints.
  returned: success
  type: dict
  sample: {phase: backup, lines: ["1.0 MB, restored and compared"], status: ok}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import run_phase, spec


def main() -> None:
    module = AnsibleModule(
        spec(
            release={"type": "str", "default": ""},
            who={"type": "dict", "required": True},
            proof={"type": "str", "choices": ["full", "schema", "none"], "default": "full"},
            ask_above_gb={"type": "float", "default": 100},
            keep_copy={"type": "bool", "default": False},
            verify={"type": "path"},
            encrypt={"type": "dict", "default": {}},
            keep={"type": "int", "default": 10},
            keep_days={"type": "int", "default": 14},
            keep_failed_days={"type": "int", "default": 0},
            hold={"type": "list", "elements": "str", "default": []},
            accept={"type": "list", "elements": "dict", "default": []},
            engine={"type": "str", "choices": ["pg_dump", "pgbackrest"], "default": "pg_dump"},
            pgbackrest={"type": "dict", "default": {}},
        ),
        supports_check_mode=True,
    )
    given = module.params

    def work(stack: Any, phase: Any) -> Any:
        chosen = {key: value for key, value in given.items() if key not in ("stack", "release", "who")}
        options = phase.Options(**{**chosen, "verify": given["verify"] or ""})
        return phase.run(stack, given["release"], given["who"], options, check_mode=module.check_mode)

    run_phase(module, "backup", work, phase="backup")


if __name__ == "__main__":
    main()
