"""What a stack tells its monitoring: what was measured and nothing else, whole, under a name of its own."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from papdeploy.core.clock import epoch, now
from papdeploy.core.durable import private_folder
from papdeploy.core.redact import Redactor
from papdeploy.logwatch import metrics, process, rules, textfile
from papdeploy.logwatch.rules import Rules
from papdeploy.logwatch.sources import LogSpec
from papdeploy.logwatch.state import Ended
from papdeploy.logwatch.textfile import Sample, Target
from papdeploy.phases import retention
from papdeploy.releases.journal import Journal, State
from papdeploy.releases.run import Run
from support import backup_files

WHO = Run(user="jane", host="controller", pid=1)
VERSION = {"label": "registry.example.org/pap:1.9.0", "identity": "sha256:93fe"}


@pytest.fixture
def state(tmp_path: Path) -> State:
    made = State(tmp_path / "state", Redactor(["hunter2hunter2"]))
    for folder in (made.folder, made.backups_folder):
        private_folder(folder)
    return made


def release(state: State, end: str = "finished", **ended: object) -> Journal:
    journal = state.begin(WHO, stack="pap", environment="staging", to=VERSION)
    state.lock.release(journal.release)
    if end:
        journal.append("release", end, **ended)
    return journal


def watch(journal: Journal, log: Path) -> None:
    log.write_text('INFO:     127.0.0.1:1 - "GET /policies/ HTTP/1.1" 200 OK\n')
    process.prepare(journal.folder, {"api": LogSpec(files=(str(log),))}, hours=1, interval_s=30, rules=Rules())
    with log.open("a") as file:
        file.write('INFO:     127.0.0.1:1 - "GET /policies/ HTTP/1.1" 200 OK\n' * 3)
        file.write("ERROR:    (psycopg2.errors.UndefinedColumn) column policies.x does not exist\n")
    process.look(journal.folder)


def values(state: State, at: str = "") -> dict[str, float]:
    found = metrics.measured(state, at or now())
    return {sample.family.name: sample.value for sample in found if sample.family is not metrics.FINDINGS}


def test_what_was_not_measured_is_absent(state: State) -> None:
    assert values(state) == {}
    release(state, "refused")
    assert values(state) == {"pap_release_unfinished": 0}
    release(state)
    assert values(state).keys() == {
        "pap_release_unfinished", "pap_release_info", "pap_release_finished_timestamp_seconds"
    }  # fmt: skip


def test_what_releases_tell(state: State) -> None:
    first = release(state, unavailable_s=5.4)
    assert values(state)["pap_downtime_seconds"] == 5.4
    release(state, "refused")
    assert values(state)["pap_downtime_seconds"] == 5.4, "a release that touched nothing kept nobody waiting"
    assert metrics.measured(state, now())[0].labels == {"release": first.release, "version": VERSION["label"]}
    last = release(state, "")
    assert (values(state)["pap_release_unfinished"], values(state)["pap_release_info"]) == (1, 1)
    for at, phase, event, noted in (
        ("2026-03-01T10:00:00.000Z", "fence", "begin", {}),
        ("2026-03-01T10:00:20.000Z", "activate", "done", {"healthy_at": "2026-03-01T10:00:20.000Z"}),
        ("2026-03-04T10:00:00.000Z", "rollback.activate", "begin", {}),
        ("2026-03-04T10:00:08.000Z", "rollback.activate", "done", {"switched": True, "healthy_at": "2026-03-04T10:00:08.000Z"}),
        ("2026-03-04T10:00:08.000Z", "rollback.login_smoke_test", "begin", {}),
        ("2026-03-04T10:00:09.000Z", "rollback.login_smoke_test", "done", {"healthy_after_s": 0.1}),
        ("2026-03-04T10:00:09.000Z", "release", "rolled_back", {"strategy": "image"}),
    ):  # fmt: skip
        last.append(phase, event, **{**noted, "at": at})
    assert values(state)["pap_downtime_seconds"] == 8, "days between a deploy and its rollback are no downtime"


def test_the_newest_proven_backup(state: State) -> None:
    release(state)
    backup_files.put(state.backups_folder, "r0", 5, seconds={**backup_files.SECONDS, "restore": 44.0})
    good = backup_files.put(state.backups_folder, "r1", 3, seconds={**backup_files.SECONDS, "restore": 12.5})
    backup_files.put(state.backups_folder, "r2", 2, proof="schema")
    backup_files.put(state.backups_folder, "r3", -1)  # by a clock that was ahead: else it were the newest for a day
    backup_files.put(state.backups_folder, "r4", 1).unlink()
    found = values(state)
    assert found["pap_backup_proven_age_seconds"] == pytest.approx(3 * 86400, abs=30)
    assert found["pap_backup_proven_timestamp_seconds"] == pytest.approx(epoch(now()) - 3 * 86400, abs=30)
    assert found["pap_restore_seconds"] == 12.5
    retention.judged(state, str(good), "sha-r1-3", "a page is damaged")
    assert values(state)["pap_restore_seconds"] == 44.0
    good.with_name(good.name + ".manifest.json").write_text("{")
    assert values(state)["pap_restore_seconds"] == 44.0


def test_what_the_watch_tells(state: State, tmp_path: Path) -> None:
    journal = release(state, "")
    watch(journal, tmp_path / "app.log")
    found = values(state)
    assert (found["pap_watch_alarms"], found["pap_watch_requests_total"], found["pap_watch_blind"]) == (1, 3, 0)
    assert "pap_watch_heartbeat_due_timestamp_seconds" not in found, "within a deploy nobody else looks"
    journal.append("release", "finished")
    found = values(state)
    due = found["pap_watch_heartbeat_due_timestamp_seconds"] - found["pap_watch_heartbeat_timestamp_seconds"]
    assert due == pytest.approx(150)
    kinds = {s.labels["kind"]: s.value for s in metrics.measured(state, now()) if s.family is metrics.FINDINGS}
    assert kinds["missing_column"] == 1 and kinds["crash"] == 0 and len(kinds) > 10

    known = rules.load(journal.folder)
    assert known is not None
    rules.save(journal.folder, rules.acknowledge(known, "jo", "an old client", now()))
    assert values(state)["pap_watch_alarms"] == 0
    rules.save(journal.folder, replace(known, ended=Ended(now(), "its time is over")))
    assert "pap_watch_heartbeat_due_timestamp_seconds" not in values(state)
    assert values(state)["pap_watch_alarms"] == 1, "still open, although nobody watches any more"


NAMES = ["pap", "a/b", "a_b", "a%2Fb", "..", "a@b", 'say "hi"\\', "line\nfeed", "ünïcode", "\udce4", "x" * 60]


def test_stacks_do_not_overwrite_each_other(state: State, tmp_path: Path) -> None:
    release(state)
    folder = tmp_path / "textfile"
    folder.mkdir()
    pairs = [(stack, environment) for stack in NAMES for environment in ("staging", "production", "b@staging")]
    for stack, environment in pairs:
        if stack != "\udce4":
            assert metrics.publish(state, Target(str(folder), stack, environment)) == ""
    found = sorted(folder.iterdir())
    assert len(found) == len(pairs) - 3
    assert all(path.name.startswith("pap_") and path.suffix == ".prom" for path in found)
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o644}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_the_format_is_prometheus_own(name: str) -> None:
    samples = [Sample(family, 0.1 + number) for number, family in enumerate(metrics.FAMILIES)]
    samples += [Sample(metrics.FINDINGS, 3, {"kind": name}), Sample(metrics.ALARMS, 1764495494.5, {"kind": name})]
    text = textfile.exposition(samples, {"stack": name, "environment": name})
    done = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=30)
    assert (done.returncode, done.stdout + done.stderr) == (0, b""), text


def test_no_secret_goes_into_it(state: State) -> None:
    journal = state.begin(WHO, to={"label": "pap?token=hunter2hunter2"})
    journal.append("release", "finished")
    text = textfile.exposition(metrics.measured(state, now()), {})
    assert "hunter2" not in text and "pap_release_info" in text


def test_a_folder_that_cannot_be_written_is_said_and_nothing_else(state: State, tmp_path: Path) -> None:
    release(state)
    said = metrics.publish(state, Target(str(tmp_path / "absent"), "pap", "staging"))
    assert said == f"The metrics of pap were not written to {tmp_path}/absent: No such file or directory."
    (tmp_path / "file").touch()
    assert "Not a directory" in metrics.publish(state, Target(str(tmp_path / "file"), "pap", "staging"))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "pap_pap@staging.prom").mkdir()
    assert "Is a directory" in metrics.publish(state, Target(str(tmp_path / "taken"), "pap", "staging"))
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["pap_pap@staging.prom"]
    assert metrics.publish(state, Target()) == ""


def test_a_link_that_somebody_put_there_is_replaced_not_followed(state: State, tmp_path: Path) -> None:
    release(state)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = tmp_path / "textfile"
    folder.mkdir()
    (folder / "pap_pap@staging.prom").symlink_to(victim)
    assert metrics.publish(state, Target(str(folder), "pap", "staging")) == ""
    assert victim.read_text() == "mine"
    assert re.match(r"# HELP pap_release_info ", (folder / "pap_pap@staging.prom").read_text())


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"release": 1}'])
def test_a_state_that_cannot_be_read_fails_nothing(state: State, tmp_path: Path, torn: str) -> None:
    journal = release(state)
    (journal.folder / "watch.json").write_text(torn)
    assert "were not written" in metrics.publish(state, Target(str(tmp_path), "pap", "staging"))
