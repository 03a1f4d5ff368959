"""What is different between two content digests: each difference with an id, and what of it is no fault of a copy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional, TypeVar

from ...core.records import plain, recorded
from ...core.text import few, plural
from ...core.visible import visible
from . import known_differences, not_dumped
from .content import (
    ContentDigest,
    LargeObjectsDigest,
    Nested,
    Positions,
    TableDigest,
    TableDigests,
    in_one_format,
    normalised,
    schema_only,
)

V = TypeVar("V")


@dataclass(frozen=True)
class Difference:
    """One difference. ``key`` names the object and, where both have it, the attribute; ``id`` stands for exactly this
    difference, in either direction. ``loses``: rows, values or positions may be lost by it."""

    key: str
    sentence: str
    values: tuple[Any, Any]
    loses: bool = False

    @property
    def id(self) -> str:
        values = sorted(json.dumps(value, sort_keys=True) for value in self.values)
        return hashlib.sha256(json.dumps([self.key, *values]).encode()).hexdigest()[:12]

    def __str__(self) -> str:
        return visible(self.sentence)


@dataclass(frozen=True)
class _Definition:
    """Of the attributes of an object: the ``kind`` of a relation, and how a column is ``generated``."""

    kind: str = ""
    generated: str = ""


@dataclass(frozen=True)
class Found:
    """``faults``: what makes a copy unequal. ``accepted``: known and accepted differences. ``notes``: what a dump
    does not keep by PostgreSQL's own documentation, and what else is worth a word."""

    faults: list[Difference] = field(default_factory=list)
    accepted: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def look(
    before: ContentDigest,
    after: ContentDigest,
    *,
    ignore_schemas: Sequence[str] = (),
    moving: Optional[Positions] = None,
    positions: bool = True,
    accepted: Sequence[str] = (),
) -> Found:
    """Every difference, judged. ``moving`` holds sequence positions read after ``before`` was: while a database is in
    use, its sequences advance during a dump, and a copy is right if it lies between the two readings. Without
    ``positions`` the order of columns is no difference: a column that was dropped and added again comes last.
    ``accepted``: ids of differences that are not a fault here; those that lose something are faults all the same."""
    skip = set(ignore_schemas)
    before, after = in_one_format(before, after)
    left, right, known = known_differences.without(before.catalog, after.catalog)
    found = [
        *_tables(before.tables, after.tables, skip, before.catalog),
        *_sequences(before.sequences, after.sequences, moving or before.sequences, skip),
        *_large_objects(before.large_objects, after.large_objects),
        *_catalog(left, right, skip, positions),
    ]
    wanted = set(accepted)
    lived_with = [one for one in found if one.id in wanted and not one.loses]
    return Found([one for one in found if one not in lived_with], lived_with, [*known, *notes(before, after)])


def look_across(
    before: ContentDigest, after: ContentDigest, *, moving: Optional[Positions] = None, accepted: Sequence[str] = ()
) -> Found:
    """The same where ``after`` is read on a newer major version of PostgreSQL, which describes objects in other words:
    faults are content, or an object that is not there; the rest is a note, for a person to look at."""
    before, after = in_one_format(before, after)
    common = {
        schema: {name: after.catalog.get(schema, {}).get(name, value) for name, value in objects.items()}
        for schema, objects in before.catalog.items()
    }
    there = {
        schema: {name: value for name, value in objects.items() if name in before.catalog.get(schema, {})}
        for schema, objects in after.catalog.items()
    }
    found = look(replace(before, catalog=common), replace(after, catalog=there), moving=moving, accepted=accepted)
    reworded = look(schema_only(before), schema_only(after), accepted=accepted)
    return replace(found, notes=[*map(str, reworded.faults), *reworded.notes])


def compare(
    before: ContentDigest,
    after: ContentDigest,
    *,
    ignore_schemas: Sequence[str] = (),
    moving: Optional[Positions] = None,
    positions: bool = True,
    accepted: Sequence[str] = (),
    limit: int = 50,
) -> list[str]:
    """The faults that ``look`` finds as sentences, at most ``limit`` of them; an empty list means equal content."""
    found = look(
        before, after, ignore_schemas=ignore_schemas, moving=moving, positions=positions, accepted=accepted
    ).faults
    sentences = [str(one) for one in found[:limit]]
    if len(found) > limit:
        sentences.append(f"… and {plural(len(found) - limit, 'more difference')}.")
    return sentences


def notes(before: ContentDigest, after: ContentDigest) -> list[str]:
    """Differences worth a word but no fault: versions of extensions, invalid indexes that no dump carries."""
    return [
        visible(
            f"{name}: {before.notes.get(name, 'absent')} before, {after.notes.get(name, 'absent')} after"
            f"{known_differences.because(name)}."
        )
        for name in sorted({*before.notes, *after.notes})
        if before.notes.get(name) != after.notes.get(name)
    ]


def _pairs(
    before: Mapping[str, Mapping[str, V]], after: Mapping[str, Mapping[str, V]], skip: set[str]
) -> Iterator[tuple[str, str, Optional[V], Optional[V]]]:
    for schema in sorted({*before, *after} - skip):
        left, right = before.get(schema, {}), after.get(schema, {})
        for name in sorted({*left, *right}):
            if left.get(name) != right.get(name):
                yield schema, name, left.get(name), right.get(name)


def _tables(before: TableDigests, after: TableDigests, skip: set[str], catalog: Nested) -> Iterator[Difference]:
    for schema, name, left, right in _pairs(before, after, skip):
        key = f"table {schema}.{name}"
        yield Difference(
            key, _told(key, left, right, _stored(catalog, schema, name)), (plain(left), plain(right)), loses=True
        )


def _told(key: str, left: Optional[TableDigest], right: Optional[TableDigest], stored: Sequence[str]) -> str:
    if left is None or right is None:
        there = left or right
        return f"{key} {'is new' if left is None else 'is missing'} ({plural(there.rows if there else 0, 'row')})."
    if left.rows != right.rows:
        return f"{key} has {plural(right.rows, 'row')}, {left.rows:,} before."
    return f"{key} has the same {plural(left.rows, 'row')} by count, but other content{_computed(stored)}."


def _stored(catalog: Nested, schema: str, table: str) -> list[str]:
    """The columns of a table that are computed and stored."""
    start = f"column {table}."
    columns = ((key[len(start) :], one) for key, one in catalog.get(schema, {}).items() if key.startswith(start))
    return sorted(name for name, one in columns if recorded(_Definition, one).generated == "s")


def _computed(stored: Sequence[str]) -> str:
    """What may explain it: a restore computes stored columns anew, which an update does in the original."""
    if not stored:
        return ""
    return (
        f" (a restore computes {few(stored, 3)} anew, by a function that may have been changed since: an UPDATE"
        " of every row of the original computes them there)"
    )


def _sequences(before: Positions, after: Positions, moving: Positions, skip: set[str]) -> Iterator[Difference]:
    for schema, name, left, right in _pairs(before, after, skip):
        key = f"sequence {schema}.{name}"
        if left is None or right is None:
            said = f"{key} {'is new' if left is None else 'is missing'}."
            yield Difference(key, said, (plain(left), plain(right)), loses=True)
            continue
        later = moving.get(schema, {}).get(name, left)
        low, high = sorted((left.order, later.order))
        if not (left != later and low <= right.order <= high):
            said = f"{key} stands at {right}, {left} before."
            yield Difference(key, said, (plain(left), plain(right)), loses=True)


def _large_objects(before: LargeObjectsDigest, after: LargeObjectsDigest) -> Iterator[Difference]:
    parts = (
        ("count", "number", before.count, after.count),
        ("bytes", "total size in bytes", before.bytes, after.bytes),
        ("hash", "content", before.hash, after.hash),
        ("owners", "owners or privileges", before.owners, after.owners),
    )
    for key, word, left, right in parts:
        if left != right:
            values = f": {right}, {left} before" if key in ("count", "bytes") else ""
            said = f"large objects differ in their {word}{values}."
            yield Difference(f"large objects: {key}", said, (left, right), loses=key != "owners")


def _catalog(before: Nested, after: Nested, skip: set[str], positions: bool) -> Iterator[Difference]:
    for schema, key, left, right in _pairs(before, after, skip):
        shown = known_differences.shown(schema, key)
        if left is None or right is None:
            said = f"{shown} {'is new' if left is None else 'is missing'}."
            yield Difference(shown, said, (left, right), loses=_holds_values(key, recorded(_Definition, left or right)))
            continue
        for attribute in sorted({*left, *right}):
            old, new = left.get(attribute), right.get(attribute)
            if attribute == "position" and not positions:
                continue
            if normalised(old, attribute) != normalised(new, attribute):
                said = f"{shown}: {attribute} is {_brief(new)}, {_brief(old)} before."
                loses = any(not_dumped.loses(key, members) for members in (old, new) if members)
                yield Difference(f"{shown}: {attribute}", said, (old, new), loses)


def _holds_values(key: str, definition: _Definition) -> bool:
    """Whether rows go with the object: a table or a column of one."""
    kind = key.partition(" ")[0]
    return kind == "column" or (kind == "relation" and definition.kind in ("r", "p", "S"))


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if value is not None else "absent"
    return text if len(text) <= 200 else text[:197] + "…"
