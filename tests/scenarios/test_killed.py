"""A deploy whose controller is killed: the next deploy ends it and goes on; nothing is lost, whatever it was doing."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT
from support.interrupted_deploys import Interrupted


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interrupted]:
    home = ROOT / ".artifacts" / "killed"
    made = Interrupted(home)
    try:
        yield made
    finally:
        made.command("down")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("phase", "event", "everything"),
    [
        pytest.param("backup", "begin", True, marks=pytest.mark.nightly),
        pytest.param("fence", "begin", True, marks=pytest.mark.nightly),
        pytest.param("fence", "done", True, marks=pytest.mark.nightly),
        pytest.param("migrate", "begin", False, marks=pytest.mark.nightly),
        ("migrate", "begin", True),
        pytest.param("migrate", "done", True, marks=pytest.mark.nightly),
        pytest.param("unfence", "begin", True, marks=pytest.mark.nightly),
        pytest.param("activate", "begin", True, marks=pytest.mark.nightly),
    ],
)
def test_the_next_deploy_ends_what_was_killed(stack: Interrupted, phase: str, event: str, everything: bool) -> None:
    stack.command("reset", "staging")
    before = stack.content()
    stack.kill_at(phase, event, everything=everything)
    interrupted = stack.entries()[0]["release"]
    oid = stack.sql("SELECT oid FROM pg_database WHERE datname ~ '^control_core_db(__fenced_|$)'")
    look = stack.look_behind_the_fence()
    if (phase, event) == ("fence", "done"):
        stack.tells_what_stands(interrupted, look)

    asked = stack.run("rollback.yml")

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


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_deploy_after_a_killed_one_recovers_and_can_be_taken_back(stack: Interrupted, tmp_path: Path) -> None:
    """With an encrypted backup, and no leave to lose a row: the restore comes from the ciphertext, and the smoke test's
    smoke test's rows are the only ones that were written. It is announced that the older backup goes, and in the end the failed
    database is dropped."""
    key = tmp_path / "key"
    subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
    recipient = subprocess.run(["age-keygen", "-y", key], check=True, capture_output=True, text=True).stdout.strip()
    encrypt = {"method": "age", "recipients": [recipient], "identity": str(key)}
    options = ["-e", json.dumps({"backup_encrypt": encrypt, "backup_keep": 1, "backup_keep_days": 0})]
    stack.command("reset", "staging")
    before = stack.content()
    stack.kill_at("migrate", "done", everything=True)
    interrupted = stack.entries()[0]["release"]

    done = stack.run("deploy.yml", "-e", "pap_rehearse=true", *options)

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

    refused = stack.run("deploy.yml", "-e", "preflight_force=true", "-e", "backup_ask_above_gb=0.000001")
    assert refused.returncode != 0
    assert "restoring it as a proof takes" in refused.stdout, "after its preflight has logged in"

    back = stack.run("rollback.yml", "-e", "rollback_strategy=restore")
    assert back.returncode != 0
    assert "is encrypted by age" in back.stdout
    back = stack.run("rollback.yml", "-e", "rollback_strategy=restore", *options)
    assert back.returncode == 0, back.stdout + back.stderr
    assert re.search(
        r"loses nothing but the \d+ rows and \d+ numbers of sequences that the login smoke test wrote", back.stdout
    ), back.stdout

    again = stack.run("rollback.yml")
    assert again.returncode != 0
    assert "has no release that could be rolled back: the last one" in again.stdout
    dropped = stack.run("rollback.yml", "-e", "rollback_drop_failed=true")
    assert "dropped control_core_db__failed_" in dropped.stdout
    after = stack.content()
    assert after == before, "the old content, and no database of ours"
