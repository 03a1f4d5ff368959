"""What goes back with a database besides the rows of its tables: the positions of sequences, and large objects.

Sequences belong to no transaction: a number that was taken stays taken. A mark notes every position, and each that is
another one later is named, whoever moved it; of a sequence with a cache, the numbers that a session holds and has not
given out yet are among them. Large objects are rows of two catalogs, and known as rows are: by row version and counter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ..core.text import few, plural
from . import table_reader
from .content_digest.queries import no_member, unlocked, user_schema
from .psql import Session

Positions = dict[str, dict[str, Any]]

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
_COUNTERS = ("inserted", "updated", "deleted")
_NAMED = 3

# Only superusers and members of pg_read_all_data may read the catalog of the content. Who may not, looks at the
# beginning of his own large objects, where all of them together are small.
_SMALL_BYTES = 4 * 1024 * 1024
_CONTENTS = f"""
SELECT m.oid::text AS id, md5(lo_get(m.oid, 0, 1048576)) AS digest
FROM pg_catalog.{_OBJECTS} m WHERE pg_has_role(m.lomowner, 'USAGE')"""


@dataclass(frozen=True)
class Change:
    """One thing that is not what it was, as a sentence. ``back``: it was taken away, and a restore brings it back.
    ``numbers``: only numbers were taken for a column; the rows that hold them count by themselves."""

    sentence: str
    back: bool = False
    numbers: bool = False


def note(session: Session) -> dict[str, Any]:
    """The part of a mark that is about neither rows nor tables."""
    return {"sequences": positions(session), "large_objects": _large_objects(session)}


def positions(session: Session) -> Positions:
    """The position of every sequence by "schema.name". One that cannot be read now has ``last`` None: it is locked, or
    we have no right to it (then no backup can be made either, nor a restore)."""
    found: Positions = {}
    listed = session.rows(_SEQUENCES)
    readable = [entry for entry in listed if entry["readable"]]
    queries = [
        table_reader.query(entry, f"SELECT {int(entry['oid'])} AS oid, last_value::text AS last, is_called AS called")
        for entry in readable
    ]
    # By the owner's login as well: what was a sequence a moment ago may be a table now.
    read = {int(row.pop("oid")): row for row in table_reader.rows(session, queries)}
    for entry in listed:
        kept = {key: entry[key] for key in ("schema", "oid", "step", "cache", "owned")}
        found[f"{entry['schema']}.{entry['name']}"] = {**kept, **read.get(int(entry["oid"]), {"last": None})}
    return found


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
        if entry["schema"] in ignore_schemas or entry["last"] is None:
            continue  # a locked one is looked at again under the fence
        if old is None or int(old["oid"]) != int(entry["oid"]):
            if entry["called"]:
                changes.append(Change(f"sequence {name}, made since, has come to {int(entry['last'])}"))
            continue
        count = _taken(old, entry)
        if count is not None and 0 < count <= own.get(name, 0):
            mine += count
        elif count != 0 or old["last"] != entry["last"]:
            only_numbers = count is not None and bool(entry["owned"])
            changes.append(Change(_sentence(name, old, entry, count), numbers=only_numbers))
    for name, old in before.items():
        if name not in after and not old["owned"] and old["schema"] not in ignore_schemas:
            changes.append(Change(f"sequence {name} was dropped", back=True))  # an owned one went with its column
    return changes, mine


def _taken(old: Mapping[str, Any], new: Mapping[str, Any]) -> Optional[int]:
    """Numbers that lead from one position to the other; None if none do, or one of them is not known."""
    if old["last"] is None or new["last"] is None or int(old["oid"]) != int(new["oid"]):
        return None
    steps, rest = divmod(int(new["last"]) - int(old["last"]), int(new["step"]))
    count = steps + int(new["called"]) - int(old["called"])
    return None if rest or count < 0 else count


def _sentence(name: str, old: Mapping[str, Any], new: Mapping[str, Any], count: Optional[int]) -> str:
    if old["last"] is None:
        return f"sequence {name} stands at {_said(new)}, and could not be read before"
    way = f"from {_said(old)} to {_said(new)}"
    if count is None:
        return f"sequence {name} was set {way}"
    up_to = "up to " if int(new["cache"]) > 1 else ""
    return f"sequence {name} went {way}, {up_to}{plural(count, 'number')}"


def _said(position: Mapping[str, Any]) -> str:
    return f"{int(position['last'])}{'' if position['called'] else ' (not yet used)'}"


def writes(session: Session) -> int:
    """How many pieces of large objects were ever written, by the counters."""
    return sum(int(row[key]) for row in session.rows(_LARGE_OBJECTS) for key in _COUNTERS)


def _large_objects(session: Session) -> dict[str, dict[str, Any]]:
    rows = session.rows(_LARGE_OBJECTS)
    counters = {row["name"]: {key: int(row[key]) for key in _COUNTERS} for row in rows}
    return {**counters, "contents": _contents(session, rows)}


def _contents(session: Session, tables: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    pages = next(row for row in tables if row["name"] == _PAGES)
    if pages["readable"] or int(pages["bytes"]) > _SMALL_BYTES:
        return {}
    return {row["id"]: row["digest"] for row in session.rows(_CONTENTS)}


def large_objects(
    session: Session, before: Mapping[str, Mapping[str, Any]], newer: str, *, certain: bool, others: int, most: int
) -> list[Change]:
    """The large objects that were written or deleted since. ``newer``: the condition on a row version ``t``; the
    counters are those of then if ``certain``. Of more than ``most`` bytes the content is not read: the counters say how
    many pieces of it were written at most, and the other catalog which objects were made or given away."""
    tables = {row["name"]: row for row in session.rows(_LARGE_OBJECTS)}
    since = {
        name: {key: int(row[key]) - int(before[name][key]) if certain else 0 for key in _COUNTERS}
        for name, row in tables.items()
    }
    if certain and not others and not any(any(counts.values()) for counts in since.values()):
        return []
    queries = [f"SELECT t.oid::int8 AS id FROM pg_catalog.{_OBJECTS} AS t WHERE {newer}"]
    whole = tables[_PAGES]["readable"] and int(tables[_PAGES]["bytes"]) <= most
    if whole:
        queries.append(f"SELECT t.loid::int8 FROM pg_catalog.{_PAGES} AS t WHERE {newer}")
    written = {int(row["id"]) for row in session.rows(" UNION ".join(queries))}
    digests = _contents(session, [*tables.values()])
    rewritten = {int(key) for key, digest in digests.items() if before["contents"].get(key) != digest}
    pieces = since[_PAGES]["inserted"] + since[_PAGES]["updated"]
    unseen = 0 if whole or rewritten else pieces
    return [*_written(sorted(written | rewritten)), *_unnamed(unseen, since[_OBJECTS]["deleted"])]


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
