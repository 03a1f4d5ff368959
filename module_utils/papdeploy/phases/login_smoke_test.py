"""The login smoke test as a phase: against the release's own baseline, noted in its journal."""

from __future__ import annotations

from dataclasses import dataclass

from ..app import smoke
from ..app.login import PROVES_WHO
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
    count = len(found.endpoints)
    endpoints = f", no regressions in {plural(count, 'endpoint')}" if count else ""
    line = ", ".join(filter(None, (f"healthy after {seconds(found.healthy_after_s or 0.0)}", _who(found)))) + endpoints
    lines = [line, agreed] if agreed else [line]
    return Tested(Printed("login smoke test", lines), found)


def _who(found: Smoke) -> str:
    """How it was proven who asks, and that nobody else is let in, as a part of a sentence."""
    by_name = {check.name: check for check in found.checks}
    proven = next((by_name[name] for name in PROVES_WHO if name in by_name), None)
    if proven is None:
        return "no login tried (pap_smoke_login=none)"
    how = "login" if proven.name == "login" else "key accepted"
    refused = next((name for name in by_name if name.startswith("wrong ")), "")
    ended = "logged out" if "logout" in by_name else ""
    return ", ".join(filter(None, (f"{how} in {seconds(proven.ms / 1000)}", refused, ended)))
