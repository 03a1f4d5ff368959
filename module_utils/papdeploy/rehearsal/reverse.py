"""Is the deploy reversible? The downgrades run on the copy, and what they leave is compared with the start."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, NamedTuple, Optional

from ..core.errors import DeadlineExceeded, PapError, Refused
from ..core.records import recorded
from ..core.text import plural
from ..databases import content_digest
from ..databases.content_digest import ContentDigest
from ..databases.psql import Database, Session
from ..sql.quoting import quote_ident
from .copies import LEDGER_SCHEMA, Copy, keep_apart

IGNORED = (LEDGER_SCHEMA,)


@dataclass(frozen=True)
class Reverted:
    """What the downgrades did to the copy. ``reversible``, or ``why`` not, and by which migration (``identity``);
    ``differences`` from the start. ``tried``: something was run; ``clean``: the copy is as it was at the start, ledger
    apart. ``seconds`` of the downgrades, where they came to their end."""

    reversible: bool = True
    tried: bool = False
    clean: bool = True
    why: str = ""
    identity: Optional[str] = None
    differences: tuple[str, ...] = ()
    seconds: Optional[float] = None


@dataclass(frozen=True)
class Drops:
    """What exists only in the migrated schema, so that a downgrade drops it, and what it holds. ``tables``: name to
    rows. ``columns``: ``table.column`` to the number of rows whose value is neither NULL nor the column's default: what
    users, or the migration, have written there."""

    tables: dict[str, int]
    columns: dict[str, int]


@dataclass(frozen=True)
class _Object:
    """An object of the catalog, as far as it says what a downgrade drops."""

    kind: str = ""
    default: Optional[str] = None
    generated: str = ""


def revert(copy: Copy, call: Callable[[], object]) -> Reverted:
    """Run the downgrades by ``call`` and compare the copy with its start."""
    started = time.monotonic()
    try:
        call()
    except Refused as error:
        return Reverted(reversible=False, clean=False, why=error.message, identity=_blamed(error))
    except DeadlineExceeded:
        raise
    except PapError as error:
        why = f"a downgrade fails: {error.message}"
        return Reverted(reversible=False, tried=True, clean=False, why=why, identity=_blamed(error))
    seconds = round(time.monotonic() - started, 3)
    after = content_digest.take(copy.database, ignore_schemas=IGNORED)
    differences = content_digest.compare(copy.start, keep_apart(copy, after), ignore_schemas=IGNORED)
    return Reverted(
        reversible=not differences,
        tried=True,
        clean=not differences,
        why=f"after the downgrades the copy is not what it was: {differences[0]}" if differences else "",
        differences=tuple(differences),
        seconds=seconds,
    )


@dataclass(frozen=True)
class _Blamed:
    """The migration that an error names: one that is ``irreversible``, or ran."""

    irreversible: Optional[str] = None
    identity: Optional[str] = None


def _blamed(error: PapError) -> Optional[str]:
    data = recorded(_Blamed, error.data)
    return data.irreversible or data.identity


def structure(copy: Database) -> ContentDigest:
    """The catalog of the copy now, without rows."""
    return content_digest.take(copy, ignore_schemas=IGNORED, rows=False)


def schema_differences(first: ContentDigest, second: ContentDigest) -> list[str]:
    """What is different between two catalogs, as sentences."""
    return content_digest.compare(first, second, ignore_schemas=IGNORED)


def downgrade_drops(copy: Database, start: ContentDigest, migrated: ContentDigest) -> Drops:
    """What a downgrade drops, and what that holds now."""
    drops = Drops({}, {})
    with copy.session() as session:
        for schema, objects in migrated.catalog.items():
            if schema in IGNORED:
                continue
            before = start.catalog.get(schema, {})
            catalog = {key: recorded(_Object, traits) for key, traits in objects.items()}
            for key, item in sorted(catalog.items()):
                what, _, name = key.partition(" ")
                if what == "relation" and key not in before and item.kind == "r":
                    drops.tables[f"{schema}.{name}"] = _count(session, schema, name)
                column = _new_column(key, before, catalog)
                if column:
                    drops.columns[f"{schema}.{'.'.join(column)}"] = _count(
                        session, schema, column.table, f"WHERE {_written(column.name, item)}"
                    )
    return drops


def _count(session: Session, schema: str, table: str, condition: str = "") -> int:
    quoted = f"{quote_ident(schema)}.{quote_ident(table)}"
    return int(session.scalar(f"SELECT count(*) AS n FROM {quoted} {condition}"))


class _Column(NamedTuple):
    table: str
    name: str


def _new_column(key: str, before: Collection[str], catalog: Mapping[str, _Object]) -> Optional[_Column]:
    """Table and column, if ``key`` is a column that is new in an ordinary table that is not."""
    if not key.startswith("column ") or key in before:
        return None
    whole = key.split(" ", 1)[1]
    # Both names may hold dots: the table is the one that exists.
    for at in (index for index, letter in enumerate(whole) if letter == "."):
        name = whole[:at]
        relation = f"relation {name}"
        if relation in before and catalog.get(relation, _Object()).kind in ("r", "p"):
            return _Column(name, whole[at + 1 :])
    return None


def _written(column: str, item: _Object) -> str:
    quoted = quote_ident(column)
    if item.generated:
        return "false"
    if item.default:
        # Compared as text: types such as json have no equality.
        return f"{quoted} IS NOT NULL AND {quoted}::text IS DISTINCT FROM ({item.default})::text"
    return f"{quoted} IS NOT NULL"


def loses_sentence(drops: Drops, differences: Sequence[str]) -> str:
    """What a downgrade costs, for a person."""
    tables, columns = drops.tables, drops.columns
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
