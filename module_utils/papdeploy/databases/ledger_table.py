"""Read the migration ledger as an administrating role, although the application's role owns it.

What is under the ledger's name is data of the application's role: it may have put a view, a foreign table or a
table with a type of its own there, each of which runs its functions with the rights of whoever reads it; so do an index
and statistics of a plain table, while the query is planned. A superuser reads it by a login of its owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, TypeVar

from ..core.errors import VerificationFailed
from . import table_reader
from .psql import Session

R = TypeVar("R")

_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "p": "a partitioned table"}

_WHAT_IT_IS = """
SELECT c.relkind AS kind, (
    SELECT string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
    FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384
) AS odd_columns, ARRAY(SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'pap_deploy' AND c.relname = 'ledger'"""

# The condition holds of the very table that is read, at the moment it is read: what was found a statement ago may have
# been replaced since. Nothing of a row is computed before it (OFFSET 0, documentation 7.8 and 14.3).
_LEDGER = """
WITH ledger AS MATERIALIZED (
    SELECT l.* FROM ONLY pap_deploy.ledger AS l
    WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = l.tableoid AND a.attnum > 0
                      AND NOT a.attisdropped AND a.atttypid >= 16384)
    OFFSET 0)
"""


@dataclass(frozen=True)
class _Found:
    kind: str
    odd_columns: Optional[str]
    columns: tuple[str, ...]


def ledger_records(session: Session, record: type[R], select: str) -> list[R]:
    """The rows of ``select``, a query on ``ledger``, each a ``record``; none where this database has no ledger.

    Raises VerificationFailed where what has its name is not a plain table of built-in types: it is not read then.
    """
    found = next(iter(session.records(_Found, _WHAT_IT_IS)), None)
    if found is None:
        return []
    kind, odd = found.kind, found.odd_columns
    missing = [name for name in ("id", "event", "identity", "release") if name not in found.columns]
    if kind != "r" or odd or missing:
        what = _KINDS.get(kind, "no table") if kind != "r" else f"a table with columns of other types ({odd})"
        what = f"a table without {', '.join(missing)}" if kind == "r" and not odd else what
        raise VerificationFailed(
            f"pap_deploy.ledger is {what}, not the table that pap-deploy made, so it was not read.",
            hint="A role with the rights of the schema's owner replaced it, or the schema is of another program: its"
            " name is pap-deploy's. Find out who and why; put the ledger back from a backup, or rename what is there,"
            " before anything else is done.",
        )
    return table_reader.records(session, record, [("pap_deploy", "ledger", _LEDGER + select)])
