"""The deploy lock of a stack: a lease in its state folder, which every controller sees."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

from ..core.clock import now, seconds_between
from ..core.durable import private_folder, sync_folder, write_durably
from ..errors import Refused

LEASE_S = 120.0


def described(held: Mapping[str, Any]) -> str:
    """Who holds a lock, as :meth:`State.holder` returned it, in words."""
    who = f"{held['user']}@{held['host']}"
    return f"{held['release']}, started by {who} at {held['since']}, last sign of life {held['renewed']}"


class Lock:
    """The deploy lock of the stack whose state folder is ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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

    def take(self, release: str, who: Mapping[str, Any], *, take_over: bool = False, lease_s: float = LEASE_S) -> None:
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

    def release(self, release: str) -> None:
        """Give the lock back, if ``release`` has it."""
        with self._guard():
            held = self.holder()
            if held and held["release"] == release:
                self._lock_file.unlink()
                sync_folder(self.folder)

    @contextlib.contextmanager
    def working(self, release: str) -> Iterator[None]:
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
            yield

    @contextlib.contextmanager
    def alone(self, work: str, who: Mapping[str, Any]) -> Iterator[str]:
        """Hold the lock for ``work`` that is no release, under a name of its own, which is returned. Raises Refused,
        naming the holder, if the lock is not free."""
        name = f"{work}-{datetime.now(timezone.utc).strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(2)}"
        try:
            with self._alive(name, who, LEASE_S):
                yield name
        finally:
            self.release(name)

    @contextlib.contextmanager
    def _alive(self, release: str, who: Mapping[str, Any], lease_s: float) -> Iterator[None]:
        """Take or renew the lock, and renew it while the block runs."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(lease_s / 6):
                # A lock that was taken over in the meantime must not be taken back: the next step finds out.
                with contextlib.suppress(Refused, OSError):
                    self.take(release, who, lease_s=lease_s)

        self.take(release, who, lease_s=lease_s)
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
