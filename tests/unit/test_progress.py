"""The line that a long phase keeps while it works."""

from __future__ import annotations

import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from papdeploy.backup import growth
from papdeploy.phases.progress import Progress, sentence

ROWS = {"event": "progress", "identity": "fill", "rows_done": 0, "rows_total": 9000, "estimated": True}


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"event": "step", "step": "migrating the copy"}, "migrating the copy"),
        (
            {"event": "copying", "dumped": 40_000_000, "made": 250_000_000, "of": 1_000_000_000, "seconds": 10.0},
            "dumped 40.0 MB, restored 250.0 MB of about 1.0 GB, 25.0 MB/s, about 30 s left",
        ),
        (
            {"event": "copying", "dumped": 40_000_000, "made": 0, "of": 1_000_000_000, "seconds": 10.0},
            "dumped 40.0 MB, 4.0 MB/s",
        ),
        # a copy may become larger than its original: nothing is left then, and nothing is below zero
        (
            {"event": "copying", "dumped": 0, "made": 1_100_000_000, "of": 1_000_000_000, "seconds": 10.0},
            "restored 1.1 GB of about 1.1 GB, 110.0 MB/s",
        ),
        ({"event": "copying", "dumped": 0, "made": 0, "of": 1, "seconds": 0.0}, ""),
        (
            {**ROWS, "rows_done": 3000, "rows_per_second": 20.0},
            "fill: 3,000 of about 9,000 rows, 20 rows/s, 5 min left",
        ),
        ({**ROWS, "rows_done": 9000, "rows_per_second": 0}, "fill: 9,000 of about 9,000 rows, 0 rows/s"),
        ({"event": "checked", "matches": True}, ""),
    ],
)
def test_sentences(event: dict[str, Any], said: str) -> None:
    assert sentence(event) == said


def test_the_file_is_private_and_goes_with_the_phase(tmp_path: Path) -> None:
    file = tmp_path / "progress-backup"
    file.write_text("of a run that was killed")
    with Progress(tmp_path, "backup") as say:
        assert not file.exists()
        say({"event": "step", "step": "one\ntwo"})
        assert file.read_text() == "one two\n" and stat.S_IMODE(file.stat().st_mode) == 0o600
        for done in range(1000):  # the pieces of a backfill follow each other fast: the file is not written for each
            say({**ROWS, "rows_done": done, "rows_per_second": 20.0})
        assert file.read_text() == "one two\n"
        say({"event": "step", "step": "three"})
        assert file.read_text() == "three\n"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    with Progress(tmp_path / "gone", "backup") as say:
        say({"event": "step", "step": "one"})


def test_a_copy_is_told_of_while_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([100, 200])
    monkeypatch.setattr(growth, "_bytes", lambda copy: next(sizes, 300))
    heard: list[dict[str, Any]] = []
    enough = threading.Event()

    def emit(event: dict[str, Any]) -> None:
        heard.append(event)
        if len(heard) == 2:
            enough.set()

    copy: Any = object()
    with growth.told(emit, copy, of=300, dumped=lambda: 7, every_s=0.01):
        assert enough.wait(30)
    assert [event["made"] for event in heard[:2]] == [100, 200]
    assert {(event["event"], event["dumped"], event["of"]) for event in heard} == {("copying", 7, 300)}
