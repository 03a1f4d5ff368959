"""A fleet under ansible-runner, as AWX runs it: waves; where one fails whole, each stack of the rest has its verdict."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ansible_runner
import pytest
import yaml
from papdeploy.releases.journal import State
from support import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from fleet_stacks import Fleet

PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    home = Path(tempfile.mkdtemp(prefix="pap-fleet-"))
    home.chmod(0o755)  # PostgreSQL's own account has to reach the sandbox in it
    try:
        with Fleet(home, 3) as made:
            yield made
    finally:
        shutil.rmtree(home, ignore_errors=True)


def verdicts(fleet: Fleet, name: str) -> list[str]:
    ends = [journal.ended() for journal in State(fleet.folder(name) / "pap-deploy").releases()]
    return [end.event if end else "unfinished" for end in ends]


def documented(module: str) -> set[str]:
    """The keys of the module's RETURN."""
    text = (ROOT / "library" / f"{module}.py").read_text()
    return set(yaml.safe_load(text.partition('RETURN = r"""')[2].partition('"""')[0]))


@pytest.mark.timeout(600)
def test_canary_waves_and_the_stop(fleet: Fleet) -> None:
    inventory = fleet.inventory(pap_rehearse=False)
    hosts: dict[str, Any] = yaml.safe_load(inventory.read_text())
    broken = f"{fleet.state['releases_dir']}/broken-login"
    hosts["staging"]["hosts"]["pap-002"]["pap_api_release_dir"] = broken
    inventory.write_text(yaml.safe_dump(hosts))
    policies = "SELECT md5(string_agg(p::text, '' ORDER BY id)) FROM policies AS p"
    content = fleet.sql("pap-002", policies)

    (fleet.home / "runner").mkdir()
    run = ansible_runner.run(
        private_data_dir=str(fleet.home / "runner"),
        project_dir=str(ROOT),
        playbook="deploy.yml",
        inventory=str(inventory),
        limit="staging",
        extravars={"pap_serial": [1, 1, 1]},
        envvars={"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1", "PATH": PATH},
        quiet=True,
        timeout=540,
    )
    said = run.stdout.read()
    assert (run.status, run.rc) == ("failed", 2), said

    assert verdicts(fleet, "pap-001") == ["finished"], said
    assert verdicts(fleet, "pap-002") == ["rolled_back"], said
    assert verdicts(fleet, "pap-003") == [], "the third wave did not begin"
    assert "Not deployed: pap-002 failed, or cannot be reached, before" in said, "of a wave after one that failed whole"
    lines = [line.split() for line in said.splitlines()]
    assert (
        sum(line[:1] == ["stack"] for line in lines) == 1
        and ["pap-003", "-", "-", "not", "deployed", "-", "-"] in lines
    )
    running = [(fleet.folder(name) / "current").resolve().name for name in fleet.names]
    assert running == ["current", "previous", "previous"]
    assert fleet.sql("pap-002", policies) == content
    columns = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'rego_code'"
    assert [fleet.sql(name, columns) for name in ("pap-001", "pap-003")] == ["1", "0"]

    page = (fleet.home / "reports" / "index.html").read_text()
    assert "1 stack deployed, 1 not" in page and page.index("pap-002") < page.index("pap-001")

    # What the runner's caller sees: events by task and host, with the failed ones in it.
    failed = {event["event_data"]["host"] for event in run.events if event["event"] == "runner_on_failed"}
    assert failed == {"pap-002", "pap-003"}

    # What the modules returned on the way, success and rollback, is what their RETURN says.
    common = {"changed", "invocation", "diff", "warnings", "deprecations"}
    common |= {"gid", "group", "mode", "owner", "size", "state", "uid"}  # Ansible adds them beside any path
    seen, unsaid = set(), {}
    for event in run.events:
        module = event["event_data"].get("task_action", "")
        if event["event"] == "runner_on_ok" and module.startswith("pap_"):
            seen.add(module)
            keys = {key for key in event["event_data"]["res"] if not key.startswith("_ansible")}
            unsaid.update({(module, key): event["event_data"]["task"] for key in keys - common - documented(module)})
    assert unsaid == {}
    assert {
        "pap_preflight",
        "pap_backup",
        "pap_migrate",
        "pap_activate",
        "pap_rollback",
        "pap_report",
        "pap_fleet",
    } <= seen
