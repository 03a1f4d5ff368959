"""A full, read-only or broken disk under the state folder: told by name, nothing torn, and a way out kept."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from papdeploy.app.restart_policies import PolicyMemo
from papdeploy.core import durable, storage
from papdeploy.core.errors import StorageFailed
from papdeploy.logwatch import process, rules
from papdeploy.logwatch.confidential import NOTHING
from papdeploy.logwatch.state import WatchState
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run
from papdeploy.sites.docker.records import Policy
from support import report_samples
from support.full_disk import RESERVE_BYTES, fill, make_room, small_disk
from support.journals import entries
from unit.ansible.test_pap_module import Module, ends
from unit.releases.test_journal import ME


@pytest.fixture(autouse=True)
def real_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RESERVE_BYTES", RESERVE_BYTES)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 16) as made:
        yield made


BIG = "x" * 5000


def test_what_does_not_fit_is_told_by_name_and_leaves_what_was(disk: Path) -> None:
    log, file = disk / "log.jsonl", disk / "file"
    durable.append_durably(log, {"first": 1})
    durable.write_durably(file, b"old")
    fill(disk)
    # A torn line of a writer that was killed, and a name that is not ours to remove.
    for write in (partial(durable.append_durably, log, {"b": BIG}), partial(durable.write_durably, file, BIG.encode())):
        with pytest.raises(StorageFailed, match=r"The disk is full \(ENOSPC\): .*/disk/(log|file)") as failed:
            write()
        assert f"df -h {disk}" in failed.value.hint and failed.value.data["errno"] == "ENOSPC"
    assert log.read_text() == '{"first": 1}\n' and file.read_bytes() == b"old"
    assert {path.name for path in disk.iterdir()} == {"log.jsonl", "file", "filler"}
    make_room(disk)
    durable.append_durably(log, {"second": 2})
    assert [json.loads(line) for line in log.read_text().splitlines()] == [{"first": 1}, {"second": 2}]


def test_notes_get_the_room_that_was_kept_for_them_and_the_way_back_the_rest(disk: Path) -> None:
    state = State(disk / "state")
    journal = state.begin(ME)
    assert storage.was_full(state.folder) is False
    durable.write_durably(journal.folder / "report.html", b"", vital=False)
    fill(disk)
    with pytest.raises(StorageFailed):
        durable.write_durably(journal.folder / "report.html", BIG.encode(), vital=False)
    assert storage.was_full(state.folder) is False, "a report is no reason"
    for number in range(20):
        journal.append("migrate", "note", number=number, text=BIG)
    assert [entry["number"] for entry in entries(journal)[1:]] == list(range(20))
    assert storage.was_full(state.folder)
    assert "ENOSPC" in storage.warning(state.folder)[0]
    fill(disk)
    with pytest.raises(StorageFailed):
        journal.append("migrate", "note", text=BIG)
    with storage.on_the_way_out():
        journal.append("rollback", "begin", text=BIG)
        state.lock.release(journal.release)
    fill(disk)
    with pytest.raises(StorageFailed), storage.on_the_way_out():
        journal.append("rollback", "done", text=BIG)
    assert storage.warning(state.folder)
    make_room(disk)
    assert storage.warning(state.folder) == [], "the next release takes it up again"
    journal.append("release", "rolled_back")
    state.begin(ME)
    assert sum(path.stat().st_size for path in state.folder.glob(".reserve-*")) == 2 * storage.RESERVE_BYTES


@pytest.mark.parametrize("before", [False, True], ids=["first release", "with a reserve"])
def test_a_release_that_cannot_be_noted_does_not_begin(disk: Path, before: bool) -> None:
    state = State(disk / "state")
    if before:
        first = state.begin(ME)
        first.append("release", "finished")
        state.lock.release(first.release)
        (state.folder / storage.FOR_NOTES).unlink()
    fill(disk)
    with pytest.raises(StorageFailed, match="ENOSPC"):
        state.begin(ME)
    assert len(state.releases()) == before
    assert state.lock.holder() is None and state.unfinished() is None
    make_room(disk)
    state.begin(ME)


def test_a_beginning_that_is_cut_off_leaves_no_release(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(disk / "state")
    whole = os.write

    def failing(descriptor: int, data: Any) -> int:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "journal.jsonl":
            whole(descriptor, bytes(data)[:7])
            raise OSError(errno.EIO, "Input/output error")
        return whole(descriptor, data)

    monkeypatch.setattr(os, "write", failing)
    with pytest.raises(StorageFailed, match="EIO"):
        state.begin(ME)
    assert state.releases() == [] and list(state.releases_folder.iterdir()) == []
    assert state.lock.holder() is None


def test_no_inode_is_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 16) as disk:
        state = State(disk / "state")
        journal = state.begin(ME)
        subprocess.run(["mount", "-o", "remount,nr_inodes=40", disk], check=True)
        with pytest.raises(OSError, match="No space"):
            for number in range(100):
                (disk / f"f{number}").touch()
        with pytest.raises(StorageFailed, match=r"ENOSPC.*df -i") as failed:
            durable.private_folder(journal.folder / "more")
        assert failed.value.data["errno"] == "ENOSPC"
        state.lock.release(journal.release)
        state.lock.take("next")  # a file of its own first, in place of what was kept


def test_a_filesystem_that_was_made_read_only(disk: Path) -> None:
    journal = State(disk / "state").begin(ME)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(StorageFailed, match=r"The filesystem is read-only \(EROFS\): .*journal.jsonl") as failed:
        journal.append("migrate", "begin")
    assert "dmesg" in failed.value.hint and (disk / "state" / storage.FOR_NOTES).exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "The disk is full (ENOSPC)"),
        (errno.EDQUOT, "The disk quota of this user is used up (EDQUOT)"),
        (errno.EROFS, "The filesystem is read-only (EROFS)"),
        (errno.EIO, "The disk reports an input/output error (EIO)"),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync", "open"])
def test_whatever_call_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str, call: str
) -> None:
    state = State(tmp_path / "state")
    journal = state.begin(ME)
    size = journal.path.stat().st_size

    def failing(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        with pytest.raises(StorageFailed) as failed:
            journal.append("migrate", "begin")
    assert failed.value.message.startswith(words) and str(journal.path) in failed.value.message
    assert journal.path.stat().st_size == size
    assert storage.was_full(state.folder) is (number in (errno.ENOSPC, errno.EDQUOT))


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError):
        durable.append_durably(Path(__file__) / "log", {})
    assert storage.explained(ValueError()) is None and storage.explained(PermissionError(errno.EPERM, "")) is None


def released(module: Module, disk: Path) -> State:
    state = State(disk / "state")
    journal = state.begin(Run.of(module.params["stack"]["who"]), stack="pap")
    module.params["release"] = journal.release
    module.params["stack"]["state_dir"] = str(state.folder)
    return state


def writing(state: Path) -> Callable[..., Any]:
    def work() -> Any:
        (state / "some dump").write_bytes(b"x" * (64 << 20))

    return work


@pytest.mark.parametrize("name", ["backup", "rehearse", "migrate", "receipt"])
def test_before_the_fence_a_full_disk_ends_the_release_and_nothing_is_rolled_back(
    tmp_path: Path, disk: Path, name: str
) -> None:
    module = Module(tmp_path)
    state = released(module, disk)
    fill(disk)
    on = "state" if name == "receipt" else "stack"
    result = ends(module, writing(state.folder), on, name)
    assert result["error_kind"] == "StorageFailed" and result["msg"].startswith("The disk is full (ENOSPC): ")
    assert "(df -h; df -i)" in result["msg"] and "defect" not in repr(result)
    assert result["data"]["ended"] is True and "had not been stopped" in result["data"]["live"]
    end = state.releases()[-1].ended()
    assert end is not None and end.event == "refused" and "ENOSPC" in end.message
    assert state.lock.holder() is None


def test_what_is_touched_is_left_to_the_rollback(tmp_path: Path, disk: Path) -> None:
    module = Module(tmp_path)
    state = released(module, disk)
    state.releases()[-1].append("fence", "begin")
    fill(disk)
    result = ends(module, writing(state.folder), "stack", "migrate")
    assert result["error_kind"] == "StorageFailed" and "ended" not in result["data"]
    assert state.unfinished() is not None


def test_where_not_even_the_end_can_be_noted_the_next_run_ends_it(tmp_path: Path, disk: Path) -> None:
    module = Module(tmp_path)
    state = released(module, disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    result = ends(module, lambda: state.releases()[-1].append("backup", "begin"), "stack", "backup")
    assert "EROFS" in result["msg"] and result["data"]["ended"] is True
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert state.unfinished() is not None


def test_a_disk_that_was_full_stops_the_next_step_before_the_fence(disk: Path) -> None:
    state = State(disk / "state")
    journal = state.begin(ME)
    fill(disk)
    journal.append("backup", "done", text=BIG)
    with pytest.raises(StorageFailed, match="ENOSPC"), state.working(journal.release):
        pytest.fail("it went on")
    journal.append("fence", "begin")
    with state.working(journal.release):
        journal.append("fence", "done")


def test_a_folder_of_another_state_gives_nothing_up(disk: Path) -> None:
    state = State(disk / "state")
    state.begin(ME)
    fill(disk)
    with pytest.raises(StorageFailed):
        durable.write_durably(disk / "file", BIG.encode())
    assert not storage.was_full(state.folder)


def test_the_watcher_waits_for_room(disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    journal = State(disk / "state").begin(ME)
    steps: list[int] = []

    def one_step(folder: Path, *_: Any) -> WatchState:
        steps.append(1)
        if len(steps) == 1:
            fill(disk)
            durable.write_durably(folder / "watch.json", BIG.encode(), vital=False)
        make_room(disk)
        return report_samples.watch(ended={"at": report_samples.at(0), "why": "in time"})

    rules.save(journal.folder, report_samples.watch(interval_s=0))
    monkeypatch.setattr(process, "one_step", one_step)
    process.run(journal.folder, NOTHING)
    assert len(steps) == 2 and "The disk is full (ENOSPC)" in capsys.readouterr().err


def test_restart_policies_are_remembered_on_a_full_disk(disk: Path) -> None:
    state = State(disk / "state")
    state.begin(ME)
    fill(disk)
    memo = PolicyMemo(state.folder / "restart-policies.json")
    memo.remember("a" * 64, Policy("always"))
    assert memo.all() == {"a" * 64: Policy("always")} and memo.path.stat().st_mode & 0o777 == 0o600
    assert storage.was_full(state.folder)


def test_a_file_that_is_closed_to_the_user_is_no_defect_and_no_folder_to_make() -> None:
    failure = storage.closed(PermissionError(errno.EACCES, "Permission denied", "/etc/app.env"))
    assert failure is not None and "has no right to /etc/app.env (Permission denied)" in failure.message
    assert "ansible_become" in failure.hint and "install -d" not in failure.hint
    assert failure.data == {"errno": "EACCES", "path": "/etc/app.env"}
    assert storage.closed(OSError(errno.ENOSPC, "No space", "/x")) is storage.closed(PermissionError("no file")) is None
