"""Schemas, extensions, statistics, default privileges, and objects of rarer kinds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ...sql.quoting import quote_name, quote_names, quote_text
from ..catalog.rows import DefaultPrivilege, Other, Schema
from ..repair.tables import create_statistics
from .comparison import Comparison

_STANDARD_COMMENT = "standard public schema"
_OBJECTS = {"r": "TABLES", "S": "SEQUENCES", "f": "FUNCTIONS", "T": "TYPES", "n": "SCHEMAS", "L": "LARGE OBJECTS"}


def compare_schemas(work: Comparison) -> None:
    actual = {row.name: row for row in work.actual.catalog.schemas}
    for row in work.expected.catalog.schemas:
        name = row.name
        home = work.sides.home(name)
        if home not in work.sides.scope and not work.options.exact:
            continue
        found = actual.get(home)
        quoted = quote_name(home)
        if found is None:
            repair = [f"CREATE SCHEMA {quoted};"]
            if row.comment:
                repair.append(f"COMMENT ON SCHEMA {quoted} IS {quote_text(row.comment)};")
            repair += [f"GRANT {right.rstrip('*')} ON SCHEMA {quoted} TO PUBLIC;" for right in row.public]
            work.add("schema_missing", name, f"schema {name}", "nothing", repair)
            continue
        comment, present, rights = _comment(row), _comment(found), found.public
        if home != name:  # the default schema of the models lives elsewhere: its own comment and rights are not theirs
            comment = present
            rights = tuple(right for right in rights if right != "USAGE")
        # a revoked right on a schema is how administrators harden a server; a given one is how it is taken
        ours = replace(row, comment=comment, public=tuple(right for right in row.public if right in rights))
        work.compare_common("schema", name, ours, replace(found, comment=present, public=rights), f"SCHEMA {quoted}")
    if work.options.exact or work.options.undo:
        known = {work.sides.home(row.name) for row in work.expected.catalog.schemas}
        for name in sorted(actual.keys() - known):
            repair = [f"DROP SCHEMA {quote_name(name)};"]
            work.add("object_extra", f"schema {name}", "nothing", f"schema {name}", repair)


def _comment(row: Schema) -> str:
    return "" if row.comment == _STANDARD_COMMENT else row.comment


def compare_extensions(work: Comparison) -> None:
    """Those that the models need are there; in what version and what else there is, only drift asks."""
    expected, present = (
        {row.name: row.version for row in side.catalog.extensions} for side in (work.expected, work.actual)
    )
    for name, version in expected.items():
        if name not in present:
            repair = [f"CREATE EXTENSION IF NOT EXISTS {quote_name(name)};"]
            work.add("extension_missing", name, f"extension {name}", "nothing", repair)
        elif work.options.exact and version != present[name]:
            repair = [f"ALTER EXTENSION {quote_name(name)} UPDATE TO {quote_text(version)};"]
            work.add("object_changed", f"extension {name}", f"version {version}", f"version {present[name]}", repair)
    _compare_extension_schemas(work)
    if work.options.exact or work.options.undo:
        for name in sorted(present.keys() - expected.keys()):
            repair = [f"DROP EXTENSION {quote_name(name)};"]
            work.add("object_extra", f"extension {name}", "nothing", f"extension {name} {present[name]}", repair)


def _compare_extension_schemas(work: Comparison) -> None:
    """An extension that the models put into a schema of its own is there; one that they leave open is on the path."""
    present = {row.name: row for row in work.actual.catalog.extensions}
    for row in work.expected.catalog.extensions:
        found = present.get(row.name)
        if found is None or found.schema == "pg_catalog":
            continue
        free = row.schema == work.expected.default and not work.options.exact
        home = work.sides.home(row.schema)
        if found.schema == home or (free and found.schema in work.sides.path):
            continue
        repair = [f"ALTER EXTENSION {quote_name(row.name)} SET SCHEMA {quote_name(home)};"]
        wanted = f"schema {home}" + (" or another of the search path" if free else "")
        work.add("extension_schema", row.name, wanted, f"schema {found.schema}", repair)


def compare_statistics(work: Comparison) -> None:
    actual = {(row.schema, row.name): row for row in work.actual.catalog.statistics}
    matched = set()
    for row in work.expected.catalog.statistics:
        label = work.expected.label(row.schema, row.table, row.name)
        found = work.sides.find(actual, row.schema, row.name)
        create = create_statistics(work, row)
        if found is None:
            work.add("statistics_missing", label, row.definition, "nothing", create)
            continue
        matched.add((found.schema, found.name))
        name = f"STATISTICS {quote_names(found.schema, found.name)}"
        targets = tuple(-1 if side.target is None else side.target for side in (row, found))
        if work.expected.text(row.definition) != work.actual.text(found.definition):
            work.add("statistics_changed", label, row.definition, found.definition, [f"DROP {name};", *create])
        elif targets[0] != targets[1]:
            repair = [f"ALTER {name} SET STATISTICS {targets[0]};"]
            words = [f"SET STATISTICS {target}" for target in targets]
            work.add("statistics_changed", label, words[0], words[1], repair)
        work.compare_comment("statistics_comment", label, row, found, name)
    for key, row in actual.items():
        if key not in matched and row.schema in work.sides.scope:
            label = work.actual.label(row.schema, row.table, row.name)
            repair = [f"DROP STATISTICS {quote_names(*key)};"]
            work.add("statistics_extra", label, "nothing", row.definition, repair)


def compare_default_privileges(work: Comparison) -> None:
    def rights(rows: Sequence[DefaultPrivilege]) -> dict[tuple[str, str], Sequence[str]]:
        return {(row.schema, row.kind): row.public for row in rows}

    expected, actual = (rights(side.catalog.default_privileges) for side in (work.expected, work.actual))
    for schema, kind in sorted(expected.keys() | actual.keys()):
        wanted, present = expected.get((schema, kind), []), actual.get((schema, kind), [])
        if schema and schema not in work.sides.scope and not work.options.exact:
            continue
        new = sorted(set(present) - set(wanted))
        # functions and types give these to PUBLIC anyway
        new = [right for right in new if (kind, right) not in (("f", "EXECUTE"), ("T", "USAGE"))]
        where = f" IN SCHEMA {quote_name(schema)}" if schema else ""
        objects = _OBJECTS.get(kind, kind)
        label = f"{schema or 'database'} {objects.lower()}"
        if new:
            repair = [f"ALTER DEFAULT PRIVILEGES{where} REVOKE {', '.join(new)} ON {objects} FROM PUBLIC;"]
            work.add("default_grant", label, "PUBLIC gets nothing new", f"PUBLIC gets {', '.join(new)}", repair)
        gone = sorted(set(wanted) - set(present))
        if gone and work.options.exact:
            repair = [f"ALTER DEFAULT PRIVILEGES{where} GRANT {', '.join(gone)} ON {objects} TO PUBLIC;"]
            work.add("default_grant", label, f"PUBLIC gets {', '.join(gone)}", "PUBLIC gets nothing", repair)


def compare_others(work: Comparison) -> None:
    """Operators, operator classes, collations, conversions, text search objects, casts: there, and alike."""
    ours = {work.expected.text(row.identity): row for row in work.expected.catalog.others}
    theirs = {work.actual.text(row.identity): row for row in work.actual.catalog.others}
    for key, row in ours.items():
        if key not in theirs:
            label = _unqualified(row.identity, work.expected.default)
            work.add("object_missing", label, row.identity, "nothing", [_create(work, row, label)])
        elif work.expected.text(row.definition) != work.actual.text(theirs[key].definition):
            label = _unqualified(row.identity, work.expected.default)
            repair = [f"-- what uses {label} must be dropped first: make both anew by hand, as the models' event does"]
            words = [str(side.definition or "") for side in (row, theirs[key])]
            work.add("object_changed", label, words[0], words[1], repair)
    for key, row in theirs.items():
        if key not in ours and (row.schema or work.actual.default) in work.sides.scope:
            label = _unqualified(row.identity, work.actual.default)
            work.add("object_extra", label, "nothing", row.identity, [_drop(row.identity)])


def _create(work: Comparison, row: Other, label: str) -> str:
    if row.identity.startswith("collation ") and row.definition:
        return f"CREATE {work.sides.sql(row.identity).replace('collation', 'COLLATION', 1)} ({row.definition});"
    return f"-- create {label} by hand, as the models' event does"


def _unqualified(identity: str, schema: str) -> str:
    return identity.replace(f" {quote_name(schema)}.", " ", 1)


def _drop(identity: str) -> str:
    """DROP for what pg_describe_object names: ``collation s.n``, ``operator class x for access method y``, a cast."""
    cast = re.match(r"cast from (.*) to (.*)\Z", identity)
    if cast:
        return f"DROP CAST ({cast[1]} AS {cast[2]});"
    words = "collation|conversion|operator class|operator|text search (?:configuration|dictionary|parser|template)"
    match = re.match(rf"({words}) (.*)\Z", identity)
    if match is None:
        return f"-- drop {identity}"
    return f"DROP {match[1].upper()} {match[2].replace(' for access method ', ' USING ')};"
