#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make one page of the reports of many stacks, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_overview
short_description: Make one page of the reports of many stacks, on the controller
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Reads the C(report.json) of each stack in a folder and writes C(index.html) beside them.
  - Each stack of a fleet may call it when its own report is there; the page is always whole.
  - Files other than reports are skipped with a warning, and an C(index.html) that was not written here
    stays as it is.
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
  - module: pap.deploy.pap_report
    description: Writes the reports that the page shows.
options:
  code:
    description: Folder to import C(papdeploy) from, on the controller.
    type: path
    required: true
  folder:
    description: Folder with one folder for each stack.
    type: path
    required: true
  fetched:
    description: Reports in it that have just been fetched; only their owner may read them from then on.
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Make the overview
  pap.deploy.pap_overview:
    code: "{{ playbook_dir }}/../module_utils"
    folder: /srv/reports
    fetched: [/srv/reports/pap-staging/20260301T101500Z-9f3c.json]
  delegate_to: localhost
"""

RETURN = r"""
path:
  description: The page; empty if an C(index.html) that is not ours lies there, which then stays.
  returned: success
  type: str
  sample: /srv/reports/index.html
stacks:
  description: How many stacks it shows.
  returned: success
  type: int
  sample: 12
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import run_code


def main() -> None:
    path = {"type": "path", "required": True}
    fetched = {"type": "list", "elements": "path", "default": []}
    module = AnsibleModule({"code": path, "folder": path, "fetched": fetched}, supports_check_mode=False)
    asked = module.params
    run_code(module, asked["code"], "report.overview", lambda page: page.write(asked["folder"], asked["fetched"]))


if __name__ == "__main__":
    main()
