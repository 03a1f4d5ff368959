"""What the smoke test finds at the API that runs: whether its login works, and what to compare with later."""

from __future__ import annotations

from ..app import smoke
from ..app.api_client import SmokeConfig
from ..app.login import log_out
from ..app.stack import Stack
from ..core.errors import Refused
from ..core.text import plural
from ..releases import smoke_test_logins
from . import guards
from .findings import Findings


def look(stack: Stack, found: Findings, allow_failing: bool) -> str:
    """The baseline of the API that runs, as a line. Raises Refused where its login fails, unless that is
    allowed."""
    config = stack.smoke
    with smoke_test_logins.noted(stack.database, stack.state):
        before = smoke.baseline(config)
        try:
            if not allow_failing:
                guards.refuse_failing_login(stack, found, before)
            before = smoke.timed(config, before)
        finally:
            if before.session:
                log_out(config, before.session)
    found.baseline, found.health, found.login = before.endpoints, before.health, before.login
    return line(before)


def _not_tried(stack: Stack) -> list[str]:
    if SmokeConfig("", **stack.smoke_settings).login == "none":
        return []
    return ["login: not tried, because a login writes; -e preflight_try_login=true tries it in the plan"]


def tried(stack: Stack, found: Findings, allow_failing: bool, told_to: bool) -> tuple[list[str], str]:
    """The baseline of a plan as a line, or why the deploy would be refused. ``told_to``: else it does not log in."""
    if not told_to:
        return _not_tried(stack), ""
    try:
        return [
            f"{look(stack, found, allow_failing)} (a login writes: it was asked after the measurement that follows)"
        ], ""
    except Refused as refused:
        return [], str(refused)


def line(before: smoke.Baseline) -> str:
    if before.silent:
        return f"baseline: no API answers now ({before.silent}), so whether the smoke user can log in is not known"
    endpoints = before.endpoints or ()
    bad = [f"{item.path} {item.status or 'no answer'}" for item in endpoints if item.status != 200 or item.problem]
    failing = f", already failing: {', '.join(bad)}" if bad else ""
    if before.problem:
        return f"baseline: the login smoke test fails at the API that runs, as allowed: {before.problem}{failing}"
    works = "the API answers" if not before.session or not before.session.known else "login works"
    return f"baseline: {works}, {plural(len(endpoints), 'endpoint')} looked at{failing}"
