"""What the describing query names is what Python reads."""

from __future__ import annotations

from typing import Any

import pytest
from papdeploy.schema.catalog.query import sections
from papdeploy.schema.catalog.query_rows import ColumnRow, ConstraintRow, IndexRow


@pytest.mark.parametrize("version", [140000, 160004, 190000])
@pytest.mark.parametrize(
    ("section", "row"), [("column", ColumnRow), ("constraint", ConstraintRow), ("index", IndexRow)]
)
def test_fields_of_the_query_and_of_its_rows(section: str, row: Any, version: int) -> None:
    (found,) = (item for item in sections(version) if item.name == section)
    assert [name for name, _ in found.fields] == list(row._fields)
