"""A deploy whose controller is killed: the next deploy ends it and goes on; nothing is lost, whatever it was doing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT

BIN = Path(sys.executable).parent
PLAYBOOK = [str(BIN / "ansible-playbook"), "-l", "staging", "-e", "pap_rehearse=false"]


class Stack:
    """A sandbox of the test's own, at the previous release."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {**os.environ, "PAP_SANDBOX_HOME": str(home), "ANSIBLE_NOCOLOR": "1"}

    def sandbox(self, *words: str) -> None:
        argv = [sys.executable, "-m", "sandbox", *words]
        subprocess.run(argv, cwd=ROOT, env=self.env, check=True, stdout=subprocess.DEVNULL, timeout=120)

    def content(self) -> dict:
        """Every table's columns, rows and checksum, but for what the smoke user's logins write."""
        argv = [sys.executable, ROOT / "molecule/shared/content.py", self.home / "staging/state.json"]
        without = ["--without", "users", "user_sessions", "audit_logs"]
        done = subprocess.run([*argv, *without], capture_output=True, text=True, check=True, timeout=120)
        return json.loads(done.stdout)

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

    def entries(self) -> list[dict]:
        journals = sorted((self.home / "staging/pap-deploy/releases").glob("*/journal.jsonl"))
        lines = journals[-1].read_text().splitlines(keepends=True) if journals else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def play(self, playbook: str, *extra: str) -> subprocess.CompletedProcess[str]:
        argv = [*PLAYBOOK, playbook, *extra]
        return subprocess.run(argv, cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=300)

    def tells_what_stands(self, release: str, look: str) -> None:
        """Status names the copy as one; with another state folder, every command says how to lift the fence by hand."""
        said = self.play("status.yml").stdout
        assert f"! unfinished: release {release} was interrupted" in said
        assert f"database {look} carries a record of pap-deploy, but is not ours and never touched: a copy" in said
        lost = ("-e", f"pap_state_dir={self.home / 'lost'}")
        for command in ("status.yml", "rollback.yml"):
            said = " ".join(self.play(command, *lost).stdout.split())
            assert f"control_core_db itself, behind the fence that release {release} raised" in said
            assert f'ALTER DATABASE "control_core_db__fenced_{release}" RENAME TO "control_core_db";' in said

    def kill_at(self, phase: str, event: str, *, everything: bool) -> None:
        """Start a deploy and kill it (the controller only, or every process of it) when the journal says so."""
        said = self.home / "killed.log"
        with said.open("w") as log:
            deploy = subprocess.Popen(
                [*PLAYBOOK, "deploy.yml"],
                cwd=ROOT,
                env=self.env,
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


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = ROOT / ".artifacts" / "killed"
    made = Stack(home)
    try:
        yield made
    finally:
        made.sandbox("down")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("phase", "event", "everything"),
    [
        pytest.param("backup", "begin", True, marks=pytest.mark.nightly),
        pytest.param("fence", "begin", True, marks=pytest.mark.nightly),
        ("fence", "done", True),
        pytest.param("migrate", "begin", False, marks=pytest.mark.nightly),
        ("migrate", "begin", True),
        pytest.param("migrate", "done", True, marks=pytest.mark.nightly),
        pytest.param("unfence", "begin", True, marks=pytest.mark.nightly),
        ("activate", "begin", True),
    ],
)
def test_the_next_deploy_ends_what_was_killed(stack: Stack, phase: str, event: str, everything: bool) -> None:
    stack.sandbox("reset", "staging")
    before = stack.content()
    stack.kill_at(phase, event, everything=everything)
    interrupted = stack.entries()[0]["release"]
    oid = stack.sql("SELECT oid FROM pg_database WHERE datname ~ '^control_core_db(__fenced_|$)'")
    look = stack.look_behind_the_fence()
    if (phase, event) == ("fence", "done"):
        stack.tells_what_stands(interrupted, look)

    asked = stack.play("rollback.yml")

    assert stack.sql("SELECT oid FROM pg_database WHERE datname = 'control_core_db'") == oid
    if look:
        stack.sql(f"DROP DATABASE {look}")
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert f"release {interrupted}" in asked.stdout
    end = stack.entries()[-1]
    assert (end["phase"], end["event"]) in {("release", "rolled_back"), ("release", "refused")}
    after = stack.content()
    databases = after.pop("databases")
    assert databases == before.pop("databases"), "no scratch, fenced or snapshot database is left"
    assert after == before


@pytest.mark.timeout(600)
def test_a_deploy_after_a_killed_one_recovers_and_can_be_taken_back(stack: Stack, tmp_path: Path) -> None:
    """With an encrypted backup, and no leave to lose a row: the restore comes from the ciphertext, and the smoke test's
    own rows are the only ones that were written. It is announced that the older backup goes, and in the end the failed
    database is dropped."""
    key = tmp_path / "key"
    subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
    recipient = subprocess.run(["age-keygen", "-y", key], check=True, capture_output=True, text=True).stdout.strip()
    encrypt = {"method": "age", "recipients": [recipient], "identity": str(key)}
    options = ["-e", json.dumps({"backup_encrypt": encrypt, "backup_keep": 1, "backup_keep_days": 0})]
    stack.sandbox("reset", "staging")
    before = stack.content()
    stack.kill_at("migrate", "done", everything=True)
    interrupted = stack.entries()[0]["release"]

    done = stack.play("deploy.yml", "-e", "pap_rehearse=true", *options)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"release {interrupted}" in done.stdout
    assert stack.entries()[-1]["event"] == "finished"
    assert stack.entries()[0]["release"] != interrupted
    older, kept = sorted(
        (stack.home / "staging/pap-deploy/backups").glob("*.manifest.json"),
        key=lambda path: interrupted not in path.name,
    )
    assert f"goes with the next backup: {str(older).removesuffix('.manifest.json')}" in done.stdout
    assert kept.name.endswith(".dump.age.manifest.json")
    assert interrupted not in kept.name
    assert b"age-encryption.org" in kept.with_name(kept.name.removesuffix(".manifest.json")).read_bytes()[:30]

    refused = stack.play("deploy.yml", "-e", "preflight_force=true", "-e", "backup_ask_above_gb=0.000001")
    assert refused.returncode != 0
    assert "restoring it as a proof takes" in refused.stdout, "after its preflight has logged in"

    back = stack.play("rollback.yml", "-e", "rollback_strategy=restore")
    assert back.returncode != 0
    assert "is encrypted by age" in back.stdout
    back = stack.play("rollback.yml", "-e", "rollback_strategy=restore", *options)
    assert back.returncode == 0, back.stdout + back.stderr
    assert re.search(
        r"loses nothing but the \d+ rows and \d+ numbers of sequences that the login smoke test wrote", back.stdout
    ), back.stdout

    again = stack.play("rollback.yml")
    assert again.returncode != 0
    assert "has no release that could be taken back: the last one" in again.stdout
    dropped = stack.play("rollback.yml", "-e", "rollback_drop_failed=true")
    assert "dropped control_core_db__failed_" in dropped.stdout
    after = stack.content()
    assert after == before, "the old content, and no database of ours"
