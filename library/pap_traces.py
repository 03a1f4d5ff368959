#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Send the report of a release as a trace to OpenTelemetry, from the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_traces
short_description: Send the report of a release as a trace to OpenTelemetry, from the controller
version_added: "0.2.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - Sends the run, its phases and its migrations as spans by OTLP/HTTP, where C(OTEL_EXPORTER_OTLP_ENDPOINT) or
    C(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) is set; the other variables are those of its SDK's.
  - A missing SDK, and a collector that does not take the trace within ten seconds, are warnings.
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
requirements:
  - opentelemetry-sdk
  - opentelemetry-exporter-otlp-proto-http
notes:
  - Runs on the controller; delegate it to C(localhost).
seealso:
  - module: pap.deploy.pap_report
    description: Writes the report that is sent.
options:
  code:
    description: Folder to import C(papdeploy) from, on the controller.
    type: path
    required: true
  report:
    description: The C(report.json) of the release, on the controller.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Send the trace
  pap.deploy.pap_traces:
    code: "{{ playbook_dir }}/../module_utils"
    report: /srv/reports/pap-staging/20260301T101500Z-9f3c.json
  delegate_to: localhost
"""

RETURN = r"""
problem:
  description: Why the trace was not taken; empty if it was, or if no collector is named.
  returned: success
  type: str
  sample: ""
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import run_code


def main() -> None:
    path = {"type": "path", "required": True}
    module = AnsibleModule({"code": path, "report": path}, supports_check_mode=False)
    given = module.params

    def send(traces: Any) -> dict[str, Any]:
        problem = traces.send(given["report"])
        return {"problem": problem, "warnings": [problem] if problem else []}

    run_code(module, given["code"], "report.traces", send)


if __name__ == "__main__":
    main()
