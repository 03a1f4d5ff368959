"""Which rows our own logins wrote: noted with the release whose rollback would else count them as a loss."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..databases import marks, own
from ..errors import PapError
from ..journal import Journal
from ..stack import Stack


@contextlib.contextmanager
def found(stack: Stack, journal: Journal, done: dict[str, Any]) -> Iterator[None]:
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
        done["own_writes"] = {}
        with contextlib.suppress(PapError):  # not known: then a rollback counts them as anybody's rows
            done["own_writes"] = own.certainly(stack.database, mark, expected)


@contextlib.contextmanager
def noted(stack: Stack) -> Iterator[None]:
    """Note the transactions of the block's smoke test with the release in force, whose rollback must not count them."""
    journal = stack.state.last_finished()
    if journal is None:
        yield
        return
    done: dict[str, Any] = {}
    try:
        with found(stack, journal, done):
            yield
    finally:
        if done["own_writes"]:
            journal.append("login_smoke_test", "note", own_writes=done["own_writes"])


def known(journal: Journal) -> dict[str, dict[str, int]]:
    """All transactions that were noted as our smoke tests' since the release: by id, rows by table."""
    all_noted = [e.get("own_writes") for e in journal.entries() if e["phase"] == "login_smoke_test"]
    return {xid: rows for each in all_noted if isinstance(each, dict) for xid, rows in each.items()}
