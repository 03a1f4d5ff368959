"""What the preflight finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

from ..core.text import plural
from ..migrations.cli.results import Pending
from ..releases.parts import Endpoint
from ..releases.version import Version
from ..schema import CheckOptions
from ..schema.catalog.rows import Catalog
from ..schema.differences.result import CheckResult, Difference, reaches
from . import release_content


@dataclass
class Findings:
    """What the preflight found: the input of the plan, of the release header and of the summary."""

    running: Version
    candidate: Version
    server_version: int
    pending: Sequence[Pending]
    expected: Catalog
    models_digest: str
    live: Catalog
    reversible: bool
    migrations: int
    content: Optional[release_content.Measured] = None
    differences: Sequence[Difference] = ()
    failing: list[Difference] = field(default_factory=list)
    baseline: Optional[Sequence[Endpoint]] = None
    health: Optional[Endpoint] = None
    login: Optional[Endpoint] = None
    lines: list[str] = field(default_factory=list)

    def judge(self, found: CheckResult, options: CheckOptions) -> None:
        """Take over how the schema differs from the models, and which of that fails the check."""
        self.differences = found.differences
        self.failing = [item for item in found.differences if reaches(item.severity, options.fail_on)]

    @property
    def names(self) -> list[str]:
        """The pending migrations."""
        return [item.identity for item in self.pending]

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
