#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Describe a release, sign its receipt, and demand a receipt before production."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_receipt
short_description: Describe a release, sign its receipt, and demand a receipt before production
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - On the target host, O(state=subject) describes what a release deploys, by content, and gives the unsigned receipt of
    a finished one.
  - On the target host, O(state=revocations) gives the unsigned revocations of all releases that finished and were
    rolled back later.
  - On the target host, O(state=record) notes the receipt, or the override, in the journal.
  - On the target host, O(state=refusal) ends the release, which has changed nothing yet, and fails.
  - On the controller, O(state=signature) signs the receipt of a release with Ed25519 and puts it into a folder, with
    the revocations of rolled-back releases.
  - On the controller, O(state=demand) fails unless the folder has a receipt for exactly this, well signed, young enough
    and not revoked. It names what differs from the receipt that comes closest.
  - On the controller, O(state=key) makes a key pair if there is none, for trying things out.
extends_documentation_fragment:
  - pap_stack.optional
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
    description: Needs Python 3.9 on the target host; on the controller the Python of Ansible (package cryptography).
notes:
  - On the target host it takes O(stack), after the role C(stack), which unpacks the package.
  - On the controller it takes O(code), and is delegated to C(localhost).
seealso:
  - module: pap.deploy.pap_preflight
    description: Opens the release that a receipt is demanded for.
options:
  code:
    description:
      - Folder to import C(papdeploy) from, on the controller.
      - Required with O(state=key), O(state=signature) and O(state=demand).
    type: path
  state:
    description: What to do. The first four act on the release on the target host, the others on the controller.
    type: str
    choices: [subject, revocations, record, refusal, key, signature, demand]
    required: true
  release:
    description: Id of the release. Required with O(state=subject), O(state=record) and O(state=refusal).
    type: str
  found:
    description: Required with O(state=record), what O(state=demand) returned.
    type: dict
  message:
    description: Required with O(state=refusal), why.
    type: str
  hint:
    description: For O(state=refusal), what to do next.
    type: str
    default: ""
  folder:
    description:
      - Folder of the receipts on the controller.
      - Required with O(state=signature) and O(state=demand).
    type: path
  receipt:
    description:
      - For O(state=signature), the unsigned receipt that O(state=subject) returned.
      - Empty writes none.
    type: dict
    default: {}
  revocations:
    description: For O(state=signature), the unsigned revocations that O(state=revocations) returned.
    type: list
    elements: dict
    default: []
  subject:
    description: Required with O(state=demand), what O(state=subject) returned.
    type: dict
  private_key:
    description: Private key (PEM or OpenSSH), from Ansible Vault.
    type: str
    default: ""
  private_key_file:
    description: File of the private key, where O(private_key) is not set. Required with O(state=key).
    type: path
  public_keys:
    description: Keys that are trusted to sign receipts.
    type: list
    elements: str
    default: []
  public_key_files:
    description: Files of such keys. Required with O(state=key), which writes the first one.
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
- name: Describe what this release deploys
  pap.deploy.pap_receipt:
    stack: "{{ pap_stack }}"
    release: "{{ preflight.release }}"
    state: subject
  register: described

- name: Demand staging's receipt
  pap.deploy.pap_receipt:
    code: "{{ playbook_dir }}/../module_utils"
    state: demand
    folder: /srv/receipts
    subject: "{{ described.subject }}"
    public_key_files: [/etc/pap-deploy/staging.pub]
  delegate_to: localhost
  register: found
"""

RETURN = r"""
subject:
  description: Checksums of all migrations, of the models and of the release, and the server's major version.
  returned: when O(state=subject)
  type: dict
  sample: {migrations: {0042_add_index.sql: 3b1f}, models_digest: 9c0d, version: "2.1", server_version: 18}
receipt:
  description: The receipt that fits; with O(state=subject) the unsigned one, empty unless the release has finished.
  returned: when O(state=subject) or O(state=demand)
  type: dict
  sample: {release: 20260301T101500Z-9f3c, stack: pap-staging, environment: staging, at: "2026-03-01T10:16:00Z"}
revocations:
  description: The unsigned revocations of rolled-back releases.
  returned: when O(state=subject) or O(state=revocations)
  type: list
  elements: dict
  sample: [{release: 20260301T101500Z-9f3c, stack: pap-staging, revoked_at: "2026-03-01T11:00:00Z"}]
override:
  description: The recorded override, if there was no receipt and a reason was given.
  returned: when O(state=demand)
  type: dict
  sample: {reason: "CAB 4711, urgent fix", who: {user: ada, host: control}}
paths:
  description: The files that were written.
  returned: when O(state=signature)
  type: list
  elements: str
  sample: [/srv/receipts/pap-staging-20260301T101500Z-9f3c.json]
pap:
  description: The phase and the lines that are printed.
  returned: success
  type: dict
  sample: {phase: receipt, lines: ["signed a receipt"], status: ok}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import optional_stack, run_code, run_of, run_state

ON_TARGET, ON_CONTROLLER = ["subject", "revocations", "record", "refusal"], ["key", "signature", "demand"]


def main() -> None:
    text, words = {"type": "str", "default": ""}, {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        {
            **optional_stack(),
            "code": {"type": "path"},
            "state": {"type": "str", "choices": [*ON_TARGET, *ON_CONTROLLER], "required": True},
            "release": {"type": "str"},
            "found": {"type": "dict"},
            "message": {"type": "str"},
            "hint": text,
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
            ("state", "subject", ["stack", "release"]),
            ("state", "revocations", ["stack"]),
            ("state", "record", ["stack", "release", "found"]),
            ("state", "refusal", ["stack", "release", "message"]),
            ("state", "key", ["code", "private_key_file", "public_key_files"]),
            ("state", "signature", ["code", "folder"]),
            ("state", "demand", ["code", "folder", "subject"]),
        ],
    )
    if module.params["state"] in ON_TARGET:
        run_state(module, "receipt", lambda state, phase: of_release(state, phase, module.params))
    run_code(module, module.params["code"], "phases.receipt_keys", lambda desk: work(desk, module.params))


def of_release(state: Any, phase: Any, given: Any) -> Any:
    if given["state"] == "subject":
        return phase.describe(state, given["release"])
    if given["state"] == "revocations":
        return phase.revocations(state)
    if given["state"] == "record":
        return phase.record(state, given["release"], given["found"])
    return phase.refuse(state, given["release"], given["message"], given["hint"])


def work(desk: Any, given: Any) -> Any:
    if given["state"] == "key":
        return desk.ensure_key(given["private_key_file"], given["public_key_files"][0])
    if given["state"] == "signature":
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
        who=run_of(given["who"]),
    )


if __name__ == "__main__":
    main()
