"""SQL text as tokens, as PostgreSQL reads it: the one lexer. ``tokenize`` is its strict view, to compare two texts
without their spacing; ``sql.statements`` has the other, which takes any text and splits it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .quoting import MAX_NAME_BYTES, quote_ident, quote_literal, quote_name, quote_text

# PostgreSQL: SQL Syntax, Lexical Structure. What is not closed before the text ends is ``open``; a comment and the body
# of a dollar quote are found by ``scan``.
_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*)
  | (?P<comment>/\*)
  | (?P<estring>[eE]'(?:[^'\\]|\\.|'')*'(?!'))
  | (?P<ustring>[uU]&'(?:[^']|'')*'(?!'))
  | (?P<bits>[bBxX]'(?:[^']|'')*'(?!'))
  | (?P<string>[nN]?'(?:[^']|'')*'(?!'))
  | (?P<uquoted>[uU]&"(?:[^"]|"")*"(?!"))
  | (?P<quoted>"(?:[^"]|"")*"(?!"))
  | (?P<open>(?:[eEbBxXnN]?'|(?:[uU]&)?["']).*)
  | (?P<dollar>\$(?:[A-Za-z_\u0080-\U0010ffff][\w\u0080-\U0010ffff]*)?\$)
  | (?P<param>\$\d+)
  | (?P<number>0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+
      |(?:\d(?:_?\d)*(?:\.(?!\.)(?:\d(?:_?\d)*)?)?|\.\d(?:_?\d)*)(?:[eE][+-]?\d(?:_?\d)*)?)
  | (?P<word>[A-Za-z_\u0080-\U0010ffff][\w$\u0080-\U0010ffff]*)
  | (?P<cast>::|:=)
  | (?P<named>:[A-Za-z_]\w*)
  | (?P<end>;)
  | (?P<mark>=>|\.\.|[()\[\],.:])
  | (?P<operator>[+\-*/<>=~!@\#%^&|`?]+)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_UNICODE = re.compile(r"\\(?:\\|\+([0-9a-fA-F]{6})|([0-9a-fA-F]{4}))")


class NotSql(ValueError):
    """The text cannot be read as SQL tokens."""


@dataclass(frozen=True)
class Token:
    """``kind`` is string, number, name (quoted or case-folded), operator or mark; ``text`` its value."""

    kind: str
    text: str
    quoted: bool = False

    def keyword(self) -> str:
        """The word in upper case if it may be a keyword, or ''."""
        return self.text.upper() if self.kind == "name" and not self.quoted else ""


def scan(sql: str) -> Iterator[tuple[str, str, int]]:
    """(kind, text, offset) of every token of ``sql``, white space and comments too: together they are the text."""
    position = 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        assert match is not None  # the last alternative matches any character
        kind, end = str(match.lastgroup), match.end()
        if kind == "comment":
            kind, end = _end_of_comment(sql, end)
        elif kind == "dollar":
            close = sql.find(match[0], end)
            kind, end = ("open", len(sql)) if close < 0 else (kind, close + len(match[0]))
        elif kind == "operator":  # it never contains the start of a comment
            end = min((position + at for mark in ("--", "/*") if (at := match[0].find(mark)) > 0), default=end)
        yield kind, sql[position:end], position
        position = end


def _end_of_comment(sql: str, position: int) -> tuple[str, int]:
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(sql, position)
        if edge is None:
            return "open_comment", len(sql)
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return "space", position


def tokenize(sql: str) -> list[Token]:
    """The tokens of ``sql`` without white space and comments. Raises NotSql."""
    tokens: list[Token] = []
    for kind, text, position in scan(sql):
        if kind == "open_comment":
            raise NotSql("a comment does not end")
        if kind in ("open", "other"):
            raise NotSql(f"unexpected character at {position}: {text[:20]!r}")
        if kind != "space":
            tokens += _token(kind, text)
    return tokens


def _token(kind: str, text: str) -> list[Token]:
    if kind in ("word", "quoted", "uquoted"):
        return [Token("name", text.lower()) if kind == "word" else Token("name", _unquoted(kind, text), quoted=True)]
    if kind in ("estring", "ustring", "dollar"):
        return [Token("string", _unquoted(kind, text))]
    if kind == "string":
        body = text[text.index("'") :]
        return [*([Token("name", "n")] if body != text else []), Token("string", body[1:-1].replace("''", "'"))]
    if kind == "named":  # of an array slice
        return [Token("mark", ":"), Token("name", text[1:].lower())]
    return [Token({"bits": "operator", "param": "operator", "cast": "mark", "end": "mark"}.get(kind, kind), text)]


def _unquoted(kind: str, text: str) -> str:
    if kind == "estring":
        return re.sub(r"\\(.)|''", lambda m: _ESCAPES.get(m[1], m[1]) if m[1] else "'", text[2:-1], flags=re.DOTALL)
    if kind == "dollar":
        edge = text.index("$", 1) + 1
        return text[edge:-edge]
    body = text[text.index(text[-1]) + 1 : -1].replace(text[-1] * 2, text[-1])
    if kind in ("ustring", "uquoted"):
        return _UNICODE.sub(lambda m: chr(int(m[1] or m[2], 16)) if m[1] or m[2] else "\\", body)
    return body


def rename_names(sql: str, names: Mapping[str, str]) -> str:
    """``sql`` with the identifiers that are keys of ``names`` replaced; strings and all else stay as they are."""
    parts: list[str] = []
    for kind, text, _ in scan(sql):
        name = text.lower() if kind == "word" else _unquoted(kind, text) if kind in ("quoted", "uquoted") else ""
        parts.append(quote_name(names[name]) if name in names else text)
    return "".join(parts)


def one_line(sql: str) -> str:
    """``sql`` with the names and strings that hold control characters spelled out: it says the same, and no name in it
    makes a line of its own. The body of a dollar quote stays."""
    return "".join(_spelled_out(kind, text) for kind, text, _ in scan(sql))


def _spelled_out(kind: str, text: str) -> str:
    if text.isprintable() or kind not in ("quoted", "string", "estring"):
        return text
    value = _unquoted(kind, text)
    if "\0" in value or text[0] in "nN":
        return text
    if kind == "quoted":
        return quote_ident(value) if 0 < len(value.encode("utf-8", "surrogatepass")) <= MAX_NAME_BYTES else text
    return quote_literal(value).strip()


def strip_schemas(tokens: Sequence[Token], schemas: Collection[str]) -> list[Token]:
    """The tokens without the qualifiers in ``schemas``: ``public.users`` becomes ``users``."""
    kept: list[Token] = []
    for place, token in enumerate(tokens):
        following = tokens[place + 1].text if place + 1 < len(tokens) else ""
        before = kept[-1].text if kept else ""
        if token.kind == "name" and token.text in schemas and following == "." and before != ".":
            kept.append(Token("mark", "drop"))
        elif token.text == "." and before == "drop" and token.kind == "mark":
            kept.pop()
        else:
            kept.append(token)
    return kept


def name_key(text: str, schemas: Collection[str] = ()) -> str:
    """A printed name or type (``public."Mood"[]``) in one spelling, without the qualifiers in ``schemas``."""
    try:
        tokens = strip_schemas(tokenize(text), schemas)
    except NotSql:
        return text
    return " ".join(token.text for token in tokens)


def text_key(sql: str, schemas: Collection[str] = ()) -> str:
    """``sql`` in one spelling: tokens only, without the qualifiers in ``schemas``, with equal casts made equal."""
    try:
        tokens = strip_schemas(tokenize(sql), schemas)
    except NotSql:
        return " ".join(sql.split())
    return " ".join(_spell(token) for token in _equal_casts(tokens))


def _spell(token: Token) -> str:
    if token.kind == "string":
        return quote_text(token.text)
    return quote_name(token.text) if token.quoted else token.text


_VARYING = ("::", "character", "varying")


def _equal_casts(tokens: list[Token]) -> list[Token]:
    """Casts of literals to varchar or text without a length: PostgreSQL moves them around at each dump and restore.

    ``('a'::character varying)::text`` and ``'a'::character varying`` become ``'a'::text``;
    ``(ARRAY[…])::text[]`` over literals becomes ``ARRAY[…]``.
    """
    out: list[Token] = []
    for token in tokens:
        out.append(token)
        texts = tuple(t.text for t in out[-8:])
        if texts[-3:] == _VARYING and len(out) > 3 and out[-4].kind == "string":
            out[-2:] = [Token("name", "text")]
        if len(out) >= 7 and [t.text for t in out[-7:]] == ["(", out[-6].text, "::", "text", ")", "::", "text"]:
            out[-7:] = [out[-6], Token("mark", "::"), Token("name", "text")]
        if texts[-4:] == ("::", "text", "[", "]") or texts[-5:] == (*_VARYING, "[", "]"):
            _unwrap_array(out)
    return out


def _unwrap_array(out: list[Token]) -> None:
    """``… ( ARRAY [ 'a' :: text , … ] ) :: text [ ]`` at the end of ``out`` loses its outer cast and parentheses."""
    cast = len(out) - 1
    while out[cast].text != "::":
        cast -= 1
    if cast < 1 or out[cast - 1].text != ")":
        return
    opening = next((n for n in range(cast - 1, -1, -1) if out[n].text == "("), -1)
    inside = out[opening + 1 : cast - 1]
    literals = all(t.kind == "string" or t.text in ("array", "[", "]", "::", "text", ",") for t in inside)
    if opening >= 0 and inside and inside[0].text == "array" and literals:
        out[opening:] = inside
