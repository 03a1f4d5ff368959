"""The databases beside the live one that say they were made for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional

from .managed_names import Managed, admin_session, managed, ours, undroppable
from .psql import Database


@dataclass(frozen=True)
class Listed:
    """A database that says it was made for the live one; ``why`` it is not ours, ``obstacle``: why it could not be
    dropped now."""

    name: str
    kind: str
    release: str
    since: Optional[str]
    bytes: Optional[int]
    oid: int
    template: bool
    why: str = ""
    obstacle: str = ""


def existing(database: Database) -> list[Listed]:
    """Every database of ours for this live name. For status and retention."""
    with admin_session(database) as session:
        return [replace(_listed(entry), obstacle=undroppable(session, entry)) for entry in ours(session, database)]


def look_alikes(database: Database) -> list[Listed]:
    """Every database that says it was made for this live name and is not ours, with ``why`` not. Never touched."""
    with admin_session(database) as session:
        return [_listed(entry) for entry in managed(session, database) if not entry.ours]


def _listed(entry: Managed) -> Listed:
    found, since = entry.found, entry.record.at
    return Listed(entry.name, entry.kind, entry.release, since, found.bytes, found.oid, found.template, entry.why)
