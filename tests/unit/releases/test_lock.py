"""The deploy lock: whom it refuses, when a holder is proven gone, and what a run that was taken over may still do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from papdeploy.core import processes
from papdeploy.core.errors import Refused, TakenOver, Unavailable
from papdeploy.core.processes import MARK, Place, Process
from papdeploy.core.records import as_object
from papdeploy.releases import holder, lock
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run
from support.journals import entries
from support.waiting import gone, wait_until

HERE = Place.here()
ELSEWHERE = Run(user="you", host="elsewhere", pid=1)


def who(pid: int, **changes: Any) -> Run:
    """What the lookup says of a controller on this host."""
    here = Run("me", HERE.host, pid, Process.of(pid).start, HERE.boot, HERE.pidns)
    return replace(here, **changes)


ME = who(os.getpid())


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process of our own: a controller, or a module."""
    made = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield made
    made.kill()
    made.wait()


def state(folder: Path, run: Run) -> State:
    return State(folder / "state", run=run, stack="pap")


def age(folder: Path, **changes: Any) -> None:
    """Write other values into the lock."""
    path = folder / "state" / "lock.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def silent(folder: Path) -> None:
    """The lease of the lock has run out."""
    age(folder, renewed_s=processes.since_boot() - 1000)


def test_a_second_run_is_refused_and_the_holder_named(tmp_path: Path) -> None:
    first, second = state(tmp_path, ELSEWHERE), state(tmp_path, ME)
    journal = first.begin(ELSEWHERE)
    journal.append("backup", "begin")
    with pytest.raises(Refused) as caught:
        second.begin(ME)
    said = caught.value
    assert f"{journal.release} of pap, started by you@elsewhere (process 1) at 20" in said.message
    assert "in phase backup, last heartbeat" in said.message
    assert said.hint.endswith("ansible-playbook rollback.yml -l pap -e rollback_take_over=true")
    assert said.data["holder"]["release"] == journal.release
    first.lock.release(journal.release)
    assert second.begin(ME)


def test_the_same_release_does_not_open_the_lock_to_another_run(tmp_path: Path) -> None:
    """What the next run asks for is the release of the first one: that it knows its name makes it no part of it."""
    first, second = state(tmp_path, ELSEWHERE), state(tmp_path, ME)
    release = first.begin(ELSEWHERE).release
    for entry in (second.lock.take, second.lock.refuse_held):
        with pytest.raises(Refused, match="Another run holds this stack"):
            entry(release)
    with pytest.raises(TakenOver), second.working(release):
        pass
    with first.working(release) as journal:
        assert journal.release == release


def test_work_that_is_no_release_holds_the_lock_under_a_name_of_its_own(tmp_path: Path) -> None:
    mine, other = state(tmp_path, ME), state(tmp_path, ELSEWHERE)
    with mine.lock.alone("manual") as name:
        assert mine.lock.holder().release == name
        with pytest.raises(Refused, match=rf"{name} of pap, started by me@.*") as caught:
            other.begin(ELSEWHERE)
        assert "deploy.yml -l pap -e rollback_take_over=true" in caught.value.hint, "there is nothing to roll back"
        with pytest.raises(Refused, match=name), mine.lock.alone("manual"):
            pass
        assert mine.lock.holder().release == name, "who was refused takes no lock away"
    assert mine.lock.holder() is None


def test_a_stopped_controller_is_alive_however_old_its_sign_of_life(
    tmp_path: Path, child: subprocess.Popen[bytes]
) -> None:
    first, second = state(tmp_path, who(child.pid)), state(tmp_path, ME)
    first.begin(who(child.pid))
    os.kill(child.pid, signal.SIGSTOP)
    silent(tmp_path)
    with pytest.raises(Refused, match=f"process {child.pid} runs on this host"):
        second.begin(ME)
    child.kill()
    child.wait()
    assert second.lock.take("next"), "and a killed one is gone at once"


def test_another_process_under_its_id_is_not_the_controller(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    first = state(tmp_path, who(child.pid, start=Process.of(child.pid).start - 1))
    first.begin(who(child.pid, start=Process.of(child.pid).start - 1))
    assert state(tmp_path, ME).lock.take("next")


@pytest.mark.parametrize(
    "run",
    [
        ELSEWHERE,
        who(2**22 + 1, host="elsewhere"),
        who(2**22 + 1, pidns="pid:[4026532000]"),
        who(2**22 + 1, boot="of another host of that name"),
    ],
    ids=["elsewhere", "another name", "another namespace of processes", "another host of that name"],
)
def test_a_controller_that_cannot_be_looked_up_is_gone_when_its_lease_is(tmp_path: Path, run: Run) -> None:
    state(tmp_path, run).begin(run)
    second = state(tmp_path, ME)
    with pytest.raises(Refused, match=r"its lease of 120 s has not run out"):
        second.begin(ME)
    silent(tmp_path)
    assert second.lock.take("next")


def test_a_release_that_was_interrupted_meanwhile_is_not_passed_over(tmp_path: Path) -> None:
    """Another run began and died while this one was looking."""
    gone_run = who(2**22 + 1)
    left = state(tmp_path, gone_run).begin(gone_run)
    mine = state(tmp_path, ME)
    with pytest.raises(Refused, match=f"{left.release} was interrupted meanwhile"):
        mine.begin(ME)
    assert mine.lock.holder() is None and mine.unfinished() == left


def test_a_module_at_work_is_a_sign_of_life(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    state(tmp_path, ELSEWHERE).begin(ELSEWHERE)
    silent(tmp_path)
    start = Process.of(child.pid).start
    age(tmp_path, workers=[{"pid": child.pid, "start": start}])
    with pytest.raises(Refused, match=rf"its module works on this host \(process {child.pid}\)"):
        state(tmp_path, ME).begin(ME)
    age(tmp_path, workers=[{"pid": child.pid, "start": start + 1}])
    assert state(tmp_path, ME).lock.take("next")


@pytest.mark.parametrize("at", ["1999-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"])
def test_a_clock_that_is_set_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    first, second = state(tmp_path, ELSEWHERE), state(tmp_path, ME)
    release = first.begin(ELSEWHERE).release
    for module in (holder, lock):
        monkeypatch.setattr(module, "now", lambda: at)
    assert 0 <= first.lock.holder().age_s < 60
    with pytest.raises(Refused):
        second.begin(ME)
    with first.working(release):
        pass
    silent(tmp_path)
    assert second.lock.take("next")


def test_after_a_restart_of_the_host_only_the_time_since_then_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state(tmp_path, ELSEWHERE).begin(ELSEWHERE)
    age(tmp_path, target={"host": HERE.host, "boot": "the one before", "pidns": HERE.pidns}, renewed_s=1e9)
    monkeypatch.setattr(holder, "since_boot", lambda: 30.0)
    with pytest.raises(Refused, match="has not run out"):
        state(tmp_path, ME).begin(ME)
    monkeypatch.setattr(holder, "since_boot", lambda: 130.0)
    assert state(tmp_path, ME).lock.take("next")


def test_a_controller_on_the_target_host_is_gone_with_its_restart(tmp_path: Path) -> None:
    before = {"host": HERE.host, "boot": "the one before", "pidns": HERE.pidns}
    run = who(os.getpid(), **before)
    state(tmp_path, run).begin(run)
    age(tmp_path, target=before)
    assert state(tmp_path, ME).lock.take("next")


def test_a_lock_of_another_target_host_is_not_judged_from_here(tmp_path: Path) -> None:
    state(tmp_path, ELSEWHERE).begin(ELSEWHERE)
    age(tmp_path, target={"host": "other-target", "boot": "x", "pidns": "y"}, renewed_s=1.0)
    with pytest.raises(Refused, match="last renewed on host other-target"):
        state(tmp_path, ME).begin(ME)


OLD = {
    "user": "you",
    "host": "elsewhere",
    "pid": 1,
    "boot": "b",
    "release": "R",
    "since": "2026-01-01T00:00:00.000Z",
    "lease_s": 120.0,
}


def test_a_lock_that_an_older_version_wrote_is_understood(tmp_path: Path) -> None:
    mine = state(tmp_path, ME)
    (tmp_path / "state").mkdir(mode=0o700)
    path = tmp_path / "state" / "lock.json"
    path.write_text(json.dumps({**OLD, "renewed": holder.now()}))
    with pytest.raises(Refused, match="R, started by you@elsewhere"):
        mine.begin(ME)
    path.write_text(json.dumps({**OLD, "renewed": "2026-01-01T00:00:00.000Z"}))
    assert mine.lock.take("next")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"release": 1}', json.dumps({**OLD, "renewed": "x", "pid": "x"})]
)
def test_a_lock_that_cannot_be_read_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "lock.json").write_text(text)
    with pytest.raises(Refused, match=r"lock\.json cannot be read") as caught:
        state(tmp_path, ME).begin(ME)
    assert "remove that file" in caught.value.hint


def test_what_was_taken_over_stops_at_its_next_step_and_does_not_come_back(tmp_path: Path) -> None:
    first, second = state(tmp_path, ELSEWHERE), state(tmp_path, ME)
    journal = first.begin(ELSEWHERE)
    second.lock.take(journal.release, take_over=True)
    says = rf"{journal.release} was taken over by me@{HERE.host} \(process {os.getpid()}\) at 20"

    def stopped() -> None:
        for step in (first.lock.confirm, first.lock.take, first.lock.refuse_held, first.lock.guard):
            with pytest.raises(TakenOver, match=says):
                step(journal.release)
        with pytest.raises(TakenOver, match=says), first.working(journal.release):
            pass
        with pytest.raises(TakenOver, match=says):
            first.lock.take(journal.release, take_over=True)

    stopped()
    first.lock.release(journal.release)
    assert second.lock.holder() is not None, "it cannot give the lock away either"
    second.lock.release(journal.release)
    stopped()  # the lock is free, and the journal knows
    entry = entries(journal)[-1]
    assert (entry["event"], entry["by"]["user"], entry["of"]["user"]) == ("taken_over", "me", "you")
    assert entry["alive"] == "its lease of 120 s has not run out"


def test_a_take_over_ends_the_modules_of_the_old_run_and_what_they_started(
    tmp_path: Path, child: subprocess.Popen[bytes]
) -> None:
    """A module stopped in the middle, its child in a session of its own, and an orphan whose module is dead already."""
    first, second = state(tmp_path, ELSEWHERE), state(tmp_path, ME)
    release = first.begin(ELSEWHERE).release
    token = first.lock.holder().token
    work = "import subprocess, sys, time; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid, flush=True); time.sleep(600)"
    module = subprocess.Popen([sys.executable, "-c", work], stdout=subprocess.PIPE, text=True)
    assert module.stdout is not None
    below = int(module.stdout.readline())
    orphan = subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: token}, start_new_session=True)
    supervised = subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: ""}, start_new_session=True)
    os.kill(module.pid, signal.SIGSTOP)
    silent(tmp_path)
    age(tmp_path, workers=[{"pid": module.pid, "start": Process.of(module.pid).start}])
    try:
        with pytest.raises(Refused, match="its module works"):
            second.lock.take(release)
        second.lock.take(release, take_over=True)
        wait_until(lambda: all(gone(pid) for pid in (module.pid, below, orphan.pid)))
        assert supervised.poll() is None and child.poll() is None, "what the supervisor started is not the run's"
        assert second.lock.holder().remains == ()
    finally:
        for process in (module, orphan, supervised):
            process.kill()
            process.wait()


def test_what_a_killed_take_over_has_not_ended_the_next_one_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = state(tmp_path, ELSEWHERE), state(tmp_path, who(2**22 + 3))
    release = first.begin(ELSEWHERE).release
    module = subprocess.Popen(["sleep", "600"])
    age(tmp_path, workers=[{"pid": module.pid, "start": Process.of(module.pid).start}])
    try:
        with monkeypatch.context() as patch:
            patch.setattr(lock, "end", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                second.lock.take(release, take_over=True)
        assert module.poll() is None
        state(tmp_path, ME).lock.take(release)
        wait_until(lambda: gone(module.pid))
    finally:
        module.kill()
        module.wait()


def test_a_module_shows_its_life_and_marks_what_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_LOOK_S", 0.02)
    mine = state(tmp_path, ELSEWHERE)
    release = mine.begin(ELSEWHERE).release
    assert mine.lock.holder().workers == ()
    with mine.working(release):
        assert mine.lock.holder().working() == [Process.of(os.getpid())]
        assert os.environ[MARK] == mine.lock.holder().token
        age(tmp_path, renewed_s=processes.since_boot() - 60)
        wait_until(lambda: mine.lock.holder().age_s < 30)
    assert mine.lock.holder().workers == () and MARK not in os.environ


def test_a_heartbeat_does_not_roll_back_what_was_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_LOOK_S", 0.02)
    first, second = state(tmp_path, ELSEWHERE), state(tmp_path, ME)
    release = first.begin(ELSEWHERE).release
    with first.working(release):
        second.lock.take(release, take_over=True)
        age(tmp_path, renewed_s=processes.since_boot() - 60)
        with pytest.raises(TakenOver):
            first.lock.confirm(release)
    assert second.lock.holder().run.same(ME) and second.lock.holder().age_s >= 60


def test_the_lock_of_a_run_whose_controller_is_gone_does_not_go_on(tmp_path: Path) -> None:
    run = who(2**22 + 1)
    mine = state(tmp_path, run)
    release = mine.begin(run).release
    with pytest.raises(Refused, match=r"me@.* \(process \d+\), is gone: nothing more is changed here"):
        mine.lock.confirm(release)


def test_a_lock_that_is_gone_is_said(tmp_path: Path) -> None:
    mine = state(tmp_path, ME)
    release = mine.begin(ME).release
    (tmp_path / "state" / "lock.json").unlink()
    with pytest.raises(Refused, match="its lock is gone"), mine.working(release):
        pass
    mine.lock.take(release)  # it was not taken over: this run may go back
    mine.lock.confirm(release)


def test_no_run_waits_for_a_process_that_was_stopped_while_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = state(tmp_path, ME)
    release = mine.begin(ME).release
    guard = tmp_path / "state" / ".guard"
    code = (
        "import os, signal, sys; sys.path[:0] = sys.argv[2:]; from pathlib import Path;"
        " from papdeploy.releases.lock import Lock;"
        " lock = Lock(Path(sys.argv[1]));"
        " held = lock._exclusive(); held.__enter__(); os.kill(os.getpid(), signal.SIGSTOP)"
    )
    stopped = subprocess.Popen([sys.executable, "-c", code, guard.parent, *sys.path])
    monkeypatch.setattr(lock, "_GUARD_S", 0.2)
    try:
        wait_until(lambda: "State:\tT" in Path(f"/proc/{stopped.pid}/status").read_text())
        for step in (
            lambda: mine.working(release).__enter__(),
            lambda: state(tmp_path, ELSEWHERE).lock.take("x", take_over=True),
        ):
            with pytest.raises(Unavailable, match=f"Process {stopped.pid} on this host has kept") as caught:
                step()
            assert f"kill -9 {stopped.pid}" in caught.value.hint
    finally:
        stopped.kill()
        stopped.wait()
    with mine.working(release):
        pass


def test_the_server_is_asked_while_the_holder_can_show_that_it_is_alive(tmp_path: Path) -> None:
    """A second run that comes may be stopped, or the server hang: the first one's heartbeats do not wait for that."""
    first, second = state(tmp_path, ELSEWHERE), state(tmp_path, ME)
    release = first.begin(ELSEWHERE).release
    silent(tmp_path)
    asked = []

    class Server:
        def sessions(self, _: str) -> list[dict[str, Any]]:
            asked.append(True)
            with first.working(release):
                return []

    second.lock.server = Server()  # type: ignore[assignment]  # all that is asked of one
    with pytest.raises(Refused, match="its lease of 120 s has not run out"):
        second.lock.take("x")
    assert asked and first.lock.holder().release == release


def test_giving_back_a_lock_of_another_run_changes_nothing(tmp_path: Path) -> None:
    mine = state(tmp_path, ME)
    journal = mine.begin(ME)
    mine.lock.release("another")
    state(tmp_path, ELSEWHERE).lock.release(journal.release)
    assert mine.lock.holder().release == journal.release


def test_the_lookup_says_who_this_is() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "plugins" / "lookup"))
    try:
        from pap_who import LookupModule
    finally:
        sys.path.pop(0)
    (found,) = LookupModule.run(None, [])
    run = Run.of(found)
    assert run.process == Process.of(os.getpid()) and run.place == HERE
    assert run.is_local(HERE) and run.process.alive and Run.of(as_object(run)).same(run)
