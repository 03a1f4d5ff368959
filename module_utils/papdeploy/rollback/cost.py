"""What rolling back with the whole database would lose: rows, and what else is not what it was at the restore point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Optional

from .. import backup as backups
from ..core import text
from ..core.errors import CommandFailed
from ..databases import Written, definitions, write_snapshot
from ..databases.live_state import LEDGER_SCHEMA
from ..databases.other_losses import Change
from ..databases.psql import Database

Fence = Optional[Mapping[str, Any]]


def written(where: Database, facts: Mapping[str, Any], fence: Fence, strategy: str) -> Written:
    """What the strategy would lose: written after the fence was lifted, or, where that is not known, after the restore
    point was made (then the release's own migrations count as well). ``written_before`` is what had been counted when a
    downgrade, which rewrites rows itself, was tried."""
    found = _since(where, facts, fence, strategy)
    earlier = facts.get("written_before")
    return found.plus(replace(Written.from_dict(earlier), why=found.why)) if earlier else found


def _since(where: Database, facts: Mapping[str, Any], fence: Fence, strategy: str) -> Written:
    point, lifted = facts.get("restore_point") or {}, facts.get("unfence") or {}
    of_point = (strategy == "swap") == (point.get("kind") == "snapshot") and point.get("mark")
    # Only the very same raising of the fence proves it: a rollback that was killed raised one of its own.
    if of_point and fence and point.get("fence_id") and point["fence_id"] == fence["id"]:
        return Written({}, True, "the fence has been up since the restore point")
    mark = (lifted.get("mark") or point["mark"]) if of_point else None
    if mark is None:
        path = (facts.get("backup") or {}).get("path")
        mark = backups.load_manifest(str(path)).manifest["mark"] if path else None
    if mark is None:
        return Written({}, False, "no mark was taken, so what was written since cannot be counted")
    own = write_snapshot.Own(**(facts.get("own") or {}))
    try:
        found = write_snapshot.written_since(where, mark, ignore_schemas=(LEDGER_SCHEMA,), own=own)
    except CommandFailed as error:
        if "permission denied for" not in error.message:
            raise
        role = where.conninfo.user or "the administrating role"
        mend = f"give {role} the right to read it (GRANT SELECT), or the table to the database's owner"
        return Written({}, False, f"what was written cannot be counted: {error.message.rstrip('.')}; {mend}")
    earlier = [Change(sentence) for sentence in (point.get("defined_since") or []) if of_point]
    try:
        noted = facts.get("definitions")
        defined = definitions.changed(where, noted, (LEDGER_SCHEMA,)) if noted else []
    except CommandFailed as error:  # a table is locked, which under the fence none is
        if fence:
            raise
        return replace(found, so_far=f"{found.so_far}; what was defined since could not be read: {error.message}")
    return replace(found, besides=(*found.besides, *earlier, *defined))


def not_noted(facts: Mapping[str, Any], fence: Fence) -> str:
    """What the cost cannot say, in words."""
    point = facts.get("restore_point") or {}
    if facts.get("definitions") or facts.get("written_before") or (fence and point.get("fence_id") == fence["id"]):
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
