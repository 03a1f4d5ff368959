"""Run papdeploy beside the models: with the API's own Python, SQLAlchemy and driver, with nothing installed there.

The caller sends this package as a zip over standard input, then one request. Results come back as JSON lines on a
copy of standard output that the app never sees: whatever the app prints (some print their database URL, password
included) lands on standard error. The agent ends when its caller dies (end of standard input) or at its deadline.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import threading
import traceback
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, Callable, Optional

from .errors import DeadlineExceeded, PapError, RemoteError, Unavailable, from_dict
from .redact import redact, redact_data
from .sites import Site

Emit = Callable[[dict[str, Any]], None]

BOOTSTRAP = """\
import os, struct, sys, tempfile
def take():
    size = struct.unpack(">Q", sys.stdin.buffer.read(8))[0]
    return sys.stdin.buffer.read(size)
folder = tempfile.mkdtemp(prefix="papdeploy-")
archive = os.path.join(folder, "papdeploy.zip")
with open(archive, "wb") as file:
    file.write(take())
sys.path.insert(0, archive)
from papdeploy.agent import serve
serve(folder, take())
"""


def payload() -> bytes:
    """This package as a zip; works from a checkout, an installed package and the zip that Ansible makes of it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, resources.files(__package__), "papdeploy")
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, folder: Any, prefix: str) -> None:
    for entry in sorted(folder.iterdir(), key=lambda item: str(item.name)):
        if entry.is_dir():
            if entry.name != "__pycache__":
                _add(archive, entry, f"{prefix}/{entry.name}")
        elif entry.name.endswith((".py", ".sql")):
            archive.writestr(f"{prefix}/{entry.name}", entry.read_bytes())


def call(
    site: Site,
    python: str,
    name: str,
    request: Mapping[str, Any],
    *,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    deadline_s: float = 600.0,
    on_event: Optional[Emit] = None,
    secrets: Sequence[str] = (),
) -> dict[str, Any]:
    """Run the call ``name`` (see ``agent_calls``) at ``site`` and return its result.

    ``deadline_s`` (seconds) ends the work inside; ``on_event`` gets its progress. Raises the PapError that was raised
    there, RemoteError for anything else, Unavailable if the agent did not start or died, DeadlineExceeded.
    """
    body = json.dumps({"call": name, "request": dict(request), "deadline_s": deadline_s, "secrets": list(secrets)})
    argv = [python, "-u", "-c", BOOTSTRAP]
    with site.popen(argv, env=env, cwd=cwd, stdin=True) as process:
        assert process.stdin is not None
        try:
            for part in (payload(), body.encode()):
                process.stdin.write(len(part).to_bytes(8, "big") + part)
            process.stdin.flush()
        except OSError:
            pass  # it died before it read all: the empty answer below says so
        final: Optional[dict[str, Any]] = None
        killer = threading.Timer(deadline_s + 15, process.kill)
        killer.daemon = True
        killer.start()
        try:
            for raw in iter(process.stdout.readline, b""):
                message = json.loads(raw)
                if message["event"] in ("result", "error"):
                    final = message
                elif on_event:
                    on_event(message)
        finally:
            killer.cancel()
        if final is None:
            process.stdin.close()
            code = process.wait(20)
            said = redact(process.errors(), secrets).strip()
            if code == _EXIT_DEADLINE or (not killer.is_alive() and code < 0):
                raise DeadlineExceeded(
                    f"{name} on {site.label} did not end within {deadline_s:g} s and was stopped.",
                    hint="Its database session is ended; nothing of it was committed unless the ledger says so.",
                    seconds=deadline_s,
                )
            raise Unavailable(
                f"{python} on {site.label} ended with exit code {code} before it gave a result:"
                f" {said.splitlines()[-1] if said else 'it said nothing'}",
                hint="Check the path of Python, and that it can write to a temporary folder.",
                stderr=said[-4000:],
            )
    if final["event"] == "error":
        raise from_dict(final)
    result: dict[str, Any] = final["result"]
    return result


_EXIT_DEADLINE = 124
_EXIT_CALLER_GONE = 125


def serve(folder: str, body: bytes) -> None:
    """Inside the site: answer one request and exit. Never returns."""
    request = json.loads(body)
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # from here on, whatever the app prints is diagnostics
    secrets = [*request["secrets"], *_secrets_here()]

    def emit(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message, default=str) + "\n")
        channel.flush()

    def end(code: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(code)

    def watch_caller() -> None:
        while os.read(0, 4096):
            pass
        end(_EXIT_CALLER_GONE)

    def watch_clock() -> None:
        threading.Event().wait(request["deadline_s"])
        end(_EXIT_DEADLINE)

    for watch in (watch_caller, watch_clock):
        threading.Thread(target=watch, daemon=True).start()
    code = 0
    try:
        from . import agent_calls

        result = agent_calls.resolve(request["call"])(request["request"], emit)
        emit({"event": "result", "result": redact_data(result, secrets)})
    except PapError as error:
        emit({"event": "error", **redact_data(error.as_dict(), secrets)})
    except BaseException as error:  # noqa: BLE001 - also SystemExit of an app: the caller must hear of it
        text = redact("".join(traceback.format_exception(type(error), error, error.__traceback__)), secrets)
        wrapped = RemoteError(redact(f"{type(error).__name__}: {error}", secrets), traceback=text[-8000:])
        emit({"event": "error", **wrapped.as_dict()})
    sys.stderr.flush()
    end(code)


def _secrets_here() -> Iterable[str]:
    """Passwords that the site's own environment holds, so that they can be masked."""
    from urllib.parse import unquote, urlsplit

    for name, value in os.environ.items():
        if "://" in value and urlsplit(value).password:
            yield unquote(urlsplit(value).password or "")
        elif any(word in name.upper() for word in ("PASSWORD", "SECRET", "TOKEN", "API_KEY")):
            yield value
