"""From a connection to a catalog: records in a stable order, without oids, that say what a database holds.

The shape: ``relations`` (tables, views, …) carry their ``columns``, ``constraints``, ``indexes``, ``triggers``,
``rules`` and ``policies``; ``sequences``, ``types``, ``functions``, ``schemas``, ``extensions``, ``statistics``,
``default_privileges`` and ``others`` stand beside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, TypeVar

from . import rows
from .connection import Session
from .query import describe_query, sections
from .query_rows import ColumnRow, ConstraintRow, IndexRow
from .rows import CATALOG_FORMAT, Catalog

R = TypeVar("R")
Row = dict[str, Any]  # of the describing query, which names the fields

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
_PARTS = {"trigger": "triggers", "rule": "rules", "policy": "policies"}


def describe(
    connection: Any,
    schemas: Sequence[str] | None = None,
    elsewhere: Sequence[str] = (),
    *,
    dependencies: bool = False,
) -> Catalog:
    """What the database of ``connection`` (a SQLAlchemy connection or a Session) holds, in one read.

    ``schemas``: describe only these and those of the search path; None: all. ``dependencies``: with what stands on
    what, for a repair. Nothing is created, changed or committed,
    and the session's settings are as before. Raises Unavailable when the catalog cannot be read.
    """
    session = Session.of(connection)
    rows = session.read(describe_query(session.server_version, schemas, elsewhere, dependencies=dependencies))
    return build(rows, session.server_version, elsewhere)


def build(answer: Sequence[Sequence[Any]], version: int, elsewhere: Sequence[str] = ()) -> Catalog:
    """The catalog from the rows of the describing query."""
    fields = {
        section.name: [name for name, _ in section.fields]
        for section in sections(version, elsewhere, dependencies=True)
    }
    texts: dict[str, list[str]] = {name: [] for name in fields}
    for section, text in answer:
        texts[section].append(text)
    # one call of the JSON reader a section: a third of the time of one a row
    values = {section: json.loads(f"[{','.join(listed)}]") for section, listed in texts.items()}
    columns = [ColumnRow._make(row) for row in values.pop("column")]
    constraints = [ConstraintRow._make(row) for row in values.pop("constraint")]
    indexes = [IndexRow._make(row) for row in values.pop("index")]
    found = {section: [dict(zip(fields[section], row)) for row in listed] for section, listed in values.items()}
    return _Builder(found, columns).catalog(constraints, indexes)


class _Builder:
    """Resolves the numbers in the rows: relations, columns, operator classes, collations."""

    def __init__(self, found: dict[str, list[Row]], columns: list[ColumnRow]) -> None:
        self.found = found
        self.relations: dict[int, Row] = {row.pop("oid"): row for row in found["relation"]}
        self.places = {oid: (str(row["schema"]), str(row["name"])) for oid, row in self.relations.items()}
        self.opclasses: dict[str, str] = {
            str(row["oid"]): _OPCLASSES.get(str(row["name"]), str(row["name"])) for row in found["opclass"]
        }
        self.collations: dict[int, str] = {row["oid"]: row["name"] for row in found["collation"]}
        self.columns: dict[int, dict[int, ColumnRow]] = {}
        for column in sorted(columns, key=attrgetter("number")):
            self.columns.setdefault(column.relation, {})[column.number] = column
        self.parts: dict[int, dict[str, list[Any]]] = {oid: {} for oid in self.relations}

    def catalog(self, constraint_rows: list[ConstraintRow], index_rows: list[IndexRow]) -> Catalog:
        found = self.found
        readable = (*found["relation"], *found["sequence"])
        unreadable = sorted((row["schema"], row["name"]) for row in readable if not row.pop("readable"))
        indexes = {index.oid: index for index in index_rows}
        for constraint in constraint_rows:
            self._attach(constraint.relation, "constraints", self._constraint(constraint, indexes))
        for index in indexes.values():
            self._attach(index.relation, "indexes", self._index(index))
        for kind, plural in _PARTS.items():
            for row in found[kind]:
                self._attach(row.pop("relation"), plural, _record(rows.Part, row))
        for row in found["statistics"]:
            row["table"] = self.places[row.pop("relation")][1]
        privileges = [row for row in found["default_privilege"] if row["public"]]
        database = found["database"][0]
        return Catalog(
            format=CATALOG_FORMAT,
            database=_record(rows.Database, database, path=tuple(database.pop("path"))),
            schemas=_in_order(_records(rows.Schema, found["schema"]), "name"),
            relations=_in_order((self._relation(oid, row) for oid, row in self.relations.items()), "schema", "name"),
            sequences=_in_order((self._sequence(row) for row in found["sequence"]), "schema", "name"),
            types=_in_order((self._type(row) for row in found["type"]), "schema", "name"),
            functions=_in_order((_function(row) for row in found["function"]), "schema", "name", "identity"),
            extensions=_in_order(_records(rows.Extension, found["extension"]), "name"),
            statistics=_in_order(_records(rows.Statistics, found["statistics"]), "schema", "name"),
            default_privileges=_in_order(_records(rows.DefaultPrivilege, privileges), "kind"),
            others=_in_order(_records(rows.Other, found["other"]), "identity"),
            elsewhere=_in_order(_records(rows.Elsewhere, found.get("elsewhere", ())), "schema", "name"),
            unreadable=tuple(unreadable),
            dependencies=tuple(
                sorted((tuple(row["dependent"]), tuple(row["on"])) for row in found.get("dependency", ()))
            ),
            rights=tuple(sorted((tuple(row["place"]), _frozen(row["rights"])) for row in found.get("right", ()))),
            publications=tuple(
                sorted((tuple(row["place"]), row["definition"]) for row in found.get("publication", ()))
            ),
            partitions=_in_order(_records(rows.Partition, found.get("partition", ())), "level", "schema", "name"),
        )

    def _attach(self, relation: int, plural: str, part: object) -> None:
        self.parts[relation].setdefault(plural, []).append(part)

    def _relation(self, oid: int, row: Row) -> rows.Relation:
        kind = row["kind"]
        row["options"] = _options(row["options"])
        if kind not in "vm":
            del row["definition"]
        if kind != "m":
            del row["populated"]
        elif not row["populated"]:
            row["populated"] = "no"
        if row["replica_identity"] in "dn" and kind not in "rp":
            del row["replica_identity"]
        parts = {plural: _in_order(members, "name") for plural, members in self.parts[oid].items()}
        columns = tuple(self._column(column) for column in self.columns.get(oid, {}).values())
        return _record(rows.Relation, row, columns=columns, **parts)

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

    def _sequence(self, row: Row) -> rows.SequenceRow:
        relation, column = row.pop("of"), row.pop("of_column")
        of: tuple[str, ...] = ()
        if relation in self.places:
            of = (*self.places[relation], self.columns[relation][column].name)
        elif relation:
            of = ("?", "?", "?")  # a partition or a table outside of what is described
        del row["oid"]
        return _record(rows.SequenceRow, row, of=of)

    def _type(self, row: Row) -> rows.Type:
        collation, measure = row.pop("collation"), row.pop("range")
        if measure:
            subtype, opclass, of_range, canonical, difference = measure
            opclass_name, collation_name = self.opclasses.get(str(opclass), ""), self.collations.get(of_range, "")
            measure = (subtype, opclass_name, collation_name, canonical, difference)
        return _record(
            rows.Type,
            _with_public(row, "USAGE"),
            collation="" if collation is None else self.collations.get(collation, str(collation)),
            range=measure or (),
        )


def _function(row: Row) -> rows.Function:
    return _record(rows.Function, _with_public(row, "EXECUTE"))


def _with_public(row: Row, right: str) -> Row:
    """A type and a function have ``right`` where nothing was granted or revoked."""
    if row["public"] is None:
        row["public"] = [right]
    return row


def _options(listed: Sequence[str] | None) -> tuple[str, ...]:
    """Storage parameters in one order, on and off in one spelling."""
    pairs = (option.partition("=") for option in listed or ())
    return tuple(sorted(f"{name}={_SWITCHES.get(value.lower(), value)}" for name, _, value in pairs))


def _record(record: type[R], row: Row, **more: Any) -> R:
    """Of the row's fields that say anything."""
    said = {name: _frozen(value) for name, value in row.items() if value is not None and value not in ("", [])}
    return record(**said, **more)


def _records(record: type[R], found: Iterable[Row]) -> Iterable[R]:
    return (_record(record, row) for row in found)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value


def _in_order(found: Iterable[R], *names: str) -> tuple[R, ...]:
    return tuple(sorted(found, key=lambda row: [str(getattr(row, name)) for name in names]))
