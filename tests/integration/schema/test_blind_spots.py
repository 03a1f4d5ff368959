"""The checker itself, mutated: for everything it looks at, a change of the corpus that goes unseen if it stops looking.

Each field that the query reads is taken out of both catalogs in turn; the named witness must then not be found. A field
without a witness must be in NOT_COMPARED with its reason, so a new field cannot be forgotten.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from integration.schema.test_corpus import MUTATIONS, OPTIONS, VARIATIONS, Corpus, corpus  # noqa: F401 - corpus is a fixture
from papdeploy.core.errors import PapError
from papdeploy.schema import compare, describe
from papdeploy.schema.catalog.query import sections
from papdeploy.schema.catalog.rows import Catalog
from papdeploy.schema.checker import scope
from papdeploy.schema.differences import name_resolution
from papdeploy.sql import expressions, lexer

pytestmark = pytest.mark.every_version(sample=3)

BY_NAME = {m.name: m for m in MUTATIONS}

# path of the field in the catalog → the change that only this field shows
WITNESSES: dict[str, str] = {
    "schemas": "schema renamed",
    "schemas.public": "schema granted",
    "schemas.comment": "schema comment",
    "extensions": "-",
    "relations": "table dropped",
    "relations.kind": "table replaced by a view",
    "relations.persistence": "table unlogged",
    "relations.owner": "table owner changed",
    "relations.public": "granted to everybody",
    "relations.revoked": "table revoked from its owner",
    "relations.partition_defaults": "partition with another default",
    "relations.columns.granted": "column granted to a role",
    "relations.options": "storage parameters set",
    "relations.replica_identity": "replica identity nothing",
    "relations.row_security": "row security off",
    "relations.force_row_security": "row security forced",
    "relations.populated": "materialized view not filled",
    "relations.comment": "table comment changed",
    "relations.partition_key": "partition strategy changed to list",
    "relations.partitions": "all partitions gone",
    "relations.inherits": "inheritance dropped",
    "relations.definition": "view condition changed",
    "relations.columns": "column dropped",
    "relations.columns.name": "column renamed",
    "relations.columns.type": "numeric precision",
    "relations.columns.not_null": "nullable",
    "relations.columns.default": "default value changed",
    "relations.columns.identity": "identity by default",
    "relations.columns.generated": "generated column virtual",
    "relations.columns.generation": "generated expression changed",
    "relations.columns.collation": "collation added",
    "relations.columns.storage": "storage changed",
    "relations.columns.compression": "compression chosen",
    "relations.columns.statistics": "statistics target",
    "relations.columns.options": "column options",
    "relations.columns.comment": "column comment changed",
    "relations.columns.public": "column granted to everybody",
    "relations.constraints": "check dropped",
    "relations.constraints.columns": "primary key columns swapped",
    "relations.constraints.name": "check renamed",
    "relations.constraints.target": "foreign key to another table",
    "relations.constraints.target_columns": "foreign key to another column",
    "relations.constraints.on_update": "update action dropped",
    "relations.constraints.on_delete": "cascade dropped",
    "relations.constraints.match": "match full",
    "relations.constraints.deferrable": "foreign key deferrable",
    "relations.constraints.deferred": "foreign key initially immediate",
    "relations.constraints.not_validated": "check not valid",
    "relations.constraints.not_enforced": "check not enforced",
    "relations.constraints.no_inherit": "check no inherit",
    "relations.constraints.expression": "check is strict",
    "relations.constraints.definition": "exclusion made partial",
    "relations.constraints.disabled": "foreign key triggers disabled",
    "relations.constraints.comment": "constraint comment dropped",
    "relations.constraints.index": "unique includes",
    "relations.constraints.index.include": "primary key includes",
    "relations.constraints.index.nulls_not_distinct": "unique nulls not distinct",
    "relations.constraints.index.options": "primary key fill factor",
    "relations.constraints.index.invalid": "primary key index invalid",
    "relations.indexes": "index dropped",
    "relations.indexes.name": "index renamed",
    "relations.indexes.method": "index no longer hash",
    "relations.indexes.unique": "unique index no longer unique",
    "relations.indexes.invalid": "index invalid",
    "relations.indexes.keys": "index of another column",
    "relations.indexes.keys.column": "index of another column",
    "relations.indexes.keys.expression": "expression changed",
    "relations.indexes.keys.collation": "index with another collation",
    "relations.indexes.keys.opclass": "index without operator class",
    "relations.indexes.keys.desc": "index descending",
    "relations.indexes.keys.nulls": "index with nulls first",
    "relations.indexes.include": "index without INCLUDE",
    "relations.indexes.predicate": "index no longer partial",
    "relations.indexes.nulls_not_distinct": "index nulls not distinct",
    "relations.indexes.options": "index fill factor",
    "relations.indexes.clustered": "clustered",
    "relations.indexes.comment": "index comment changed",
    "relations.triggers": "trigger dropped",
    "relations.triggers.definition": "trigger without condition",
    "relations.triggers.enabled": "trigger disabled",
    "relations.rules": "rule dropped",
    "relations.rules.definition": "rule changed",
    "relations.rules.enabled": "rule disabled",
    "relations.policies": "policy dropped",
    "relations.policies.command": "policy for another command",
    "relations.policies.permissive": "policy permissive",
    "relations.policies.roles": "policy for another role",
    "relations.policies.using": "policy widened",
    "relations.policies.check": "policy checks writes",
    "sequences": "sequence dropped",
    "sequences.persistence": "sequence unlogged",
    "sequences.owner": "sequence owner",
    "sequences.public": "sequence granted",
    "sequences.revoked": "sequence revoked from its owner",
    "functions.revoked": "function revoked from its owner",
    "types.revoked": "type revoked from its owner",
    "schemas.revoked": "schema revoked from its owner",
    "sequences.comment": "sequence comment",
    "sequences.type": "serial sequence type alone",
    "sequences.start": "sequence start",
    "sequences.increment": "sequence increment",
    "sequences.minimum": "serial sequence minimum",
    "sequences.maximum": "sequence maximum",
    "sequences.cache": "serial sequence cache",
    "sequences.cycle": "sequence cycles",
    "sequences.of": "sequence owned",
    "types": "type extra",
    "types.kind": "-",
    "types.owner": "type owner changed",
    "types.public": "type not for everybody",
    "types.comment": "type comment dropped",
    "types.labels": "labels reordered",
    "types.base": "domain on another base",
    "types.not_null": "domain not null",
    "types.expression": "domain default changed",
    "types.checks": "domain check changed",
    "types.attributes": "composite attribute added",
    "functions": "function dropped",
    "functions.identity": "function overloaded",
    "functions.arguments": "function argument default changed",
    "functions.volatility": "function volatility",
    "functions.strict": "function strictness",
    "functions.security_definer": "function security definer",
    "functions.parallel": "function parallel",
    "functions.cost": "function cost",
    "functions.settings": "function search path",
    "functions.source": "function body changed",
    "functions.owner": "function owner",
    "functions.public": "function not for everybody",
    "functions.comment": "function comment",
    "statistics": "statistics dropped",
    "statistics.definition": "statistics changed",
    "default_privileges": "new tables for everybody",
    "others": "operator added",
    "elsewhere": "table moved",
}


def without(catalog: Catalog, path: str) -> Catalog:
    """The catalog as a checker would have it that does not look at ``path``. Raises PapError where none goes without."""
    return Catalog.from_json(_without(catalog.as_json(), path))


def _without(found: dict[str, Any], path: str) -> dict[str, Any]:
    *parents, last = path.split(".")
    if not parents:
        found[last] = []
        return found
    rows: list[dict[str, Any]] = [found]
    for parent in parents:
        below: list[dict[str, Any]] = []
        for row in rows:
            value = row.get(parent, [])
            below += value if isinstance(value, list) else [value]
        rows = below
    neutral = _NEUTRAL.get(path, _NEUTRAL.get(last))
    for row in rows:
        if last in row or neutral is not None:
            row.pop(last, None)
            if neutral is not None:
                row[last] = copy.deepcopy(neutral)
    return found


# What a field that cannot be missing becomes on both sides.
_NEUTRAL: dict[str, Any] = {
    "relations.kind": "r", "persistence": "p", "owner": "postgres", "type": "integer", "relations.columns.name": "x",
    "columns": [], "name": "x", "target": ["public", "x"], "target_columns": ["x"], "on_update": "NO ACTION",
    "on_delete": "NO ACTION", "match": "SIMPLE", "relations.constraints.expression": "true", "definition": "x",
    "method": "btree", "keys": [{"column": "x"}], "enabled": "O", "command": "*", "roles": ["public"], "start": 1,
    "increment": 1, "minimum": 1, "maximum": 9, "cache": 1, "volatility": "v", "parallel": "u", "cost": 100, "rows": 0, "base": "integer",
}  # fmt: skip


@pytest.fixture(scope="module")
def seen(corpus: Corpus) -> Callable[[str, str], Catalog]:  # noqa: F811
    """The catalog after a change, described once."""
    known: dict[str, Catalog] = {}

    def after(name: str, sql: str) -> Catalog:
        if name not in known:
            with corpus.connection.begin():
                nested = corpus.connection.begin_nested()
                corpus.run(sql)
                known[name] = describe(corpus.connection, *scope(corpus.expected))
                nested.rollback()
            corpus.connection.rollback()
        return known[name]

    return after


def found(expected: Catalog, actual: Catalog) -> set[tuple[str, str]]:
    return {(d.kind, d.object) for d in compare(expected, actual, OPTIONS)}


@pytest.mark.parametrize("path", [path for path, witness in WITNESSES.items() if witness != "-"])
def test_a_blind_checker_is_found_out(corpus: Corpus, seen: Any, path: str) -> None:  # noqa: F811
    mutation = BY_NAME[WITNESSES[path]]
    if corpus.major < mutation.major:
        pytest.skip(f"needs PostgreSQL {mutation.major}")
    actual = seen(mutation.name, mutation.sql)
    wanted = set(mutation.found) - {(kind, name) for kind, name in mutation.found if kind == "sequence_behind"}
    assert found(corpus.expected, actual) >= wanted
    try:
        blind = found(without(corpus.expected, path), without(actual, path))
    except (PapError, KeyError, TypeError, IndexError):
        return  # a checker without this field does not run at all
    assert not blind >= wanted, f"{mutation.name} is found without looking at {path}: choose another witness"


NOT_COMPARED = {
    "database": "says which server and path were read",
    "opclass": "names of operator classes, resolved into the keys",
    "collation": "names of collations, resolved into columns and keys",
    "schema.name": "the key", "schema.owner": "compared by drift", "schema.extension": "an extension's own schema",
    "relation.oid": "resolves rows", "relation.schema": "the key", "relation.name": "the key",
    "relation.method": "another table access method needs an extension", "relation.tablespace": "needs a directory of the server",
    "relation.of_type": "typed tables cannot come from SQLAlchemy", "relation.server": "foreign tables need a wrapper",
    "relation.default_partition": "see test_schema_details", "relation.readable": "decides whose values are compared",
    "column.relation": "resolves rows", "column.number": "resolves rows", "column.expression": "becomes default or generation",
    "column.foreign_options": "foreign tables need a wrapper", "column.local": "marks inherited columns for repairs",
    "constraint.oid": "resolves rows", "constraint.relation": "resolves rows", "constraint.type": "the key",
    "constraint.key": "becomes columns", "constraint.backing_index": "becomes index", "constraint.target_relation": "resolves rows", "constraint.target_key": "becomes target_columns",
    "constraint.delete_key": "ON DELETE SET NULL (column), see test_schema_details", "constraint.period": "temporal keys, see test_schema_details",
    "constraint.validated": "becomes not_validated", "constraint.enforced": "becomes not_enforced",
    "constraint.local": "marks inherited constraints for repairs",
    "index.oid": "resolves rows", "index.relation": "resolves rows", "index.exclusion": "its constraint says it",
    "index.valid": "becomes invalid", "index.columns": "becomes keys", "index.opclasses": "becomes keys", "index.collations": "becomes keys",
    "index.flags": "becomes keys", "index.expressions": "becomes keys", "index.key_options": "operator class options, see test_schema_details",
    "index.tablespace": "needs a directory of the server", "index.replica_identity": "tells one index from another, see test_schema_details",
    "sequence.oid": "resolves rows", "sequence.schema": "the key", "sequence.name": "the key", "sequence.of_column": "becomes of",
    "sequence.internal": "tells identity from serial", "sequence.readable": "decides whose values are compared",
    "trigger.relation": "resolves rows", "trigger.name": "the key", "trigger.comment": "see test_schema_details",
    "rule.relation": "resolves rows", "rule.name": "the key", "rule.comment": "see test_schema_details",
    "policy.relation": "resolves rows", "policy.name": "the key", "policy.comment": "see test_schema_details",
    "type.schema": "the key", "type.name": "the key", "type.collation": "see test_schema_details", "type.range": "see test_schema_details",
    "function.schema": "the key", "function.name": "the key", "function.kind": "see test_schema_details",
    "function.result": "see test_schema_details", "function.language": "see test_schema_details",
    "function.leakproof": "see test_schema_details", "function.rows": "see test_schema_details",
    "function.library": "functions in C need a library", "function.body": "see test_schema_details",
    "function.aggregate": "see test_schema_details",
    "extension.name": "see test_schema_details", "extension.schema": "extensions may live anywhere", "extension.version": "not compared: minor upgrades",
    "statistics.schema": "the key", "statistics.name": "the key", "statistics.relation": "part of the definition",
    "statistics.owner": "of little use", "statistics.comment": "see test_schema_details", "statistics.target": "see test_schema_details",
    "default_privilege": "as one",
    "other.identity": "the key", "other.schema": "the scope",
    "other.definition": "see test_schema_details",
    "elsewhere": "as one",
}  # fmt: skip

_PLURAL = {"schema": "schemas", "relation": "relations", "column": "relations.columns", "constraint": "relations.constraints",
           "index": "relations.indexes", "trigger": "relations.triggers", "rule": "relations.rules", "policy": "relations.policies",
           "sequence": "sequences", "type": "types", "function": "functions", "statistics": "statistics", "extension": "extensions"}  # fmt: skip


def test_every_field_that_is_read_has_a_witness_or_a_reason() -> None:
    forgotten = []
    for section in sections(180000, ["x"]):
        for field, _ in section.fields:
            name = f"{section.name}.{field}"
            path = f"{_PLURAL.get(section.name, section.name)}.{field}"
            if section.name in NOT_COMPARED or name in NOT_COMPARED or path in WITNESSES or path + "s" in WITNESSES:
                continue
            if section.name == "index" and f"relations.indexes.keys.{field}" in WITNESSES:
                continue
            forgotten.append(name)
    assert not forgotten


# The equality of expressions, loosened: (what is patched, with what, the change that then goes unseen).
def _strip_every_cast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expressions, "_cast", lambda inner, target, context: inner)


def _strip_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    real = expressions._cast
    monkeypatch.setattr(
        expressions, "_cast", lambda inner, target, context: real(inner, expressions.base_type(target), context)
    )


def _padded_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expressions, "_TEXTUAL", expressions._TEXTUAL | {"bpchar", "character(20)"})


def _ignore_case(monkeypatch: pytest.MonkeyPatch) -> None:
    real = expressions.parse
    monkeypatch.setattr(expressions, "parse", lambda sql, schemas: real(sql.lower(), schemas))


def _and_is_or(monkeypatch: pytest.MonkeyPatch) -> None:
    real = expressions._junction
    monkeypatch.setattr(expressions, "_junction", lambda kind, items: real("and", items))


def _round_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expressions, "_decimal", lambda text: str(round(float(text))))


def _strings_without_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexer, "quote_text", lambda value: "".join(value.split()))


def _defaults_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Any = expressions.default_key
    monkeypatch.setattr(name_resolution, "default_key", lambda sql, kind, context: sql and real(sql, kind, context)[0])


def _every_name_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from papdeploy.schema.differences import constraints

    monkeypatch.setattr(constraints, "made_by_server", lambda *_: True)


def _any_is_all(monkeypatch: pytest.MonkeyPatch) -> None:
    real = expressions._quantified
    monkeypatch.setattr(expressions, "_quantified", lambda kind, operator, left, right: real("any", "=", left, right))


LOOSENINGS = [
    (_strip_every_cast, "check cuts the text"),
    (_strip_every_cast, "check pads the text"),
    (_strip_lengths, "check cuts the text"),
    (_padded_is_text, "check pads the text"),
    (_ignore_case, "check has a value in capitals"),
    (_and_is_or, "and became or"),
    (_round_numbers, "check has a close bound"),
    (_strings_without_spaces, "string in a function changed"),
    (_defaults_by_kind, "default value changed"),
    (_defaults_by_kind, "json default changed"),
    (_every_name_is_made_up, "check renamed"),
    (_any_is_all, "check excludes"),
]


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()


@pytest.mark.parametrize(("loosen", "witness"), LOOSENINGS, ids=lambda value: getattr(value, "__name__", value))
def test_a_lenient_checker_is_found_out(
    corpus: Corpus,  # noqa: F811
    seen: Any,
    restored: pytest.MonkeyPatch,
    loosen: Callable[[pytest.MonkeyPatch], None],
    witness: str,
) -> None:
    mutation = BY_NAME[witness]
    actual = seen(mutation.name, mutation.sql)
    assert found(corpus.expected, actual) == set(mutation.found)
    loosen(restored)
    assert not found(corpus.expected, actual) & set(mutation.found), (
        "the corpus does not notice: it needs a sharper change"
    )


def test_a_checker_that_never_finds_anything_fails_all_of_the_corpus() -> None:
    assert all(mutation.found for mutation in MUTATIONS)
    assert VARIATIONS
