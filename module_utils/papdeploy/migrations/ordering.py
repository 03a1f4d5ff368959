"""The order in which migrations run: as listed, then by date and name; what one requires comes before it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.errors import Refused
from ..core.text import plural

if TYPE_CHECKING:
    from .files import MigrationFile

# Beside migrations: names, one a line, in the order that they run before everything that has a date.
ORDER_FILE = "_order.txt"


def _placed(migrations: Iterable[MigrationFile], order: Sequence[str]) -> list[MigrationFile]:
    """Each with its place in ``order``. Refuses what has neither a place nor a date, and names without a file."""
    places = {name: number for number, name in enumerate(order)}
    placed = [replace(m, listed=places[m.identity]) if m.identity in places else m for m in migrations]
    names = {migration.identity for migration in placed}
    wrong = [name for name in places if name not in names]
    wrong += [f"{name} (twice)" for name in places if order.count(name) > 1]
    if wrong:
        raise Refused(
            f"The order of the migrations names what is not there: {', '.join(wrong)}.",
            hint=f"Correct pap_migrations_order, or {ORDER_FILE} in the folder.",
        )
    undated = sorted((m for m in placed if m.dated is None and m.listed < 0), key=lambda m: m.identity)
    if undated:
        said = [m.identity + (f" (Date: {m.header_date!r})" if m.header_date else "") for m in undated]
        raise Refused(
            f"Without a date, so that the order is unknown: {plural(len(undated), 'migration')}: {', '.join(said)}.",
            hint="Name them YYYY_MM_DD_description.py, put 'Date: YYYY-MM-DD' in their docstrings, or list them in"
            f" pap_migrations_order (or {ORDER_FILE} in the folder) in the order in which they run.",
            identities=[m.identity for m in undated],
        )
    return placed


def ordered(migrations: Iterable[MigrationFile], order: Sequence[str] = ()) -> list[MigrationFile]:
    """Those that ``order`` lists, then by date and name; what a migration requires comes before it.

    Refuses two files with one identity, one without a place, a requirement that is not there, and a cycle.
    """
    by_name: dict[str, MigrationFile] = {}
    for migration in _placed(migrations, order):
        other = by_name.setdefault(migration.identity, migration)
        if other is not migration:
            raise Refused(
                f"Two files are the migration {migration.identity}: {other.path or other.filename} and"
                f" {migration.path or migration.filename}.",
                hint="The file name without its suffix is the identity in the ledger: rename the one that was never"
                " applied. SQL that a Python migration reads has another name, without a date.",
                identity=migration.identity,
            )
    folded: dict[str, str] = {}
    for name in by_name:
        if folded.setdefault(name.lower(), name) != name:
            raise Refused(
                f"The migrations {folded[name.lower()]} and {name} differ only in upper and lower case.",
                hint="On some file systems they are one file: rename the one that was never applied.",
                identity=name,
            )
    waiting: dict[str, int] = {}
    unlocks: dict[str, list[str]] = {}
    for migration in by_name.values():
        needs = set(migration.requires)
        for required in sorted(needs):
            if required not in by_name:
                raise Refused(
                    f"{migration.identity} requires {required}, which is not there.",
                    hint="Add the file, or correct the name in requires.",
                    identity=migration.identity,
                )
            unlocks.setdefault(required, []).append(migration.identity)
        waiting[migration.identity] = len(needs)
    ready = [by_name[name].sort_key for name, count in waiting.items() if not count]
    heapq.heapify(ready)
    result: list[MigrationFile] = []
    while ready:
        name = heapq.heappop(ready)[-1]
        result.append(by_name[name])
        for later in unlocks.get(name, ()):
            waiting[later] -= 1
            if not waiting[later]:
                heapq.heappush(ready, by_name[later].sort_key)
    if len(result) < len(by_name):
        raise Refused(
            "These migrations require each other in a circle: " + " → ".join(_cycle(by_name, result)) + ".",
            hint="Remove one of the requires.",
        )
    return result


def _cycle(by_name: Mapping[str, MigrationFile], done: Sequence[MigrationFile]) -> list[str]:
    left = set(by_name) - {migration.identity for migration in done}
    name = min(name for name in left)
    path: list[str] = []
    while name not in path:
        path.append(name)
        name = next(required for required in by_name[name].requires if required in left)
    return [*path[path.index(name) :], name]
