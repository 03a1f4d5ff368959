"""How far a dump and its restore are, told every few seconds by the size of the copy that grows on the server."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Callable, Optional

from ..core.errors import PapError
from ..databases.managed_names import maintenance
from ..databases.psql import Database, bind
from .pipeline import Emit

EVERY_S = 2.0


@contextlib.contextmanager
def told(
    emit: Emit,
    copy: Optional[Database],
    of: int,
    dumped: Callable[[], int] = lambda: 0,
    *,
    every_s: float = EVERY_S,
) -> Iterator[None]:
    """While the block runs, tell bytes ``dumped`` so far and bytes of ``copy``, which will have about ``of`` when it is
    whole. An archive says nothing of how much is still to come; the copy on the server does."""
    over = threading.Event()
    started = time.monotonic()

    def tell() -> None:
        while not over.wait(every_s):
            event = {"event": "copying", "dumped": dumped(), "made": _bytes(copy) if copy else 0, "of": of}
            emit({**event, "seconds": time.monotonic() - started})

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)


def _bytes(copy: Database) -> int:
    """Asked from another database: a session of ours in the copy could be in the way."""
    with contextlib.suppress(PapError):  # the work itself says what is wrong with the server
        return int(maintenance(copy).scalar(bind("SELECT pg_database_size(%s) AS size", copy.conninfo.dbname)) or 0)
    return 0
