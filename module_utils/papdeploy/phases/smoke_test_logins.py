"""What our smoke-test logins wrote: noted with the release whose rollback would else count it as a loss.

Rows are known by their transactions. The numbers of a sequence belong to none: as many as the rehearsal saw the same
work take are ours, where no more were taken meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Callable, Optional

from ..app.stack import Stack
from ..core.errors import PapError
from ..databases import other_losses, smoke_test_writes, write_counts, write_snapshot
from ..databases.other_losses import Positions
from ..releases.journal import Journal
from ..releases.records import Own, Rehearsed

# A login that is answered with an error is tried once more, and what it rolls back has taken its numbers all the same.
_TRIES = 2


@contextlib.contextmanager
def found(stack: Stack, journal: Journal, note: Callable[[write_counts.Own], None]) -> Iterator[None]:
    """``note`` what the block's smoke test wrote, also if it fails: a rollback then knows it."""
    expected = (journal.newest(Rehearsed) or Rehearsed()).own_writes
    mark: Optional[write_snapshot.Moment] = None
    before: Positions = {}
    with contextlib.suppress(PapError), stack.database.session() as session:  # the smoke test will say what is wrong
        mark, before = write_snapshot.moment(session), other_losses.positions(session)
    try:
        yield
    finally:
        writes: Mapping[str, Mapping[str, int]] = {}
        with contextlib.suppress(PapError):  # not known: then a rollback counts them as anybody's rows
            writes = smoke_test_writes.certainly(stack.database, mark, expected) if mark else {}
        note(write_counts.Own(writes, _numbers(stack, journal, "login", before)))


@contextlib.contextmanager
def noted(stack: Stack) -> Iterator[None]:
    """Note the transactions of the block's smoke test with the release in force, whose rollback must not count them."""
    journal = stack.state.last_finished()
    if journal is None:
        yield
        return

    def note(own: write_counts.Own) -> None:
        if own.writes or own.numbers:
            journal.append("login_smoke_test", "note", own_writes=own.writes, own_numbers=own.numbers)

    with found(stack, journal, note):
        yield


def started(stack: Stack, journal: Journal, before: Positions) -> dict[str, int]:
    """The numbers that the API took by its start; ``before`` are the positions of before it."""
    return _numbers(stack, journal, "start", before)


def _numbers(stack: Stack, journal: Journal, when: str, before: Positions) -> dict[str, int]:
    wrote = (journal.newest(Rehearsed) or Rehearsed()).candidate.wrote
    expected = wrote.numbers.get(when, {}) if wrote else {}
    if not expected or not before:
        return {}
    try:
        with stack.database.session() as session:
            counts = other_losses.taken(before, other_losses.positions(session))
    except PapError:
        return {}
    return {name: count for name, count in counts.items() if count <= _TRIES * expected.get(name, 0)}


def known(journal: Journal) -> write_counts.Own:
    """What was noted as our own since the release."""
    writes: dict[str, Mapping[str, int]] = {}
    numbers: dict[str, int] = {}
    for entry in journal.records():
        if isinstance(entry, Own):
            if entry.phase == "login_smoke_test":
                writes.update(entry.own_writes)
            for name, count in entry.own_numbers.items():
                numbers[name] = numbers.get(name, 0) + count
    return write_counts.Own(writes, numbers)
