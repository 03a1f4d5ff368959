"""From a connection to a catalog: records in a stable order, without oids, that say what a database holds.

The shape: ``relations`` (tables, views, …) carry their ``columns``, ``constraints``, ``indexes``, ``triggers``,
``rules`` and ``policies``; ``sequences``, ``types``, ``functions``, ``schemas``, ``extensions``, ``statistics``,
``default_privileges`` and ``others`` stand beside them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Hashable, Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar, cast

from . import rows
from .connection import Session
from .query import describe_query
from .query_rows import (
    ColumnRow,
    ConstraintRow,
    DatabaseRow,
    DefaultPrivilegeRow,
    DependencyRow,
    ElsewhereRow,
    ExtensionRow,
    FunctionRow,
    IndexRow,
    NumberRow,
    OtherRow,
    PartitionRow,
    PartRow,
    PolicyRow,
    PublicationRow,
    RelationRow,
    RightRow,
    SchemaRow,
    SequenceRow,
    StatisticsRow,
    TypeRow,
)
from .rows import CATALOG_FORMAT, Catalog

R = TypeVar("R")
N = TypeVar("N", bound=NamedTuple)

_CONSTRAINT_TYPES = {
    "p": "primary key",
    "u": "unique",
    "f": "foreign key",
    "c": "check",
    "x": "exclusion",
    "n": "not null",
}
_ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
_MATCHES = {"s": "SIMPLE", "f": "FULL", "p": "PARTIAL"}
_DEFAULT_COLLATION = 100
# pg_opclass.dat: other names of what text has; a column that is varchar takes either.
_OPCLASSES = {
    "pg_catalog.varchar_ops": "",
    "pg_catalog.varchar_pattern_ops": "pg_catalog.text_pattern_ops",
}
_SWITCHES = {"on": "true", "yes": "true", "off": "false", "no": "false"}


def describe(
    connection: Any,
    schemas: Sequence[str] | None = None,
    elsewhere: Sequence[str] = (),
    *,
    dependencies: bool = False,
) -> Catalog:
    """What the database of ``connection`` (a SQLAlchemy connection or a Session) holds, in one read.

    ``schemas``: describe only these and those of the search path; None: all. ``dependencies``: with those between
    objects, for a repair. Nothing is created, changed or committed,
    and the session's settings are as before. Raises Unavailable when the catalog cannot be read.
    """
    session = Session.of(connection)
    rows = session.read(describe_query(session.server_version, schemas, elsewhere, dependencies=dependencies))
    return _Builder(_Answer(rows)).catalog()


class _Answer:
    """The rows of the describing query by section."""

    def __init__(self, answer: Sequence[Sequence[Any]]) -> None:
        self._texts: dict[str, list[str]] = {}
        for section, text in answer:
            self._texts.setdefault(section, []).append(text)

    def rows(self, section: str, kind: type[N]) -> list[N]:
        # one call of the JSON reader a section: a third of the time of one a row
        return [kind._make(row) for row in json.loads(f"[{','.join(self._texts.get(section, ()))}]")]


class _Builder:
    """Resolves the numbers in the rows: relations, columns, operator classes, collations."""

    def __init__(self, found: _Answer) -> None:
        self.found = found
        self.relations = {row.oid: row for row in found.rows("relation", RelationRow)}
        self.places = {oid: (row.schema, row.name) for oid, row in self.relations.items()}
        self.opclasses = {str(row.oid): _OPCLASSES.get(row.name, row.name) for row in found.rows("opclass", NumberRow)}
        self.collations = {row.oid: row.name for row in found.rows("collation", NumberRow)}
        self.columns: dict[int, dict[int, ColumnRow]] = {}
        for column in sorted(found.rows("column", ColumnRow), key=attrgetter("number")):
            self.columns.setdefault(column.relation, {})[column.number] = column
        self.parts: dict[int, dict[str, list[Any]]] = {oid: {} for oid in self.relations}

    def catalog(self) -> Catalog:
        found = self.found
        indexes = {index.oid: index for index in found.rows("index", IndexRow)}
        for constraint in found.rows("constraint", ConstraintRow):
            self._attach(constraint.relation, "constraints", self._constraint(constraint, indexes))
        for index in indexes.values():
            self._attach(index.relation, "indexes", self._index(index))
        for plural, parts in (("triggers", found.rows("trigger", PartRow)), ("rules", found.rows("rule", PartRow))):
            for part in parts:
                self._attach(part.relation, plural, _record(rows.Part, part))
        for policy in found.rows("policy", PolicyRow):
            self._attach(policy.relation, "policies", _record(rows.Part, policy))
        sequences = found.rows("sequence", SequenceRow)
        unreadable = [(row.schema, row.name) for row in self.relations.values() if not row.readable]
        unreadable += [(row.schema, row.name) for row in sequences if not row.readable]
        database = found.rows("database", DatabaseRow)[0]
        privileges = (row for row in found.rows("default_privilege", DefaultPrivilegeRow) if row.public)
        dependencies, rights = found.rows("dependency", DependencyRow), found.rows("right", RightRow)
        publications = found.rows("publication", PublicationRow)
        return Catalog(
            format=CATALOG_FORMAT,
            database=_record(rows.Database, database, path=tuple(database.path)),
            schemas=_in_order(_records(rows.Schema, found.rows("schema", SchemaRow)), "name"),
            relations=_in_order(map(self._relation, self.relations.values()), "schema", "name"),
            sequences=_in_order(map(self._sequence, sequences), "schema", "name"),
            types=_in_order(map(self._type, found.rows("type", TypeRow)), "schema", "name"),
            functions=_in_order(map(_function, found.rows("function", FunctionRow)), "schema", "name", "identity"),
            extensions=_in_order(_records(rows.Extension, found.rows("extension", ExtensionRow)), "name"),
            statistics=_in_order(map(self._statistics, found.rows("statistics", StatisticsRow)), "schema", "name"),
            default_privileges=_in_order(_records(rows.DefaultPrivilege, privileges), "kind"),
            others=_in_order(_records(rows.Other, found.rows("other", OtherRow)), "identity"),
            elsewhere=_in_order(_records(rows.Elsewhere, found.rows("elsewhere", ElsewhereRow)), "schema", "name"),
            unreadable=tuple(sorted(unreadable)),
            dependencies=tuple(sorted((tuple(row.dependent), tuple(row.on)) for row in dependencies)),
            rights=tuple(sorted((tuple(row.place), _frozen(row.rights)) for row in rights)),
            publications=tuple(sorted((tuple(row.place), row.definition) for row in publications)),
            partitions=_in_order(
                _records(rows.Partition, found.rows("partition", PartitionRow)), "level", "schema", "name"
            ),
        )

    def _attach(self, relation: int, plural: str, part: object) -> None:
        self.parts[relation].setdefault(plural, []).append(part)

    def _relation(self, row: RelationRow) -> rows.Relation:
        kind = row.kind
        said = row._replace(
            definition=row.definition if kind in "vm" else None,
            populated=(row.populated or "no") if kind == "m" else None,
            replica_identity=None if row.replica_identity in ("d", "n") and kind not in "rp" else row.replica_identity,
        )
        parts = {plural: _in_order(members, "name") for plural, members in self.parts[row.oid].items()}
        columns = tuple(self._column(column) for column in self.columns.get(row.oid, {}).values())
        return _record(rows.Relation, said, options=_options(row.options), columns=columns, **parts)

    def _column(self, row: ColumnRow) -> rows.Column:
        return rows.Column(
            name=row.name,
            type=row.type,
            public=tuple(row.public or ()),
            granted=tuple((role, right) for role, right in row.granted or ()),
            comment=row.comment or "",
            options=tuple(row.options or ()),
            not_null=row.not_null,
            default=None if row.generated else row.expression,
            generation=row.expression if row.generated else None,
            identity=row.identity,
            generated=row.generated,
            collation="" if row.collation is None else self.collations.get(row.collation, str(row.collation)),
            storage=row.storage or "",
            compression=row.compression,
            statistics=row.statistics,
            foreign_options=tuple(row.foreign_options or ()),
            inherited=not row.local,
        )

    def _names(self, relation: int, key: Sequence[int] | None) -> tuple[str, ...]:
        columns = self.columns.get(relation, {})
        return tuple(columns[number].name if number in columns else f"#{number}" for number in key or ())

    def _constraint(self, row: ConstraintRow, indexes: dict[int, IndexRow]) -> rows.Constraint:
        kind = _CONSTRAINT_TYPES[row.type]
        more: dict[str, Any] = {}
        if kind == "foreign key":
            named = row.target_columns or self._names(row.target_relation, row.target_key)
            more = {
                "target": tuple(row.target or ()),
                "target_columns": tuple(named),
                "on_update": _ACTIONS[row.on_update],
                "on_delete": _ACTIONS[row.on_delete],
                "on_delete_columns": self._names(row.relation, row.delete_key),
                "match": _MATCHES[row.match],
            }
        elif row.backing_index in indexes and kind in ("primary key", "unique", "exclusion"):
            more = {"index": self._index(indexes.pop(row.backing_index))}
        return rows.Constraint(
            name=row.name,
            type=kind,
            columns=self._names(row.relation, row.key),
            inherited=not row.local,
            comment=row.comment or "",
            not_validated=not row.validated,
            not_enforced=not row.enforced,
            disabled=row.disabled,
            deferrable=row.deferrable,
            deferred=row.deferred,
            no_inherit=row.no_inherit and kind in ("check", "not null"),
            expression=row.expression or "",
            definition=row.definition or "",
            period=row.period,
            **more,
        )

    def _index(self, row: IndexRow) -> rows.Index:
        numbers = [int(number) for number in row.columns.split()]
        columns = self.columns.get(row.relation, {})
        return rows.Index(
            name=row.name,
            method=row.method,
            unique=row.unique,
            invalid=not row.valid,
            keys=tuple(self._index_keys(row, numbers, columns)),
            include=tuple(columns[number].name for number in numbers[row.keys :]),
            predicate=row.predicate,
            nulls_not_distinct=row.nulls_not_distinct,
            options=_options(row.options),
            tablespace=row.tablespace or "",
            clustered=row.clustered,
            replica_identity=row.replica_identity,
            comment=row.comment or "",
        )

    def _index_keys(
        self, row: IndexRow, numbers: Sequence[int], columns: dict[int, ColumnRow]
    ) -> Iterable[rows.IndexKey]:
        expressions = iter(row.expressions or [])
        opclasses, collations = row.opclasses.split(), row.collations.split()
        flags, options = row.flags.split(), row.key_options or {}
        for place in range(row.keys):
            number, flag, collation = numbers[place], int(flags[place]), int(collations[place])
            of_column = columns[number].collation if number > 0 else None
            own_collation = collation and collation != (of_column or _DEFAULT_COLLATION)
            desc, nulls_first = bool(flag & 1), bool(flag & 2)
            yield rows.IndexKey(
                column=columns[number].name if number else None,
                expression=None if number else next(expressions),
                collation=self.collations.get(collation, 'pg_catalog."default"') if own_collation else "",
                opclass=self.opclasses.get(opclasses[place], ""),
                options=tuple(options.get(str(place + 1)) or ()),
                desc=desc,
                nulls="" if desc == nulls_first else "first" if nulls_first else "last",
            )

    def _statistics(self, row: StatisticsRow) -> rows.Statistics:
        return _record(rows.Statistics, row, table=self.places[row.relation][1])

    def _sequence(self, row: SequenceRow) -> rows.SequenceRow:
        of: tuple[str, ...] = ()
        if row.of in self.places and row.of_column is not None:
            of = (*self.places[row.of], self.columns[row.of][row.of_column].name)
        elif row.of:
            of = ("?", "?", "?")  # a partition or a table outside of what is described
        return _record(rows.SequenceRow, row, of=of)

    def _type(self, row: TypeRow) -> rows.Type:
        measure: tuple[Any, ...] = ()
        if row.range:
            subtype, opclass, of_range, canonical, difference = row.range
            opclass_name, collation_name = self.opclasses.get(str(opclass), ""), self.collations.get(of_range, "")
            measure = (subtype, opclass_name, collation_name, canonical, difference)
        collation = "" if row.collation is None else self.collations.get(row.collation, str(row.collation))
        public = _public(row.public, "USAGE")
        return _record(rows.Type, row, public=public, collation=collation, range=measure)


def _function(row: FunctionRow) -> rows.Function:
    return _record(rows.Function, row, public=_public(row.public, "EXECUTE"))


def _public(granted: Sequence[str] | None, right: str) -> tuple[str, ...]:
    """A type and a function have ``right`` where nothing was granted or revoked."""
    return (right,) if granted is None else tuple(granted)


def _options(listed: Sequence[str] | None) -> tuple[str, ...]:
    """Storage parameters in one order, on and off in one spelling."""
    pairs = (option.partition("=") for option in listed or ())
    return tuple(sorted(f"{name}={_SWITCHES.get(value.lower(), value)}" for name, _, value in pairs))


def _record(record: type[R], row: NamedTuple, **more: Any) -> R:
    """Of the row's fields that the record has those that say anything."""
    values = ((name, value) for name, value in zip(row._fields, row) if name in _fields(cast("Hashable", record)))
    said = {name: _frozen(value) for name, value in values if value is not None and value not in ("", [])}
    return record(**{**said, **more})


@functools.cache
def _fields(record: Any) -> frozenset[str]:
    return frozenset(item.name for item in dataclasses.fields(record))


def _records(record: type[R], found: Iterable[NamedTuple]) -> Iterable[R]:
    return (_record(record, row) for row in found)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value


def _in_order(found: Iterable[R], *names: str) -> tuple[R, ...]:
    return tuple(sorted(found, key=lambda row: [str(getattr(row, name)) for name in names]))
