"""What rolling back with the whole database would lose: rows, and what else is not what it was at the restore point."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

from .. import backup as backups
from ..core import text
from ..core.errors import CommandFailed
from ..databases import Written, definitions, write_snapshot
from ..databases.fence import Fence
from ..databases.live_state import LEDGER_SCHEMA
from ..databases.other_losses import Change
from ..databases.psql import Database
from ..releases.records import RestorePoint
from .facts import Facts


def written(where: Database, facts: Facts, fence: Optional[Fence], source: str) -> Written:
    """What going back to ``source`` ("snapshot" or "backup") would lose: written after the fence was lifted, or, where
    that is not known, after the restore point was made (then the release's own migrations count as well)."""
    found = _since(where, facts, fence, source)
    return found.plus(replace(facts.written_before, why=found.why)) if facts.written_before else found


def _since(where: Database, facts: Facts, fence: Optional[Fence], source: str) -> Written:
    point = facts.restore_point
    if point and not ((source == "snapshot") == (point.kind == "snapshot") and point.mark):
        point = None  # it is not what would be gone back to
    if point and is_of(point, fence):
        return Written({}, True, "the fence has been up since the restore point")
    mark = (facts.lifted or point.mark) if point else None
    if mark is None:
        mark = backups.load_manifest(facts.dump).manifest.mark if facts.dump else None
    if mark is None:
        return Written({}, False, "no mark was taken, so what was written since cannot be counted")
    try:
        found = write_snapshot.written_since(where, mark, ignore_schemas=(LEDGER_SCHEMA,), own=facts.own)
    except CommandFailed as error:
        if "permission denied for" not in error.message:
            raise
        role = where.conninfo.user or "the administrating role"
        mend = f"give {role} the right to read it (GRANT SELECT), or the table to the database's owner"
        return Written({}, False, f"what was written cannot be counted: {error.message.rstrip('.')}; {mend}")
    earlier = [Change(sentence) for sentence in point.defined_since] if point else []
    try:
        noted = facts.definitions
        defined = definitions.changed(where, noted, (LEDGER_SCHEMA,)) if noted else []
    except CommandFailed as error:  # a table is locked, which under the fence none is
        if fence:
            raise
        return replace(found, so_far=f"{found.so_far}; what was defined since could not be read: {error.message}")
    return replace(found, besides=(*found.besides, *earlier, *defined))


def is_of(point: RestorePoint, fence: Optional[Fence]) -> bool:
    """Whether ``fence`` has been up since. Only the very same raising of it proves that: a rollback that was killed
    raised one of its own."""
    return bool(fence and point.fence_id and point.fence_id == fence.id)


def not_noted(facts: Facts, fence: Optional[Fence]) -> str:
    """What the cost cannot say, in words."""
    point = facts.restore_point
    if facts.definitions or facts.written_before or (point and is_of(point, fence)):
        return ""
    return "; whether anybody has defined anything since (a view, a grant) is not known: the deploy did not come so far"


def sentence(written: Written) -> str:
    ours = [text.plural(written.own, "row")] if written.own else []
    ours += [text.plural(written.own_numbers, "number of a sequence", "numbers of sequences")] * bool(
        written.own_numbers
    )
    own = f" but the {' and '.join(ours)} that the login smoke test wrote" if ours else ""
    if written.certain and not written.anything:
        return f"loses nothing{own}{' so far' if written.so_far else ''}: {written.so_far or written.why}"
    return f"goes back behind what was written since the restore point: {written.sentence()}"
