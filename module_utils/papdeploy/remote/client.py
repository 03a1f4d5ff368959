"""Run papdeploy beside the models: with the API's own Python, SQLAlchemy and driver, with nothing installed there.

The caller sends this package as a zip over standard input, then one request. Results come back as JSON lines on a
copy of standard output that the app never sees: whatever the app prints (some print their database URL, password
included) lands on standard error. The agent ends when its caller dies (end of standard input) or at its deadline.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from ..core.errors import DeadlineExceeded, PapError, Unavailable, from_dict
from ..core.records import read_known
from ..core.redact import Redactor
from ..sites.host import Process, Site
from . import archive
from .server import EXIT_DEADLINE, Request

Emit = Callable[[dict[str, Any]], None]

BOOTSTRAP = """\
import os, struct, sys, tempfile
size = struct.unpack(">Q", sys.stdin.buffer.read(8))[0]
folder = tempfile.mkdtemp(prefix="papdeploy-")
archive = os.path.join(folder, "papdeploy.zip")
with open(archive, "wb") as file:
    file.write(sys.stdin.buffer.read(size))
sys.path.insert(0, archive)
from papdeploy.remote.server import serve
serve(folder)
"""

# Where the site sees this very package: nothing is sent, and Python finds it compiled.
BOOTSTRAP_HERE = """\
import sys
sys.path.insert(0, sys.argv[1])
from papdeploy.remote.server import serve
serve("")
"""


@dataclass(frozen=True)
class _Message:
    """What the agent says: a ``result``, secrets (``values``) to be masked, an error, or an event of a call."""

    event: str
    result: dict[str, Any] = field(default_factory=dict)
    values: tuple[str, ...] = ()


class Agent:
    """A process beside the models that answers calls one after another. Started at the first call, ended by close()."""

    def __init__(
        self,
        site: Site,
        python: str,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        redactor: Optional[Redactor] = None,
    ) -> None:
        self._site, self._python, self._cwd, self._env = site, python, cwd, env
        self._redactor = redactor or Redactor()
        self._process: Optional[Process] = None

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the process and hand it the package, without waiting until it is ready."""
        if self._process is None:
            here = archive.package_folder() if self._site.sees_this_host else ""
            argv = [self._python, "-u", "-c", BOOTSTRAP_HERE if here else BOOTSTRAP, *filter(None, [here])]
            self._process = self._site.popen(argv, env=self._env, cwd=self._cwd, stdin=True)
            if not here:
                self._send(archive.travels())

    def close(self) -> None:
        """End the process; work in progress is given up and its transaction rolled back."""
        if self._process is not None:
            if self._process.stdin:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()
            with contextlib.suppress(DeadlineExceeded):
                self._process.wait(2)  # it clears up after itself when its input ends
            self._process.kill()
            self._process = None

    def call(
        self, name: str, request: Mapping[str, Any], *, deadline_s: float = 600.0, on_event: Optional[Emit] = None
    ) -> dict[str, Any]:
        """Run the call ``name`` (see :mod:`.handlers`) and return its result.

        ``deadline_s`` (seconds) ends the work inside; ``on_event`` gets its progress. Raises the PapError that was
        raised there, RemoteError for anything else, Unavailable if the agent did not start or died, DeadlineExceeded.
        """
        self.start()
        self._send(json.dumps(vars(Request(name, dict(request), deadline_s))).encode())
        process = self._process
        assert process is not None
        killer = threading.Timer(deadline_s + 15, process.kill)  # where the end of the process inside is not seen
        killer.daemon = True
        killer.start()
        try:
            for raw in iter(process.stdout.readline, b""):
                message = json.loads(raw)
                told = read_known(_Message, message)
                if told.event == "result":
                    return told.result
                if told.event == "error":
                    raise from_dict(message)
                if told.event == "secrets":
                    self._redactor.learn(told.values)
                    continue
                if on_event:
                    on_event(message)
        finally:
            killer.cancel()
        raise self._died(process, name, deadline_s)

    def _send(self, data: bytes) -> None:
        assert self._process is not None and self._process.stdin is not None
        # It may be dead already: then the missing answer says so, with what it printed.
        with contextlib.suppress(OSError):
            self._process.stdin.write(len(data).to_bytes(8, "big") + data)
            self._process.stdin.flush()

    def _died(self, process: Process, name: str, deadline_s: float) -> PapError:
        try:
            code = process.wait(20)
        except DeadlineExceeded:
            code = EXIT_DEADLINE
        said = self._redactor.text(process.errors()).strip()
        self.close()
        if code in (EXIT_DEADLINE, -9, 137):
            return DeadlineExceeded(
                f"{name} on {self._site.label} did not end within {deadline_s:g} s and was stopped.",
                hint="Its database session is ended; nothing of it was committed unless the ledger says so.",
                seconds=deadline_s,
            )
        return Unavailable(
            f"{self._python} on {self._site.label} ended with exit code {code} before it gave a result:"
            f" {said.splitlines()[-1] if said else 'it said nothing'}",
            hint="Check the path of Python, and that it can write to a temporary folder.",
            stderr=said[-4000:],
        )
