"""Did the release lose data of the live database? Measured from the end of the fence until the release has finished.

The baseline is taken behind the fence, just before it comes down: nothing is written then, and what the migrations did
is in it. What is missing later was deleted afterwards: by the API that was started, or its users.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Optional, TypeVar

from ..app.stack import Stack
from ..core import text
from ..core.durable import write_durably
from ..core.errors import CommandFailed, PapError, Unavailable
from ..core.records import as_object, plain, read_known
from ..databases import definitions, loss_rules, relation_baseline, relation_losses, write_snapshot
from ..databases.definitions import Definitions
from ..databases.live_state import LEDGER_SCHEMA
from ..databases.psql import Session
from ..databases.relation_baseline import Baseline
from ..databases.relation_losses import Comparison
from ..databases.write_snapshot import OpenWork
from ..releases.journal import Journal
from ..releases.records import Failed, Unfence
from ..rollback import Facts

R = TypeVar("R")
DEFINED = "definitions.json"
# An idle session hands its counters over after ten seconds.
_PATIENCE_S = 12.0


class DataLost(PapError):
    """Tables of the live database are gone, were made anew or emptied, or rows are missing that nothing explains."""


def keep(journal: Journal, session: Session) -> None:
    """Keep the baseline of this moment with the release; ``session`` is behind the fence (or, online, before the
    switch)."""
    baseline = relation_baseline.take_briefly(session, ignore_schemas=(LEDGER_SCHEMA,))
    write_durably(journal.folder / relation_baseline.FILE, json.dumps(as_object(baseline)).encode())


def keep_definitions(journal: Journal, stack: Stack) -> None:
    """Keep what the database is once the API of the release has started: later definitions are not the release's. Not
    before: users would wait for it, and an API may create what it misses."""
    with contextlib.suppress(PapError):  # a rollback then says that it does not know
        noted = definitions.note(stack.database)
        write_durably(journal.folder / DEFINED, json.dumps(as_object(noted)).encode("utf-8", "surrogatepass"))


def kept(journal: Journal) -> Optional[Baseline]:
    """The baseline of a release; None if it never came so far, or an older version of this program deployed it."""
    return _kept(journal, relation_baseline.FILE, Baseline)


def kept_definitions(journal: Journal) -> Optional[Definitions]:
    """The definitions of a release; None likewise."""
    return _kept(journal, DEFINED, Definitions)


def _kept(journal: Journal, name: str, record: type[R]) -> Optional[R]:
    with contextlib.suppress(FileNotFoundError):
        content = (journal.folder / name).read_bytes().decode("utf-8", "surrogatepass")
        return read_known(record, json.loads(content), name)
    return None


@contextlib.contextmanager
def after(stack: Stack, journal: Journal, when: str) -> Iterator[None]:
    """Check when the block has ended, and also when it fails: an API that has emptied its database fails in many ways,
    and this is the one to hear of."""
    try:
        yield
    except PapError:
        with contextlib.suppress(CommandFailed, Unavailable):  # then the first error is the one to hear of
            check(stack, journal, when)
        raise
    check(stack, journal, when)


def check(stack: Stack, journal: Journal, when: str, *, final: bool = False) -> list[str]:
    """Hold the live database against the baseline. Raises DataLost for what nothing explains; returns what else was
    lost, as lines. ``final``: wait until the server's counters explain what they can."""
    baseline = kept(journal)
    if baseline is None:
        return []
    with journal.checkpoint("data_check", when=when) as done:
        found, unfinished = _compared(stack, baseline, final)
        done.update(losses=plain(found.losses), written=plain(found.written), tables=found.tables)
        done.update(final=final, unmeasured=[work.name for work in unfinished])
        lost = loss_rules.intolerable(found.losses, baseline, stack.may_delete, _stage(stack, journal, when))
        if lost and stack.environment != "development":  # where an application may reset its database
            raise DataLost(
                f"The release lost data of {stack.label}, {when}: {loss_rules.listed(lost)}.",
                hint="It is to be restored. What a service must delete by itself is declared in pap_api_may_delete.",
                lost=plain(lost),
                lines=[loss.sentence() for loss in lost],
            )
    open_ended = [f"not known: what becomes of {_described(work)}; the watch looks again" for work in unfinished]
    return [f"{when}, and no reason to go back: {loss.sentence()}" for loss in found.losses] + open_ended


def _compared(stack: Stack, baseline: Baseline, final: bool) -> tuple[Comparison, list[OpenWork]]:
    """What was lost, and (``final``) the tables of which a transaction that is still open may take more: no other
    session can read them, or it has written to them since before the first look. What later ones write shows at the
    next."""
    limit = time.monotonic() + (_PATIENCE_S if final else 0.0)
    first: Optional[set[tuple[Optional[int], Optional[str]]]] = None
    while True:
        found_open = stack.database.records(OpenWork, write_snapshot.OPEN_WORK) if final else []
        first = {(work.pid, work.began) for work in found_open} if first is None else first
        unfinished = [work for work in found_open if work.locked or (work.pid, work.began) in first]
        found = relation_losses.compare(stack.database, baseline, ignore_schemas=(LEDGER_SCHEMA,))
        if not (found.unexplained or unfinished) or time.monotonic() >= limit:
            return found, unfinished
        time.sleep(0.5)


def _described(work: OpenWork) -> str:
    if work.pid is None:
        return f"{work.name}, on which a prepared transaction has worked that is neither committed nor rolled back"
    who = f"{work.application or 'a session'} (process {work.pid}, role {work.user})"
    what = "holds locked" if work.locked else "has written to"
    return f"{work.name}, which {who} {what} in a transaction open for {text.seconds(work.seconds or 0)}"


def _stage(stack: Stack, journal: Journal, when: str) -> str:
    """Until the new API is healthy, users cannot have deleted anything: unless another container of it serves them
    already, or, without a fence, the API of before has."""
    lifted = (journal.newest(Unfence) or Unfence()).lifted
    alone = len(getattr(stack.api, "names", ("one",))) == 1
    return loss_rules.START if when == AT_START and lifted and alone else loss_rules.TRAFFIC


AT_START = "when it started"
AT_LOGIN = "in the login smoke test"
AT_END = "before it finished"


def noted_in(facts: Facts, journal: Journal, stack: Stack) -> Facts:
    """``facts`` with what a rollback needs to know of it."""
    reverted = journal.has("rollback.downgrade", "begin")  # what a downgrade takes away, the release did not lose
    failed = [entry for entry in journal.records() if isinstance(entry, Failed) and entry.phase == "data_check"]
    return replace(
        facts,
        data=None if reverted else kept(journal),
        definitions=None if reverted else kept_definitions(journal),
        noted=failed[-1].data.lost if failed else (),
        may_delete=tuple(stack.may_delete) if stack.environment != "development" else None,
        # Within the deploy itself no person can be asked, and what was written since stays readable in quarantine.
        deploying=not journal.has("release", "finished"),
    )
