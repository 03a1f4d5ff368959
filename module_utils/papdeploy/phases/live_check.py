"""Whether the live database is as it was: measured before and after, and said in one place.

Whatever only looks at production, or works on a copy of it, runs inside :func:`unchanged`. A difference is a failure,
is kept in the state folder, and stays in the status until a person acknowledges it.
"""

from __future__ import annotations

import contextlib
import copy
import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from ..app.stack import Stack
from ..core.clock import now
from ..core.durable import private_folder, write_durably
from ..core.errors import PapError, Refused
from ..core.records import as_object, plain, read_known, whole
from ..core.text import plural
from ..databases import live_state
from ..databases.live_state import LiveChanges, LiveState
from ..databases.session_watch import Seen, SeenOnLive
from ..releases.journal import State
from ..releases.run import Run

_SHOWN = 10


class LiveDatabaseChanged(PapError):
    """The live database is not as it was before work that must not change it, or cannot be measured any more.
    ``data``: ``changes``, ``sessions``."""


@dataclass(frozen=True)
class Acknowledged:
    at: str
    by: str


@dataclass(frozen=True)
class Change:
    """What was found: ``changes`` of the database ``between`` two times, ``sessions`` of our work that were in it, who
    was ``connected``. ``problem``: why it could not be measured. Kept until a person has ``acknowledged`` it."""

    id: str
    doing: str
    between: tuple[str, str]
    database: str
    changes: tuple[str, ...] = ()
    sessions: tuple[Seen, ...] = ()
    connected: tuple[live_state.Others, ...] = ()
    problem: str = ""
    acknowledged: Optional[Acknowledged] = None


@dataclass
class LiveCheck:
    """One measurement: ``sentence`` says what it found, once the work is over."""

    stack: Stack
    doing: str
    before: LiveState
    earlier: SeenOnLive
    sentence: str = ""

    @property
    def sessions(self) -> list[Seen]:
        """Sessions of our work on a copy that were seen on the live database since."""
        return self.stack.seen_on_live.sessions[len(self.earlier.sessions) :]

    def finish(self, error: Optional[PapError]) -> None:
        """Measure again. Raises LiveDatabaseChanged, from ``error`` if the work failed as well, for a difference and
        where it cannot be measured."""
        try:
            with self.stack.database.session() as session:
                after = live_state.take(self.stack.database)
                others = live_state.others(session)
        except PapError as problem:
            raise self._unmeasured(problem, error) from (error or problem)
        found = live_state.changes(self.before, after)
        if found.catalog or self.sessions:
            raise self._changed(found, after, others, error) from error
        seen = self.stack.seen_on_live
        self.sentence = _unchanged(found, seen.started, watched=seen.watches > self.earlier.watches)

    def _changed(
        self, found: LiveChanges, after: LiveState, others: Sequence[live_state.Others], error: Optional[PapError]
    ) -> LiveDatabaseChanged:
        seen = [*found.catalog, *(f"rows were written to {name}." for name in found.written or [])]
        return self._kept(seen, after.at, others, error)

    def _unmeasured(self, problem: PapError, error: Optional[PapError]) -> LiveDatabaseChanged:
        """The live database cannot be looked at any more: what its server says of it is all that is known."""
        try:
            seen = live_state.from_outside(self.stack.database, self.before)
        except PapError:
            seen = []  # for the same reason, which is told
        return self._kept(seen, now(), [], error, problem=problem.message.rstrip("."))

    def _kept(
        self,
        seen: Sequence[str],
        at: str,
        others: Sequence[live_state.Others],
        error: Optional[PapError],
        *,
        problem: str = "",
    ) -> LiveDatabaseChanged:
        """Keep what was seen in the state folder; the error that says it. ``problem``: why it could not be measured."""
        change = Change(
            id=secrets.token_hex(4),
            doing=self.doing,
            between=(self.before.at, at),
            database=self.before.identity.name,
            changes=tuple(seen),
            sessions=tuple(self.sessions),
            connected=tuple(others),
            problem=problem,
        )
        _keep(self.stack.state, change)
        also = f" The work itself failed as well: {error.message}" if error else ""
        return LiveDatabaseChanged(
            f"{_what_happened(change)}. {_by_whom(change)}{also}",
            hint="Find out what it was: a migration or the API with an address of its own, or a person. Undo it, or"
            f" make it a migration. Then: {acknowledge_command(self.stack.name, change.id)}",
            lines=[f"  {text}" for text in seen[:_SHOWN]],
            **{**whole(change), "sessions": plain(change.sessions)},
        )


@contextlib.contextmanager
def unchanged(stack: Stack, doing: str) -> Iterator[LiveCheck]:
    """Measure the live database before and after the block, which is ``doing`` something that must not change it.

    An error of the block gets what was measured as its last words (``data['live']``). Raises LiveDatabaseChanged if
    something is different, whoever did it.
    """
    check = LiveCheck(stack, doing, live_state.take(stack.database), copy.deepcopy(stack.seen_on_live))
    try:
        yield check
    except PapError as error:
        check.finish(error)
        error.data["live"] = f"{check.sentence[:1].upper()}{check.sentence[1:]}."
        error.hint = f"{error.hint} {error.data['live']}".strip()
        raise
    check.finish(None)


def _unchanged(found: LiveChanges, started: Sequence[str], *, watched: bool) -> str:
    if found.written is None:
        rows = "the server's write counters were reset, so written rows cannot be told"
    elif found.written:
        names = ", ".join(found.written[:5]) + _more(len(found.written) - 5)
        rows = f"rows were written to {names} meanwhile, by whom cannot be told"
        if started:
            rows += f": perhaps by what this run started ({'; '.join(started[:3])}{_more(len(started) - 3)})"
    else:
        rows = "no row was written"
    sessions = ", no session of what this run started was seen in it" if watched else ""
    return f"live database, before and after: the same schema{sessions}; {rows}"


def _what_happened(change: Change) -> str:
    changes = [text.rstrip(".") for text in change.changes]
    times = f"during {change.doing}, between {change.between[0]} and {change.between[1]}"
    listed = "; ".join(changes[:3]) + _more(len(changes) - 3)
    if change.problem:
        known = f"; known is: {listed}" if changes else ""
        return (
            f"The live database {change.database} cannot be measured any more ({change.problem}), so it is not"
            f" known what changed {times}{known}"
        )
    if not changes:
        return f"Work of this run was on the live database {change.database} {times}; no change of its schema was seen"
    return f"The live database {change.database} changed {times}: {listed}"


def _by_whom(change: Change) -> str:
    if change.sessions:
        named = "; ".join(f"{each.what}: {each}" for each in change.sessions[:3])
        return f"Sessions of processes that this run started were in it, and were ended: {named}."
    others = ", ".join(
        f"{other.application or 'unnamed'} of {other.role}" + (f" from {other.address}" if other.address else "")
        for other in change.connected[:4]
    )
    now_there = f" Connected now: {others}." if others else ""
    return f"By whom cannot be told: no session of a process that this run started was seen in it.{now_there}"


def _more(number: int) -> str:
    return f", and {number} more" if number > 0 else ""


# -- what was found is kept until a person has dealt with it ---------------------------------------------------------


def acknowledge_command(stack: str, identity: str) -> str:
    return f"ansible-playbook status.yml -l {stack} -e status_acknowledge={identity}"


def _folder(state: State) -> Path:
    return state.folder / "live-changes"


def _keep(state: State, change: Change) -> None:
    private_folder(state.folder)
    path = private_folder(_folder(state)) / f"{change.id}.json"
    write_durably(path, json.dumps(as_object(change), ensure_ascii=False, default=str).encode())


def open_changes(state: State) -> list[Change]:
    """What was measured and is not acknowledged yet, oldest first."""
    folder = _folder(state)
    found = [_read(path) for path in folder.glob("*.json")] if folder.is_dir() else []
    return sorted((change for change in found if not change.acknowledged), key=lambda change: change.between[1])


def _read(path: Path) -> Change:
    return read_known(Change, json.loads(path.read_text(encoding="utf-8")), path.name)


def described(change: Change) -> str:
    """A change that was measured, in one sentence."""
    return f"{_what_happened(change)} ({change.id})"


def acknowledge(state: State, identity: str, who: Run) -> str:
    """Note that a person has dealt with a change. Raises Refused if there is none with that id."""
    found = {change.id: change for change in open_changes(state)}
    if identity not in found:
        listed = plural(len(found), "change") + (f": {', '.join(found)}" if found else "")
        raise Refused(
            f"There is no open change of the live database with the id {identity!r}.", hint=f"Open is {listed}."
        )
    change = found[identity]
    _keep(state, replace(change, acknowledged=Acknowledged(now(), who.person)))
    return f"acknowledged: the change of the live database during {change.doing} ({identity})"
