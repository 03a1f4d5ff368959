"""What our smoke-test logins wrote: noted with the release whose rollback would else count it as a loss.

Rows are known by their transactions. The numbers of a sequence belong to none: as many as the rehearsal saw the same
work take are ours, where no more were taken meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from ..app.stack import Stack
from ..core.errors import PapError
from ..databases import other_losses, smoke_test_writes, write_snapshot
from ..databases.other_losses import Positions
from ..releases.journal import Journal

# A login that is answered with an error is tried once more, and what it rolls back has taken its numbers all the same.
_TRIES = 2


@contextlib.contextmanager
def found(stack: Stack, journal: Journal, done: dict[str, Any]) -> Iterator[None]:
    """Note in ``done`` the transactions of the block's smoke test, also if it fails: a rollback then knows them."""
    expected = (journal.last("rehearse") or {}).get("own_writes") or []
    mark: Optional[write_snapshot.Moment] = None
    before: Positions = {}
    with contextlib.suppress(PapError), stack.database.session() as session:  # the smoke test will say what is wrong
        mark, before = write_snapshot.moment(session), other_losses.positions(session)
    try:
        yield
    finally:
        done.update(own_writes={}, own_numbers=_numbers(stack, journal, "login", before))
        with contextlib.suppress(PapError):  # not known: then a rollback counts them as anybody's rows
            done["own_writes"] = smoke_test_writes.certainly(stack.database, mark, expected) if mark else {}


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
        if done["own_writes"] or done["own_numbers"]:
            journal.append("login_smoke_test", "note", **done)


def started(stack: Stack, journal: Journal, before: Positions) -> dict[str, int]:
    """The numbers that the API took by its start; ``before`` are the positions of before it."""
    return _numbers(stack, journal, "start", before)


def _numbers(stack: Stack, journal: Journal, when: str, before: Positions) -> dict[str, int]:
    tried = (journal.last("rehearse") or {}).get("candidate") or {}
    expected = ((tried.get("wrote") or {}).get("numbers") or {}).get(when) or {}
    if not expected or not before:
        return {}
    try:
        with stack.database.session() as session:
            counts = other_losses.taken(before, other_losses.positions(session))
    except PapError:
        return {}
    return {name: count for name, count in counts.items() if count <= _TRIES * int(expected.get(name, 0))}


def known(journal: Journal) -> write_snapshot.Own:
    """What was noted as our own since the release."""
    writes: dict[str, Mapping[str, int]] = {}
    numbers: dict[str, int] = {}
    for entry in journal.entries():
        if entry["phase"] == "login_smoke_test" and isinstance(entry.get("own_writes"), dict):
            writes.update(entry["own_writes"])
        for name, count in (entry.get("own_numbers") or {}).items():
            numbers[name] = numbers.get(name, 0) + int(count)
    return write_snapshot.Own(writes, numbers)
