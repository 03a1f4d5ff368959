"""A fleet of sandbox stacks on one server: seconds and CPU of the controller per stack, and the fence of each.

    python benchmarks/fleet.py                     # 1 and 4 stacks
    python benchmarks/fleet.py --stacks 1 10 50    # as in docs/benchmarks/fleet.md
    python benchmarks/fleet.py --stacks 10 --forks 2 5 10

The CPU is that of the controller and of all that it started: Ansible, the modules, the client programs of PostgreSQL. What
Ansible itself takes of it is measured by a play of as many tasks on as many hosts, whose modules do nothing (``ping``).

The peer is Ansible's own default: the same playbook under the linear strategy, where each stack waits at each task for all
others, its fence up. All stacks, their APIs and the controller share this machine, so that its cores are what is scarce.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fleet_stacks import ROOT, Fleet
from papdeploy.core.clock import seconds_between
from papdeploy.releases.journal import Journal, State

MODULES = 16  # that a deploy without rehearsal runs on a host or for it


@dataclass
class Measured:
    """Seconds: of the whole run, of CPU below the controller (``ansible``: Ansible's own), of each fence and API."""

    stacks: int
    strategy: str
    forks: int
    wall: float
    cpu: float
    fences: list[float]
    away: list[float]
    ansible: float

    def line(self) -> str:
        return (
            f"{self.stacks:>6}  {self.strategy:<12} {self.forks:>5} {self.wall:>8.1f} {self.wall / self.stacks:>10.1f}"
            f" {self.cpu / self.stacks:>10.1f} {self.ansible / self.stacks:>8.1f} {statistics.median(self.fences):>8.2f} {max(self.fences):>8.2f}"
            f" {statistics.median(self.away):>8.2f} {max(self.away):>8.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stacks", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--forks", type=int, nargs="+", default=[os.cpu_count() or 2], help="how many stacks at once")
    parser.add_argument("--linear", type=int, default=0, help="size for the peer (default: the second of --stacks)")
    parser.add_argument("--rehearse", action="store_true", help="with the rehearsal")
    options = parser.parse_args()
    linear = options.linear or (options.stacks[1] if len(options.stacks) > 1 else options.stacks[0])
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; CPU and seconds per stack")
    print(
        "stacks  strategy     forks   wall s  s / stack  CPU/stack  Ansible   fence s (median, max)   API away s (median, max)"
    )
    plan = [(count, "host_pinned", forks) for count in options.stacks for forks in options.forks]
    # The peer fences as wide as the fleet: every stack is in the play at once.
    for count, strategy, forks in [*plan, (linear, "linear", linear)]:
        print(measure(count, strategy, forks, options.rehearse).line(), flush=True)


def measure(count: int, strategy: str, forks: int, rehearse: bool) -> Measured:
    """Deploy ``count`` fresh stacks."""
    home = Path(tempfile.mkdtemp(prefix="pap-bench-"))
    home.chmod(0o755)
    try:
        with Fleet(home, count) as fleet:
            inventory = fleet.inventory(pap_rehearse=rehearse, watch_enabled=False)
            wall, cpu, done = run(inventory, playbook(home, strategy), forks)
            if done.returncode != 0:
                raise SystemExit(done.stdout[-4000:] + done.stderr[-2000:])
            journals = [State(fleet.folder(name) / "pap-deploy").releases()[-1] for name in fleet.names]
            return Measured(
                count, strategy, forks, wall, cpu,
                [fence(journal) for journal in journals],
                [ended.unavailable_s for journal in journals if (ended := journal.ended()) and ended.unavailable_s is not None],
                alone(home, done.stdout, count, forks),
            )  # fmt: skip
    finally:
        shutil.rmtree(home, ignore_errors=True)


def run(inventory: Path, played: Path, forks: int) -> tuple[float, float, subprocess.CompletedProcess[str]]:
    """Seconds and CPU seconds of a run of Ansible, and how it ended."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", inventory, played, "--forks", str(forks)],
        cwd=ROOT, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done


def alone(home: Path, said: str, count: int, forks: int) -> float:
    """CPU seconds of a play of as many tasks as the deploy whose output is ``said`` had, done and skipped, on as many
    hosts: every module of ours is a ``ping``."""
    found = re.search(r"ok=(\d+) .*skipped=(\d+)", said)
    if not found:
        raise SystemExit(f"the output has no summary: {said[-500:]}")
    done, skipped = map(int, found.groups())
    facts = [{"name": "Set a fact", "ansible.builtin.set_fact": {"x": 1}}] * max(0, done - MODULES)
    tasks = [
        *[{"name": "Do nothing", "ansible.builtin.ping": {}}] * MODULES,
        *facts,
        *[{"name": "Skip", "ansible.builtin.debug": {"msg": "x"}, "when": "inventory_hostname == ''"}] * skipped,
    ]
    (home / "alone.yml").write_text(
        json.dumps([{"hosts": "all", "gather_facts": False, "strategy": "host_pinned", "tasks": tasks}])
    )
    local = f"ansible_connection=local ansible_python_interpreter={sys.executable}"
    (home / "alone").write_text("".join(f"pap-{number} {local}\n" for number in range(count)))
    _, cpu, ended = run(home / "alone", home / "alone.yml", forks)
    if ended.returncode != 0:
        raise SystemExit(ended.stdout[-2000:] + ended.stderr[-2000:])
    return cpu


def playbook(home: Path, strategy: str) -> Path:
    """The deploy's playbook, or a copy of it under another strategy."""
    if strategy == "host_pinned":
        return ROOT / "playbooks" / "deploy.yml"
    copy = home / "playbooks"
    shutil.copytree(ROOT / "playbooks", copy)
    for name in ("module_utils", "migrations"):
        (home / name).symlink_to(ROOT / name)
    text = (copy / "deploy.yml").read_text()
    (copy / "deploy.yml").write_text(re.sub(r"strategy: host_pinned.*", f"strategy: {strategy}", text))
    return copy / "deploy.yml"


def fence(journal: Journal) -> float:
    """Seconds for which only the release could write."""
    times = {(entry.phase, entry.event): entry.at for entry in journal.records()}
    return seconds_between(times["fence", "begin"], times["unfence", "done"])


if __name__ == "__main__":
    main()
