"""The SQL of a revision without a database: as ``alembic upgrade --sql`` writes it, with the lines that send it."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..files import MigrationFile


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


def sql_of(migration: MigrationFile, function: str) -> tuple[list[tuple[str, int]], str]:
    """Statements with their lines, and why they may not be all: empty where the revision reads nothing."""
    from alembic.operations import Operations
    from alembic.runtime.environment import EnvironmentContext

    assert migration.revision is not None
    revision = migration.revision
    home = revision.home
    called = getattr(revision.script.module, function, None)
    if called is None:
        return [], f"there is no {function}()"
    buffer, why = _Buffer(migration.path), ""
    with home.entered(), _quiet(), EnvironmentContext(home.config, home.script, as_sql=True) as environment:
        named = {**home.learned.options, "on_version_apply": None}
        environment.configure(dialect_name="postgresql", literal_binds=True, output_buffer=buffer, **named)
        context: Any = environment.get_context()
        context.autocommit_block = contextlib.nullcontext
        try:
            with Operations.context(context):
                called(**home.learned.arguments)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it reads, perhaps, which nothing answers offline
            told = (str(error).strip().splitlines() or [""])[0]
            why = f"Alembic cannot write the rest without a database ({type(error).__name__}: {told})"
    return buffer.sent, why


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    from ...core.errors import Refused
    from ..run.connection_guard import no_second_connection

    refusal = Refused("it opens a connection of its own")
    with no_second_connection(lambda _: refusal), contextlib.redirect_stdout(sys.stderr):
        yield
