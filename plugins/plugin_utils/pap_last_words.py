"""What an interrupted run says last: where each of its stacks stands, and the next command.

Ansible ends at Ctrl-C with one sentence of its own, and at SIGTERM or SIGHUP with none. The process that gets the
signal has loaded the action plugins, whatever the stdout callback is; what its workers do on which stack they note in a
file that all of them have inherited. Nothing is said of a stack with which nothing was begun, of one that has failed
before anything was (the failure was said), nor by what is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from types import FrameType

from ansible import constants as C

_CHANGING = ("migrate", "activate", "rollback")
_LAST = ("finish", "rollback")
_TELLING = ("report", "overview", "mail", "webhook", "receipt")  # what a rescue does after it


@dataclass(frozen=True)
class Note:
    """That the module of ``phase`` begins on ``host``, has ``ended`` well, or ``failed``; ``release`` is empty outside
    of one."""

    host: str
    phase: str
    release: str = ""
    ended: bool = False
    failed: bool = False


def words(notes: Iterable[Note]) -> list[str]:
    """A line for each stack that was in the middle of something, and one with what to type."""
    of: dict[str, list[Note]] = {}
    for note in notes:
        of.setdefault(note.host, []).append(note)
    lines = {host: line for host, those in sorted(of.items()) if (line := _line(those))}
    if not lines:
        return []
    limit = ",".join(lines)
    return [
        "",
        *lines.values(),
        f"Where each stands: ansible-playbook status.yml -l {limit}",
        "The same command again ends what was begun, and goes on; rollback.yml only ends it.",
    ]


def _line(notes: list[Note]) -> str:
    begins = [at for at, note in enumerate(notes) if note.phase == "preflight" and not note.ended and not note.failed]
    notes = notes[begins[-1] :] if begins else notes  # before it, an earlier release was ended
    if any(note.failed for note in notes):
        notes = [note for note in notes if note.phase not in _TELLING]
    if not notes:
        return ""
    last = notes[-1]
    idle, how = last.ended or last.failed, "failed" if last.failed else "was interrupted"
    release = next((note.release for note in reversed(notes) if note.release), "")
    if any(note.phase in _LAST and note.ended for note in notes):
        return "" if idle else f"{last.host}: interrupted in {last.phase}; the release had ended before."
    if last.failed and not release:
        return ""
    what = f"{last.host}: " + (f"release {release}" if release else "the work") + f" {how} in {last.phase}."
    if any(note.phase in _CHANGING for note in notes):
        return f"{what} The API may be stopped and the database fenced until it is ended."
    if release:
        return f"{what} The API and the database are as they were."
    return "" if last.ended else f"{last.host}: {last.phase} was interrupted. It had changed nothing of the stack."


class Notes:
    """The notes of this process and of all that are forked from it."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (for as long as the process)
        self._signal = 0

    def add(self, note: Note) -> None:
        with contextlib.suppress(OSError):  # no room for a note: the run goes on
            os.write(self._file.fileno(), (json.dumps(asdict(note)) + "\n").encode())

    def listen(self) -> None:
        """Speak when this process is ended by a signal; what it did about the signal before, it does after."""
        atexit.register(self._at_exit)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            before = signal.getsignal(number)
            if before is signal.SIG_IGN or before is None:  # nohup
                continue

            def heard(number: int, frame: FrameType | None, before: object = before) -> None:
                if os.getpid() == self._process:
                    self._signal = number
                if number != signal.SIGINT:  # nothing comes after it
                    self._speak()
                if callable(before):
                    before(number, frame)
                else:
                    signal.signal(number, signal.SIG_DFL)
                    os.kill(os.getpid(), number)

            signal.signal(number, heard)

    def _at_exit(self) -> None:
        if self._signal == signal.SIGINT:
            self._speak()

    def _speak(self) -> None:
        if os.getpid() != self._process:
            return
        where = 2 if "json" in str(C.DEFAULT_STDOUT_CALLBACK) else 1  # nothing beside what a machine reads
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(where, "".join(f"{line}\n" for line in words(self._read())).encode(errors="replace"))

    def _read(self) -> Iterator[Note]:
        size = os.fstat(self._file.fileno()).st_size
        for line in os.pread(self._file.fileno(), size, 0).decode().splitlines():
            yield Note(**json.loads(line))


NOTES = Notes()
NOTES.listen()
