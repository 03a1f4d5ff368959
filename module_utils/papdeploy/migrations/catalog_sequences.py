"""Whether a sequence in the catalog is as the SQL of a migration makes it."""

from __future__ import annotations

from .catalog_comparison import Query
from .catalog_definitions import Words

_SEQUENCE = """SELECT format_type(s.seqtypid, NULL), s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache,
s.seqcycle FROM pg_sequence AS s WHERE s.seqrelid = to_regclass(%s)"""
_TYPES = {
    "SMALLINT": 2**15,
    "INT2": 2**15,
    "INT": 2**31,
    "INTEGER": 2**31,
    "INT4": 2**31,
    "BIGINT": 2**63,
    "INT8": 2**63,
}
_NAMES = {2**15: "smallint", 2**31: "integer", 2**63: "bigint"}


def same_sequence(query: Query, name: str, options: Words) -> bool:
    """Whether the sequence has the ``options``, and what PostgreSQL takes for those that are not given."""
    rows = query(_SEQUENCE, (name,))
    return bool(rows) and tuple(rows[0]) == _wanted(options)


def _wanted(options: Words) -> tuple[object, ...]:
    words = options.words

    def number(word: str, otherwise: int) -> int:
        at = words.index(word) + 1 if word in words and words[words.index(word) - 1 :][0] != "NO" else -1
        if at < 0:
            return otherwise
        at += words[at] in ("BY", "WITH")
        return -int(words[at + 1]) if words[at] == "-" else int(words[at])

    limit = next((_TYPES[after] for word, after in zip(words, words[1:]) if word == "AS" and after in _TYPES), 2**63)
    increment = number("INCREMENT", 1)
    least = number("MINVALUE", 1 if increment > 0 else -limit)
    most = number("MAXVALUE", limit - 1 if increment > 0 else -1)
    start = number("START", least if increment > 0 else most)
    cycle = "CYCLE" in words and words[words.index("CYCLE") - 1] != "NO"
    return _NAMES[limit], increment, least, most, start, number("CACHE", 1), cycle
