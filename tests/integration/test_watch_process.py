"""The watcher as a real process: detached, killed, revived, overtaken; and an alarm that reaches a real webhook."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from papdeploy import watch, watcher
from papdeploy.errors import Refused, Unavailable
from papdeploy.journal import Journal, State
from papdeploy.watch import Rules
from waiting import wait_until

WHO = {"user": "jane", "host": "controller", "pid": 1}
OK = 'INFO:     127.0.0.1:1 - "GET /policies/ HTTP/1.1" 200 OK\n'
COLUMN = "ERROR:    (psycopg2.errors.UndefinedColumn) column policies.x does not exist\n"


class Stack:
    def __init__(self, folder: Path) -> None:
        self.state = State(folder / "state")
        self.log = folder / "app.log"
        self.log.write_text(OK * 50)
        self.journal = self.begin()
        self.pids: list[int] = []

    def begin(self) -> Journal:
        journal = self.state.begin(WHO)
        self.state.lock.release(journal.release)
        return journal

    @property
    def folder(self) -> Path:
        return self.journal.folder

    def prepare(self, **options: Any) -> None:
        specs = {"api": {"files": [str(self.log)]}}
        watcher.prepare(self.folder, specs, **{"hours": 1, "interval_s": 0.2, "rules": Rules(), **options})

    def spawn(self) -> int:
        pid = watcher.spawn(self.folder)
        self.pids.append(pid)
        return pid

    def write(self, text: str) -> None:
        with self.log.open("a") as file:
            file.write(text)

    def load(self) -> dict[str, Any]:
        state = watch.load(self.folder)
        assert state is not None
        return state

    def records(self) -> int:
        return int(self.load()["records"])


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path)
    yield made
    for pid in made.pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_it_runs_in_a_session_of_its_own_and_counts(stack: Stack) -> None:
    stack.prepare()
    pid = stack.spawn()
    assert os.getsid(pid) == pid != os.getsid(0)
    stack.write(OK * 20)
    wait_until(lambda: stack.records() == 20, seconds=30)
    assert watch.status(stack.folder)["state"] == "watching"
    with pytest.raises(Refused, match="already"):
        watcher.spawn(stack.folder)


def test_killed_at_any_instant_it_counts_every_line_once(stack: Stack) -> None:
    stack.prepare(interval_s=0.02)
    lines = 0
    for life in range(4):
        pid = stack.spawn()
        for _ in range(15):
            stack.write(OK * 7)
            lines += 7
            time.sleep(0.003 * (life + 1))
        kill(pid)
        assert watch.status(stack.folder)["state"] == "dead"
        stack.log.rename(stack.log.with_name(f"app.log.{9 - life}"))  # rotated while nobody watches
        stack.write(OK * 3)
        lines += 3
    stack.spawn()
    wait_until(lambda: stack.records() >= lines, seconds=30)
    time.sleep(0.2)
    assert (stack.records(), stack.load()["requests"]) == (lines, lines)
    assert stack.load()["gaps"] == []


def test_an_alarm_reaches_the_webhook_once_and_is_tried_until_it_is_taken(stack: Stack) -> None:
    got: list[dict[str, Any]] = []
    refuse = [True]

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if refuse:
                refuse.clear()
                self.send_response(503)
            else:
                got.append({**body, "authorization": self.headers["Authorization"]})
                self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/hook"
        alert = {"url": url, "stack": "pap (staging)", "headers": {"Authorization": "Bearer abc"}}
        stack.prepare(alert=alert)
        stack.spawn()
        stack.write(COLUMN + OK)
        wait_until(lambda: bool(got), seconds=30)
        stack.write(COLUMN + OK)
        wait_until(lambda: stack.records() == 4, seconds=30)
        time.sleep(0.5)
    finally:
        server.shutdown()
    assert len(got) == 1
    assert got[0]["event"] == "alarm" and got[0]["release"] == stack.journal.release
    assert "policies.x" in got[0]["message"] and got[0]["authorization"] == "Bearer abc"
    found = watch.status(stack.folder)
    assert (found["state"], found["ok"]) == ("alarm", False)
    assert "Bearer" not in watch.state_file(stack.folder).read_text()


def test_a_webhook_that_does_not_answer_does_not_stop_the_watch(stack: Stack) -> None:
    stack.prepare(alert={"url": "http://127.0.0.1:9/", "stack": "pap"})
    stack.spawn()
    stack.write(COLUMN + OK)
    wait_until(lambda: any("not_told" in alarm for alarm in stack.load()["alarms"]), seconds=30)
    steps = stack.load()["steps"]
    wait_until(lambda: stack.load()["steps"] > steps + 3, seconds=30)


@pytest.mark.parametrize("how", ["rolled back", "a later release"])
def test_it_ends_when_the_release_is_no_longer_in_force(stack: Stack, how: str) -> None:
    stack.prepare()
    pid = stack.spawn()
    if how == "rolled back":
        stack.journal.append("release", "rolled_back")
    else:
        time.sleep(1.1)  # releases are ordered by the second of their start
        later = stack.begin()
        later.append("activate", "begin")
    wait_until(lambda: stack.load()["ended"] is not None, seconds=30)
    os.waitpid(pid, 0)
    found = watch.status(stack.folder)
    assert (found["state"], found["ok"]) == ("ended", True)
    assert ("rolled back" if how == "rolled back" else "took over") in found["summary"]


def test_the_first_minute_forgives_the_start_and_stops_at_an_alarm(stack: Stack) -> None:
    stack.prepare()
    stack.write("INFO:     Uvicorn running on http://127.0.0.1:8000 (Press CTRL+C to quit)\n")
    state = watcher.first(stack.folder, seconds=0.5, poll_s=0.1)
    assert watch.open_alarms(state) == []
    stack.write(COLUMN + OK)
    started = time.monotonic()
    state = watcher.first(stack.folder, seconds=60, poll_s=0.05)
    assert [alarm["kind"] for alarm in watch.open_alarms(state)] == ["missing_column"]
    assert time.monotonic() - started < 30


def test_what_the_old_version_logged_while_it_was_stopped_is_no_finding(stack: Stack) -> None:
    assert watcher.remark(stack.folder) is False, "nothing was prepared"
    stack.prepare()
    stack.write(COLUMN * 3)
    assert watcher.remark(stack.folder) is True
    stack.write(OK * 2)
    state = watcher.first(stack.folder, seconds=0.2, poll_s=0.1)
    assert (state["records"], state["findings"]) == (2, [])
    stack.log.unlink()
    assert watcher.remark(stack.folder) is False, "a log that is away for a moment does not stop a deploy"


def test_a_single_step_is_what_a_timer_runs(stack: Stack) -> None:
    stack.prepare(timer=True)
    stack.write(OK * 4 + COLUMN + OK)
    program = watcher.install(stack.folder)
    for _ in range(2):
        assert os.spawnlp(os.P_WAIT, "python3", "python3", str(program), "step", str(stack.folder)) == 0
    assert stack.records() == 6
    assert watch.status(stack.folder)["state"] == "alarm"
    watcher.end(stack.folder, "ended by jane")
    assert os.spawnlp(os.P_WAIT, "python3", "python3", str(program), "step", str(stack.folder)) == 3


def test_a_watcher_that_cannot_start_says_so(stack: Stack) -> None:
    with pytest.raises(Unavailable, match="No watch was prepared"):
        watcher.spawn(stack.folder)


def test_ended_on_purpose_it_is_not_dead(stack: Stack) -> None:
    stack.prepare()
    watcher.end(stack.folder, "ended by jane")
    assert watch.status(stack.folder)["state"] == "ended"
