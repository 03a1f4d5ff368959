"""What our smoke-test logins wrote: noted with the release whose rollback would else count it as a loss.

Rows are known by their transactions. The numbers of a sequence belong to none: as many as the rehearsal saw the same
work take are ours, where no more were taken meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Callable, Optional

from ..core.errors import PapError
from ..databases import other_losses, smoke_test_writes, write_counts, write_snapshot
from ..databases.other_losses import Positions
from ..databases.psql import Database
from .journal import Journal, State
from .records import Own, Rehearsed

# A login that is answered with an error is tried once more, and what it rolls back has taken its numbers all the same.
_TRIES = 2


@contextlib.contextmanager
def found(
    database: Database, journal: Journal, note: Callable[[write_counts.Own], None], *, login_only: bool = False
) -> Iterator[None]:
    """``note`` what the block's smoke test wrote, also if it fails: a rollback then knows it. ``login_only``: the block
    does no more than log in and read, which is the first that the smoke test does."""
    expected = (journal.newest(Rehearsed) or Rehearsed()).own_writes[: 1 if login_only else None]
    mark: Optional[write_snapshot.Moment] = None
    before: Positions = {}
    with contextlib.suppress(PapError), database.session() as session:  # the smoke test will say what is wrong
        mark, before = write_snapshot.moment(session), other_losses.positions(session)
    try:
        yield
    finally:
        writes: Mapping[str, Mapping[str, int]] = {}
        with contextlib.suppress(PapError):  # not known: then a rollback counts them as anybody's rows
            writes = smoke_test_writes.certainly(database, mark, expected) if mark else {}
        note(write_counts.Own(writes, _numbers(database, journal, "login", before)))


@contextlib.contextmanager
def noted(database: Database, state: State) -> Iterator[None]:
    """Note the transactions of the block's smoke test with the release in force, whose rollback must not count them."""
    journal = state.last_finished()
    if journal is None:
        yield
        return
    with found(database, journal, lambda own: _append(journal, own)):
        yield


@contextlib.contextmanager
def watched(database: Database, journal: Journal, *, logs_out: bool = False) -> Iterator[None]:
    """The same for a login of the watch over the release of ``journal``; nothing where nothing was rehearsed.
    ``logs_out``: it ends its session too."""
    if not (journal.newest(Rehearsed) or Rehearsed()).own_writes:
        yield
        return
    with found(database, journal, lambda own: _append(journal, own), login_only=not logs_out):
        yield


def _append(journal: Journal, own: write_counts.Own) -> None:
    if own.writes or own.numbers:
        journal.append("login_smoke_test", "note", own_writes=own.writes, own_numbers=own.numbers)


def started(database: Database, journal: Journal, before: Positions) -> dict[str, int]:
    """The numbers that the API took by its start; ``before`` are the positions of before it."""
    return _numbers(database, journal, "start", before)


def _numbers(database: Database, journal: Journal, when: str, before: Positions) -> dict[str, int]:
    wrote = (journal.newest(Rehearsed) or Rehearsed()).candidate.wrote
    expected = wrote.numbers.get(when, {}) if wrote else {}
    if not expected or not before:
        return {}
    try:
        with database.session() as session:
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
