"""Inside the site, in the Python of the app: answer the calls that come over standard input."""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ..core import processes
from ..core.errors import PapError, RemoteError
from ..core.records import read
from ..core.redact import Redactor
from ..environment import env_file
from . import handlers

EXIT_DEADLINE = 124
_EXIT_CALLER_GONE = 125


@dataclass(frozen=True)
class Request:
    """A call by its name, what it is told, and when it is given up (seconds)."""

    call: str
    request: dict[str, Any]
    deadline_s: float


def serve(folder: str) -> None:
    """Inside the site: answer requests until the caller closes standard input. Never returns."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # from here on, whatever the app prints is diagnostics
    processes.adopt_orphans()  # what a migration starts stays below it, however it is started
    inherited = dict(os.environ)
    requests: queue.Queue[Request] = queue.Queue()

    def end(code: int) -> None:
        sys.stderr.flush()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(code)

    def read_requests() -> None:
        while len(head := sys.stdin.buffer.read(8)) == 8:
            requests.put(read(Request, json.loads(sys.stdin.buffer.read(int.from_bytes(head, "big")))))
        end(_EXIT_CALLER_GONE)

    threading.Thread(target=read_requests, daemon=True).start()
    while True:
        request = requests.get()
        clock = threading.Timer(request.deadline_s, end, [EXIT_DEADLINE])
        clock.daemon = True
        clock.start()
        _answer(request, channel, inherited)
        clock.cancel()


def _answer(request: Request, channel: TextIO, inherited: Mapping[str, str]) -> None:
    """Answer one request. A result is data, which is compared and executed: it goes as it is; an error is masked. The
    app's own secrets go along (what it has loaded into its environment may be known only there), so that the caller
    masks them where text leaves."""
    redactor, seen = Redactor(), dict[str, str]()

    def send(message: object) -> None:
        channel.write(json.dumps(message, default=str) + "\n")
        channel.flush()

    def learn() -> None:
        if dict(os.environ) != seen:
            seen.update(os.environ)
            redactor.learn_environment(seen, inherited=inherited)
            for variables in env_file.read_above(Path.cwd()):
                redactor.learn_environment(variables)
            send({"event": "secrets", "values": redactor.secrets})

    def emit(message: object) -> None:
        learn()
        send(message)

    try:
        result = handlers.resolve(request.call)(request.request, emit)
        emit({"event": "result", "result": result})
    except PapError as error:
        learn()
        send({"event": "error", **redactor.record(error.as_dict())})
    except BaseException as error:  # noqa: BLE001 - also SystemExit of an app: the caller must hear of it
        learn()
        text = redactor.text("".join(traceback.format_exception(type(error), error, error.__traceback__)))
        wrapped = RemoteError(redactor.text(f"{type(error).__name__}: {error}"), traceback=text[-8000:])
        send({"event": "error", **wrapped.as_dict()})
