"""One run at a time: beside a deploy that lives, whoever comes second is refused and the first one ends well; a deploy
that was stopped, taken over and resumed changes nothing more."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import ROOT
from support.interrupted_deploys import Interrupted, descendants
from support.waiting import gone, wait_until

GATE = """
- name: Say that this is reached
  ansible.builtin.file: {{path: "{folder}/reached-{{{{ pap_phase }}}}", state: touch, mode: "0600"}}
- name: Wait for the word to go on
  ansible.builtin.wait_for: {{path: "{folder}/go-{{{{ pap_phase }}}}", timeout: 300, sleep: 1}}
"""


class Deploy:
    """A deploy of its own process, with gates at which it waits."""

    def __init__(self, stack: Interrupted, folder: Path, *gates: str) -> None:
        self.folder = folder
        self.log = folder / "first.log"
        hook = folder / "gate.yml"
        hook.write_text(GATE.format(folder=folder))
        words = [word for gate in gates for word in ("-e", f"pap_hook_after_{gate}={hook}")]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                stack.argv("deploy.yml", "-e", "watch_first_s=1", *words),
                cwd=ROOT, env=stack.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def reaches(self, gate: str) -> None:
        self.until(lambda: (self.folder / f"reached-{gate}").exists())

    def until(self, condition: Callable[[], object]) -> None:
        def there() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return bool(condition())

        wait_until(there, lambda: self.log.read_text(), seconds=300)

    def goes_on(self, gate: str) -> None:
        (self.folder / f"go-{gate}").touch()

    def ends(self) -> tuple[int, str]:
        return self.process.wait(300), self.log.read_text()

    def end(self) -> None:
        for pid in [*descendants(self.process.pid), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def stack() -> Iterator[Interrupted]:
    made = Interrupted(ROOT / ".artifacts" / "one-run")
    try:
        yield made
    finally:
        made.command("down")


def at_once(stack: Interrupted, *plays: tuple[str, ...]) -> list[tuple[int, str]]:
    """Several playbooks at the same time: exit code and output of each."""
    running = [
        subprocess.Popen(
            stack.argv(*play),
            cwd=ROOT,
            env=stack.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for play in plays
    ]
    return [(process.wait(), said) for process in running for said in [process.communicate(timeout=300)[0]]]


@pytest.mark.nightly  # by day tests/integration/databases/test_server_lock.py
@pytest.mark.timeout(900)
def test_whoever_comes_second_is_refused_and_the_first_ends_well(stack: Interrupted, tmp_path: Path) -> None:
    stack.command("reset", "staging")
    first = Deploy(stack, tmp_path, "backup", "migrate")
    elsewhere = json.dumps(
        {"pap_who": {"user": "bob", "host": "elsewhere", "pid": 7, "start": 8, "boot": "b", "pidns": "p"}}
    )
    try:
        first.reaches("backup")
        (begun,) = {entry.parent.name for entry in (stack.home / "staging/pap-deploy/releases").glob("*/journal.jsonl")}
        (stack.home / "staging/pap-deploy/lock.json").unlink()  # by hand: it comes back
        deploy, backup, second_stack, check = at_once(
            stack,
            ("deploy.yml",),
            ("backup.yml",),
            ("deploy.yml", "-e", f"pap_state_dir={tmp_path}/another"),
            ("check.yml",),
        )
        for code, said in (deploy, backup):
            assert code == 2 and f"Another run holds this stack: {begun} of pap-staging" in said, said
            assert "after phase backup" in said and f"process {first.process.pid} runs on this host" in said
            assert "rollback.yml -l pap-staging -e rollback_take_over=true" in said and "is rolled back" not in said
        assert second_stack[0] == 2 and f"release {begun} of stack pap-" in second_stack[1], second_stack[1]
        assert not list((tmp_path / "another").glob("releases/*"))
        assert check[0] == 0 and f"a run is at work here: {begun}" in check[1], check[1]
        first.goes_on("backup")

        first.reaches("migrate")
        rollback, check = at_once(stack, ("rollback.yml", "-e", elsewhere), ("check.yml",))
        assert rollback[0] == 2 and "after phase migrate" in rollback[1], rollback[1]
        assert check[0] == 2 and "A run is at work here" in check[1], "under the fence the database has another name"
        first.goes_on("migrate")
        code, said = first.ends()
    finally:
        first.end()
    assert code == 0 and "finished          pap-staging" in said, said
    entries = stack.entries()
    assert (entries[-1]["event"], entries[0]["release"]) == ("finished", begun)
    assert not [entry for entry in entries if entry["phase"].startswith("rollback") or entry["event"] == "taken_over"]
    assert not (stack.home / "staging/pap-deploy/lock.json").exists()


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_a_deploy_that_was_stopped_and_taken_over_changes_nothing_more(stack: Interrupted, tmp_path: Path) -> None:
    """Stopped in the middle of its migration, controller, module and agent; then the controller goes on."""
    stack.command("reset", "staging")
    before = stack.content()
    first = Deploy(stack, tmp_path)
    try:
        first.until(lambda: any((e["phase"], e["event"]) == ("migrate", "begin") for e in stack.entries()))
        below = descendants(first.process.pid)
        for pid in [first.process.pid, *below]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        begun = stack.entries()[0]["release"]

        refused = stack.run("deploy.yml")
        assert refused.returncode == 2, refused.stdout
        assert f"Another run holds this stack: {begun}" in refused.stdout and "in phase migrate" in refused.stdout

        taken = stack.run("rollback.yml", "-e", "rollback_take_over=true")
        assert taken.returncode == 0, taken.stdout + taken.stderr
        assert stack.content() == before
        os.kill(first.process.pid, signal.SIGCONT)
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        code, said = first.ends()
    finally:
        first.end()
    assert code == 2 and f"Release {begun} was taken over by " in said, said
    assert "this run changes nothing more" in said and "THE ROLLBACK FAILED AS WELL" not in said
    assert stack.content() == before
    events = [(entry["phase"], entry["event"]) for entry in stack.entries()]
    assert events.count(("release", "taken_over")) == 1 and events.count(("rollback", "begin")) == 1
    assert ("release", "rolled_back") in events
    assert all(gone(pid) for pid in below)
