"""The other logs: the journal of a systemd unit, the output of a container; and a source from the inventory's words."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Optional, Union

from ..core.errors import Unavailable
from ..core.records import recorded
from ..core.text import size
from ..sites.host import HostSite, Site, deadline
from .files import LIMIT, FileLog, LogSource, Mark, Reading

_PATIENCE_S = 120.0
_FORMAT = "%Y-%m-%dT%H:%M:%S.000000000Z"


@dataclass(frozen=True)
class LogSpec:
    """Where a log is: files (paths or patterns), the journal of a systemd unit, or the output of a container."""

    files: tuple[str, ...] = ()
    unit: str = ""
    container: str = ""


@dataclass(frozen=True)
class _JournalEntry:
    """What ``journalctl --output=json`` says of an entry (systemd.journal-fields). A message that is not UTF-8 comes as
    a list of bytes."""

    message: Optional[Union[str, tuple[int, ...]]] = None
    cursor: str = ""

    @property
    def text(self) -> str:
        message = self.message or ""
        return (message if isinstance(message, str) else bytes(message).decode("utf-8", "replace")) + "\n"


@dataclass(frozen=True)
class JournalLog(LogSource):
    """The journal of a systemd unit, read through its cursors."""

    unit: str
    site: Site = field(default_factory=HostSite)

    @property
    def label(self) -> str:  # type: ignore[override]
        return f"the journal of {self.unit}"

    def _argv(self, *options: str) -> list[str]:
        return ["journalctl", "--no-pager", "--quiet", "--output=json", f"--unit={self.unit}", *options]

    def now(self) -> Mark:
        last = self.site.run(self._argv("--lines=1")).text.splitlines()
        return Mark(cursor=_entry(last[-1]).cursor if last else "")

    def since(self, mark: Mark, limit: int = LIMIT) -> Reading:
        after = [f"--after-cursor={mark.cursor}"] if mark.cursor else []
        cursor, size, texts = mark.cursor, 0, []
        with self.site.popen(self._argv(*after)) as process, deadline(process, _PATIENCE_S) as expired:
            for raw in iter(process.stdout.readline, b""):
                if not raw.endswith(b"\n"):
                    break  # it was ended within the entry, which is read again
                entry = _entry(raw)
                texts.append(entry.text)
                cursor = entry.cursor
                size += len(raw)
                if size >= limit:
                    return Reading("".join(texts), Mark(cursor=cursor), more=True)
            failed = process.wait(60) != 0
            if failed and expired.is_set() and texts:
                return Reading("".join(texts), Mark(cursor=cursor), more=True)
            if failed and expired.is_set():
                raise Unavailable(
                    f"The journal of {self.unit} cannot be read: it took longer than {_PATIENCE_S:g} s.",
                    hint="See what journalctl waits for, or keep a smaller journal (journald.conf: SystemMaxUse).",
                )
            if failed:
                raise Unavailable(
                    f"The journal of {self.unit} cannot be read: {process.errors().strip()[-300:]}",
                    hint="Give the deploying user the group systemd-journal.",
                )
        return Reading("".join(texts), Mark(cursor=cursor))

    def recent(self, limit: int = LIMIT) -> str:
        output = self.site.run(self._argv(f"--lines={max(1, limit // 512)}")).text
        return "".join(_entry(line).text for line in output.splitlines())


_FIELDS = {"MESSAGE": "message", "__CURSOR": "cursor"}


def _entry(line: Union[str, bytes]) -> _JournalEntry:
    return recorded(_JournalEntry, {_FIELDS.get(name, name): value for name, value in json.loads(line).items()})


@dataclass(frozen=True)
class ContainerLog(LogSource):
    """What a container wrote to its output, as its log driver keeps it. The container is known by its name only."""

    container: str

    @property
    def label(self) -> str:  # type: ignore[override]
        return f"the log of container {self.container}"

    def _lines(self, limit: int, **options: Any) -> tuple[list[tuple[str, str]], bool]:
        """Time (RFC 3339 with nanoseconds, so that texts compare as times do) and text of each line."""
        from ..sites.docker.engine import Engine

        engine = Engine()
        engine.container(self.container)
        lines: list[tuple[str, str]] = []
        size, rest = 0, b""
        with engine.talking(f"read {self.label}"), contextlib.closing(engine.api):
            for chunk in engine.api.logs(self.container, timestamps=True, stream=True, follow=False, **options):
                *whole, rest = (rest + chunk).split(b"\n")
                for raw in whole:
                    at, _, text = raw.decode("utf-8", "replace").partition(" ")
                    lines.append((at, text))
                size += len(chunk)
                if size >= limit:
                    return lines, True
        return lines, False

    def now(self) -> Mark:
        lines, _ = self._lines(LIMIT, tail=1)
        return Mark(after=lines[-1][0] if lines else datetime.now(timezone.utc).strftime(_FORMAT))

    def since(self, mark: Mark, limit: int = LIMIT) -> Reading:
        after = mark.after
        # The engine takes whole seconds exactly; what it gives again is passed over by its time.
        second = int(datetime.fromisoformat(after[:19] + "+00:00").timestamp())
        lines, more = self._lines(limit, since=second)
        fresh = [(at, text) for at, text in lines if at > after]
        if more and not fresh:
            raise Unavailable(f"{self.label} has more than {size(limit)} within one second.", hint="Raise the limit.")
        return Reading("".join(text + "\n" for _, text in fresh), Mark(after=fresh[-1][0] if fresh else after), more)

    def recent(self, limit: int = LIMIT) -> str:
        lines, _ = self._lines(LIMIT, tail=max(1, limit // 256))
        return "".join(text + "\n" for _, text in lines)[-limit:]


def from_spec(spec: LogSpec) -> LogSource:
    """The source that a spec names."""
    if spec.files:
        return FileLog(spec.files)
    if spec.unit:
        return JournalLog(spec.unit)
    if spec.container:
        return ContainerLog(spec.container)
    raise Unavailable("No log is known to watch.", hint="Name log files, a systemd unit or a container.")
