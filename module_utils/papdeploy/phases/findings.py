"""What the preflight finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from ..core.text import plural
from ..releases.version import Version
from ..schema.catalog.rows import Catalog
from ..schema.differences.result import Difference
from . import release_content


@dataclass
class Findings:
    """What the preflight found: the input of the plan, of the release header and of the summary."""

    running: Version
    candidate: Version
    server_version: int
    pending: list[dict[str, Any]]
    differences: list[dict[str, Any]]
    failing: list[Difference]
    expected: Catalog
    models_digest: str
    live: Catalog
    reversible: bool
    baseline: Optional[list[dict[str, Any]]]
    lines: list[str]
    migrations: int
    content: Optional[release_content.Measured] = None

    @property
    def switches(self) -> bool:
        return self.running.identity != self.candidate.identity

    @property
    def schema(self) -> str:
        """How the schema stands, where no difference fails the check."""
        number = len(self.differences)
        if not number:
            return "the schema matches the models"
        return f"the schema has {plural(number, 'difference')} failing nothing: ansible-playbook check.yml lists them"

    @property
    def nothing_to_do(self) -> bool:
        return not self.pending and not self.switches
