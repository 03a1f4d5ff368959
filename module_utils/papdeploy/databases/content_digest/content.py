"""What an oracle holds, its digest, and the form in which values are compared."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

from ...core.errors import Refused

FORMAT = 2

_SINCE_2 = ("inherits", "inherited", "left out")
_SYSTEM_COMMENT = re.compile(r"comment (?:schema public|large object \d{1,5})")

Nested = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Oracle:
    """The content of one database: ``tables[schema][name]`` = rows and hash, ``sequences[schema][name]`` = position,
    ``catalog[schema]["kind name"]`` = attributes. ``notes`` may differ between equal databases (extension versions)."""

    tables: Nested
    sequences: Nested
    large_objects: dict[str, Any]
    catalog: Nested
    notes: dict[str, str]
    seconds: float = field(default=0.0, compare=False)
    format: int = FORMAT

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(int(table["rows"]) for schema in self.tables.values() for table in schema.values())

    @property
    def table_count(self) -> int:
        return sum(len(schema) for schema in self.tables.values())

    @property
    def digest(self) -> str:
        """SHA-256 over all that must be equal between a database and its copy."""
        body = {key: value for key, value in self.as_dict().items() if key not in ("notes", "seconds")}
        text = json.dumps(normalised(body), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        return {
            "format": self.format,
            "tables": self.tables,
            "sequences": self.sequences,
            "large_objects": self.large_objects,
            "catalog": self.catalog,
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Oracle:
        if value.get("format") not in (1, FORMAT):
            raise Refused(
                f"A backup's content of format {value.get('format')!r} cannot be compared by this version ({FORMAT}).",
                hint="Restore it by the version of pap-deploy that made it, or by hand (docs/runbook.md).",
            )
        keys = ("tables", "sequences", "large_objects", "catalog", "notes", "seconds", "format")
        return cls(**{key: value[key] for key in keys})

    @property
    def as_first(self) -> Oracle:
        """What format 1 said of the same database: without what tells infidelities of a dump from faults, and without
        comments of what has a number of the system's."""
        catalog = {
            schema: {
                key: {name: item for name, item in definition.items() if name not in _SINCE_2}
                for key, definition in objects.items()
                if not _SYSTEM_COMMENT.fullmatch(key)
            }
            for schema, objects in self.catalog.items()
        }
        return replace(self, catalog={schema: objects for schema, objects in catalog.items() if objects}, format=1)


def in_one_format(before: Oracle, after: Oracle) -> tuple[Oracle, Oracle]:
    """Both in the format of the older one: what an older version of this package noted can still be compared."""
    return (before, after) if before.format == after.format else (before.as_first, after.as_first)


def schema_only(whole: Oracle) -> Oracle:
    """The catalog alone, to compare with an oracle that was taken without rows."""
    return Oracle({}, {}, {}, whole.catalog, whole.notes, whole.seconds)


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
