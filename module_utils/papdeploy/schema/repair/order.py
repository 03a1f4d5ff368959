"""Steps of a script in an order in which they can run: what others depend on is dropped last and made first."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from ..catalog.rows import Place
from .places import owner_of

Dependencies = Mapping[Place, Set[Place]]


@dataclass(eq=False)
class Step:
    """Statements that belong together. ``makes``: what has its final form after them; ``drops``: what is gone.

    ``rank`` decides where nothing depends on anything.
    """

    rank: int
    name: str
    statements: list[str]
    makes: set[Place] = field(default_factory=set)
    drops: set[Place] = field(default_factory=set)
    kind: str = ""


def in_order(steps: Sequence[Step], wanted: Dependencies, present: Dependencies) -> list[Step]:
    """``wanted`` and ``present``: what each object depends on, in the models and in the database."""
    ordered = sorted(steps, key=lambda step: (step.rank, step.name))
    after: dict[int, set[int]] = {number: set() for number in range(len(ordered))}
    for first, then in _edges(ordered, wanted, present):
        if first != then:
            after[first].add(then)
    waits = dict.fromkeys(range(len(ordered)), 0)
    for followers in after.values():
        for number in followers:
            waits[number] += 1
    return [ordered[number] for number in _sorted(after, waits)]


def after_steps(chosen: Sequence[Step], steps: Sequence[Step], wanted: Dependencies, present: Dependencies) -> set[int]:
    """The ids of ``chosen`` and of all steps that must come after one of them."""
    ordered = list(steps)
    after: dict[int, set[int]] = {}
    for first, then in _edges(ordered, wanted, present):
        after.setdefault(first, set()).add(then)
    left = [number for number, step in enumerate(ordered) if any(step is one for one in chosen)]
    found: set[int] = set()
    while left:
        number = left.pop()
        if number not in found:
            found.add(number)
            left += after.get(number, ())
    return {id(ordered[number]) for number in found}


def _edges(steps: Sequence[Step], wanted: Dependencies, present: Dependencies) -> Iterable[tuple[int, int]]:
    makers: dict[Place, list[int]] = {}
    droppers: dict[Place, list[int]] = {}
    for number, step in enumerate(steps):
        for place in step.makes:
            makers.setdefault(place, []).append(number)
        for place in step.drops:
            droppers.setdefault(place, []).append(number)
    yield from _of_one_place(makers, droppers)
    yield from _of_one_name(makers, droppers)
    for dependent, on in wanted.items():
        for other in on - {owner_of(dependent)} if dependent[0] == "default" else on:
            first, then = _found(makers, other), _found(makers, dependent)
            yield from _pairs(first, then) if first is not then else ()  # parts that one step makes with their whole
    for dependent, on in present.items():
        for other in on - {owner_of(dependent)} if dependent[0] == "default" else on:
            gone, changed = _found(droppers, other), _found(makers, other)
            own = droppers.get(dependent, ())
            if other[0] == "type" and not (own and (dependent[0] != "column" or dependent in makers)):
                changed = ()  # tables and columns go last: their type is exchanged under them
            yield from _pairs(_found(droppers, dependent), [*gone, *changed])
            if gone and not changed and not own:
                yield from _pairs(_found(makers, dependent), gone)


def _of_one_place(makers: Mapping[Place, list[int]], droppers: Mapping[Place, list[int]]) -> Iterable[tuple[int, int]]:
    """Dropped before it is made; several changes in their order; a part after what it belongs to."""
    for place, numbers in makers.items():
        yield from _pairs(droppers.get(place, ()), numbers)
        yield from zip(numbers, numbers[1:])
        if owner_of(place) != place:
            creators = makers.get(owner_of(place), [])
            whole = place[0] == "default"  # a default fits the last type of its column
            yield from _pairs(creators, set(numbers).difference(creators)) if whole else _pairs(creators[:1], numbers)
    for place, numbers in droppers.items():
        if owner_of(place) != place:
            yield from _pairs(numbers, droppers.get(owner_of(place), ()))
        if place[0] == "default":
            changes = makers.get(owner_of(place), [])
            yield from _pairs(set(numbers).difference(changes), changes)


def _of_one_name(makers: Mapping[Place, list[int]], droppers: Mapping[Place, list[int]]) -> Iterable[tuple[int, int]]:
    """What goes is gone before another thing of its name comes."""
    makers_of: dict[Place, list[int]] = {}
    for place, numbers in makers.items():
        makers_of.setdefault(_name(place), []).extend(numbers)
    for place, numbers in droppers.items():
        if place[0] in _NAMESPACES:
            yield from _pairs(numbers, makers_of.get(_name(place), ()))


# Kinds that share names; calls of functions of one name could be the same, whatever their arguments.
_NAMESPACES = {
    "function": "function",
    "relation": "relation",
    "type": "relation",
    "sequence": "relation",
    "index": "index",
    "constraint": "index",
}


def _name(place: Place) -> Place:
    if place[0] not in _NAMESPACES:
        return place
    return (_NAMESPACES[place[0]], place[1], place[3] if place[0] in ("index", "constraint") else place[2])


def _found(steps: Mapping[Place, list[int]], place: Place) -> Sequence[int]:
    """The steps of an object; where it has none of its own, those of what it belongs to."""
    while place not in steps and owner_of(place) != place:
        place = owner_of(place)
    return steps.get(place, ())


def _pairs(first: Iterable[int], then: Iterable[int]) -> Iterable[tuple[int, int]]:
    later = list(then)
    return ((one, other) for one in first for other in later if one != other)


def _sorted(after: Mapping[int, set[int]], waits: dict[int, int]) -> list[int]:
    """By need, then by rank; where needs go in a circle, rank decides."""
    ready = [number for number, count in waits.items() if count == 0]
    heapq.heapify(ready)
    left = set(waits)
    found = []
    while left:
        number = heapq.heappop(ready) if ready else _first_of_circle(after, left)
        if number not in left:
            continue
        left.remove(number)
        found.append(number)
        for follower in after[number]:
            waits[follower] -= 1
            if waits[follower] == 0 and follower in left:
                heapq.heappush(ready, follower)
    return found


def _first_of_circle(after: Mapping[int, set[int]], left: set[int]) -> int:
    """The first step of a circle that waits for nothing but itself."""
    before: dict[int, set[int]] = {number: set() for number in left}
    for number in left:
        for follower in after[number] & left:
            before[follower].add(number)

    def waits_for(number: int) -> int:
        found, ways = {number}, [number]
        while ways:
            new = before[ways.pop()] - found
            found |= new
            ways += new
        return len(found)

    return min(left, key=lambda number: (waits_for(number), number))
