"""The rows of a catalog, as ``build`` makes them: plain data, JSON-able. What is empty is left out of a row."""

from __future__ import annotations

from typing import Any, TypedDict


class Commented(TypedDict, total=False):
    comment: str


class Granted(TypedDict, total=False):
    """``public``: what PUBLIC may do."""

    public: list[str]


class Described(Commented, Granted, total=False):
    owner: str


class Stored(TypedDict, total=False):
    """``options``: storage parameters."""

    options: list[str]


class Named(TypedDict):
    name: str


class _Placed(Named):
    schema: str


class _Database(TypedDict):
    server_version: int
    path: list[str]


class Database(_Database, total=False):
    """``server_version`` as the server counts it (180001), ``path``: the schemas of the search path. The rest says
    where a catalog was read; an expected one leaves it out."""

    name: str
    user: str
    standby: bool


class Schema(Named, Described, total=False):
    extension: str


class IndexKey(TypedDict, total=False):
    """Of a ``column`` or an ``expression``."""

    column: str
    expression: str
    collation: str
    opclass: str
    options: list[str]
    desc: bool
    nulls: str


class Rule(TypedDict, total=False):
    """What makes two rows doubles of each other."""

    keys: list[IndexKey]
    predicate: str
    nulls_not_distinct: bool


class _Index(Named):
    method: str
    keys: list[IndexKey]


class Index(_Index, Commented, total=False):
    unique: bool
    invalid: bool
    include: list[str]
    predicate: str
    nulls_not_distinct: bool
    options: list[str]
    tablespace: str
    clustered: bool
    replica_identity: bool


class _Constraint(Named):
    type: str
    columns: list[str]


class Constraint(_Constraint, Commented, total=False):
    """``target``: schema and name of the referenced table; ``index``: the one that backs it."""

    inherited: bool
    not_validated: bool
    not_enforced: bool
    disabled: bool
    deferrable: bool
    deferred: bool
    no_inherit: bool
    expression: str
    definition: str
    period: bool
    target: list[str]
    target_columns: list[str]
    on_update: str
    on_delete: str
    on_delete_columns: list[str]
    match: str
    index: Index


class _Column(Named):
    type: str


class Column(_Column, Commented, Granted, total=False):
    """``default`` or ``generation``: its expression, which ``generated`` tells apart."""

    not_null: bool
    default: str
    generation: str
    identity: str
    generated: str
    collation: str
    storage: str
    compression: str
    statistics: int
    options: list[str]
    foreign_options: list[str]
    inherited: bool


class Part(Named, Commented, total=False):
    """A trigger or a rule (``definition``, ``enabled``), or a policy."""

    definition: str
    enabled: str
    command: str
    permissive: bool
    roles: list[str]
    using: str
    check: str


class _Relation(_Placed):
    kind: str
    columns: list[Column]


class Relation(_Relation, Described, total=False):
    persistence: str
    options: list[str]
    method: str
    tablespace: str
    replica_identity: str
    row_security: bool
    force_row_security: bool
    populated: str
    of_type: str
    partition: bool
    partition_key: str
    partitions: int
    default_partition: bool
    inherits: list[str]
    definition: str
    server: list[Any]
    constraints: list[Constraint]
    indexes: list[Index]
    triggers: list[Part]
    rules: list[Part]
    policies: list[Part]


class _Sequence(_Placed):
    persistence: str
    type: str
    start: int
    increment: int
    minimum: int
    maximum: int
    cache: int


class SequenceRow(_Sequence, Described, total=False):
    """``of``: schema, table and column that own it."""

    cycle: bool
    of: list[str]
    internal: bool


class _Type(_Placed):
    kind: str


class Type(_Type, Described, total=False):
    """``checks``: name, expression and whether it is validated; ``attributes``: name and type."""

    labels: list[str]
    base: str
    not_null: bool
    expression: str
    collation: str
    checks: list[Any]
    attributes: list[Any]
    range: list[Any]


class _Function(_Placed):
    kind: str
    language: str
    volatility: str
    parallel: str
    cost: float


class Function(_Function, Described, total=False):
    identity: str
    arguments: str
    result: str
    strict: bool
    security_definer: bool
    leakproof: bool
    rows: float
    settings: list[str]
    source: str
    library: str
    body: str
    aggregate: list[Any]


class Extension(_Placed):
    version: str


class _Statistics(_Placed):
    table: str
    definition: str


class Statistics(_Statistics, Commented, total=False):
    owner: str
    target: int


class _DefaultPrivilege(TypedDict):
    kind: str
    public: list[str]


class DefaultPrivilege(_DefaultPrivilege, total=False):
    schema: str


class _Other(TypedDict):
    identity: str


class Other(_Other, total=False):
    schema: str
    definition: str


class _Elsewhere(_Placed):
    kind: str


class Elsewhere(_Elsewhere, total=False):
    """A relation outside of what is described: only the names of its columns are known."""

    columns: list[str]
    partition: bool


class _Catalog(TypedDict):
    format: int
    database: Database
    schemas: list[Schema]
    relations: list[Relation]
    sequences: list[SequenceRow]
    types: list[Type]
    functions: list[Function]
    extensions: list[Extension]
    statistics: list[Statistics]
    default_privileges: list[DefaultPrivilege]
    others: list[Other]
    elsewhere: list[Elsewhere]
    unreadable: list[list[str]]


class Catalog(_Catalog, total=False):
    """What a database holds. ``digest`` and ``models``: of an expected one, what it was made of."""

    digest: str
    models: dict[str, Any]
