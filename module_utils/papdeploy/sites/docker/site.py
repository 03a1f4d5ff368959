"""A container as a site: programs run in it by exec, as on the host, with streams, exit codes and a kill that kills."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import re
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any, Optional

from ...core.errors import DeadlineExceeded, PapError, Unavailable
from ...core.records import recorded
from ..host import Process, Site, keep_ends
from .engine import Engine
from .exec_stream import Duplex, Frames
from .launcher import ABSENT, HELLO, LAUNCHERS, Launcher
from .records import ContainerState, Created, EngineFailure

_PIPE = 1 << 20
_F_SETPIPE_SZ = 1031  # Linux; in the module fcntl from Python 3.10 on
_START_SECONDS = 60.0
_END_SECONDS = 15.0
_NOT_THERE = re.compile(r"executable file not found|no such file or directory|not found in \$PATH", re.IGNORECASE)


def not_there(said: str, program: str) -> bool:
    """Whether the engine's words mean that ``program`` is not in the container's image."""
    return f'"{program}"' in said and bool(_NOT_THERE.search(said))


class ContainerSite(Site):
    """Programs run in the container ``name``: as its user, or by ``become``, an argv prefix (``gosu postgres``)."""

    def __init__(self, engine: Engine, name: str, become: Sequence[str] = ()) -> None:
        self.label = f"container {name}"
        self.engine = engine
        self.name = name
        self.become = tuple(become)
        self._launchers: Sequence[Launcher] = LAUNCHERS

    def popen(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: bool = False,
    ) -> Process:
        said = ""
        for launcher in self._launchers:
            exec_id = self._prepare(launcher.argv([*self.become, *argv], stdin), env, cwd)
            process = _ContainerProcess(self, exec_id, launcher, self.engine.open_exec(exec_id), argv, stdin)
            said = process.begin()
            if process.pid:
                self._launchers = (launcher,)
                return process
            process.kill()
            if said or not process.absent_launcher:
                break
            said = process.errors()
        raise Unavailable(
            f"{argv[0]} cannot be started on {self.label}: {said.strip()[-400:]}.",
            hint="Check that it is in the image and that the path and folder in the inventory are right.",
        )

    def _prepare(self, argv: Sequence[str], env: Mapping[str, str] | None, cwd: str | None) -> str:
        try:
            with self.engine.talking(f"start a program on {self.label}"):
                created = self.engine.api.exec_create(
                    self.name,
                    list(argv),
                    stdin=True,
                    environment=dict(env) if env else None,
                    workdir=cwd,
                )
                return recorded(Created, created).Id
        except Unavailable as error:
            if recorded(EngineFailure, error.data).status in (404, 409):
                raise self._not_running() from error
            raise

    def _not_running(self) -> Unavailable:
        state = self.engine.container(self.name).State  # raises Unavailable itself if there is none
        what = "is paused" if state.Paused else f"is {state.Status or 'not running'}"
        if state.Status == "exited":
            what += f" since {state.FinishedAt[:19]} with exit code {state.ExitCode}"
        return Unavailable(
            f"The {self.label} {what}.", hint=f"Look at `docker logs {self.name}` and start it, then try again."
        )

    def end(self, launcher: Launcher, pid: int) -> None:
        """Ask the launcher ``pid`` inside, as the user that started it, to end its program."""
        exec_id = self._prepare(launcher.ending(pid), None, None)
        with self.engine.talking(f"end a program on {self.label}"):
            self.engine.api.exec_start(exec_id)

    def environment(self) -> dict[str, str]:
        return self.engine.container(self.name).Config.environment


class _Input(io.RawIOBase):
    """Standard input of a program in a container; closing it is the end of input there."""

    def __init__(self, stream: Duplex) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.closed:
            raise ValueError("write to closed file")
        view = memoryview(data).cast("B")
        try:
            self._stream.send(view)
        except OSError as error:
            raise BrokenPipeError(error.errno, "the program in the container has ended") from error
        return len(view)

    def close(self) -> None:
        if not self.closed:
            super().close()
            with contextlib.suppress(OSError):  # it has ended already
                self._stream.finish()


class _ContainerProcess(Process):
    """A program started by exec. A thread takes its streams apart, so that neither can block the other."""

    def __init__(
        self, site: ContainerSite, exec_id: str, launcher: Launcher, stream: Duplex, argv: Sequence[str], stdin: bool
    ) -> None:
        self._site = site
        self._exec_id = exec_id
        self._launcher = launcher
        self._stream = stream
        self._argv = tuple(argv)
        self._frames = Frames()
        self._tail = bytearray()
        self._ended = threading.Event()
        self._rc: Optional[int] = None
        self._killed = False
        self.pid = 0
        self.absent_launcher = False
        reader, self._writer = os.pipe()
        with contextlib.suppress(OSError):  # the usual 64 KiB make the two threads wait for each other
            fcntl.fcntl(self._writer, _F_SETPIPE_SZ, _PIPE)
        self.stdout: IO[bytes] = os.fdopen(reader, "rb")
        self.stdin: Optional[IO[bytes]] = _Input(stream) if stdin else None  # type: ignore[assignment]
        self._pump: Optional[threading.Thread] = None

    def begin(self) -> str:
        """Wait until the program has started (``pid`` is set) or has not: then the reason, as far as it was said.

        Standard output that overtakes the launcher's line is kept.
        """
        early: list[bytes] = []
        timer = threading.Timer(_START_SECONDS, self._stream.close)
        timer.daemon = True
        timer.start()
        try:
            while b"\n" not in self._tail:
                data = self._receive()
                if not data:
                    break
                for number, piece in self._frames.feed(data):
                    if number == 1:
                        early.append(bytes(piece))
                    else:
                        self._tail += piece
        finally:
            timer.cancel()
        first, _, rest = bytes(self._tail).partition(b"\n")
        if first.startswith(HELLO):
            self.pid = int(first[len(HELLO) :])
            self._tail = bytearray(rest)
            self._pump = threading.Thread(target=self._work, args=(early,), daemon=True)
            self._pump.start()
            return ""
        os.close(self._writer)
        self._ended.set()
        if first.startswith(ABSENT):
            return "there is no such program"
        # The engine reports what it cannot start on the program's standard output.
        said = (b"".join(early) + bytes(self._tail)).decode("utf-8", "replace").strip()
        self.absent_launcher = not_there(said, self._launcher.program)
        if self.absent_launcher:
            self._tail = bytearray(said.encode())
            return ""
        return said or "the engine ended the connection"

    def _receive(self) -> bytes:
        try:
            return self._stream.receive()
        except OSError:  # closed by kill(), or the engine went away: wait() tells them apart
            return b""

    def _work(self, early: list[bytes]) -> None:
        sink: Optional[int] = self._writer
        try:
            for piece in early:
                sink = self._pass_on(sink, piece)
            while data := self._receive():
                for number, part in self._frames.feed(data):
                    if number == 1:
                        sink = self._pass_on(sink, part)
                    else:
                        self._tail += part
                        keep_ends(self._tail)
        finally:
            os.close(self._writer)
            self._ended.set()
            self._stream.close()  # whoever still writes to it gets a broken pipe; the engine would make it wait

    @staticmethod
    def _pass_on(sink: Optional[int], data: bytes | memoryview) -> Optional[int]:
        """Write all of ``data``; None once the reader has closed its end (later output is discarded)."""
        view = memoryview(data)
        while sink is not None and view:
            try:
                view = view[os.write(sink, view) :]
            except BrokenPipeError:
                return None
        return sink

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.005
        while self._rc is None:
            state = self._inspect()
            if not state.Running and state.ExitCode is not None:
                self._rc = state.ExitCode
                break
            if deadline is not None and time.monotonic() >= deadline:
                raise DeadlineExceeded(f"{self._argv[0]} on {self._site.label} still runs.", seconds=timeout)
            # The end of its streams is nearly always its end; a program may also close them and go on.
            if self._ended.is_set():
                time.sleep(pause)
            else:
                self._ended.wait(pause)
            pause = min(pause * 2, 0.5)
        if self._pump:
            self._pump.join(2)
        return -signal.SIGKILL if self._killed else self._rc

    def _inspect(self) -> ContainerState:
        try:
            with self._site.engine.talking(f"tell how {self._argv[0]} ended"):
                return recorded(ContainerState, self._site.engine.api.exec_inspect(self._exec_id))
        except Unavailable as error:
            if recorded(EngineFailure, error.data).status != 404:
                raise
            raise Unavailable(
                f"The {self._site.label} or the Docker engine was restarted while {self._argv[0]} ran in it.",
                hint="Look at `docker ps -a` and the engine's log, then try again.",
            ) from error

    def end(self) -> None:
        if self._rc is None and self.pid:
            # An engine that does not answer cannot end it either; the launcher's watch does, as the connection closes.
            with contextlib.suppress(PapError):
                if self._inspect().Running:
                    self._killed = True
                    self._site.end(self._launcher, self.pid)
                    self.wait(_END_SECONDS)
        self._stream.close()
        if self._pump:
            self._pump.join(10)

    def errors(self) -> str:
        return bytes(self._tail).decode("utf-8", "replace")
