"""What one SQL statement does to the tables it touches: rewrite, scan, block writes, lose data.

From the PostgreSQL documentation: ALTER TABLE (Notes), CREATE INDEX, Explicit Locking (13.3). Times are estimates from
the size of the table and the rates below, which an ordinary server with SSDs reaches; they are there for the order of
magnitude, and every message says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ...sql.quoting import quote_exact
from ...sql.statements import Statement
from ..run.concurrent_indexes import concurrent_index, name_at

REWRITE_BYTES_PER_S = 100_000_000
SCAN_BYTES_PER_S = 400_000_000
INDEX_BYTES_PER_S = 50_000_000

# Functions that are evaluated once per statement: as a default they are stored, not computed for each row.
_STABLE = {"NOW", "CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "LOCALTIMESTAMP", "LOCALTIME", "CURRENT_USER",
           "SESSION_USER", "TRANSACTION_TIMESTAMP", "STATEMENT_TIMESTAMP", "LOWER", "UPPER", "TIMEZONE", "CAST",
           "JSONB_BUILD_OBJECT", "JSON_BUILD_OBJECT", "JSONB_BUILD_ARRAY", "TO_TIMESTAMP", "DATE", "INTERVAL", "ARRAY",
           "VARCHAR", "CHAR", "NUMERIC", "DECIMAL", "CHARACTER", "VARYING", "BIT", "TIMESTAMP", "TIME",
           "FLOAT"}  # fmt: skip
_SERIAL = {"SERIAL", "BIGSERIAL", "SMALLSERIAL", "SERIAL4", "SERIAL8", "SERIAL2"}


@dataclass(frozen=True)
class Effect:
    """``rule`` names it; ``cost`` is rewrite, scan, index, rows, none or always (independent of the size)."""

    rule: str
    table: str
    cost: str
    does: str
    instead: str
    column: str = ""
    type_words: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableSize:
    """The planner's row count (-1: never analysed), the bytes of heap and TOAST, and the types of its columns."""

    rows: int
    size: int
    types: Mapping[str, str]
    not_null_checked: frozenset[str] = frozenset()
    partitioned: bool = False


def effects(statement: Statement) -> list[Effect]:
    """The effects of ``statement`` that can hurt on a large table or with the API running."""
    words = statement.words
    if words[:2] == ("ALTER", "TABLE"):
        position = 2
        for phrase in (("IF", "EXISTS"), ("ONLY",)):
            if words[position : position + len(phrase)] == phrase:
                position += len(phrase)
        name, position = name_at(words, position)
        table = quote_exact(*name)
        return [effect for action in split_actions(words[position:]) for effect in _alter(table, action)]
    return _other(statement)


def split_actions(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The comma-separated actions of an ALTER TABLE; commas in parentheses do not separate."""
    actions: list[tuple[str, ...]] = []
    depth, start = 0, 0
    for position, word in enumerate(words):
        depth += (word in "([") - (word in ")]") if len(word) == 1 else 0
        if word == "," and not depth:
            actions.append(words[start:position])
            start = position + 1
    actions.append(words[start:])
    return actions


def builds_nothing(statement: Statement, sizes: Optional[Mapping[str, TableSize]]) -> bool:
    """Whether it is CREATE INDEX … ON ONLY of a partitioned table: an entry in the catalog, valid once the indexes of
    all partitions are attached. Only there is ONLY written, as far as no database says otherwise."""
    words = statement.words
    if words[:1] != ("CREATE",) or "INDEX" not in words[:3] or ("ON", "ONLY") not in zip(words, words[1:]):
        return False
    size = (sizes or {}).get(quote_exact(*name_at(words, words.index("ON") + 2)[0]))
    return size is None or size.partitioned


def _other(statement: Statement) -> list[Effect]:
    words = statement.words
    if words[:1] == ("CREATE",) and "INDEX" in words[:3]:
        if concurrent_index(statement) is not None or "ON" not in words:
            return []
        start = words.index("ON") + (2 if words[words.index("ON") + 1] == "ONLY" else 1)
        return [Effect("index-blocks-writes", quote_exact(*name_at(words, start)[0]), "index",
                       "builds an index while writes wait",
                       "CREATE INDEX CONCURRENTLY, with transactional = False")]  # fmt: skip
    if words[:1] == ("REINDEX",) and "CONCURRENTLY" not in words and words[1:2] == ("TABLE",):
        return [Effect("reindex-blocks", quote_exact(*name_at(words, 2)[0]), "index",
                       "rebuilds indexes while writes wait",
                       "REINDEX … CONCURRENTLY, with transactional = False")]  # fmt: skip
    if words[:1] == ("CLUSTER",) or (words[:1] == ("VACUUM",) and "FULL" in words):
        position = words.index("FULL") + 1 if "FULL" in words else 1
        while words[position : position + 1] in ((")",), ("VERBOSE",), ("ANALYZE",), ("FREEZE",), (",",)):
            position += 1
        return [Effect("rewrite", quote_exact(*name_at(words, position)[0]), "rewrite",
                       "rewrites the table while reads and writes wait",
                       "pg_repack, or leave it to autovacuum")]  # fmt: skip
    if words[:1] == ("UPDATE",) or words[:2] == ("DELETE", "FROM"):
        position = 1 if words[0] == "UPDATE" else 2
        if words[position : position + 1] == ("ONLY",):
            position += 1
        name, _ = name_at(words, position)
        verb = "changes" if words[0] == "UPDATE" else "deletes"
        whole = "" if "WHERE" in words else " (there is no WHERE)"
        return [Effect("long-row-locks", quote_exact(*name), "rows",
                       f"{verb} rows in one transaction{whole}: their locks are held until the end",
                       "db.batches() in a migration with transactional = False")]  # fmt: skip
    if words[:2] == ("DROP", "TABLE") or words[:1] == ("TRUNCATE",):
        position = 2 if words[1:2] == ("TABLE",) else 1
        if words[position : position + 2] == ("IF", "EXISTS"):
            position += 2
        return [Effect("data-loss", quote_exact(*name_at(words, position)[0]), "loss", "throws its rows away",
                       "rename it now and drop it in a later release")]  # fmt: skip
    return []


def _alter(table: str, words: tuple[str, ...]) -> list[Effect]:
    if words[:1] == ("ADD",):
        return _add(table, words)
    if words[:1] == ("DROP",) and words[1:2] != ("CONSTRAINT",):
        position = 2 if words[1:2] == ("COLUMN",) else 1
        if words[position : position + 2] == ("IF", "EXISTS"):
            position += 2
        column = name_at(words, position)[0][-1]
        return [Effect("breaks-old-code", table, "always", f"drops column {column}: code that still reads it fails",
                       "first release code that does not use it, then drop it", column)]  # fmt: skip
    if words[:1] == ("RENAME",) and words[1:2] != ("CONSTRAINT",):
        return [Effect("breaks-old-code", table, "always", "renames what running code uses by its old name",
                       "add the new name, move over, then drop the old one")]  # fmt: skip
    if words[:2] in (("SET", "LOGGED"), ("SET", "UNLOGGED"), ("SET", "TABLESPACE"), ("SET", "ACCESS")):
        return [Effect("rewrite", table, "rewrite", f"{' '.join(words[:2])} rewrites the table while all wait", "")]
    if words[:2] == ("VALIDATE", "CONSTRAINT"):
        return [Effect("validate-scans", table, "gentle", "reads the whole table; writes go on", "")]
    if words[:1] == ("ALTER",):
        return _alter_column(table, words)
    return []


def _alter_column(table: str, words: tuple[str, ...]) -> list[Effect]:
    position = 2 if words[1:2] == ("COLUMN",) else 1
    name, position = name_at(words, position)
    change = words[position:]
    if change[:3] == ("SET", "NOT", "NULL"):
        return [Effect("not-null-scans", table, "scan", f"checks every row of {name[-1]} while all wait",
                       "ADD CONSTRAINT … CHECK (… IS NOT NULL) NOT VALID, VALIDATE, then SET NOT NULL",
                       name[-1])]  # fmt: skip
    if change[:1] == ("TYPE",) or change[:3] == ("SET", "DATA", "TYPE"):
        kind = change[1:] if change[:1] == ("TYPE",) else change[3:]
        return [Effect("rewrite", table, "rewrite",
                       f"changes the type of {name[-1]}: rewrites the table while all wait",
                       "add a column of the new type, fill it in batches, switch over", name[-1], kind)]  # fmt: skip
    return []


def _add(table: str, words: tuple[str, ...]) -> list[Effect]:
    kind = words[3] if words[1:2] == ("CONSTRAINT",) and len(words) > 3 else words[1] if len(words) > 1 else ""
    if words[1:2] == ("CONSTRAINT",) or kind in ("PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "EXCLUDE"):
        not_valid = any(pair == ("NOT", "VALID") for pair in zip(words, words[1:]))
        if kind in ("CHECK", "FOREIGN") and not not_valid:
            return [Effect("constraint-scans", table, "scan", "checks every row while writes wait",
                           "add it NOT VALID, then VALIDATE CONSTRAINT")]  # fmt: skip
        if kind in ("PRIMARY", "UNIQUE", "EXCLUDE") and not any(p == ("USING", "INDEX") for p in zip(words, words[1:])):
            return [Effect("constraint-builds-index", table, "index", "builds an index while all wait",
                           "CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT … USING INDEX")]  # fmt: skip
        return []
    position = 2 if words[1:2] == ("COLUMN",) else 1
    if words[position : position + 3] == ("IF", "NOT", "EXISTS"):
        position += 3
    name, position = name_at(words, position)
    return _add_column(table, name[-1], words[position:])


def _add_column(table: str, column: str, words: tuple[str, ...]) -> list[Effect]:
    found: list[Effect] = []
    default = words[words.index("DEFAULT") + 1 :] if "DEFAULT" in words else ()
    generated = "GENERATED" in words
    calls = {word for word, after in zip(default, default[1:]) if after == "(" and re.match(r"[A-Z_]", word)}
    if (words[:1] and words[0] in _SERIAL) or generated or calls - _STABLE:
        found.append(Effect("rewrite", table, "rewrite",
                            f"computes {column} for every row: rewrites the table while all wait",
                            "add it without the default, fill it in batches, then set the default",
                            column))  # fmt: skip
    not_null = any(pair == ("NOT", "NULL") for pair in zip(words, words[1:])) or "PRIMARY" in words
    if not_null and not default and not generated and words[0] not in _SERIAL:
        found.append(Effect("not-null-without-default", table, "rows-fail",
                            f"adds {column} NOT NULL without a default: fails if there is any row",
                            "give it a default, or add it nullable and fill it first", column))  # fmt: skip
    if "UNIQUE" in words or "PRIMARY" in words:
        found.append(Effect("constraint-builds-index", table, "index", "builds an index while all wait",
                            "add the column, then CREATE UNIQUE INDEX CONCURRENTLY", column))  # fmt: skip
    return found


def needs_rewrite(current: str, wanted: tuple[str, ...]) -> bool:
    """Whether changing a column from type ``current`` (as format_type prints it) to ``wanted`` rewrites the table.

    False only for the changes that PostgreSQL documents as free: to text, to a longer or unlimited varchar, to a
    numeric of more digits and the same scale.
    """
    if "USING" in wanted:
        return True
    target = " ".join(wanted).lower().replace(" ( ", "(").replace(" )", ")").replace(" , ", ",")
    target = re.sub(r"^varchar", "character varying", target).replace("decimal", "numeric")
    if target == current:
        return False
    old = re.match(r"character varying(?:\((\d+)\))?$", current)
    if old:
        new = re.match(r"character varying(?:\((\d+)\))?$", target)
        if target == "text" or (new and (not new[1] or (old[1] and int(new[1]) >= int(old[1])))):
            return False
    if current == "text" and target == "character varying":
        return False
    number = re.match(r"numeric\((\d+),(\d+)\)$", current)
    if number:
        new = re.match(r"numeric\((\d+),(\d+)\)$", target)
        if target == "numeric" or (new and int(new[1]) >= int(number[1]) and new[2] == number[2]):
            return False
    return True


def seconds(effect: Effect, size: TableSize) -> float:
    """A rough time for the effect on a table of this size."""
    rate = {"rewrite": REWRITE_BYTES_PER_S, "scan": SCAN_BYTES_PER_S, "gentle": SCAN_BYTES_PER_S,
            "index": INDEX_BYTES_PER_S}.get(effect.cost, REWRITE_BYTES_PER_S)  # fmt: skip
    return size.size / rate


def sizes(query: Any) -> dict[str, TableSize]:
    """Every table by its quoted name, both bare (where the search path finds it) and with its schema."""
    found: dict[str, TableSize] = {}
    for schema, name, visible, rows, size, types, checked, parted in query(_SIZES):
        entry = TableSize(int(rows), int(size), types or {}, frozenset(checked or ()), bool(parted))
        found[quote_exact(schema, name)] = entry
        if visible:
            found[quote_exact(name)] = entry
    return found


_SIZES = """
SELECT n.nspname, c.relname, pg_table_is_visible(c.oid),
       CASE WHEN c.relkind = 'p' THEN coalesce((SELECT sum(greatest(k.reltuples, 0)) FROM pg_partition_tree(c.oid) AS t
            JOIN pg_class AS k ON k.oid = t.relid), 0) ELSE c.reltuples END::bigint,
       coalesce((SELECT sum(pg_table_size(t.relid)) FROM pg_partition_tree(c.oid) AS t), pg_table_size(c.oid))::bigint,
       (SELECT jsonb_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)) FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
       (SELECT array_agg(a.attname::text) FROM pg_constraint AS k JOIN pg_attribute AS a
            ON a.attrelid = c.oid AND a.attnum = ANY (k.conkey)
        WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.convalidated AND array_length(k.conkey, 1) = 1
          AND pg_get_constraintdef(k.oid) ~ 'IS NOT NULL'),
       c.relkind = 'p'
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pap_deploy')
  AND n.nspname !~ '^pg_(toast|temp)'
"""
