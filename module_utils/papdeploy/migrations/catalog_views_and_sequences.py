"""Whether a view or a sequence in the catalog is as the SQL of a migration makes it."""

from __future__ import annotations

from ..sql.quoting import quote_text
from .catalog_comparison import Query
from .catalog_definitions import Words

# The server reads the query and prints it, in a temporary view that is gone at once; so both are its own words. What it
# cannot read any more (a table has changed since) or may not make there tells nothing.
_VIEW = """DO $pap_deploy$
DECLARE told text := 'nothing';
BEGIN
  BEGIN
    EXECUTE {create};
    SELECT CASE WHEN pg_get_viewdef('pg_temp.pap_deploy_view'::regclass) = pg_get_viewdef(to_regclass({name}))
                 AND count(*) FILTER (WHERE NOT EXISTS (SELECT FROM pg_attribute b
                     WHERE b.attrelid = to_regclass({name}) AND b.attnum = a.attnum AND b.attname = a.attname)) = 0
                THEN 'same' ELSE 'other' END
      INTO told FROM pg_attribute a WHERE a.attrelid = 'pg_temp.pap_deploy_view'::regclass AND a.attnum > 0;
    RAISE EXCEPTION 'it goes';
  EXCEPTION WHEN OTHERS THEN NULL;
  END;
  PERFORM set_config('papdeploy.view', told, false);
END $pap_deploy$"""
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


def same_view(query: Query, name: str, columns: str, wanted: str) -> bool:
    """Whether the query of the view ``name`` is ``wanted``. ``columns``: names in parentheses, or nothing."""
    create = quote_text(f"CREATE TEMPORARY VIEW pap_deploy_view {columns} AS {wanted}")
    query(_VIEW.format(create=create, name=quote_text(name)).replace("%", "%%"), ())
    return str(query("SELECT current_setting('papdeploy.view')", ())[0][0]) != "other"


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
