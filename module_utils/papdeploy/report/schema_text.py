"""A catalog as text that people can read, object by object, and what changed between two of them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

_KINDS = {"r": "table", "p": "partitioned table", "v": "view", "m": "materialized view", "f": "foreign table"}
_OMIT = ("name", "schema", "comment", "readable")


def objects(catalog: Mapping[str, Any]) -> dict[str, list[str]]:
    """Every object with the lines that describe it."""
    found: dict[str, list[str]] = {}
    for relation in catalog.get("relations", []):
        title = f"{_KINDS.get(relation.get('kind', 'r'), 'relation')} {_name(relation)}"
        lines = [_column(column) for column in relation.get("columns", [])]
        lines += [_constraint(item) for item in relation.get("constraints", []) if item.get("type") != "not null"]
        lines += [_index(item) for item in relation.get("indexes", [])]
        for plural in ("triggers", "rules", "policies"):
            lines += [f"{plural.rstrip('s')} {item['name']} {_rest(item)}" for item in relation.get(plural, [])]
        if relation.get("definition"):
            lines += str(relation["definition"]).strip().splitlines()
        found[title] = lines
    for section in ("sequences", "types", "functions", "schemas", "extensions"):
        for item in catalog.get(section, []):
            if item.get("of"):
                continue  # a sequence that belongs to its column comes and goes with it
            found[f"{section.rstrip('s')} {_name(item)}"] = [_rest(item)]
    return found


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What changed: ``{"object", "change": added|removed|changed, "lines": [[mark, text], …]}``; marks are ``+``, ``-``
    and a space for the lines around a change."""
    old, new = objects(before), objects(after)
    result: list[dict[str, Any]] = []
    for name in sorted({*old, *new}):
        if name not in old:
            result.append({"object": name, "change": "added", "lines": [["+", line] for line in new[name]]})
        elif name not in new:
            result.append({"object": name, "change": "removed", "lines": [["-", line] for line in old[name]]})
        elif old[name] != new[name]:
            delta = list(difflib.unified_diff(old[name], new[name], lineterm="", n=1))[2:]
            lines = [["…", ""] if line.startswith("@@") else [line[:1], line[1:]] for line in delta]
            result.append({"object": name, "change": "changed", "lines": lines[1:]})
    return result


def _name(item: Mapping[str, Any]) -> str:
    schema = item.get("schema", "")
    name = item.get("name", "?")
    arguments = f"({item['identity']})" if "identity" in item else ""
    return f"{name}{arguments}" if schema in ("", "public") else f"{schema}.{name}{arguments}"


def _column(column: Mapping[str, Any]) -> str:
    words = [f"{column.get('name', '?')}  {column.get('type', '?')}"]
    if column.get("not_null") or column.get("notnull"):
        words.append("not null")
    if column.get("default") is not None:
        words.append(f"default {column['default']}")
    if column.get("generation") is not None:
        words.append(f"generated as {column['generation']}")
    if column.get("identity"):
        words.append("generated as identity")
    return " ".join(words)


def _constraint(item: Mapping[str, Any]) -> str:
    columns = ", ".join(item.get("columns", []))
    text = f"{item.get('type', 'constraint')} {item.get('name', '')} ({columns})"
    if item.get("target"):
        target = item["target"]
        name = target[1] if target[0] == "public" else ".".join(target)
        text += f" → {name} ({', '.join(item.get('target_columns', []))})"
        if item.get("on_delete", "NO ACTION") != "NO ACTION":
            text += f" on delete {item['on_delete'].lower()}"
    if item.get("expression"):
        text += f" {item['expression']}"
    return text + (" not valid" if item.get("not_validated") else "")


def _index(item: Mapping[str, Any]) -> str:
    keys = ", ".join(str(key.get("column") or key.get("expression")) + (" desc" if key.get("desc") else "")
                     for key in item.get("keys", []))  # fmt: skip
    unique = "unique " if item.get("unique") else ""
    where = f" where {item['predicate']}" if item.get("predicate") else ""
    method = "" if item.get("method", "btree") == "btree" else f" using {item['method']}"
    return f"{unique}index {item.get('name', '')}{method} ({keys}){where}" + (" INVALID" if item.get("invalid") else "")


def _rest(item: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in item.items() if key not in _OMIT)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
