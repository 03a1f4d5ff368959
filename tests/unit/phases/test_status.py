"""Status: in every state of a stack it says how it stands and which command to type next."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from papdeploy import databases
from papdeploy.core.errors import Refused
from papdeploy.core.processes import boot_id
from papdeploy.logwatch import rules
from papdeploy.migrations.cli.results import Pending
from papdeploy.phases import preflight, report
from papdeploy.releases.journal import Journal, State
from papdeploy.releases.run import Run
from papdeploy.releases.version import Version
from support import report_samples
from unit.phases.test_drift import catalog

AWAY = Run(user="jane", host="another-host", pid=1)
# Its number is above any process id.
GONE = Run(user="jane", host=socket.gethostname(), pid=2**22 + 7, boot=boot_id())
VERSION = Version("pap:1.9.0", "sha256:93fe")
CATALOG = catalog()


class Bench:
    """A stack whose database and API are not asked: what the preflight finds is given."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = State(folder / "state", stack="pap")
        conninfo = SimpleNamespace(dbname="app")
        self.stack: Any = SimpleNamespace(
            name="pap", label="pap (staging)", environment="staging", state=self.state,
            database=SimpleNamespace(conninfo=conninfo), api=SimpleNamespace(running=lambda: VERSION),
        )  # fmt: skip
        self.pending: list[Pending] = []
        self.refusal: Refused | None = None
        monkeypatch.setattr(preflight, "look", self._look)
        monkeypatch.setattr(databases, "existing", lambda database: [])
        monkeypatch.setattr(databases, "look_alikes", lambda database: [])
        monkeypatch.setattr(databases, "refuse_absent", lambda database: None)

    def _look(self, *_: Any, **__: Any) -> preflight.Findings:
        if self.refusal:
            raise self.refusal
        return preflight.Findings(
            running=VERSION, candidate=VERSION, server_version=160004, pending=self.pending, differences=[], failing=[],
            expected=CATALOG, models_digest="", live=CATALOG, reversible=True, baseline=None, lines=[],
            migrations=1,
        )  # fmt: skip

    def release(self, who: Run, *phases: str, end: str = "") -> Journal:
        journal = self.state.begin(who, stack="pap", environment="staging", **{"from": VERSION, "to": VERSION})
        for phase in phases:
            journal.append(phase, "begin")
        if end:
            journal.append("release", end, seconds=9.0)
            self.state.lock.release(journal.release)
        return journal

    def said(self) -> tuple[list[str], str, str]:
        """The lines, the last one (what to do next), and the colour."""
        pap = report.status(self.stack, {}, preflight.Options()).pap
        return list(pap.lines), pap.lines[-1], pap.status


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_never_deployed_and_nothing_pending(bench: Bench) -> None:
    lines, following, status = bench.said()
    assert "nothing was deployed yet" in lines and following == "next: nothing to do" and status == ""
    assert not bench.state.folder.exists(), "looking leaves no trace"


def test_pending(bench: Bench) -> None:
    bench.release(GONE, end="finished")
    bench.pending = [Pending("add_keys")]
    lines, following, status = bench.said()
    assert "pending migrations: add_keys" in lines and status == ""
    assert following == "next: ansible-playbook deploy.yml -l pap"


def test_held(bench: Bench) -> None:
    release = bench.release(AWAY, "backup").release
    lines, following, status = bench.said()
    assert any(
        line.startswith(f"! held by {release} of pap, started by jane@another-host (process 1) at ") for line in lines
    )
    assert following.startswith("next: wait") and "rollback_take_over=true" in following and status == "warning"


def test_held_by_a_backup_of_no_release(bench: Bench) -> None:
    with bench.state.lock.by(AWAY).alone("manual") as name:
        lines, following, _ = bench.said()
    assert any(
        line.startswith(f"! held by {name} of pap, started by jane@another-host (process 1) at ") for line in lines
    )
    assert following.endswith("deploy.yml -l pap -e rollback_take_over=true"), "there is no release to roll back"


def test_interrupted(bench: Bench) -> None:
    release = bench.release(GONE, "backup", "fence").release
    lines, following, status = bench.said()
    assert f"! unfinished: release {release} was interrupted in the fence" in lines and status == "warning"
    (down,) = [line for line in lines if line.startswith("! the API is down since ")]
    assert f"release {release} stopped it" in down and down.endswith("ansible-playbook rollback.yml -l pap ends that")
    assert following == "next: ansible-playbook rollback.yml -l pap"


def test_a_deploy_would_be_refused(bench: Bench) -> None:
    bench.release(GONE, end="finished")
    bench.refusal = Refused("The schema was changed outside of pap-deploy.", hint="Undo it.")
    lines, following, status = bench.said()
    assert "! a deploy would be refused: The schema was changed outside of pap-deploy." in lines and status == "warning"
    assert following == "next: Undo it."


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_dead_watcher_comes_before_a_deploy_and_after_an_interrupted_one(bench: Bench, interrupted: bool) -> None:
    journal = bench.release(GONE, end="finished")
    rules.save(journal.folder, report_samples.watch(release=journal.release))
    bench.pending = [Pending("add_keys")]
    if interrupted:
        bench.release(GONE, "backup")
    lines, following, _ = bench.said()
    assert any(line.startswith("! watch: the watcher is gone") for line in lines)
    assert following == f"next: ansible-playbook {'rollback' if interrupted else 'watch'}.yml -l pap"


def test_the_samples_hold_here() -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(GONE.pid, 0)
