"""The looks of the watch: minute by minute for a day, at an API that dies, lies and is slow, with a clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from papdeploy.app import smoke
from papdeploy.app.api_client import SmokeConfig, SmokeSecrets
from papdeploy.core.clock import later, now, seconds_between
from papdeploy.logwatch import looking, looks, process, rules
from papdeploy.logwatch.confidential import Confidential
from papdeploy.logwatch.look_api import ApiAddress
from papdeploy.logwatch.looks import Look
from papdeploy.logwatch.sources import LogSpec
from papdeploy.logwatch.state import Alarm, Rules, WatchState
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run
from support.watched_api import PASSWORD, WatchedApi

OK = 'INFO:     127.0.0.1:1 - "GET /policies/ HTTP/1.1" 200 OK\n'
WHO = Run(user="t", host="h", pid=1)
KNOWN = Confidential(smoke=SmokeSecrets(PASSWORD))


class Killed(BaseException):
    pass


class Watched:
    """A stack with an API, its watch, and a clock that runs as fast as the watch sleeps."""

    def __init__(self, folder: Path, *, hours: float = 24.0, interval_s: float = 30.0, **limits: Any) -> None:
        self.api = WatchedApi()
        self.state = State(folder / "state")
        self.journal = self.state.begin(WHO)
        self.folder = self.journal.folder
        config = SmokeConfig(self.api.url, password=PASSWORD, **self.api.settings)
        before = smoke.timed(config, smoke.baseline(config))
        assert before.endpoints
        self.journal.append(
            "preflight", "done", baseline=[asdict(one) for one in before.endpoints], health=before.health,
            login=before.login,
        )  # fmt: skip
        self.state.lock.release(self.journal.release)
        self.log = folder / "api.log"
        self.log.write_text(OK * 10)
        process.prepare(
            self.folder, {"api": LogSpec(files=(str(self.log),))}, hours=hours, interval_s=interval_s, rules=Rules(**limits),
            api=ApiAddress(self.api.url, smoke=self.api.settings),
        )  # fmt: skip
        looks.keep_before(self.folder, looking.before(self.folder).as_look(now()))
        self.started = self.at = self.load().started
        self.api.logins = 0
        self.each: Callable[[float], None] = lambda seconds: None

    def load(self) -> WatchState:
        state = rules.load(self.folder)
        assert state is not None
        return state

    @property
    def passed_s(self) -> float:
        return seconds_between(self.started, self.at)

    def clock(self) -> str:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at = later(self.at, seconds)
        self.each(self.passed_s)

    def minutes(self, count: int = 1) -> list[Alarm]:
        """The alarms that so many more looks raise."""
        known = len(self.load().alarms)
        for _ in range(count):
            self.at = later(self.at, 60)
            process.one_step(self.folder, KNOWN, self.clock)
        return list(self.load().alarms[known:])

    def last(self) -> Look:
        return looks.recent(self.folder, 1)[0]


@pytest.fixture
def made() -> Iterator[list[Watched]]:
    stacks: list[Watched] = []
    yield stacks
    for stack in stacks:
        stack.api.stop()


@pytest.fixture
def watch(made: list[Watched], tmp_path: Path) -> Watched:
    made.append(Watched(tmp_path))
    assert made[0].minutes(2) == []
    return made[0]


@pytest.mark.parametrize(
    "hours", [2, pytest.param(24, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])], ids="{}h".format
)
def test_a_whole_watch(made: list[Watched], tmp_path: Path, hours: int) -> None:
    """A look each minute; the log is rotated, the watcher is killed and started again, the API dies and comes back."""
    stack = Watched(tmp_path, hours=hours, interval_s=60)
    made.append(stack)
    killed, dies, comes_back = hours * 15, hours * 33, hours * 33 + 25  # minutes: at a quarter, and after the half
    told: dict[str, str] = {}
    lines = 0

    def passing(seconds: float) -> None:
        nonlocal lines
        minute = round(seconds / 60)
        with stack.log.open("a") as file:
            file.write(OK)
        lines += 1
        if minute % (hours * 10) == 5:
            stack.log.rename(stack.log.with_name(f"api.log.{9 - minute // (hours * 10)}"))
            stack.log.write_text("")
        if minute == killed and not told:
            told["killed"] = "once"
            raise Killed
        if minute == dies:
            stack.api.stop()
        if minute == comes_back:
            told["away"] = rules.status(stack.folder, stack.at).summary
            stack.api.start()

    stack.each = passing
    with pytest.raises(Killed):
        process.run(stack.folder, KNOWN, stack.clock, stack.sleep)
    stack.at = later(stack.at, 12 * 60)  # nobody watches for twelve minutes
    dead = rules.status(stack.folder, stack.at)
    assert (dead.state, dead.ok) == ("dead", False) and "(13 min ago)" in dead.summary
    process.run(stack.folder, KNOWN, stack.clock, stack.sleep)

    state, seen = stack.load(), looks.read(stack.folder)
    assert state.ended is not None and state.ended.why == "its time is over"
    assert stack.passed_s == hours * 3600
    assert (state.requests, state.gaps) == (lines, ()), "every line of every rotated log is counted once"
    gaps = [seconds_between(one.at, two.at) for one, two in zip(seen, seen[1:])]
    assert len(seen) == hours * 60 - 12 + 1 and sorted(set(gaps)) == [60.0, 780.0]
    failed = [look for look in seen if look.health and look.health.worse]
    assert len(failed) == 25 and all("/policies/" in look.not_looked[1].what for look in failed)
    (alarm,) = state.alarms
    assert alarm.why.startswith("GET /health: ") and alarm.why.endswith("; 2 looks in a row")
    assert seconds_between(stack.started, alarm.at) == (dies + 1) * 60
    assert told["away"].startswith("ALARM: GET /health: ") and "over since" not in told["away"]
    assert alarm.over is not None and seconds_between(stack.started, alarm.over) == comes_back * 60
    assert any(line.startswith(f"/health: 25 of {len(seen):,} answers failed") for line in looks.summary(seen))


def test_an_api_that_lies_is_found_out_and_forgiven_when_it_is_well(watch: Watched) -> None:
    """200 with an error page: as HTML, and as JSON without what there was."""
    watch.api.answers["/policies/"] = (200, "<html>Something went wrong</html>")
    assert watch.minutes() == []
    (alarm,) = watch.minutes()
    assert (alarm.kind, alarm.subject) == ("endpoint", "/policies/")
    assert alarm.why == "GET /policies/: lost the answer is no longer a list; 2 looks in a row"
    assert rules.reasons(watch.load().alarms) == [alarm]
    watch.api.answers["/policies/"] = (200, [{"error": "no"}])
    assert watch.minutes() == [], "told once"
    watch.api.answers["/policies/"] = (200, [{"id": 7, "more": 1}])
    watch.minutes()
    (alarm,) = watch.load().alarms
    assert alarm.over == watch.at and rules.reasons([alarm]) == []
    assert f"(over since {watch.at[11:16]} UTC)" in rules.status(watch.folder, watch.at).summary
    watch.api.answers["/policies/"] = (500, {})
    (again,) = watch.minutes(2)
    assert again.why == "GET /policies/: status 500, was 200; 2 looks in a row"


def test_a_slow_api_is_measured_against_itself(watch: Watched) -> None:
    watch.api.slow_s["/policies/"] = 0.4
    assert watch.minutes(2) == []
    (alarm,) = watch.minutes(1)
    assert alarm.kind == "slow" and alarm.why.startswith("/policies/ is slow: 3 of the last 5 looks took longer than ")
    assert "before the deploy" in alarm.why and "p95 4" in alarm.why
    watch.api.slow_s.clear()
    assert watch.minutes(3) == [] and watch.load().alarms[0].over == watch.at


def test_a_refused_login_is_an_alarm_and_is_tried_more_and_more_seldom(watch: Watched) -> None:
    watch.api.login_status = 401
    watch.api.logins = 0
    (alarm,) = watch.minutes()
    assert alarm.why == "POST /auth/login: status 401; at the last look"
    watch.minutes(4)
    last = watch.last()
    assert (watch.api.logins, last.login) == (1, None)
    told = looks.told(last)
    assert any(line.startswith("not looked at: login (it was refused with status 401 at ") for line in told)
    assert any(line.startswith("not looked at: /policies/ (it was refused") for line in told)
    watch.minutes(55)
    assert watch.api.logins == 4
    watch.api.login_status = 200
    watch.minutes(30)
    assert watch.last().login is not None and watch.load().alarms[0].over is not None


def test_what_is_not_configured_is_not_good(watch: Watched) -> None:
    watch.at = later(watch.at, 60)
    process.one_step(watch.folder, Confidential(), watch.clock)
    assert [each.what for each in watch.last().not_looked] == ["login", "/policies/", "the server of the database"]
    assert "pap_smoke_password" in watch.last().not_looked[0].why and watch.load().alarms == ()


def test_nothing_is_asked_while_a_later_release_is_at_work(watch: Watched) -> None:
    watch.journal.append("release", "finished")
    later_release = watch.state.begin(WHO)
    watch.api.stop()
    assert watch.minutes(3) == []
    assert looks.told(watch.last()) == [f"not looked at: everything (release {later_release.release} is at work)"]
    watch.api.start()
    later_release.append("release", "refused")
    watch.minutes()
    assert watch.last().health is not None


def test_no_secret_is_recorded(watch: Watched) -> None:
    watch.api.answers["/policies/"] = (200, {"password": PASSWORD})
    watch.minutes(3)
    for path in watch.folder.iterdir():
        assert PASSWORD.encode() not in path.read_bytes(), path
