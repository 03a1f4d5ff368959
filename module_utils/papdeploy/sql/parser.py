"""Expressions as pg_get_expr prints them, read into trees of plain tuples.

Only what the server prints is understood, and not all of that: sub-selects, window calls and XML/JSON constructors
raise Unreadable, and the caller then compares tokens. A tree is ``(kind, …)``; the kinds are listed in Parser.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .lexer import NotSql, Token, strip_schemas, tokenize

Node = tuple[Any, ...]

# From loose to tight: Operator Precedence, in the Lexical Structure chapter. Printed text is fully parenthesized.
_OR, _AND, _NOT, _IS, _COMPARE, _OTHER, _ADD, _MULTIPLY, _POWER, _ZONE, _COLLATE, _UNARY, _SUBSCRIPT = range(1, 14)
_COMPARISONS = frozenset(["<", ">", "=", "<=", ">=", "<>"])
_UNREADABLE = frozenset(
    re.findall(r"\w+", "SELECT EXISTS OVER FILTER WITHIN ORDER BETWEEN LIKE ILIKE SIMILAR WITH VALUES")
)
_CONSTANT_CALLS = frozenset(
    re.findall(
        r"\w+",
        "current_date current_timestamp current_time localtime localtimestamp current_user current_role session_user "
        "user current_catalog current_schema",
    )
)
_ARGUMENT_WORDS = frozenset(["FROM", "FOR", "PLACING", "USING", "IN"])
_ARGUMENT_HEADS = frozenset(["BOTH", "LEADING", "TRAILING", "DISTINCT", "VARIADIC"])
_SECOND_WORDS = {"character": ("varying",), "bit": ("varying",), "double": ("precision",)}


class Unreadable(ValueError):
    """The text is an expression that this parser does not know."""


def parse(sql: str, schemas: Sequence[str] = ()) -> Node:
    """The tree of ``sql``; names lose the qualifiers in ``schemas``. Raises Unreadable."""
    try:
        tokens = strip_schemas(tokenize(sql), schemas)
    except NotSql as exc:
        raise Unreadable(str(exc)) from exc
    parser = Parser(tokens)
    node = parser.expression(0)
    parser.done()
    return node


class Parser:
    """Precedence climbing over tokens.

    Trees: string(value) number(text) name(parts…) cast(x, type) call(parts, args, heads) operator(op, a, b)
    unary(op, a) any|all(op, a, b) array(items) row(items) and|or(items) not(x) is(what, x[, y])
    case(x, pairs, otherwise) collate(x, name) zone(x, zone) subscript(x, items) field(x, name)
    """

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.place = 0

    def peek(self, ahead: int = 0) -> Token:
        place = self.place + ahead
        return self.tokens[place] if place < len(self.tokens) else Token("end", "")

    def take(self) -> Token:
        token = self.peek()
        self.place += 1
        return token

    def at(self, text: str) -> bool:
        token = self.peek()
        return token.text == text and token.kind in ("mark", "operator")

    def word(self, *words: str) -> bool:
        """Consume the keywords ``words`` if they come next."""
        if all(self.peek(n).keyword() == word for n, word in enumerate(words)):
            self.place += len(words)
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.at(text):
            raise Unreadable(f"expected {text!r}, found {self.peek().text!r}")
        self.place += 1

    def done(self) -> None:
        if self.peek().kind != "end":
            raise Unreadable(f"unexpected {self.peek().text!r}")

    def expression(self, level: int) -> Node:
        left = self.prefix()
        while True:
            following = self.infix(left, level)
            if following is None:
                return left
            left = following

    def prefix(self) -> Node:
        token = self.take()
        word = token.keyword()
        if token.kind == "string":
            return ("string", token.text)
        if token.kind == "number":
            return ("number", token.text)
        if token.kind == "operator":
            return ("unary", token.text, self.expression(_UNARY))
        if token.text == "(" and token.kind == "mark":
            return self.parenthesis()
        if word == "NOT":
            return ("not", self.expression(_NOT))
        if word == "CASE":
            return self.case()
        if word == "ARRAY":
            self.expect("[")
            return ("array", self.items("]"))
        if word == "ROW":
            self.expect("(")
            return ("row", self.items(")"))
        if token.kind != "name" or word in _UNREADABLE:
            raise Unreadable(f"unexpected {token.text!r}")
        return self.name_or_call(token)

    def parenthesis(self) -> Node:
        first = self.expression(0)
        if self.at(","):
            self.take()
            return ("row", (first, *self.items(")")))
        self.expect(")")
        return first

    def items(self, end: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while not self.at(end):
            if self.at("["):  # a nested array
                self.take()
                found.append(("array", self.items("]")))
            else:
                found.append(self.expression(0))
            if not self.at(end):
                self.expect(",")
        self.take()
        return tuple(found)

    def name_or_call(self, token: Token) -> Node:
        parts = [token.text]
        while self.at(".") and self.peek(1).kind == "name":
            self.take()
            parts.append(self.take().text)
        if self.at("("):
            self.take()
            return self.call(tuple(parts))
        if len(parts) == 1 and not token.quoted:
            if token.text in _CONSTANT_CALLS:
                return ("call", tuple(parts), (), ())
            if token.text in ("true", "false", "null"):
                return ("constant", token.text)
        return ("name", *parts)

    def call(self, name: tuple[str, ...]) -> Node:
        arguments: list[Node] = []
        words: list[str] = []
        while not self.at(")"):
            if self.peek().keyword() in _ARGUMENT_HEADS:
                words.append(self.take().keyword())
            if self.peek().keyword() in _ARGUMENT_WORDS:
                words.append(self.take().keyword())
            arguments.append(self.expression(0))
            if self.at("=>"):
                raise Unreadable("named argument")
            if self.peek().keyword() in _ARGUMENT_WORDS:
                words.append(self.take().keyword())
            elif not self.at(")"):
                self.expect(",")
        self.take()
        if self.peek().keyword() in _UNREADABLE:
            raise Unreadable("window or aggregate clause")
        return ("call", name, tuple(arguments), tuple(words))

    def case(self) -> Node:
        subject = None if self.peek().keyword() == "WHEN" else self.expression(0)
        pairs = []
        while self.word("WHEN"):
            condition = self.expression(0)
            if not self.word("THEN"):
                raise Unreadable("CASE without THEN")
            pairs.append((condition, self.expression(0)))
        otherwise = self.expression(0) if self.word("ELSE") else None
        if not self.word("END"):
            raise Unreadable("CASE without END")
        return ("case", subject, tuple(pairs), otherwise)

    def infix(self, left: Node, level: int) -> Node | None:
        token = self.peek()
        if token.kind == "mark":
            return self.mark(left)
        if token.kind == "operator":
            return self.binary(left, token, level)
        word = token.keyword()
        if word == "OR" and level < _OR:
            self.take()
            return ("or", (left, self.expression(_OR)))
        if word == "AND" and level < _AND:
            self.take()
            return ("and", (left, self.expression(_AND)))
        if word == "IS" and level < _IS:
            return self.test(left)
        if word == "COLLATE" and level < _COLLATE:
            self.take()
            return ("collate", left, self.qualified())
        if word == "AT" and level < _ZONE and self.word("AT", "TIME", "ZONE"):
            return ("zone", left, self.expression(_ZONE))
        if word == "OPERATOR":
            raise Unreadable("qualified operator")
        return None

    def mark(self, left: Node) -> Node | None:
        if self.at("::"):
            self.take()
            return ("cast", left, self.type_name())
        if self.at("["):
            self.take()
            return ("subscript", left, self.items("]"))
        if self.at(".") and self.peek(1).kind == "name":
            self.take()
            return ("field", left, self.take().text)
        return None

    def binary(self, left: Node, token: Token, level: int) -> Node | None:
        operator = token.text
        tightness = _OTHER
        if operator in _COMPARISONS:
            tightness = _COMPARE
        elif operator in ("+", "-"):
            tightness = _ADD
        elif operator in ("*", "/", "%"):
            tightness = _MULTIPLY
        elif operator == "^":
            tightness = _POWER
        if tightness <= level:
            return None
        self.take()
        for quantifier in ("ANY", "ALL", "SOME"):
            if self.peek().keyword() == quantifier and self.peek(1).text == "(":
                self.place += 2
                right = self.expression(0)
                self.expect(")")
                return ("all" if quantifier == "ALL" else "any", operator, left, right)
        return ("operator", operator, left, self.expression(tightness))

    def test(self, left: Node) -> Node:
        self.take()
        negated = "NOT " if self.word("NOT") else ""
        if self.word("DISTINCT", "FROM"):
            return ("is", negated + "DISTINCT FROM", left, self.expression(_IS))
        word = self.take().keyword()
        if word not in ("NULL", "TRUE", "FALSE", "UNKNOWN"):
            raise Unreadable(f"IS {word}")
        return ("is", negated + word, left)

    def qualified(self) -> str:
        parts = [self.take().text]
        while self.at("."):
            self.take()
            parts.append(self.take().text)
        return ".".join(parts)

    def type_name(self) -> str:
        """A type as one string: ``character varying(5)[]``, ``timestamp(3) without time zone``."""
        token = self.peek()
        if token.kind != "name":
            raise Unreadable(f"not a type: {token.text!r}")
        name = self.qualified()
        for second in () if token.quoted else _SECOND_WORDS.get(name, ()):
            if self.peek().text == second:
                name += " " + self.take().text
        if name == "interval":
            while self.peek().keyword() in ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND", "TO"):
                name += " " + self.take().text
        if self.at("("):
            self.take()
            modifiers = []
            while not self.at(")"):
                modifiers.append(self.take().text)
            self.take()
            name += "(" + "".join(modifiers) + ")"
        if name.startswith(("time", "timestamp")) and self.peek().keyword() in ("WITH", "WITHOUT"):
            name += " " + " ".join(self.take().text for _ in range(3))
        while self.at("[") and self.peek(1).text == "]":
            self.place += 2
            name += "[]"
        return name
