"""What the runner beside the models is asked for: the same in a rehearsal and in the deploy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..core.plain_json import JsonObject


@dataclass(frozen=True)
class MigrationRequest:
    """Apply the migrations in ``sources`` (by file name) and check the schema against ``expected``, a catalog as JSON
    has it."""

    sources: Mapping[str, str]
    release: str
    who: str
    expected: Any
    schema_options: Mapping[str, Any]
    options: Mapping[str, Any]

    def as_json(self) -> JsonObject:
        return {item.name: getattr(self, item.name) for item in fields(self)}
