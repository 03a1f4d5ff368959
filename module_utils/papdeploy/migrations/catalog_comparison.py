"""Whether a thing in the catalog is as the SQL of a migration makes it.

Types are compared as PostgreSQL reads them, expressions as the schema check compares them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ..sql.expressions import Context, default_key, expression_key
from .catalog_definitions import Key, Words
from .run.concurrent_indexes import name_at

Query = Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]

_SPELLINGS = {"LIKE": "~~", "ILIKE": "~~*"}
_TYPE_NAMES = {"INT": "integer", "INT4": "integer", "INT8": "bigint", "INT2": "smallint", "BOOL": "boolean",
               "VARCHAR": "character varying", "DECIMAL": "numeric", "FLOAT8": "double precision", "FLOAT4": "real",
               "TIMESTAMPTZ": "timestamp with time zone", "TIMESTAMP": "timestamp without time zone"}  # fmt: skip


def as_printed(expression: str) -> str:
    """An expression as people write it, in the words in which PostgreSQL prints it (IN, LIKE, BETWEEN, types)."""
    words = Words.of(expression.replace("!=", "<>"))
    out: list[str] = []
    closing: dict[int, str] = {}
    for place, word in enumerate(words.words):
        before, after = words.words[place - 1 : place], words.words[place + 1 : place + 2]
        start, end = words.spans[place]
        gap = words.text[words.spans[place - 1][1] : start] if place else ""
        text = words.text[start:end]
        if word == "IN" and after == ("(",) and words.words[place + 2 : place + 3] not in (("SELECT",), ("WITH",)):
            negated = before == ("NOT",)
            if negated:
                out.pop()
            closing[words.closing(place + 1)] = "])"
            text = " <> ALL " if negated else " = ANY "
        elif word == "(" and before == ("IN",) and "])" in closing.values():
            text = "(ARRAY["
        elif word in ("LIKE", "ILIKE"):
            if before == ("NOT",):
                out.pop()
            text = f" {'!' if before == ('NOT',) else ''}{_SPELLINGS[word]} "
        elif before == ("::",) and word in _TYPE_NAMES and after not in (("WITH",), ("WITHOUT",), ("(",)):
            text = _TYPE_NAMES[word]
        elif word == "BETWEEN" and place and place + 3 < len(words.words) and words.words[place + 2] == "AND":
            text = ">="
            closing[place + 2] = f"AND {words.text[slice(*words.spans[place - 1])]} <="
        out.append(gap + closing.get(place, text))
    return "".join(out)


_TYPES = """SELECT a.attname::text, format_type(a.atttypid, a.atttypmod) FROM pg_attribute AS a
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped"""
_KEYS_OF = """
SELECT k.contype::text,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u(n, o) JOIN pg_attribute AS a
             ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.o),
       coalesce(pg_get_expr(k.conbin, k.conrelid), ''), coalesce(k.confrelid = to_regclass(nullif(%s, '')), false),
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u(n, o) JOIN pg_attribute AS a
             ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY u.o),
       k.confdeltype::text, k.confupdtype::text, k.condeferrable, k.condeferred
FROM pg_constraint AS k WHERE k.conrelid = to_regclass(%s) AND k.contype IN ('p', 'u', 'f', 'c')
"""


def context_of(query: Query, table: str) -> Context:
    return Context({str(name): str(kind) for name, kind in query(_TYPES, (table,))}, ("public", "pg_catalog"))


def same_type(query: Query, table: str, name: str, wanted: str) -> bool:
    """Whether the column has the type that is written ``wanted``; its length and precision count."""
    rows = query(
        "SELECT a.atttypid = to_regtype(%s), format_type(a.atttypid, a.atttypmod) FROM pg_attribute AS a"
        " WHERE a.attrelid = to_regclass(%s) AND a.attname = %s AND NOT a.attisdropped",
        (wanted, table, name),
    )
    return bool(rows) and bool(rows[0][0]) and _modifier(wanted) == _modifier(str(rows[0][1]))


def _modifier(kind: str) -> str:
    """The length or precision of a type: ``10,0`` of ``numeric(10)``, ``1`` of ``char``."""
    found = re.search(r"\(([^()]*)\)", kind)
    plain = kind.lower().strip()
    if not found:
        return "1" if re.match(r"(char|character|bit|bpchar|nchar)(\[\])?$", plain) and plain != "bpchar" else ""
    inside = found[1].replace(" ", "")
    return f"{inside},0" if re.match(r"(numeric|decimal)\b", plain) and "," not in inside else inside


def same_default(query: Query, table: str, name: str, wanted: str, *, generated: bool) -> bool:
    rows = query(
        "SELECT pg_get_expr(d.adbin, d.adrelid), format_type(a.atttypid, a.atttypmod) FROM pg_attrdef AS d"
        " JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum"
        " WHERE d.adrelid = to_regclass(%s) AND a.attname = %s AND (a.attgenerated <> '') = %s",
        (table, name, generated),
    )
    if not rows or not wanted:
        return bool(rows)
    expression, kind = map(str, rows[0])
    context = context_of(query, table)
    if generated:
        return expression_key(expression, context) == expression_key(as_printed(wanted), context)
    return default_key(expression, kind, context) == default_key(as_printed(wanted), kind, context)


def has_key(query: Query, table: str, wanted: Key) -> bool:
    """Whether the table has such a constraint, whatever its name."""
    context = context_of(query, table)
    for kind, columns, expression, same_table, others, on_delete, on_update, deferrable, deferred in query(
        _KEYS_OF, (wanted.table, table)
    ):
        if kind != wanted.kind or (deferrable, deferred) != (wanted.deferrable, wanted.deferred):
            continue
        if kind == "c":
            if expression_key(expression, context) == expression_key(as_printed(wanted.expression), context):
                return True
        elif tuple(columns) == wanted.columns and (
            kind != "f"
            or (
                same_table
                and (not wanted.other_columns or tuple(others) == wanted.other_columns)
                and (on_delete, on_update) == (wanted.on_delete, wanted.on_update)
            )
        ):
            return True
    return False


@dataclass(frozen=True)
class _Index:
    unique: bool
    method: str
    elements: tuple[object, ...]
    included: tuple[str, ...]
    predicate: object
    nulls_not_distinct: bool


def same_index(query: Query, name: str, wanted: str) -> bool:
    """Whether the index ``name`` is as the statement ``wanted`` makes it."""
    rows = query(
        "SELECT pg_get_indexdef(i.indexrelid), i.indrelid::regclass::text FROM pg_index AS i"
        " WHERE i.indexrelid = to_regclass(%s)",
        (name,),
    )
    if not rows:
        return False
    context = context_of(query, str(rows[0][1]))
    return _index(Words.of(str(rows[0][0])), context) == _index(Words.of(wanted), context)


def _index(words: Words, context: Context) -> tuple[str, _Index]:
    place = words.find("ON") + 1
    if words.words[place : place + 1] == ("ONLY",):
        place += 1
    table, place = name_at(words.words, place)
    method = "BTREE"
    if words.words[place : place + 1] == ("USING",):
        method, place = words.words[place + 1], place + 2
    elements = tuple(_element(item, context) for item in words.bracketed(place).items())
    rest = words.part(words.closing(place) + 1)
    include, where = rest.find("INCLUDE"), rest.find("WHERE")
    included = rest.bracketed(include + 1).names() if include >= 0 else ()
    predicate = expression_key(as_printed(rest.part(where + 1).source()), context) if where >= 0 else None
    distinct = rest.find("NULLS", "NOT", "DISTINCT") >= 0
    return table[-1], _Index("UNIQUE" in words.words[:3], method, elements, included, predicate, distinct)


def _element(words: Words, context: Context) -> object:
    """One column or expression of an index; defaults of its order are left out."""
    end = words.closing(0) + 1 if words.words[0] == "(" else name_at(words.words, 0)[1]
    if words.words[end : end + 1] == ("(",):  # a call
        end = words.closing(end) + 1
    options = list(words.words[end:])
    down = "DESC" in options
    usual = ["NULLS", "FIRST" if down else "LAST"]
    if options[-2:] == usual:
        del options[-2:]
    options = [word for word in options if word != "ASC"]
    return expression_key(as_printed(words.part(0, end).source()), context), tuple(options)


def same_function(query: Query, name: tuple[str, ...], body: Optional[str]) -> bool:
    """Whether there is a function of this name, with this body where it is a string."""
    rows = query(
        "SELECT p.prosrc FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE p.proname = %s"
        " AND CASE WHEN %s = '' THEN pg_function_is_visible(p.oid) ELSE n.nspname = %s END",
        (name[-1], *(2 * ["" if len(name) < 2 else name[-2]])),
    )
    return any(body is None or str(row[0]).strip() == body.strip() for row in rows)


def same_trigger(query: Query, table: str, name: str, wanted: str) -> bool:
    rows = query(
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND tgname = %s", (table, name)
    )
    return bool(rows) and _trigger(Words.of(str(rows[0][0]))) == _trigger(Words.of(wanted))


def _trigger(words: Words) -> tuple[object, ...]:
    on, execute = words.find("ON"), words.find("EXECUTE")
    events = frozenset(word for word in words.words[:on] if word in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"))
    when = next((word for word in words.words if word in ("BEFORE", "AFTER", "INSTEAD")), "")
    function = name_at(words.words, execute + 2)[0][-1]
    return when, events, "ROW" in words.words[on:execute], function


def same_policy(query: Query, table: str, name: str, wanted: str) -> bool:
    rows = query(
        "SELECT polcmd::text, polpermissive, coalesce(pg_get_expr(polqual, polrelid), ''),"
        " coalesce(pg_get_expr(polwithcheck, polrelid), ''),"
        " ARRAY(SELECT CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r)::text END FROM unnest(polroles) AS r)"
        " FROM pg_policy WHERE polrelid = to_regclass(%s) AND polname = %s",
        (table, name),
    )
    if not rows:
        return False
    command, permissive, using, check, roles = rows[0]
    words, context = Words.of(wanted), context_of(query, table)
    for_, to = words.find("FOR"), words.find("TO")
    written = words.words[for_ + 1] if for_ >= 0 else "ALL"
    granted = {"public"}
    if to >= 0:
        stop = min((at for at in (words.find("USING"), words.find("WITH", "CHECK")) if at >= 0), default=None)
        granted = {name.lower() for name in words.part(to + 1, stop).names()}

    def clause(*phrase: str) -> object:
        at = words.find(*phrase)
        return expression_key(as_printed(words.bracketed(at + len(phrase)).source()), context) if at >= 0 else None

    said = (written == "ALL" and "*") or {"SELECT": "r", "INSERT": "a", "UPDATE": "w", "DELETE": "d"}[written]
    return (said, "RESTRICTIVE" not in words.words, clause("USING"), clause("WITH", "CHECK")) == (
        command,
        permissive,
        expression_key(using, context) if using else None,
        expression_key(check, context) if check else None,
    ) and (granted == {str(role) for role in roles} or "current_user" in granted)
