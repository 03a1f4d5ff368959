"""What pg_dump does not keep by its own manual or source: no damage to a copy, and each said with that source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from ...core.records import recorded
from . import not_dumped
from .catalog_queries import NOT_REPLICATED
from .content import Nested, normalised
from .queries import user_schema

# What a restored copy cannot have, or has otherwise, without being wrong.
NOTES = f"""
SELECT 'extension ' || extname AS name, extversion AS value FROM pg_extension
UNION ALL
SELECT 'invalid index ' || i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace AND {user_schema()}
WHERE NOT i.indisvalid AND c.relkind = 'i'
UNION ALL
SELECT 'triggers of foreign keys on ' || g.tgrelid::regclass::text, 'switched off'
FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace AND {user_schema()}
WHERE g.tgisinternal AND g.tgenabled <> 'O' AND g.tgconstraint <> 0 GROUP BY g.tgrelid
UNION ALL
SELECT 'comment of nothing (its object in ' || s.classoid::regclass::text || ' with OID ' || s.objoid::text
       || ' is gone)', s.description
FROM pg_description s CROSS JOIN LATERAL pg_identify_object(s.classoid, s.objoid, s.objsubid) AS o
WHERE s.objoid >= 16384 AND o.identity IS NULL
UNION ALL
SELECT 'partition ' || h.inhrelid::regclass::text || ' of ' || h.inhparent::regclass::text, 'being detached'
FROM pg_inherits h WHERE to_jsonb(h) ->> 'inhdetachpending' = 'true'
UNION ALL
SELECT 'in a schema of the system: ' || s.name, 'there' FROM ({not_dumped.STRAY}) AS s
UNION ALL
SELECT 'subscription ' || quote_ident(b.subname), CASE WHEN b.subenabled THEN 'enabled' ELSE 'disabled' END
FROM pg_subscription b JOIN pg_database d ON d.oid = b.subdbid AND d.datname = current_database()
"""

# Notes by how they begin, and why a copy has another one.
_SOURCES = {
    "extension ": "a dump names no version, CREATE EXTENSION takes the default one (PostgreSQL documentation, Packaging"
    " Related Objects into an Extension)",
    "rows that no dump holds": "pg_dump leaves out the rows of extensions' tables that are not configuration"
    " (PostgreSQL documentation, Extension Configuration Tables)",
    "invalid index ": "pg_dump leaves out invalid indexes (pg_dump.c, getIndexes: indisvalid)",
    "triggers of foreign keys ": "pg_dump makes a foreign key with its triggers switched on (pg_dump.c, getTriggers:"
    " NOT tgisinternal)",
    "partition ": "pg_dump attaches a partition that is being detached (pg_dump.c, getInherits), which shows its rows"
    " in its parent again: finish it by ALTER TABLE … DETACH PARTITION … FINALIZE",
    "in a schema of the system: ": "pg_dump leaves out what is in such a schema (pg_dump.c, selectDumpableNamespace)",
    "subscription ": NOT_REPLICATED,
    "comment of nothing ": "pg_dump writes a comment with the object that it is about (pg_dump.c, dumpComment)",
}

_INHERITED_FIRST = (
    "pg_dump creates a child of INHERITS with the columns of its parents first"
    " (PostgreSQL documentation, CREATE TABLE, INHERITS)"
)
_NOT_NULL = "not null constraint"
_CHOSEN = re.compile(r"_not_null\d*$")
_NAMED_ANEW = "pg_dump leaves out names that a server would choose (pg_dump.c, determineNotNullFlags)"
_RENDERED_ANEW = (
    "pg_dump leaves it to ATTACH PARTITION to make the foreign keys that a partition inherits, and that chooses their"
    " names (pg_dump.c, getConstraints: conparentid = 0)"
)


@dataclass(frozen=True)
class _NotNull:
    """The constraint that makes a column NOT NULL."""

    name: str = ""


@dataclass(frozen=True)
class _Known:
    """Of the attributes of an object those that tell why it differs: ``inherits`` and ``position`` of a column,
    ``inherited`` of a foreign key."""

    inherits: str = ""
    position: Optional[int] = None
    inherited: str = ""


def shown(schema: str, key: str) -> str:
    """The object's kind and name for a person."""
    kind, _, name = key.partition(" ")
    if key.startswith(("default privileges", "event trigger")):
        kind, name = key, ""
    return f"{kind} {'.'.join(part for part in (schema, name) if part)}".strip()


def because(note: str) -> str:
    """The source that explains the note, or nothing."""
    return next((f": {why}" for start, why in _SOURCES.items() if note.startswith(start)), "")


def without(before: Nested, after: Nested) -> tuple[Nested, Nested, list[str]]:
    """Both catalogs without what differs for a reason that PostgreSQL documents, and a note for each."""
    left = {schema: dict(objects) for schema, objects in before.items()}
    right = {schema: dict(objects) for schema, objects in after.items()}
    notes: list[str] = []
    for schema in sorted({*left, *right}):
        both = _Schema(schema, left.setdefault(schema, {}), right.setdefault(schema, {}))
        for explained in (both.inherited_columns, both.chosen_names, both.renamed, both.left_out):
            notes += explained()
    notes += not_dumped.judged(left, right)
    return left, right, notes


@dataclass
class _Schema:
    """The objects of one schema in both catalogs, each with its attributes. What explains a difference takes it out."""

    name: str
    left: dict[str, dict[str, Any]]
    right: dict[str, dict[str, Any]]

    def inherited_columns(self) -> Iterator[str]:
        left, right, tables = self.left, self.right, set[str]()
        for key in sorted(set(left) & set(right)):
            one, other = recorded(_Known, left[key]), recorded(_Known, right[key])
            if one.inherits and key.startswith("column ") and one.position != other.position:
                right[key] = {**right[key], "position": one.position}
                tables.add(one.inherits)
        for table in sorted(tables):
            yield f"table {self.name}.{table}: the order of its columns is another in a copy: {_INHERITED_FIRST}."

    def chosen_names(self) -> Iterator[str]:
        """Constraints NOT NULL that the server has named itself, which chooses a free name again in a restore."""
        left, right = self.left, self.right
        for key in sorted(set(left) & set(right)):
            names = [recorded(_NotNull, one[key].get(_NOT_NULL)).name for one in (left, right)]
            if names[0] != names[1] and all(_CHOSEN.search(name) for name in names):
                right[key] = {**right[key], _NOT_NULL: {**right[key][_NOT_NULL], "name": names[0]}}
                note = f"its constraint {names[0]} is called {names[1]} in a copy: {_NAMED_ANEW}."
                yield f"{shown(self.name, key)}: {note}"

    def renamed(self) -> Iterator[str]:
        """Foreign keys that a partition inherited: equal but for their names."""
        left, right = self.left, self.right
        made: dict[str, str] = {}
        unequal = [key for key in sorted({*left, *right}) if not _alike(left.get(key), right.get(key))]
        come = [key for key in unequal if recorded(_Known, right.get(key)).inherited]
        for key in [key for key in unequal if recorded(_Known, left.get(key)).inherited]:
            twin = next((new for new in come if _alike(left[key], right[new])), None)
            if twin:
                come.remove(twin)
                made[key] = twin
        for key, twin in made.items():
            del left[key], right[twin]
            yield f"{shown(self.name, key)} is called {twin.partition(' ')[2]} in a copy: {_RENDERED_ANEW}."

    def left_out(self) -> Iterator[str]:
        """Objects of which the catalog itself says that no dump carries them: they are missing on one side only. Where
        both have the object, the reason is none, and no difference either."""
        left, right = self.left, self.right
        for key in set(left) & set(right):
            left[key], right[key] = (
                {name: item for name, item in one[key].items() if name != "left out"} for one in (left, right)
            )
        for key in sorted(set(left) ^ set(right)):
            side = left if key in left else right
            why = side[key].get("left out")
            if why:
                del side[key]
                yield f"{shown(self.name, key)} is in no dump: {why}."


def _alike(one: Any, other: Any) -> bool:
    return bool(normalised(one) == normalised(other))
