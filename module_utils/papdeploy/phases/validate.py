"""The schema check as a phase: the live database against the models, read only."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..app.stack import Stack
from ..core.errors import PapError
from ..core.records import whole
from ..core.text import plural
from ..schema import CheckOptions, Difference
from ..schema.catalog.rows import Catalog
from ..schema.differences.result import CheckResult, result_from_dict
from . import catalogs, models_ddl, release_content, schema_ahead
from .models_ddl import expected_catalog
from .preflight import read_kept
from .result import Printed, Result


class SchemaDiffers(PapError):
    """The database does not match the models; ``data['differences']`` has each difference."""


@dataclass(frozen=True)
class Validated(Result):
    """What :class:`CheckResult` has."""

    matches: bool
    differences: Sequence[Difference]
    allowed: Sequence[Difference]
    notices: Sequence[str]
    checked: Mapping[str, Any]


def run(stack: Stack, release: str, options: CheckOptions) -> Validated:
    """Compare with the models of ``release``, or of the API that runs. Raises SchemaDiffers.

    Without a release it reads beside any run that is at work, and says so: what it finds may be the middle of a change.
    """
    at_work = "" if release else stack.state.lock.at_work()
    try:
        found, newer = _compared(stack, release, options)
    except PapError as error:
        if at_work:
            error.hint = f"{at_work[0].upper()}{at_work[1:]}. Ask again when it has ended. {error.hint}".strip()
        raise
    tables, brief = plural(found.checked.tables, "table"), bool(release)
    matches = f"the database matches the models ({tables}){newer}{_harmless(found, brief=brief)}"
    lines = [*([at_work] if at_work else []), matches, *_lines(found, brief=brief)]
    printed = Printed("validate", lines)
    return Validated(printed, found.matches, found.differences, found.allowed, found.notices, found.checked.as_dict())


def _compared(stack: Stack, release: str, options: CheckOptions) -> tuple[CheckResult, str]:
    """What was found, and what of it newer migrations explain, as the end of a clause."""
    version = stack.api.candidate() if release else stack.api.running()
    ahead = None if release else schema_ahead.now(stack)
    mine = stack.state.working(release) if release else contextlib.nullcontext()
    with mine, stack.beside_models(version) as app_session:
        if release:
            expected = Catalog.from_json(read_kept(stack.state.journal(release).folder, "expected.json"))
        else:
            digest = models_ddl.digest(stack, version, app_session, stack.database.facts().version)
            expected = expected_catalog(stack, version, digest)
        check = {"expected": expected.as_json(), "options": options.as_dict()}
        found = result_from_dict(app_session.call("schema.check", check, deadline_s=120))
        if release:
            journal = stack.state.journal(release)
            catalogs.keep(journal, catalogs.described(app_session))
            release_content.refuse_changed(stack, journal, "since it took over", app_session)
    if ahead:
        found = ahead.explain(found, expected, options)
    if not found.matches:
        raise SchemaDiffers(
            f"The database of {stack.label} does not match the models of {version.label}:"
            f" {plural(len(found.differences), 'difference')}.",
            hint="Each is listed with the SQL that repairs it; put that into a migration.",
            differences=whole(found.differences),
            lines=_lines(found),
        )
    return found, ", apart from what newer migrations changed" if ahead else ""


def _harmless(result: CheckResult, *, brief: bool) -> str:
    """How many differences fail nothing; ``brief``: those that are only notes are counted and not listed."""
    notes = sum(difference.severity == "note" for difference in result.differences) if brief else 0
    listed = len(result.differences) - notes
    counted = [f"{plural(listed, 'difference')} failing nothing"] if listed else []
    counted += [f"{plural(notes, 'note')} that check.yml lists"] if notes else []
    return f"; {', '.join(counted)}{':' if listed else ''}" if counted else ""


def _lines(result: CheckResult, *, brief: bool = False) -> list[str]:
    """Each difference with its repair, also those that fail nothing, but no notes if ``brief``; what is allowed; what
    the check has to say."""
    lines = []
    for difference in result.differences:
        if brief and difference.severity == "note":
            continue
        lines.append(f"{difference.severity}: {difference.sentence()}")
        lines += [f"  {line}" for statement in difference.repair for line in statement.splitlines()]
    lines += [
        f"allowed: {difference.object} ({difference.kind}): {difference.allowed}" for difference in result.allowed
    ]
    return [*lines, *(f"note: {notice}" for notice in result.notices)]
