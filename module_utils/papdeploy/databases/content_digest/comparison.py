"""What is different between two content digests: each difference with an id, and what of it is no fault of a copy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from ...core.text import few, plural
from ...core.visible import visible
from . import known_differences, not_dumped
from .content import ContentDigest, Nested, in_one_format, normalised, schema_only


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
    moving: Optional[Nested] = None,
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
    before: ContentDigest, after: ContentDigest, *, moving: Optional[Nested] = None, accepted: Sequence[str] = ()
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
    moving: Optional[Nested] = None,
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


def _pairs(before: Nested, after: Nested, skip: set[str]) -> Iterator[tuple[str, str, Any, Any]]:
    for schema in sorted({*before, *after} - skip):
        left, right = before.get(schema, {}), after.get(schema, {})
        for name in sorted({*left, *right}):
            if left.get(name) != right.get(name):
                yield schema, name, left.get(name), right.get(name)


def _tables(before: Nested, after: Nested, skip: set[str], catalog: Nested) -> Iterator[Difference]:
    for schema, name, left, right in _pairs(before, after, skip):
        key = f"table {schema}.{name}"
        if left is None or right is None:
            where = "is new" if left is None else "is missing"
            said = f"{key} {where} ({plural((left or right)['rows'], 'row')})."
        elif left["rows"] != right["rows"]:
            said = f"{key} has {plural(right['rows'], 'row')}, {left['rows']:,} before."
        else:
            said = f"{key} has the same {plural(left['rows'], 'row')} by count, but other content"
            said += f"{_computed(catalog.get(schema, {}), name)}."
        yield Difference(key, said, (left, right), loses=True)


def _computed(objects: dict[str, Any], table: str) -> str:
    """What may explain it: a restore computes stored columns anew, which an update does in the original."""
    start = f"column {table}."
    stored = [
        key[len(start) :] for key, one in objects.items() if key.startswith(start) and one.get("generated") == "s"
    ]
    if not stored:
        return ""
    return (
        f" (a restore computes {few(sorted(stored), 3)} anew, by a function that may have been changed since: an UPDATE"
        " of every row of the original computes them there)"
    )


def _sequences(before: Nested, after: Nested, moving: Nested, skip: set[str]) -> Iterator[Difference]:
    for schema, name, left, right in _pairs(before, after, skip):
        key = f"sequence {schema}.{name}"
        if left is None or right is None:
            said = f"{key} {'is new' if left is None else 'is missing'}."
            yield Difference(key, said, (left, right), loses=True)
            continue
        later = moving.get(schema, {}).get(name, left)
        low, high = sorted((_position(left), _position(later)))
        if not (left != later and low <= _position(right) <= high):
            said = f"{key} stands at {_said(right)}, {_said(left)} before."
            yield Difference(key, said, (left, right), loses=True)


def _position(sequence: dict[str, Any]) -> tuple[int, bool]:
    return int(sequence["last_value"]), bool(sequence["is_called"])


def _said(sequence: dict[str, Any]) -> str:
    return f"{sequence['last_value']}{'' if sequence['is_called'] else ' (not yet used)'}"


def _large_objects(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Difference]:
    words = {"count": "number", "bytes": "total size in bytes", "hash": "content", "owners": "owners or privileges"}
    for key, word in words.items():
        left, right = before.get(key), after.get(key)
        if left != right:
            values = f": {right}, {left} before" if key in ("count", "bytes") else ""
            said = f"large objects differ in their {word}{values}."
            yield Difference(f"large objects: {key}", said, (left, right), loses=key != "owners")


def _catalog(before: Nested, after: Nested, skip: set[str], positions: bool) -> Iterator[Difference]:
    for schema, key, left, right in _pairs(before, after, skip):
        shown = known_differences.shown(schema, key)
        if left is None or right is None:
            said = f"{shown} {'is new' if left is None else 'is missing'}."
            yield Difference(shown, said, (left, right), loses=_holds_values(key, left or right))
            continue
        for attribute in sorted({*left, *right}):
            old, new = left.get(attribute), right.get(attribute)
            if attribute == "position" and not positions:
                continue
            if normalised(old, attribute) != normalised(new, attribute):
                said = f"{shown}: {attribute} is {_brief(new)}, {_brief(old)} before."
                loses = any(not_dumped.loses(key, members) for members in (old, new) if members)
                yield Difference(f"{shown}: {attribute}", said, (old, new), loses)


def _holds_values(key: str, definition: dict[str, Any]) -> bool:
    """Whether rows go with the object: a table or a column of one."""
    kind = key.partition(" ")[0]
    return kind == "column" or (kind == "relation" and definition.get("kind") in ("r", "p", "S"))


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if value is not None else "absent"
    return text if len(text) <= 200 else text[:197] + "…"
