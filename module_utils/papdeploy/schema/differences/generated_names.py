"""Generated names: PostgreSQL chooses one for a constraint or index that is declared without."""

from __future__ import annotations

import re

# ChooseConstraintName and ChooseIndexName (src/backend/catalog/pg_constraint.c, commands/indexcmds.c): table, columns
# and one of these, cut to 63 bytes, with a number behind where the name is taken.
_SUFFIXES = {
    "primary key": "pkey",
    "unique": "key",
    "foreign key": "fkey",
    "check": "check",
    "exclusion": "excl",
    "not null": "not_null",
    "index": "idx",
}
_LONG = 56  # from here on table and columns may have been cut


def made_by_server(name: str, table: str, kind: str) -> bool:
    """Whether ``name`` is what the server calls a nameless constraint or index of ``table``."""
    match = re.match(rf"(.*)_{_SUFFIXES[kind]}\d*\Z", name, re.DOTALL)
    if match is None:
        return False
    stem = match[1]
    if stem == table or stem.startswith(table + "_"):
        return True
    return len(name.encode()) >= _LONG and stem[:20] == table[:20]
