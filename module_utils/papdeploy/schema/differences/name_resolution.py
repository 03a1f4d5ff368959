"""The two catalogs side by side: which schema of one stands for which of the other, and names that mean the same.

Models name most tables without a schema; the search path of the role or database decides where these live. In the
expected catalog they are in its default schema (``public`` of a new database), in the actual one wherever the path
leads. Extensions may live in another schema on each side. So a printed name loses its qualifier where that only says
"the default place", and keeps it where the models name a schema themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ...sql.expressions import Context, default_key, expression_key, type_key
from ...sql.lexer import NotSql, name_key, text_key, tokenize
from ...sql.quoting import quote_name, quote_names
from ..catalog.rows import Catalog, Placed, Relation

R = TypeVar("R")
_NEXTVAL = re.compile(r"nextval\('((?:[^']|'')*)'::regclass\)\Z")


class Side:
    """One catalog, with its default schema and the qualifiers that say nothing."""

    def __init__(self, catalog: Catalog, default: str, silent: Iterable[str]) -> None:
        self.catalog = catalog
        self.default = default
        self.silent = tuple(sorted(set(silent)))
        self.relations = {(row.schema, row.name): row for row in catalog.relations}
        self.sequences = {(row.schema, row.name): row for row in catalog.sequences}
        self.owned = {tuple(row.of): row for row in catalog.sequences if row.of}
        self.parents = {parent for row in catalog.relations for parent in row.inherits}
        self._by_text = {quote_names(row.schema, row.name): row for row in catalog.relations}
        self._contexts: dict[tuple[str, str], Context] = {}

    def parents_of(self, table: Relation, column: str) -> list[Relation]:
        """Those from which ``table`` inherits ``column``: ALTER TABLE on them reaches it."""
        parents = [self._by_text[name] for name in table.inherits if name in self._by_text]
        return [row for row in parents if any(one.name == column for one in row.columns)]

    def label(self, schema: str, *names: str) -> str:
        """An object's name as the models write it."""
        return ".".join(names if schema == self.default else (schema, *names))

    def type(self, text: str) -> str:
        return type_key(text, self.silent)

    def name(self, text: str) -> str:
        return name_key(text, self.silent)

    def text(self, sql: str | None) -> str | None:
        return None if sql is None else text_key(sql, self.silent)

    def context(self, relation: Relation | None) -> Context:
        if relation is None:
            return Context({}, self.silent)
        key = (relation.schema, relation.name)
        if key not in self._contexts:
            types = {column.name: self.type(column.type) for column in relation.columns}
            self._contexts[key] = Context(types, self.silent)
        return self._contexts[key]

    def expression(self, sql: str | None, relation: Relation | None = None) -> object:
        return expression_key(sql, self.context(relation))

    def default_of(self, sql: str | None, column_type: str, relation: Relation | None = None) -> object:
        return default_key(sql, self.type(column_type), self.context(relation))

    def sequence_of_default(self, default: str | None) -> tuple[str, str] | None:
        """The sequence that ``nextval('…'::regclass)`` draws from, as (schema, name)."""
        match = _NEXTVAL.match(default or "")
        if match is None:
            return None
        try:
            parts = [token.text for token in tokenize(match[1].replace("''", "'")) if token.kind == "name"]
        except NotSql:
            return None
        return (parts[0], parts[1]) if len(parts) == 2 else None


class Sides:
    """Expected and actual, and how names translate from one to the other."""

    def __init__(self, expected: Catalog, actual: Catalog, *, schema: str = "", exact: bool = False) -> None:
        expected_default = (expected.database.path or ["public"])[0]
        used = schemas_in_use(expected)
        path = list(actual.database.path)
        self.explicit = used - {expected_default}
        self.same_words = False  # whether equal words mean equal things on both sides
        if exact:
            self.expected = Side(expected, expected_default, ())
            self.actual = Side(actual, expected_default, ())
            self.path = [expected_default]
            self.scope = used | schemas_in_use(actual)
            return
        names = [(row.schema, row.name) for row in expected.relations]
        present = {(row.schema, row.name) for row in actual.relations}

        def found(candidate: str) -> int:
            return sum((candidate, name) in present for where, name in names if where == expected_default)

        default = schema or (max(path, key=found) if path else "public")
        self.path = [default, *(name for name in path if name != default)]
        of_extensions = {row.schema for side in (expected, actual) for row in side.extensions}
        silent = ({expected_default, *of_extensions} - self.explicit) - {"pg_catalog"}
        self.expected = Side(expected, expected_default, silent | {expected_default})
        self.actual = Side(actual, default, silent | {default} | (set(path) - self.explicit))
        self.same_words = default == expected_default
        self.scope = {default if name == expected_default else name for name in used}

    def places(self, schema: str) -> Sequence[str]:
        """Where an object of the expected ``schema`` may be in the actual catalog, the best place first."""
        return self.path if schema == self.expected.default else [schema]

    def home(self, schema: str) -> str:
        """The actual schema in which an object of the expected ``schema`` would be created."""
        return self.actual.default if schema == self.expected.default else schema

    def find(self, rows: Mapping[Any, R], schema: str, *names: str) -> R | None:
        for place in self.places(schema):
            row = rows.get((place, *names))
            if row is not None:
                return row
        return None

    # what a repair writes: the expected side's words in the actual database

    def written(self, schema: str, *names: str) -> str:
        """A quoted, qualified name for a statement that runs in the actual database."""
        return quote_names(self.home(schema), *names)

    def sql(self, text: str) -> str:
        """The expected side's SQL ``text`` with its default schema replaced by the actual one."""
        here, there = self.expected.default, self.actual.default
        if here == there or here not in text:
            return text
        pattern = re.compile(rf"""'(?:[^']|'')*'(?!::regclass)|(?<![\w."]){re.escape(quote_name(here))}\.""")
        return pattern.sub(lambda m: m[0] if m[0].startswith("'") else quote_name(there) + ".", text)


def schemas_in_use(catalog: Catalog) -> set[str]:
    """Those that hold anything."""
    rows: tuple[Placed, ...] = (*catalog.relations, *catalog.sequences, *catalog.types, *catalog.functions)
    return {row.schema for row in rows}
