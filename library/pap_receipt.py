#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sign and demand receipts on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_receipt
short_description: Sign and demand receipts on the controller
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - O(state=written) signs the receipt of a release with Ed25519 and puts it into a folder.
  - It revokes the receipts of rolled-back releases.
  - O(state=demanded) fails unless the folder has a receipt for exactly this, well signed, young enough and not revoked.
  - It names what differs from the receipt that comes closest.
  - O(state=keyed) makes a key pair if there is none, for trying things out.
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
    description: Runs on the controller, with the Python of Ansible (package cryptography).
notes:
  - Runs on the controller; delegate it to C(localhost).
  - Needs the Python package cryptography there.
seealso:
  - module: pap.deploy.pap_release_receipt
    description: Describes the release on the target host, and records the receipt.
options:
  code:
    description: Folder to import C(papdeploy) from, on the controller.
    type: path
    required: true
  state:
    description: What to do.
    type: str
    choices: [keyed, written, demanded]
    required: true
  folder:
    description:
      - Folder of the receipts on the controller.
      - Required with O(state=written) and O(state=demanded).
    type: path
  receipt:
    description:
      - For O(state=written), the unsigned receipt that M(pap.deploy.pap_release_receipt) described.
      - Empty writes none.
    type: dict
    default: {}
  revocations:
    description: For O(state=written), the unsigned revocations that M(pap.deploy.pap_release_receipt) returned.
    type: list
    elements: dict
    default: []
  subject:
    description: Required with O(state=demanded), what M(pap.deploy.pap_release_receipt) described.
    type: dict
  private_key:
    description: Private key (PEM or OpenSSH), from Ansible Vault.
    type: str
    default: ""
  private_key_file:
    description: File of the private key, where O(private_key) is not set. Required with O(state=keyed).
    type: path
  public_keys:
    description: Keys that are trusted to sign receipts.
    type: list
    elements: str
    default: []
  public_key_files:
    description: Files of such keys. Required with O(state=keyed), which writes the first one.
    type: list
    elements: path
  environment:
    description: Whose receipts count.
    type: str
    default: staging
  max_age_hours:
    description: How old a receipt may be.
    type: float
    default: 168
  demand:
    description: What a receipt must hold.
    type: list
    elements: str
    choices: [rehearsed, proven, measured, watched]
    default: []
  variables_may_differ:
    description: Patterns of environment variables that only one of the two environments has to have.
    type: list
    elements: str
    default: []
  override:
    description: Reason to go on without a receipt; it is recorded.
    type: str
    default: ""
  who:
    description: Who deploys, as the P(pap.deploy.pap_who#lookup) lookup says.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Demand staging's receipt
  pap.deploy.pap_receipt:
    code: "{{ playbook_dir }}/../module_utils"
    state: demanded
    folder: /srv/receipts
    subject: "{{ described.subject }}"
    public_key_files: [/etc/pap-deploy/staging.pub]
  delegate_to: localhost
  register: found
"""

RETURN = r"""
receipt:
  description: The receipt that fits.
  returned: when O(state=demanded)
  type: dict
  sample: {release: 20260301T101500Z-9f3c, stack: pap-staging, environment: staging, at: "2026-03-01T10:16:00Z"}
override:
  description: The recorded override, if there was no receipt and a reason was given.
  returned: when O(state=demanded)
  type: dict
  sample: {reason: "CAB 4711, urgent fix", who: {user: ada, host: control}}
paths:
  description: The files that were written.
  returned: when O(state=written)
  type: list
  elements: str
  sample: [/srv/receipts/pap-staging-20260301T101500Z-9f3c.json]
pap:
  description: The phase and the lines that the C(pap_phases) callback prints.
  returned: success
  type: dict
  sample: {phase: receipt, lines: ["signed a receipt"], status: ok}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import run_code


def main() -> None:
    text, words = {"type": "str", "default": ""}, {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        {
            "code": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["keyed", "written", "demanded"], "required": True},
            "folder": {"type": "path"},
            "receipt": {"type": "dict", "default": {}},
            "subject": {"type": "dict"},
            "private_key": {**text, "no_log": True},
            "private_key_file": {"type": "path"},
            "public_keys": words,
            "public_key_files": {"type": "list", "elements": "path"},
            "environment": {"type": "str", "default": "staging"},
            "max_age_hours": {"type": "float", "default": 168},
            "revocations": {"type": "list", "elements": "dict", "default": []},
            "demand": {**words, "choices": ["rehearsed", "proven", "measured", "watched"]},
            "variables_may_differ": words,
            "override": text,
            "who": {"type": "dict", "default": {}},
        },
        supports_check_mode=False,
        required_if=[
            ("state", "keyed", ["private_key_file", "public_key_files"]),
            ("state", "written", ["folder"]),
            ("state", "demanded", ["folder", "subject"]),
        ],
    )
    run_code(module, module.params["code"], "phases.receipt_keys", lambda desk: work(desk, module.params))


def work(desk: Any, given: Any) -> Any:
    if given["state"] == "keyed":
        return desk.ensure_key(given["private_key_file"], given["public_key_files"][0])
    if given["state"] == "written":
        key, file = given["private_key"], given["private_key_file"] or ""
        return desk.write(given["receipt"], given["folder"], key, file, given["revocations"])
    return desk.demand(
        given["subject"],
        given["folder"],
        public_keys=given["public_keys"],
        public_files=given["public_key_files"] or [],
        environment=given["environment"],
        max_age_hours=given["max_age_hours"],
        holds=given["demand"],
        may_differ=given["variables_may_differ"],
        reason=given["override"],
        who=given["who"],
    )


if __name__ == "__main__":
    main()
