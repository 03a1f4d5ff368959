"""The schema check as a phase: the live database against the models, read only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from ..app.stack import Stack
from ..core.durable import write_durably
from ..core.errors import PapError
from ..core.text import plural
from ..schema import CheckOptions
from ..schema.catalog.rows import Catalog
from ..schema.differences.result import CheckResult, result_from_dict
from . import models_ddl, release_content, schema_ahead
from .models_ddl import expected_catalog
from .preflight import read_kept


class SchemaDiffers(PapError):
    """The database does not match the models; ``data['differences']`` has each difference."""


def run(stack: Stack, release: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Compare with the models of ``release``, or of the API that runs. Raises SchemaDiffers.

    Without a release it reads beside any run that is at work, and says so: what it finds may be the middle of a change.
    """
    at_work = "" if release else stack.state.lock.at_work()
    try:
        result = _compared(stack, release, options)
    except PapError as error:
        if at_work:
            error.hint = f"{at_work[0].upper()}{at_work[1:]}. Ask again when it has ended. {error.hint}".strip()
        raise
    if at_work:
        result["pap"]["lines"].insert(0, at_work)
    return result


def _compared(stack: Stack, release: str, options: Mapping[str, Any]) -> dict[str, Any]:
    version = stack.api.candidate() if release else stack.api.running()
    ahead = None if release else schema_ahead.now(stack)
    mine = stack.state.working(release) if release else contextlib.nullcontext()
    with mine, stack.beside_models(version) as app_session:
        request = {"models": list(stack.models)}
        if release:
            expected = Catalog.from_json(read_kept(stack.state.journal(release).folder, "expected.json"))
        else:
            facts = stack.database.facts()
            ddl = models_ddl.of(stack, version, app_session, facts.version)
            expected = expected_catalog(stack, version, ddl["digest"])
        check = {"expected": expected.as_json(), "options": dict(options)}
        found = app_session.call("schema.check", check, deadline_s=120)
        if release:
            catalog = app_session.call("schema.describe", request, deadline_s=120)["catalog"]
            journal = stack.state.journal(release)
            write_durably(journal.folder / "catalog.json", json.dumps(catalog).encode())
            release_content.refuse_changed(stack, journal, "since it took over", app_session)
    if ahead:
        result = ahead.explain(result_from_dict(found), expected, CheckOptions.from_dict(dict(options)))
        found = {**found, **result.as_dict()}
    if not found["matches"]:
        raise SchemaDiffers(
            f"The database of {stack.label} does not match the models of {version.label}:"
            f" {plural(len(found['differences']), 'difference')}.",
            hint="Each is listed with the SQL that repairs it; put that into a migration.",
            differences=found["differences"],
            lines=_lines(result_from_dict(found)),
        )
    result = result_from_dict(found)
    tables = plural(found["checked"]["tables"], "table")
    newer = ", apart from what newer migrations changed" if ahead else ""
    matches = f"the database matches the models ({tables}){newer}"
    lines = [f"{matches}{_harmless(result, brief=bool(release))}", *_lines(result, brief=bool(release))]
    return {**found, "pap": {"phase": "validate", "lines": lines}}


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
