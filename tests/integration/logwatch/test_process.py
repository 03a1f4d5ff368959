"""The watcher as a real process: detached, killed, revived, overtaken; and an alarm that reaches a real webhook."""

from __future__ import annotations

import html
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from papdeploy.core.errors import Refused, Unavailable
from papdeploy.core.redact import MASK
from papdeploy.logwatch import command, metrics, process, rules
from papdeploy.logwatch import confidential as watch_confidential
from papdeploy.logwatch.confidential import Alert, Confidential
from papdeploy.logwatch.server_log import ServerLog
from papdeploy.logwatch.sources import LogSpec
from papdeploy.logwatch.state import Rules, WatchState
from papdeploy.logwatch.textfile import Target
from papdeploy.releases.journal import Journal, State
from papdeploy.releases.run import Run
from papdeploy.report import page
from papdeploy.report.build import build
from support.waiting import wait_until

WHO = Run(user="jane", host="controller", pid=1)
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
        specs = {"api": LogSpec(files=(str(self.log),))}
        process.prepare(self.folder, specs, **{"hours": 1, "interval_s": 0.2, "rules": Rules(), **options})

    def spawn(self, **confidential: Any) -> int:
        pid = process.spawn(self.folder, Confidential(**confidential))
        self.pids.append(pid)
        return pid

    def write(self, text: str) -> None:
        with self.log.open("a") as file:
            file.write(text)

    def called_by(self, runner: str) -> int:
        """One step as a timer or cron make it, in an environment without anything; its exit code."""
        if self.journal.ended() is None:
            self.journal.append("release", "finished")
        rules.save(self.folder, replace(self.load(), runner=runner))
        program = str(process.install(self.state.folder))
        return os.spawnlpe(os.P_WAIT, sys.executable, sys.executable, program, "step", str(self.state.folder), {})

    def load(self) -> WatchState:
        state = rules.load(self.folder)
        assert state is not None
        return state

    def records(self) -> int:
        return int(self.load().records)


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
    assert rules.status(stack.folder).state == "watching"
    with pytest.raises(Refused, match="already"):
        process.spawn(stack.folder)


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
        assert rules.status(stack.folder).state == "dead"
        stack.log.rename(stack.log.with_name(f"app.log.{9 - life}"))  # rotated while no watcher runs
        stack.write(OK * 3)
        lines += 3
    stack.spawn()
    wait_until(lambda: stack.records() >= lines, seconds=30)
    time.sleep(0.2)
    assert (stack.records(), stack.load().requests) == (lines, lines)
    assert stack.load().gaps == ()


def test_what_the_fence_of_this_release_ended_and_other_databases_are_not_counted(stack: Stack) -> None:
    line = "{} [9] {} FATAL:  terminating connection due to administrator command\n"
    specs = {"database": LogSpec(files=(str(stack.log),))}
    server = ServerLog("%m [%p] %d ", database="app", databases=1)
    process.prepare(stack.folder, specs, hours=1, interval_s=1, rules=Rules(), server=server)
    stack.journal.append("fence", "begin")
    fence = stack.journal.records()[-1].at
    stack.journal.append("activate", "begin")
    for at, name in ((fence, "app"), ("2020-01-01T00:00:00.000Z", "app"), ("2020-01-01T00:00:00.000Z", "other")):
        stack.write(line.format(at.replace("T", " ").replace("Z", " UTC"), name))
    state = process.look(stack.folder)
    assert [(finding.kind, finding.count) for finding in state.findings] == [("connection", 1)]
    assert rules.told(state).endswith("1 connection; 1 error of other databases on this server, not counted")


@pytest.mark.parametrize("alert_format", ["json", "slack"])
def test_an_alarm_reaches_the_webhook_once_and_is_tried_until_it_is_taken(stack: Stack, alert_format: str) -> None:
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
        alert = Alert(url, alert_format, headers={"Authorization": "Bearer abc"}, stack="pap (staging)")
        stack.prepare()
        stack.spawn(alert=alert)
        stack.write(COLUMN + OK)
        wait_until(lambda: bool(got), seconds=30)
        stack.write(COLUMN + OK)
        wait_until(lambda: stack.records() == 4, seconds=30)
        time.sleep(0.5)
    finally:
        server.shutdown()
    assert len(got) == 1
    assert got[0]["authorization"] == "Bearer abc"
    if alert_format == "json":
        assert got[0]["event"] == "alarm" and got[0]["release"] == stack.journal.release
        assert "policies.x" in got[0]["message"]
    else:
        assert set(got[0]) == {"text", "authorization"} and "policies.x" in got[0]["text"]
    found = rules.status(stack.folder)
    assert (found.state, found.ok) == ("alarm", False)
    for path in stack.folder.iterdir():
        assert b"Bearer" not in path.read_bytes() and b"/hook" not in path.read_bytes(), path


def test_a_webhook_that_does_not_answer_does_not_stop_the_watch(stack: Stack) -> None:
    stack.prepare()
    stack.spawn(alert=Alert("http://127.0.0.1:9/", stack="pap"))
    stack.write(COLUMN + OK)
    wait_until(lambda: any(alarm.not_told for alarm in stack.load().alarms), seconds=30)
    steps = stack.load().steps
    wait_until(lambda: stack.load().steps > steps + 3, seconds=30)


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
    wait_until(lambda: stack.load().ended is not None, seconds=30)
    os.waitpid(pid, 0)
    found = rules.status(stack.folder)
    assert (found.state, found.ok) == ("ended", True)
    assert ("rolled back" if how == "rolled back" else "took over") in found.summary


def test_the_first_minute_forgives_the_start_and_stops_at_an_alarm(stack: Stack) -> None:
    stack.prepare()
    stack.write("INFO:     Uvicorn running on http://127.0.0.1:8000 (Press CTRL+C to quit)\n")
    state = process.first(stack.folder, seconds=0.5, poll_s=0.1)
    assert rules.open_alarms(state) == []
    stack.write(COLUMN + OK)
    started = time.monotonic()
    state = process.first(stack.folder, seconds=60, poll_s=0.05)
    assert [alarm.kind for alarm in rules.open_alarms(state)] == ["missing_column"]
    assert time.monotonic() - started < 30


def test_what_the_old_version_logged_while_it_was_stopped_is_no_finding(stack: Stack) -> None:
    assert process.remark(stack.folder) is False, "nothing was prepared"
    stack.prepare()
    stack.write(COLUMN * 3)
    assert process.remark(stack.folder) is True
    stack.write(OK * 2)
    state = process.first(stack.folder, seconds=0.2, poll_s=0.1)
    assert (state.records, state.findings) == (2, ())
    stack.log.unlink()
    assert process.remark(stack.folder) is False, "a log that is away for a moment does not stop a deploy"


SECRETS = {
    "smoke": 'smoke p@ss"w/rd %',
    "STRIPE_KEY": "sk_test_51Habcdef",
    "ODD_NAME": "Zx9!kq&r<s",
    "DATABASE_URL": "db+p@ss/word",
}


def test_it_masks_what_only_the_deploy_knew_and_keeps_none_of_it(stack: Stack, tmp_path: Path) -> None:
    """The API logs every secret in many spellings; the watcher lives on, dies and is started again."""
    env = tmp_path / "env"
    url = f"DATABASE_URL=postgresql://u:{quote(SECRETS['DATABASE_URL'], safe='')}@h/db"
    env.write_text(
        "\n".join(
            [f"{name}={value}" for name, value in SECRETS.items() if name.isupper() and "URL" not in name] + [url]
        )
    )
    env.chmod(0o600)
    known: dict[str, Any] = {"secrets": [SECRETS["smoke"]], "places": {"files": (str(env),)}}
    spellings: list[Callable[[str], str]] = [str, quote, quote_plus, lambda s: json.dumps(s)[1:-1], html.escape, repr]

    def log(number: int) -> None:
        for name, secret in SECRETS.items():
            for spell in spellings:
                stack.write(f"ERROR:    login {number} with {spell(secret)} failed, {name}={spell(secret)}\n")
        stack.write("ERROR:    still growing with " + SECRETS["smoke"] + "\n")

    log(1)
    stack.prepare(redactor=Confidential(**known).redactor())
    pid = stack.spawn(**known)
    for number in (2, 3):
        seen = stack.records()
        log(number)
        wait_until(lambda seen=seen: stack.records() > seen + 20, seconds=30)  # type: ignore[misc]  # mypy: no lambda with a default
        if number == 2:
            kill(pid)
            pid = stack.spawn(**known)
    assert any("failed" in finding.last_sample and MASK in finding.last_sample for finding in stack.load().findings)
    assert stack.load().carry["api"]
    environ = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
    for secret in SECRETS.values():
        for spell in spellings:
            found = [path for path in stack.folder.iterdir() if spell(secret).strip("'").encode() in path.read_bytes()]
            assert found == [] and spell(secret).encode() not in environ, (secret, found)


def test_a_timer_has_them_from_a_private_file_while_it_runs(stack: Stack) -> None:
    stack.prepare()
    watch_confidential.keep(stack.folder, Confidential(secrets=("smoke-only",)))
    (private,) = stack.folder.glob("watch-conf*l.json")
    assert private.stat().st_mode & 0o777 == 0o600
    stack.write(COLUMN.replace("does", "smoke-only does") * 2 + OK)
    assert stack.called_by("cron") == 0
    assert stack.load().findings and "smoke-only" not in rules.state_file(stack.folder).read_text()
    assert rules.status(stack.folder).state == "alarm"
    process.end(stack.folder, "ended by jane")
    assert not private.exists()


def test_a_watch_of_the_last_version_is_gone_on_with(stack: Stack) -> None:
    """It has its webhook in its configuration."""
    stack.prepare()
    config = stack.folder / "watch-config.json"
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "alert": {"url": "http://127.0.0.1:9/", "stack": "pap"}})
    )
    stack.spawn()
    stack.write(COLUMN + OK)
    wait_until(lambda: any(alarm.not_told for alarm in stack.load().alarms), seconds=30)


def test_a_watcher_that_cannot_start_says_so(stack: Stack) -> None:
    with pytest.raises(Unavailable, match="No watch was prepared"):
        process.spawn(stack.folder)


def test_ended_on_purpose_it_is_not_dead(stack: Stack) -> None:
    stack.prepare()
    process.end(stack.folder, "ended by jane")
    assert rules.status(stack.folder).state == "ended"


def test_one_command_serves_every_release(stack: Stack) -> None:
    stack.prepare(interval_s=60)
    stack.write(OK * 4)
    program = process.install(stack.state.folder)
    step = ["python3", "python3", str(program), "step", str(stack.state.folder)]
    assert os.spawnlp(os.P_WAIT, *step) == 3, "no release is in force: the deploy is at work"
    for count in (1, 2):
        assert stack.called_by("systemd") == 0 and stack.load().steps == count
    assert stack.records() == 4
    with rules.being_watcher(stack.folder):
        assert stack.called_by("cron") == 0 and stack.load().steps == 2, "the call before still works"
    process.end(stack.folder, "ended by jane")
    assert stack.called_by("cron") == 3 and stack.load().steps == 2
    unprepared = stack.begin()
    unprepared.append("release", "finished")
    assert os.spawnlp(os.P_WAIT, *step) == 3


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"a": 1}', "\0\0", '{"rules": 5, "series": 7}', "[" * 9000], ids=range(7)
)
@pytest.mark.parametrize("name", ["watch.json", "watch-config.json", "watch-before.json", "watch-confidential.json"])
def test_a_damaged_file_is_told_by_its_name(
    stack: Stack, name: str, content: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It neither passes for a good watch nor stops what only asks for it: the next deploy, a report, a rollback."""
    stack.prepare()
    stack.journal.append("release", "finished")
    rules.save(stack.folder, replace(stack.load(), runner="cron"))
    (stack.folder / name).write_text(content)
    code = command.main(["step", str(stack.state.folder)])
    if name == "watch.json":
        found = rules.status(stack.folder)
        assert (found.state, found.ok, found.dead) == ("damaged", False, False) and "watch.json" in found.summary
        report = build(stack.journal)
        assert report.watch and report.watch.summary == found.summary and "watch.json" in page.render(report)
        process.end(stack.folder, "rolled back")
        assert metrics.publish(stack.state, Target(str(stack.folder.parent), "pap", "staging")) != ""
    if code == 0:
        assert content in ("", '{"a": 1}', '{"rules": 5, "series": 7}') and name != "watch.json"
    else:
        assert code == 1 and name in capfd.readouterr().err


def test_figures_that_cannot_be_written_are_told_once(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    """And not on standard error, of which cron makes a mail a minute."""
    stack.prepare(target=Target(str(stack.folder / "absent"), "pap", "staging"))
    stack.journal.append("release", "finished")
    rules.save(stack.folder, replace(stack.load(), runner="cron"))
    for _ in range(3):
        assert command.main(["step", str(stack.state.folder)]) == 0
    (line,) = (stack.folder / "watch.log").read_text().splitlines()
    assert line.endswith(
        "The metrics of pap were not written to " + str(stack.folder / "absent") + ": No such file or directory."
    )
    assert capfd.readouterr().err == "" and (stack.folder / "watch.log").stat().st_mode & 0o777 == 0o600
