"""SQL text as tokens, as PostgreSQL reads it: enough to compare two texts without their spacing and to quote names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

# PostgreSQL: SQL Syntax, Lexical Structure
_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*)
  | (?P<comment>/\*)
  | (?P<estring>[eE]'(?:[^'\\]|\\.|'')*')
  | (?P<bits>[bBxX]'[^']*')
  | (?P<string>'(?:[^']|'')*')
  | (?P<dollar>\$(?P<tag>[A-Za-z_\u0080-\uffff]?[\w\u0080-\uffff]*)\$.*?\$(?P=tag)\$)
  | (?P<quoted>"(?:[^"]|"")*")
  | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<word>[A-Za-z_\u0080-\U0010ffff][\w$\u0080-\U0010ffff]*)
  | (?P<param>\$\d+)
  | (?P<mark>::|:=|=>|\.\.|[()\[\],;.:])
  | (?P<operator>[+\-*/<>=~!@\#%^&|`?]+)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_$]*\Z")

# Reserved and function-name keywords of PostgreSQL 18 that quote_ident quotes (appendix C).
RESERVED = frozenset(
    re.findall(
        r"\w+",
        """
    all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both
    case cast char character check coalesce collate collation column concurrently constraint create cross
    current_catalog current_date current_role current_schema current_time current_timestamp current_user dec
    decimal default deferrable desc distinct do else end except exists extract false fetch float for foreign
    freeze from full grant greatest group grouping having ilike in initially inner inout int integer intersect
    interval into is isnull join json json_array json_arrayagg json_exists json_object json_objectagg json_query
    json_scalar json_serialize json_table json_value lateral leading least left like limit localtime
    localtimestamp merge_action national natural nchar none normalize not notnull null nullif numeric offset on
    only or order out outer overlaps overlay placing position precision primary real references returning right
    row select session_user setof similar smallint some substring symmetric system_user table tablesample then
    time timestamp to trailing treat trim true union unique user using values varchar variadic verbose when
    where window with xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi
    xmlroot xmlserialize xmltable
    """,
    )
)


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


def quote_name(name: str) -> str:
    """``name`` as an identifier, quoted only where it must be."""
    if _PLAIN_NAME.match(name) and name not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def quote_names(*names: str) -> str:
    """A qualified name."""
    return ".".join(quote_name(name) for name in names)


def quote_text(value: str) -> str:
    """``value`` as a string literal, in a form that PostgreSQL itself prints."""
    body = value.replace("'", "''")
    return "E'" + body.replace("\\", "\\\\") + "'" if "\\" in value else f"'{body}'"


def tokenize(sql: str) -> list[Token]:
    """The tokens of ``sql`` without white space and comments. Raises NotSql."""
    tokens: list[Token] = []
    position = 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        if match is None:
            raise NotSql(f"unexpected character at {position}: {sql[position : position + 20]!r}")
        kind, text = match.lastgroup or "", match.group()
        if match["dollar"] is not None:
            kind = "dollar"
        position = match.end()
        if kind == "space":
            continue
        if kind == "comment":
            position = _end_of_comment(sql, position)
        elif kind == "string":
            tokens.append(Token("string", text[1:-1].replace("''", "'")))
        elif kind == "estring":
            tokens.append(Token("string", _unescape(text[2:-1])))
        elif kind == "dollar":
            edge = len(match["tag"]) + 2
            tokens.append(Token("string", text[edge:-edge]))
        elif kind == "quoted":
            tokens.append(Token("name", text[1:-1].replace('""', '"'), quoted=True))
        elif kind == "word":
            tokens.append(Token("name", text.lower()))
        elif kind == "operator":
            comment = min((text.index(mark) for mark in ("--", "/*") if mark in text), default=0)
            if comment:  # an operator never contains the start of a comment
                position = match.start() + comment
                text = text[:comment]
            tokens.append(Token("operator", text))
        else:
            tokens.append(Token("operator" if kind in ("bits", "param") else kind, text))
    return tokens


def _end_of_comment(sql: str, position: int) -> int:
    depth = 1
    while depth:
        match = re.compile(r"/\*|\*/").search(sql, position)
        if match is None:
            raise NotSql("a comment does not end")
        depth += 1 if match.group() == "/*" else -1
        position = match.end()
    return position


def _unescape(body: str) -> str:
    return re.sub(r"\\(.)|''", lambda m: _ESCAPES.get(m[1], m[1]) if m[1] else "'", body, flags=re.DOTALL)


def rename_names(sql: str, names: Mapping[str, str]) -> str:
    """``sql`` with the identifiers that are keys of ``names`` replaced; strings and all else stay as they are."""

    def replaced(match: re.Match[str]) -> str:
        if match.lastgroup == "word" and match[0].lower() in names:
            return quote_name(names[match[0].lower()])
        if match.lastgroup == "quoted" and match[0][1:-1].replace('""', '"') in names:
            return quote_name(names[match[0][1:-1].replace('""', '"')])
        return match[0]

    return _TOKEN.sub(replaced, sql)


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
