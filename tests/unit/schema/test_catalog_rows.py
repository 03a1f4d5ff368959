"""What the describing query names is what Python reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from papdeploy.schema.catalog import query_rows
from papdeploy.schema.catalog.query import sections

ROWS: Mapping[str, Any] = {
    "database": query_rows.DatabaseRow,
    "schema": query_rows.SchemaRow,
    "relation": query_rows.RelationRow,
    "column": query_rows.ColumnRow,
    "constraint": query_rows.ConstraintRow,
    "index": query_rows.IndexRow,
    "trigger": query_rows.PartRow,
    "rule": query_rows.PartRow,
    "policy": query_rows.PolicyRow,
    "sequence": query_rows.SequenceRow,
    "type": query_rows.TypeRow,
    "function": query_rows.FunctionRow,
    "extension": query_rows.ExtensionRow,
    "statistics": query_rows.StatisticsRow,
    "default_privilege": query_rows.DefaultPrivilegeRow,
    "other": query_rows.OtherRow,
    "elsewhere": query_rows.ElsewhereRow,
    "dependency": query_rows.DependencyRow,
    "right": query_rows.RightRow,
    "publication": query_rows.PublicationRow,
    "partition": query_rows.PartitionRow,
    "opclass": query_rows.NumberRow,
    "collation": query_rows.NumberRow,
}


@pytest.mark.parametrize("version", [140000, 160004, 190000])
def test_fields_of_the_query_and_of_its_rows(version: int) -> None:
    for section in sections(version, ("users",), dependencies=True):
        assert [name for name, _ in section.fields] == list(ROWS[section.name]._fields), section.name
