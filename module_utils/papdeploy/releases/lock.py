"""The deploy lock of a stack: a lease in its state folder on the target host, which every controller sees.

A file names the holder and is renewed while its modules work: a file lock would end with each module's process, and the
release goes on in the next one. Beside it a process on the target host holds an advisory lock on the server, against
another stack on the same database (see ``server_lock``).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional, Protocol

from ..core import storage
from ..core.clock import now
from ..core.durable import private_folder, sync_folder, write_durably
from ..core.errors import PapError, Refused, StorageFailed, TakenOver, Unavailable
from ..core.processes import MARK, Place, Process, end, since_boot
from ..core.records import as_object
from . import keeper
from .holder import Holder, Remains, alive, lock_file, read
from .records import TakeOver
from .run import Run
from .server_lock import ServerLock

LEASE_S = 120.0
_BEATS = 6  # heartbeats in a lease
_GUARD_S = 20.0  # how long one may wait for another that writes the lock: it takes milliseconds
_RESTORED_S = 4.0  # how long a keeper may take to put the lock back
_LOOK_S = 2.0  # how often a working module looks whether the lock on the server is still kept


class Notes(Protocol):
    """What the journals know of a lock."""

    def phase_of(self, release: str) -> str:
        """Where the release stands, as a clause; empty if nothing is known."""

    def took_over(self, held: Holder, by: Run, why: str) -> None:
        """Note that ``by`` has taken the lock of ``held`` over; ``why`` it was thought alive, if it was."""

    def taken_over(self, release: str, run: Run) -> Optional[TakeOver]:
        """By whom, and when, the release was taken over from ``run``."""


class Lock:
    """The deploy lock of the stack called ``stack``, whose state folder is ``folder``, as ``run`` sees it."""

    def __init__(
        self,
        folder: Path,
        run: Optional[Run] = None,
        *,
        stack: str = "",
        server: Optional[ServerLock] = None,
        notes: Optional[Notes] = None,
    ) -> None:
        self.folder = folder
        self.run = run or Run.here()
        self.stack = stack
        self.server = server
        self._notes = notes

    def by(self, run: Run) -> Lock:
        """This lock, from here on as ``run`` sees it."""
        self.run = run
        return self

    # -- looking ------------------------------------------------------------------------------------------------------

    def holder(self) -> Optional[Holder]:
        """Who holds the lock; None if it is free. Raises Refused if the file says nothing that can be understood."""
        return read(self.folder)

    def alive(self, held: Holder) -> str:
        """Why the run that holds the lock may be alive, as a clause; empty if it is proven gone."""
        why = alive(held)
        if why or self.server is None:
            return why
        return alive(held, self.server.sessions(held.release))

    def sentence(self, held: Holder) -> str:
        """The holder in words: who, since when, in which phase."""
        return held.sentence(self._notes.phase_of(held.release) if self._notes else "")

    def at_work(self) -> str:
        """For those that only read: a sentence that says who works here, or nothing."""
        held = self.holder()
        return f"a run is at work here: {self.sentence(held)}" if held and alive(held) else ""

    def command(self, held: Holder) -> str:
        """What a person types to end a holder that hangs: its release is then rolled back, if it has one."""
        is_release = bool(self._notes and self._notes.phase_of(held.release))
        limit = f" -l {self.stack}" if self.stack else ""
        return f"ansible-playbook {'rollback' if is_release else 'deploy'}.yml{limit} -e rollback_take_over=true"

    def refuse_held(self, release: str = "", *, take_over: bool = False) -> None:
        """Raise Refused, naming the holder, if a run other than this one may be at work here, or another stack on the
        database; TakenOver if ``release`` was taken over from this run."""
        self._refuse_if_taken_over(release)
        held = self.holder()
        mine = held is not None and held.run.same(self.run) and release in ("", held.release)
        if held and not mine and not take_over:
            self._refuse_alive(held)
        if self.server:
            try:
                self.server.refuse_other(held)
            except Refused:
                back = None if held else self.holder()  # it was removed by hand, and its keeper has put it back
                if back and not take_over:
                    self._refuse_alive(back)
                if not back:
                    raise

    def confirm(self, release: str) -> None:
        """Assert that this run still holds the lock for ``release``, and that its controller, if it runs on this host,
        is still there: else whoever comes next decides. Raises TakenOver or Refused."""
        self._assert_mine(release)
        if self.run.is_local(Place.here()) and not self.run.process.alive:
            raise Refused(
                f"The run that began release {release}, {self.run}, is gone: nothing more is changed here.",
                hint="The next deploy.yml or rollback.yml ends the release.",
            )

    def guard(self, release: str) -> str:
        """What a session of this run finds on the server as long as the lock is its own (see ``server_lock``); empty
        where there is none."""
        held = self._assert_mine(release)
        return self.server.name_of(held) if self.server else ""

    # -- taking and giving back ---------------------------------------------------------------------------------------

    def take(self, release: str, *, take_over: bool = False, lease_s: float = LEASE_S) -> Optional[Holder]:
        """Take the lock for ``release``, or renew it. Returns the run that was followed, if one had it.

        If a run that is proven gone has it (or any other one, with ``take_over``), what is left of that run is ended
        first: its processes on this host, its sessions on the server. Raises Refused, naming the holder, if another run
        may be alive, or if another stack works on the database.
        """
        while True:
            self._refuse_if_taken_over(release)
            held = self.holder()
            mine = held is not None and self._is_mine(held, release)
            # Asks the server, which may take long: not while others wait for the guard.
            why = "" if mine else self._judged(held, take_over)
            with self._exclusive():
                if self.holder() != held:
                    continue  # another run has come, or shown that it is alive
                if held and mine:
                    fresh = replace(self._renewed(held), lease_s=lease_s)
                else:
                    fresh = self._new(release, lease_s, held.left() if held else ())
                    if held and self._notes:
                        self._notes.took_over(held, self.run, why)
                self._write(fresh)
                break
        self._end(fresh.remains)
        try:
            self._keep(release)
        except PapError:
            self.release(release)
            raise
        return None if mine else held

    def release(self, release: str) -> None:
        """Give the lock back, if this run has it for ``release``."""
        with self._exclusive():
            held = self.holder()
            if not held or not self._is_mine(held, release):
                return
            if held.keeper:
                end([held.keeper], "")
            with storage.named(lock_file(self.folder)):
                lock_file(self.folder).unlink()
                sync_folder(self.folder)

    @contextlib.contextmanager
    def working(self, release: str) -> Iterator[None]:
        """Do a piece of the release's work: checks that this run holds the lock, and shows heartbeats meanwhile.

        Raises TakenOver if another run has it, before anything is done.
        """
        with self._alive(release):
            yield

    @contextlib.contextmanager
    def holding(self, release: str, *, take_over: bool = False) -> Iterator[None]:
        """Take the lock for ``release``, work, and give it back, however the work ends."""
        self.take(release, take_over=take_over)
        try:
            with self._alive(release):
                yield
        finally:
            self.release(release)

    @contextlib.contextmanager
    def alone(self, work: str, *, take_over: bool = False) -> Iterator[str]:
        """The same for ``work`` that is no release, under a name of its own, which is returned."""
        name = f"{work}-{datetime.now(timezone.utc).strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(2)}"
        with self.holding(name, take_over=take_over):
            yield name

    # -- inside -------------------------------------------------------------------------------------------------------

    def _is_mine(self, held: Holder, release: str) -> bool:
        return held.release == release and held.run.same(self.run)

    def _assert_mine(self, release: str) -> Holder:
        held = self.holder()
        if held and self._is_mine(held, release):
            return held
        self._refuse_if_taken_over(release)
        limit = time.monotonic() + (_RESTORED_S if self.server else 0.0)
        while held is None and time.monotonic() < limit:  # removed by hand: its keeper puts it back
            time.sleep(0.1)
            held = self.holder()
        if held and self._is_mine(held, release):
            return held
        if held:
            raise _taken_over(release, str(held.run), held.since, f"it works on {held.release} now")
        raise Refused(
            f"Release {release} no longer holds this stack: its lock is gone.",
            hint="Nothing was done. Look at the history of this stack before you start again.",
        )

    def _refuse_if_taken_over(self, release: str) -> None:
        found = self._notes.taken_over(release, self.run) if self._notes and release else None
        if found:
            raise _taken_over(release, str(found.by), found.at, "")

    def _judged(self, held: Optional[Holder], take_over: bool) -> str:
        """Why the run that is to be followed counts as alive, if it may be followed all the same."""
        if held:
            return self.alive(held) if take_over else self._refuse_alive(held)
        if self.server:
            try:
                self.server.refuse_other(None)
            except Refused:
                if not self.holder():  # else it is the lock of this stack, which was removed by hand and is back
                    raise
        return ""

    def _refuse_alive(self, held: Holder) -> str:
        why = self.alive(held)
        if not why:
            return ""
        raise Refused(
            f"Another run holds this stack: {self.sentence(held)}. It counts as alive: {why}.",
            hint="Wait until it has ended; status.yml says how far it is. Only if it hangs, end it: "
            + self.command(held),
            holder=as_object(held),
        )

    def _new(self, release: str, lease_s: float, remains: tuple[Remains, ...]) -> Holder:
        at = now()
        token = secrets.token_hex(4)
        fresh = Holder(release, at, at, lease_s, **vars(self.run), token=token, stack=self.stack, remains=remains)
        return self._renewed(fresh)

    def _renewed(self, held: Holder, *, works: bool = False) -> Holder:
        """The same with a heartbeat; ``works``: this process is a module of the run at work."""
        here, me = Place.here(), Process.of(os.getpid())
        workers = tuple(worker for worker in held.workers if worker != me and held.target == here and worker.alive)
        return replace(
            held,
            renewed=now(),
            renewed_s=since_boot(),
            target=here,
            workers=(*workers, me) if works else workers,
            keeper=held.keeper if held.target == here else None,
        )

    def _write(self, held: Holder) -> None:
        write_durably(lock_file(self.folder), json.dumps(as_object(held)).encode())

    def _end(self, remains: tuple[Remains, ...]) -> None:
        """End what runs before this one left. They stand in the lock until that is done: should this run be killed in
        between, the next one does it."""
        if not remains:
            return
        for entry in remains:
            if entry.target == Place.here():
                end(entry.processes, entry.token)
            if self.server:
                self.server.end_sessions(entry)
        with self._exclusive():
            held = self.holder()
            if held:
                self._write(replace(held, remains=tuple(e for e in held.remains if e not in remains)))

    def _keep(self, release: str) -> None:
        """See to it that the lock on the server is held. Raises Refused if another stack works on the database."""
        if self.server is None:
            return
        held = self._assert_mine(release)
        if held.keeper and held.keeper.alive:
            return
        made = keeper.start(self.server.database, self.folder, held.token, self.server.name_of(held))
        try:
            with self._exclusive():
                self._write(replace(self._assert_mine(release), keeper=made))
        except PapError:
            end([made], "")
            raise

    @contextlib.contextmanager
    def _alive(self, release: str) -> Iterator[None]:
        """Check that this run holds the lock, renew it while the block runs, and mark what the block starts."""
        with self._exclusive():
            held = self._renewed(self._assert_mine(release), works=True)
            self._write(held)
        self._keep(release)
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(min(_LOOK_S, held.lease_s / _BEATS)):
                # What was taken over must not be rolled back: the next step finds out.
                with contextlib.suppress(PapError, OSError):
                    self._beat(release)

        thread = threading.Thread(target=beat, daemon=True)
        with _marked(held.token):
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join()
                # What is wrong with the disk, the next step finds out; what this one did is done.
                with contextlib.suppress(TakenOver, Refused, StorageFailed, Unavailable), self._exclusive():
                    self._write(self._renewed(self._assert_mine(release)))

    def _beat(self, release: str) -> None:
        with self._exclusive():
            mine = self._assert_mine(release)
            if mine.age_s > mine.lease_s / _BEATS:
                self._write(self._renewed(mine, works=True))
        self._keep(release)

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        private_folder(self.folder)
        guard = self.folder / ".guard"
        with storage.named(guard):
            descriptor = os.open(guard, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock_exclusively(descriptor, guard)
            yield
        finally:
            os.close(descriptor)


def _lock_exclusively(descriptor: int, guard: Path) -> None:
    """Lock the file, which is held for moments only. Raises Unavailable, naming the process that keeps it."""
    limit = time.monotonic() + _GUARD_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > limit:
                who = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise Unavailable(
                    f"Process {who} on this host has kept {guard} locked for {_GUARD_S:g} s: it is stopped, or hangs.",
                    hint=f"Let it go on (kill -CONT {who}) or end it (kill -9 {who}), then run this again.",
                ) from None
            time.sleep(0.01)
        else:
            os.pwrite(descriptor, f"{os.getpid():<31}\n".encode(), 0)
            return


@contextlib.contextmanager
def _marked(token: str) -> Iterator[None]:
    before = os.environ.get(MARK)
    os.environ[MARK] = token
    try:
        yield
    finally:
        del os.environ[MARK]
        if before is not None:
            os.environ[MARK] = before


def _taken_over(release: str, by: str, at: str, doing: str) -> TakenOver:
    more = f" ({doing})" if doing else ""
    return TakenOver(
        f"Release {release} was taken over by {by} at {at}{more}: this run changes nothing more.",
        hint="What became of it is said by status.yml and history.yml.",
        taken_over={"by": by, "at": at},
    )
