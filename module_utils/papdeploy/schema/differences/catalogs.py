"""Two catalogs as plain data → the differences. Pure: no database, no clock but ``options.date()``."""

from __future__ import annotations

from collections.abc import Iterator

from ...core.errors import PapError, Refused
from ...sql.quoting import quote_names
from ..catalog.rows import CATALOG_FORMAT, Catalog, Described
from .comparison import Comparison
from .functions import compare_functions
from .options import CheckOptions
from .other_objects import (
    compare_default_privileges,
    compare_extensions,
    compare_others,
    compare_schemas,
    compare_statistics,
)
from .result import Difference
from .sequences import compare_sequences
from .tables import compare_relations
from .types import compare_types


def compare(expected: Catalog, actual: Catalog, options: CheckOptions | None = None) -> list[Difference]:
    """Every difference that ``options`` do not ignore, the heaviest first. Allowances are not applied.

    Raises PapError when the catalogs cannot be compared: another format, or another major version of PostgreSQL,
    which prints some expressions in other words.
    """
    return compared(expected, actual, options).differences


def compared(expected: Catalog, actual: Catalog, options: CheckOptions | None = None) -> Comparison:
    """The same as a comparison, whose ``differences`` they are."""
    _comparable(expected, actual)
    work = Comparison(expected, actual, options or CheckOptions())
    compare_schemas(work)
    compare_extensions(work)
    compare_types(work)
    compare_sequences(work)
    compare_relations(work)
    compare_functions(work)
    compare_statistics(work)
    compare_default_privileges(work)
    compare_others(work)
    work.compare_owners(_owned(work))
    unique = {(d.kind, d.object, d.expected, d.actual): d for d in work.differences}
    work.differences = sorted(unique.values(), key=Difference.sort_key)
    return work


def comparable(one: Catalog, other: Catalog) -> bool:
    """Whether :func:`compare` takes the two: one format, one major version of PostgreSQL."""
    try:
        _comparable(one, other)
    except PapError:
        return False
    return True


def _comparable(expected: Catalog, actual: Catalog) -> None:
    for catalog in (expected, actual):
        if catalog.format != CATALOG_FORMAT:
            raise Refused(
                f"The catalog has format {catalog.format!r}, this version of papdeploy reads {CATALOG_FORMAT}.",
                hint="Make the snapshot anew.",
            )
    majors = [catalog.database.major for catalog in (expected, actual)]
    if majors[0] != majors[1]:
        raise Refused(
            f"The expected catalog is of PostgreSQL {majors[0]}, the database runs on {majors[1]}.",
            hint=f"Make the expected catalog on a server of version {majors[1]}.",
        )


Owned = tuple[str, str, Described, str]
_RELATIONS = {"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW", "f": "FOREIGN TABLE"}


def _owned(work: Comparison) -> list[Owned]:
    """What the models create and the database has, with the names that ALTER … OWNER TO takes."""
    return [*_owned_relations(work), *_owned_sequences(work), *_owned_types(work), *_owned_functions(work)]


def _owned_relations(work: Comparison) -> Iterator[Owned]:
    for (schema, name), row in work.expected.relations.items():
        actual = work.sides.find(work.actual.relations, schema, name)
        if actual is not None and actual.kind == row.kind:
            target = f"{_RELATIONS[row.kind]} {quote_names(actual.schema, name)}"
            yield "table", work.expected.label(schema, name), actual, target


def _owned_sequences(work: Comparison) -> Iterator[Owned]:
    for (schema, name), row in work.expected.sequences.items():
        actual = work.sides.find(work.actual.sequences, schema, name)
        if actual is not None and not row.of and not actual.of:
            target = f"SEQUENCE {quote_names(actual.schema, name)}"
            yield "sequence", work.expected.label(schema, name), actual, target


def _owned_types(work: Comparison) -> Iterator[Owned]:
    types = {(row.schema, row.name): row for row in work.actual.catalog.types}
    for row in work.expected.catalog.types:
        actual = work.sides.find(types, row.schema, row.name)
        if actual is not None:
            word = "DOMAIN" if actual.kind == "d" else "TYPE"
            target = f"{word} {quote_names(actual.schema, actual.name)}"
            yield "type", work.expected.label(row.schema, row.name), actual, target


def _owned_functions(work: Comparison) -> Iterator[Owned]:
    functions = {(r.schema, r.name, work.actual.name(r.identity)): r for r in work.actual.catalog.functions}
    for row in work.expected.catalog.functions:
        arguments = row.identity
        actual = work.sides.find(functions, row.schema, row.name, work.expected.name(arguments))
        if actual is not None:
            word = "PROCEDURE" if actual.kind == "p" else "FUNCTION"
            target = f"{word} {quote_names(actual.schema, actual.name)}({actual.identity})"
            yield "function", work.expected.label(row.schema, f"{row.name}({arguments})"), actual, target
