"""Run papdeploy beside the models: with the API's own Python, SQLAlchemy and driver, with nothing installed there.

The caller sends this package as a zip over standard input, then one request. Results come back as JSON lines on a
copy of standard output that the app never sees: whatever the app prints (some print their database URL, password
included) lands on standard error. The agent ends when its caller dies (end of standard input) or at its deadline.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import shutil
import sys
import threading
import traceback
import zipfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Callable, Optional, TextIO

from ..core.errors import DeadlineExceeded, PapError, RemoteError, Unavailable, from_dict
from ..core.redact import Redactor
from ..environment import secret_sources
from ..sites.host import Process, Site

Emit = Callable[[dict[str, Any]], None]

BOOTSTRAP = """\
import os, struct, sys, tempfile
size = struct.unpack(">Q", sys.stdin.buffer.read(8))[0]
folder = tempfile.mkdtemp(prefix="papdeploy-")
archive = os.path.join(folder, "papdeploy.zip")
with open(archive, "wb") as file:
    file.write(sys.stdin.buffer.read(size))
sys.path.insert(0, archive)
from papdeploy.remote.client import serve
serve(folder)
"""

# Where the site sees this very package: nothing is sent, and Python finds it compiled.
BOOTSTRAP_HERE = """\
import sys
sys.path.insert(0, sys.argv[1])
from papdeploy.remote.client import serve
serve("")
"""

_PACKAGE = __package__.rpartition(".")[0]
_EXIT_DEADLINE = 124
_EXIT_CALLER_GONE = 125


def payload() -> bytes:
    """This package as a zip; works from a checkout, an installed package and the zip that Ansible makes of it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, resources.files(_PACKAGE), "papdeploy")
    return buffer.getvalue()


def package_folder() -> str:
    """The folder that holds this package as plain files; empty if it is inside an archive."""
    folder = Path(__file__).resolve().parents[2]
    return str(folder) if _PACKAGE == "papdeploy" and folder.is_dir() else ""


def _add(archive: zipfile.ZipFile, folder: Any, prefix: str) -> None:
    for entry in sorted(folder.iterdir(), key=lambda item: str(item.name)):
        if entry.is_dir():
            if entry.name != "__pycache__":
                _add(archive, entry, f"{prefix}/{entry.name}")
        elif entry.name.endswith((".py", ".sql")):
            archive.writestr(f"{prefix}/{entry.name}", entry.read_bytes())


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
            here = package_folder() if self._site.sees_this_host else ""
            argv = [self._python, "-u", "-c", BOOTSTRAP_HERE if here else BOOTSTRAP, *filter(None, [here])]
            self._process = self._site.popen(argv, env=self._env, cwd=self._cwd, stdin=True)
            if not here:
                self._send(payload())

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
        """Run the call ``name`` (see ``agent_calls``) and return its result.

        ``deadline_s`` (seconds) ends the work inside; ``on_event`` gets its progress. Raises the PapError that was
        raised there, RemoteError for anything else, Unavailable if the agent did not start or died, DeadlineExceeded.
        """
        self.start()
        body = {"call": name, "request": dict(request), "deadline_s": deadline_s}
        self._send(json.dumps(body).encode())
        process = self._process
        assert process is not None
        killer = threading.Timer(deadline_s + 15, process.kill)  # where the end of the process inside is not seen
        killer.daemon = True
        killer.start()
        try:
            for raw in iter(process.stdout.readline, b""):
                message = json.loads(raw)
                if message["event"] == "result":
                    result: dict[str, Any] = message["result"]
                    return result
                if message["event"] == "error":
                    raise from_dict(message)
                if message["event"] == "secrets":
                    self._redactor.learn(message["values"])
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
            code = _EXIT_DEADLINE
        said = self._redactor.text(process.errors()).strip()
        self.close()
        if code in (_EXIT_DEADLINE, -9, 137):
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


def serve(folder: str) -> None:
    """Inside the site: answer requests until the caller closes standard input. Never returns."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # from here on, whatever the app prints is diagnostics
    inherited = dict(os.environ)
    requests: queue.Queue[dict[str, Any]] = queue.Queue()

    def end(code: int) -> None:
        sys.stderr.flush()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(code)

    def read_requests() -> None:
        while len(head := sys.stdin.buffer.read(8)) == 8:
            requests.put(json.loads(sys.stdin.buffer.read(int.from_bytes(head, "big"))))
        end(_EXIT_CALLER_GONE)

    threading.Thread(target=read_requests, daemon=True).start()
    while True:
        request = requests.get()
        clock = threading.Timer(request["deadline_s"], end, [_EXIT_DEADLINE])
        clock.daemon = True
        clock.start()
        _answer(request, channel, inherited)
        clock.cancel()


def _answer(request: Mapping[str, Any], channel: TextIO, inherited: Mapping[str, str]) -> None:
    """Answer one request. A result is data, which is compared and executed: it goes as it is; an error is masked. The
    app's own secrets go along (what it has loaded into its environment may be known to nobody else), so that the caller
    masks them where text leaves."""
    redactor, seen = Redactor(), dict[str, str]()

    def send(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message, default=str) + "\n")
        channel.flush()

    def learn() -> None:
        if dict(os.environ) != seen:
            seen.update(os.environ)
            redactor.learn_environment(seen, inherited=inherited)
            secret_sources.teach_environments(redactor, {"folders": [str(Path.cwd())]})
            send({"event": "secrets", "values": redactor.secrets})

    def emit(message: dict[str, Any]) -> None:
        learn()
        send(message)

    try:
        from . import handlers

        result = handlers.resolve(request["call"])(request["request"], emit)
        emit({"event": "result", "result": result})
    except PapError as error:
        learn()
        send({"event": "error", **redactor.record(error.as_dict())})
    except BaseException as error:  # noqa: BLE001 - also SystemExit of an app: the caller must hear of it
        learn()
        text = redactor.text("".join(traceback.format_exception(type(error), error, error.__traceback__)))
        wrapped = RemoteError(redactor.text(f"{type(error).__name__}: {error}"), traceback=text[-8000:])
        send({"event": "error", **wrapped.as_dict()})
