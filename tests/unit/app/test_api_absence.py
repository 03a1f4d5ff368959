"""An API that dies before the fence is noticed, and its downtime starts at its death."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from papdeploy.app.api_client import SmokeConfig
from papdeploy.core.clock import seconds_between
from papdeploy.phases import api_watch, finish
from papdeploy.releases.journal import Journal, State
from papdeploy.releases.run import Run
from papdeploy.report import build
from support.hostile_http import Hostile
from support.journals import entries, last

VERSION = {"label": "old", "identity": "old"}


class Bench:
    def __init__(self, folder: Path, url: str) -> None:
        self.ended = ""
        self.state = State(folder)
        self.stack: Any = SimpleNamespace(
            smoke=SmokeConfig(url, "u", "right", request_deadline_s=0.3),
            api=SimpleNamespace(ended_at=lambda: self.ended), label="pap (staging)", name="pap", state=self.state,
        )  # fmt: skip
        self.journal: Journal = self.state.begin(
            Run(user="u", host="h", pid=1), **{"from": VERSION, "to": VERSION}, stack="pap", environment="staging"
        )

    def look(self) -> list[str]:
        return api_watch.note(self.stack, self.journal)

    def go_on(self) -> None:
        self.journal.append("fence", "begin")
        self.journal.append("activate", "begin")
        self.journal.append("activate", "done")
        self.journal.append("release", "finished", unavailable_s=finish.unavailable_s(self.journal))


@pytest.fixture
def server() -> Iterator[Hostile]:
    made = Hostile()
    yield made
    made.close()


@pytest.fixture
def bench(tmp_path: Path, server: Hostile) -> Bench:
    return Bench(tmp_path / "state", server.url)


def test_an_api_that_lives_is_not_mentioned(bench: Bench) -> None:
    assert bench.look() == [] == bench.look()
    bench.go_on()
    made = build(bench.journal)
    assert made.api_absence is None and made.unavailable_s is not None and made.unavailable_s < 1


@pytest.mark.parametrize("known", ["by its container", "by its last answer"])
def test_its_downtime_starts_at_its_death(bench: Bench, server: Hostile, known: str) -> None:
    assert bench.look() == []
    since = entries(bench.journal)[-1]["at"]
    server.bad = {"/health": "reset"}
    if known == "by its container":
        bench.ended = since = "2024-01-02T03:04:05.678Z"
    (said,) = bench.look()
    shown = since[:19].replace("T", " ")
    how = f"its container ended at {shown} UTC" if bench.ended else f"it answered last at {shown} UTC"
    assert said == f"the API was gone before it was stopped: {how}; its downtime counts from then"
    assert bench.look() == [said], "what is known stays"
    bench.go_on()
    active = last(bench.journal, "activate")
    assert active is not None
    away = finish.unavailable_s(bench.journal)
    assert away == pytest.approx(seconds_between(since, active["at"]), abs=0.01)
    assert said in finish._lines(bench.stack, bench.journal, bench.journal.opening(), away, 1.0)
    made = build(bench.journal)
    assert made.unavailable_s == away and said in made.verdict.line


def test_one_that_never_answered_is_counted_from_the_first_look(bench: Bench, server: Hostile) -> None:
    server.bad = {"/health": "silence"}
    (said,) = bench.look()
    assert "it did not answer when this deploy began" in said


def test_one_that_came_back_by_itself_is_there(bench: Bench, server: Hostile) -> None:
    server.bad = {"/health": "closed"}
    assert bench.look()
    server.bad = {}
    assert bench.look() == []
    bench.go_on()
    assert build(bench.journal).api_absence is None
