"""The restore point: what rollback goes back to. Made sure of under the fence, before the first change."""

from __future__ import annotations

from typing import Any

from .. import backup, databases
from ..journal import Journal, private_folder
from ..postgres import Database
from ..stack import Stack


def make(stack: Stack, journal: Journal, behind: Database, kind: str) -> dict[str, Any]:
    """The proven backup if nothing was written since it was taken; else a snapshot, or a second backup.

    ``behind`` is the database behind the fence. ``kind``: "backup" takes a second backup where rows were written
    since, "snapshot" copies the database beside itself, "auto" copies. Returns ``kind``, ``path`` or ``database``,
    and the sentence that says which and why.
    """
    with journal.checkpoint("restore_point") as done:
        point = _choose(stack, journal, behind, kind)
        done.update(point)
    return point


def _choose(stack: Stack, journal: Journal, behind: Database, kind: str) -> dict[str, Any]:
    taken = journal.last("backup")
    if taken is not None and taken["proof"]["kind"] == "full":
        proven = backup.load_manifest(taken["path"])
        written = databases.written_since(behind, proven.manifest["mark"], ignore_schemas=["pap_deploy"])
        if written.nothing:
            return {
                "kind": "backup",
                "path": str(proven.path),
                "sentence": "restore point: the proven backup, nothing was written since it was taken",
            }
        since = f"{written.rows:,} rows were written since the backup" if written.rows else written.why
    else:
        since = "there is no backup with a full proof"
    if kind == "backup":
        second = backup.take(
            behind,
            private_folder(stack.state.backups_folder),
            stack=stack.name,
            release=journal.release,
            live=stack.database.conninfo.dbname,
        )
        return {
            "kind": "backup",
            "path": str(second.path),
            "sentence": f"restore point: a second backup under the fence ({since}): {second.sentence()}",
        }
    copy = databases.snapshot(behind, journal.release, live=stack.database.conninfo.dbname)
    return {
        "kind": "snapshot",
        "database": copy["name"],
        "seconds": copy["seconds"],
        "sentence": f"restore point: a snapshot made in {copy['seconds']:.1f} s ({since})",
    }
