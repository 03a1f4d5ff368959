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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from .clock import now
from .durable import append_durably, sync_folder, write_aside
from .errors import Refused
from .plain_json import parse

FORMAT = 1
# The kind of the entries that say by which rename a database came to the live name.
LIVE = "live"
_NEW_SERVER = (
    "Check where the inventory leads. If the server was replaced for good, move the old folder away: what a rollback"
    " would need of it was on the old server."
)


@dataclass(frozen=True)
class Known:
    """The last word on a database name: what kind of database was to get it, for which release. ``oid`` is None while
    CREATE DATABASE may be at work. ``data`` holds what else was noted."""

    name: str
    kind: str
    release: str
    oid: Optional[int]
    data: Mapping[str, Any]

    @property
    def in_use(self) -> bool:
        """Whether another process that noted it last is still at work on this host."""
        pid = int(self.data.get("pid") or 0)
        return pid != os.getpid() and bool(pid) and _started(pid) == self.data.get("started") is not None


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
        self._memory: list[dict[str, Any]] = []

    @property
    def id(self) -> str:
        """The stack's id: random, made at first use."""
        return str((self._stack() or {}).get("id") or self._own_id)

    def explains(self, kind: str, release: str, name: str, oid: int) -> bool:
        """Whether a journal tells of the making of a database whose record an earlier version wrote."""
        return self._explains is not None and self._explains(kind, release, name, oid)

    def refuse_other(self, identifier: str = "") -> None:
        """Raise Refused if the state folder is that of another stack, database or server (system ``identifier``)."""
        known = self._stack()
        if known is None:
            user = self._last_user() if self._last_user else ""
            known = {"name": user} if user else {}
        for key, mine, what, hint in (
            ("name", self.name, "stack", "For the same stack under a new name, set pap_stack_name to the old one."),
            ("database", self.database, "database", "If it was renamed for good, move the old folder away."),
            ("system_identifier", identifier, "server (system identifier)", _NEW_SERVER),
        ):
            theirs = known.get(key)
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
        mine = {
            "format": FORMAT,
            "id": self._own_id,
            "name": self.name,
            "database": self.database,
            "system_identifier": identifier,
            "since": now(),
        }

        def place(fresh: Path) -> None:
            with contextlib.suppress(FileExistsError):  # another process was first: its id is the stack's
                os.link(fresh, self._file)
            sync_folder(self._file.parent)

        write_aside(self._file, json.dumps(mine, ensure_ascii=False).encode(), place)
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
        found: dict[str, dict[str, Any]] = {}
        for entry in self._entries():
            name = str(entry.get("name"))
            if entry.get("event") == "intended":
                found[name] = entry
            elif entry.get("event") == "made" and name in found:
                found[name] = {**found[name], **entry}
            elif entry.get("event") == "gone":
                found.pop(name, None)
        return {
            name: Known(name, str(e.get("kind")), str(e.get("release")), e["oid"] and int(e["oid"]), e)
            for name, e in found.items()
        }

    def live_oids(self, oid: int) -> set[int]:
        """The OIDs that the live database had before its present one, ``oid`` itself included: our own renames put one
        content in the place of the other."""
        was = {int(e["oid"]): int(e["was"]) for e in self._entries() if e.get("kind") == LIVE}
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

    def _stack(self) -> Optional[dict[str, Any]]:
        if not self._durable:
            return None
        try:
            value = parse(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            value = None
        if not isinstance(value, dict) or value.get("format") != FORMAT or not value.get("id"):
            raise Refused(
                f"{self._file} cannot be read, so nothing here is certain to be this stack's.",
                hint="Bring it back from a copy, or use the version of pap-deploy that wrote it.",
            )
        return value

    def _entries(self) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = []
        if self._durable:
            assert self.folder is not None
            with contextlib.suppress(FileNotFoundError):
                for line in (self.folder / "databases.jsonl").read_bytes().split(b"\n"):
                    with contextlib.suppress(ValueError):  # a line that a killed writer tore
                        entry = parse(line)
                        if isinstance(entry, dict) and {"at", "event", "name"} <= entry.keys():
                            result.append(entry)
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
            self._memory.append(entry)


def _started(pid: int) -> Optional[str]:
    """When process ``pid`` started, in clock ticks since boot; None if there is none, or the kernel does not tell."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None
