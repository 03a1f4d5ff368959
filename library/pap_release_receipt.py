#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say what a release deploys, and note by which receipt it may."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_release_receipt
short_description: Say what a release deploys, and note by which receipt it may
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - O(state=described) says what the release deploys, by content, and gives the unsigned receipt of a finished one.
  - O(state=taken_back) gives the unsigned revocations of all releases that finished and were rolled back later.
  - O(state=recorded) notes the receipt, or the override, in the journal.
  - O(state=refused) ends the release, which has changed nothing yet, and fails.
extends_documentation_fragment:
  - pap_stack
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
  - Run the role C(stack) first; it unpacks the package and sets C(pap_stack).
seealso:
  - module: pap.deploy.pap_receipt
    description: Signs and verifies receipts on the controller.
options:
  state:
    description: What to do.
    type: str
    choices: [described, taken_back, recorded, refused]
    required: true
  release:
    description: Id of the release. Required with every O(state) but V(taken_back).
    type: str
  found:
    description: Required with O(state=recorded), what M(pap.deploy.pap_receipt) returned.
    type: dict
  message:
    description: Required with O(state=refused), why.
    type: str
  hint:
    description: For O(state=refused), what to do next.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Describe what this release deploys
  pap.deploy.pap_release_receipt:
    stack: "{{ pap_stack }}"
    release: "{{ looked.release }}"
    state: described
  register: described
"""

RETURN = r"""
subject:
  description: Checksums of all migrations, of the models and of the release, and the server's major version.
  returned: when O(state=described)
  type: dict
  sample: {migrations: {0042_add_index.sql: 3b1f}, models_digest: 9c0d, version: "2.1", server_version: 18}
receipt:
  description: The unsigned receipt; empty unless the release has finished.
  returned: when O(state=described)
  type: dict
  sample: {release: 20260301T101500Z-9f3c, stack: pap-staging, environment: staging, at: "2026-03-01T10:16:00Z"}
revocations:
  description: The unsigned revocations of rolled-back releases.
  returned: when O(state=described) or O(state=taken_back)
  type: list
  elements: dict
  sample: [{release: 20260301T101500Z-9f3c, stack: pap-staging, revoked_at: "2026-03-01T11:00:00Z"}]
pap:
  description: The phase and the lines that the C(pap_phases) callback prints.
  returned: success
  type: dict
  sample: {phase: receipt, lines: ["staging passed with exactly this"], status: ok}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import run_state, spec


def main() -> None:
    module = AnsibleModule(
        spec(
            state={"type": "str", "choices": ["described", "taken_back", "recorded", "refused"], "required": True},
            release={"type": "str"},
            found={"type": "dict"},
            message={"type": "str"},
            hint={"type": "str", "default": ""},
        ),
        supports_check_mode=False,
        required_if=[
            ("state", "described", ["release"]),
            ("state", "recorded", ["release", "found"]),
            ("state", "refused", ["release", "message"]),
        ],
    )
    given, release = module.params, module.params["release"]

    def work(state: Any, phase: Any) -> Any:
        if given["state"] == "described":
            return phase.describe(state, release)
        if given["state"] == "taken_back":
            return phase.revocations(state)
        if given["state"] == "recorded":
            return phase.record(state, release, given["found"])
        return phase.refuse(state, release, given["message"], given["hint"])

    run_state(module, "receipt", work)


if __name__ == "__main__":
    main()
