"""What a stack wrote down of itself and of the databases that it made.

``<state>/stack.json`` says whose state folder this is. ``<state>/databases.jsonl`` holds one JSON object a line, each
on disk before the database is made or renamed. A stack without a state folder (a plan on one that was never deployed
to) remembers as long as its process lives: what that leaves behind after a kill has no owner.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Optional

from .clock import now
from .database_identity import Record
from .durable import append_durably, sync_folder, write_aside
from .errors import Refused
from .plain_json import parse
from .records import recorded, whole

FORMAT = 1
# The kind of the entries that say by which rename a database came to the live name.
LIVE = "live"
_NEW_SERVER = (
    "Check where the inventory leads. If the server was replaced for good, move the old folder away: what a rollback"
    " would need of it was on the old server."
)


@dataclass(frozen=True)
class Known(Record):
    """One line of the registry, and the last word on a database name: what kind of database was to get it, for which
    release. ``oid`` is None while CREATE DATABASE may be at work; ``was`` is the OID that had the live name before.
    Process ``pid``, which ``started`` then, noted it."""

    event: str = ""
    name: str = ""
    was: Optional[int] = None
    pid: int = 0
    started: Optional[str] = None

    @property
    def in_use(self) -> bool:
        """Whether another process that noted it last is still at work on this host."""
        return self.pid not in (0, os.getpid()) and _started(self.pid) == self.started is not None


@dataclass(frozen=True)
class _Stack:
    """Whose state folder it is, since when."""

    format: int = 0
    id: str = ""
    name: str = ""
    database: str = ""
    system_identifier: str = ""
    since: str = ""


class Registry:
    """The stack ``name`` with its live ``database``, as its state ``folder`` knows it.

    ``explains(kind, release, name, oid)`` asks the journals about databases whose record an earlier version wrote;
    ``last_user()`` is the name of the stack whose release is the newest in the folder.
    """

    def __init__(
        self,
        folder: Optional[Path] = None,
        *,
        name: str = "",
        database: str = "",
        explains: Optional[Callable[[str, str, str, int], bool]] = None,
        last_user: Optional[Callable[[], str]] = None,
    ) -> None:
        self.folder, self.name, self.database = folder, name, database
        self._explains, self._last_user = explains, last_user
        self._own_id = secrets.token_hex(8)
        self._memory: list[Known] = []

    @property
    def id(self) -> str:
        """The stack's id: random, made at first use."""
        known = self._stack()
        return known.id if known else self._own_id

    def explains(self, kind: str, release: str, name: str, oid: int) -> bool:
        """Whether a journal tells of the making of a database whose record an earlier version wrote."""
        return self._explains is not None and self._explains(kind, release, name, oid)

    def refuse_other(self, identifier: str = "") -> None:
        """Raise Refused if the state folder is that of another stack, database or server (system ``identifier``)."""
        known = self._stack()
        if known is None:
            user = self._last_user() if self._last_user else ""
            known = _Stack(name=user)
        new_name = "For the same stack under a new name, set pap_stack_name to the old one."
        for theirs, mine, what, hint in (
            (known.name, self.name, "stack", new_name),
            (known.database, self.database, "database", "If it was renamed for good, move the old folder away."),
            (known.system_identifier, identifier, "server (system identifier)", _NEW_SERVER),
        ):
            if theirs and mine and theirs != mine:
                raise Refused(
                    f"The state folder {self.folder} belongs to another {what}: {theirs}, not {mine}.",
                    hint=f"Give every stack a pap_state_dir of its own. {hint}",
                )

    def claim(self, identifier: str) -> None:
        """Write ``stack.json`` at the first use of the state folder; raises Refused if it is another stack's."""
        self.refuse_other(identifier)
        if not self._durable or self._stack():
            return
        mine = _Stack(FORMAT, self._own_id, self.name, self.database, identifier, now())

        def place(fresh: Path) -> None:
            with contextlib.suppress(FileExistsError):  # another process was first: its id is the stack's
                os.link(fresh, self._file)
            sync_folder(self._file.parent)

        write_aside(self._file, json.dumps(whole(mine), ensure_ascii=False).encode(), place)
        self.refuse_other(identifier)

    def intend(self, name: str, kind: str, release: str, oid: Optional[int] = None, **data: Any) -> None:
        """Note that a database is about to get ``name``: the one with ``oid`` (a rename), or a new one."""
        self._write("intended", name, kind=kind, release=release, oid=oid, **data)

    def made(self, name: str, oid: int, **data: Any) -> None:
        """Note the OID of what was made as intended."""
        self._write("made", name, oid=oid, **data)

    def gone(self, name: str) -> None:
        """Note that ``name`` stands for nothing of ours any more."""
        self._write("gone", name)

    def known(self) -> dict[str, Known]:
        """The names that stand for something of ours, each with the last word on it."""
        found: dict[str, Known] = {}
        for entry in self._entries():
            if entry.event == "intended":
                found[entry.name] = entry
            elif entry.event == "made" and entry.name in found:
                before = found[entry.name]
                made = replace(before, oid=entry.oid, proven=entry.proven or before.proven)
                found[entry.name] = replace(made, at=entry.at, pid=entry.pid, started=entry.started)
            elif entry.event == "gone":
                found.pop(entry.name, None)
        return found

    def live_oids(self, oid: int) -> set[int]:
        """The OIDs that the live database had before its present one, ``oid`` itself included: our own renames put one
        content in the place of the other."""
        renames = ((entry.oid, entry.was) for entry in self._entries() if entry.kind == LIVE)
        was = {new: old for new, old in renames if new is not None and old is not None}
        found = {oid}
        while oid in was and was[oid] not in found:
            oid = was[oid]
            found.add(oid)
        return found

    @property
    def _durable(self) -> bool:
        return self.folder is not None and self.folder.is_dir()

    @property
    def _file(self) -> Path:
        assert self.folder is not None
        return self.folder / "stack.json"

    def _stack(self) -> Optional[_Stack]:
        if not self._durable:
            return None
        try:
            stack = recorded(_Stack, parse(self._file.read_bytes()))
        except FileNotFoundError:
            return None
        except ValueError:
            stack = _Stack()
        if stack.format != FORMAT or not stack.id:
            raise Refused(
                f"{self._file} cannot be read, so nothing here is certain to be this stack's.",
                hint="Bring it back from a copy, or use the version of pap-deploy that wrote it.",
            )
        return stack

    def _entries(self) -> list[Known]:
        result: list[Known] = []
        if self._durable:
            assert self.folder is not None
            with contextlib.suppress(FileNotFoundError):
                for line in (self.folder / "databases.jsonl").read_bytes().split(b"\n"):
                    with contextlib.suppress(ValueError):  # a line that a killed writer tore
                        entry = parse(line)
                        if isinstance(entry, dict) and {"at", "event", "name"} <= entry.keys():
                            result.append(recorded(Known, entry))
        return result + self._memory

    def _write(self, event: str, name: str, **data: Any) -> None:
        entry = {
            "at": now(),
            "event": event,
            "name": name,
            **data,
            "pid": os.getpid(),
            "started": _started(os.getpid()),
        }
        if self._durable:
            assert self.folder is not None
            append_durably(self.folder / "databases.jsonl", entry)
        else:
            self._memory.append(recorded(Known, entry))


def _started(pid: int) -> Optional[str]:
    """When process ``pid`` started, in clock ticks since boot; None if there is none, or the kernel does not tell."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None
