"""docs/schema-check-catalog.md says of each column of pg_catalog what the check makes of it; here it is held to that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from papdeploy.schema.catalog.query import describe_query

PAGE = Path(__file__).resolve().parents[3] / "docs" / "schema-check-catalog.md"
MAJOR = 18  # of the page: older servers lack some columns


def rows() -> Iterator[tuple[str, str, str, str]]:
    """(catalog, column, how, why)"""
    for line in PAGE.read_text().splitlines():
        match = re.match(r"\| `(pg_\w+)` \| (read|derived|left out) \| (.*?) \| ?(.*?) ?\|\Z", line)
        if match:
            for column in re.findall(r"`(\w+)`", match[3]):
                yield match[1], column, match[2], match[4]


CATALOGS = sorted({catalog for catalog, *_ in rows()})


@pytest.mark.parametrize("catalog", CATALOGS)
def test_the_page_places_every_column_once(catalog: str, servers: Any) -> None:
    known = servers[MAJOR].sql(
        "SELECT attname::text FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped "
        f"AND attrelid = 'pg_catalog.{catalog}'::regclass"
    )
    placed = [column for name, column, _, _ in rows() if name == catalog]
    assert sorted(placed) == sorted(name for (name,) in known)


def test_what_is_read_is_in_the_query_and_the_rest_has_a_reason() -> None:
    query = describe_query(MAJOR * 10_000)
    found = {
        (catalog, column): bool(re.search(rf"(?<![a-z_]){column}(?![a-z_])", query)) for catalog, column, _, _ in rows()
    }
    assert found == {(catalog, column): how == "read" for catalog, column, how, _ in rows()}
    assert all(why for _, _, how, why in rows() if how != "read")
    beside = {"pg_depend", "pg_am", "pg_tablespace", "pg_language"}  # only names are taken from these
    assert set(re.findall(r"(?:FROM|JOIN) (pg_\w+)\b(?!\()", query)) <= {*CATALOGS, *beside}
