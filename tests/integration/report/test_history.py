"""History, report and receipts from the folders of real releases, without a database or an API."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from papdeploy import receipts
from papdeploy.core.errors import Refused
from papdeploy.core.records import read_known, returned
from papdeploy.logwatch.confidential import NOTHING
from papdeploy.phases import receipt, receipt_keys, report, watch
from papdeploy.releases.journal import Journal, State
from papdeploy.releases.run import Run
from papdeploy.report import history
from papdeploy.report.overview import write as write_overview
from support.journals import last

WHO = Run(user="jane", host="deploy-1", pid=1)
VERSION = {"label": "pap:1.9.0", "identity": "sha256:93fe"}


def release(state: State, *, environment: str = "staging", end: str = "finished", stack: str = "pap") -> Journal:
    journal = state.begin(
        WHO, stack=stack, environment=environment, pending=["a"], server_version=160004, versions={},
        **{"from": {"label": "pap:1.8.2", "identity": "sha256:77aa"}, "to": VERSION},
    )  # fmt: skip
    (journal.folder / "migrations.json").write_text(json.dumps({"a.py": "one", "b.py": "two"}))
    journal.append("preflight", "done", models_digest="m1", seconds=0.5, lines=[])
    if end == "rolled_back":
        journal.append("fence", "begin")
        journal.append("migrate", "failed", error="MigrationError", message="it broke", hint="mend it", data={})
        journal.append("rollback.login_smoke_test", "begin")
        journal.append("rollback.login_smoke_test", "done", healthy_after_s=0.2)
    else:
        journal.append("migrate", "done", applied=[{"identity": "a", "seconds": 0.1, "statements": []}])
    if end:
        extra = {"unavailable_s": 1.5} if end == "finished" else {}
        journal.append("release", end, seconds=9.0, **extra)
        state.lock.release(journal.release)
    return journal


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


def test_the_list_of_releases(state: State) -> None:
    assert report.releases(state, 5).pap.lines == ["nothing was deployed yet"]
    release(state, end="rolled_back")
    release(state)
    rows = history.releases(state)
    by_verdict = {row.verdict: row for row in rows}
    assert by_verdict["finished"].unavailable_s == 1.5 and by_verdict["finished"].migrations == 1
    assert by_verdict["rolled_back"].failed == "migrate" and by_verdict["rolled_back"].unavailable_s is not None
    said = "\n".join(history.lines(rows))
    assert "pap:1.8.2 → pap:1.9.0 +1" in said and "rolled back at migrate" in said and "jane@deploy-1" in said


def test_an_unfinished_release_is_listed_as_such(state: State) -> None:
    release(state, end="")
    (row,) = history.releases(state)
    assert (row.verdict, row.seconds, row.watch) == ("unfinished", None, "none")


def test_the_report_is_two_private_files(state: State, tmp_path: Path) -> None:
    assert report.write(state, "").written is False
    journal = release(state)
    found = report.write(state, journal.release)
    html, data = journal.folder / "report.html", journal.folder / "report.json"
    assert found.files == [str(data), str(html)]
    assert html.stat().st_mode & 0o777 == data.stat().st_mode & 0o777 == 0o600
    assert json.loads(data.read_text())["verdict"]["kind"] == "finished"
    assert found.row and found.row.verdict == "finished" and "pap:1.9.0: 1 migration applied" in html.read_text()
    fleet = tmp_path / "reports"
    for stack in ("pap-eu", "pap-us"):
        (fleet / stack).mkdir(parents=True)
        (fleet / stack / f"{journal.release}.json").write_text(data.read_text().replace('"pap"', f'"{stack}"'))
    made = write_overview(str(fleet))
    page = Path(made.path).read_text()
    assert made.stacks == 2 and f'href="pap-eu/{journal.release}.html"' in page and not made.warnings


def test_the_overview_leaves_what_is_not_ours(state: State, tmp_path: Path) -> None:
    journal = release(state)
    report.write(state, journal.release)
    fleet = tmp_path / "reports"
    (fleet / "pap").mkdir(parents=True)
    (fleet / "pap" / "1.json").write_text((journal.folder / "report.json").read_text())
    assert write_overview(str(fleet)).path == str(fleet / "index.html")
    for name, text in {"9.json": "{", "8.json": "[]", "7.json": '{"verdict": "ok"}', "6.json": "[" * 200_000}.items():
        (fleet / "pap" / name).write_text(text)
    os.mkfifo(fleet / "pap" / "5.json")
    (fleet / "pap" / "4.json").mkdir()
    (fleet / "notes").mkdir()
    made = write_overview(str(fleet))
    assert made.stacks == 1 and made.path, "a page of ours is written anew"
    assert [warning.split(" is not ")[0].rsplit("/", 1)[1] for warning in made.warnings] == [
        f"{number}.json" for number in (9, 8, 7, 6, 5, 4)
    ]
    for shape in ("text", "link", "fifo", "folder"):
        page = fleet / "index.html"
        page.unlink()
        if shape == "text":
            page.write_text("<h1>Our team's page</h1>")
        elif shape == "link":
            page.symlink_to(tmp_path / "nowhere")
        elif shape == "fifo":
            os.mkfifo(page)
        else:
            page.mkdir()
        before = page.lstat()
        made = write_overview(str(fleet))
        assert made.path == "" and "was not written over it" in made.warnings[-1]
        assert page.lstat().st_ino == before.st_ino


class TestReceipts:
    """From staging's journal to production's journal."""

    @pytest.fixture
    def keys(self, tmp_path: Path) -> dict[str, str]:
        private, public = str(tmp_path / "keys" / "receipt.key"), str(tmp_path / "keys" / "receipt.pub")
        assert receipt_keys.ensure_key(private, public).changed
        assert not receipt_keys.ensure_key(private, public).changed
        assert Path(private).stat().st_mode & 0o777 == 0o600
        return {"private": private, "public": public}

    def demand(
        self, subject: Mapping[str, Any], folder: Path, keys: dict[str, str], **changes: Any
    ) -> receipt_keys.Demanded:
        options: dict[str, Any] = {
            "public_keys": [], "public_files": [keys["public"]], "environment": "staging", "max_age_hours": 1,
            "reason": "", "who": WHO,
        }  # fmt: skip
        return receipt_keys.demand(subject, str(folder), **{**options, **changes})

    def test_the_whole_way(self, state: State, tmp_path: Path, keys: dict[str, str]) -> None:
        folder = tmp_path / "receipts"
        tested = release(state)
        described = receipt.describe(state, tested.release)
        assert described.subject["server_major"] == 16 and list(described.subject["migrations"]) == [
            "a.py",
            "b.py",
        ]
        receipt_keys.write(described.receipt, str(folder), "", keys["private"])

        production = State(tmp_path / "production")
        journal = release(production, environment="production", end="")
        subject = receipt.describe(production, journal.release).subject
        found = self.demand(subject, folder, keys)
        assert found.receipt["release"] == tested.release and found.pap.lines == []
        (folder / "no\nreceipt.json").write_text("[" * 200_000)
        (said,) = self.demand(subject, folder, keys).pap.lines
        assert said.startswith(r"Passed over in the folder of receipts: 1 file: no\nreceipt.json: ")
        noting = receipt.record(production, journal.release, returned(found))
        assert tested.release in noting.pap.lines[0]
        noted = last(journal, "receipt")
        assert noted is not None and noted["receipt"]["release"] == tested.release

    def test_without_a_receipt_the_release_ends_and_the_stack_is_free(self, state: State) -> None:
        journal = release(state, environment="production", end="")
        with pytest.raises(Refused, match="no receipt") as refused:
            receipt.refuse(state, journal.release, "There is no receipt.", "Deploy to staging.")
        assert refused.value.data["ended"] is True
        end = journal.ended()
        assert end is not None and end.event == "refused" and state.lock.holder() is None

    def test_an_unfinished_release_gives_no_receipt(self, state: State) -> None:
        assert receipt.describe(state, release(state, end="").release).receipt == {}

    @pytest.mark.parametrize("end", ["rolled_back", "refused", "interrupted"])
    def test_what_is_taken_back_is_revoked_once(
        self, state: State, tmp_path: Path, keys: dict[str, str], end: str
    ) -> None:
        folder, tested = tmp_path / "receipts", release(state)
        described = receipt.describe(state, tested.release)
        assert described.revocations == []
        receipt_keys.write(described.receipt, str(folder), "", keys["private"])
        tested.append("rollback", "begin")
        if end == "rolled_back":
            tested.append("release", "rolled_back", strategy="image")
        if end == "refused":  # called off: the API was started again, and the release is in force
            tested.append("rollback.restart", "done")
        found = receipt.revocations(state).revocations
        assert len(found) == (end != "refused")
        made = receipt_keys.write({}, str(folder), "", keys["private"], found)
        assert made.changed is (end != "refused") and len(list(folder.iterdir())) == 1
        assert all("rolled back, in" in line for line in made.pap.lines)
        assert receipt_keys.write({}, str(folder), "", keys["private"], found).changed is False
        if end == "refused":
            assert self.demand(described.subject, folder, keys).receipt["release"] == tested.release
            return
        with pytest.raises(Refused, match="took it back"):
            self.demand(described.subject, folder, keys)
        # A rollback from a controller that does not have the folder: the next receipt brings its revocation along.
        (file,) = folder.iterdir()
        file.unlink()
        if end == "rolled_back":
            again = receipt.describe(state, release(state).release)
            receipt_keys.write(again.receipt, str(folder), "", keys["private"], again.revocations)
            assert len(list(folder.iterdir())) == 2
            assert self.demand(described.subject, folder, keys).receipt["release"] != tested.release

    def test_what_a_receipt_must_hold_is_no_matter_of_an_override(
        self, state: State, tmp_path: Path, keys: dict[str, str]
    ) -> None:
        folder, described = tmp_path / "receipts", receipt.describe(state, release(state).release)
        receipt_keys.write(described.receipt, str(folder), "", keys["private"])
        reason = "incident 4711, decided by Jo"
        with pytest.raises(Refused, match="what no receipt holds: rehearsd"):
            self.demand(described.subject, folder, keys, holds=["rehearsd"], reason=reason)
        with pytest.raises(Refused, match=r"does not hold what receipt_demand asks for\. Watched: it does not state"):
            self.demand(described.subject, folder, keys, holds=["watched"])
        found = self.demand(described.subject, folder, keys, holds=["watched"], reason=reason)
        assert "receipt_demand asks for" in found.override["instead_of"]

    def test_without_keys_nothing_is_let_through(self, state: State, tmp_path: Path, keys: dict[str, str]) -> None:
        subject = receipt.describe(state, release(state).release).subject
        (tmp_path / "receipts").mkdir()
        with pytest.raises(Refused, match="no public key"):
            self.demand(subject, tmp_path / "receipts", keys, public_files=[])
        with pytest.raises(Refused, match="no key to sign"):
            receipt_keys.write({}, str(tmp_path), "", "")

    def test_an_override_is_recorded_with_what_it_overrides(
        self, state: State, tmp_path: Path, keys: dict[str, str]
    ) -> None:
        journal = release(state, environment="production", end="")
        subject = receipt.describe(state, journal.release).subject
        (tmp_path / "receipts").mkdir()
        with pytest.raises(Refused, match="receipt_override"):
            self.demand(subject, tmp_path / "receipts", keys)
        found = self.demand(subject, tmp_path / "receipts", keys, reason="incident 4711, decided by Jo")
        said = receipt.record(state, journal.release, returned(found))
        assert said.pap.lines == ["OVERRIDDEN by jane: incident 4711, decided by Jo"]
        noted = last(journal, "receipt")
        assert noted is not None and "no receipt of staging" in noted["override"]["instead_of"]


class TestWatchOfARelease:
    def test_nothing_was_deployed(self, state: State) -> None:
        assert watch.status(state, "").ok is True
        stack = watch.handover.Stack("pap")
        assert watch.start(state, "", NOTHING, wanted="auto", stack=stack).watching is False
        with pytest.raises(Refused):
            watch.acknowledge(state, "", WHO, "a good reason")

    def test_a_release_without_a_watch(self, state: State) -> None:
        journal = release(state)
        found = watch.status(state, "")
        assert found.release == journal.release and found.ok and "no watch" in found.pap.lines[0]
        with pytest.raises(Refused, match="has no watch"):
            watch.acknowledge(state, "", WHO, "a good reason")


def test_the_subject_of_receipts_of_two_equal_releases_is_equal(state: State, tmp_path: Path) -> None:
    other = State(tmp_path / "other")
    subjects = [receipt.describe(s, release(s).release).subject for s in (state, other)]
    here, there = (read_known(receipts.Subject, each) for each in subjects)
    assert receipts.differences(here, there) == []
