"""The login smoke test as a phase: against the release's own baseline, noted in its journal."""

from __future__ import annotations

from dataclasses import dataclass

from ..app import smoke
from ..app.stack import Stack
from ..core.records import as_object
from ..core.text import plural, seconds
from ..databases.write_counts import Own
from ..releases import smoke_test_logins
from ..releases.parts import Smoke
from ..releases.records import Preflight
from . import data_check, health_check, watch
from .progress import Progress
from .result import Printed, Result


@dataclass(frozen=True)
class Tested(Result):
    smoke: Smoke


def run(stack: Stack, release: str) -> Tested:
    """Try the API as a person would; without a release, compare with nothing. Raises SmokeFailed or Unavailable."""
    if not release:
        with smoke_test_logins.noted(stack.database, stack.state):
            return _result(smoke.run(stack.smoke))
    with stack.state.working(release) as journal:
        looked = journal.newest(Preflight)
        with journal.checkpoint("login_smoke_test") as done:

            def note(own: Own) -> None:
                done.update(own_writes=own.writes, own_numbers=own.numbers)

            with (
                data_check.after(stack, journal, data_check.AT_LOGIN),
                watch.explained(journal),
                smoke_test_logins.found(stack.database, journal, note),
            ):
                found = smoke.run(stack.smoke, looked.baseline if looked else None)
            done.update(as_object(found))
            version = journal.opening().new
            stack.api.confirm(version)  # else the test may have met another release
        with Progress(stack.state.folder, "login_smoke_test", stack.redactor) as say:
            agreed = health_check.agreed(stack, journal, version, say)
    return _result(found, agreed)


def _result(found: Smoke, agreed: str = "") -> Tested:
    login = next(check for check in found.checks if check.name == "login")
    count = len(found.endpoints)
    endpoints = f", no regressions in {plural(count, 'endpoint')}" if count else ""
    times = f"healthy after {seconds(found.healthy_after_s or 0.0)}, login in {seconds(login.ms / 1000)}"
    line = f"{times}, wrong password refused{endpoints}"
    lines = [line, agreed] if agreed else [line]
    return Tested(Printed("login smoke test", lines), found)
