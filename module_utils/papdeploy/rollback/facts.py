"""What a release has done, as its journal tells it: what a rollback is chosen by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from ..core.errors import Refused
from ..databases import Written
from ..databases.definitions import Definitions
from ..databases.relation_baseline import Baseline
from ..databases.relation_losses import Loss
from ..databases.write_counts import Own
from ..databases.write_snapshot import Mark
from ..releases.records import Backup, RestorePoint
from ..releases.version import Version


@dataclass(frozen=True)
class Facts:
    """All but ``release`` may be missing: the deploy did not come so far.

    ``lifted``: the write snapshot of when the fence was lifted. ``reversible``: every migration of the release has a
    downgrade; ``old_works_on_new``: the rehearsal ran the old API on the new schema; ``rehearsed``: there was a
    rehearsal; ``reversible_why`` and ``old_api_why``: what it says of the two. ``switched``: the API was switched.
    ``own``: what our smoke tests wrote. ``definitions``: those of when the release had taken over. ``removed``: by
    path, when and why a backup of it was removed. ``stack``: whose backup it must be. ``api_problem``: why the API
    could not go back. ``data``: the baseline from the end of the fence; ``noted``: what the deploy itself found to be
    lost; ``may_delete``: tables in which the service deletes by itself; ``deploying``: the release has not finished.
    ``written_before``: what had been counted before a downgrade, which rewrites rows itself, was tried.
    """

    release: str
    before_version: Optional[Version] = None
    restore_point: Optional[RestorePoint] = None
    backup: Optional[Backup] = None
    lifted: Optional[Mark] = None
    reversible: bool = False
    reversible_why: str = ""
    downgrade_loses: str = ""
    rehearsed: bool = False
    old_works_on_new: bool = False
    old_api_why: str = ""
    switched: bool = False
    own: Own = field(default_factory=Own)
    definitions: Optional[Definitions] = None
    removed: Mapping[str, str] = field(default_factory=dict)
    stack: str = ""
    api_problem: str = ""
    data: Optional[Baseline] = None
    noted: tuple[Loss, ...] = ()
    may_delete: Optional[tuple[str, ...]] = None
    deploying: bool = False
    written_before: Optional[Written] = None

    @property
    def point_kind(self) -> str:
        """The kind of its restore point; empty if it has none."""
        return self.restore_point.kind if self.restore_point else ""

    @property
    def dump(self) -> str:
        """The path of the release's own backup; empty if it has none that can be restored by itself."""
        return self.backup.path if self.backup else ""

    @property
    def restorable(self) -> bool:
        """Whether there is anything that the data of before can come back from."""
        return bool(self.point_kind or self.dump)

    @property
    def to_restore(self) -> Path:
        """The backup to restore: the restore point, or the release's backup where the restore point is a snapshot."""
        path = self.restore_point.path if self.restore_point and self.point_kind == "backup" else self.dump
        if not path:
            raise Refused("The journal names no backup of this release.")
        return Path(path)
