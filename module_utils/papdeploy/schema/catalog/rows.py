"""The rows of a catalog, as ``build`` makes them. An empty value means that there is none; JSON leaves it out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from ...core.errors import Refused
from ...core.plain_json import JsonObject
from ...core.records import as_object, read

CATALOG_FORMAT = 2


@dataclass(frozen=True)
class Commented:
    comment: str = ""


@dataclass(frozen=True)
class Granted:
    """``public``: what PUBLIC may do."""

    public: tuple[str, ...] = ()


@dataclass(frozen=True)
class Described(Commented, Granted):
    """``owner``: an expected row has none. ``revoked``: what was taken from the owner."""

    owner: Optional[str] = None
    revoked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stored:
    """``options``: storage parameters."""

    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Named:
    name: str


@dataclass(frozen=True)
class Placed(Named):
    schema: str


@dataclass(frozen=True)
class Database:
    """``server_version`` as the server counts it (180001), ``path``: the schemas of the search path. The rest says
    where a catalog was read; an expected one leaves it out."""

    server_version: int
    path: tuple[str, ...]
    name: str = ""
    user: str = ""
    standby: bool = False

    @property
    def major(self) -> int:
        return self.server_version // 10_000


@dataclass(frozen=True)
class Schema(Described, Named):
    extension: bool = False


@dataclass(frozen=True)
class IndexKey:
    """Of a ``column`` or an ``expression``."""

    column: Optional[str] = None
    expression: Optional[str] = None
    collation: str = ""
    opclass: str = ""
    options: tuple[str, ...] = ()
    desc: bool = False
    nulls: str = ""


@dataclass(frozen=True)
class _Index(Named):
    method: str
    keys: tuple[IndexKey, ...]


@dataclass(frozen=True)
class Index(Commented, Stored, _Index):
    unique: bool = False
    invalid: bool = False
    include: tuple[str, ...] = ()
    predicate: Optional[str] = None
    nulls_not_distinct: bool = False
    tablespace: str = ""
    clustered: bool = False
    replica_identity: bool = False


NO_INDEX = Index("", "", ())


@dataclass(frozen=True)
class _Constraint(Named):
    type: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Constraint(Commented, _Constraint):
    """``target``: schema and name of the referenced table; ``index``: the one that backs it."""

    inherited: bool = False
    not_validated: bool = False
    not_enforced: bool = False
    disabled: bool = False
    deferrable: bool = False
    deferred: bool = False
    no_inherit: bool = False
    expression: str = ""
    definition: str = ""
    period: bool = False
    target: tuple[str, ...] = ()
    target_columns: tuple[str, ...] = ()
    on_update: str = ""
    on_delete: str = ""
    on_delete_columns: tuple[str, ...] = ()
    match: str = ""
    index: Optional[Index] = None


@dataclass(frozen=True)
class _Column(Named):
    type: str


@dataclass(frozen=True)
class Column(Commented, Granted, Stored, _Column):
    """``default`` or ``generation``: its expression, which ``generated`` tells apart. ``granted``: (role, right)."""

    not_null: bool = False
    default: Optional[str] = None
    generation: Optional[str] = None
    identity: str = ""
    generated: str = ""
    collation: str = ""
    storage: str = ""
    compression: str = ""
    statistics: Optional[int] = None
    foreign_options: tuple[str, ...] = ()
    granted: tuple[tuple[str, str], ...] = ()
    inherited: bool = False


@dataclass(frozen=True)
class Part(Commented, Named):
    """A trigger or a rule (``definition``, ``enabled``), or a policy."""

    definition: str = ""
    enabled: str = ""
    command: str = ""
    permissive: bool = False
    roles: tuple[str, ...] = ()
    using: Optional[str] = None
    check: Optional[str] = None


@dataclass(frozen=True)
class _Relation(Placed):
    kind: str
    columns: tuple[Column, ...]
    persistence: str


@dataclass(frozen=True)
class Relation(Described, Stored, _Relation):
    method: str = ""
    tablespace: str = ""
    replica_identity: str = ""
    row_security: bool = False
    force_row_security: bool = False
    populated: Union[bool, str] = False
    of_type: str = ""
    partition_key: str = ""
    partitions: Optional[int] = None
    default_partition: bool = False
    partition_defaults: tuple[tuple[str, str, str, Optional[str]], ...] = ()
    inherits: tuple[str, ...] = ()
    definition: str = ""
    server: tuple[Any, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    indexes: tuple[Index, ...] = ()
    triggers: tuple[Part, ...] = ()
    rules: tuple[Part, ...] = ()
    policies: tuple[Part, ...] = ()

    @property
    def has_versions(self) -> bool:
        """Whether it has the form of the table in which Alembic keeps its versions, whatever it is called."""
        key = [each for each in self.columns if each.name == "version_num" and each.type.startswith(("char", "text"))]
        others = [each for each in self.columns if each not in key]
        primary = next((each.columns for each in self.constraints if each.type == "primary key"), ("version_num",))
        free = all(not each.not_null or each.default or each.generation or each.identity for each in others)
        return (
            self.kind == "r"
            and bool(key)
            and (not others or (key[0].not_null and free and primary == ("version_num",)))
        )

    def all_indexes(self) -> tuple[Index, ...]:
        """Those that back a constraint, too."""
        return (*self.indexes, *(row.index for row in self.constraints if row.index is not None))


@dataclass(frozen=True)
class _Sequence(Placed):
    persistence: str
    type: str
    start: int
    increment: int
    minimum: int
    maximum: int
    cache: int


@dataclass(frozen=True)
class SequenceRow(Described, _Sequence):
    """``of``: schema, table and column that own it."""

    cycle: bool = False
    of: tuple[str, ...] = ()
    internal: bool = False


@dataclass(frozen=True)
class _Type(Placed):
    kind: str


@dataclass(frozen=True)
class Type(Described, _Type):
    """``checks``: name, expression and whether it is validated; ``attributes``: name and type."""

    labels: tuple[str, ...] = ()
    base: str = ""
    not_null: bool = False
    expression: Optional[str] = None
    collation: str = ""
    checks: tuple[tuple[str, str, bool], ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    range: tuple[Any, ...] = ()


@dataclass(frozen=True)
class _Function(Placed):
    kind: str
    language: str
    volatility: str
    parallel: str
    cost: float
    rows: float


@dataclass(frozen=True)
class Function(Described, _Function):
    identity: str = ""
    arguments: str = ""
    result: str = ""
    strict: bool = False
    security_definer: bool = False
    leakproof: bool = False
    settings: tuple[str, ...] = ()
    source: str = ""
    library: str = ""
    body: Optional[str] = None
    aggregate: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Extension(Placed):
    version: str


@dataclass(frozen=True)
class _Statistics(Placed):
    table: str
    definition: str


@dataclass(frozen=True)
class Statistics(Commented, _Statistics):
    owner: Optional[str] = None
    target: Optional[int] = None


@dataclass(frozen=True)
class DefaultPrivilege:
    kind: str
    public: tuple[str, ...]
    schema: str = ""


@dataclass(frozen=True)
class Other:
    identity: str
    schema: str = ""
    definition: Optional[str] = None


@dataclass(frozen=True)
class _Elsewhere(Placed):
    kind: str


@dataclass(frozen=True)
class Elsewhere(_Elsewhere):
    """A relation outside of what is described: only the names of its columns are known."""

    columns: tuple[str, ...] = ()
    partition: bool = False


# An object by its place: its kind, then its schema and names. ("column", "public", "users", "email")
Place = tuple[str, ...]


@dataclass(frozen=True)
class _Partition(Placed):
    of: Place
    parent: tuple[str, ...]
    bounds: str
    level: int


@dataclass(frozen=True)
class Partition(_Partition):
    """Of the table ``of``, which is not always its ``parent``. ``key``: where it is partitioned itself."""

    key: str = ""


@dataclass(frozen=True)
class Catalog:
    """What a database holds. ``digest`` and ``models``: of an expected one, what it was made of. ``dependencies``:
    (dependent object, the one that it depends on), where they were asked for; so are ``rights`` of single roles, which
    are (object, ((role, right), …)), ``partitions``, parents first, and ``publications``: (table in one, how)."""

    database: Database
    schemas: tuple[Schema, ...]
    relations: tuple[Relation, ...]
    sequences: tuple[SequenceRow, ...]
    types: tuple[Type, ...]
    functions: tuple[Function, ...]
    extensions: tuple[Extension, ...]
    statistics: tuple[Statistics, ...]
    default_privileges: tuple[DefaultPrivilege, ...]
    others: tuple[Other, ...]
    elsewhere: tuple[Elsewhere, ...]
    unreadable: tuple[tuple[str, str], ...]
    format: int
    dependencies: tuple[tuple[Place, Place], ...] = ()
    rights: tuple[tuple[Place, tuple[tuple[str, str], ...]], ...] = ()
    partitions: tuple[Partition, ...] = ()
    publications: tuple[tuple[Place, str], ...] = ()
    digest: str = ""
    models: Optional[dict[str, Any]] = None

    @classmethod
    def from_json(cls, value: Any) -> Catalog:
        """Raises PapError when it is of another format, or none."""
        form = value.get("format") if isinstance(value, dict) else None
        if form != CATALOG_FORMAT:
            raise Refused(
                f"The catalog has format {form!r}, this version of papdeploy reads {CATALOG_FORMAT}.",
                hint="Make the snapshot anew.",
            )
        return read(cls, value, "catalog")

    @classmethod
    def kept(cls, path: Path) -> Catalog | None:
        """What was kept in ``path``; None where there is nothing, or a catalog of another format."""
        if not path.is_file():
            return None
        value = json.loads(path.read_text(encoding="utf-8"))
        return cls.from_json(value) if value.get("format") == CATALOG_FORMAT else None

    def dependencies_known(self) -> bool:
        """Whether they were asked for, as far as that can be told: every table has columns that depend on something."""
        return bool(self.dependencies) or not self.relations

    def as_json(self) -> JsonObject:
        return as_object(self)
