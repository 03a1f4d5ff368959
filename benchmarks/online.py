"""What users notice of a deploy: readers and writers run against the sandbox's API through all of it.

    python benchmarks/online.py [--runs 3]

Side by side: deploy.yml in standard and in online mode, the page of commands that a person types, and nothing but the
API's own restart (the floor: no deploy can lose less). Readers ask for /policies/ with a token, writers log in (which
writes a session, an audit row and the user). A request fails if it is refused, ends in a 5xx, or takes over 10 s.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Callable

from deploy import BIN, ENVIRONMENT, ROOT, by_hand, pending_sql, sandbox

READERS, WRITERS = 3, 1
READ_EVERY_S, WRITE_EVERY_S = 0.05, 0.4
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Traffic:
    """Readers and writers while the block runs. ``answers`` holds (start, end, worked, writes) of every request."""

    def __init__(self, url: str) -> None:
        self.url, self._stop = url, threading.Event()
        self.answers: list[tuple[float, float, bool, bool]] = []
        self._token = self._log_in()

    def __enter__(self) -> Traffic:
        every = [(self._read, READ_EVERY_S)] * READERS + [(self._write, WRITE_EVERY_S)] * WRITERS
        self._threads = [threading.Thread(target=self._run, args=pair, daemon=True) for pair in every]
        for thread in self._threads:
            thread.start()
        time.sleep(1.0)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(1.0)
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[[], object], every_s: float) -> None:
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                work()
                worked = True
            except urllib.error.HTTPError as error:
                worked = error.code < 500
            except (OSError, ValueError):
                worked = False
            self.answers.append((started, time.monotonic(), worked, work == self._write))
            self._stop.wait(max(0.0, every_s - (time.monotonic() - started)))

    def _open(self, path: str, body: object = None, token: str = "") -> Any:
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = json.dumps(body).encode() if body is not None else None
        with _OPENER.open(urllib.request.Request(self.url + path, data, headers), timeout=10) as answer:
            return json.load(answer)

    def _log_in(self) -> str:
        return str(self._open("/auth/login", {"username": "admin", "password": "sandbox-only"})["access_token"])

    def _read(self) -> None:
        self._open("/policies/", token=self._token)

    def _write(self) -> None:
        self._log_in()

    def summary(self) -> dict[str, float]:
        """``away``: longest time (seconds) between two answers that worked; requests, failures, slowest that worked."""
        good = sorted(end for _, end, worked, writes in self.answers if worked and not writes)
        return {
            "away": max(b - a for a, b in zip(good, good[1:])),
            "requests": len(self.answers),
            "failed": sum(not worked for _, _, worked, _ in self.answers),
            "slowest": max(end - start for start, end, worked, _ in self.answers if worked),
        }


def ansible(home: Path, *extra: str) -> None:
    done = subprocess.run(
        [BIN / "ansible-playbook", "deploy.yml", "-l", ENVIRONMENT, "-e", "watch_enabled=false", *extra],
        cwd=ROOT, env={**os.environ, "PAP_SANDBOX_HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs of each; the median counts")
    parser.add_argument("--max-lock", type=float, default=5.0, help="rehearse_online_max_lock_s of the runs")
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="pap-bench-"))
    home.chmod(0o755)
    found: dict[str, list[dict[str, float]]] = {}
    try:
        sql = pending_sql(home, sandbox("reset", home))
        limit = f"rehearse_online_max_lock_s={given.max_lock}"
        ways: dict[str, Callable[[dict[str, Any]], object]] = {
            "restart alone": lambda state: subprocess.run(
                state["api"]["restart"], check=True, stdout=subprocess.DEVNULL, cwd=ROOT
            ),
            "online": lambda _: ansible(home, "-e", "pap_mode=online", "-e", limit),
            "standard": lambda _: ansible(home),
            "by hand": lambda state: by_hand(home, state, sql),
        }
        for _ in range(given.runs):
            for name, work in ways.items():
                state = sandbox("reset", home)
                with Traffic(state["api"]["url"]) as traffic:
                    work(state)
                found.setdefault(name, []).append(traffic.summary())
    finally:
        sandbox("down", home)
        shutil.rmtree(home, ignore_errors=True)
    report(found)


def report(found: dict[str, list[dict[str, float]]]) -> None:
    def median(name: str, key: str) -> float:
        return statistics.median(item[key] for item in found[name])

    print(f"median of {len(found['online'])} runs, {READERS} readers and {WRITERS} writer against the API all the time")
    print(f"{'':18}{'unavailable s':>15}{'beyond restart':>16}{'failed':>9}{'of requests':>13}{'slowest s':>11}")
    floor = median("restart alone", "away")
    for name in found:
        away = median(name, "away")
        print(
            f"{name:18}{away:15.2f}{away - floor:16.2f}{median(name, 'failed'):9.0f}"
            f"{median(name, 'requests'):13.0f}{median(name, 'slowest'):11.2f}"
        )
    for name in ("online", "standard"):
        print(f"by hand / {name}: unavailable {median('by hand', 'away') / median(name, 'away'):.1f}x as long")


if __name__ == "__main__":
    main()
