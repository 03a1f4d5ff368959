"""The memory of a stack on its target host: releases, their journals, and the deploy lock.

``<state>/releases/<id>/journal.jsonl`` holds one JSON object a line, each on disk (fsync) before the work
goes on: ``{"at", "phase", "event": "begin" | "done" | "failed" | "note", …data}``. The module that does the work writes
it, so it is true even if the controller dies. Recovery reads it, never the play's memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import stat
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

from .errors import PapError, Refused
from .redact import redact_data

LEASE_S = 120.0

# How a release can end. A release without an end is unfinished: the next run ends it.
ENDS = ("finished", "rolled_back", "refused", "abandoned", "rehearsed")


def now() -> str:
    """The time as ISO 8601 in UTC, with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_between(start: str, end: str) -> float:
    """Seconds from one journal time to another."""
    return (_parse(end) - _parse(start)).total_seconds()


def _parse(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def private_folder(path: Path) -> Path:
    """Make ``path`` a folder for its owner alone (0700); refuses a symbolic link or somebody else's folder."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise Refused(
            f"{path} must be a folder of its own (no symbolic link), owned by this user, mode 0700.",
            hint=f"Check what it is, then: chmod 0700 {path}",
        )
    return path


def write_durably(path: Path, data: bytes) -> None:
    """Write a private file so that after a crash there is the old content or the new one."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Journal:
    """The journal of one release."""

    folder: Path

    @property
    def release(self) -> str:
        return self.folder.name

    @property
    def path(self) -> Path:
        return self.folder / "journal.jsonl"

    def append(self, phase: str, event: str, **data: Any) -> dict[str, Any]:
        """Add one entry; it is on disk when this returns. Secrets are masked."""
        entry = {"at": now(), "phase": phase, "event": event, **redact_data(data)}
        line = json.dumps(entry, default=str, ensure_ascii=False) + "\n"
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = "\n" + line  # a torn line of a killed writer stays alone
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return entry

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

    def entries(self) -> list[dict[str, Any]]:
        """Every whole entry, oldest first; a line that a killed writer tore is passed over."""
        result: list[dict[str, Any]] = []
        with contextlib.suppress(FileNotFoundError):
            for line in self.path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):
                    result.append(json.loads(line))
        return result

    def last(self, phase: str, event: str = "done") -> Optional[dict[str, Any]]:
        """The newest entry of that phase and event."""
        return next((e for e in reversed(self.entries()) if e["phase"] == phase and e["event"] == event), None)

    def end(self) -> Optional[dict[str, Any]]:
        """The entry that ended the release (event in ``ENDS``), or None while it is unfinished."""
        return next((e for e in reversed(self.entries()) if e["phase"] == "release" and e["event"] in ENDS), None)


def described(held: Mapping[str, Any]) -> str:
    """Who holds a lock, as :meth:`State.holder` returned it, in words."""
    who = f"{held['user']}@{held['host']}"
    return f"{held['release']}, started by {who} at {held['since']}, last sign of life {held['renewed']}"


class State:
    """The state folder of one stack."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @property
    def releases_folder(self) -> Path:
        return self.folder / "releases"

    @property
    def backups_folder(self) -> Path:
        return self.folder / "backups"

    def releases(self) -> list[Journal]:
        """Oldest first."""
        if not self.releases_folder.is_dir():
            return []
        return [Journal(path) for path in sorted(self.releases_folder.iterdir()) if (path / "journal.jsonl").is_file()]

    def journal(self, release: str) -> Journal:
        """The journal of a release; raises Refused if there is none."""
        folder = self.releases_folder / release
        if not release or "/" in release or release.startswith(".") or not folder.is_dir():
            known = ", ".join(journal.release for journal in self.releases()[-5:]) or "none"
            raise Refused(f"There is no release {release!r} on this stack.", hint=f"The newest are: {known}.")
        return Journal(folder)

    def unfinished(self) -> Optional[Journal]:
        """The release that has begun and has not ended, if there is one."""
        return next((journal for journal in reversed(self.releases()) if journal.end() is None), None)

    def last_finished(self) -> Optional[Journal]:
        """The newest release that is in force: it finished and was not rolled back later."""
        for journal in reversed(self.releases()):
            end = journal.end()
            if end and end["event"] == "finished":
                return journal
        return None

    def last_schema(self) -> Optional[tuple[Journal, str]]:
        """The newest release that says in its end what schema it left, and that schema's fingerprint: one that
        finished, or one whose image alone was taken back. Any other way back leaves the schema of before."""
        for journal in reversed(self.releases()):
            known = (journal.end() or {}).get("schema_fingerprint")
            if known:
                return journal, str(known)
        return None

    def begin(self, who: Mapping[str, Any], **header: Any) -> Journal:
        """Take the lock and open a new release. ``who`` is ``{"user", "host", "pid"}`` of the controller."""
        private_folder(self.folder)
        private_folder(self.releases_folder)
        release = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ-") + secrets.token_hex(2)
        self.lock(release, who)
        folder = private_folder(self.releases_folder / release)
        sync_folder(self.releases_folder)
        journal = Journal(folder)
        journal.append("release", "begin", release=release, who=dict(who), **header)
        return journal

    # The lock is a lease: a file that names the holder and is renewed while its modules run. A file lock would end with
    # each module's process, although the release goes on in the next one.

    @property
    def _lock_file(self) -> Path:
        return self.folder / "lock.json"

    def holder(self) -> Optional[dict[str, Any]]:
        """Who holds the deploy lock: ``{"release", "user", "host", "pid", "since", "renewed", "alive"}``; None if free.

        ``alive`` is false when the lease has run out, or when the controller ran on this host and is gone.
        """
        try:
            held: dict[str, Any] = json.loads(self._lock_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        expired = seconds_between(held["renewed"], now()) > float(held["lease_s"])
        held["alive"] = not expired and not _gone(held)
        return held

    def lock(self, release: str, who: Mapping[str, Any], *, take_over: bool = False, lease_s: float = LEASE_S) -> None:
        """Take the lock for ``release``, or renew it. Raises Refused, naming the holder, if another release has it."""
        with self._guard():
            held = self.holder()
            if held and held["release"] != release and held["alive"] and not take_over:
                raise Refused(
                    f"Another run holds this stack: {described(held)}.",
                    hint="Wait for it to end. If it is dead, it can be taken over "
                    f"{held['lease_s']:g} s after its last sign of life.",
                    holder=held,
                )
            since = held["since"] if held and held["release"] == release else now()
            fresh = {**who, "release": release, "since": since, "renewed": now(), "lease_s": lease_s}
            write_durably(self._lock_file, json.dumps(fresh).encode())

    def confirm(self, release: str, who: Mapping[str, Any]) -> None:
        """Assert that the release still belongs to its controller ``who``. Raises Refused if another run has taken it
        over, or if the controller ran on this host and is gone: whoever comes next decides then."""
        held = self.holder()
        same = held is not None and held["release"] == release and all(held.get(key) == who[key] for key in who)
        if held is None or not same or not held["alive"]:
            by = f" {held['user']}@{held['host']} has it now." if held and not same else ""
            raise Refused(
                f"The run that began release {release} is gone, so nothing more is changed here.{by}",
                hint="The next deploy.yml or rollback.yml ends the release.",
            )

    def unlock(self, release: str) -> None:
        """Give the lock back, if ``release`` has it."""
        with self._guard():
            held = self.holder()
            if held and held["release"] == release:
                self._lock_file.unlink()
                sync_folder(self.folder)

    @contextlib.contextmanager
    def working(self, release: str) -> Iterator[Journal]:
        """Do a piece of the release's work: checks that it still holds the lock and shows signs of life meanwhile."""
        held = self.holder()
        if not held or held["release"] != release:
            by = f" It was taken over by release {held['release']}." if held else ""
            raise Refused(
                f"Release {release} no longer holds this stack.{by}",
                hint="Nothing was done. Look at the history of this stack before you start again.",
            )
        who = {key: value for key, value in held.items() if key in ("user", "host", "pid", "boot")}
        with self._alive(release, who, float(held["lease_s"])):
            yield self.journal(release)

    @contextlib.contextmanager
    def alone(self, work: str, who: Mapping[str, Any]) -> Iterator[str]:
        """Hold the lock for ``work`` that is no release, under a name of its own, which is returned. Raises Refused,
        naming the holder, if the lock is not free."""
        name = f"{work}-{datetime.now(timezone.utc).strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(2)}"
        try:
            with self._alive(name, who, LEASE_S):
                yield name
        finally:
            self.unlock(name)

    @contextlib.contextmanager
    def _alive(self, release: str, who: Mapping[str, Any], lease_s: float) -> Iterator[None]:
        """Take or renew the lock, and renew it while the block runs."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(lease_s / 6):
                # A lock that was taken over in the meantime must not be taken back: the next step finds out.
                with contextlib.suppress(Refused, OSError):
                    self.lock(release, who, lease_s=lease_s)

        self.lock(release, who, lease_s=lease_s)
        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        private_folder(self.folder)
        descriptor = os.open(self.folder / ".guard", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _gone(held: Mapping[str, Any]) -> bool:
    """True if the controller ran on this very host (same boot) and its process is no longer there."""
    if held.get("host") != socket.gethostname() or held.get("boot") not in (None, boot_id()):
        return held.get("host") == socket.gethostname()
    try:
        os.kill(int(held["pid"]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, KeyError, ValueError):
        return False
    return False


def boot_id() -> Optional[str]:
    """The id of this boot of this host, where the kernel tells."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None
