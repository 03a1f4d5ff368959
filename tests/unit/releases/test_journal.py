from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
from papdeploy.core.durable import private_folder
from papdeploy.core.errors import PapError, Refused
from papdeploy.core.processes import boot_id
from papdeploy.core.redact import MASK, Redactor
from papdeploy.releases.journal import State
from papdeploy.releases.parts import Times
from papdeploy.releases.records import Backup, Migrated
from papdeploy.releases.run import Run
from support.journals import entries, last

ME = Run(user="me", host=socket.gethostname(), pid=os.getpid(), boot=boot_id())
OTHER = Run(user="you", host="elsewhere", pid=1)


def test_a_release_is_unfinished_until_it_ends(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    journal = state.begin(ME, stack="s")
    assert state.unfinished() == journal
    journal.append("release", "finished")
    assert state.unfinished() is None
    assert state.last_finished() == journal


def test_checkpoints_are_on_disk_in_order_with_what_was_found(tmp_path: Path) -> None:
    journal = State(tmp_path / "state").begin(ME)
    with journal.checkpoint("backup") as done:
        done["bytes"] = 7
    with pytest.raises(PapError), journal.checkpoint("migrate"):
        raise PapError("no", hint="do", table="users")
    assert [(e["phase"], e["event"]) for e in entries(journal)] == [
        ("release", "begin"),
        ("backup", "begin"),
        ("backup", "done"),
        ("migrate", "begin"),
        ("migrate", "failed"),
    ]
    assert last(journal, "backup")["bytes"] == 7
    failed = last(journal, "migrate", "failed")
    assert (failed["message"], failed["hint"], failed["data"]) == ("no", "do", {"table": "users"})


def test_a_torn_line_is_passed_over_and_stays_alone(tmp_path: Path) -> None:
    journal = State(tmp_path / "state").begin(ME)
    with journal.path.open("a") as file:
        file.write('{"at": "2026-01-01T00:00:00Z", "pha')
    journal.append("backup", "begin")
    assert [(e.phase, e.event) for e in journal.records()] == [("release", "begin"), ("backup", "begin")]


def test_everything_is_private_and_without_secrets(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    journal = state.begin(ME, url="postgresql://u:geheim@h/d")
    assert "geheim" not in journal.path.read_text()
    modes = {p: stat.S_IMODE(p.stat().st_mode) for p in [state.folder, *state.folder.rglob("*")]}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


def test_texts_are_masked_and_facts_are_kept_as_they_are(tmp_path: Path) -> None:
    """The name of a database may be its password as well: recovery reads it from the journal."""
    state = State(tmp_path / "state", Redactor(["control_core_db", "geheim"]))
    journal = state.begin(ME)
    with pytest.raises(Refused), journal.checkpoint("fence", why="geheim"):
        raise Refused("geheim!", hint="not geheim", lines=["a geheim b"], deep={"x": ["geheim"]})
    default = "nextval('public.oauth_tokens_id_seq'::regclass)"
    journal.append("fence", "done", database="control_core_db", default=default, lines=[default, "control_core_db"])
    assert "geheim" not in journal.path.read_text()
    done = last(journal, "fence")
    assert (done["database"], done["default"], done["lines"]) == ("control_core_db", default, [default, MASK])


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r", "\n"])
def test_no_text_tears_an_entry(tmp_path: Path, separator: str) -> None:
    journal = State(tmp_path / "state").begin(ME)
    journal.append("migrate", "done", lines=[f"a{separator}b"])
    found = journal.newest(Migrated)
    assert found is not None and found.lines == (f"a{separator}b",)


def test_a_wide_or_linked_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wide").mkdir(mode=0o755)
    (tmp_path / "linked").symlink_to(private_folder(tmp_path / "good"))
    for name in ("wide", "linked"):
        with pytest.raises(Refused, match=name):
            private_folder(tmp_path / name)


@pytest.mark.parametrize("name", ["", "../x", "nope", ".."])
def test_an_unknown_release_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match="There is no release"):
        State(tmp_path).journal(name)


def test_a_journal_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    journal = State(tmp_path / "state").begin(ME)
    old = (
        '{"at": "2026-01-01T00:00:00+00:00", "phase": "release", "event": "rolled_back", "way": "image", "cost": ""}\n'
        '{"at": "2026-01-01T00:00:00+00:00", "phase": "backup", "event": "done", "oracle_digest": "ab", "seconds": {"oracle": 1.5}}\n'
    )
    with journal.path.open("a", encoding="utf-8") as file:
        file.write(old)
    end = journal.ended()
    assert end is not None and end.strategy == "image"
    taken = journal.newest(Backup)
    assert taken is not None and taken.content_hash == "ab" and taken.times == Times(content_digest=1.5)
