"""``control.py STATE_FILE start|stop|restart``: the API's process, as a deploy works it.

supervisord does the work; supervisorctl would return before the API answers, or a second after it. This returns when
the API answers (0), or when its process has ended or does not answer in time (1, with the end of its log).
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import urllib.request
import xmlrpc.client
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

ANSWER_SECONDS = 45.0
LOG_CHARACTERS = 1500
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes by a proxy
STARTED = {"STARTING", "RUNNING"}
ALREADY_STARTED, NOT_RUNNING = 60, 70


def main(state_file: str, action: str) -> int:
    state = json.loads(Path(state_file).read_text(encoding="utf-8"))
    transport = SupervisorTransport(None, None, f"unix://{state['supervisor_socket']}")
    supervisor: Any = xmlrpc.client.ServerProxy("http://127.0.0.1", transport).supervisor
    process = f"{state['environment']}:api"
    failing = supervisor.getProcessInfo(process)["statename"] == "BACKOFF"  # and about to be tried again
    if action in ("stop", "restart") or failing:
        with _passing_over(NOT_RUNNING):
            supervisor.stopProcess(process, True)
    if action in ("start", "restart"):
        with _passing_over(ALREADY_STARTED):
            supervisor.startProcess(process, False)
        return _wait(supervisor, process, state["api"])
    return 0


def _wait(supervisor: Any, process: str, api: dict[str, Any]) -> int:
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        info = supervisor.getProcessInfo(process)
        if info["statename"] not in STARTED:
            return _fail(f"{process} ended while starting ({info['statename']})", api)
        with contextlib.suppress(OSError, ValueError):
            # The process that was started, not one that still answers.
            if json.load(OPENER.open(api["url"] + "/version", timeout=2))["pid"] == info["pid"]:
                return 0
        time.sleep(0.05)
    return _fail(f"{process} does not answer after {ANSWER_SECONDS:.0f} s", api)


def _fail(what: str, api: dict[str, Any]) -> int:
    log = Path(api["log_files"][0])
    print(f"{what}. The end of {log}:\n{log.read_text('utf-8', 'replace')[-LOG_CHARACTERS:]}", file=sys.stderr)
    return 1


@contextlib.contextmanager
def _passing_over(code: int) -> Any:
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if fault.faultCode != code:
            raise


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[2] not in ("start", "stop", "restart"):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
