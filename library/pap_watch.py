#!/usr/bin/python
# Copyright: pap-deploy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Watch the logs of a stack after a deploy."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pap_watch
short_description: Watch the logs of a stack after a deploy
version_added: "0.1.0"
author:
  - pap-deploy authors (@pap-deploy)
description:
  - O(state=baseline) records the log baseline, before anything changes.
  - O(state=first_minute) watches the first seconds of the new version and fails on an alarm; the deploy is rolled back.
  - O(state=watcher) has a timer of systemd, cron or a detached process run the watch from now on, and go on where it
    was if it died.
  - O(state=status) says where the watch stands; O(state=acknowledgement) closes alarms with a reason.
extends_documentation_fragment:
  - pap_stack
  - pap_options.watch
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
  - O(state=watcher), O(state=status) and O(state=acknowledgement) read files only; the stack may be down.
seealso:
  - module: pap.deploy.pap_status
    description: Shows whether the watch is alive.
  - module: pap.deploy.pap_rollback
    description: Takes the release back on an alarm.
options:
  state:
    description: What to do.
    type: str
    choices: [baseline, first_minute, watcher, status, acknowledgement]
    required: true
  release:
    description:
      - Id of the release. Empty takes the one in force.
      - Required with O(state=baseline) and O(state=first_minute), which belong to a deploy.
    type: str
  alert:
    description:
      - A webhook that the watcher tells of an alarm, with C(url), C(format) (json or slack) and C(headers).
      - With O(state=watcher). It stays in the watcher's memory; for the steps of a timer or of cron it is kept in a
        private file.
    type: dict
    default: {}
  reason:
    description: Why the alarms are harmless. Required with O(state=acknowledgement).
    type: str
"""

EXAMPLES = r"""
- name: Record the log baseline
  pap.deploy.pap_watch:
    stack: "{{ pap_stack }}"
    release: "{{ preflight.release }}"
    state: baseline

- name: Get the status of the log watch
  pap.deploy.pap_watch:
    stack: "{{ pap_stack }}"
    state: status
  register: watched
"""

RETURN = r"""
prepared:
  description: Whether there is anything to watch; without a log there is not.
  returned: when O(state=baseline)
  type: bool
  sample: true
watched:
  description: Whether the logs were watched.
  returned: when O(state=first_minute)
  type: bool
  sample: true
counts:
  description: What was counted in the first minute, by kind.
  returned: when O(state=first_minute)
  type: dict
  sample: {error: 0, restart: 0}
watching:
  description: Whether the watch goes on.
  returned: when O(state=watcher)
  type: bool
  sample: true
release:
  description: The release that is watched; empty if nothing was deployed yet.
  returned: when O(state=status)
  type: str
  sample: 20260301T101500Z-9f3c
ok:
  description: Whether there is no open alarm and the watcher lives or has ended.
  returned: when O(state=status)
  type: bool
  sample: true
alarm:
  description: Whether an alarm is open that the new version may have caused.
  returned: when O(state=status)
  type: bool
  sample: false
dead:
  description: Whether the watcher is gone or silent before its time.
  returned: when O(state=status)
  type: bool
  sample: false
blind:
  description: Whether its logs cannot show errors, or cannot be read.
  returned: when O(state=status)
  type: bool
  sample: false
watch:
  description: The state in full, with C(alarms), C(counts), C(heartbeat).
  returned: when O(state=status)
  type: dict
  sample: {alarms: [], counts: {error: 0}, heartbeat: "2026-03-01T10:20:00Z"}
pap:
  description: The phase and the lines that are printed.
  returned: success
  type: dict
  sample: {phase: watch, lines: ["60 s: 12 requests, nothing to report"], status: ok}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pap_module import options_of, run_of, run_phase, run_state, spec

STATES = ["baseline", "first_minute", "watcher", "status", "acknowledgement"]


def main() -> None:
    module = AnsibleModule(
        spec(
            "watch",
            state={"type": "str", "choices": STATES, "required": True},
            release={"type": "str"},
            alert={"type": "dict", "default": {}, "no_log": True},
            reason={"type": "str"},
        ),
        supports_check_mode=False,
        required_if=[
            ("state", "baseline", ["release"]),
            ("state", "first_minute", ["release"]),
            ("state", "acknowledgement", ["reason"]),
        ],
    )
    given, release = module.params, module.params["release"] or ""
    if given["state"] in ("baseline", "first_minute"):
        verb = {"baseline": "prepare", "first_minute": "first"}[given["state"]]
        run_phase(
            module,
            "watch",
            lambda stack, phase: getattr(phase, verb)(stack, release, options_of(module, phase.Options)),
            phase="watch",
        )

    def on_the_state(state: Any, phase: Any) -> Any:
        if given["state"] == "watcher":
            confidential = phase.Confidential.of(given["stack"], given["alert"], given["prometheus_token"])
            stack = phase.handover.Stack(given["stack"]["name"], given["stack"]["environment"] or "")
            return phase.start(state, release, confidential, wanted=given["runner"], stack=stack)
        if given["state"] == "status":
            return phase.status(state, release)
        return phase.acknowledge(state, release, run_of(given["stack"]["who"]), given["reason"])

    run_state(module, "watch", on_the_state)


if __name__ == "__main__":
    main()
