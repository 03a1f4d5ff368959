"""A catalog as text that people can read, object by object, and what changed between two of them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from ..core.records import recorded
from .records import Change

_KINDS = {"r": "table", "p": "partitioned table", "v": "view", "m": "materialized view", "f": "foreign table"}
_OMIT = ("name", "schema", "comment", "readable")
_PARTS = ("triggers", "rules", "policies")
_SECTIONS = ("sequences", "types", "functions", "schemas", "extensions")
Item = dict[str, Any]  # an object of which all is shown, whatever it has


@dataclass(frozen=True)
class Column:
    """``notnull``: as the catalogs of early releases have it."""

    name: str = "?"
    type: str = "?"
    not_null: bool = False
    notnull: bool = False
    default: Optional[str] = None
    generation: Optional[str] = None
    identity: str = ""


@dataclass(frozen=True)
class Constraint:
    name: str = ""
    type: str = "constraint"
    columns: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    target_columns: tuple[str, ...] = ()
    on_delete: str = "NO ACTION"
    expression: str = ""
    not_validated: bool = False


@dataclass(frozen=True)
class Key:
    column: Optional[str] = None
    expression: Optional[str] = None
    desc: bool = False


@dataclass(frozen=True)
class Index:
    name: str = ""
    method: str = "btree"
    unique: bool = False
    invalid: bool = False
    keys: tuple[Key, ...] = ()
    predicate: str = ""


@dataclass(frozen=True)
class Named:
    """``identity``: the arguments of a function; ``of``: the column of a sequence."""

    schema: str = ""
    name: str = "?"
    identity: Optional[str] = None
    of: tuple[str, ...] = ()

    def __str__(self) -> str:
        name = self.name if self.identity is None else f"{self.name}({self.identity})"
        return name if self.schema in ("", "public") else f"{self.schema}.{name}"


@dataclass(frozen=True)
class Relation(Named):
    kind: str = "r"
    columns: tuple[Column, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    indexes: tuple[Index, ...] = ()
    triggers: tuple[Item, ...] = ()
    rules: tuple[Item, ...] = ()
    policies: tuple[Item, ...] = ()
    definition: str = ""


@dataclass(frozen=True)
class Catalog:
    relations: tuple[Relation, ...] = ()
    sequences: tuple[Item, ...] = ()
    types: tuple[Item, ...] = ()
    functions: tuple[Item, ...] = ()
    schemas: tuple[Item, ...] = ()
    extensions: tuple[Item, ...] = ()


def objects(catalog: Catalog) -> dict[str, list[str]]:
    """Every object with the lines that describe it."""
    found: dict[str, list[str]] = {}
    for relation in catalog.relations:
        found[f"{_KINDS.get(relation.kind, 'relation')} {relation}"] = list(_lines(relation))
    for section in _SECTIONS:
        for item in getattr(catalog, section):
            named = recorded(Named, item)
            if not named.of:  # a sequence that belongs to its column comes and goes with it
                found[f"{section.rstrip('s')} {named}"] = [_rest(item)]
    return found


def _lines(relation: Relation) -> Iterator[str]:
    yield from map(_column, relation.columns)
    yield from (_constraint(item) for item in relation.constraints if item.type != "not null")
    yield from map(_index, relation.indexes)
    for plural in _PARTS:
        for item in getattr(relation, plural):
            yield f"{plural.rstrip('s')} {recorded(Named, item).name} {_rest(item)}"
    yield from relation.definition.strip().splitlines()


def diff(before: object, after: object) -> list[Change]:
    """What changed between two catalogs, as JSON has them. Marks are ``+``, ``-``, and a space for the lines around a
    change."""
    old, new = objects(recorded(Catalog, before)), objects(recorded(Catalog, after))
    result: list[Change] = []
    for name in sorted({*old, *new}):
        if name not in old:
            result.append(Change(name, "added", tuple(("+", line) for line in new[name])))
        elif name not in new:
            result.append(Change(name, "removed", tuple(("-", line) for line in old[name])))
        elif old[name] != new[name]:
            delta = list(difflib.unified_diff(old[name], new[name], lineterm="", n=1))[2:]
            lines = [("…", "") if line.startswith("@@") else (line[:1], line[1:]) for line in delta]
            result.append(Change(name, "changed", tuple(lines[1:])))
    return result


def _column(column: Column) -> str:
    words = [f"{column.name}  {column.type}"]
    if column.not_null or column.notnull:
        words.append("not null")
    if column.default is not None:
        words.append(f"default {column.default}")
    if column.generation is not None:
        words.append(f"generated as {column.generation}")
    if column.identity:
        words.append("generated as identity")
    return " ".join(words)


def _constraint(item: Constraint) -> str:
    text = f"{item.type} {item.name} ({', '.join(item.columns)})"
    if item.target:
        name = item.target[1] if item.target[0] == "public" else ".".join(item.target)
        text += f" → {name} ({', '.join(item.target_columns)})"
        if item.on_delete != "NO ACTION":
            text += f" on delete {item.on_delete.lower()}"
    if item.expression:
        text += f" {item.expression}"
    return text + (" not valid" if item.not_validated else "")


def _index(item: Index) -> str:
    keys = ", ".join(str(key.column or key.expression) + (" desc" if key.desc else "") for key in item.keys)
    unique = "unique " if item.unique else ""
    where = f" where {item.predicate}" if item.predicate else ""
    method = "" if item.method == "btree" else f" using {item.method}"
    return f"{unique}index {item.name}{method} ({keys}){where}" + (" INVALID" if item.invalid else "")


def _rest(item: Item) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in item.items() if key not in _OMIT)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
