"""What goes back with a database besides the rows of its tables: the positions of sequences, and large objects.

Sequences belong to no transaction: a number that was taken stays taken. A mark notes every position, and each that is
another one later is named, whoever moved it; of a sequence with a cache, the numbers that a session holds and has not
given out yet are among them. Large objects are rows of two catalogs, and known as rows are: by row version and counter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from ..core.text import few, plural
from . import table_reader
from .content_digest.queries import no_member, unlocked, user_schema
from .psql import Session

_SEQUENCES = f"""
SELECT n.nspname AS schema, c.relname AS name, c.oid::int8 AS oid, q.seqincrement AS step, q.seqcache AS cache,
       EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                  AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')) AS owned,
       has_sequence_privilege(c.oid, 'SELECT') AND {unlocked("c.oid")} AS readable
FROM pg_sequence q JOIN pg_class c ON c.oid = q.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND {user_schema()}
  AND ({no_member("pg_class", "c.oid")} OR has_sequence_privilege(c.oid, 'SELECT'))
ORDER BY 1, 2"""

_PAGES, _OBJECTS = "pg_largeobject", "pg_largeobject_metadata"
_LARGE_OBJECTS = f"""
SELECT c.relname AS name, pg_stat_get_tuples_inserted(c.oid) AS inserted, pg_stat_get_tuples_updated(c.oid) AS updated,
       pg_stat_get_tuples_deleted(c.oid) AS deleted, pg_relation_size(c.oid) AS bytes,
       has_table_privilege(c.oid, 'SELECT') AS readable
FROM pg_class c WHERE c.oid IN ('pg_catalog.{_PAGES}'::regclass, 'pg_catalog.{_OBJECTS}'::regclass)"""
_NAMED = 3

# Only superusers and members of pg_read_all_data may read the catalog of the content. Who may not, looks at the
# beginning of his own large objects, where all of them together are small.
_SMALL_BYTES = 4 * 1024 * 1024
_CONTENTS = f"""
SELECT m.oid::text AS id, md5(lo_get(m.oid, 0, 1048576)) AS digest
FROM pg_catalog.{_OBJECTS} m WHERE pg_has_role(m.lomowner, 'USAGE')"""


@dataclass(frozen=True)
class _Sequence:
    """A sequence as the catalog has it."""

    schema: str
    name: str
    oid: int
    step: int
    cache: int
    owned: bool
    readable: bool


@dataclass(frozen=True)
class _Read:
    oid: int
    last: str
    called: bool


@dataclass(frozen=True)
class Position:
    """The position of a sequence. One that cannot be read now has ``last`` None: it is locked, or we have no right to
    it (then no backup can be made either, nor a restore)."""

    schema: str
    oid: int
    step: int
    cache: int
    owned: bool
    last: Optional[str]
    called: Optional[bool] = None

    def __str__(self) -> str:
        return f"{int(self.last or 0)}{'' if self.called else ' (not yet used)'}"


Positions = Mapping[str, Position]


@dataclass(frozen=True)
class Writes:
    """Rows of a catalog that were ever written."""

    inserted: int
    updated: int
    deleted: int

    def since(self, before: Writes) -> Writes:
        inserted, updated = self.inserted - before.inserted, self.updated - before.updated
        return Writes(inserted, updated, self.deleted - before.deleted)

    @property
    def total(self) -> int:
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True)
class _Catalog:
    """One of the two catalogs of large objects."""

    name: str
    inserted: int
    updated: int
    deleted: int
    bytes: int
    readable: bool

    @property
    def writes(self) -> Writes:
        return Writes(self.inserted, self.updated, self.deleted)


@dataclass(frozen=True)
class _Content:
    id: str
    digest: str


@dataclass(frozen=True)
class LargeObjects:
    """What was written to the two catalogs; and by object the digest of its beginning, where only that tells."""

    pg_largeobject: Writes
    pg_largeobject_metadata: Writes
    contents: Mapping[str, str]


@dataclass(frozen=True)
class Change:
    """One thing that is not what it was, as a sentence. ``back``: it was taken away, and a restore brings it back.
    ``numbers``: only numbers were taken for a column; the rows that hold them count by themselves."""

    sentence: str
    back: bool = False
    numbers: bool = False


def positions(session: Session) -> Positions:
    """The position of every sequence by "schema.name"."""
    listed = session.records(_Sequence, _SEQUENCES)
    queries = [
        table_reader.query(one, f"SELECT {one.oid} AS oid, last_value::text AS last, is_called AS called")
        for one in listed
        if one.readable
    ]
    # By the owner's login as well: what was a sequence a moment ago may be a table now.
    read = {row.oid: row for row in table_reader.records(session, _Read, queries)}
    return {f"{one.schema}.{one.name}": _position(one, read.get(one.oid)) for one in listed}


def _position(one: _Sequence, at: Optional[_Read]) -> Position:
    last, called = (at.last, at.called) if at else (None, None)
    return Position(one.schema, one.oid, one.step, one.cache, one.owned, last, called)


def taken(before: Positions, after: Positions) -> dict[str, int]:
    """How many numbers were taken from each sequence, where that explains its position."""
    counts = {name: _taken(before[name], entry) for name, entry in after.items() if name in before}
    return {name: count for name, count in counts.items() if count is not None and count > 0}


def moved(
    before: Positions, after: Positions, *, own: Mapping[str, int], ignore_schemas: Sequence[str] = ()
) -> tuple[list[Change], int]:
    """The sequences that are not where they were; and how many numbers were taken by our smoke-test logins alone, which
    may have taken ``own`` of each."""
    changes: list[Change] = []
    mine = 0
    for name, entry in after.items():
        old = before.get(name)
        if entry.schema in ignore_schemas or entry.last is None:
            continue  # a locked one is looked at again under the fence
        if old is None or old.oid != entry.oid:
            if entry.called:
                changes.append(Change(f"sequence {name}, made since, has come to {int(entry.last)}"))
            continue
        count = _taken(old, entry)
        if count is not None and 0 < count <= own.get(name, 0):
            mine += count
        elif count != 0 or old.last != entry.last:
            only_numbers = count is not None and entry.owned
            changes.append(Change(_sentence(name, old, entry, count), numbers=only_numbers))
    for name, old in before.items():
        if name not in after and not old.owned and old.schema not in ignore_schemas:
            changes.append(Change(f"sequence {name} was dropped", back=True))  # an owned one went with its column
    return changes, mine


def _taken(old: Position, new: Position) -> Optional[int]:
    """Numbers that lead from one position to the other; None if none do, or one of them is not known."""
    if old.last is None or new.last is None or old.oid != new.oid:
        return None
    steps, rest = divmod(int(new.last) - int(old.last), new.step)
    count = steps + bool(new.called) - bool(old.called)
    return None if rest or count < 0 else count


def _sentence(name: str, old: Position, new: Position, count: Optional[int]) -> str:
    if old.last is None:
        return f"sequence {name} stands at {new}, and could not be read before"
    way = f"from {old} to {new}"
    if count is None:
        return f"sequence {name} was set {way}"
    up_to = "up to " if new.cache > 1 else ""
    return f"sequence {name} went {way}, {up_to}{plural(count, 'number')}"


def writes(session: Session) -> int:
    """How many pieces of large objects were ever written, by the counters."""
    return sum(catalog.writes.total for catalog in _catalogs(session))


def _catalogs(session: Session) -> tuple[_Catalog, _Catalog]:
    """That of the content, and that of the objects."""
    found = {catalog.name: catalog for catalog in session.records(_Catalog, _LARGE_OBJECTS)}
    return found[_PAGES], found[_OBJECTS]


def of_large_objects(session: Session) -> LargeObjects:
    pages, objects = _catalogs(session)
    return LargeObjects(pages.writes, objects.writes, _contents(session, pages))


def _contents(session: Session, pages: _Catalog) -> dict[str, str]:
    if pages.readable or pages.bytes > _SMALL_BYTES:
        return {}
    return {row.id: row.digest for row in session.records(_Content, _CONTENTS)}


def large_objects(
    session: Session, before: LargeObjects, newer: str, *, certain: bool, others: int, most: int
) -> list[Change]:
    """The large objects that were written or deleted since. ``newer``: the condition on a row version ``t``; the
    counters are those of then if ``certain``. Of more than ``most`` bytes the content is not read: the counters say how
    many pieces of it were written at most, and the other catalog which objects were made or given away."""
    pages, objects = _catalogs(session)
    pieces = pages.writes.since(before.pg_largeobject)
    made = objects.writes.since(before.pg_largeobject_metadata)
    if certain and not others and pieces == made == Writes(0, 0, 0):
        return []
    queries = [f"SELECT t.oid::int8 AS id FROM pg_catalog.{_OBJECTS} AS t WHERE {newer}"]
    whole = pages.readable and pages.bytes <= most
    if whole:
        queries.append(f"SELECT t.loid::int8 FROM pg_catalog.{_PAGES} AS t WHERE {newer}")
    written = {int(oid) for oid in session.column(" UNION ".join(queries))}
    digests = _contents(session, pages)
    rewritten = {int(key) for key, digest in digests.items() if before.contents.get(key) != digest}
    unseen = pieces.inserted + pieces.updated if certain and not (whole or rewritten) else 0
    return [*_written(sorted(written | rewritten)), *_unnamed(unseen, made.deleted if certain else 0)]


def _written(ids: Sequence[int]) -> Iterator[Change]:
    if ids:
        named = few([*map(str, ids)], _NAMED)
        yield Change(f"{plural(len(ids), 'large object')} {_were(len(ids))} written ({named})")


def _unnamed(pieces: int, deleted: int) -> Iterator[Change]:
    if pieces:
        yield Change(f"up to {plural(pieces, 'piece')} of large objects {_were(pieces)} written")
    if deleted:
        yield Change(f"up to {plural(deleted, 'large object')} {_were(deleted)} deleted")


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
