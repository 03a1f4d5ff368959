"""From a connection to a catalog: plain data (JSON-able, sorted, without oids) that says what a database holds.

The shape: ``relations`` (tables, views, …) carry their ``columns``, ``constraints``, ``indexes``, ``triggers``,
``rules`` and ``policies``; ``sequences``, ``types``, ``functions``, ``schemas``, ``extensions``, ``statistics``,
``default_privileges`` and ``others`` stand beside them. A key with an empty value (null, false, '', []) is left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from .connection import Session
from .query import describe_query, sections
from .rows import Catalog

CATALOG_FORMAT = 2

Row = dict[str, Any]

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
_NOT_OF_COLUMN = frozenset(["relation", "number", "local", "expression", "collation"])


def describe(connection: Any, schemas: Sequence[str] | None = None, elsewhere: Sequence[str] = ()) -> Catalog:
    """What the database of ``connection`` (a SQLAlchemy connection or a Session) holds, in one read.

    ``schemas``: describe only these and those of the search path; None: all. Nothing is created, changed or committed,
    and the session's settings are as before. Raises Unavailable when the catalog cannot be read.
    """
    session = Session.of(connection)
    rows = session.read(describe_query(session.server_version, schemas, elsewhere))
    return build(rows, session.server_version, elsewhere)


def build(rows: Sequence[Sequence[Any]], version: int, elsewhere: Sequence[str] = ()) -> Catalog:
    """The catalog from the rows of the describing query."""
    fields = {section.name: [name for name, _ in section.fields] for section in sections(version, elsewhere)}
    texts: dict[str, list[str]] = {name: [] for name in fields}
    for section, text in rows:
        texts[section].append(text)
    found = {
        section: [dict(zip(fields[section], values)) for values in json.loads(f"[{','.join(listed)}]")]
        for section, listed in texts.items()  # one call of the JSON reader a section: a third of the time of one a row
    }
    return _Builder(found).catalog()


class _Builder:
    """Resolves the numbers in the rows: relations, columns, operator classes, collations."""

    def __init__(self, rows: dict[str, list[Row]]) -> None:
        self.rows = rows
        self.relations = {row["oid"]: row for row in rows["relation"]}
        self.opclasses = {str(row["oid"]): _OPCLASSES.get(row["name"], row["name"]) for row in rows["opclass"]}
        self.collations = {row["oid"]: row["name"] for row in rows["collation"]}
        self.columns: dict[int, dict[int, str]] = {}
        self.column_rows: dict[tuple[int, int], Row] = {}
        for row in rows["column"]:
            self.columns.setdefault(row["relation"], {})[row["number"]] = row["name"]
            self.column_rows[row["relation"], row["number"]] = row
        self.parts: dict[str, dict[int, list[Row]]] = {}

    def catalog(self) -> Catalog:
        rows = self.rows
        unreadable = [[r["schema"], r["name"]] for r in (*rows["relation"], *rows["sequence"]) if not r.pop("readable")]
        sequences = [self._sequence(row) for row in rows["sequence"]]
        indexes = {row["oid"]: self._index(row) for row in rows["index"]}
        constraints = [(row["relation"], self._constraint(row, indexes)) for row in rows["constraint"]]
        parts: dict[str, list[tuple[int, Row]]] = {
            "columns": [
                (r["relation"], self._column(r))
                for r in sorted(rows["column"], key=lambda r: (r["relation"], r["number"]))
            ],
            "constraints": constraints,
            "indexes": [(r["relation"], indexes[r["oid"]]) for r in rows["index"] if r["oid"] in indexes],
        }
        for part in ("trigger", "rule", "policy"):
            plural = "policies" if part == "policy" else part + "s"
            parts[plural] = [(r.pop("relation"), r) for r in rows[part]]
        for plural, members in parts.items():
            self._attach(plural, members)
        for row in rows["statistics"]:
            row["table"] = self.relations[row.pop("relation")]["name"]
        relations = _tidy(self._relations(), "schema", "name")
        for row in relations:
            row.setdefault("columns", [])
        catalog = {
            "format": CATALOG_FORMAT,
            "database": rows["database"][0],
            "schemas": _tidy(rows["schema"], "name"),
            "relations": relations,
            "sequences": _tidy(sequences, "schema", "name"),
            "types": _tidy([self._type(row) for row in rows["type"]], "schema", "name"),
            "functions": _tidy([self._function(row) for row in rows["function"]], "schema", "name", "identity"),
            "extensions": _tidy(rows["extension"], "name"),
            "statistics": _tidy(rows["statistics"], "schema", "name"),
            "default_privileges": _tidy([r for r in rows["default_privilege"] if r["public"]], "kind"),
            "others": _tidy(rows["other"], "identity"),
            "elsewhere": _tidy(rows.get("elsewhere", []), "schema", "name"),
            "unreadable": sorted(unreadable),
        }
        return cast("Catalog", catalog)

    def _attach(self, plural: str, members: Sequence[tuple[int, Row]]) -> None:
        for oid, member in members:
            self.relations[oid].setdefault(plural, []).append(member)

    def _relations(self) -> list[Row]:
        for row in self.relations.values():
            del row["oid"]
            for plural in ("constraints", "indexes", "triggers", "rules", "policies"):
                if plural in row:
                    row[plural] = _tidy(row[plural], "name")
            for constraint in row.get("constraints", []):
                constraint.setdefault("columns", [])  # a check may be about none
            row["options"] = _options(row["options"])
            if row["kind"] not in "vm":
                row.pop("definition")
            if row["kind"] != "m":
                row.pop("populated")
            elif not row["populated"]:
                row["populated"] = "no"
            if row["replica_identity"] in "dn" and row["kind"] not in "rp":
                row.pop("replica_identity")
        return list(self.relations.values())

    def _column(self, row: Row) -> Row:
        column = {key: value for key, value in row.items() if value and key not in _NOT_OF_COLUMN}
        if row["statistics"] is not None:
            column["statistics"] = row["statistics"]
        if row["expression"] is not None:
            column["generation" if row["generated"] else "default"] = row["expression"]
        if row["collation"] is not None:
            column["collation"] = self.collations.get(row["collation"], str(row["collation"]))
        if not row["local"]:
            column["inherited"] = True
        return column

    def _names(self, relation: int, key: Sequence[int] | None) -> list[str]:
        columns = self.columns.get(relation, {})
        return [columns.get(number, f"#{number}") for number in key or ()]

    def _constraint(self, row: Row, indexes: dict[int, Row]) -> Row:
        kind = _CONSTRAINT_TYPES[row["type"]]
        constraint: Row = {
            "name": row["name"],
            "type": kind,
            "columns": self._names(row["relation"], row["key"]),
            "inherited": not row["local"],
            "comment": row["comment"],
            "not_validated": not row["validated"],
            "not_enforced": not row["enforced"],
            "disabled": row["disabled"],
            "deferrable": row["deferrable"],
            "deferred": row["deferred"],
            "no_inherit": row["no_inherit"] and kind in ("check", "not null"),
            "expression": row["expression"],
            "definition": row["definition"],
            "period": row["period"],
        }
        if kind == "foreign key":
            constraint["target"] = row["target"]
            constraint["target_columns"] = row["target_columns"] or self._names(
                row["target_relation"], row["target_key"]
            )
            constraint["on_update"] = _ACTIONS[row["on_update"]]
            constraint["on_delete"] = _ACTIONS[row["on_delete"]]
            constraint["on_delete_columns"] = self._names(row["relation"], row["delete_key"])
            constraint["match"] = _MATCHES[row["match"]]
        elif row["index"] in indexes and kind in ("primary key", "unique", "exclusion"):
            constraint["index"] = _compact(indexes.pop(row["index"]))
        return constraint

    def _index(self, row: Row) -> Row:
        numbers = [int(number) for number in row["columns"].split()]
        names = self.columns.get(row["relation"], {})
        expressions = iter(row["expressions"] or [])
        opclasses, collations = row["opclasses"].split(), row["collations"].split()
        flags, options = row["flags"].split(), row["key_options"] or {}
        keys = []
        for place in range(row["keys"]):
            number, flag, collation = numbers[place], int(flags[place]), int(collations[place])
            key: Row = {"column": names[number]} if number else {"expression": next(expressions)}
            of_column = self.column_rows[row["relation"], number]["collation"] if number > 0 else None
            if collation and collation != (of_column or _DEFAULT_COLLATION):
                key["collation"] = self.collations.get(collation, 'pg_catalog."default"')
            key["opclass"] = self.opclasses.get(opclasses[place], "")
            key["options"] = options.get(str(place + 1))
            key["desc"] = bool(flag & 1)
            if bool(flag & 2) != bool(flag & 1):
                key["nulls"] = "first" if flag & 2 else "last"
            keys.append(_compact(key))
        return {
            "name": row["name"],
            "method": row["method"],
            "unique": row["unique"],
            "invalid": not row["valid"],
            "keys": keys,
            "include": [names[number] for number in numbers[row["keys"] :]],
            "predicate": row["predicate"],
            "nulls_not_distinct": row["nulls_not_distinct"],
            "options": _options(row["options"]),
            "tablespace": row["tablespace"],
            "clustered": row["clustered"],
            "replica_identity": row["replica_identity"],
            "comment": row["comment"],
        }

    def _sequence(self, row: Row) -> Row:
        sequence = {key: value for key, value in row.items() if key not in ("oid", "of", "of_column")}
        owner = self.relations.get(row["of"])
        if owner is not None:
            sequence["of"] = [owner["schema"], owner["name"], self.columns[row["of"]][row["of_column"]]]
        elif row["of"]:
            sequence["of"] = ["?", "?", "?"]  # a partition or a table outside of what is described
        return sequence

    def _type(self, row: Row) -> Row:
        if row["public"] is None:
            row["public"] = ["USAGE"]  # what a type has when nothing was granted or revoked
        if row["collation"] is not None:
            row["collation"] = self.collations.get(row["collation"], str(row["collation"]))
        if row["range"]:
            subtype, opclass, collation, canonical, difference = row["range"]
            row["range"] = [
                subtype,
                self.opclasses.get(str(opclass), ""),
                self.collations.get(collation, ""),
                canonical,
                difference,
            ]
        return row

    def _function(self, row: Row) -> Row:
        if row["public"] is None:
            row["public"] = ["EXECUTE"]  # what a function has when nothing was granted or revoked
        return row


def _options(listed: Sequence[str] | None) -> list[str]:
    """Storage parameters in one order, on and off in one spelling."""
    pairs = (option.partition("=") for option in listed or ())
    return sorted(f"{name}={_SWITCHES.get(value.lower(), value)}" for name, _, value in pairs)


def _compact(row: Row) -> Row:
    return {
        key: value for key, value in row.items() if value is not None and value is not False and value not in ("", [])
    }


def _tidy(rows: Sequence[Row], *keys: str) -> list[Row]:
    """Without empty values, in a stable order."""
    return sorted((_compact(row) for row in rows), key=lambda row: [str(row.get(key, "")) for key in keys])
