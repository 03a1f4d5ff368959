"""The oracle: what a database contains, in a form that two databases can be compared by.

Per table the number of rows and an order-independent sum of row hashes, taken on the server in one pass; the position
of every sequence; large objects; and the catalog by name with owners, privileges and extensions. Two databases whose
oracles are equal hold the same content; where they differ, ``compare`` says what and where.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from . import oracle_sql
from .core.text import plural
from .errors import PapError
from .postgres import Database, Session, bind

FORMAT = 1
_BATCH = 40  # tables per statement: few round trips, and short statements

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
        text = json.dumps(_normalised(body), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "tables": self.tables,
            "sequences": self.sequences,
            "large_objects": self.large_objects,
            "catalog": self.catalog,
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Oracle:
        if value.get("format") != FORMAT:
            raise PapError(f"An oracle of format {value.get('format')!r} cannot be read by this version ({FORMAT}).")
        return cls(
            **{key: value[key] for key in ("tables", "sequences", "large_objects", "catalog", "notes", "seconds")}
        )


def take(
    database: Database,
    *,
    snapshot: Optional[str] = None,
    session: Optional[Session] = None,
    ignore_schemas: Sequence[str] = (),
    lock_timeout_s: float = 30.0,
    rows: bool = True,
) -> Oracle:
    """The oracle of ``database`` as of one snapshot: an exported one (``snapshot``), that of a ``session`` which is
    inside a REPEATABLE READ transaction, or a new one.

    ``ignore_schemas`` are left out whole; ``rows=False`` reads the catalog and counts nothing (a schema-only proof).
    Raises CommandFailed where a table cannot be read (row security, privileges): never an oracle of a part.
    """
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        if session is None:
            session = stack.enter_context(snapshot_session(database, snapshot))
        session.execute(f"SET LOCAL lock_timeout = '{int(lock_timeout_s * 1000)}ms'")
        skip = set(ignore_schemas)
        tables = [table for table in session.rows(oracle_sql.TABLES) if table["schema"] not in skip] if rows else []
        counted = _nested(_batched(session, [oracle_sql.rows_query(table) for table in tables]))
        positions = read_sequences(session, ignore_schemas) if rows else {}
        large = session.rows(oracle_sql.LARGE_OBJECTS)[0] if rows else {}
        version = int(session.scalar("SELECT current_setting('server_version_num')::int AS version"))
        catalog: Nested = {}
        for found in session.rows(" UNION ALL ".join(oracle_sql.catalog_queries(version))):
            if found["schema"] not in skip:
                catalog.setdefault(found["schema"], {})[f"{found['kind']} {found['name']}".strip()] = found["def"]
        notes = {note["name"]: note["value"] for note in session.rows(oracle_sql.NOTES)}
    return Oracle(counted, positions, large, catalog, notes, time.monotonic() - started)


@contextlib.contextmanager
def snapshot_session(database: Database, snapshot: Optional[str] = None) -> Iterator[Session]:
    """A session inside a read-only REPEATABLE READ transaction, on an exported ``snapshot`` where one is given."""
    with database.session() as session:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        if snapshot is not None:
            session.execute(bind("SET TRANSACTION SNAPSHOT %s", snapshot))
        yield session


def read_sequences(session: Session, ignore_schemas: Sequence[str] = ()) -> Nested:
    """The position of every sequence now (no snapshot holds sequences)."""
    found = [entry for entry in session.rows(oracle_sql.SEQUENCES) if entry["schema"] not in set(ignore_schemas)]
    return _nested(_batched(session, [oracle_sql.sequence_query(sequence) for sequence in found]))


def _batched(session: Session, queries: list[str]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(queries), _BATCH):
        yield from session.rows(" UNION ALL ".join(queries[start : start + _BATCH]))


def _nested(rows: Iterator[dict[str, Any]]) -> Nested:
    result: Nested = {}
    for row in rows:
        result.setdefault(row.pop("schema"), {})[row.pop("name")] = row
    return result


# Deparsed expressions change once when dumped and restored: ('a'::varchar)::text for ARRAY['a'::varchar]::text[]. Casts
# between text types, parentheses and spaces are therefore no difference, outside of quotes.
_QUOTED = re.compile(r"""("(?:[^"]|"")*"|'(?:[^']|'')*')""")
_CAST = re.compile(r"::(?:character varying|varchar|text|bpchar|character)(?:\(\d+\))?(?:\[\])?")
_EXPRESSIONS = ("definition", "view", "default", "partition bound", "using", "check")


def _normalised(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _normalised(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_normalised(item) for item in value]
    if key in _EXPRESSIONS and isinstance(value, str):
        # The pieces at odd places are quoted. A cast may follow a quoted piece, so casts go from the pieces between.
        pieces = _QUOTED.split(value)
        pieces[::2] = [re.sub(r"[()\s]+", "", _CAST.sub("", piece)) for piece in pieces[::2]]
        return " ".join(piece for piece in pieces if piece)
    return value


def schema_only(whole: Oracle) -> Oracle:
    """The catalog alone, to compare with an oracle that was taken without rows."""
    return Oracle({}, {}, {}, whole.catalog, whole.notes, whole.seconds)


def compare(
    before: Oracle,
    after: Oracle,
    *,
    ignore_schemas: Sequence[str] = (),
    moving: Optional[Nested] = None,
    positions: bool = True,
    limit: int = 50,
) -> list[str]:
    """Every difference as a sentence, at most ``limit`` of them; an empty list means equal content.

    ``moving`` holds sequence positions read after ``before`` was: while a database is in use, its sequences advance
    during a dump, and a copy is right if it lies between the two readings. Without ``positions`` the order of columns
    is no difference: a column that was dropped and added again comes last.
    """
    skip = set(ignore_schemas)
    sentences = [
        *_tables(before.tables, after.tables, skip),
        *_sequences(before.sequences, after.sequences, moving or before.sequences, skip),
        *_large_objects(before.large_objects, after.large_objects),
        *_catalog(before.catalog, after.catalog, skip, positions),
    ]
    if len(sentences) > limit:
        return [*sentences[:limit], f"… and {plural(len(sentences) - limit, 'more difference')}."]
    return sentences


def compare_across(before: Oracle, after: Oracle, *, moving: Optional[Nested] = None) -> tuple[list[str], list[str]]:
    """The same where ``after`` is read on a newer major version of PostgreSQL, which describes objects in other words:
    what is a difference (content, or an object that is not there), and what a person is only to look at."""
    common = {
        schema: {name: after.catalog.get(schema, {}).get(name, value) for name, value in objects.items()}
        for schema, objects in before.catalog.items()
    }
    there = {
        schema: {name: value for name, value in objects.items() if name in before.catalog.get(schema, {})}
        for schema, objects in after.catalog.items()
    }
    differences = compare(replace(before, catalog=common), replace(after, catalog=there), moving=moving)
    return differences, compare(schema_only(before), schema_only(after))


def notes(before: Oracle, after: Oracle) -> list[str]:
    """Differences worth a word but no fault: versions of extensions, invalid indexes that no dump carries."""
    return [
        f"{name}: {before.notes.get(name, 'absent')} before, {after.notes.get(name, 'absent')} after."
        for name in sorted({*before.notes, *after.notes})
        if before.notes.get(name) != after.notes.get(name)
    ]


def _pairs(before: Nested, after: Nested, skip: set[str]) -> Iterator[tuple[str, str, Any, Any]]:
    for schema in sorted({*before, *after} - skip):
        left, right = before.get(schema, {}), after.get(schema, {})
        for name in sorted({*left, *right}):
            if left.get(name) != right.get(name):
                yield schema, name, left.get(name), right.get(name)


def _tables(before: Nested, after: Nested, skip: set[str]) -> Iterator[str]:
    for schema, name, left, right in _pairs(before, after, skip):
        if left is None or right is None:
            where = "is new" if left is None else "is missing"
            yield f"table {schema}.{name} {where} ({plural((left or right)['rows'], 'row')})."
        elif left["rows"] != right["rows"]:
            yield f"table {schema}.{name} has {plural(right['rows'], 'row')}, {left['rows']:,} before."
        else:
            yield f"table {schema}.{name} has the same {plural(left['rows'], 'row')} by count, but other content."


def _sequences(before: Nested, after: Nested, moving: Nested, skip: set[str]) -> Iterator[str]:
    for schema, name, left, right in _pairs(before, after, skip):
        if left is None or right is None:
            yield f"sequence {schema}.{name} {'is new' if left is None else 'is missing'}."
            continue
        later = moving.get(schema, {}).get(name, left)
        low, high = sorted((_position(left), _position(later)))
        if not (left != later and low <= _position(right) <= high):
            yield f"sequence {schema}.{name} stands at {_said(right)}, {_said(left)} before."


def _position(sequence: dict[str, Any]) -> tuple[int, bool]:
    return int(sequence["last_value"]), bool(sequence["is_called"])


def _said(sequence: dict[str, Any]) -> str:
    return f"{sequence['last_value']}{'' if sequence['is_called'] else ' (not yet used)'}"


def _large_objects(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    words = {"count": "number", "bytes": "total size in bytes", "hash": "content", "owners": "owners or privileges"}
    for key, word in words.items():
        left, right = before.get(key), after.get(key)
        if left != right:
            values = f": {right}, {left} before" if key in ("count", "bytes") else ""
            yield f"large objects differ in their {word}{values}."


def _catalog(before: Nested, after: Nested, skip: set[str], positions: bool) -> Iterator[str]:
    for schema, key, left, right in _pairs(before, after, skip):
        kind, _, name = key.partition(" ")
        if key.startswith(("default privileges", "event trigger")):
            kind, name = key, ""
        shown = f"{kind} {'.'.join(part for part in (schema, name) if part)}".strip()
        if left is None or right is None:
            yield f"{shown} {'is new' if left is None else 'is missing'}."
            continue
        for attribute in sorted({*left, *right}):
            old, new = left.get(attribute), right.get(attribute)
            if attribute == "position" and not positions:
                continue
            if _normalised(old, attribute) != _normalised(new, attribute):
                yield f"{shown}: {attribute} is {_brief(new)}, {_brief(old)} before."


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if value is not None else "absent"
    return text if len(text) <= 200 else text[:197] + "…"
