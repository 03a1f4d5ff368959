"""Deploys of a sandbox that are killed while they work."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from support import ROOT
from support.sandbox_stack import Sandbox


class Interrupted(Sandbox):
    """A sandbox whose deploys are killed, and what a person finds who looks then; nothing is rehearsed, unless asked for."""

    def content(self) -> dict[str, Any]:
        """Every table's columns, rows and checksum, but for what the smoke user's logins write."""
        argv: list[str | Path] = [sys.executable, ROOT / "molecule/shared/content.py", self.home / "staging/state.json"]
        without = ["--without", "users", "user_sessions", "audit_logs"]
        done = subprocess.run([*argv, *without], capture_output=True, text=True, check=True, timeout=120)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def program(self, name: str, *arguments: str, given: str = "") -> str:
        """One of PostgreSQL's own client programs, as superuser."""
        at = json.loads((self.home / "staging/state.json").read_text())["postgres"]
        password = (self.home / "staging/secrets/password-postgres").read_text()
        argv = [f"{at['bin_dir']}/{name}", "-h", at["host"], "-p", str(at["port"]), "-U", "postgres", *arguments]
        env = {**os.environ, "PGPASSWORD": password}
        return subprocess.run(argv, env=env, input=given, capture_output=True, text=True, check=True, timeout=60).stdout

    def sql(self, statement: str) -> str:
        return self.program("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", statement).strip()

    def look_behind_the_fence(self) -> str:
        """A person who wants to see what is there makes a copy, in which the record comes along. Its name, if any."""
        fenced = self.sql("SELECT datname FROM pg_database WHERE datname ~ '__fenced_'")
        if fenced:
            script = self.program("pg_dump", "-C", "-s", fenced)
            self.program(
                "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", "postgres", given=script.replace(fenced, "a_look")
            )
        return "a_look" if fenced else ""

    def entries(self) -> list[dict[str, Any]]:
        journals = sorted((self.home / "staging/pap-deploy/releases").glob("*/journal.jsonl"))
        lines = journals[-1].read_text().splitlines(keepends=True) if journals else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def argv(self, playbook: str, *options: str, **variables: Any) -> list[str]:
        return super().argv(playbook, *options, **{"pap_rehearse": False, **variables})

    def tells_what_stands(self, release: str, look: str) -> None:
        """Status names the copy as one; with another state folder, every command says how to lift the fence by hand."""
        said = self.run("status.yml").stdout
        assert f"! unfinished: release {release} was interrupted" in said
        assert f"database {look} carries a record of pap-deploy, but is not ours and never touched: a copy" in said
        lost = ("-e", f"pap_state_dir={self.home / 'lost'}")
        for command in ("status.yml", "rollback.yml"):
            said = " ".join(self.run(command, *lost).stdout.split())
            assert f"control_core_db itself, behind the fence that release {release} raised" in said
            assert f'ALTER DATABASE "control_core_db__fenced_{release}" RENAME TO "control_core_db";' in said

    def kill_at(self, phase: str, event: str, *, everything: bool) -> None:
        """Start a deploy and kill it (the controller only, or every process of it) when the journal says so."""
        said = self.home / "killed.log"
        with said.open("w") as log:
            deploy = subprocess.Popen(
                self.argv("deploy.yml"),
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + 150
        while not any((e["phase"], e["event"]) == (phase, event) for e in self.entries()):
            assert deploy.poll() is None, f"the deploy ended before {phase} {event}:\n{said.read_text()}"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        if everything:
            for pid in descendants(deploy.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        deploy.kill()
        deploy.wait()


def descendants(root: int) -> list[int]:
    """Every process below ``root``, whatever session or group it moved to."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found
