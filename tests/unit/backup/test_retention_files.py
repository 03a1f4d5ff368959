"""Retention on real files in a folder: each with what went wrong before the rule."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from papdeploy.backup import files, folder, manifest
from papdeploy.backup.retention import Settings
from papdeploy.core.durable import private_folder
from papdeploy.core.errors import Refused, Unavailable
from papdeploy.phases import retention
from papdeploy.releases.journal import Journal, State
from papdeploy.releases.records import Backup
from papdeploy.rollback import Facts
from papdeploy.rollback.losses import Kept
from papdeploy.rollback.state import State as Found
from papdeploy.rollback.strategies import Situation
from papdeploy.rollback.strategies.restore import Restore
from support import backup_files
from support.backup_files import SERVER
from support.journals import entries


class Bench:
    """A stack that is its state folder; its database only has a server."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = State(path / "state")
        self.folder = self.state.backups_folder
        private_folder(self.state.folder)
        private_folder(self.folder)
        private_folder(self.state.releases_folder)
        conninfo = SimpleNamespace(dbname="app")
        self.stack: Any = SimpleNamespace(name="pap", state=self.state, database=SimpleNamespace(conninfo=conninfo))
        server = SimpleNamespace(facts=lambda: SimpleNamespace(identifier=SERVER))
        monkeypatch.setattr(retention, "maintenance", lambda database: server)
        monkeypatch.setattr(retention, "_databases", lambda database, state: [])

    def backup(self, release: str, age_days: float, proof: str = "full", **changes: Any) -> Path:
        """A backup of three bytes, taken so many days ago."""
        return backup_files.put(self.folder, release, age_days, proof, **changes)

    def release(self, name: str, end: str, *backups: Path, **how: Any) -> None:
        journal = Journal(private_folder(self.state.releases_folder / name))
        journal.append("release", "begin", release=name, number=len(self.state.releases()) + 1)
        for phase, path in zip(("backup", "restore_point"), backups):
            journal.append(phase, "done", path=str(path))
        if end:
            journal.append("release", end, **how)

    def run(self, *fresh: Path, keep: int = 1, keep_days: float = 0, hold: tuple[str, ...] = ()) -> list[str]:
        settings = Settings(keep, keep_days)
        done = retention.apply(self.stack, settings, hold, run="manual-1", fresh=[str(path) for path in fresh])
        return list(done.lines)

    def forecast(self, keep: int = 1, keep_days: float = 0) -> list[str]:
        return retention.forecast(self.stack, Settings(keep, keep_days), ())

    @property
    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}

    def journal(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in entries(retention.log(self.state)) if entry["event"] == event]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def triple(path: Path) -> set[str]:
    return {path.name, path.name + manifest.GLOBALS, path.name + manifest.SUFFIX}


def test_what_goes_was_said_before_and_is_written_down(bench: Bench) -> None:
    old = bench.backup("manual-1", 9)
    new = bench.backup("manual-2", 2)
    assert bench.run(new) == [
        f"goes with the next backup: {old} (3 B, 9 days old, 1 newer with at least its proof (full))",
        f"goes with the next backup: {new} (3 B, 2 days old, just made)",
    ]
    assert bench.names == triple(old) | triple(new)
    assert (
        bench.forecast()[0]
        == f"the next backup removes {old} (3 B, 9 days old): 2 newer with at least its proof (full)"
    )
    newest = bench.backup("manual-3", 0)
    lines = bench.run(newest)
    assert lines[0] == f"removed {old} (3 B, 9 days old): 2 newer with at least its proof (full)"
    assert bench.names == triple(newest)
    for event in ("removing", "removed"):
        entry, _ = bench.journal(event)
        assert (entry["name"], entry["bytes"], entry["sha256"]) == (str(old), 3, "sha-manual-1-9")
        assert entry["age_days"] == pytest.approx(9, abs=0.01) and entry["run"] == "manual-1" and entry["why"]


def test_a_slip_in_the_settings_is_noticed_before_anything_is_gone(bench: Bench) -> None:
    paths = [bench.backup(f"manual-{age}", age) for age in range(9, -1, -1)]
    bench.run(paths[-1], keep=10, keep_days=14)
    lines = bench.run(paths[-1], keep=1)
    assert len([line for line in lines if line.startswith("goes with the next backup")]) == 9
    later = [line for line in bench.forecast() if line.startswith("goes with a backup after ")]
    assert len(later) == 1 and str(paths[0]) in later[0], "announced for a later day by the settings of before"
    assert len(bench.names) == 30


def test_looking_changes_nothing_and_leaves_no_trace(bench: Bench) -> None:
    bench.backup("manual-1", 9)
    bench.backup("manual-2", 2)
    bench.forecast()
    assert not (bench.state.folder / "retention").exists() and len(bench.names) == 6


def test_hand_made_copies_are_no_backups_and_stay(bench: Bench) -> None:
    """Before: a copy with its manifest was counted, and removed by the number of days."""
    original = bench.backup("manual-1", 9)
    for name in ("before-christmas-KEEP.dump", original.name.replace("manual-1", "manual-9")):
        for suffix in ("", manifest.SUFFIX, manifest.GLOBALS):
            (bench.folder / (name + suffix)).write_bytes(original.with_name(original.name + suffix).read_bytes())
    loose = bench.folder / "by-hand.dump"
    loose.write_text("pg_dump by a person")
    before = bench.names
    for age in (2, 1, 0):
        bench.run(bench.backup(f"manual-{9 - age}x", age))
    assert before - bench.names == triple(original)
    lines = bench.run()
    assert any("before-christmas-KEEP.dump" in line and "copy or renamed by hand" in line for line in lines)
    assert any("by-hand.dump" in line and "not from pap-deploy" in line for line in lines)


@pytest.mark.parametrize("damage", ["gone", "short", "long", "link", "folder"])
def test_a_damaged_one_takes_no_place_among_those_to_keep(bench: Bench, damage: str) -> None:
    """Before: the newest two manifests were kept, one of them of nothing, and the only whole one went."""
    whole = bench.backup("manual-1", 9)
    for age in (2, 1):
        damaged = bench.backup(f"manual-{9 - age}", age)
        damaged.unlink()
        if damage in ("short", "long"):
            damaged.write_bytes(b"x" * (1 if damage == "short" else 9))
        elif damage == "link":
            damaged.symlink_to(whole)
        elif damage == "folder":
            damaged.mkdir()
    for _ in range(3):
        lines = bench.run()
    assert triple(whole) <= bench.names
    assert any(line.startswith("left ") and "its archive is" in line for line in lines), lines
    assert not bench.journal("removed")


def test_the_only_full_proof_outlives_any_number_of_lesser_ones(bench: Bench) -> None:
    """Before: a backup with backup_proof=none removed the only fully proven one."""
    full = bench.backup("manual-1", 90)
    for age in range(9, -1, -1):
        bench.run(bench.backup(f"manual-{age}none", age, "none" if age % 2 else "schema"))
    assert triple(full) <= bench.names and len(bench.names) < 30


def test_a_manifest_from_the_future_gains_nothing(bench: Bench) -> None:
    """Before: the run removed the backup that it had just taken and announced."""
    ahead = bench.backup("manual-1", -400)
    bench.backup("manual-2", 9)
    for age in (2, 1, 0):
        fresh = bench.backup(f"manual-{7 - age}", age)
        lines = bench.run(fresh)
        assert triple(fresh) <= bench.names and triple(ahead) <= bench.names
        assert any(line.startswith(f"left {ahead.name}: dated ") and "still to come" in line for line in lines)
    assert len(bench.names) == 6, "the rest went as announced"


def test_a_clock_that_went_back_does_not_turn_the_order(bench: Bench) -> None:
    first, second = bench.backup("manual-1", 5), bench.backup("manual-2", 4)
    bench.run(second, keep=2)
    behind = bench.backup("manual-3", 900)
    bench.run(behind, keep=2)
    last = bench.backup("manual-4", 0)
    bench.run(last, keep=2)
    assert triple(behind) <= bench.names, "taken last but one, whatever its date says"
    assert not triple(first) & bench.names


@pytest.mark.parametrize("other", [{"stack": "b"}, {"database": "b"}, {"system_identifier": "b"}])
def test_backups_of_others_are_said_and_neither_counted_nor_removed(bench: Bench, other: dict[str, str]) -> None:
    """Before: those of another database or server with the same stack name were counted and removed together."""
    mine = bench.backup("manual-1", 90)
    theirs = [bench.backup(f"manual-{age}", age, **other) for age in (9, 8, 7)]
    for _ in range(3):
        lines = bench.run()
    assert triple(mine).union(*map(triple, theirs)) == bench.names
    assert any("which is not counted here" in line and theirs[0].name in line for line in lines)


FOREIGN = (".partial-notes.txt", "notes.txt", ".hidden", "index.html", "x.dump.manifest.json.bak", "x.hold")


def test_foreign_things_stay_and_are_named(bench: Bench) -> None:
    """Before: removed, waited for without end, or the end of the run."""
    for name in FOREIGN:
        (bench.folder / name).write_text("a person's")
    os.mkfifo(bench.folder / ".partial-pipe")
    os.mkfifo(bench.folder / "pipe.manifest.json")
    (bench.folder / "folder.manifest.json").mkdir()
    (bench.folder / "broken.dump.manifest.json").write_text("{")
    (bench.folder / "link.manifest.json").symlink_to("/dev/zero")
    (bench.folder / " new\nline\x1b[31m").write_text("")
    (bench.folder / os.fsdecode(b"not-utf8-\xff")).write_text("")
    before = bench.names
    fresh = bench.backup("manual-1", 0)
    manifest.settle(bench.folder, "pap", "app")
    lines = bench.run(fresh)
    assert before | triple(fresh) == bench.names
    text = "\n".join(lines)
    assert (
        "not from pap-deploy (a FIFO)" in text and "not from pap-deploy (a folder)" in text and "cannot be read" in text
    )
    json.dumps(lines).encode("utf-8")
    assert "\x1b" not in text and " new\\nline\\x1b[31m" in text


def test_what_cannot_be_removed_keeps_its_manifest_and_stops_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: a protected dump lost its manifest first, and the others then stayed."""
    protected, other = bench.backup("manual-1", 9), bench.backup("manual-2", 8)
    bench.run(bench.backup("manual-3", 1))
    unlink = Path.unlink

    def guarded(path: Path, missing_ok: bool = False) -> None:
        if path == protected:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", guarded)
    lines = bench.run(bench.backup("manual-4", 0))
    assert triple(protected) <= bench.names and not triple(other) & bench.names
    assert any(line.startswith(f"{protected} (3 B, 9 days old) could not be removed") for line in lines)
    assert bench.journal("failed")[0]["name"] == str(protected)


def test_a_removal_that_was_interrupted_is_brought_to_its_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    old, lost = bench.backup("manual-1", 9), bench.backup("manual-0", 10)
    lost.unlink()  # by a person: its manifest is not ours to remove
    bench.run(bench.backup("manual-3", 1))
    unlink = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.name.endswith(manifest.GLOBALS):
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            bench.run(bench.backup("manual-4", 0))
    assert not old.exists() and triple(old) - {old.name} <= bench.names, "an archive is never left without its manifest"
    bench.run()
    assert not triple(old) & bench.names
    assert lost.name + manifest.SUFFIX in bench.names


@pytest.mark.parametrize("how", ["beside", "file", "path", "release", "sha256", "all"])
def test_a_hold_is_respected(bench: Bench, how: str) -> None:
    old = bench.backup("manual-1", 9)
    hold = {
        "beside": (), "file": (old.name,), "path": (str(old),), "release": ("manual-1",), "sha256": ("sha-manual-1-9",),
        "all": ("all",),
    }[how]  # fmt: skip
    if how == "beside":
        (bench.folder / f"{old.name}.hold").write_text("for the auditors")
    for number in (3, 2, 1):
        bench.run(bench.backup(f"manual-{9 - number}", number), hold=hold)
    assert triple(old) <= bench.names
    if how != "beside":
        lines = bench.run(hold=(*hold, "manual-77"))
        assert lines[-1] == "backup_hold names manual-77, and nothing of that name is here"


def test_what_a_release_needs_stays_and_what_ends_is_said(bench: Bench) -> None:
    paths = [bench.backup(f"r{number}", 100 - number) for number in range(5)]
    bench.release("r0", "finished", paths[0])
    bench.release("r1", "finished", paths[1])
    bench.release("r2", "rolled_back", paths[2], strategy="restore")
    bench.release("r3", "rolled_back", paths[3], strategy="image")
    bench.release("r4", "", paths[4])
    lines = bench.run(bench.backup("manual-1", 1))
    assert any(str(paths[0]) in line and "release r0 can then no longer be rolled back" in line for line in lines)
    bench.run(bench.backup("manual-2", 0))
    left = {path for path in paths if triple(path) <= bench.names}
    assert left == {paths[1], paths[3], paths[4]}, "in force; its schema stayed; unfinished"


def test_status_says_which_releases_a_restore_can_still_roll_back(bench: Bench) -> None:
    paths = [bench.backup(f"r{number}", 9 - number) for number in range(2)]
    for number, path in enumerate(paths):
        bench.release(f"r{number}", "finished", path)
    assert "a restore can roll back r1, r0" in bench.forecast()
    for number in (1, 2):
        bench.run(bench.backup(f"manual-{number}", 3 - number))
    lines = bench.forecast()
    assert "a restore can roll back r1" in lines and "no restore can roll back r0 any more" in lines
    removed = {str(paths[0]): retention.why_removed(bench.state, str(paths[0]))}
    facts = Facts("r0", backup=Backup(path=str(paths[0])), removed=removed)
    at = Situation(bench.stack.database, facts, Found(None, False, ("m1",), (), ()), Kept(), deep=False)
    with pytest.raises(Refused, match=r"its backup is not kept any more: .*r0_.* was removed at .*3 newer"):
        Restore().refuse_absent(at)
    assert retention.why_removed(bench.state, str(paths[1])) == ""


def test_one_that_a_proof_found_damaged_takes_no_place_until_it_is_found_whole(bench: Bench) -> None:
    whole, rotten = bench.backup("manual-1", 9), bench.backup("manual-2", 5)
    bench.run(rotten)
    retention.judged(bench.state, str(rotten), "sha-manual-2-5", "its SHA-256 is another")
    lines = bench.run()
    assert triple(whole) <= bench.names and f"left {rotten.name}: its SHA-256 is another" in lines
    retention.judged(bench.state, str(rotten), "sha-manual-2-5", "")
    bench.run()
    bench.run(bench.backup("manual-3", 0))
    assert not triple(whole) & bench.names


def test_a_server_that_does_not_answer_stops_nothing_and_removes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age in (9, 8, 7):
        bench.backup(f"manual-{age}", age)

    def down(database: Any) -> Any:
        raise Unavailable("The server does not answer.")

    monkeypatch.setattr(retention, "maintenance", down)
    assert bench.run() == ["nothing old was removed: The server does not answer."]
    assert bench.forecast() == ["what will be removed is not known: The server does not answer."]
    assert len(bench.names) == 9


def test_the_archive_of_an_older_version_has_no_milliseconds_in_its_name() -> None:
    assert files.is_ours("pap_app_r1_20260101T000000Z.dump", "pap", "app", "r1")
    assert not files.is_ours("pap_app_r1_20260101T000000Z.dump.old", "pap", "app", "r1")
    assert folder.scan(Path("/nonexistent")) == []
