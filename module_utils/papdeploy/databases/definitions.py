"""What a database is besides its content: every object of its catalog, its owner, privileges and settings.

Noted when a release has taken over, so that what its migrations and its API's own start define belongs to the release.
What is defined otherwise later was changed by others, and rolling back with the whole database undoes that as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Optional

from ..core.records import recorded
from ..core.text import few
from . import content_digest, properties, write_snapshot
from .content_digest import ContentDigest
from .other_losses import Change
from .properties import Setting
from .psql import Database, Session
from .write_snapshot import Counters

_LOCK_TIMEOUT_S = 15.0
_MOST = 6

# Writes to the catalogs that define anything: two equal numbers mean that there was none. Temporary tables count as
# well, ANALYZE and VACUUM do not.
_WRITES = """
SELECT sum(pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid) + pg_stat_get_tuples_deleted(oid))::text
FROM pg_class
WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared
  AND relname NOT IN ('pg_statistic', 'pg_statistic_ext_data', 'pg_largeobject', 'pg_largeobject_metadata')"""

_RELATIONS = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "f": "foreign table", "S": "sequence"}
_PARTS = ("column", "constraint", "trigger", "rule", "policy")


@dataclass(frozen=True)
class Stamp:
    """How often the catalogs were written to, of which database (OID): two equal ones mean that nothing was defined."""

    writes: Optional[str]
    counters: Counters
    database: Optional[int] = None


@dataclass(frozen=True)
class Own:
    """Owner, privileges and settings. Comment and connection limit stay with the live name whatever takes its place."""

    owner: str
    privileges: tuple[str, ...]
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class Definitions:
    """What a database was at a moment. ``catalog``: the content digest, as plain data."""

    stamp: Stamp
    catalog: Mapping[str, Any]
    properties: Own


@dataclass(frozen=True)
class _Object:
    """An object of the catalog with its attributes."""

    kind: str
    schema: str
    name: str
    attributes: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.schema, self.name

    def __str__(self) -> str:
        kind, schema, name = self.key
        if kind in ("comment", "object", "default", "event", "privileges"):  # the key says the rest in words
            return f"{'' if kind == 'object' else kind + ' '}{'on ' if kind in ('comment', 'privileges') else ''}{name}"
        if kind == "relation":
            kind = _RELATIONS.get(recorded(_Relation, self.attributes).kind, kind)
        return f"{kind} {name if not schema or name.startswith(schema + '.') else f'{schema}.{name}'}"

    def differing(self, new: _Object) -> str:
        """The attributes in which ``new`` is another, in words."""
        before, after = self.attributes, new.attributes
        names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
        return ", ".join("privileges" if name == "acl" else name for name in names)


@dataclass(frozen=True)
class _Relation:
    kind: str = ""


def note(database: Database) -> Definitions:
    """The definitions of this moment. Raises CommandFailed if a table stays locked."""
    with content_digest.snapshot_session(database) as session:
        stamp = _stamp(session)  # before the catalog: what comes between counts as later
        return Definitions(stamp, _catalog(database, session).as_dict(), _own(session, database))


def changed(database: Database, noted: Definitions, ignore_schemas: Sequence[str] = ()) -> list[Change]:
    """What is defined otherwise than ``noted``. The catalog is read only where it was written to since."""
    with content_digest.snapshot_session(database) as session:
        if write_snapshot.elsewhere(session, noted.stamp.database):
            return []  # a rollback has put another database in its place: the mark says that nothing can be told
        found = [*_settings(noted.properties, _own(session, database))]
        if _stamp(session) == noted.stamp:
            return found
        now = _catalog(database, session)
    before = ContentDigest.from_dict(noted.catalog)
    return [*between(before, now, ignore_schemas), *found]


def between(before: ContentDigest, after: ContentDigest, ignore_schemas: Sequence[str] = ()) -> list[Change]:
    """The objects that two catalogs of one database differ in: made, changed and dropped ones."""
    skip = set(ignore_schemas)
    before, after = content_digest.in_one_format(before, after)
    old, new = ({one.key: one for one in _objects(side, skip)} for side in (before, after))
    made = _whole([key for key in new if key not in old])
    gone = _whole([key for key in old if key not in new])
    # A table that has another column is told by that column.
    other = [(new[key], old[key].differing(new[key])) for key in new if key in old and old[key] != new[key]]
    groups = (
        ("made since", [str(new[key]) for key in made], False),
        ("changed since", [f"{one} ({what})" for one, what in other], False),
        ("dropped since", [str(old[key]) for key in gone], True),
    )
    versions = [Change(f"changed since: {note.rstrip('.')}") for note in content_digest.notes(before, after)]
    return [*(Change(f"{how}: {few(names, _MOST)}", back) for how, names, back in groups if names), *versions]


def _catalog(database: Database, session: Session) -> ContentDigest:
    return content_digest.take(database, session=session, rows=False, lock_timeout_s=_LOCK_TIMEOUT_S)


def _stamp(session: Session) -> Stamp:
    database = write_snapshot.moment(session).database
    return Stamp(session.scalar(_WRITES), write_snapshot.counters(session), database)


def _own(session: Session, database: Database) -> Own:
    found = properties.capture(session, database.conninfo.dbname)
    return Own(found.owner, found.privileges, found.settings)


def _settings(before: Own, after: Own) -> Iterator[Change]:
    names = [field.name for field in fields(Own) if getattr(before, field.name) != getattr(after, field.name)]
    if names:
        yield Change(f"changed since: {' and '.join(names)} of the database itself")


def _objects(catalog: ContentDigest, skip: set[str]) -> Iterator[_Object]:
    for schema, objects in catalog.catalog.items():
        for key, attributes in objects.items() if schema not in skip else ():
            kind, _, name = key.partition(" ")
            if kind != "sequence":  # it is a relation as well; its parameters are told with that
                known = {what: item for what, item in attributes.items() if what != "later"}
                parameters = objects.get(f"sequence {name}") if kind == "relation" else None
                yield _Object(kind, schema, name, {**known, **parameters, "kind": "S"} if parameters else known)


def _whole(keys: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Without the parts of relations that are themselves among them, and what is said of such parts."""
    relations = {(schema, name) for kind, schema, name in keys if kind == "relation"}
    return [
        (kind, schema, name)
        for kind, schema, name in keys
        if not (kind in _PARTS and any((schema, owner) in relations for owner in _prefixes(name)))
    ]


def _prefixes(name: str) -> Iterator[str]:
    """The names that may be a relation's in ``relation.part``: either may have a dot in it."""
    pieces = name.split(".")
    return (".".join(pieces[:count]) for count in range(1, len(pieces)))
