"""What a check returns: differences, and whether the database matches."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Optional

from ...core.plain_json import JsonObject
from ...core.records import read_known, whole
from ...core.text import plural

SEVERITIES = ("note", "warning", "error")  # by rising weight


@dataclass(frozen=True)
class Difference:
    """One difference between the models and the database.

    ``object`` names it as the models do (``users.email``; with its schema when that is not the default one).
    ``expected`` is what the models say, ``actual`` what the database has, in words of SQL. ``why`` says why it matters.
    ``repair`` is SQL that would make the database match, safest form first; lines that start with ``--`` are for the
    person who runs it. ``allowed`` holds the reason when a person allowed the difference.
    """

    kind: str
    object: str
    severity: str
    expected: str
    actual: str
    why: str
    repair: tuple[str, ...] = ()
    allowed: str = ""

    def as_dict(self) -> JsonObject:
        return {key: value for key, value in asdict(self).items() if key != "allowed" or value}

    def sentence(self, expected: str = "the models say", actual: str = "the database has") -> str:
        """One line of at most some 500 characters: what, what it should be, what it is."""
        return f"{self.object}: {expected} {_short(self.expected)}, {actual} {_short(self.actual)}"

    def sort_key(self) -> tuple[int, str, str]:
        return (-SEVERITIES.index(self.severity), self.object, self.kind)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:197] + "..."


@dataclass(frozen=True)
class Allowances:
    """How many of the allowances matched a difference."""

    used: int = 0
    unused: int = 0


@dataclass(frozen=True)
class Checked:
    """What was compared: the database, and how many objects of each kind. ``positions``: of how many sequences the
    values were looked at; ``fail_on``: the lowest severity that fails."""

    database: str = ""
    server_version: int = 0
    standby: bool = False
    schema: str = ""
    tables: int = 0
    columns: int = 0
    constraints: int = 0
    indexes: int = 0
    views: int = 0
    types: int = 0
    functions: int = 0
    sequences: int = 0
    digest: str = ""
    positions: Optional[int] = None
    fail_on: str = ""
    allowances: Allowances = field(default=Allowances())

    def as_dict(self) -> JsonObject:
        return {name: value for name, value in whole(self).items() if value is not None}


@dataclass(frozen=True)
class CheckResult:
    """``matches`` is true when no difference reaches the severity that fails (``checked.fail_on``).

    ``allowed`` are differences that a person allowed, with the reason; ``notices`` are sentences about the check itself
    (an allowance that matches nothing, sequences that could not be read). ``checked`` says what was compared.
    """

    matches: bool
    differences: tuple[Difference, ...]
    checked: Checked
    allowed: tuple[Difference, ...] = ()
    notices: tuple[str, ...] = ()

    def as_dict(self) -> JsonObject:
        """The result as plain data."""
        return {
            "matches": self.matches,
            "differences": [difference.as_dict() for difference in self.differences],
            "allowed": [difference.as_dict() for difference in self.allowed],
            "notices": list(self.notices),
            "checked": self.checked.as_dict(),
        }

    def counts(self) -> dict[str, int]:
        """How many differences of each severity, the heaviest first."""
        return {s: sum(d.severity == s for d in self.differences) for s in reversed(SEVERITIES)}

    def summary(self) -> str:
        """One line for a log: ``3 errors, 1 note`` or ``no difference``."""
        parts = [plural(number, name) for name, number in self.counts().items() if number]
        return ", ".join(parts) or "no difference"


def result_from_dict(value: object) -> CheckResult:
    """The inverse of :meth:`CheckResult.as_dict`."""
    return read_known(CheckResult, value, "the result of the schema check")


def reaches(severity: str, threshold: str) -> bool:
    """Whether ``severity`` is at least ``threshold``; ``never`` is reached by none."""
    return threshold != "never" and SEVERITIES.index(severity) >= SEVERITIES.index(threshold)
