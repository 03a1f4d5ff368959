"""``restore``: the backup is restored into a new database, which then takes the live name."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Optional

from ... import backup as backups
from ... import databases
from ...core.errors import PapError, Refused
from ...databases import disk
from ..facts import Facts
from ..state import State
from ..work import Work
from .base import Situation, Timings
from .bring_back import BringBack


@dataclass(frozen=True)
class _Ready:
    """``restored`` is None where the database was ready before."""

    database: str
    restored: Optional[backups.Restored] = None

    def as_json(self) -> object:
        if self.restored is None:
            return {"database": self.database, "reused": True}
        backup = self.restored.backup
        return {
            "path": str(backup.path),
            "database": self.database,
            "tables": backup.manifest.tables,
            "rows": backup.manifest.rows,
            "seconds": round(self.restored.seconds, 3),
            "lines": self.restored.lines(),
            "reused": False,
        }


class Restore(BringBack):
    name = "restore"
    source = "backup"
    makes = (*BringBack.makes, "restored")

    def closed(self, state: State, facts: Facts) -> str:
        if facts.point_kind == "backup" or facts.dump:
            return ""
        if facts.backup and facts.backup.engine == "pgbackrest":
            return "the backup is one of pgBackRest, which restores whole clusters"
        return "no backup of it is noted, so there is no restore point"

    def why(self, state: State) -> str:
        return "the backup is restored into a new database, which then takes the live name"

    def refuse_absent(self, at: Situation) -> None:
        facts, path = at.facts, at.facts.to_restore
        gone = facts.removed.get(str(path))
        if gone and not path.exists():
            raise Refused(
                f"its backup is not kept any more: {gone}", hint="The runbook restores another backup by hand."
            )
        taken, where = backups.load_manifest(path), at.where
        oid = int(where.scalar("SELECT oid::int8 AS o FROM pg_database WHERE datname = current_database()"))
        taken_of = taken.manifest.database_oid  # perhaps before a rollback of ours put another in its place
        expected = backups.Expected(
            stack=facts.stack,
            database=at.live,
            system_identifier=where.facts().identifier,
            database_oid=taken_of if taken_of in where.registry.live_oids(oid) else oid,
            release=facts.release,
            sha256=facts.restore_point.sha256 if facts.restore_point else "",
        )
        if at.deep:
            taken = backups.inspect(path, expected)
            backups.must_open(taken, at.encryption)
        else:
            backups.check_identity(taken, expected)
        disk.check_copy(where, database_bytes=taken.manifest.database_bytes, purpose="the restored database")

    def steps(self, at: Situation) -> list[str]:
        restored: list[str] = []
        with contextlib.suppress(PapError):
            restored.append(f"restore {at.facts.to_restore.name} into a new database and compare it")
        return [*restored, *super().steps(at)]

    def execute(self, work: Work) -> Optional[str]:
        manifest = backups.load_manifest(work.facts.to_restore).manifest
        ready = work.step("restore", lambda: _ready(work, manifest.sha256), _Ready.as_json)
        return self.swap(work, ready.database, manifest.properties)

    def expected_s(self, timings: Timings) -> Optional[float]:
        return None if timings.restore is None else timings.restore + self.swapped_s(timings)


def _ready(work: Work, sha256: str) -> _Ready:
    """The database to put in place: the one that a killed rollback had restored and found equal, else a new one."""
    ready = databases.restored_and_proven(work.database, work.release, sha256)
    if ready:
        return _Ready(ready)
    restored = backups.restore(
        work.database,
        work.facts.to_restore,
        release=work.release,
        encryption=work.encryption,
        emit=work.hooks.emit,
    )
    return _Ready(restored.database.conninfo.dbname, restored)
