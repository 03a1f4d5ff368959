"""The settings that every session of ours has, whatever owners of a database or role have stored there."""

from __future__ import annotations

from collections.abc import Mapping

from ..sql.quoting import quote_literal

# A session resolves names, prints values and runs statements by settings that any owner of a database or role can store
# there (ALTER DATABASE … SET, ALTER ROLE … SET): a function or operator that an application's role has planted in
# public would run with our rights (CVE-2018-1058). These travel in the start-up packet, which outranks what is stored,
# so not even the first statement is read under other ones. What a superuser alone can store is trusted.
PINNED: Mapping[str, str] = {
    "search_path": "pg_catalog,pg_temp",
    "role": "none",
    "local_preload_libraries": "",
    "row_security": "off",  # a table that cannot be read whole is an error, not a part of it
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "client_encoding": "SQL_ASCII",  # no conversion: the bytes as they are stored, see core.encodings
    "client_min_messages": "warning",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "xmlbinary": "base64",
    "xmloption": "content",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
}
# Settings of libpq's own that would outrank the options above.
LIBPQ = {"PGTZ": "UTC", "PGDATESTYLE": "ISO, YMD", "PGCLIENTENCODING": "SQL_ASCII"}

# Not every version has these, and only some roles may set them, so they cannot travel in the start-up packet. With the
# first one a view or foreign table that stands where a table of ours should be is refused instead of run.
_WHERE_KNOWN = {"restrict_nonsystem_relation_kind": "view, foreign-table", "transaction_timeout": "0"}
_WHERE_SUPERUSER = {"lc_messages": "C"}  # errors are told apart by their text


def pin_what_is_known() -> str:
    """One statement, silent in psql, that sets what the server knows and the role may set."""
    known = {**_WHERE_KNOWN, **_WHERE_SUPERUSER}
    values = " ".join(f"WHEN {quote_literal(name)} THEN {quote_literal(value)}" for name, value in known.items())
    return (
        f"SELECT count(set_config(name, CASE name {values} END, false)) AS pinned FROM pg_settings"
        f" WHERE name IN ({', '.join(map(quote_literal, _WHERE_KNOWN))})"
        f" OR (name IN ({', '.join(map(quote_literal, _WHERE_SUPERUSER))}) AND current_setting('is_superuser')::bool)"
    )
