"""A fleet of sandbox stacks on one server: seconds and CPU of the controller per stack, and the fence of each.

    python benchmarks/fleet.py                     # 1 and 4 stacks
    python benchmarks/fleet.py --stacks 1 10 50    # as in docs/benchmarks/fleet.md

The peer is Ansible's own default: the same playbook under the linear strategy, where each stack waits at each task for all
others, its fence up. All stacks, their APIs and the controller share this machine, so that its cores are what is scarce.
"""

from __future__ import annotations

import argparse
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


@dataclass
class Measured:
    """Seconds: of the whole run, of CPU below the controller, and of each stack's fence and API."""

    stacks: int
    strategy: str
    wall: float
    cpu: float
    fences: list[float]
    away: list[float]

    def line(self) -> str:
        return (
            f"{self.stacks:>6}  {self.strategy:<12} {self.wall:>8.1f} {self.wall / self.stacks:>10.1f}"
            f" {self.cpu / self.stacks:>10.1f} {statistics.median(self.fences):>8.2f} {max(self.fences):>8.2f}"
            f" {statistics.median(self.away):>8.2f} {max(self.away):>8.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stacks", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--forks", type=int, default=os.cpu_count() or 2, help="how many stacks at once")
    parser.add_argument("--linear", type=int, default=0, help="size for the peer (default: the second of --stacks)")
    parser.add_argument("--rehearse", action="store_true", help="with the rehearsal")
    options = parser.parse_args()
    linear = options.linear or (options.stacks[1] if len(options.stacks) > 1 else options.stacks[0])
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start, {options.forks} forks")
    print("stacks  strategy       wall s  s / stack  CPU/stack   fence s (median, max)   API away s (median, max)")
    plan = [(count, "host_pinned") for count in options.stacks] + [(linear, "linear")]
    for count, strategy in plan:
        print(measure(count, strategy, options.forks, options.rehearse).line(), flush=True)


def measure(count: int, strategy: str, forks: int, rehearse: bool) -> Measured:
    """Deploy ``count`` fresh stacks."""
    home = Path(tempfile.mkdtemp(prefix="pap-bench-"))
    home.chmod(0o755)
    try:
        with Fleet(home, count) as fleet:
            inventory = fleet.inventory(pap_rehearse=rehearse, watch_enabled=False)
            # The peer fences as wide as the fleet: every stack is in the play at once.
            width = count if strategy == "linear" else forks
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            started = time.monotonic()
            done = subprocess.run(
                [Path(sys.executable).parent / "ansible-playbook", "-i", inventory, playbook(home, strategy),
                 "--forks", str(width)],
                cwd=ROOT, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True,
            )  # fmt: skip
            wall = time.monotonic() - started
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if done.returncode != 0:
                raise SystemExit(done.stdout[-4000:] + done.stderr[-2000:])
            journals = [State(fleet.folder(name) / "pap-deploy").releases()[-1] for name in fleet.names]
            return Measured(
                count, strategy, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
                [fence(journal) for journal in journals],
                [ended.unavailable_s for journal in journals if (ended := journal.ended()) and ended.unavailable_s is not None],
            )  # fmt: skip
    finally:
        shutil.rmtree(home, ignore_errors=True)


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
