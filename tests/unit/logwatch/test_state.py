"""The watch, step by step, on a real log file and with a clock of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from papdeploy.core.errors import Refused, Unavailable
from papdeploy.logwatch import process
from papdeploy.logwatch import rules as watch
from papdeploy.logwatch.files import FileLog
from papdeploy.logwatch.rules import acknowledge, begin, open_alarms, status, step
from papdeploy.logwatch.sources import LogSpec
from papdeploy.logwatch.state import Acknowledged, Alarm, Ended, Rules, WatchState

OK = 'INFO:     127.0.0.1:1 - "GET /policies/ HTTP/1.1" 200 OK\n'
FAIL = 'INFO:     127.0.0.1:1 - "GET /policies/ HTTP/1.1" 500 Internal Server Error\n'
LOGIN = 'INFO:     127.0.0.1:1 - "POST /auth/login HTTP/1.1" 401 Unauthorized\n'
START = "INFO:     Uvicorn running on http://127.0.0.1:8000 (Press CTRL+C to quit)\n"
COLUMN = "ERROR:    (psycopg2.errors.UndefinedColumn) column policies.x does not exist\n"
OTHER = "ERROR:    (psycopg2.errors.UndefinedColumn) column policies.y does not exist\n"
PEPS = "2025-01-01 11:30:00 UTC [1] ERROR:  deadlock detected\n"


class Watched:
    """A stack's log, its watch, and minutes that pass."""

    def __init__(self, folder: Path, before: str, rules: Rules | None = None, source: str = "api") -> None:
        self.folder, self.minute = folder, 0
        self.log = folder / "app.log"
        self.log.write_text(before)
        self.sources = {source: FileLog((str(self.log),))}
        self.state = begin("r1", self.sources, hours=2, interval_s=30, rules=rules or Rules(), at=self.at)

    @property
    def at(self) -> str:
        return f"2025-01-01T{12 + self.minute // 60:02d}:{self.minute % 60:02d}:00.000Z"

    def logs(self, text: str, minutes: int = 1) -> list[Alarm]:
        """Log this, let a minute pass, read, and read once more for what was still growing; the new alarms."""
        known = len(self.state.alarms)
        with self.log.open("a") as file:
            file.write(text)
        self.minute += minutes
        for _ in range(2):
            after = step(self.state, self.sources, self.at)
            self.state = WatchState.from_json(json.loads(json.dumps(after.as_json())))
        return list(self.state.alarms[known:])


def test_a_new_missing_column_is_an_alarm_at_once(tmp_path: Path) -> None:
    stack = Watched(tmp_path, OK * 100)
    assert stack.logs(OK * 10) == []
    (alarm,) = stack.logs(COLUMN)
    assert (alarm.kind, alarm.subject, alarm.count, alarm.at) == (
        "missing_column",
        "policies.x",
        1,
        stack.at,
    )
    assert "not once before the deploy" in alarm.why and "policies.x" in alarm.sample
    assert stack.logs(COLUMN) == [], "the same alarm is raised once"
    assert [a.subject for a in stack.logs(OTHER)] == ["policies.y"]


def test_what_was_there_before_the_deploy_is_not_its_fault(tmp_path: Path) -> None:
    stack = Watched(tmp_path, (OK * 99 + COLUMN) * 5)
    assert stack.logs(OK * 99 + COLUMN) == []
    assert stack.state.findings[0].count == 1


@pytest.mark.parametrize(
    ("before", "after", "alarm"),
    [
        (OK * 1000, OK * 96 + FAIL * 4, False),  # fewer than five do not form a pattern
        (OK * 1000, OK * 95 + FAIL * 5, True),
        (OK * 950 + FAIL * 50, OK * 95 + FAIL * 5, False),  # as before
        (OK * 950 + FAIL * 50, OK * 80 + FAIL * 20, True),  # four times as many as before
        (OK * 950 + FAIL * 50, OK * 9500 + FAIL * 500, False),  # ten times the traffic, the same share
        (OK * 990 + LOGIN * 10, OK * 190 + LOGIN * 5, False),
        (OK * 990 + LOGIN * 10, OK * 100 + LOGIN * 50, True),
    ],
)
def test_rates_are_compared_with_the_rate_before(tmp_path: Path, before: str, after: str, alarm: bool) -> None:
    stack = Watched(tmp_path, before)
    assert bool(stack.logs(after)) is alarm


def test_a_late_burst_is_seen_although_the_day_was_quiet(tmp_path: Path) -> None:
    stack = Watched(tmp_path, OK * 980 + FAIL * 20)
    for _ in range(6):
        assert stack.logs(OK * 1000, minutes=10) == []
    alarms = stack.logs(OK * 60 + FAIL * 40, minutes=20)
    assert [a.kind for a in alarms] == ["server_error"]
    assert " requests; before: 20 in 1000" in alarms[0].why


def test_the_server_has_no_requests_so_its_rate_is_by_time(tmp_path: Path) -> None:
    quiet = Watched(tmp_path, PEPS * 10, source="database")  # ten in the half hour before
    assert quiet.logs(PEPS * 5, minutes=10) == []
    assert [a.kind for a in quiet.logs(PEPS * 40, minutes=10)] == ["lock"]


def test_the_start_that_activation_caused_is_expected_and_the_next_is_not(tmp_path: Path) -> None:
    stack = Watched(tmp_path, START + OK)
    stack.log.open("a").write(START)
    stack.state = step(stack.state, stack.sources, stack.at, settling=True)
    stack.state = step(stack.state, stack.sources, stack.at, settling=True)
    assert stack.logs(OK) == []
    (alarm,) = stack.logs(START)
    assert alarm.kind == "restart" and "1 time" in alarm.why


def test_a_log_that_cannot_be_read_becomes_an_alarm_and_recovers(tmp_path: Path) -> None:
    stack = Watched(tmp_path, OK)
    stack.logs(OK)
    text = stack.log.read_text()
    stack.log.unlink()
    stack.minute += 1
    stack.state = step(stack.state, stack.sources, stack.at)
    assert open_alarms(stack.state) == [] and "api" in stack.state.blind
    stack.minute += 4
    stack.state = step(stack.state, stack.sources, stack.at)
    assert [a.kind for a in open_alarms(stack.state)] == ["blind"]
    stack.log.write_text(text)
    stack.logs(COLUMN)
    assert stack.state.blind == {}
    assert "missing_column" in [a.kind for a in open_alarms(stack.state)]


def test_what_was_read_before_an_error_is_counted_once(tmp_path: Path) -> None:
    class Torn(FileLog):
        calls = 0

        def since(self, mark: Any, limit: int = 64) -> Any:
            type(self).calls += 1
            if self.calls == 2:
                raise Unavailable("the disk is gone")
            return super().since(mark, 64)

    stack = Watched(tmp_path, OK)
    stack.sources = {"api": Torn((str(stack.log),))}
    stack.logs(FAIL * 10)
    stack.logs("")
    assert {f.kind: f.count for f in stack.state.findings} == {"server_error": 10}
    assert stack.state.requests == 10


def test_a_log_that_is_slow_to_read_is_read_on_by_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(FileLog):
        def since(self, mark: Any, limit: int = 256) -> Any:
            return super().since(mark, 256)

    stack = Watched(tmp_path, OK)
    stack.sources = {"api": Slow((str(stack.log),))}
    monkeypatch.setattr(watch, "_PIECES_S", -1.0)
    stack.logs(FAIL * 10)
    assert 0 < stack.state.requests < 10, "what was read is kept, and the mark has moved"
    monkeypatch.undo()
    stack.logs("")
    assert stack.state.requests == 10


def test_the_watch_ends_when_its_time_is_over(tmp_path: Path) -> None:
    stack = Watched(tmp_path, OK)
    stack.logs(OK, minutes=119)
    assert stack.state.ended is None
    stack.logs(OK, minutes=1)
    assert (stack.state.ended or Ended("", "")).why == "its time is over"


def test_nothing_to_watch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no log"):
        begin("r1", {}, hours=1, interval_s=1, rules=Rules(), at="2025-01-01T12:00:00.000Z")


def test_the_plot_has_the_counts_by_time_and_source(tmp_path: Path) -> None:
    stack = Watched(tmp_path, OK)
    stack.logs(OK * 3)
    stack.logs(OK + FAIL * 2 + OK)
    points = [(p.at[11:16], p.logs["api"].requests, p.logs["api"].kinds) for p in stack.state.series]
    assert points == [("12:01", 3, {}), ("12:02", 4, {"server_error": 2})]


class TestStatus:
    """What a person is told of the state on disk."""

    def saved(self, stack: Watched) -> Path:
        watch.save(stack.folder, stack.state)
        return stack.folder

    def test_none(self, tmp_path: Path) -> None:
        assert status(tmp_path).state == "none"

    def test_watching(self, tmp_path: Path) -> None:
        stack = Watched(tmp_path, OK)
        stack.logs(OK * 3 + LOGIN)
        folder = self.saved(stack)
        with watch.being_watcher(folder):
            found = status(folder, at=stack.at)
        assert (found.state, found.ok) == ("watching", True)
        assert "4 requests" in found.summary and "1 authentication" in found.summary

    def test_dead_because_its_process_is_gone(self, tmp_path: Path) -> None:
        stack = Watched(tmp_path, OK)
        found = status(self.saved(stack), at=stack.at)
        assert (found.state, found.ok) == ("dead", False)
        assert "is gone" in found.summary

    def test_dead_because_it_is_silent(self, tmp_path: Path) -> None:
        stack = Watched(tmp_path, OK)
        folder = self.saved(stack)
        with watch.being_watcher(folder):
            assert status(folder, at="2025-01-01T12:02:00.000Z").ok
            found = status(folder, at="2025-01-01T12:03:00.000Z")
        assert (found.state, found.ok) == ("dead", False)
        assert "silent" in found.summary

    def test_a_timers_steps_have_no_process_between_them(self, tmp_path: Path) -> None:
        stack = Watched(tmp_path, OK)
        for runner in ("systemd", "cron"):
            stack.state = replace(stack.state, runner=runner)
            assert status(self.saved(stack), at=stack.at).state == "watching"
        folder, last = self.saved(stack), json.loads(json.dumps(stack.state.as_json()))
        (folder / "watch.json").write_text(json.dumps({**last, "runner": "", "timer": True}))
        assert status(folder, at=stack.at).state == "watching", "as the version before has it"

    def test_ended(self, tmp_path: Path) -> None:
        stack = Watched(tmp_path, OK)
        stack.logs(OK, minutes=120)
        found = status(self.saved(stack), at="2025-02-01T00:00:00.000Z")
        assert (found.state, found.ok) == ("ended", True)

    def test_an_alarm_stays_until_it_is_acknowledged_with_a_reason(self, tmp_path: Path) -> None:
        stack = Watched(tmp_path, OK)
        stack.logs(COLUMN)
        stack.logs(OK, minutes=120)
        found = status(self.saved(stack), at=stack.at)
        assert (found.state, found.ok) == ("alarm", False)
        with pytest.raises(Refused):
            acknowledge(stack.state, "jane", " ", stack.at)
        stack.state = acknowledge(stack.state, "jane", "an old client, now stopped", stack.at)
        assert status(self.saved(stack), at=stack.at).ok
        assert (stack.state.alarms[0].acknowledged or Acknowledged("", "", "")).reason == "an old client, now stopped"

    def test_only_one_watcher(self, tmp_path: Path) -> None:
        with watch.being_watcher(tmp_path):
            assert watch.is_watched(tmp_path)
            with pytest.raises(Refused), watch.being_watcher(tmp_path):
                pass
        assert not watch.is_watched(tmp_path)


def test_the_state_of_the_last_release_is_read_and_written_as_it_was() -> None:
    api = {"requests": 3, "kinds": {"server_error": 2}}
    position = {"path": "/var/log/api.log", "inode": 7, "offset": 90, "head": "e3b0", "head_length": 90}
    kept = {
        "release": "r1", "started": "2025-01-01T10:00:00.000Z", "until": "2025-01-02T10:00:00.000Z",
        "interval_s": 30.0, "bucket_s": 120.0,
        "rules": {"min_count": 9, "factor": 3.0, "window_s": 900.0, "restarts": 0, "blind_s": 180.0},
        "labels": {"api": "/var/log/api.log", "database": "the journal of postgresql", "api two": "a container"},
        "marks": {"api": {"files": [position]}, "database": {"cursor": "s=1"}, "api two": {"after": "2025-01-01"}},
        "carry": {"api": "", "database": ""},
        "baseline": {"api": {"records": 1, "requests": 1, "seconds": 60.0, "kinds": {}, "subjects": ["error|x"]}},
        "expected_restarts": {"api": 0}, "steps": 2, "heartbeat": "2025-01-01T10:01:00.000Z", "requests": 3,
        "records": 4, "findings": [],
        "series": [{"at": "2025-01-01T10:00:00.000Z", "api": api, "api two": api}, {"at": "2025-01-01T10:02:00.000Z"}],
        "alarms": [], "blind": {}, "gaps": [], "ended": None,
    }  # fmt: skip
    state = WatchState.from_json(kept)
    assert state.rules == Rules(min_count=9)
    assert state.marks["api"].files[0].offset == 90 and state.marks["database"].cursor == "s=1"
    assert state.series[0].logs["api two"].kinds == {"server_error": 2}
    assert state.as_json() == {**kept, "rules": {"min_count": 9}}  # a rule that has its default is left out
    other = {**kept, "rules": {"min_count": 5.0, "of another version": 1, "restarts": 2}}
    assert WatchState.from_json(other).rules == Rules(restarts=2)


@pytest.mark.parametrize(("runner", "timer"), [("systemd", True), ("cron", True), ("process", None), ("", None)])
def test_the_last_release_reads_that_steps_are_made(tmp_path: Path, runner: str, timer: bool | None) -> None:
    """Its timer lives until the next deploy, and writes what it knows: ``timer``, and not ``runner``."""
    state = replace(Watched(tmp_path, OK).state, runner=runner)
    said = state.as_json()
    assert said.get("timer") is timer and WatchState.from_json(said) == state
    of_old = {name: value for name, value in said.items() if name != "runner"}
    assert (WatchState.from_json(of_old).runner == "systemd") is bool(timer)


def test_what_the_last_release_kept_for_the_steps_is_read(tmp_path: Path) -> None:
    kept = {"sources": {"api": {"files": ["/a.log"]}, "database": {"unit": "pg"}}, "database": {}, "server": {}}
    (tmp_path / "watch-config.json").write_text(json.dumps(kept))
    opened = process.Config({"api": LogSpec(("/a.log",)), "database": LogSpec(unit="pg")})
    assert process.configured(tmp_path) == opened
