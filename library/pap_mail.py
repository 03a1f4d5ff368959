#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Send one mail from the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_mail
short_description: Send one mail from the controller
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Sends plain text to a mail server. Needs nothing but Python, so that a notification does not hang on a collection.
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
seealso:
  - module: pap.deploy.pap_webhook
    description: Sends the same to a webhook.
options:
  code:
    description: Folder to import C(papdeploy) from, on the controller.
    type: path
    required: true
  host:
    description: Mail server.
    type: str
    required: true
  port:
    description: Its port.
    type: int
    default: 25
  username:
    description: Who logs in there. Empty does not log in. Requires O(password).
    type: str
  password:
    description: The password; it is sent under TLS only.
    type: str
  secure:
    description: V(always) TLS from the start, V(starttls), V(try) STARTTLS where it is offered, V(never).
    type: str
    choices: [try, starttls, always, never]
    default: try
  sender:
    description: Address it comes from.
    type: str
    required: true
  to:
    description: Addresses it goes to.
    type: list
    elements: str
    required: true
  subject:
    description: The subject.
    type: str
    required: true
  body:
    description: The text.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Tell the people on call
  pap.deploy.pap_mail:
    code: "{{ playbook_dir }}/../module_utils"
    host: mail.example
    sender: pap-deploy@example.org
    to: [ops@example.org]
    subject: pap-staging was rolled back
    body: pap-staging runs 2.0 again.
  delegate_to: localhost
"""

RETURN = r"""
to:
  description: Who got it.
  returned: success
  type: list
  elements: str
  sample: [ops@example.org]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import run_code


def main() -> None:
    needed = {"type": "str", "required": True}
    module = AnsibleModule(
        {
            "code": {"type": "path", "required": True},
            "host": needed,
            "port": {"type": "int", "default": 25},
            "username": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "secure": {"type": "str", "choices": ["try", "starttls", "always", "never"], "default": "try"},
            "sender": needed,
            "to": {"type": "list", "elements": "str", "required": True},
            "subject": needed,
            "body": needed,
        },
        supports_check_mode=False,
        required_by={"username": ["password"]},
    )
    given = module.params

    def work(mail: Any) -> Any:
        login = {key: given[key] or "" for key in ("username", "password")}
        server = mail.Server(given["host"], given["port"], secure=given["secure"], **login)
        return mail.send(server, **{key: given[key] for key in ("sender", "to", "subject", "body")})

    run_code(module, given["code"], "notify.mail", work)


if __name__ == "__main__":
    main()
