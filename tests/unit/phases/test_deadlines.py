"""The time of a phase as a whole: what hangs ends as a failure of that phase."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from papdeploy.core.errors import DeadlineExceeded, Refused
from papdeploy.phases.deadlines import DEFAULTS, deadline
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run
from support.deploy_playbook import steps_of_a_deploy
from support.journals import entries


def read_for_ever() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.recv(1)


@pytest.mark.parametrize("hang", [read_for_ever, lambda: threading.Event().wait(60)], ids=["a read", "a lock"])
def test_what_hangs_is_ended(hang: Callable[[], object], tmp_path: Path) -> None:
    journal = State(tmp_path).begin(Run(user="u", host="h", pid=1))
    with (
        pytest.raises(DeadlineExceeded, match="The phase login smoke test did not end within 0 s") as caught,
        deadline("login_smoke_test", {"login_smoke_test": 0.05}),
        journal.checkpoint("login_smoke_test"),
    ):
        hang()
    assert "pap_phase_deadlines_s: {login_smoke_test: …}" in caught.value.hint
    assert [entry["event"] for entry in entries(journal)[-2:]] == ["begin", "failed"]


def test_what_ends_in_time_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with deadline("finish", {}):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 800
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL)[0] < 800


def test_a_phase_that_is_none_is_refused() -> None:
    with pytest.raises(Refused, match="names 'activte', which is no phase"), deadline("finish", {"activte": 3}):
        pass


def test_every_phase_of_the_deploy_has_one() -> None:
    phases = [task["vars"]["pap_phase"] for task in steps_of_a_deploy() if "pap_phase" in task.get("vars", {})]
    assert len(phases) == 8 and set(phases) <= set(DEFAULTS)
