"""Legacy scripts: a migration with ``run_migration()``, its own engine, its own transactions, its prints.

It runs in a process of its own, under the runner's lock and a deadline. Its word is not enough: it counts as applied
only if the catalog changed, or if the operator vouches for it by name.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import DeadlineExceeded
from ...core.records import as_object, read
from ...core.text import few
from .. import ledger
from ..catalog_lines import changes, describe
from . import execute
from .records import Ran
from .step import MigrationError

if TYPE_CHECKING:
    from ..files import MigrationFile
    from .session import Session

KEPT_OUTPUT = 8000  # characters of a script's output that a failure shows

# Runs in the child. The verdict goes to its own pipe; stdin is the life line: at its end the child dies.
_BOOT = r"""
import json, os, sys, threading, traceback
verdict = os.fdopen(int(sys.argv[1]), "w")
size = int(sys.stdin.buffer.readline())
task = json.loads(sys.stdin.buffer.read(size))
def watch():
    sys.stdin.buffer.read(1)
    os._exit(125)
threading.Thread(target=watch, daemon=True).start()
sys.path[:0] = [p for p in (os.getcwd(), task["folder"]) if p]
if task["forbid"]:
    sys.path.append(task["package"])
    from papdeploy.migrations.run.connection_guard import forbid_database
    from papdeploy.migrations.run.way_out import described
    forbid_database(task["forbid"])
    def heard(event, arguments):
        what = described(event, arguments)
        if what and "program" in what:
            answer["outward"] = what
    sys.addaudithook(heard)
answer = {"returned": None, "error": "", "outward": ""}
try:
    names = {"__name__": "pap_migration", "__file__": task["filename"], "__builtins__": __builtins__}
    exec(compile(task["source"], task["filename"], "exec"), names)
    value = names["run_migration"]()
    answer["returned"] = value if isinstance(value, (bool, int, str, type(None))) else repr(value)
except SystemExit as error:
    answer["error"] = "sys.exit(%r)" % (error.code,)
except BaseException as error:
    traceback.print_exc()
    answer["error"] = "%s: %s" % (type(error).__name__, error)
sys.stdout.flush(); sys.stderr.flush()
verdict.write(json.dumps(answer)); verdict.flush()
os._exit(0)
"""


@dataclass(frozen=True)
class _Verdict:
    """What the child answers: what the function returned or raised, and on a copy the program that it started."""

    returned: object = None
    error: str = ""
    outward: str = ""


def run_script(session: Session, migration: MigrationFile) -> Ran:
    """Run it, compare the catalog before and after, and write the ledger row. Raises MigrationError."""
    session.ensure_ledger()
    before = describe(session)
    session.record_start(migration.identity, migration.checksum, "upgrade")
    session.emit("migration_started", identity=migration.identity, direction="upgrade")
    began_at, began = session.now(), time.perf_counter()
    verdict, output = _run(session, migration)
    if verdict.outward:
        session.outward.setdefault(migration.identity, verdict.outward)
    seconds = round(time.perf_counter() - began, 6)
    changed = changes(before, describe(session))
    believed = migration.identity in session.options.assume_applied
    trouble = _trouble(verdict, changed, believed)
    if trouble:
        kept = f" It did change the database before: {_few(changed)}." if changed else ""
        raise MigrationError(
            f"Migration {migration.identity} (legacy script) {trouble}.{kept}",
            hint=(
                "If it changes data only and you have looked that it did, run again with --assume-applied "
                f"{migration.identity}."
                if verdict.returned is True and not changed
                else "Its output is in the result. Such a script cannot be rolled back: rewrite it as upgrade(db)."
            ),
            identity=migration.identity,
            output=output,
            changed=changed,
        )
    details = {"kind": "script", "changed": changed[:100], "believed": believed and not changed}
    ran = Ran(
        migration.identity,
        migration.checksum,
        migration.flavour,
        began_at,
        seconds,
        statements=(),
        statement_count=0,
        details=details,
        output=output,
    )
    session.emit("migration_done", identity=migration.identity, direction="upgrade", seconds=seconds)
    execute.record_alone(session, ran, ledger.APPLIED)
    return ran


def _trouble(verdict: _Verdict, changed: list[str], believed: bool) -> str:
    if verdict.error:
        return f"failed: {verdict.error}"
    if verdict.returned is False:
        return "returned False, which means failure"
    if changed or believed:
        return ""
    if verdict.returned is True:
        return "says that it succeeded, but the catalog of the database did not change"
    return f"returned {verdict.returned!r}, and the catalog of the database did not change"


def _few(changed: list[str]) -> str:
    return few(changed, 5)


def _environment(session: Session) -> dict[str, str]:
    settings = {
        "lock_timeout": f"{int(session.options.lock_timeout_s * 1000)}",
        "statement_timeout": f"{int(session.options.statement_timeout_s * 1000)}",
    }
    if session.facts.version >= 140000:
        settings["client_connection_check_interval"] = "5000"
    return {
        **os.environ,
        "DATABASE_URL": session.target.text,
        "PGAPPNAME": session.child_name,
        "PGOPTIONS": " ".join([os.environ.get("PGOPTIONS", ""), *(f"-c {k}={v}" for k, v in settings.items())]).strip(),
        "PYTHONUNBUFFERED": "1",
    }


def _run(session: Session, migration: MigrationFile) -> tuple[_Verdict, str]:
    """Run the child to its end or its deadline. Returns its verdict and the end of its output, redacted."""
    deadline = min(session.options.script_deadline_s, session.remaining())
    path = Path(migration.path) if migration.path else None
    task = {
        "source": migration.source,
        "filename": str(path) if path else str(Path.cwd() / "migrations" / migration.filename),
        "folder": str(path.parent) if path else "",
        "forbid": as_object(session.options.forbid_database) if session.options.forbid_database else None,
        "package": str(Path(__file__).parents[3]),
    }
    body = json.dumps(task).encode()
    read_end, write_end = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-u", "-c", _BOOT, str(write_end)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[write_end],
        env=_environment(session),
        start_new_session=True,
    )
    os.close(write_end)
    assert child.stdin is not None and child.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # it died at once: its exit code and output say why
            child.stdin.write(f"{len(body)}\n".encode() + body)
            child.stdin.flush()
        output, in_time = _collect(session, migration, child, time.monotonic() + deadline)
        if not in_time:
            _kill(session, child)
            raise DeadlineExceeded(
                f"Migration {migration.identity} (legacy script) did not end within {deadline:g} s; its process was"
                " killed and its database sessions were ended.",
                hint="A script with two connections can wait for itself. Look at what it changed before it runs again.",
                identity=migration.identity,
                output=output,
                seconds=deadline,
            )
        child.wait(10)
        with os.fdopen(read_end, "rb", closefd=False) as verdict:
            said = verdict.read()
        if not said:
            return _Verdict(error=f"its process ended with exit code {child.returncode} and no verdict"), output
        answer = read(_Verdict, json.loads(said))
        return replace(answer, error=session.redactor.text(answer.error.split("\n")[0])), output
    finally:
        os.close(read_end)
        if child.poll() is None:
            _kill(session, child)
        child.stdin.close()
        child.stdout.close()


def _collect(session: Session, migration: MigrationFile, child: Any, ends_at: float) -> tuple[str, bool]:
    """Read the child's output line by line until it ends or the time is up."""
    kept, rest = "", b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            left = ends_at - time.monotonic()
            if left <= 0:
                return kept, False
            if not selector.select(min(left, 0.5)):
                if child.poll() is not None:  # a grandchild may keep the pipe open
                    return kept, True
                continue
            piece = os.read(child.stdout.fileno(), 65536)
            *lines, rest = (rest + piece).split(b"\n")
            if not piece and rest:
                lines, rest = [rest], b""
            for line in lines:
                text = session.redactor.text(line.decode("utf-8", "replace"))
                session.emit("output", identity=migration.identity, line=text)
                kept = (kept + text + "\n")[-KEPT_OUTPUT:]
            if not piece:
                return kept, True


def _kill(session: Session, child: Any) -> None:
    """End the child, what it started, and the database sessions that carry our application name."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait(10)
    session.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = %s AND datname = current_database()",
        (session.child_name,),
    )
