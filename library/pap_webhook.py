#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Send one message to a webhook from the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_webhook
short_description: Send one message to a webhook from the controller
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Posts JSON. It ends after 10 seconds, whatever the webhook does, and no header follows a redirect elsewhere.
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
    description: Runs on the controller, with the Python of Ansible.
notes:
  - Runs on the controller; delegate it to C(localhost).
  - The URL is a secret as a rule; use C(no_log).
seealso:
  - module: pap.deploy.pap_mail
    description: Sends the same by mail.
options:
  code:
    description: Folder to import C(papdeploy) from, on the controller.
    type: path
    required: true
  url:
    description: Where to post to. A secret as a rule.
    type: str
    required: true
  form:
    description: V(json) posts O(body); V(slack) posts its message as text.
    type: str
    choices: [json, slack]
    default: json
  headers:
    description: Further headers.
    type: dict
    default: {}
  body:
    description: What happened; C(message) is a sentence.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Tell the people on call
  pap.deploy.pap_webhook:
    code: "{{ playbook_dir }}/../module_utils"
    url: https://hooks.example/T0/B0
    form: slack
    body:
      message: pap-staging runs 2.0 again.
  delegate_to: localhost
  no_log: true
"""

RETURN = r"""
status:
  description: The status that the webhook answered with.
  returned: success
  type: int
  sample: 204
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import run_code


def main() -> None:
    module = AnsibleModule(
        {
            "code": {"type": "path", "required": True},
            "url": {"type": "str", "required": True, "no_log": True},
            "form": {"type": "str", "choices": ["json", "slack"], "default": "json"},
            "headers": {"type": "dict", "default": {}, "no_log": True},
            "body": {"type": "dict", "required": True},
        },
        supports_check_mode=False,
    )
    given = module.params
    run_code(
        module,
        given["code"],
        "notify.webhook",
        lambda webhook: webhook.post(given["url"], given["body"], form=given["form"], headers=given["headers"]),
    )


if __name__ == "__main__":
    main()
