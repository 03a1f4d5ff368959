"""Which kinds of differences are repaired before which, where nothing depends on anything."""

from __future__ import annotations

# By the start of the kind; the first that fits decides.
_ORDER = (
    ("schema_missing", "extension_", "object_missing"),
    ("trigger_extra", "policy_extra", "rule_extra", "view_extra"),
    ("type_missing", "type_changed", "enum_", "domain_", "type_"),
    ("sequence_missing", "sequence_options", "sequence_"),
    ("table_renamed", "table_moved"),
    ("table_missing", "table_kind", "table_"),
    ("foreign_key_extra", "check_extra", "exclusion_extra"),
    ("column_renamed",),
    ("column_missing",),
    ("column_type", "column_generated"),
    ("column_identity",),
    ("primary_key_", "unique_", "check_", "exclusion_"),
    ("column_", "row_security"),
    ("index_", "constraint_"),
    ("foreign_key_",),
    ("function_",),
    ("view_missing", "view_"),
    ("trigger_", "rule_", "policy_", "statistics_"),
    # what destroys comes last, when nothing depends on it any more
    ("column_extra",),
    ("table_extra",),
    ("sequence_extra", "function_extra", "object_extra"),
    ("type_extra",),
)


def rank(kind: str) -> int:
    for exact in (True, False):
        for number, starts in enumerate(_ORDER):
            if any(kind == start if exact else start.endswith("_") and kind.startswith(start) for start in starts):
                return number
    return len(_ORDER)
