"""The whole deploy of the sandbox against the same work by hand: time by phase, and how long the API was away.

    python benchmarks/deploy.py [--runs 3]
    python benchmarks/deploy.py --docker [--runs 3]     the forecast alone, on a stack in containers

The forecast of the rehearsal stands beside what was measured, phase by phase; 0.8 to 1.25 of it is what it promises.
By hand is what a careful person types without this project: pg_dump (plain), the changes as SQL through psql, a look
at the columns, switch and restart, curl. It proves nothing of its backup, and that is part of the comparison: the
phases that by hand has no equivalent for are listed apart. The API is probed from outside, 20 times a second.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
ENVIRONMENT = "staging"


class Probe:
    """Asks the API's health 20 times a second; ``away`` is the longest time without an answer, in seconds."""

    def __init__(self, url: str) -> None:
        self.url, self.away, self._stop = url, 0.0, threading.Event()
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        good = time.monotonic()
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                with self._opener.open(self.url + "/health", timeout=1) as answer:
                    if answer.status == 200:
                        good = time.monotonic()
            except OSError:
                pass
            self.away = max(self.away, time.monotonic() - good)
            self._stop.wait(max(0.0, 0.05 - (time.monotonic() - started)))

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def sandbox(command: str, home: Path) -> dict[str, Any]:
    env = {**os.environ, "PAP_SANDBOX_HOME": str(home)}
    subprocess.run(
        [sys.executable, "-m", "sandbox", command, ENVIRONMENT],
        cwd=ROOT,
        env=env,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    state = home / ENVIRONMENT / "state.json"
    return json.loads(state.read_text()) if state.exists() else {}


def start_up(state: dict[str, Any]) -> float:
    """Seconds from restarting the API to its first healthy answer: what no deploy can avoid."""
    with Probe(state["api"]["url"]) as probe:
        time.sleep(0.3)
        subprocess.run(state["api"]["restart"], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        time.sleep(0.3)
    return probe.away


def deploy(home: Path, state: dict[str, Any], *extra: str) -> dict[str, Any]:
    env = {**os.environ, "PAP_SANDBOX_HOME": str(home)}
    started = time.monotonic()
    with Probe(state["api"]["url"]) as probe:
        done = subprocess.run(
            [BIN / "ansible-playbook", "deploy.yml", "-l", ENVIRONMENT, *extra],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        time.sleep(0.2)
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    releases = sorted((Path(state["deploy_dir"]) / "releases").iterdir())
    entries = [json.loads(line) for line in (releases[-1] / "journal.jsonl").read_text().splitlines()]
    return {"seconds": seconds, "away": probe.away, "phases": phases(entries), "forecast": forecast(entries)}


def forecast(entries: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """By phase, and for the whole, what the rehearsal foretold of the downtime and what the journal measured."""
    from papdeploy.releases import downtime
    from papdeploy.releases.records import entry_of

    told = next(entry for entry in entries if (entry["phase"], entry["event"]) == ("rehearse", "done"))
    real = phases(entries)
    active = next(entry for entry in entries if (entry["phase"], entry["event"]) == ("activate", "done"))
    real["activate"] = active["healthy_after_s"]
    found = {name: (seconds, real[name]) for name, seconds in told["phases"].items() if name in real}
    return {
        **found,
        "API unavailable": (
            told["expected_unavailable_s"],
            downtime.of_deploy([entry_of(entry) for entry in entries]) or 0.0,
        ),
    }


def in_containers(runs: int) -> None:
    """Deploys of the test stack in containers; its inventory is that of molecule."""
    sys.path.insert(0, str(ROOT / "tests" / "docker"))
    import pap_images
    import pap_stack

    home = Path(tempfile.mkdtemp(prefix="pap-bench-"))
    stack = pap_stack.Stack("pap-bench-forecast")
    pap_images.api_image(stack.engine, "current")
    found = []
    try:
        for number in range(runs):
            stack.up(percent=20)
            given = {"docker_stack": stack.name, "pap_state_dir": str(home / str(number)), "report_folder": str(home)}
            command: list[str | Path] = [
                BIN / "ansible-playbook",
                "deploy.yml",
                "-i",
                "molecule/shared/docker/hosts.yml",
            ]
            env = {**os.environ, "MOLECULE_PROJECT_DIRECTORY": str(ROOT), "MOLECULE_SCENARIO_NAME": stack.name}
            done = subprocess.run(
                [*command, "-e", json.dumps(given)], cwd=ROOT, env=env, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(done.stdout + done.stderr)
            journal = next((home / str(number) / "releases").glob("*/journal.jsonl"))
            found.append(forecast([json.loads(line) for line in journal.read_text().splitlines()]))
    finally:
        stack.down()
        shutil.rmtree(home, ignore_errors=True)
    report_forecast(found)


def report_forecast(found: list[dict[str, tuple[float, float]]]) -> None:
    print(f"{'downtime, seconds':28}{'forecast':>12}{'measured':>12}{'ratio':>8}")
    for name in found[0]:
        told, real = (statistics.median(each[name][side] for each in found) for side in (0, 1))
        print(f"  {name:26}{told:12.2f}{real:12.2f}{told / real if real else 0:8.2f}")
    ratios = ", ".join(f"{told / real:.2f}" for told, real in (each["API unavailable"] for each in found) if real)
    print(f"forecast by measured, each deploy: {ratios}")


def phases(entries: list[dict[str, Any]]) -> dict[str, float]:
    from papdeploy.core.clock import seconds_between

    found, began = {}, {}
    for entry in entries:
        if entry["event"] == "begin":
            began[entry["phase"]] = entry["at"]
        elif entry["event"] == "done" and entry["phase"] in began:
            found[entry["phase"]] = seconds_between(began[entry["phase"]], entry["at"])
        elif entry["event"] == "done" and "seconds" in entry:
            found[entry["phase"]] = float(entry["seconds"])
    return found


def by_hand(home: Path, state: dict[str, Any], sql: Path) -> dict[str, Any]:
    """The page of commands that a person types, as a shell script."""
    server = state["postgres"]
    env = {
        **os.environ,
        "PGHOST": server["host"],
        "PGPORT": str(server["port"]),
        "PGUSER": server["superuser"],
        "PGDATABASE": server["database"],
        "PGPASSWORD": Path(server["superuser_password_file"]).read_text().strip(),
        "PATH": server["bin_dir"] + os.pathsep + os.environ["PATH"],
        "BACKUP": str(home / "backup.sql"),
        "SQL": str(sql),
        "CURRENT": str(Path(state["releases_dir"]) / "current"),
        "LINK": str(Path(state["api"]["dir"]) / "current"),
        "STOP": " ".join(state["api"]["stop"]),
        "START": " ".join(state["api"]["start"]),
        "URL": state["api"]["url"],
        "LOGIN": json.dumps({"username": "admin", "password": "sandbox-only"}),
    }
    script = """set -e
pg_dump > "$BACKUP"
$STOP >/dev/null
psql -q -v ON_ERROR_STOP=1 -1 -f "$SQL" >/dev/null
psql -Atc "SELECT count(*) FROM information_schema.columns WHERE table_name='policies'" >/dev/null
ln -sfn "$CURRENT" "$LINK"
$START >/dev/null
until curl --noproxy '*' -fs "$URL/health" >/dev/null; do sleep 0.05; done
curl --noproxy '*' -fs -H 'Content-Type: application/json' -d "$LOGIN" "$URL/auth/login" >/dev/null
"""
    started = time.monotonic()
    with Probe(state["api"]["url"]) as probe:
        subprocess.run(["bash", "-c", script], env=env, cwd=ROOT, check=True)
        seconds = time.monotonic() - started
        time.sleep(0.2)
    return {"seconds": seconds, "away": probe.away}


def pending_sql(home: Path, state: dict[str, Any]) -> Path:
    """The SQL of the pending migrations, as the plan prints it: by hand gets it for nothing."""
    done = subprocess.run(
        [BIN / "ansible-playbook", "deploy.yml", "-l", ENVIRONMENT, "--check", "--diff"],
        cwd=ROOT,
        env={**os.environ, "PAP_SANDBOX_HOME": str(home), "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.split("SQL (pending)\n")[1].split("\n--- ")[0].splitlines()
    path = home / "pending.sql"
    path.write_text("\n".join(line[1:] for line in lines if line.startswith("+")))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs of each; the median counts")
    parser.add_argument("--docker", action="store_true", help="the forecast alone, on a stack in containers")
    given = parser.parse_args()
    runs = given.runs
    if given.docker:
        in_containers(runs)
        return
    home = Path(tempfile.mkdtemp(prefix="pap-bench-"))
    home.chmod(0o755)
    try:
        state = sandbox("reset", home)
        sql = pending_sql(home, state)
        starts, ours, theirs = [], [], []
        for _ in range(runs):
            state = sandbox("reset", home)
            starts.append(start_up(state))
            ours.append(deploy(home, state))
            state = sandbox("reset", home)
            theirs.append(by_hand(home, state, sql))
        report(starts, ours, theirs)
    finally:
        sandbox("down", home)
        shutil.rmtree(home, ignore_errors=True)


def report(starts: list[float], ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    def median(items: list[dict[str, Any]], key: str) -> float:
        return float(statistics.median(item[key] for item in items))

    start = statistics.median(starts)
    hand = median(theirs, "seconds")
    print(f"median of {len(ours)} runs, side by side")
    print(f"{'':28}{'deploy.yml':>12}{'by hand':>12}{'ratio':>8}")
    print(f"{'whole, seconds':28}{median(ours, 'seconds'):12.2f}{hand:12.2f}{median(ours, 'seconds') / hand:8.1f}")
    away, away_hand = median(ours, "away"), median(theirs, "away")
    print(f"{'API unavailable, seconds':28}{away:12.2f}{away_hand:12.2f}{away / away_hand:8.1f}")
    print(f"{'  of that its own start-up':28}{start:12.2f}{start:12.2f}")
    print(f"{'  beyond its start-up':28}{away - start:12.2f}{away_hand - start:12.2f}")
    report_forecast([item["forecast"] for item in ours])
    print("phases of deploy.yml, seconds")
    for name in ours[0]["phases"]:
        print(f"  {name:26}{statistics.median(item['phases'].get(name, 0.0) for item in ours):12.2f}")


if __name__ == "__main__":
    main()
