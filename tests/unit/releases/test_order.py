"""The order of releases is that in which they began, whatever the clock says; an interrupted rollback is unfinished."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from papdeploy.core.durable import private_folder
from papdeploy.core.errors import Refused
from papdeploy.logwatch import process
from papdeploy.phases import report, rollback
from papdeploy.releases import journal as journals
from papdeploy.releases.journal import Journal, State
from papdeploy.releases.records import Ended
from papdeploy.releases.run import Run

ME = Run(user="me", host="elsewhere", pid=1)
TIMES = ("2031-05-01T10:00:00.000Z", "2026-01-01T10:00:00.000Z", "2026-01-01T09:59:59.000Z")


def release(state: State, at: str, monkeypatch: pytest.MonkeyPatch, end: str = "finished") -> Journal:
    """A release that began when the clock said ``at``."""

    class Clock(journals.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls.fromisoformat(at.replace("Z", "+00:00"))

    with monkeypatch.context() as patch:
        patch.setattr(journals, "datetime", Clock)
        patch.setattr(journals, "now", lambda: at)
        made = state.begin(ME, stack="s")
        made.append("release", end)
        state.lock.release(made.release)
    return made


def old(state: State, name: str) -> Journal:
    """A release of a version that did not count."""
    folder = state.releases_folder / name
    for each in (state.folder, state.releases_folder, folder):
        private_folder(each)
    made = Journal(folder)
    made.append("release", "begin", release=name, who=ME)
    made.append("release", "finished")
    return made


@pytest.mark.parametrize("seed", range(8))
def test_order_is_that_of_the_beginnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    chance = random.Random(seed)
    state = State(tmp_path / "state")
    names = [f"203{chance.randrange(10)}0101T000000Z-{number:04x}" for number in range(chance.randrange(3))]
    begun = [old(state, name) for name in sorted(names)]
    for _ in range(5):
        begun.append(release(state, chance.choice(TIMES), monkeypatch))
    assert state.releases() == begun
    assert state.last_finished() == begun[-1]
    for place, journal in enumerate(begun):
        assert state.later_than(journal) == begun[place + 1 :]


def test_newest_is_taken_back_although_an_older_one_has_a_later_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State(tmp_path / "state")
    ahead, newest = (release(state, at, monkeypatch) for at in TIMES[:2])
    assert ahead.release > newest.release
    stack: Any = SimpleNamespace(state=state, name="s", label="s (staging)")
    assert rollback._which(stack, "", rollback.Options()) == newest
    with pytest.raises(Refused, match=f"{ahead.release} is not the newest: {newest.release} came later"):
        rollback._which(stack, ahead.release, rollback.Options())
    newest.append("activate", "begin")
    assert process.overtaken(ahead) == f"release {newest.release} took over"
    assert process.overtaken(newest) == ""


def test_a_clock_that_went_back_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(tmp_path / "state")
    assert state.clock_went_back() == ""
    release(state, TIMES[1], monkeypatch)
    assert state.clock_went_back() == ""
    ahead = release(state, "2099-05-01T10:00:00.000Z", monkeypatch)
    assert state.clock_went_back().startswith(
        f"the clock of this host went back: release {ahead.release} began at 2099"
    )


B, F, R = ("rollback", "begin"), ("release", "finished"), ("rollback.restart", "done")
ROLLBACKS: dict[str, tuple[list[tuple[str, str]], str]] = {
    "killed": ([F, B, ("rollback.fence", "begin")], ""),
    "failed": ([F, B, ("rollback.swap", "failed"), ("rollback", "failed")], ""),
    "called off": ([F, B, ("rollback.fence", "done"), ("rollback.unfence", "done"), R, ("rollback", "failed")], "finished"),
    "called off, then killed": ([F, B, R, ("rollback", "failed"), B, ("rollback.fence", "begin")], ""),
    "killed, then called off": ([F, B, B, R, ("rollback", "failed")], "finished"),
    "refused before it began": ([F, ("rollback", "refused")], "finished"),
    "done": ([F, B, ("rollback", "done"), ("release", "rolled_back")], "rolled_back"),
    "of an unfinished release, called off": ([B, R, ("rollback", "failed")], ""),
}  # fmt: skip


@pytest.mark.parametrize("case", ROLLBACKS)
def test_an_interrupted_rollback_is_unfinished(tmp_path: Path, case: str) -> None:
    entries, end = ROLLBACKS[case]
    state = State(tmp_path / "state")
    journal = state.begin(ME, stack="s")
    for phase, event in entries:
        journal.append(phase, event)
    assert (journal.ended() or Ended()).event == end
    assert state.unfinished() == (None if end else journal)
    if case == "killed":
        assert report._interrupted(journal) == f"the rollback of release {journal.release} was interrupted in the fence"


def test_torn_beginning_is_still_found(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    journal = state.begin(ME, stack="s")
    journal.path.write_text(json.dumps({"phase": "release"})[:-4])
    assert journal.begun() is None
    assert state.unfinished() == journal
    state.lock.release(journal.release)
    assert state.begin(ME).opening().number == 1
