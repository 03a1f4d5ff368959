"""From one type to another: whether the server does it, in which words, and what may be lost."""

from __future__ import annotations

import re
from typing import NamedTuple, Optional

from ...sql.expressions import base_type

_INTEGERS = ("smallint", "integer", "bigint")
_TEXTS = ("text", "character varying", "character", "name", '"char"', "citext")
_NUMBERS = (*_INTEGERS, "numeric", "real", "double precision")
_AWARE, _NAIVE = "timestamp with time zone", "timestamp without time zone"
# pg_cast.dat: explicit casts between types of which neither is a text; in either direction.
_CASTS = frozenset(
    {frozenset(pair) for pair in [(one, other) for one in _NUMBERS for other in _NUMBERS]}
    | {
        frozenset(pair)
        for pair in (
            ("integer", "boolean"),
            ("date", _AWARE),
            ("date", _NAIVE),
            ("interval", "time without time zone"),
            ("time without time zone", "time with time zone"),
            ("json", "jsonb"),
            ("cidr", "inet"),
            ("macaddr", "macaddr8"),
            ("bit", "bit varying"),
            ("integer", "bit"),
            ("bigint", "bit"),
            ("money", "numeric"),
            ("integer", "bytea"),
            ("bigint", "bytea"),
        )
    }
)
# One way only.
_ONE_WAY = {
    (_NAIVE, "time without time zone"),
    (_AWARE, "time without time zone"),
    (_AWARE, "time with time zone"),
    ("integer", "money"),
    ("bigint", "money"),
    *(("jsonb", number) for number in (*_NUMBERS, "boolean")),
}


class Conversion(NamedTuple):
    """``using``: the expression; '' where the server needs none, None where it has no cast."""

    using: Optional[str]
    remark: str = ""


def conversion(wanted: str, present: str, column: str, written: str) -> Conversion:
    """How ``column`` gets from ``present`` to ``wanted`` (type keys); ``written``: the new type in a statement."""
    new, old = _plain(wanted), _plain(present)
    remark = _loss(wanted, present, new, old)
    if type_risk(wanted, present)[0]:
        return Conversion("", remark)
    zone = "write another zone for 'UTC' if the values are of that zone"
    if {new, old} == {_AWARE, _NAIVE} and "[]" not in wanted + present:
        return Conversion(f"{column} AT TIME ZONE 'UTC'", f"{remark}; {zone}" if remark else zone)
    if {new, old} == {_AWARE, "date"} and "[]" not in wanted + present:
        using = f"{column}::timestamp AT TIME ZONE 'UTC'" if new == _AWARE else f"({column} AT TIME ZONE 'UTC')::date"
        return Conversion(using, f"{remark}; {zone}" if remark else zone)
    arrays = wanted.endswith("[]"), present.endswith("[]")
    if arrays[0] != arrays[1] and not (old in _TEXTS or new in _TEXTS):
        return Conversion(None, f"no cast leads from {present} to {wanted}: decide how its values become the new ones")
    made = [name for name in (new, old) if _made(name)]
    if new == old or new in _TEXTS or old in _TEXTS or frozenset((new, old)) in _CASTS or (old, new) in _ONE_WAY:
        hop = f"::text{'[]' if all(arrays) else ''}" if made else ""
        return Conversion(f"{column}{hop}::{written}", remark)
    if new == "jsonb" and "[]" not in wanted:
        return Conversion(f"to_jsonb({column})", remark)
    if made:  # user-defined types know only their own casts, and text
        return Conversion(f"{column}::text{'[]' if all(arrays) else ''}::{written}", remark)
    return Conversion(None, f"no cast leads from {present} to {wanted}: decide how its values become the new ones")


def _plain(name: str) -> str:
    """Without length, precision and array."""
    plain = re.sub(r"\s*\([^)]*\)", "", base_type(name).removesuffix("[]")).strip()
    return "interval" if plain.startswith("interval ") else plain


def _made(name: str) -> bool:
    known = {*_TEXTS, *_NUMBERS, _AWARE, _NAIVE, *(item for pair in _CASTS for item in pair), "uuid", "jsonpath", "xml"}
    return name not in known and not re.match(r"(interval|tsvector|tsquery|int4range|point|box|inet|oid)", name)


def _loss(wanted: str, present: str, new: str, old: str) -> str:
    """What a narrower type does to the values, in words; '' where nothing is lost."""
    if new in _INTEGERS and old in _INTEGERS and _INTEGERS.index(new) < _INTEGERS.index(old):
        return f"stops at a value that {wanted} cannot hold"
    if new in _TEXTS and old in _TEXTS:
        return f"stops at a text longer than {_length(wanted)}" if _length(wanted) < _length(present) else ""
    if old in _TEXTS or (new in _INTEGERS and old not in _INTEGERS):
        lost = "rounds or " if old in _NUMBERS else ""
        return f"{lost}stops at a value that is no {wanted}"
    if old in ("numeric", "double precision") and new in _NUMBERS and wanted not in ("numeric", "double precision"):
        return "loses the digits that the new type does not keep"
    if new == "date" or (new.startswith("time ") and old.startswith("timestamp")):
        return "loses the part of the values that the new type does not keep"
    shorter = re.search(r"\((\d+)", wanted)
    if new.startswith("timestamp") and shorter and "(" not in present:
        return "loses fractions of seconds"
    return ""


def type_risk(expected: str, actual: str) -> tuple[str, str]:
    """(severity, why) where two types differ only in what fits; ('', '') where they are different things."""
    if expected in _INTEGERS and actual in _INTEGERS:
        if _INTEGERS.index(actual) > _INTEGERS.index(expected):
            return "warning", "larger numbers get in than the models expect"
        return "error", "numbers that the models allow are refused: out of range"
    texts = ("text", "character varying")
    if base_type(expected) in texts and base_type(actual) in texts:
        room, present = _length(expected), _length(actual)
        if present >= room:
            return (
                "warning",
                "longer texts get in than the models expect" if present > room else "the types behave alike",
            )
        return "error", "longer texts are refused: value too long"
    return "", ""


def _length(name: str) -> float:
    match = re.search(r"\((\d+)\)", name)
    return int(match[1]) if match else float("inf")
