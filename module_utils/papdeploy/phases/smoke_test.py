"""The login smoke test as a phase: against the release's own baseline, noted in its journal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from .. import smoke
from ..databases import marks, own
from ..errors import PapError
from ..journal import Journal
from ..stack import Stack
from . import watching
from .cutover import begin_entry


def run(stack: Stack, release: str) -> dict[str, Any]:
    """Try the API as a person would; without a release, compare with nothing. Raises SmokeFailed or Unavailable."""
    if not release:
        return _result(smoke.run(stack.smoke))
    with stack.state.working(release) as journal:
        looked = journal.last("preflight")
        with journal.checkpoint("login_smoke_test") as done:
            with watching.explained(journal), _own_writes(stack, journal, done):
                found = smoke.run(stack.smoke, looked.get("baseline") if looked else None)
            done.update(found.as_dict())
            stack.api.confirm(begin_entry(journal)["to"])  # else the test may have met another release
    return _result(found)


@contextlib.contextmanager
def _own_writes(stack: Stack, journal: Journal, done: dict[str, Any]) -> Iterator[None]:
    """Note in ``done`` the transactions of the block's smoke test, also if it fails: a rollback then knows them."""
    expected = (journal.last("rehearse") or {}).get("own_writes") or []
    try:
        with stack.database.session() as session:
            mark = marks.moment(session)
    except PapError:
        mark, expected = {}, []  # the smoke test will say what is wrong with the database
    try:
        yield
    finally:
        done["own_writes"] = []
        with contextlib.suppress(PapError):  # not known: then a rollback counts them as anybody's rows
            done["own_writes"] = own.certainly(stack.database, mark, expected)


def _result(found: smoke.SmokeResult) -> dict[str, Any]:
    login = next(check for check in found.checks if check.name == "login")
    count = len(found.endpoints)
    endpoints = f", {count} endpoint{'s' if count != 1 else ''} no worse than before" if count else ""
    line = f"healthy after {found.healthy_after_s:.1f} s, login in {login.ms:.0f} ms, wrong password refused{endpoints}"
    return {"smoke": found.as_dict(), "pap": {"phase": "login smoke test", "lines": [line]}}
