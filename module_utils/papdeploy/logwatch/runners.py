"""What runs the steps of a watch after the deploy: a timer of systemd, cron, or a process of its own; one of them.

A timer and cron call ``watch.zip step <state folder>``, which serves every release. Where neither is asked for and no
systemd takes our units, it is a process, which ends with its host.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..core.errors import PapError, Refused, Unavailable

AUTO, SYSTEMD, CRON, PROCESS = "auto", "systemd", "cron", "process"
BY = {SYSTEMD: "a timer of systemd", CRON: "run by cron", PROCESS: "a process of its own"}
STEPPED = (SYSTEMD, CRON)  # each step is a process of its own: what it must know is in a private file
_COMMAND_S, _FIRST_STEP_S = 30.0, 90.0
_STEP_S = 300  # a step that takes longer hangs
_STOP_S = 20  # sooner than a command is given up
CALLED_BY = "PAP_WATCH_BY"  # in the environment of a step


@dataclass(frozen=True)
class Manager:
    """A systemd that takes our units: that of the host, or that of one ``user``, which must outlive a login."""

    units: Path
    user: str = ""

    def run(self, *words: str) -> str:
        """What ``systemctl`` prints. Raises Unavailable with what it says if it fails."""
        command = ["systemctl", *(["--user"] if self.user else []), *words]
        beside = {"XDG_RUNTIME_DIR": f"/run/user/{os.geteuid()}"} if self.user else {}
        try:
            done = subprocess.run(
                command, env={**os.environ, **beside}, capture_output=True, text=True, errors="replace",
                timeout=_COMMAND_S, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"{' '.join(command)}: {error}.") from error
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
            raise Unavailable(f"{' '.join(command)}: {said.rstrip('.')}.")
        return done.stdout


@dataclass(frozen=True)
class Choice:
    """``why``: how it came to it, as a part of a sentence. ``manager``: of a timer."""

    runner: str
    why: str
    manager: Optional[Manager] = None


def choose(wanted: str, root: Path = Path("/"), uid: Optional[int] = None) -> Choice:
    """What is to run the watch on this host. Raises Refused if what the inventory wants cannot be had."""
    if wanted in (CRON, PROCESS):
        return Choice(wanted, f"watch_runner: {wanted}")
    found, why = _manager(root, os.geteuid() if uid is None else uid)
    if found is None and wanted == SYSTEMD:
        raise Refused(
            f"watch_runner is systemd, and no timer can be had on the target host: {why}.",
            hint="Mend that, or set watch_runner to auto, cron or process.",
        )
    return Choice(SYSTEMD if found else PROCESS, why, found)


def _manager(root: Path, uid: int) -> tuple[Optional[Manager], str]:
    """The systemd that takes units of this user, or None, and why."""
    if not (root / "run/systemd/system").is_dir():  # sd_booted(3)
        return None, "no systemd runs there"
    if shutil.which("systemctl") is None:
        return None, "systemd runs there, without systemctl"
    if uid == 0:
        units = root / "etc/systemd/system"
        if not os.access(units, os.W_OK):
            return None, f"{units} cannot be written to"
        return Manager(units), "systemd runs there, and root deploys"
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return None, f"user {uid} has no account"
    private = root / f"run/user/{uid}/systemd/private"  # where its systemd takes commands, while it runs
    if (root / "var/lib/systemd/linger" / user.pw_name).exists() and private.exists():
        home = root / user.pw_dir.lstrip("/")
        return Manager(home / ".config/systemd/user", user.pw_name), f"the systemd of {user.pw_name} outlives its login"
    return None, (
        f"{user.pw_name} may not install units there, and its own systemd ends with its login"
        f" (loginctl enable-linger {user.pw_name})"
    )


@dataclass(frozen=True)
class Timer:
    """A service and its timer, called ``name``; the service runs ``argv`` as ``owner``."""

    name: str
    title: str
    argv: Sequence[str]
    owner: str
    every_s: float

    def service(self, user: bool) -> str:
        """``user``: for the systemd of a user, which has no other users and no rights to give."""
        control, full = ("systemctl --user", "") if user else ("systemctl", "+")
        stop = f'if [ "$$EXIT_STATUS" = 3 ]; then {control} disable --now {self.name}.timer; fi'
        return "\n".join(
            [
                "# Written by pap-deploy, and again by each deploy.",
                "[Unit]",
                f"Description=One step of the watch over {_text(self.title)} after a deploy",
                "StartLimitIntervalSec=0",  # however short the interval is
                "",
                "[Service]",
                "Type=oneshot",
                *([] if user else [f"User={_text(self.owner)}"]),
                "UMask=0077",
                f"Environment={CALLED_BY}={SYSTEMD}",
                f"ExecStart={' '.join(map(_word, self.argv))}",
                f"TimeoutStartSec={_STEP_S}",
                f"TimeoutStopSec={_STOP_S}",
                "# 3: the watch has ended. Until the next deploy there is nothing to run.",
                "SuccessExitStatus=3",
                f"ExecStopPost={full}/bin/sh -c '{stop}'",
                "",
            ]
        )

    def timer(self) -> str:
        return "\n".join(
            [
                "# Written by pap-deploy, and again by each deploy.",
                "[Unit]",
                f"Description=The watch over {_text(self.title)} after a deploy, every {self.every_s:g} s",
                "",
                "[Timer]",
                "OnActiveSec=1",
                f"OnUnitActiveSec={max(self.every_s, 1):g}",
                "AccuracySec=1",
                "",
                "[Install]",
                "WantedBy=timers.target",
                "",
            ]
        )


def unit_name(stack: str, environment: str) -> str:
    """A name of its own for each stack, of what a unit's name may have; ``:`` is in neither part."""

    def part(text: str) -> str:
        return re.sub(r"[^A-Za-z0-9._-]", lambda found: "".join(f"_{byte:02x}" for byte in found[0].encode()), text)

    return f"pap-watch-{part(stack)}:{part(environment)}"


def _text(text: str) -> str:
    """In a unit ``%`` begins a specifier, and a line ends a setting."""
    return " ".join(text.split()).replace("%", "%%")


def _word(text: str) -> str:
    """One word of a command line (systemd.service(5), Command lines)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if re.fullmatch(r"[\w./:=,+@%-]+", text, re.ASCII) else f'"{escaped}"'


def start(manager: Manager, timer: Timer, has_stepped: Callable[[], bool]) -> None:
    """Install the timer, start it, and see it make a step. Raises Unavailable if it makes none: then its units are gone
    again."""
    try:
        manager.units.mkdir(parents=True, exist_ok=True)
        for kind, text in (("service", timer.service(bool(manager.user))), ("timer", timer.timer())):
            path = manager.units / f"{timer.name}.{kind}"
            path.write_text(text, encoding="utf-8")
            path.chmod(0o644)
        manager.run("daemon-reload")
        manager.run("enable", f"{timer.name}.timer")
        _forget_failure(manager, timer.name)  # one before this deploy is none of this timer
        manager.run("restart", f"{timer.name}.timer")
        _see_a_step(manager, timer, has_stepped)
    except OSError as error:
        stop(manager, timer.name)
        raise Unavailable(f"The units cannot be written to {manager.units}: {error.strerror}.") from error
    except PapError:
        stop(manager, timer.name)
        raise


def _see_a_step(manager: Manager, timer: Timer, has_stepped: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _FIRST_STEP_S
    failed = ""
    while not failed and not has_stepped():
        state = manager.run("show", "--property=ActiveState,Result,ExecMainStatus", f"{timer.name}.service")
        said = dict(line.partition("=")[::2] for line in state.splitlines())
        if said.get("ActiveState") == "failed":
            failed = f"its service failed ({said.get('Result')}, exit code {said.get('ExecMainStatus')})"
        elif time.monotonic() > deadline:
            failed = f"it made no step within {_FIRST_STEP_S:g} s"
        else:
            time.sleep(0.2)
    if not failed:
        return
    log = f"journalctl {'--user ' if manager.user else ''}-u {timer.name}.service"
    raise Unavailable(f"The timer {timer.name}.timer does not work: {failed}.", hint=f"On the target host: {log}")


def stop(manager: Manager, name: str) -> bool:
    """Take the timer away, with the step that it may be making; whether there was one."""
    there = [path for kind in ("timer", "service") if (path := manager.units / f"{name}.{kind}").exists()]
    if not there:
        return False
    with contextlib.suppress(PapError):  # it may never have been taken
        manager.run("disable", "--now", f"{name}.timer")
    with contextlib.suppress(PapError):
        manager.run("stop", f"{name}.service")
    _forget_failure(manager, name)
    for path in there:
        with contextlib.suppress(OSError):
            path.unlink()
    with contextlib.suppress(PapError):
        manager.run("daemon-reload")
    return True


def _forget_failure(manager: Manager, name: str) -> None:
    """systemd keeps the service ``failed`` even when its units are gone."""
    with contextlib.suppress(PapError):  # it is not known: nothing has failed
        manager.run("reset-failed", f"{name}.service")


def retire(name: str, folder: Optional[Path] = None) -> bool:
    """Take away a timer that an earlier choice has left: one way runs the watch. Whether there was one; with
    ``folder``, only one whose steps are of that state folder."""
    manager = choose(AUTO).manager
    if manager is None or (folder is not None and not _is_of(folder, manager.units / f"{name}.service")):
        return False
    return stop(manager, name)


def _is_of(folder: Path, service: Path) -> bool:
    try:
        return f" {folder}/" in service.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
