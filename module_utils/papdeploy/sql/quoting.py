"""Names and values in SQL text: the one place where either is quoted.

To be executed: ``quote_ident`` and ``quote_literal``, in one line whatever they hold. To be read, as PostgreSQL itself
prints them: ``quote_name``, ``quote_names``, ``quote_text``. PostgreSQL documentation, chapter 4.1 (Lexical Structure).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..core.errors import Refused

MAX_NAME_BYTES = 63
_CONTROL = re.compile(r"[\x01-\x1f\x7f]")
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


def quote_exact(*names: str) -> str:
    """A qualified name, always quoted: exact, never folded."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def quote_ident(name: str) -> str:
    """An SQL identifier, always quoted, in one line; refuses what PostgreSQL cannot hold (over 63 bytes, NUL)."""
    if not name or "\0" in name or len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
        raise Refused(f"{name!r} is not a possible PostgreSQL name (1 to {MAX_NAME_BYTES} bytes, no NUL).")
    quoted = quote_exact(name)
    if not _CONTROL.search(quoted):
        return quoted
    # In one line whatever the name holds: what reads a script line by line (grep, a person) must not be misled.
    return "U&" + re.sub(r"[\x01-\x1f\x7f\\]", lambda found: f"\\{ord(found[0]):04x}", quoted)


def quote_literal(value: object) -> str:
    """An SQL literal for a string, number, boolean or None, in one line, whatever standard_conforming_strings says."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = str(value)
    if "\0" in text:
        raise Refused("A text with a NUL byte cannot be stored by PostgreSQL.")
    quoted = _doubled(text)
    if "\\" not in text and not _CONTROL.search(text):
        return quoted
    return " E" + _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", quoted.replace("\\", "\\\\"))


def text_array(values: Sequence[str]) -> str:
    return "ARRAY[" + ", ".join(map(quote_literal, values)) + "]::text[]"


def quote_name(name: str) -> str:
    """``name`` as an identifier, quoted only where it must be."""
    return name if _PLAIN_NAME.match(name) and name not in RESERVED else quote_exact(name)


def quote_names(*names: str) -> str:
    """A qualified name."""
    return ".".join(quote_name(name) for name in names)


def quote_text(value: str) -> str:
    """``value`` as a string literal, in a form that PostgreSQL itself prints."""
    return "E" + _doubled(value).replace("\\", "\\\\") if "\\" in value else _doubled(value)


def _doubled(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
