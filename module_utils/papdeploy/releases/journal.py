"""The memory of a stack on its target host: releases and their journals.

``<state>/releases/<id>/journal.jsonl`` holds one JSON object a line, each on disk (fsync) before the work
goes on: ``{"at", "phase", "event": "begin" | "done" | "failed" | "note", …data}``. The module that does the work writes
it, so it is true even if the controller dies. Recovery reads it, never the play's memory.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

from ..core import private, storage
from ..core.clock import epoch, now, seconds_between
from ..core.durable import append_durably, private_folder, sync_folder
from ..core.errors import PapError, Refused, StorageFailed, Unavailable, VerificationFailed
from ..core.plain_json import parse
from ..core.records import plain
from ..core.redact import Redactor
from ..core.registry import Registry
from ..core.regular import read_regular
from .holder import Holder
from .lock import Lock
from .records import Backup, Begun, E, Ended, Entry, Fence, RestorePoint, TakeOver, entry_of, newest, newest_of
from .run import Run
from .server_lock import ServerLock

# The phases that make a database of each kind.
_MAKES = {
    "scratch": ("backup", "rehearse"),
    "snap": ("restore_point",),
    "fenced": ("fence", "rollback.fence"),
    "restored": ("rollback.restore",),
    "failed": ("rollback.swap",),
}
_MOST_BYTES = 256 << 20  # of a journal
_LONGEST_BYTES = 16 << 20  # of its first entry
# Seconds that a clock may be set back by its daemon without a word.
CLOCK_S = 5.0
_TOUCHING = ("fence", "migrate", "activate")


@dataclass(frozen=True)
class Journal:
    """The journal of one release."""

    folder: Path
    redactor: Redactor = field(default_factory=Redactor, repr=False, compare=False)

    @property
    def release(self) -> str:
        return self.folder.name

    @property
    def path(self) -> Path:
        return self.folder / "journal.jsonl"

    def append(self, phase: str, event: str, **data: Any) -> None:
        """Add one entry; it is on disk when this returns. Secrets are masked in its texts; what recovery decides by
        (names, paths, versions) is kept as it is. Records in ``data`` are written as JSON has them."""
        masked = (self.redactor.data if event == "failed" else self.redactor.record)(plain(data))
        append_durably(self.path, {"at": now(), "phase": phase, "event": event, **masked})

    @contextlib.contextmanager
    def checkpoint(self, phase: str, **data: Any) -> Iterator[dict[str, Any]]:
        """Begin before the work, done (with what the caller puts into the dictionary) or failed after it."""
        self.append(phase, "begin", **data)
        found: dict[str, Any] = {}
        try:
            yield found
        except PapError as error:
            self.append(phase, "failed", **{**found, **error.as_dict()})
            raise
        except BaseException as error:
            self.append(phase, "failed", error=type(error).__name__, message=str(error))
            raise
        self.append(phase, "done", **found)

    def records(self) -> list[Entry]:
        """Every whole entry, oldest first, as the record of its kind; what is none, as a line that a killed writer or a
        disk tore, is passed over. Raises Unavailable for a file that cannot be read."""
        try:
            # Not splitlines(): an entry may hold separators (U+2028, U+0085) that would tear it.
            lines = read_regular(self.path, _MOST_BYTES).split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise storage.explained(error, self.path) or Unavailable(
                f"The journal {self.path} cannot be read: {error.strerror}.", hint="Look at it, and move it away."
            ) from error
        return [entry for entry in map(_entry, lines) if entry]

    def newest(self, kind: type[E]) -> Optional[E]:
        """The newest entry of that kind."""
        return newest(self.records(), kind)

    def has(self, phase: str, event: str = "done") -> bool:
        """Whether there is an entry of that phase and event."""
        return newest_of(self.records(), phase, event) is not None

    def begun(self) -> Optional[Begun]:
        """The entry that began the release; None where a killed writer tore it."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            for line in iter(lambda: file.readline(_LONGEST_BYTES), b""):
                if isinstance(entry := _entry(line), Begun):
                    return entry
        return None

    def opening(self) -> Begun:
        """The same; raises PapError where there is none."""
        if found := self.begun():
            return found
        raise VerificationFailed(
            f"The journal of release {self.release} has no beginning.",
            hint=f"Look at {self.path}; if nothing was done, remove the folder {self.folder}.",
        )

    def ended(self) -> Optional[Ended]:
        """The entry that ended the release, or None while it is unfinished: it has not ended, or its rollback has begun
        since. A rollback that was called off (it has restarted the API) leaves the end valid."""
        called_off = False
        for entry in reversed(self.records()):
            if isinstance(entry, Ended):
                return entry
            if entry.is_of("rollback", "begin") and not called_off:
                return None
            called_off = called_off or entry.is_of("rollback.restart", "done")
        return None

    @property
    def touched(self) -> bool:
        """Whether the release ever got as far as stopping the API or, online, as migrating beside it."""
        return any(entry.event == "begin" and entry.phase in _TOUCHING for entry in self.records())

    @property
    def place(self) -> tuple[int, str]:
        """What orders the releases of a stack: their number, since a clock may go back. Those that an earlier version
        began have none, and come first, by their id."""
        return (self.begun() or Begun()).number, self.release


def _entry(line: bytes) -> Optional[Entry]:
    """The entry that a line is, or None."""
    try:
        entry = entry_of(parse(line))
        return entry if entry.at.endswith(("Z", "+00:00")) and epoch(entry.at) >= 0 else None
    except (ValueError, PapError, OverflowError):
        return None


class State:
    """The state folder of one stack."""

    def __init__(
        self,
        folder: str | Path,
        redactor: Optional[Redactor] = None,
        run: Optional[Run] = None,
        *,
        stack: str = "",
        server: Optional[ServerLock] = None,
    ) -> None:
        """``run`` works on it, by default this process. ``stack`` is the name by which commands know it; ``server`` is
        the lock of its database."""
        self.folder = Path(folder)
        self.redactor = redactor or Redactor()
        self.lock = Lock(self.folder, run, stack=stack, server=server, notes=self)

    def refuse_open(self) -> None:
        """Raise Refused if the folder is there, and something in it could belong to another user: then nothing that it
        says is believed."""
        for folder in (self.folder, self.releases_folder, self.backups_folder):
            if os.path.lexists(folder):
                private.refuse_open(folder)
        if not self.folder.exists():
            return
        releases = list(self.releases_folder.iterdir()) if self.releases_folder.exists() else []
        for path in (*self.folder.iterdir(), *releases):
            private.refuse_foreign(path)
        for release in releases:
            for path in release.iterdir() if release.is_dir() else ():
                private.refuse_foreign(path)

    @property
    def releases_folder(self) -> Path:
        return self.folder / "releases"

    @property
    def backups_folder(self) -> Path:
        return self.folder / "backups"

    def releases(self) -> list[Journal]:
        """Oldest first, in the order in which they began (see :attr:`Journal.place`)."""
        if not self.releases_folder.is_dir():
            return []
        folders = [path for path in self.releases_folder.iterdir() if (path / "journal.jsonl").is_file()]
        found = [Journal(path, self.redactor) for path in folders]
        return sorted(found, key=lambda journal: journal.place)

    def later_than(self, journal: Journal) -> list[Journal]:
        """The releases that began after ``journal``, oldest first."""
        return [other for other in self.releases() if other.place > journal.place]

    def clock_went_back(self) -> str:
        """A sentence if a release began at a time that this host's clock has yet to reach, else nothing."""
        ahead = [(begun.at, journal.release) for journal in self.releases() if (begun := journal.begun())]
        at, release = max(ahead, default=("", ""))
        if not at or seconds_between(now(), at) < CLOCK_S:
            return ""
        return (
            f"the clock of this host went back: release {release} began at {at}, now it is {now()}."
            " Releases keep their order; check the clock (timedatectl)"
        )

    def journal(self, release: str) -> Journal:
        """The journal of a release; raises Refused if there is none."""
        folder = self.releases_folder / release
        if not release or "/" in release or release.startswith(".") or not folder.is_dir():
            known = ", ".join(journal.release for journal in self.releases()[-5:]) or "none"
            raise Refused(f"There is no release {release!r} on this stack.", hint=f"The newest are: {known}.")
        return Journal(folder, self.redactor)

    def registry(self, name: str, database: str) -> Registry:
        """What the stack ``name`` with the live ``database`` wrote down of the databases it made."""
        return Registry(self.folder, name=name, database=database, explains=self.explains, last_user=self._last_user)

    def explains(self, kind: str, release: str, name: str, oid: int) -> bool:
        """Whether the journal of ``release`` tells that it made database ``name``: for records of a version that noted
        neither stack nor OID."""
        try:
            entries = self.journal(release).records()
        except Refused:
            return False
        begun = {entry.phase for entry in entries if entry.event == "begin"}
        if not begun & set(_MAKES.get(kind, ())):
            return False
        if kind == "snap":
            points = [entry for entry in entries if isinstance(entry, RestorePoint)]
            return not points or any(point.database == name for point in points)
        if kind != "fenced":
            return True
        found = [entry.oid for entry in entries if isinstance(entry, Fence)]
        oids = {*found, *(entry.database_oid for entry in entries if isinstance(entry, Backup))}
        return not oids - {None} or oid in oids

    def _last_user(self) -> str:
        """The name of the stack whose release is the newest here."""
        return next((found.stack for j in reversed(self.releases()) if (found := j.begun()) and found.stack), "")

    def unfinished(self) -> Optional[Journal]:
        """The release that has begun and has not ended, if there is one."""
        return next((journal for journal in reversed(self.releases()) if journal.ended() is None), None)

    def last_finished(self) -> Optional[Journal]:
        """The newest release that is in force: it finished and was not rolled back later."""
        for journal in reversed(self.releases()):
            end = journal.ended()
            if end and end.event == "finished":
                return journal
        return None

    def image_taken_back(self) -> Optional[Journal]:
        """The release of which only the image was rolled back, as long as none has finished or begun after it: until
        then its database can follow."""
        for journal in reversed(self.releases()):
            end = journal.ended()
            if end is None or end.event == "finished":
                return None
            if end.kept_schema:
                return journal
        return None

    def last_schema(self) -> Optional[tuple[Journal, str]]:
        """The newest release that says in its end what schema it left, and that schema's fingerprint: one that
        finished, or one whose image alone was rolled back. Any other rollback strategy leaves the schema of before."""
        for journal in reversed(self.releases()):
            end = journal.ended()
            if end and end.schema_fingerprint:
                return journal, end.schema_fingerprint
        return None

    def begin(self, run: Run, **header: Any) -> Journal:
        """Take the lock and open a new release for ``run``.

        Raises Refused if another run holds it, or if one is followed whose release has not been ended."""
        private_folder(self.folder)
        private_folder(self.releases_folder)
        storage.keep_reserve(self.folder)
        release = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ-") + secrets.token_hex(2)
        before = self.lock.by(run).take(release)
        folder = self.releases_folder / release
        try:
            if before and (left := self.unfinished()):  # another run began and died since this one has looked
                raise Refused(
                    f"Release {left.release} was interrupted meanwhile, and has not been ended.",
                    hint="Run this again: it ends that release first.",
                )
            journal = Journal(private_folder(folder), self.redactor)
            sync_folder(self.releases_folder)
            number = 1 + max((journal.place[0] for journal in self.releases()), default=0)
            journal.append("release", "begin", release=release, number=number, who=run, **header)
        except PapError:
            shutil.rmtree(folder, ignore_errors=True)
            self.lock.release(release)
            raise
        return journal

    def refuse_release(self, journal: Journal, error: PapError) -> None:
        """End a release that has touched nothing, because of ``error``, and give its lock back. Where the disk does not
        let that be noted, the next run ends it."""
        with storage.on_the_way_out(), contextlib.suppress(StorageFailed):
            if journal.ended() is None:
                journal.append("release", "refused", message=error.message, strategy="nothing")
            self.lock.release(journal.release)
        error.data["ended"] = True

    @contextlib.contextmanager
    def working(self, release: str) -> Iterator[Journal]:
        """Do a piece of the release's work: checks that it still holds the lock and shows heartbeats meanwhile.

        Raises StorageFailed if the disk has been full since the release began, and nothing was touched yet."""
        with self.lock.working(release):
            journal = self.journal(release)
            if not journal.touched:
                storage.refuse_full(self.folder)
            yield journal

    # -- what the lock asks of the journals ---------------------------------------------------------------------------

    def phase_of(self, release: str) -> str:
        """Where the release stands, as a clause; empty if there is no such release."""
        path = self.releases_folder / release
        if not (path / "journal.jsonl").is_file():
            return ""
        entries = [entry for entry in Journal(path).records() if entry.phase != "release"]
        begun = next((entry for entry in reversed(entries) if entry.event == "begin"), None)
        if begun is None:
            return "before its first phase"
        later = entries[entries.index(begun) + 1 :]
        ended = any(entry.phase == begun.phase and entry.event in ("done", "failed") for entry in later)
        return f"{'after' if ended else 'in'} phase {begun.phase}"

    def took_over(self, held: Holder, by: Run, why: str) -> None:
        """Note in the release's journal that ``by`` has taken it over; ``why`` its run counted as alive, if it did."""
        path = self.releases_folder / held.release
        if (path / "journal.jsonl").is_file():
            Journal(path).append("release", "taken_over", by=by, of=held.run, alive=why)

    def taken_over(self, release: str, run: Run) -> Optional[TakeOver]:
        """The newest note that ``release`` was taken over from ``run``: ``at`` and ``by``."""
        notes = reversed(Journal(self.releases_folder / release).records())
        taken = (entry for entry in notes if isinstance(entry, TakeOver))
        return next((entry for entry in taken if entry.of.same(run)), None)
