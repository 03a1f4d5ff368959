"""Is the deploy reversible? The downgrades run on the copy, and what they leave is compared with the start."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Callable, Optional

from ..core.errors import DeadlineExceeded, PapError, Refused
from ..core.text import plural
from ..databases import content_digest
from ..databases.content_digest import ContentDigest
from ..databases.psql import Database
from ..sql.quoting import quote_ident
from .copies import LEDGER_SCHEMA, Copy, keep_apart

Call = Callable[..., dict[str, Any]]
IGNORED = (LEDGER_SCHEMA,)


def revert(copy: Copy, call: Call) -> dict[str, Any]:
    """Run the downgrades and compare: ``reversible``, ``why`` not, ``differences``, ``seconds`` of the downgrades.

    ``clean`` says that the copy is as it was at the start, ledger apart; ``tried`` that something was run.
    """
    started = time.monotonic()
    try:
        call()
    except Refused as error:
        why = error.data.get("irreversible") or error.data.get("identity")
        return {
            "reversible": False,
            "claimed": not error.data.get("irreversible"),
            "tried": False,
            "clean": False,
            "why": error.message,
            "identity": why,
            "differences": [],
            "seconds": None,
        }
    except DeadlineExceeded:
        raise
    except PapError as error:
        return {
            "reversible": False,
            "claimed": True,
            "tried": True,
            "clean": False,
            "why": f"a downgrade fails: {error.message}",
            "identity": error.data.get("identity"),
            "differences": [],
            "seconds": None,
        }
    seconds = round(time.monotonic() - started, 3)
    after = content_digest.take(copy.database, ignore_schemas=IGNORED)
    differences = content_digest.compare(copy.start, keep_apart(copy, after), ignore_schemas=IGNORED)
    return {
        "reversible": not differences,
        "claimed": True,
        "tried": True,
        "clean": not differences,
        "why": f"after the downgrades the copy is not what it was: {differences[0]}" if differences else "",
        "identity": None,
        "differences": differences,
        "seconds": seconds,
    }


def structure(copy: Database) -> ContentDigest:
    """The catalog of the copy now, without rows."""
    return content_digest.take(copy, ignore_schemas=IGNORED, rows=False)


def schema_differences(first: ContentDigest, second: ContentDigest) -> list[str]:
    """What is different between two catalogs, as sentences."""
    return content_digest.compare(first, second, ignore_schemas=IGNORED)


def downgrade_drops(copy: Database, start: ContentDigest, migrated: ContentDigest) -> dict[str, Any]:
    """What exists only in the migrated schema, so that a downgrade drops it, and what it holds now.

    ``tables``: name to rows. ``columns``: ``table.column`` to the number of rows whose value is neither NULL nor the
    column's default: what users, or the migration, have written there.
    """
    tables: dict[str, int] = {}
    columns: dict[str, int] = {}
    with copy.session() as session:
        for schema, objects in migrated.catalog.items():
            if schema in IGNORED:
                continue
            before = start.catalog.get(schema, {})
            fresh = {
                key.split(" ", 1)[1]
                for key, traits in objects.items()
                if key.startswith("relation ") and key not in before and traits.get("kind") == "r"
            }
            for name in sorted(fresh):
                quoted = f"{quote_ident(schema)}.{quote_ident(name)}"
                tables[f"{schema}.{name}"] = int(session.scalar(f"SELECT count(*) AS n FROM {quoted}"))
            for key, traits in objects.items():
                found = _new_column(key, before, objects)
                if found:
                    name, column = found
                    quoted = f"{quote_ident(schema)}.{quote_ident(name)}"
                    condition = _written(column, traits)
                    count = int(session.scalar(f"SELECT count(*) AS n FROM {quoted} WHERE {condition}"))
                    columns[f"{schema}.{name}.{column}"] = count
    return {"tables": tables, "columns": columns}


def _new_column(key: str, before: Mapping[str, Any], objects: Mapping[str, Any]) -> Optional[tuple[str, str]]:
    """Table and column, if ``key`` is a column that is new in an ordinary table that is not."""
    if not key.startswith("column ") or key in before:
        return None
    whole = key.split(" ", 1)[1]
    # Both names may hold dots: the table is the one that exists.
    for at in (index for index, letter in enumerate(whole) if letter == "."):
        name = whole[:at]
        relation = f"relation {name}"
        if relation in before and objects.get(relation, {}).get("kind") in ("r", "p"):
            return name, whole[at + 1 :]
    return None


def _written(column: str, traits: Mapping[str, Any]) -> str:
    quoted = quote_ident(column)
    default = traits.get("default")
    if default and not traits.get("generated"):
        # Compared as text: types such as json have no equality.
        return f"{quoted} IS NOT NULL AND {quoted}::text IS DISTINCT FROM ({default})::text"
    return "false" if traits.get("generated") else f"{quoted} IS NOT NULL"


def loses_sentence(drops: Mapping[str, Any], differences: list[str]) -> str:
    """What a downgrade costs, for a person."""
    tables, columns = drops["tables"], drops["columns"]
    if differences:
        return f"a downgrade does not bring back what was there: {'; '.join(differences[:3])}"
    if not tables and not columns:
        return "a downgrade drops no table and no column"
    names = [plural(len(tables), "new table")] if tables else []
    names += [plural(len(columns), "new column")] if columns else []
    rows = sum(tables.values())
    values = sum(columns.values())
    held = f"{plural(rows, 'row')} and {plural(values, 'value')}" if rows or values else "nothing"
    return (
        f"a downgrade drops {' and '.join(names)} with what was written there since;"
        f" the migrations themselves wrote {held}"
    )
