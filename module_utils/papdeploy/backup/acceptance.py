"""Differences between a database and its restored copy that are known and accepted until a date."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from ..core.errors import Refused, VerificationFailed
from ..core.text import plural
from ..databases.content_digest import Difference, Found

_SHOWN = 10


@dataclass(frozen=True)
class Acceptance:
    """One entry of backup_accept: the id of a difference as a failed proof prints it, why it is accepted, and the last
    day on which it is."""

    difference: str
    reason: str
    until: str

    @property
    def ended(self) -> bool:
        return datetime.date.fromisoformat(self.until) < datetime.datetime.now(datetime.timezone.utc).date()


@dataclass(frozen=True)
class Accepted(Acceptance):
    """One that matched a difference, as a manifest records it."""

    sentence: str

    @property
    def told(self) -> str:
        return f"accepted until {self.until}: {self.sentence} ({self.reason})"


def of(entries: Iterable[object]) -> list[Acceptance]:
    """The entries of the inventory; raises Refused for one that is not whole, or whose day is over."""
    found: list[Acceptance] = []
    names = {item.name for item in fields(Acceptance)}
    for entry in entries:
        given = {str(key): str(value).strip() for key, value in entry.items()} if isinstance(entry, Mapping) else {}
        if set(given) != names or not all(given.values()):
            raise Refused(
                f"An entry of backup_accept has {', '.join(sorted(given)) or 'nothing'}.",
                hint="Each needs difference (the id that the failed proof printed), reason and until (YYYY-MM-DD).",
            )
        one = Acceptance(**given)
        try:
            over = one.ended
        except ValueError:
            raise Refused(
                f"until of backup_accept is {one.until!r}, which is no day.", hint="Write it as YYYY-MM-DD."
            ) from None
        if over:
            raise Refused(
                f"The difference {one.difference} was accepted until {one.until} ({one.reason}).",
                hint="Look at it again, then prolong or remove the entry of backup_accept.",
            )
        found.append(one)
    return found


def refuse(faults: Sequence[Difference], what: str, hint: str) -> None:
    """Raise VerificationFailed if there are ``faults``: the first of them with their ids and the count, all in
    its data."""
    if not faults:
        return
    said = [f"{fault} [{fault.id}]" for fault in faults]
    if len(said) == 1:
        raise VerificationFailed(f"{what}: {said[0]}", hint=hint, differences=said)
    more = [f"… and {plural(len(said) - _SHOWN, 'more difference')}."] if len(said) > _SHOWN else []
    raise VerificationFailed(
        f"{what}: {plural(len(said), 'difference')}.", hint=hint, differences=said, lines=[*said[:_SHOWN], *more]
    )


def judge(found: Found, accepted: Sequence[Acceptance], *, all_match: bool = True) -> list[Accepted]:
    """What was accepted of ``found``. Raises VerificationFailed with every difference that is left, and (``all_match``)
    Refused for an entry that matches nothing."""
    by_id = {one.difference: one for one in accepted}
    forbidden = [fault.id for fault in found.faults if fault.id in by_id]
    refuse(
        found.faults,
        "The backup is not equal to the database",
        f"{', '.join(forbidden)} of backup_accept cannot be accepted: rows or values are lost by it."
        if forbidden
        else "Do not deploy on this backup. The differences say what pg_dump did not carry or pg_restore changed. One"
        " that loses no rows can be accepted by its id (backup_accept).",
    )
    matched = {one.id: one for one in found.accepted}
    for one in accepted:
        if all_match and one.difference not in matched:
            raise Refused(
                f"backup_accept accepts the difference {one.difference} ({one.reason}), which is not there.",
                hint="Remove that entry: what it was for is mended, or has another id by now.",
            )
    return [Accepted(key, by_id[key].reason, by_id[key].until, str(one)) for key, one in matched.items()]
