"""JSON that others wrote, at each place that reads it: brackets without end are no defect of ours."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any, Callable

import pytest
from papdeploy.core.database_identity import RECORD_PREFIX, record_of
from papdeploy.core.errors import Refused, Unavailable
from papdeploy.core.plain_json import parse
from papdeploy.core.private import refuse_foreign
from papdeploy.core.registry import Registry
from papdeploy.logwatch import classify
from papdeploy.migrations import ledger
from papdeploy.releases import holder, journal
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run

DEEP = "[" * 100_000
OBJECTS = '{"a":' * 100_000
JUNK = [
    DEEP, OBJECTS, "", "null", "5", '"x"', "[]", "{}", "\0" * 4096, "\ufffd", '{"phase": [], "event": {}, "at": 5}',
    '{"phase": "x", "event": "y"}', '{"phase": "x", "event": "y", "at": "then"}', '{"phase": 1, "event": "y", "at": "2026-01-01T00:00:00Z"}',
    '{"phase": "x", "event": "y", "at": "2026-01-01T00:00:00"}', "NaN", "1e999", '{"at": {}}', "9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("text", [DEEP, OBJECTS, "", "\0", "9" * 5000 + "x", b"\xff\xfe"], ids=range(6))
def test_whatever_it_is_it_is_a_value_or_a_value_error(text: Any) -> None:
    with pytest.raises(ValueError):
        parse(text)


@pytest.mark.parametrize("line", JUNK, ids=range(len(JUNK)))
def test_a_journal_is_read_beside_junk(tmp_path: Path, line: str) -> None:
    state = State(tmp_path / "state")
    made = state.begin(Run(user="me", host=socket.gethostname(), pid=os.getpid()), stack="s")
    made.append("backup", "done", bytes=7)
    whole = made.records()
    for junk in (line.encode(), b"\xff\xfe" + line.encode(), line.encode("utf-16")):
        made.path.write_bytes(junk + b"\n" + made.path.read_bytes() + junk)
        assert made.records() == whole and made.opening().stack == "s" and state.unfinished() == made


def test_a_journal_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = State(tmp_path / "state").begin(Run(user="me", host="h", pid=1))
    monkeypatch.setattr(journal, "_MOST_BYTES", 10)
    with pytest.raises(Unavailable, match=f"{re.escape(str(made.path))} cannot be read: it has more than"):
        made.records()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: socket.socket(socket.AF_UNIX).bind(str(path))])
def test_what_is_neither_a_file_nor_a_folder_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "x")
    with pytest.raises(Refused, match="neither a file nor a folder"):
        refuse_foreign(tmp_path / "x")


@pytest.mark.parametrize("line", JUNK, ids=range(len(JUNK)))
def test_a_registry_is_read_beside_junk(tmp_path: Path, line: str) -> None:
    registry = Registry(tmp_path)
    registry._write("made", "a_database")
    whole = registry._entries()
    file = tmp_path / "databases.jsonl"
    file.write_bytes(line.encode() + b"\n" + file.read_bytes() + b"\xff\n")
    assert registry._entries() == whole


@pytest.mark.parametrize("line", [DEEP, OBJECTS], ids=["lists", "objects"])
def test_other_readers(tmp_path: Path, line: str) -> None:
    found = classify.scan(f"{line}\n", "api", at="2026-01-01T00:00:00Z", final=True)
    assert not found.findings or all(finding.count for finding in found.findings.values())
    assert record_of(RECORD_PREFIX + line) is None
    holder.lock_file(tmp_path).write_text(line)
    with pytest.raises(Refused, match=r"lock .* cannot be read"):
        holder.read(tmp_path)
    row = (1, "applied", "one", "", "", "", "", 0.0, "", line)
    with pytest.raises(Refused, match="the details of one are no JSON object"):
        ledger.read(lambda _: [row], exists=True)
