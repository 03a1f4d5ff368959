"""What a content digest holds, its digest, and the form in which values are compared."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from ...core.errors import Refused
from ...core.plain_json import JsonObject
from ...core.records import as_object, read_known, recorded, whole

FORMAT = 4

# The attributes and the kinds of objects that came with a format.
_ATTRIBUTES = {
    2: {"inherits", "inherited", "left out"},
    3: {"toast options", "server", "foreign options", "not null constraint", "generated columns", "target",
        "what it is", "aggregate details", "details"},
}  # fmt: skip
_KINDS = {3: ("user mapping ", "privileges ", "security label "), 4: ("built in ", "extension members ")}
_INDEXES = {3: {"parents", "valid", "statistics"}}
_SYSTEM_COMMENT = re.compile(r"comment (?:schema public|large object \d{1,5})")

Nested = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class TableDigest:
    """The number of rows of a table, and the sum of their hashes."""

    rows: int
    hash: str


@dataclass(frozen=True)
class Position:
    """Where a sequence stands."""

    last_value: str
    is_called: bool

    @property
    def order(self) -> tuple[int, bool]:
        return int(self.last_value), self.is_called

    def __str__(self) -> str:
        return f"{self.last_value}{'' if self.is_called else ' (not yet used)'}"


@dataclass(frozen=True)
class LargeObjectsDigest:
    """All large objects: their number, size and content, and their owners and privileges. None: they were not read."""

    count: Optional[int] = None
    bytes: Optional[str] = None
    hash: Optional[str] = None
    owners: Optional[str] = None


# By schema and name.
TableDigests = Mapping[str, Mapping[str, TableDigest]]
Positions = Mapping[str, Mapping[str, Position]]


@dataclass(frozen=True)
class _Made:
    """By which version."""

    format: Optional[int] = None


@dataclass(frozen=True)
class ContentDigest:
    """The content of one database: ``tables[schema][name]`` = rows and hash, ``sequences[schema][name]`` = position,
    ``catalog[schema]["kind name"]`` = attributes. ``notes`` may differ between equal databases (extension versions)."""

    tables: TableDigests
    sequences: Positions
    large_objects: LargeObjectsDigest
    catalog: Nested
    notes: dict[str, str]
    seconds: float = field(default=0.0, compare=False)
    format: int = FORMAT

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for schema in self.tables.values() for table in schema.values())

    @property
    def table_count(self) -> int:
        return sum(len(schema) for schema in self.tables.values())

    @property
    def of_database(self) -> dict[str, dict[str, Any]]:
        """What of the catalog is in no schema."""
        return self.catalog.get("", {})

    @property
    def digest(self) -> str:
        """SHA-256 over all that must be equal between a database and its copy."""
        body = {key: value for key, value in self.as_dict().items() if key not in ("notes", "seconds")}
        text = json.dumps(normalised(body), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def as_dict(self) -> JsonObject:
        return {
            "format": self.format,
            "tables": as_object(self.tables),
            "sequences": as_object(self.sequences),
            "large_objects": as_object(self.large_objects),
            "catalog": whole(self.catalog),
            "notes": dict(self.notes),
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def from_dict(cls, value: object) -> ContentDigest:
        made = recorded(_Made, value).format
        if made not in range(1, FORMAT + 1):
            raise Refused(
                f"A backup's content of format {made!r} cannot be compared by this version ({FORMAT}).",
                hint="Restore it by the version of pap-deploy that made it, or by hand (docs/runbook.md).",
            )
        return read_known(cls, value, "content digest")

    def in_format(self, number: int) -> ContentDigest:
        """What an older format said of the same database: without what it did not read."""
        catalog = {
            schema: {
                key: {name: item for name, item in definition.items() if name not in _later(key, number)}
                for key, definition in objects.items()
                if not _unknown(key, number)
            }
            for schema, objects in self.catalog.items()
        }
        return replace(self, catalog={schema: objects for schema, objects in catalog.items() if objects}, format=number)


def _later(key: str, number: int) -> set[str]:
    """The attributes of an object that format ``number`` did not have."""
    later = {name for since, names in _ATTRIBUTES.items() if since > number for name in names}
    if key.startswith("index "):
        later |= {name for since, names in _INDEXES.items() if since > number for name in names}
    if key.startswith("object ") and number < 3:
        later |= {"acl"}
    return later


def _unknown(key: str, number: int) -> bool:
    if number < 2 and _SYSTEM_COMMENT.fullmatch(key):
        return True
    return any(since > number and key.startswith(kinds) for since, kinds in _KINDS.items())


def in_one_format(before: ContentDigest, after: ContentDigest) -> tuple[ContentDigest, ContentDigest]:
    """Both in the format of the older one: what an older version of this package noted can still be compared."""
    number = min(before.format, after.format)
    first, second = (one if one.format == number else one.in_format(number) for one in (before, after))
    return first, second


def schema_only(whole: ContentDigest) -> ContentDigest:
    """The catalog alone, to compare with a content digest that was taken without rows."""
    return ContentDigest({}, {}, LargeObjectsDigest(), whole.catalog, whole.notes, whole.seconds)


# Deparsed expressions change once when dumped and restored: ('a'::varchar)::text for ARRAY['a'::varchar]::text[]. Casts
# between text types, parentheses and spaces are therefore no difference, outside of quotes.
_QUOTED = re.compile(r"""("(?:[^"]|"")*"|'(?:[^']|'')*')""")
_CAST = re.compile(r"::(?:character varying|varchar|text|bpchar|character)(?:\(\d+\))?(?:\[\])?")
_EXPRESSIONS = ("definition", "view", "default", "partition bound", "using", "check")


def normalised(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: normalised(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [normalised(item) for item in value]
    if key in _EXPRESSIONS and isinstance(value, str):
        # The pieces at odd places are quoted. A cast may follow a quoted piece, so casts go from the pieces between.
        pieces = _QUOTED.split(value)
        pieces[::2] = [re.sub(r"[()\s]+", "", _CAST.sub("", piece)) for piece in pieces[::2]]
        return " ".join(piece for piece in pieces if piece)
    return value
