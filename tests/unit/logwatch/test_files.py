"""Reading log files from a mark: every line once, through rotation of every kind."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from papdeploy.core.errors import Unavailable
from papdeploy.logwatch import sources
from papdeploy.logwatch.files import FileLog, Mark, Reading
from papdeploy.logwatch.sources import JournalLog, LogSpec, from_spec
from support import ROOT


class Log:
    """A log that is written and rotated, and a reader that keeps its mark."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "api.log"
        self.path.write_text("before\n")
        self.source = FileLog((str(self.path),))
        self.mark = self.source.now()
        self.clock = 1_700_000_000

    def write(self, *lines: str) -> None:
        with self.path.open("a") as file:
            file.writelines(line + "\n" for line in lines)
        self.touch(self.path)

    def touch(self, path: Path) -> None:
        # Rotated files are ordered by their time: give each step its own second.
        self.clock += 1
        os.utime(path, (self.clock, self.clock))

    def rename(self) -> None:
        for number in (8, 7, 6, 5, 4, 3, 2, 1):
            old = self.path.with_name(f"api.log.{number}")
            if old.exists():
                old.rename(self.path.with_name(f"api.log.{number + 1}"))
        self.path.rename(self.path.with_name("api.log.1"))
        self.path.touch()
        self.touch(self.path)

    def copy_truncate(self) -> None:
        copy = self.path.with_name("api.log.1")
        shutil.copy(self.path, copy)
        self.touch(copy)
        os.truncate(self.path, 0)

    def compress(self) -> None:
        old = self.path.with_name("api.log.1")
        with gzip.open(old.with_name("api.log.2.gz"), "wb") as file:
            file.write(old.read_bytes())
        shutil.copystat(old, old.with_name("api.log.2.gz"))
        old.unlink()

    def read(self, **options: int) -> list[str]:
        reading = self.read_whole(**options)
        return reading.text.splitlines()

    def read_whole(self, **options: int) -> Reading:
        reading = self.source.since(self.mark, **options)
        self.mark = reading.mark
        return reading


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_only_what_came_after_the_mark_and_only_once(log: Log) -> None:
    log.write("one", "two")
    assert log.read() == ["one", "two"]
    assert log.read() == []
    log.write("three")
    assert log.read() == ["three"]


def test_a_line_that_is_still_written_waits_for_its_end(log: Log) -> None:
    with log.path.open("a") as file:
        file.write("half")
    assert log.read() == []
    with log.path.open("a") as file:
        file.write(" and half ü\n")
    assert log.read() == ["half and half ü"]


def test_a_rename_loses_nothing(log: Log) -> None:
    log.write("one")
    assert log.read() == ["one"]
    log.write("two")
    log.rename()
    log.write("three")
    assert log.read() == ["two", "three"]
    assert log.read() == []


def test_several_rotations_between_two_reads(log: Log) -> None:
    log.write("one")
    log.rename()
    log.write("two")
    log.rename()
    log.write("three")
    log.rename()
    log.write("four")
    assert log.read() == ["one", "two", "three", "four"]
    assert log.read() == []


def test_copy_and_truncate(log: Log) -> None:
    log.write("one")
    log.copy_truncate()
    log.write("two")
    assert log.read() == ["one", "two"]
    assert log.read() == []


def test_copy_and_truncate_when_the_new_content_is_longer(log: Log) -> None:
    log.write("one")
    assert log.read() == ["one"]
    log.copy_truncate()
    log.write(*(f"new {number}" for number in range(100)))
    assert log.read() == [f"new {number}" for number in range(100)]


def test_a_compressed_rotated_file(log: Log) -> None:
    log.write("one")
    log.rename()
    log.compress()
    log.write("two")
    assert log.read() == ["one", "two"]
    assert log.read() == []


def test_a_rotated_file_that_is_gone_is_a_gap_that_is_told(log: Log) -> None:
    log.write("one")
    assert log.read() == ["one"]
    log.path.unlink()
    log.path.write_text("two\n")
    reading = log.read_whole()
    assert reading.text == "two\n"
    assert len(reading.gaps) == 1 and "api.log" in reading.gaps[0]
    assert log.read_whole().gaps == ()


def test_a_limit_cuts_and_the_rest_comes_later_also_over_a_rotation(log: Log) -> None:
    log.write(*(f"line {number:03d}" for number in range(50)))
    log.rename()
    log.write("last")
    seen: list[str] = []
    for _ in range(20):
        reading = log.read_whole(limit=60)
        seen += reading.text.splitlines()
        assert len(reading.text) <= 60
        if not reading.more:
            break
    assert seen == [f"line {number:03d}" for number in range(50)] + ["last"]


def test_new_files_of_a_pattern_are_read_from_their_start(tmp_path: Path) -> None:
    (tmp_path / "postgresql-01.log").write_text("old\n")
    source = FileLog((str(tmp_path / "postgresql-*.log"),))
    mark = source.now()
    (tmp_path / "postgresql-01.log").open("a").write("more\n")
    (tmp_path / "postgresql-02.log").write_text("new\n")
    reading = source.since(mark)
    assert reading.text == "more\nnew\n"
    # The older file is renamed to a name of the same pattern: not read again.
    (tmp_path / "postgresql-01.log").rename(tmp_path / "postgresql-00.log")
    assert source.since(reading.mark).text == ""


def test_a_log_that_is_not_there_is_an_error_and_not_silence(tmp_path: Path, log: Log) -> None:
    with pytest.raises(Unavailable, match="no log file"):
        FileLog((str(tmp_path / "typo.log"),)).now()
    log.path.unlink()
    with pytest.raises(Unavailable):
        log.source.since(log.mark)
    with pytest.raises(Unavailable):
        from_spec(LogSpec())


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "loop"])
def test_what_is_no_file_any_more_is_told_and_not_waited_for(tmp_path: Path, log: Log, kind: str) -> None:
    """A pipe would be waited for without end."""
    log.write("one")
    log.path.rename(tmp_path / "elsewhere")
    make: dict[str, Callable[[], object]] = {
        "fifo": lambda: os.mkfifo(log.path),
        "folder": log.path.mkdir,
        "device": lambda: log.path.symlink_to("/dev/zero"),
        "loop": lambda: log.path.symlink_to(log.path),
    }
    make[kind]()
    for reads in (log.source.now, lambda: log.source.since(log.mark), log.source.recent):
        with pytest.raises(
            Unavailable, match="There is no log file" if kind == "loop" else "is no file that can be read"
        ):
            reads()


CLOSED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from papdeploy.core.errors import Unavailable
from papdeploy.logwatch import sources
from papdeploy.logwatch.files import FileLog, Mark
log = FileLog((sys.argv[2],))
os.setgroups([]), os.setgid(65534), os.setuid(65534)
for reads in (log.now, lambda: log.since(Mark()), log.recent):
    try:
        print(reads())
    except Unavailable as error:
        print(error.message)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
@pytest.mark.parametrize("closed", ["the log", "its folder", "a rotated file"])
def test_a_log_that_this_user_may_not_read_is_told(closed: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "logs").mkdir()
        path, rotated = folder / "logs" / "api.log", folder / "logs" / "api.log.1"
        path.write_text("one\n")
        rotated.write_text("zero\n")
        {"the log": path, "its folder": path.parent, "a rotated file": rotated}[closed].chmod(0o600)
        shutil.copytree(ROOT / "module_utils" / "papdeploy", folder / "code" / "papdeploy")
        done = subprocess.run(
            [sys.executable, "-B", "-c", CLOSED, folder / "code", path], capture_output=True, text=True, timeout=60
        )
        said = done.stdout.splitlines()
        if closed == "a rotated file":
            assert "Mark(" in said[0] and "Reading(" in said[1] and said[2] == "one", done
        else:
            assert said == [f"The log {path} cannot be read: Permission denied."] * 3, done


@pytest.mark.parametrize("damage", ["cut", "no gzip", "changed"])
def test_a_damaged_rotated_file_is_a_gap_and_ends_nothing(log: Log, damage: str) -> None:
    log.write(*(f"one {number} {os.urandom(30).hex()}" for number in range(2000)))
    log.rename()
    log.compress()
    packed = log.path.with_name("api.log.2.gz")
    whole = packed.read_bytes()
    middle = len(whole) // 2
    packed.write_bytes(
        {"cut": whole[:middle], "no gzip": b"x" * 900, "changed": whole[:middle] + b"\xff" * 99 + whole[middle + 99 :]}[
            damage
        ]
    )
    log.write("two")
    reading = log.read_whole()
    assert reading.text == "two\n" and any("api.log" in gap for gap in reading.gaps)
    assert log.read_whole().gaps == ()
    assert log.source.recent() == "two\n"


def test_a_file_that_is_being_compressed_is_read_once(log: Log) -> None:
    log.write("one")
    log.rename()
    log.path.with_name("api.log.1.gz").write_bytes(gzip.compress(b"before\none\n")[:-9])  # gzip is at work
    log.touch(log.path.with_name("api.log.1.gz"))
    log.write("two")
    reading = log.read_whole()
    assert (reading.text, reading.gaps) == ("one\ntwo\n", ())
    assert log.source.recent().splitlines() == ["before", "one", "two"]


def test_what_is_compressed_in_another_way_is_not_read_as_text(log: Log) -> None:
    log.path.with_name("api.log.2.xz").write_bytes(b"\xfd7zXZ\0\nERROR: x\n")
    log.path.with_name("api.log.3.zst").write_bytes(b"\n" * 9)
    assert log.source.recent() == "before\n"


def test_recent_gives_the_end_and_reaches_into_the_rotated_file(log: Log) -> None:
    log.write("one", "two")
    log.rename()
    log.write("three")
    assert log.source.recent().splitlines() == ["before", "one", "two", "three"]
    assert log.source.recent(11).splitlines() == ["two", "three"]


# No journald runs where these tests do: a program in its place that knows the options that are used, and cursors.
JOURNALCTL = """#!/usr/bin/env python3
import json, pathlib, sys
entries = json.loads((pathlib.Path(__file__).parent / "entries.json").read_text())
assert "--output=json" in sys.argv and "--unit=pap-api.service" in sys.argv, sys.argv
for word in sys.argv:
    if word.startswith("--after-cursor="):
        entries = [e for e in entries if e["__CURSOR"] > word.partition("=")[2]]
    if word.startswith("--lines="):
        entries = entries[-int(word.partition("=")[2]):]
sys.stdout.writelines(json.dumps(e) + "\\n" for e in entries)
"""


def test_the_journal_of_a_unit_is_read_by_cursors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, entries = tmp_path / "journalctl", tmp_path / "entries.json"
    program.write_text(JOURNALCTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def logged(*messages: object) -> None:
        entries.write_text(json.dumps([{"__CURSOR": f"c{n:03d}", "MESSAGE": m} for n, m in enumerate(messages)]))

    source = from_spec(LogSpec(unit="pap-api.service"))
    assert isinstance(source, JournalLog)
    logged()
    assert source.now() == Mark()
    logged("old", "older")
    mark = source.now()
    assert source.recent() == "old\nolder\n"
    logged("old", "older", "new", list("grün".encode()), None)
    reading = source.since(mark)
    assert reading.text == "new\ngrün\n\n" and not reading.more
    assert source.since(reading.mark).text == ""
    cut = source.since(mark, limit=10)
    assert cut.more and source.since(cut.mark).text == "grün\n\n"


@pytest.mark.parametrize(
    ("says", "read", "problem"),
    [
        (r'printf "%s\n" "$1" "$2"; printf "%.12s" "$2"; exec sleep 30', "one\ntwo\n", ""),
        (r'printf "%s\n" "$1" "$2"; exec sleep 30', "one\ntwo\n", ""),
        (r'printf "%.12s" "$1"; exec sleep 30', "", "journal of a.service cannot be read: it took longer than 0.5 s"),
        ("exec sleep 30", "", "it took longer than 0.5 s"),
        ("echo No permission >&2; exit 1", "", "cannot be read: No permission"),
    ],
    ids=["within an entry", "after an entry", "within the first", "before it", "not at all"],
)  # fmt: skip
def test_a_journal_that_is_slow_is_read_as_far_as_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, read: str, problem: str
) -> None:
    entries = [json.dumps({"__CURSOR": f"c{n}", "MESSAGE": m}) for n, m in enumerate(("one", "two"))]
    program = tmp_path / "journalctl"
    program.write_text(f"#!/bin/sh\nset -- '{entries[0]}' '{entries[1]}'\n{says}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(sources, "_PATIENCE_S", 0.5)
    source = JournalLog("a.service")
    if problem:
        with pytest.raises(Unavailable, match=problem) as caught:
            source.since(Mark(cursor="c"))
        assert ("systemd-journal" in str(caught.value.hint)) is ("permission" in problem)
    else:
        assert source.since(Mark(cursor="c")) == Reading(read, Mark(cursor="c1"), more=True)
