#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""End a release that went well."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_finish
short_description: End a release that went well
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Records the schema's fingerprint, drops what the release made for itself, and releases the deploy lock.
extends_documentation_fragment:
  - pap_stack
  - pap_options.finish
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
seealso:
  - module: pap.deploy.pap_preflight
    description: Opens the release.
  - module: pap.deploy.pap_watch
    description: Watches the logs afterwards.
  - module: pap.deploy.pap_rollback
    description: Takes a finished release back, too.
options:
  release:
    description: Id of the release this belongs to, as M(pap.deploy.pap_preflight) returned it.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Finish
  pap.deploy.pap_finish:
    stack: "{{ pap_stack }}"
    release: "{{ preflight.release }}"
"""

RETURN = r"""
unavailable_s:
  description: Seconds from stopping the API to its first healthy answer.
  returned: success
  type: float
  sample: 2.5
seconds:
  description: How long the release took, all phases together.
  returned: success
  type: float
  sample: 41.2
pap:
  description: The phase and the lines that are printed.
  returned: success
  type: dict
  sample: {phase: finish, lines: ["2.0 to 2.1 in 41 s"], status: ok}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import run_phase, spec


def main() -> None:
    module = AnsibleModule(
        spec(
            "finish",
            release={"type": "str", "required": True},
        ),
        supports_check_mode=False,
    )
    given = module.params
    run_phase(
        module,
        "finish",
        lambda stack, phase: phase.run(stack, given["release"], given["keep_containers"], given["hold"]),
    )


if __name__ == "__main__":
    main()
