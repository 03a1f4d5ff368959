"""When two printed expressions are the same rule in two spellings.

PostgreSQL normalizes most of it before it prints. What is left, and undone here: casts of literals to varchar or text
without a length (each dump and restore moves them), IN against ANY against OR, ``now()`` against CURRENT_TIMESTAMP,
``1`` against ``1.0`` where a comparison makes them one, the order of AND and OR, the spacing of JSON, array literals.
Never undone: a cast that has a length, or to character(n), or from a type not known to be text: they change the value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Decimal, InvalidOperation
from decimal import Context as Arithmetic

from .lexer import NotSql, name_key, strip_schemas, text_key, tokenize
from .parser import Node, Parser, Unreadable, parse

_TEXTUAL = frozenset(["text", "character varying"])
_EXACT = frozenset(["smallint", "integer", "bigint", "numeric"])
_FLOATS = frozenset(["real", "double precision"])
_COMPARISONS = frozenset(["=", "<>", "<", "<=", ">", ">="])
_FLIPPED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_CONSTANTS = ("string", "number", "constant", "json", "regclass")
_FLOAT_EXACT = 1 << 24  # every integer below is exact in a real
_NOW: Node = ("now",)
_ALL_DIGITS = Arithmetic(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)  # Python's own would round to 28 of them


@dataclass(frozen=True)
class Context:
    """What a printed expression refers to: the types of the columns, the qualifiers that mean nothing."""

    types: Mapping[str, str] = field(default_factory=dict)
    schemas: Sequence[str] = ()


def expression_key(sql: str | None, context: Context) -> object:
    """Equal keys mean the same expression. A text that cannot be parsed is compared by its tokens."""
    if sql is None:
        return None
    try:
        return _simplify(parse(sql, context.schemas), context)
    except Unreadable:
        return text_key(sql, context.schemas)


def default_key(sql: str | None, column_type: str, context: Context) -> object:
    """The same for a default, where a cast to the column's own type says nothing; ``DEFAULT NULL`` is no default."""
    if sql is None:
        return None
    try:
        node = _simplify(parse(sql, context.schemas), context)
    except Unreadable:
        return text_key(sql, context.schemas)
    return _as_default(node, column_type)


def type_key(name: str, schemas: Sequence[str] = ()) -> str:
    """A type as format_type prints it, without the qualifiers in ``schemas``."""
    if "." not in name and '"' not in name:
        return name
    try:
        parser = Parser(strip_schemas(tokenize(name), schemas))
        key = parser.type_name()
        parser.done()
    except (NotSql, Unreadable):
        return name
    return key


def base_type(name: str) -> str:
    """The type without its length or precision: ``character varying(5)`` → ``character varying``."""
    opening = name.find("(")
    return name if opening < 0 else (name[:opening] + name[name.index(")") + 1 :]).strip()


def _as_default(node: Node, column_type: str) -> object:
    base = base_type(column_type)
    # a cast to the column's own type is what the assignment does anyway
    while node[0] == "cast" and base_type(node[2]) == base and ("(" not in node[2] or node[2] == column_type):
        node = node[1]
    if node == ("constant", "null"):
        return None
    if node[0] == "cast" and node[1] == ("constant", "null"):
        return None
    if base in _EXACT | _FLOATS and (node[0] == "number" or (node[0] == "string" and _is_number(node[1]))):
        return ("number", _decimal(node[1]))
    if base in ("json", "jsonb") and node[0] == "string":
        return _json_key(node[1], base)
    if base == "character" and node[0] == "cast" and node[2] in ("bpchar", "character varying"):
        node = node[1]
    if base.endswith("[]") and node[0] == "string":
        items = _array_items(node[1])
        if items is not None:
            return ("array", tuple(_as_default(_literal(item, base[:-2]), base[:-2]) for item in items))
    if base.endswith("[]") and node[0] == "array":
        return ("array", tuple(_as_default(item, base[:-2]) for item in node[1]))
    if base == "timestamp without time zone" and node == ("cast", _NOW, base):
        return _NOW
    return node


def _literal(item: str | None, base: str) -> Node:
    if item is None:
        return ("constant", "null")
    return ("number", item, "") if base in _EXACT | _FLOATS and _is_number(item) else ("string", item)


def _simplify(node: Node, context: Context) -> Node:
    kind = node[0]
    if kind in ("string", "constant", "name"):
        return node
    if kind == "number":
        text = node[1]
        return ("number", text, "integer" if text.isdigit() else "numeric")
    if kind == "cast":
        return _cast(_simplify(node[1], context), node[2], context)
    if kind == "call":
        return _call(node, context)
    if kind == "operator":
        operator, left, right = node[1], _simplify(node[2], context), _simplify(node[3], context)
        if operator in _COMPARISONS:
            left, right = _comparand(left), _comparand(right)
            if _is_constant(right):
                pass
            elif _is_constant(left) or operator in (">", ">="):
                operator, left, right = _FLIPPED[operator], right, left
            elif operator in ("=", "<>") and not _is_constant(right) and repr(right) < repr(left):
                left, right = right, left
        return ("operator", operator, left, right)
    if kind == "unary":
        inner = _simplify(node[2], context)
        if node[1] == "-" and inner[0] == "number":
            return ("number", inner[1][1:] if inner[1].startswith("-") else "-" + inner[1], inner[2])
        return ("unary", node[1], inner)
    if kind in ("any", "all"):
        return _quantified(kind, node[1], _simplify(node[2], context), _simplify(node[3], context))
    if kind in ("and", "or"):
        return _junction(kind, [_simplify(item, context) for item in node[1]])
    if kind in ("array", "row"):
        return (kind, tuple(_simplify(item, context) for item in node[1]))
    if kind == "zone":
        return ("call", ("timezone",), (_simplify(node[2], context), _simplify(node[1], context)), ())
    if kind == "case":
        pairs = tuple((_simplify(when, context), _simplify(then, context)) for when, then in node[2])
        subject, otherwise = (None if part is None else _simplify(part, context) for part in (node[1], node[3]))
        return ("case", subject, pairs, None if otherwise == ("constant", "null") else otherwise)
    return tuple(_simplify(part, context) if _is_node(part) else part for part in node)


def _is_constant(node: Node) -> bool:
    """A literal, with or without casts around it."""
    return node[0] in _CONSTANTS or (node[0] == "cast" and _is_constant(node[1]))


def _is_node(part: object) -> bool:
    return isinstance(part, tuple) and bool(part) and isinstance(part[0], str)


def _cast(inner: Node, target: str, context: Context) -> Node:
    if target in _TEXTUAL:
        if inner[0] == "string" or _is_text(inner, context):
            return inner
        if inner[0] == "cast" and base_type(inner[2]) == "character varying":
            return inner  # varchar(n) to text only renames the type
    if target in ("text[]", "character varying[]"):
        if inner[0] == "array":
            return ("array", tuple(_cast(item, "text", context) for item in inner[1]))
        if inner[0] == "string":
            items = _array_items(inner[1])
            if items is not None:
                return ("array", tuple(_literal(item, "text") for item in items))
        if inner[0] == "name" and base_type(_column_type(inner, context)) in ("text[]", "character varying[]"):
            return inner
    if target in _EXACT | _FLOATS:
        if inner[0] == "string" and _is_number(inner[1]):
            return ("number", inner[1], target)
        if inner[0] == "number" and target in _EXACT and not (_fraction(inner[1]) and target != "numeric"):
            return ("number", inner[1], target)
        if inner[0] == "number" and _integral(inner[1]):
            return ("number", inner[1], target)
    if target == "boolean" and inner[0] == "string" and inner[1] in ("t", "f", "true", "false"):
        return ("constant", "true" if inner[1].startswith("t") else "false")
    if target in ("json", "jsonb") and inner[0] == "string":
        return ("cast", _json_key(inner[1], target), target)
    if target == "regclass" and inner[0] == "string":
        return ("regclass", name_key(inner[1], context.schemas))
    if target == "date" and inner == _NOW:
        return ("call", ("current_date",), (), ())
    return ("cast", inner, target)


def _call(node: Node, context: Context) -> Node:
    name, words = node[1], node[3]
    arguments = tuple(_simplify(argument, context) for argument in node[2])
    if not arguments and name in (("now",), ("current_timestamp",), ("transaction_timestamp",)):
        return _NOW
    if not arguments and name == ("localtimestamp",):
        return ("cast", _NOW, "timestamp without time zone")
    if len(name) == 1:
        return _plain_call(name[0], arguments, words)
    return ("call", name, arguments, words)


# The SQL standard's own syntax of some functions, which PostgreSQL 14 and newer print for those who wrote it so.
_TRIMS = {"BOTH": "btrim", "LEADING": "ltrim", "TRAILING": "rtrim"}
_SPELLED = {"substring": ("FROM", "FOR"), "overlay": ("PLACING", "FROM", "FOR")}
_SAME = {"char_length": "length", "character_length": "length", "substr": "substring"}


def _plain_call(name: str, arguments: tuple[Node, ...], words: Sequence[str]) -> Node:
    """A call as the function's own name says it: ``TRIM(BOTH 'x' FROM a)`` is ``btrim(a, 'x')``."""
    if name == "trim" and words and words[0] in _TRIMS:
        return ("call", (_TRIMS[words[0]],), tuple(reversed(arguments)), ())
    if name == "position" and words:
        return ("call", (name,), tuple(reversed(arguments)), ())
    if words and tuple(words) == _SPELLED.get(name, ())[: len(words)]:
        words = ()
    return ("call", (_SAME.get(name, name),), arguments, tuple(words))


def _column_type(node: Node, context: Context) -> str:
    return context.types.get(node[-1], "") if node[0] == "name" else ""


def _is_text(node: Node, context: Context) -> bool:
    return base_type(_column_type(node, context)) in _TEXTUAL


def _comparand(node: Node) -> Node:
    """A number that is compared: its type is the other side's, so only its value counts (where exact in any type)."""
    if node[0] == "number" and len(node) == 3 and (node[2] in _EXACT or _integral(node[1])):
        return ("number", _decimal(node[1]))  # of two parts: its type does not count any more
    return node


def _quantified(kind: str, operator: str, left: Node, right: Node) -> Node:
    if right[0] != "array":
        return (kind, operator, left, right)
    items = sorted({_comparand(item) for item in right[1]}, key=repr)
    if len(items) == 1:
        return ("operator", operator, left, items[0])
    return (kind, operator, left, ("array", tuple(items)))  # neither ANY nor ALL asks for their order


def _junction(kind: str, items: Sequence[Node]) -> Node:
    """AND and OR: flat, in one order; ``x = 1 OR x = 2`` is ``x = ANY (ARRAY[1, 2])``."""
    flat: list[Node] = []
    for item in items:
        flat.extend(item[1] if item[0] == kind else [item])
    wanted, quantifier = ("=", "any") if kind == "or" else ("<>", "all")
    grouped: dict[Node, list[Node]] = {}
    rest: list[Node] = []
    for item in flat:
        values = _alternatives(item, wanted, quantifier)
        if values is None:
            rest.append(item)
        else:
            grouped.setdefault(item[2], []).extend(values)
    for subject, values in grouped.items():
        rest.append(_quantified(quantifier, wanted, subject, ("array", tuple(values))))
    unique = sorted(set(rest), key=repr)
    return unique[0] if len(unique) == 1 else (kind, tuple(unique))


def _alternatives(item: Node, operator: str, quantifier: str) -> Sequence[Node] | None:
    if item[0] == "operator" and item[1] == operator and _is_constant(item[3]):
        return [item[3]]
    if item[0] == quantifier and item[1] == operator and item[3][0] == "array":
        values: Sequence[Node] = item[3][1]
        return values
    return None


def _is_number(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


def _decimal(text: str) -> str:
    value = Decimal(text)
    return "0" if value == 0 else format(value.normalize(_ALL_DIGITS), "f")


def _fraction(text: str) -> bool:
    value = Decimal(text)
    return value != value.to_integral_value()


def _integral(text: str) -> bool:
    return _is_number(text) and not _fraction(text) and abs(Decimal(text)) < _FLOAT_EXACT


def _json_key(text: str, kind: str) -> Node:
    """A JSON literal without its spacing; the order of keys counts for json, not for jsonb."""
    try:
        pairs = None if kind == "jsonb" else tuple
        # numbers as they are written: jsonb keeps every digit, and json the text
        value = json.loads(
            text,
            parse_float=lambda number: ["number", number],
            object_pairs_hook=None if pairs is None else lambda found: ("object", *found),
        )
    except ValueError:
        return ("string", text)
    return ("json", json.dumps(value, sort_keys=kind == "jsonb"))


def _array_items(text: str) -> list[str | None] | None:
    """The items of a one-dimensional array literal, or None when it is more than that."""
    if not (text.startswith("{") and text.endswith("}")) or "{" in text[1:]:
        return None
    items: list[str | None] = []
    position, body = 0, text[1:-1]
    if not body:
        return []
    while True:
        if position < len(body) and body[position] == '"':
            value, position = _quoted_item(body, position + 1)
            items.append(value)
        else:
            end = body.find(",", position)
            end = len(body) if end < 0 else end
            word = body[position:end]
            items.append(None if word.upper() == "NULL" else word)
            position = end
        if position >= len(body):
            return items
        position += 1


def _quoted_item(body: str, position: int) -> tuple[str, int]:
    out = []
    while position < len(body) and body[position] != '"':
        if body[position] == "\\":
            position += 1
        out.append(body[position])
        position += 1
    return "".join(out), position + 1
