"""One hash that says what a database holds: equal as long as the schema is unchanged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from ..differences.catalogs import compare
from ..differences.options import CheckOptions
from ..differences.result import Difference
from .rows import Catalog

# Who asks and where, and what the application itself may do every day: add partitions.
_VOLATILE = {
    "database",
    "unreadable",
    "dependencies",
    "elsewhere",
    "models",
    "digest",
    "partitions",
    "default_partition",
    "number",
}


def fingerprint(catalog: Catalog) -> str:
    """SHA-256 of the catalog, whatever the order of its columns, its partitions, the role and the path that read it.

    A new major version of PostgreSQL, or of the extensions, is a change; a new minor version of PostgreSQL is not.
    """
    major = catalog.database.major
    text = json.dumps([catalog.format, major, _canonical(catalog.as_json())], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rows(key, _canonical(item)) for key, item in value.items() if key not in _VOLATILE}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return value


def _rows(key: str, value: Any) -> Any:
    if key == "columns" and value and isinstance(value[0], dict):
        return sorted(value, key=lambda column: column["name"])
    return value


def drift(before: Catalog, after: Catalog, ignore: Sequence[str] = ()) -> list[Difference]:
    """The differences of ``after`` against ``before``, two described databases of one major version.

    Names and owners count here, and serial is not identity. ``expected`` is what was, ``actual`` what is.
    """
    return compare(before, after, CheckOptions(ignore=tuple(ignore), exact=True))
