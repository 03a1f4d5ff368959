"""All proposed repairs in an order in which they can run: what others stand on comes first."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..differences.result import Difference

# By the start of the kind; the first that fits decides.
_ORDER = (
    ("schema_missing", "extension_"),
    ("trigger_extra", "policy_extra", "rule_extra", "view_extra"),
    ("type_missing", "type_changed", "enum_", "domain_", "type_"),
    ("sequence_missing", "sequence_options", "sequence_"),
    ("table_renamed", "table_moved"),
    ("table_missing", "table_kind", "table_"),
    ("foreign_key_extra", "check_extra", "exclusion_extra"),
    ("column_renamed",),
    ("column_missing",),
    ("column_type", "column_generated", "column_identity"),
    ("primary_key_", "unique_", "check_", "exclusion_"),
    ("column_", "row_security"),
    ("index_", "constraint_"),
    ("foreign_key_",),
    ("function_", "object_missing"),
    ("view_missing", "view_"),
    ("trigger_", "rule_", "policy_", "statistics_"),
    # what destroys comes last, when nothing stands on it any more
    ("column_extra",),
    ("table_extra",),
    ("sequence_extra", "function_extra", "object_extra"),
    ("type_extra",),
)
_ADDS_REFERENCE = re.compile(r"ALTER TABLE .* FOREIGN KEY")


def repair_script(differences: Sequence[Difference]) -> list[str]:
    """The statements of all ``differences``, each with the comment that belongs before it (lines with ``--``).

    A proposal, never executed by this program. CONCURRENTLY cannot run in a transaction.
    """
    tables: list[str] = []
    references: list[str] = []
    for difference in _sorted(differences):
        for statement in difference.repair:
            late = difference.kind == "table_missing" and _ADDS_REFERENCE.match(statement)
            (references if late else tables).append(statement)
    return [*dict.fromkeys(_comments_kept([*tables, *references]))]


def _sorted(differences: Sequence[Difference]) -> list[Difference]:
    ordered = sorted(differences, key=lambda d: (_rank(d.kind), d.object))
    views = [d for d in ordered if d.kind == "view_missing"]
    placed: list[Difference] = []
    while views:  # a view that reads another one comes after it
        free = [v for v in views if not any(_mentions(v, other) for other in views if other is not v)] or views[:1]
        placed += free
        views = [v for v in views if v not in free]
    if not placed:
        return ordered
    start = next(n for n, d in enumerate(ordered) if d.kind == "view_missing")
    rest = [d for d in ordered if d.kind != "view_missing"]
    return [*rest[:start], *placed, *rest[start:]]


def _mentions(view: Difference, other: Difference) -> bool:
    return re.search(rf"\b{re.escape(other.object.split('.')[-1])}\b", " ".join(view.repair)) is not None


def _rank(kind: str) -> int:
    for exact in (True, False):
        for number, starts in enumerate(_ORDER):
            if any(kind == start if exact else start.endswith("_") and kind.startswith(start) for start in starts):
                return number
    return len(_ORDER)


def _comments_kept(statements: Sequence[str]) -> list[str]:
    """Each comment belongs to the statement after it, so equal comments must not be taken for one."""
    found: list[str] = []
    for statement in statements:
        if found and found[-1].rsplit("\n", 1)[-1].startswith("-- "):
            found[-1] = f"{found[-1]}\n{statement}"
        else:
            found.append(statement)
    return found
