"""Every pair of playbooks at every phase of the first, as a table: what is set up with real processes, and what a reference model
of its own says must come of it. Used by a seeded part in ``tests/unit`` and by the whole in ``tests/nightly``."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from papdeploy.core.durable import private_folder
from papdeploy.core.errors import PapError, Refused, TakenOver
from papdeploy.core.processes import Process
from papdeploy.phases import backup, cleanup, preflight, report, result, rollback
from papdeploy.phases.result import Printed
from papdeploy.releases import lock
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run

from support.waiting import gone

# What the first run is doing, and which of its phases it has begun.
DEPLOY = ("preflight", "receipt", "backup", "rehearse", "fence", "restore_point", "migrate", "unfence", "activate",
          "login_smoke_test", "validate", "watch")  # fmt: skip
FIRSTS = [
    *(("deploy", phase) for phase in DEPLOY),
    ("rehearse", "rehearse"),
    *(("rollback", phase) for phase in ("rollback.fence", "rollback.swap", "rollback.activate")),
    ("backup", ""),
    ("drop", ""),
]
CHANGERS = ("deploy", "rehearse", "rollback", "backup", "drop", "deploy --check", "rollback --check")
READERS = ("status", "history")
FORCED = ("deploy forced", "rollback forced")
CONTROLLERS = ("this host", "another name", "another namespace", "another boot", "elsewhere")
FATES = ("alive", "killed", "stopped", "recycled")
MODULES = ("none", "at work", "stopped", "ended")
LEASES = ("fresh", "over")
CLOCKS = ("right", "behind", "ahead")
VERSION = {"label": "one", "identity": "one"}


@dataclass(frozen=True)
class Case:
    """A first run in some state, and a second one that comes upon it."""

    first: tuple[str, str]
    second: str
    controller: str
    fate: str
    module: str
    lease: str
    session: bool
    clock: str

    @property
    def is_release(self) -> bool:
        return self.first[0] in ("deploy", "rehearse", "rollback")

    def __str__(self) -> str:
        values = (
            *self.first,
            self.second,
            self.controller,
            self.fate,
            self.module,
            self.lease,
            self.session,
            self.clock,
        )
        return "-".join(str(value).replace(" ", "_") for value in values)


def cases() -> Iterator[Case]:
    """The product of all columns; the clock, which must not matter, goes round."""
    seconds = (*CHANGERS, *READERS, *FORCED)
    table = itertools.product(FIRSTS, seconds, CONTROLLERS, FATES, MODULES, LEASES, (False, True))
    for values, clock in zip(table, itertools.cycle(CLOCKS)):
        yield Case(*values, clock)


def sample(seed: int, count: int) -> list[Case]:
    """Some of the table, each value of each column among them."""
    every = list(cases())
    return random.Random(seed).sample(every, count)


def proven_gone(case: Case) -> bool:
    """The reference model: whether the first run can be proven gone. Knows nothing of how the product finds it out."""
    if case.controller == "this host":
        return case.fate in ("killed", "recycled")
    # Its process cannot be looked up: every heartbeat must be missing.
    return case.lease == "over" and case.module in ("none", "ended") and not case.session


def expected(case: Case) -> str:
    """What must come of the second run: "runs" (it only reads), "refused", or "follows"."""
    if case.second in READERS:
        return "runs"
    if case.second not in FORCED and not proven_gone(case):
        return "refused"
    # What was kept may be needed by a release that has not been ended: that comes first.
    return "ends it first" if case.second == "drop" and case.is_release else "follows"


class World:
    """Real processes and a state folder for one case; the database is a list of sessions."""

    def __init__(self, folder: Path, case: Case) -> None:
        self.case = case
        self.folder = folder / "state"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.ended_sessions: list[str] = []
        self.done: list[str] = []

    # -- the first run ------------------------------------------------------------------------------------------------

    def set_up(self) -> None:
        case = self.case
        controller = self._process()
        self.who = self._who(controller)
        self.one = State(self.folder, run=self.who, stack="pap")
        self.name = self._begin()
        module = self._process() if case.module != "none" else None
        self._write(module)
        if case.module == "stopped" and module:
            os.kill(module.pid, signal.SIGSTOP)
        if case.module == "ended" and module:
            self._kill(module)
        if case.fate == "stopped":
            os.kill(controller.pid, signal.SIGSTOP)
        if case.fate == "killed":
            self._kill(controller)
        self.controller, self.module = controller, module

    def _begin(self) -> str:
        kind, phase = self.case.first
        if not self.case.is_release:
            other = State(self.folder, run=Run(user="before", host="b", pid=3))
            before = other.begin(Run(user="before", host="b", pid=3), **{"from": VERSION, "to": VERSION})
            before.append("release", "finished", seconds=1.0)
            other.lock.release(before.release)
            name = f"{'manual' if kind == 'backup' else 'drop'}-20260101T000000-aaaa"
            private_folder(self.folder)
            self.one.lock.take(name)
            return name
        journal = self.one.begin(self.who, stack="pap", environment="staging", **{"from": VERSION, "to": VERSION})
        for begun in DEPLOY[: DEPLOY.index(phase) + 1] if kind == "deploy" else (phase,):
            journal.append(begun, "begin")
        return journal.release

    def _who(self, controller: subprocess.Popen[bytes]) -> Run:
        stat = Path(f"/proc/{controller.pid}/stat").read_text().rpartition(")")[2].split()
        who = Run(
            user="first",
            host=os.uname().nodename,
            pid=controller.pid,
            start=int(stat[19]) - (1 if self.case.fate == "recycled" else 0),
            boot=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            pidns=str(Path("/proc/self/ns/pid").readlink()),
        )
        other: dict[str, dict[str, Any]] = {
            "this host": {},
            "another name": {"host": "a-name-of-another"},
            "another namespace": {"pidns": "pid:[1]"},
            "another boot": {"boot": "of another machine that is called the same"},
            "elsewhere": {"host": "elsewhere", "boot": "another", "pidns": "pid:[2]"},
        }
        return replace(who, **other[self.case.controller])

    def _write(self, module: subprocess.Popen[bytes] | None) -> None:
        """The lock as the first run would have left it: its module, how long ago it was renewed, by which clock."""
        path = self.folder / "lock.json"
        held = json.loads(path.read_text())
        if module:
            stat = Path(f"/proc/{module.pid}/stat").read_text().rpartition(")")[2].split()
            held["workers"] = [{"pid": module.pid, "start": int(stat[19])}]
        if self.case.lease == "over":
            held["renewed_s"] = time.clock_gettime(time.CLOCK_BOOTTIME) - held["lease_s"] - 1
        said = {"right": held["renewed"], "behind": "2001-01-01T00:00:00.000Z", "ahead": "2101-01-01T00:00:00.000Z"}
        held["renewed"] = held["since"] = said[self.case.clock]
        path.write_text(json.dumps(held))

    def _process(self) -> subprocess.Popen[bytes]:
        self.processes.append(subprocess.Popen(["sleep", "600"]))
        return self.processes[-1]

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    # -- the second run -----------------------------------------------------------------------------------------------

    def second(self) -> str:
        """What came of it: as :func:`expected` says it. ``said`` is then what a person reads."""
        who = Run(user="second", host="b", pid=2, boot="b", pidns="b")
        self.two = State(self.folder, run=who, stack="pap")
        self.two.lock.server = self._server()
        stack: Any = SimpleNamespace(
            state=self.two, name="pap", label="pap", environment="staging", redactor=None, database=None
        )
        try:
            printed = self._play(stack, who)
        except Refused as error:
            self.said = str(error)
            return "ends it first" if "is unfinished" in self.said else "refused"
        self.said = "\n".join(printed.lines)
        return "runs" if self.case.second in READERS else "follows"

    def _play(self, stack: Any, who: Run) -> Printed:
        words = self.case.second.split()
        forced, check = "forced" in words, "--check" in words
        if words[0] in ("deploy", "rehearse"):
            if not check:
                options = rollback.Options(only_unfinished=True, take_over=forced)
                rollback.run(stack, "", who, options)
            self.two.lock.by(who)
            preflight._refuse_unless_free(stack) if not check else self.two.lock.refuse_held()
            if not check:
                self.two.begin(who)
        elif words[0] == "rollback":
            rollback.run(stack, "", who, rollback.Options(take_over=forced), check_mode=check)
        elif words[0] == "backup":
            backup.run(stack, "", who, backup.Options())
        elif words[0] == "drop":
            cleanup.run(stack, "", who)
        elif words[0] == "status":
            return report.status(stack, {}, preflight.Options()).pap
        else:
            return report.releases(self.two, 20).pap
        return Printed("")

    def _server(self) -> Any:
        """A server that knows of a session of the first run, or of none."""
        world = self

        class Server:
            database = None

            def name_of(self, held: Any) -> str:
                return ""

            def sessions(self, release: str) -> list[dict[str, Any]]:
                there = world.case.session and release == world.name and release not in world.ended_sessions
                return [{"pid": 4711}] if there else []

            def end_sessions(self, remains: Any) -> int:
                world.ended_sessions.append(remains.release)
                return 1

            def refuse_other(self, held: Any) -> None:
                pass

        return Server()

    # -- what must be true --------------------------------------------------------------------------------------------

    def judge(self, came: str) -> None:
        case = self.case
        assert came == expected(case), f"{came}, not {expected(case)}: {getattr(self, 'said', '')}"
        running = self.module is not None and not gone(self.module.pid)
        if came in ("follows", "ends it first"):
            if "--check" not in case.second:
                assert not running, "the module of the old run is still there"
                assert self.name in self.ended_sessions, "its sessions were not ended"
                self._first_stops()
        else:
            assert running == (case.module in ("at work", "stopped")), "what only looks ended a module"
            held = json.loads((self.folder / "lock.json").read_text())
            assert (held["release"], held["user"]) == (self.name, "first"), "it took the lock"
            if came == "refused":
                assert self.name in self.said and "first@" in self.said and "rollback_take_over=true" in self.said
                assert not case.is_release or f"in phase {case.first[1]}" in self.said
            elif not proven_gone_without_a_session(case):
                assert self.name in self.said
        if self.case.controller == "this host":
            assert gone(self.controller.pid) == (case.fate == "killed"), "a controller is never ended"

    def _first_stops(self) -> None:
        """Whatever the first run asks for next, if it goes on."""
        steps: list[Callable[[], object]] = [
            lambda: self.one.working(self.name).__enter__(),
            lambda: self.one.lock.confirm(self.name),
            lambda: self.one.lock.refuse_held(self.name),
            lambda: self.one.lock.take(self.name),
        ]
        for step in steps if self.case.is_release else steps[:2]:
            with pytest.raises(TakenOver if self.case.is_release else PapError):
                step()

    def tear_down(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


def proven_gone_without_a_session(case: Case) -> bool:
    """What those that only read can tell: they do not ask the server."""
    return proven_gone(
        Case(case.first, case.second, case.controller, case.fate, case.module, case.lease, False, case.clock)
    )


def without_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """The phases up to the point where they have the lock: what they do then is not of this table."""
    nothing: Any = {"strategy": "nothing", "lines": [], "pap": {"lines": []}}

    def taken_back(stack: Any, journal: Any, *_: Any) -> Any:
        journal.append("release", "rolled_back", seconds=0.1, strategy="nothing")
        return nothing

    monkeypatch.setattr(lock.keeper, "start", lambda *_: Process(2**22 + 1))
    monkeypatch.setattr(rollback, "_roll_back", taken_back)
    monkeypatch.setattr(rollback, "_forecast", lambda *_: result.Result(Printed("")))
    monkeypatch.setattr(
        rollback.live_check, "unchanged", lambda *_: contextlib.nullcontext(SimpleNamespace(sentence=""))
    )
    monkeypatch.setattr(backup, "_take", lambda *_: SimpleNamespace(lines=list, as_dict=dict))
    monkeypatch.setattr(backup, "_apply_retention", lambda *_: SimpleNamespace(lines=[]))
    monkeypatch.setattr(rollback, "_refuse_other_stack", lambda *_: None)
    monkeypatch.setattr(cleanup.databases, "refuse_other_stack", lambda *_: None)
    none_left = SimpleNamespace(lines=[], removed=[])
    monkeypatch.setattr(cleanup.retention, "dropped", lambda *_, **__: (none_left, []))
    monkeypatch.setattr(report, "_kept", lambda *_: [])
    monkeypatch.setattr(report, "_schema_ahead", lambda *_: [])
    monkeypatch.setattr(report, "_look", lambda *_: [])


def check(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the case up, let the second run come, and hold what came of it against the reference model."""
    without_a_stack(monkeypatch)
    world = World(folder, case)
    try:
        world.set_up()
        world.judge(world.second())
    finally:
        world.tear_down()
