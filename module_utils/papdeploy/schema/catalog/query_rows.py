"""Rows of the describing query, whose numbers (of relations, columns, …) ``build`` resolves.

Their fields are those of the sections of the query, in the same order; a test says so.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Union


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


class DatabaseRow(NamedTuple):
    server_version: int
    name: str
    user: str
    path: list[str]
    standby: bool


class SchemaRow(NamedTuple):
    name: str
    owner: str
    public: Optional[list[str]]
    revoked: Optional[list[str]]
    comment: Optional[str]
    extension: bool


class RelationRow(NamedTuple):
    """``populated`` is "no" of a materialized view that is not."""

    oid: int
    schema: str
    name: str
    kind: str
    persistence: str
    owner: str
    public: Optional[list[str]]
    revoked: Optional[list[str]]
    options: Optional[list[str]]
    method: Optional[str]
    tablespace: Optional[str]
    replica_identity: Optional[str]
    row_security: bool
    force_row_security: bool
    populated: Union[bool, str, None]
    of_type: Optional[str]
    comment: Optional[str]
    partition_key: Optional[str]
    partitions: Optional[int]
    default_partition: Optional[bool]
    partition_defaults: Optional[list[list[Any]]]
    inherits: Optional[list[str]]
    definition: Optional[str]
    server: Optional[list[Any]]
    readable: bool


class SequenceRow(NamedTuple):
    """``of`` and ``of_column``: the relation and the column that own it."""

    oid: int
    schema: str
    name: str
    persistence: str
    owner: str
    public: Optional[list[str]]
    revoked: Optional[list[str]]
    type: str
    start: int
    increment: int
    minimum: int
    maximum: int
    cache: int
    cycle: bool
    of: Optional[int]
    of_column: Optional[int]
    internal: bool
    comment: Optional[str]
    readable: bool


class TypeRow(NamedTuple):
    """``range``: the subtype, its operator class, its collation, and the functions of the range."""

    schema: str
    name: str
    kind: str
    owner: str
    public: Optional[list[str]]
    revoked: Optional[list[str]]
    comment: Optional[str]
    labels: Optional[list[str]]
    base: Optional[str]
    not_null: bool
    expression: Optional[str]
    collation: Optional[int]
    checks: Optional[list[list[Any]]]
    attributes: Optional[list[list[str]]]
    range: Optional[list[Any]]


class FunctionRow(NamedTuple):
    schema: str
    name: str
    identity: str
    kind: str
    arguments: str
    result: Optional[str]
    language: str
    volatility: str
    strict: bool
    security_definer: bool
    leakproof: bool
    parallel: str
    cost: float
    rows: float
    settings: Optional[list[str]]
    source: Optional[str]
    library: Optional[str]
    body: Optional[str]
    aggregate: Optional[list[Any]]
    owner: str
    public: Optional[list[str]]
    revoked: Optional[list[str]]
    comment: Optional[str]


class ExtensionRow(NamedTuple):
    name: str
    schema: str
    version: str


class StatisticsRow(NamedTuple):
    schema: str
    name: str
    relation: int
    definition: str
    target: Optional[int]
    owner: str
    comment: Optional[str]


class DefaultPrivilegeRow(NamedTuple):
    schema: Optional[str]
    kind: str
    public: Optional[list[str]]


class PartRow(NamedTuple):
    """A trigger or a rule."""

    relation: int
    name: str
    definition: str
    enabled: Optional[str]
    comment: Optional[str]


class PolicyRow(NamedTuple):
    relation: int
    name: str
    command: str
    permissive: bool
    roles: Optional[list[str]]
    using: Optional[str]
    check: Optional[str]
    comment: Optional[str]


class OtherRow(NamedTuple):
    identity: str
    schema: Optional[str]
    definition: Optional[str]


class ElsewhereRow(NamedTuple):
    schema: str
    name: str
    kind: str
    partition: bool
    columns: Optional[list[str]]


class DependencyRow(NamedTuple):
    """``dependent`` depends on the other: each a kind, then schema and names."""

    dependent: list[str]
    on: list[str]


class RightRow(NamedTuple):
    """What single roles may do to an object: (role, right)."""

    place: list[str]
    rights: list[list[str]]


class PublicationRow(NamedTuple):
    """A table in a publication, and what follows its name there."""

    place: list[str]
    definition: str


class PartitionRow(NamedTuple):
    of: list[str]
    schema: str
    name: str
    parent: list[str]
    bounds: str
    key: Optional[str]
    level: int


class NumberRow(NamedTuple):
    """The name of an operator class or a collation."""

    oid: int
    name: str
