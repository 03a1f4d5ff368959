"""Rows of the describing query whose numbers (of relations, columns, …) ``build`` resolves.

Their fields are those of the sections in ``query_tables``, in the same order; a test says so.
"""

from __future__ import annotations

from typing import NamedTuple, Optional


class ColumnRow(NamedTuple):
    relation: int
    number: int
    name: str
    type: str
    not_null: bool
    expression: Optional[str]
    identity: str
    generated: str
    collation: Optional[int]
    storage: Optional[str]
    compression: str
    statistics: Optional[int]
    options: Optional[list[str]]
    foreign_options: Optional[list[str]]
    comment: Optional[str]
    public: Optional[list[str]]
    granted: Optional[list[list[str]]]
    local: bool


class ConstraintRow(NamedTuple):
    oid: int
    relation: int
    name: str
    type: str
    key: Optional[list[int]]
    target: Optional[list[str]]
    target_relation: int
    target_key: Optional[list[int]]
    target_columns: Optional[list[str]]
    on_update: str
    on_delete: str
    delete_key: Optional[list[int]]
    match: str
    deferrable: bool
    deferred: bool
    validated: bool
    enforced: bool
    no_inherit: bool
    local: bool
    period: bool
    expression: Optional[str]
    definition: Optional[str]
    backing_index: int
    disabled: bool
    comment: Optional[str]


class IndexRow(NamedTuple):
    """``columns``, ``opclasses``, ``collations`` and ``flags`` are numbers with blanks between them."""

    oid: int
    relation: int
    name: str
    method: str
    unique: bool
    exclusion: bool
    valid: bool
    keys: int
    columns: str
    opclasses: str
    collations: str
    flags: str
    expressions: Optional[list[str]]
    predicate: Optional[str]
    nulls_not_distinct: bool
    options: Optional[list[str]]
    key_options: Optional[dict[str, list[str]]]
    tablespace: Optional[str]
    clustered: bool
    replica_identity: bool
    comment: Optional[str]
