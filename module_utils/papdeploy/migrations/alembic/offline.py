"""The SQL of revisions without a database: as ``alembic upgrade --sql`` writes it, with the lines that send it.

Their functions are run for it, and may do more than send SQL: so they run in a child that reaches nothing and changes
no file, all that are wanted in one, and what they sent is kept.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...core import alone, confined
from ...core.errors import DeadlineExceeded, Refused, Unavailable
from ...core.records import as_object
from ...core.records import read as read_record
from ...core.redact import Redactor
from ..run import way_out
from ..run.connection_guard import no_silent_end
from .home import Home, Sent

if TYPE_CHECKING:
    from ..files import MigrationFile

_EACH_S, _ALL_S, _MORE_S = 10.0, 60.0, 10.0


@dataclass(frozen=True)
class _Answer:
    sent: tuple[Sent, ...]


class _TooLong(BaseException):
    """Not for the revision to catch."""


class _Buffer(io.StringIO):
    """Keeps each statement with the line of ``path`` that sends it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self.sent: list[tuple[str, int]] = []

    def write(self, text: str) -> int:
        statement = text.strip().rstrip(";").strip()
        if statement:
            self.sent.append((statement, self._line()))
        return len(text)

    def _line(self) -> int:
        frame = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename == self._path:
                return frame.f_lineno
            frame = frame.f_back  # type: ignore[assignment]
        return 1


def read(migrations: Sequence[MigrationFile], function: str) -> None:
    """Run ``function`` of each revision that is not kept yet, all in one child, and keep what it sends."""
    homes = [(each, each.revision.home) for each in migrations if each.revision is not None]
    wanted = [(each, home) for each, home in homes if (each.identity, function) not in home.sent]
    if not wanted:
        return

    def work() -> Any:
        end = time.monotonic() + _ALL_S
        with way_out.none_at_all(files=False) as tried:
            return as_object(_Answer(tuple(_sent(each, home, function, end, tried) for each, home in wanted)))

    try:
        found = read_record(_Answer, alone.run(work, _ALL_S + _MORE_S, refused=confined.EVERYTHING)).sent
    except alone.CannotConfine:
        found = (Sent(why="not read: cannot be confined here"),) * len(wanted)
    except (DeadlineExceeded, Unavailable) as error:
        found = (Sent(why=f"not read: {error.message}"),) * len(wanted)
    for (each, home), sent in zip(wanted, found):
        home.sent[each.identity, function] = sent


def sent_by(migration: MigrationFile, function: str) -> Sent:
    """What ``function`` of a revision sends."""
    assert migration.revision is not None
    read([migration], function)
    return migration.revision.home.sent[migration.identity, function]


def _sent(migration: MigrationFile, home: Home, function: str, end: float, tried: list[str]) -> Sent:
    from alembic.operations import Operations
    from alembic.runtime.environment import EnvironmentContext

    assert migration.revision is not None
    seconds = min(_EACH_S, end - time.monotonic())
    if seconds <= 0:
        return Sent(why=f"not read: the revisions before it took {_ALL_S:g} s")
    called = getattr(migration.revision.script.module, function, None)
    if called is None:
        return Sent(why=f"there is no {function}()")
    buffer, why = _Buffer(migration.path), ""
    with home.entered(), EnvironmentContext(home.config, home.script, as_sql=True) as environment:
        named = {**home.learned.options, "on_version_apply": None}
        environment.configure(dialect_name="postgresql", literal_binds=True, output_buffer=buffer, **named)
        context: Any = environment.get_context()
        context.autocommit_block = contextlib.nullcontext
        tried.clear()
        try:
            with _limited(seconds), no_silent_end(Refused), Operations.context(context):
                called(**home.learned.arguments)
        except _TooLong:
            why = f"it did not end within {seconds:.3g} s without a database"
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it reads, perhaps, which nothing answers offline
            told = Redactor(environment=os.environ).text((str(error).strip().splitlines() or [""])[0])
            why = f"Alembic cannot write the rest without a database ({type(error).__name__}: {told})"
    if tried:
        why = f"it {tried[0]}, which is not done to read its SQL"
    texts, lines = zip(*buffer.sent) if buffer.sent else ((), ())
    return Sent(texts, lines, why)


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """End what runs here after so many seconds. Only in a process of its own."""

    def end(*_: Any) -> None:
        raise _TooLong

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
