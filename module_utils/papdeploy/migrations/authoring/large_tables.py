"""What a generated migration does to large tables outside a transaction and in pieces: nobody waits for a scan."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ...schema.catalog.connection import Session
from ...schema.catalog.rows import Catalog, Relation
from ...sql.quoting import quote_name, quote_names
from .lint import MEDIUM_BYTES, MEDIUM_ROWS

_ROWS = 5000  # of a piece
# The check that proves NOT NULL before it is set.
_CHECK = r"(\w+_is_set|\"(?:[^\"]|\"\")+_is_set\")"
_ADD, _DROP = re.compile(rf" ADD CONSTRAINT {_CHECK} CHECK "), re.compile(rf" DROP CONSTRAINT {_CHECK};\Z")
_SIZES = (
    "SELECT c.relnamespace::regnamespace::text, c.relname, sum(o.reltuples), sum(pg_table_size(o.oid)) FROM pg_class c "
    "JOIN pg_class o ON o.oid = c.oid OR o.oid IN (SELECT relid FROM pg_partition_tree(c.oid)) "
    "WHERE c.relkind IN ('r', 'p') GROUP BY c.oid, 1, 2"
)


# The same in SQL: the server commits each piece, and goes on behind the last key of it.
_PIECES = """DO $$
DECLARE
    papdeploy_last {table}.{key}%TYPE;
    papdeploy_next {table}.{key}%TYPE;
BEGIN
    LOOP
        WITH piece AS (
            SELECT {key} FROM {table} WHERE {condition} AND (papdeploy_last IS NULL OR {key} > papdeploy_last)
            ORDER BY {key} LIMIT {rows}
        ), filled AS (
            {change} WHERE {key} IN (SELECT {key} FROM piece)
        )
        SELECT {key} INTO papdeploy_next FROM piece ORDER BY {key} DESC LIMIT 1;
        EXIT WHEN papdeploy_next IS NULL;
        papdeploy_last := papdeploy_next;
        COMMIT;
    END LOOP;
END $$;"""


class Code(str):
    """Lines of Python; ``statement`` does the same in SQL."""

    statement: str


def large_tables(session: Session, catalog: Catalog) -> dict[str, str]:
    """Those of which the lint warns by their size, with the column that tells their rows apart ('' without one)."""
    sizes = session.read(_SIZES)
    large = {name for schema, name, rows, size in sizes if rows >= MEDIUM_ROWS or size >= MEDIUM_BYTES}
    return {quote_names(row.schema, row.name): _key(row) for row in catalog.relations if row.name in large}


def _key(table: Relation) -> str:
    keys = (row.columns for row in table.constraints if row.type == "primary key")
    return next((quote_name(columns[0]) for columns in keys if len(columns) == 1), "")


def divided(statements: Sequence[str], large: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """``statements`` without those that scan a large table; and these, each of which can run again."""
    kept: list[str] = []
    alone: list[str] = []
    inside = False
    for text in statements:
        table = next((name for name in large if text.startswith((f"UPDATE {name} SET ", f"ALTER TABLE {name} "))), "")
        inside = bool(table) and (inside or _ADD.search(text) is not None)
        if table and text.startswith("UPDATE "):
            alone.append(_in_pieces(text, table, large[table]))
        elif inside:
            again = _ADD.sub(r" DROP CONSTRAINT IF EXISTS \1, ADD CONSTRAINT \1 CHECK ", text)
            alone.append(_DROP.sub(r" DROP CONSTRAINT IF EXISTS \1;", again))
        else:
            kept.append(text)
        inside = inside and _DROP.search(text) is None
    if alone and all(text.startswith("--") for text in kept):
        return [], [*kept, *alone]
    return kept, alone


def _in_pieces(update: str, table: str, key: str) -> str:
    change, _, condition = update.rstrip(";").rpartition(" WHERE ")
    if not key:
        return update
    select = f"SELECT {key} FROM {table} WHERE {condition}"
    found = Code(
        f"for batch in db.batches({select!r}, size={_ROWS}):\n"
        f"    db.execute({f'{change} WHERE {key} = ANY(:keys)'!r}, {{'keys': batch.keys}})"
    )
    found.statement = _PIECES.format(table=table, key=key, condition=condition, change=change, rows=_ROWS)
    return found
