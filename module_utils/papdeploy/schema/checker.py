"""The check of a live database: describe, compare, apply what a person allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .catalog.build import describe
from .catalog.connection import Session
from .catalog.rows import Catalog
from .catalog.sequence_values import sequences_behind
from .differences.catalogs import compared
from .differences.comparison import Comparison
from .differences.name_resolution import schemas_in_use
from .differences.options import Allowance, CheckOptions
from .differences.result import Allowances, Checked, CheckResult, Difference, reaches


def check(connection: Any, expected: Catalog, options: CheckOptions | None = None) -> CheckResult:
    """Compare the database of ``connection`` (SQLAlchemy connection or Session) with ``expected``.

    Reads only, in two round trips (one where ``options.positions`` is off): nothing is created, changed or committed,
    and an open transaction stays open with its settings as they were. Raises Unavailable when the catalog cannot be
    read.
    """
    return examine(connection, expected, options)[0]


def examine(
    connection: Any, expected: Catalog, options: CheckOptions | None = None, *, repair: bool = False
) -> tuple[CheckResult, Comparison]:
    """The result of :func:`check`, and the comparison behind it, which a ``repair`` script is made from."""
    options = options or CheckOptions()
    session = Session.of(connection)
    actual = describe(session, *scope(expected, options.schema), dependencies=repair)
    work = compared(expected, actual, options)
    differences = work.differences
    notices: list[str] = []
    checked = _checked(expected, actual, options)
    if options.positions:
        behind, looked_at, hidden = sequences_behind(session, expected, actual, options)
        differences = sorted([*differences, *behind], key=Difference.sort_key)
        checked = replace(checked, positions=looked_at)
        if hidden:
            notices.append(
                f"The role may not read {hidden} sequence(s) or their tables: their values were not compared."
            )
    return judge(differences, checked, options, notices), work


def scope(expected: Catalog, schema: str = "") -> tuple[list[str], list[str]]:
    """What to describe for ``expected``: its schemas (and ``schema``), and names to look for elsewhere."""
    default = (expected.database.path or ["public"])[0]
    names = {row.name for row in expected.relations}
    names |= {partition for row in expected.relations for _, partition, _, _ in row.partition_defaults}
    return sorted(schemas_in_use(expected) | {schema or default}), sorted(names)


def judge(
    differences: Sequence[Difference], checked: Checked, options: CheckOptions, notices: Sequence[str] = ()
) -> CheckResult:
    """Apply allowances and the threshold to ``differences``."""
    today = options.date()
    used: set[int] = set()
    kept: list[Difference] = []
    allowed: list[Difference] = []
    for difference in differences:
        matching = [(n, entry) for n, entry in enumerate(options.allow) if entry.matches(difference)]
        used |= {n for n, _ in matching}
        valid = next((entry for _, entry in matching if not entry.expired(today)), None)
        if valid is not None:
            allowed.append(_allowed(difference, valid))
        else:
            expired = [entry for _, entry in matching]
            kept.append(_expired(difference, expired[0]) if expired else difference)
    said = list(notices)
    for number, entry in enumerate(options.allow):
        if number not in used:
            said.append(f"The allowance for {entry.describe()} ({entry.reason}) matches no difference: remove it.")
    allowances = Allowances(len(used), len(options.allow) - len(used))
    checked = replace(checked, fail_on=options.fail_on, allowances=allowances)
    matches = not any(reaches(difference.severity, options.fail_on) for difference in kept)
    return CheckResult(matches, tuple(kept), checked, tuple(allowed), tuple(said))


def _allowed(difference: Difference, entry: Allowance) -> Difference:
    return replace(difference, allowed=f"{entry.reason} (until {entry.expires})")


def _expired(difference: Difference, entry: Allowance) -> Difference:
    why = f"{difference.why}; it was allowed until {entry.expires} ({entry.reason})"
    return replace(difference, why=why)


def _checked(expected: Catalog, actual: Catalog, options: CheckOptions) -> Checked:
    tables = [row for row in expected.relations if row.kind not in "vm"]
    database = actual.database
    return Checked(
        database=database.name,
        server_version=database.server_version,
        standby=database.standby,
        schema=options.schema or (database.path or ["public"])[0],
        tables=len(tables),
        columns=sum(len(row.columns) for row in tables),
        constraints=sum(len(row.constraints) for row in tables),
        indexes=sum(len(row.indexes) for row in expected.relations),
        views=len(expected.relations) - len(tables),
        types=len(expected.types),
        functions=len(expected.functions),
        sequences=len(expected.sequences),
        digest=expected.digest,
    )
