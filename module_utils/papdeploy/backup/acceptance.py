"""Differences between a database and its restored copy that are known and accepted until a date."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import PapError, Refused
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


def of(entries: Iterable[Mapping[str, Any]]) -> list[Acceptance]:
    """The entries of the inventory; raises Refused for one that is not whole, or whose day is over."""
    found: list[Acceptance] = []
    for entry in entries:
        keys = {"difference", "reason", "until"}
        if set(entry) != keys or not all(str(entry[key]).strip() for key in keys):
            raise Refused(
                f"An entry of backup_accept has {', '.join(sorted(entry)) or 'nothing'}.",
                hint="Each needs difference (the id that the failed proof printed), reason and until (YYYY-MM-DD).",
            )
        one = Acceptance(**{key: str(entry[key]).strip() for key in keys})
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
    """Raise PapError if there are ``faults``: the first of them with their ids and the count, all in its data."""
    if not faults:
        return
    said = [f"{fault} [{fault.id}]" for fault in faults]
    if len(said) == 1:
        raise PapError(f"{what}: {said[0]}", hint=hint, differences=said)
    more = [f"… and {plural(len(said) - _SHOWN, 'more difference')}."] if len(said) > _SHOWN else []
    raise PapError(
        f"{what}: {plural(len(said), 'difference')}.", hint=hint, differences=said, lines=[*said[:_SHOWN], *more]
    )


def recorded(entries: Iterable[Mapping[str, str]]) -> list[Acceptance]:
    """What a manifest says was accepted: for another backup of the same release."""
    return [Acceptance(entry["difference"], entry["reason"], entry["until"]) for entry in entries]


def judge(found: Found, accepted: Sequence[Acceptance], *, all_match: bool = True) -> list[dict[str, str]]:
    """What was accepted of ``found``, as the manifest records it. Raises PapError with every difference that is left,
    and (``all_match``) Refused for an entry that matches nothing."""
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
    return [
        {"difference": key, "sentence": str(one), "reason": by_id[key].reason, "until": by_id[key].until}
        for key, one in matched.items()
    ]


def sentence(entry: Mapping[str, str]) -> str:
    return f"accepted until {entry['until']}: {entry['sentence']} ({entry['reason']})"
