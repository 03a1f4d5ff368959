"""The process that holds the lock on the server from the beginning of a release to its end, between its modules too.

It ends when ``lock.json`` names another lock, or when the run that holds it is proven gone. A file that was removed by
hand it puts back: who gives a lock back ends its keeper first. It works on nothing: should it be killed, the next
module, or the one at work, starts another one.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Optional, TextIO

from ..core.errors import PapError, Refused, Unavailable, from_dict
from ..core.processes import Process
from ..core.records import plain
from ..core.records import read as read_record
from ..databases.managed_names import outside
from ..databases.psql import Database
from ..remote.archive import package_folder
from .holder import Holder, alive, put_back, read
from .server_lock import HELD, ServerLock

_LOOK_S = 1.0
_ASK_S = 3.0
_UNRECORDED_S = 20.0  # how long the module that started it may take to note it in the lock
_MAIN = "import sys; sys.path.insert(0, sys.argv[1]); from papdeploy.releases.keeper import main; main()"


def start(database: Database, folder: Path, token: str, name: str) -> Process:
    """Start a keeper for the lock ``token`` in ``folder``; returns once it holds the lock, with a session called
    ``name``. Raises Refused if another stack has it, or whatever kept it from connecting."""
    given = pickle.dumps((database, str(folder), token, name))
    with subprocess.Popen(
        [sys.executable, "-c", _MAIN, package_folder()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        start_new_session=True,
    ) as process:
        said, errors = process.communicate(given, timeout=60)
    try:
        answer = json.loads(said)
    except ValueError:
        last = errors.decode("utf-8", "replace").strip().splitlines()
        raise Unavailable(
            f"The process that holds the lock on the server did not start: {last[-1] if last else 'it said nothing'}.",
        ) from None
    if "error" in answer:
        raise from_dict(answer)
    return read_record(Process, answer)


def main() -> None:
    """Inside that process. Says on standard output what it is, or what is wrong, once it knows."""
    database, folder, token, name = pickle.load(sys.stdin.buffer)  # from start(), over a pipe of ours
    if os.fork():
        os._exit(0)
    answer = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    Keeper(database, Path(folder), token, name, answer).run()


class Keeper:
    """Holds one lock; ``answer`` is where the caller reads."""

    def __init__(self, database: Database, folder: Path, token: str, name: str, answer: TextIO) -> None:
        self._database, self._folder, self._token, self._name = database, folder, token, name
        self._answer: Optional[TextIO] = answer
        self._me = Process.of(os.getpid())
        self._began = time.monotonic()
        self._held: Optional[Holder] = None

    def run(self) -> None:
        """Hold the lock until it is not wanted any more; over a restart of the server, too."""
        while True:
            try:
                self._hold()
                return
            except PapError as error:
                first = self._answer is not None
                self._tell(error.as_dict())
                if first or isinstance(error, Refused) or not self._is_wanted():
                    return
            time.sleep(_LOOK_S)

    def _hold(self) -> None:
        """Until it is not wanted any more. Raises Unavailable when the session has ended before."""
        named = replace(self._database, conninfo=replace(self._database.conninfo, application_name=self._name))
        with outside(named) as session:
            session.execute("SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'")
            ServerLock(self._database).acquire(session, self._name)
            self._tell(self._me)
            asked = time.monotonic()
            while self._is_wanted():
                time.sleep(_LOOK_S)
                if time.monotonic() - asked > _ASK_S:  # psql does not notice by itself that its session was ended
                    asked = time.monotonic()
                    if not session.scalar(f"SELECT {HELD} AS held"):
                        raise Unavailable("The session does not hold the lock any more.")

    def _is_wanted(self) -> bool:
        """Whether the lock is still that of this keeper, and its run not proven gone."""
        try:
            held = read(self._folder)
        except (PapError, OSError):
            return False
        if held is None and self._held and alive(self._held):
            held = self._put_back(self._held)
        if held is None or held.token != self._token:
            return False
        self._held = held
        recorded = held.keeper == self._me or time.monotonic() - self._began < _UNRECORDED_S
        return recorded and bool(alive(held))

    def _put_back(self, held: Holder) -> Optional[Holder]:
        """The lock as it is then: what was removed by hand, or that of who has come since."""
        with contextlib.suppress(PapError, OSError):  # the folder is gone as well
            put_back(self._folder, held)
            return read(self._folder)
        return None

    def _tell(self, body: object) -> None:
        """Answer the caller, who reads one answer."""
        if self._answer is not None:
            with contextlib.suppress(OSError), self._answer as answer:
                json.dump(plain(body), answer)
            self._answer = None
