"""Questions to a container of the API: which Python can import its models, on which ports does it listen."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Optional

from ...core.errors import PapError, Unavailable
from ...core.records import recorded
from ..host import Site
from .engine import Engine
from .records import Container, ContainerConfig

_HAS_SQLALCHEMY = "import importlib.util, sys; sys.exit(0 if importlib.util.find_spec('sqlalchemy') else 3)"
_USUAL = (
    "python3",
    "python",
    "/opt/venv/bin/python",
    "/venv/bin/python",
    "/app/.venv/bin/python",
    "/app/venv/bin/python",
)

# Waits until something listens on the port (0: on any), at most the seconds. Reads ports in the state LISTEN (0A) from
# the kernel's tables: needs no tool, and no guess about the address.
_LISTENING = """
import json, sys, time
port, end = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
while True:
    ports = set()
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(name) as table:
                rows = [line.split() for line in table][1:]
        except OSError:
            continue
        ports |= {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}
    if port in ports or (ports and not port) or time.monotonic() >= end:
        break
    time.sleep(0.05)
print(json.dumps(sorted(ports)))
"""


def find_python(site: Site, words: Sequence[str]) -> str:
    """The Python that has the app's SQLAlchemy: beside the program that the container starts (``words``), else in the
    PATH, else in the usual virtual environments. Raises Unavailable."""
    app_session = [
        str(path.with_name("python"))
        for path in map(PurePosixPath, words)
        if path.is_absolute() and path.parent.name == "bin" and str(path.parent) not in ("/bin", "/usr/bin")
    ]
    tried: list[str] = []
    for python in dict.fromkeys([*app_session, *_USUAL]):
        try:
            if site.run([python, "-c", _HAS_SQLALCHEMY], check=False).rc == 0:
                return python
            tried.append(f"{python} has no SQLAlchemy")
        except Unavailable as error:
            if "there is no such program" not in error.message:
                raise
    raise Unavailable(
        f"No Python with SQLAlchemy was found in {site.label} ({'; '.join(tried) or 'no Python at all'}).",
        hint="Set pap_api_python to the Python that runs the API in its container.",
    )


def program(config: ContainerConfig, image: Optional[ContainerConfig] = None) -> list[str]:
    """The words that a container of this Config and its image's starts with."""
    image = image or ContainerConfig()
    command = config.Cmd or (() if config.Entrypoint else image.Cmd) or ()
    return [*(config.Entrypoint or image.Entrypoint), *command]


def handles(status: str, name: str) -> bool:
    """Whether a process, by its /proc/…/status, would learn of the signal ``name`` (or number): it catches it, or waits
    for it, as the small inits do."""
    number = int(name) if name.isdigit() else int(getattr(signal, f"SIG{name.removeprefix('SIG')}", signal.SIGTERM))
    masks = re.findall(r"^Sig(?:Cgt|Blk):\s*([0-9a-fA-F]+)$", status, re.MULTILINE)
    return not masks or any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def listening(site: Site, python: str, port: int = 0, wait_s: float = 0.0) -> list[int]:
    """The TCP ports on which something listens in the container's network.

    Waits up to ``wait_s`` seconds for ``port`` (0: for any).
    """
    found: list[int] = json.loads(site.run([python, "-c", _LISTENING, str(port), str(wait_s)]).text)
    return found


def exposed_port(config: ContainerConfig) -> int:
    """The one TCP port that a container's Config exposes, or 0 if there is none or a choice."""
    ports = [int(name.split("/")[0]) for name in config.ExposedPorts if name.endswith("/tcp")]
    return ports[0] if len(ports) == 1 else 0


@dataclass(frozen=True)
class _Attributes:
    exitCode: str = ""


@dataclass(frozen=True)
class _Actor:
    Attributes: _Attributes = _Attributes()


@dataclass(frozen=True)
class _Event:
    Action: str = ""
    Actor: _Actor = _Actor()


def last_end(engine: Engine, container: Container) -> str:
    """How an inspected container ended last: `` with exit code 137, out of memory``; empty if that is unknown.

    The state of one that its restart policy has started again says 0: then the engine's events are asked.
    """
    state = container.State
    code, memory = "" if state.ExitCode is None else str(state.ExitCode), state.OOMKilled
    if state.Running and not state.Restarting:
        code, memory, killed = "", False, False
        about = {"container": container.Id, "event": ["die", "oom"]}
        with contextlib.suppress(PapError), engine.talking(f"tell how {container.name} ended"):
            for said in engine.api.events(since="0", until=f"{time.time():.9f}", filters=about, decode=True):
                event = recorded(_Event, said)
                if event.Action == "oom":
                    killed = True
                else:
                    code, memory, killed = event.Actor.Attributes.exitCode, killed, False
    return f" with exit code {code}{', out of memory' if memory else ''}" if code else ""


def last_words(engine: Engine, container: str, lines: int = 15) -> str:
    """The end of what a container has logged since it was last started; empty if its log driver cannot be read."""
    try:
        found = engine.container(container)
        # In a loop of restarts every turn is of interest, and the present one may not have said anything yet.
        started = "" if found.RestartCount else found.State.StartedAt
        with engine.talking(f"read the log of {container}"):
            said: bytes = engine.api.logs(container, tail=lines, timestamps=True)
    except PapError:
        return ""
    stamped = (line.partition(" ") for line in said.decode("utf-8", "replace").splitlines())
    # Both times are the engine's, in the same form: texts compare as times do, to the second.
    return "\n".join(text for at, _, text in stamped if at[:19] >= started[:19]).strip()
