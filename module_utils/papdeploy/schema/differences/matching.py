"""Which of ours stands for which of theirs: by what it says, then by name, then by what it is about."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from ..catalog.rows import Named

R = TypeVar("R", bound=Named)
Key = Callable[[R], Hashable]


def match(
    ours: Sequence[R], theirs: Sequence[R], keys: Sequence[tuple[Key[R], Key[R]]]
) -> tuple[list[tuple[R, R]], list[R], list[R]]:
    """Pairs, then what is left of ours and of theirs. Each of ``keys`` is (ours, theirs); the earlier, the stronger.

    A key of None stands for nothing and matches nothing.
    """
    pairs: list[tuple[R, R]] = []
    left, right = list(ours), list(theirs)
    for our_key, their_key in keys:
        waiting: dict[Hashable, list[R]] = {}
        for row in right:
            waiting.setdefault(their_key(row), []).append(row)
        unmatched = []
        for row in left:
            key = our_key(row)
            found = waiting.get(key) if key is not None else None
            if found:
                other = next((item for item in found if item.name == row.name), found[0])
                found.remove(other)
                right = [item for item in right if item is not other]
                pairs.append((row, other))
            else:
                unmatched.append(row)
        left = unmatched
    return pairs, left, right
