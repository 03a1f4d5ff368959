"""What runs a watch after the deploy: chosen on file systems of every kind, started by a systemctl that does what the
real one would with the units, because no systemd runs where these tests do; the units are shown to systemd-analyze."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from papdeploy.core.errors import Refused, Unavailable
from papdeploy.logwatch import command, confidential, handover, process, rules, runners
from papdeploy.logwatch.confidential import Confidential
from papdeploy.logwatch.sources import LogSpec
from papdeploy.logwatch.state import Rules
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run

UID = 64123
OK = 'INFO:     127.0.0.1:1 - "GET /policies/ HTTP/1.1" 200 OK\n'
KNOWN = Confidential(secrets=("s3cret-of-the-inventory",))
STACK = handover.Stack("pap", "staging")

# `restart X.timer` has the command of X.service run a moment later; how that ended is known until `reset-failed`.
SYSTEMCTL = r"""#!/bin/sh
[ "$1" = --user ] && shift
echo "$*" >> {log}
[ "$1" = "{refuses}" ] && {{ echo "Failed to $1 unit: Access denied" >&2; exit 1; }}
case "$1" in
show) cat {log}.result 2>/dev/null || echo ActiveState=inactive ;;
reset-failed) rm {log}.result ;;
disable) rm -f {log}.timer ;;
stop) [ -e {log}.pid ] && kill -9 "-$(cat {log}.pid)"; while [ -e {log}.pid ]; do sleep 0.05; done ;;
restart) if [ {works} = True ]; then
        touch {log}.timer
        {python} {log}.py {units}/"${{2%.timer}}.service" {log} < /dev/null > {log}.said 2>&1 &
    fi ;;
esac
"""
SERVICE = r"""
import pathlib, re, subprocess, sys, time
unit, log = open(sys.argv[1]).read(), sys.argv[2]
time.sleep(0.2)
result, pid = pathlib.Path(log + ".result"), pathlib.Path(log + ".pid")
if not pathlib.Path(log + ".timer").exists():
    sys.exit()
result.write_text("ActiveState=activating\n")
command = re.search("^ExecStart=(.*)$", unit, re.M)[1]
argv = [(quoted or plain).replace("\\\\", "\\").replace("%%", "%").replace("$$", "$")
        for quoted, plain in re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', command)]
process = subprocess.Popen(argv, env=dict(re.findall("^Environment=(.*?)=(.*)$", unit, re.M)), start_new_session=True)
pid.write_text(str(process.pid))
code = process.wait()
state = "inactive" if code in (0, 3) else "failed"
result.write_text(f"ActiveState={state}\nResult=exit-code\nExecMainStatus={code}\n")
pid.unlink()
"""
HANGS = """
import fcntl, sys, time
lock = open(sys.argv[1], "a")
fcntl.flock(lock, fcntl.LOCK_EX)
time.sleep(30)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs: systemctl is there, and does nothing."""
    (tmp_path / "bin").mkdir()
    systemctl(tmp_path, works=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def systemctl(home: Path, *, works: bool = True, refuses: str = "") -> None:
    path = home / "bin" / "systemctl"
    facts = {"units": str(home / "root/etc/systemd/system"), "log": str(home / "systemctl.log")}
    (home / "systemctl.log.py").write_text(SERVICE)
    path.write_text(SYSTEMCTL.format(python=sys.executable, works=works, refuses=refuses, **facts))
    path.chmod(0o755)


def host(home: Path, *folders: str) -> Path:
    root = home / "root"
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    return root


BOOTED = ("run/systemd/system", "etc/systemd/system")
LINGERS = ("var/lib/systemd/linger/deploy", f"run/user/{UID}/systemd/private")


@pytest.mark.parametrize(
    ("folders", "uid", "runner", "why"),
    [
        ((), 0, "process", "no systemd runs there"),
        (("run/systemd/netif", "etc/systemd/system"), 0, "process", "no systemd runs there"),
        (BOOTED, 0, "systemd", "systemd runs there, and root deploys"),
        (("run/systemd/system",), 0, "process", "etc/systemd/system cannot be written to"),
        (BOOTED, UID, "process", "deploy may not install units there, and its own systemd ends with its login "
         "(loginctl enable-linger deploy)"),
        ((*BOOTED, LINGERS[0]), UID, "process", "deploy may not install units there"),
        ((*BOOTED, LINGERS[1]), UID, "process", "deploy may not install units there"),
        ((*BOOTED, LINGERS[0], f"run/user/{UID}/systemd/inaccessible"), UID, "process", "deploy may not install units"),
        ((*BOOTED, *LINGERS), UID, "systemd", "the systemd of deploy outlives its login"),
        (LINGERS, UID, "process", "no systemd runs there"),
        (BOOTED, UID + 1, "process", f"user {UID + 1} has no account"),
    ],
)  # fmt: skip
def test_the_choice(
    home: Path, folders: tuple[str, ...], uid: int, runner: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def account(number: int) -> pwd.struct_passwd:
        if number != UID:
            raise KeyError(number)
        return pwd.struct_passwd(("deploy", "x", UID, UID, "", "/home/deploy", "/bin/sh"))

    monkeypatch.setattr(pwd, "getpwuid", account)
    root = host(home, *folders)
    found = runners.choose("auto", root, uid)
    assert found.runner == runner and why in found.why
    if runner == "systemd":
        assert runners.choose("systemd", root, uid) == found and found.manager
        assert found.manager.units == root / ("etc/systemd/system" if uid == 0 else "home/deploy/.config/systemd/user")
    else:
        with pytest.raises(Refused, match="no timer can be had on the target host"):
            runners.choose("systemd", root, uid)
    for wanted in ("cron", "process"):
        assert runners.choose(wanted, root, uid) == runners.Choice(wanted, f"watch_runner: {wanted}")


def test_without_systemctl_there_is_no_timer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home))
    assert "without systemctl" in runners.choose("auto", host(home, *BOOTED), 0).why


@pytest.mark.parametrize(
    ("stack", "environment", "name"),
    [
        ("pap", "staging", "pap-watch-pap:staging"),
        ("pap.example.org", "production", "pap-watch-pap.example.org:production"),
        ("a b/ü:%n", "x", "pap-watch-a_20b_2f_c3_bc_3a_25n:x"),
        ("-", "", "pap-watch--:"),
    ],
)
def test_the_name_of_a_unit(stack: str, environment: str, name: str) -> None:
    assert runners.unit_name(stack, environment) == name


WORDS = ["/opt/py thon/3", '/a "b"/$HOME/%n/\\x', "step", "/var/lib/pap deploy/${A}"]


@pytest.mark.parametrize("user", [False, True], ids=["of the host", "of a user"])
def test_the_units_are_ones_that_systemd_takes(tmp_path: Path, user: bool) -> None:
    argv = [sys.executable, *WORDS[1:]]
    timer = runners.Timer(runners.unit_name("pap %n", "a b"), "pap %n\nUser=x", argv, "root", 0.5)
    service = timer.service(user)
    assert ("User=root\n" in service) is not user and "\nUser=x" not in service
    assert r' "/a \"b\"/$$HOME/%%n/\\x" step "/var/lib/pap deploy/$${A}"' in service
    assert "\nEnvironment=PAP_WATCH_BY=systemd\n" in service
    assert "OnUnitActiveSec=1\n" in timer.timer() and "every 0.5 s" in timer.timer()
    (tmp_path / f"{timer.name}.service").write_text(service)
    (tmp_path / f"{timer.name}.timer").write_text(timer.timer())
    analyze = shutil.which("systemd-analyze")
    if analyze:  # where systemd is installed, its own word
        done = subprocess.run([analyze, "verify", *tmp_path.iterdir()], capture_output=True, text=True, timeout=60)
        mine = [line for line in done.stderr.splitlines() if "pap-watch" in line]
        assert mine == [], mine


class Watched:
    """A release that has finished and is to be watched on a host where systemd runs."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.root = home, host(home, *BOOTED)
        choose = runners.choose
        monkeypatch.setattr(runners, "choose", lambda wanted: choose(wanted, self.root, 0))
        self.state = State(home / "state of pap")
        self.journal = self.state.begin(Run("t", "h", 1))
        self.folder = self.journal.folder
        self.log = home / "app.log"
        self.log.write_text(OK)
        specs = {"api": LogSpec(files=(str(self.log),))}
        process.prepare(self.folder, specs, hours=1, interval_s=30, rules=Rules())
        self.journal.append("release", "finished")
        self.state.lock.release(self.journal.release)
        self.pids: list[int] = []

    def start(self, wanted: str = "auto") -> str:
        lines = handover.start(self.state, self.journal, KNOWN, wanted, STACK)
        self.pids += map(int, re.findall(r"in process (\d+) on", lines[0]))
        return "\n".join(lines)

    def command(self, verb: str) -> int:
        return command.main([verb, str(self.state.folder)])

    @property
    def units(self) -> list[str]:
        return sorted(path.name for path in (self.root / "etc/systemd/system").iterdir())

    def has_unit(self, name: str, text: str) -> None:
        """Of a version before this one."""
        for kind in ("service", "timer"):
            (self.root / f"etc/systemd/system/{name}.{kind}").write_text(text)

    @property
    def failure(self) -> Path:
        """Where it is, if the service has failed and systemd knows it still."""
        return self.home / "systemctl.log.result"

    @property
    def told(self) -> list[str]:
        return (self.home / "systemctl.log").read_text().splitlines()


@pytest.fixture
def watch(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    made = Watched(home, monkeypatch)
    yield made
    made.command("end")
    for pid in made.pids:
        try:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def state_of(watch: Watched) -> tuple[str, bool]:
    found = rules.load(watch.folder)
    assert found is not None
    return found.runner, (watch.folder / "watch-confidential.json").exists()


def test_a_timer_is_installed_and_seen_to_work(watch: Watched) -> None:
    systemctl(watch.home)
    assert rules.status(watch.folder).dead, "nothing runs it yet"
    said = watch.start()
    assert "by a timer of systemd on the target host, every 30 s: systemctl status pap-watch-pap:staging.timer" in said
    assert "(systemd runs there, and root deploys)" in said and "ansible-playbook watch.yml -l pap" in said
    assert watch.units == ["pap-watch-pap:staging.service", "pap-watch-pap:staging.timer"]
    assert watch.told[:4] == [
        "daemon-reload", "enable pap-watch-pap:staging.timer", "reset-failed pap-watch-pap:staging.service",
        "restart pap-watch-pap:staging.timer",
    ]  # fmt: skip
    assert state_of(watch) == ("systemd", True) and rules.status(watch.folder).state == "watching"
    found = rules.load(watch.folder)
    assert found and found.steps == 1
    said = watch.start("process")
    assert "in process" in said and "(watch_runner: process)" in said
    assert watch.units == [] and "disable --now pap-watch-pap:staging.timer" in watch.told, "one way runs it"
    assert state_of(watch) == ("process", False)
    assert watch.command("step") == 0, "the process does it"
    assert watch.command("end") == 0 and rules.status(watch.folder).state == "ended"
    assert watch.command("step") == 3, "a timer ends itself by that"


@pytest.mark.parametrize("how", ["enable is refused", "no step is made", "the step fails", "the step hangs",
                                 "the folder is read only"])  # fmt: skip
def test_where_the_timer_does_not_work_a_process_runs_it(
    watch: Watched, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "_FIRST_STEP_S", 2.0 if "the step" in how else 0.5)
    systemctl(watch.home, works="the step" in how, refuses="enable" if "enable" in how else "")
    if how == "the step fails":
        monkeypatch.setattr(handover, "_argv", lambda *_: ["/bin/false"])
    if how == "the step hangs":
        (watch.home / "hangs.py").write_text(HANGS)
        argv = [sys.executable, str(watch.home / "hangs.py"), str(watch.folder / ".watch.alive")]
        monkeypatch.setattr(handover, "_argv", lambda *_: argv)
    if how == "the folder is read only":
        (watch.root / "etc/systemd/system/pap-watch-pap:staging.service").mkdir()
    with pytest.raises(Unavailable, match=r"Access denied|no step within|service failed|cannot be written"):
        watch.start("systemd")
    assert state_of(watch) == ("", False) and "is gone" in rules.status(watch.folder).summary
    if how == "the folder is read only":
        assert watch.units == ["pap-watch-pap:staging.service"]
    else:
        assert watch.units == [], "nothing of it stays"
    said = watch.start("auto")
    assert "in process" in said and "(systemd runs there, and root deploys, but " in said
    assert state_of(watch) == ("process", False) and rules.is_watched(watch.folder)


def test_a_timer_that_has_failed_is_tried_by_the_next_deploy(watch: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl(watch.home)
    with monkeypatch.context() as once:
        once.setattr(handover, "_argv", lambda *_: ["/bin/false"])
        with pytest.raises(Unavailable, match="its service failed"):
            watch.start("systemd")
    assert not watch.failure.exists(), "nor is it in systemctl --failed"
    watch.failure.write_text("ActiveState=failed\n")  # as a version before this one left it
    assert "by a timer of systemd" in watch.start("systemd")


def test_calls_of_the_timer_are_none_of_cron(watch: Watched) -> None:
    systemctl(watch.home)
    assert "by a timer of systemd" in watch.start("systemd")
    assert command.called(watch.state.folder) is None
    assert watch.command("step") == 0 and command.called(watch.state.folder), "as a timer of a version before did"
    said = watch.start("cron")
    assert "ONLY IF cron of" in said and "which was called never" in said and watch.units == []
    assert watch.command("step") == 0 and "ONLY IF" not in watch.start("cron")


@pytest.mark.parametrize("wanted", ["systemd", "cron", "process"])
def test_the_timer_of_the_last_release_ends(watch: Watched, wanted: str) -> None:
    systemctl(watch.home)
    old = "ExecStart=/usr/bin/python3 {0}/releases/r0/watch.zip step {0}/releases/r0\n"
    watch.has_unit("pap-watch-pap", old.format("/srv/of another stack called pap"))
    watch.start(wanted)
    assert "pap-watch-pap.timer" in watch.units
    watch.has_unit("pap-watch-pap", old.format(watch.state.folder))
    watch.start(wanted)
    assert "pap-watch-pap.timer" not in watch.units and "disable --now pap-watch-pap.timer" in watch.told
    assert len(watch.units) == (2 if wanted == "systemd" else 0)


def test_cron_is_named_and_whether_it_calls(watch: Watched) -> None:
    said = watch.start("cron")
    line = f"* * * * * {sys.executable} '{watch.state.folder}/watch.zip' step '{watch.state.folder}'"
    assert "ONLY IF cron of root" in said and "which was called never" in said and line in said
    assert state_of(watch) == ("cron", True) and not rules.status(watch.folder).dead
    found = rules.load(watch.folder)
    assert found is not None
    late = replace(found, heartbeat="2026-01-01T00:00:00.000Z")
    assert rules.silence_s(late) == 300
    rules.save(watch.folder, late)
    assert "the watcher (run by cron) is silent" in rules.status(watch.folder).summary
    assert watch.command("step") == 0 and rules.status(watch.folder).state == "watching"
    said = watch.start("cron")
    assert "which called it " in said and "ONLY IF" not in said


def test_a_step_has_the_environment_of_the_deploy(watch: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///somewhere.sock")
    monkeypatch.setenv("OTHER", "x")
    watch.start("cron")
    kept = confidential.kept(watch.folder)
    assert kept.environment["DOCKER_HOST"] == "unix:///somewhere.sock" and "OTHER" not in kept.environment
    assert kept.secrets == KNOWN.secrets


def test_a_watcher_that_hangs_is_replaced(watch: Watched) -> None:
    watch.start("process")
    os.kill(watch.pids[0], 19)  # SIGSTOP
    assert rules.is_watched(watch.folder)
    watch.start("process")
    old, new = watch.pids
    assert old != new and (watch.folder / ".watch.alive").read_text() == str(new)
    assert rules.is_watched(watch.folder)
