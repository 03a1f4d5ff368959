"""What a person may say about a check: what to ignore, what to allow until when, what fails."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

from ...core.errors import Refused
from ...core.plain_json import JsonObject
from .result import SEVERITIES, Difference

# Tables of tools that keep their own books in the application's schema.
IGNORED = ("alembic_version",)


@dataclass(frozen=True)
class Allowance:
    """A known difference that may stay until ``expires`` (the last day it holds), and the ``reason`` why."""

    object: str
    reason: str
    expires: str
    kind: str = "*"

    def matches(self, difference: Difference) -> bool:
        return fnmatchcase(difference.kind, self.kind) and matches_object(self.object, difference.object)

    def expired(self, today: datetime.date) -> bool:
        return today > datetime.date.fromisoformat(self.expires)

    def describe(self) -> str:
        return self.object if self.kind == "*" else f"{self.kind}:{self.object}"


@dataclass(frozen=True)
class CheckOptions:
    """How to compare.

    ``ignore``: patterns (``*`` and ``?``) of objects, or ``kind:pattern``; a pattern of a table covers all of it.
    ``fail_on``: the lowest severity that makes a difference count: error, warning, note or never.
    ``severities``: another severity for a kind of difference. ``owner``: the role that must own everything ('' compares
    the owners with each other). ``schema``: where unqualified models live ('' follows the search path).
    ``used_by``: what stops working with a table, for the reasons (``{"users": "login"}``).
    ``renames``: what the database calls otherwise ({"users.fullname": "users.full_name", "members": "memberships"});
    ``guess``: whether what is alike is taken for renamed as well, or only asked about.
    ``exact``: both sides are databases, and every catalog difference counts (drift, restore); nothing is left open.
    ``undo``: the actual side is the models' as well, so that what the expected side has none of goes: schemas and
    extensions, too (the downgrade of a repair).
    ``today`` (ISO date) decides about expiry; '' is the current day in UTC. ``positions``: look at the values of
    sequences.
    """

    ignore: Sequence[str] = ()
    allow: Sequence[Allowance] = ()
    fail_on: str = "note"
    severities: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""
    schema: str = ""
    used_by: Mapping[str, str] = field(default_factory=lambda: {"users": "login"})
    renames: Mapping[str, str] = field(default_factory=dict)
    guess: bool = True
    exact: bool = False
    undo: bool = False
    today: str = ""
    positions: bool = True

    def __post_init__(self) -> None:
        for value in (self.fail_on, *self.severities.values()):
            if value not in (*SEVERITIES, "never"):
                raise Refused(f"{value!r} is not a severity.", hint="Use error, warning, note or never.")

    def date(self) -> datetime.date:
        if self.today:
            return datetime.date.fromisoformat(self.today)
        return datetime.datetime.now(datetime.timezone.utc).date()

    def ignores(self, kind: str, name: str) -> bool:
        """Whether a pattern covers the object ``name`` or the table it belongs to."""
        for pattern in (*IGNORED, *self.ignore):
            wanted_kind, colon, wanted = pattern.partition(":")
            if not colon:
                wanted_kind, wanted = "*", pattern
            if fnmatchcase(kind, wanted_kind) and matches_object(wanted, name):
                return True
        return False

    def as_dict(self) -> JsonObject:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any] | None) -> CheckOptions:
        """Options from plain data; raises PapError for an unknown name or a bad allowance."""
        data = dict(value or {})
        unknown = set(data) - {item.name for item in fields(cls)}
        if unknown:
            raise Refused(f"Unknown option of the schema check: {', '.join(sorted(unknown))}.")
        data["allow"] = tuple(
            item if isinstance(item, Allowance) else allowance(item) for item in data.get("allow", ())
        )
        data["ignore"] = tuple(data.get("ignore", ()))
        return cls(**data)


def renames(given: Sequence[str]) -> dict[str, str]:
    """``old=new`` of tables (members=memberships) and columns (users.fullname=users.full_name) as pairs."""
    found = {}
    for text in given:
        old, equals, new = (part.strip() for part in text.partition("="))
        if not (old and equals and new):
            hint = "Write --rename users.fullname=users.full_name, or members=memberships for a table."
            raise Refused(f"{text!r} does not say what is renamed to what.", hint=hint)
        found[old] = new
    return found


def allowance(entry: Mapping[str, Any]) -> Allowance:
    """One entry of the allow file. Raises PapError naming what is missing or wrong."""
    name = str(entry.get("object", "")).strip()
    where = f"The allowance for {name!r}" if name else "An allowance"
    if not name:
        raise Refused(f"{where} names no object.", hint='Add object = "table.column", as the check names it.')
    if not str(entry.get("reason", "")).strip():
        raise Refused(f"{where} gives no reason.", hint="Say why the difference may stay.")
    expires = str(entry.get("expires", ""))
    try:
        datetime.date.fromisoformat(expires)
    except ValueError as exc:
        hint = "Give the last day it holds, such as 2026-12-31."
        raise Refused(f"{where} has no valid expiry date ({expires!r}).", hint=hint) from exc
    unknown = set(entry) - {"object", "kind", "reason", "expires"}
    if unknown:
        raise Refused(f"{where} has unknown keys: {', '.join(sorted(unknown))}.")
    return Allowance(object=name, reason=str(entry["reason"]), expires=expires, kind=str(entry.get("kind", "*")))


def matches_object(pattern: str, name: str) -> bool:
    """``pattern`` against the object or anything it is part of: ``audit_*`` covers ``audit_log.id``."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[: n + 1]), pattern) for n in range(len(parts)))
