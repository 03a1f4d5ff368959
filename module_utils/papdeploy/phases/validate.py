"""The schema check as a phase: the live database against the models, read only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import PapError
from ..journal import write_durably
from ..stack import Stack
from .preflight import expected_catalog, read_kept


class SchemaDiffers(PapError):
    """The database does not match the models; ``data['differences']`` has each difference."""


def run(stack: Stack, release: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Compare with the models of ``release``, or of the API that runs. Raises SchemaDiffers."""
    version = stack.api.candidate() if release else stack.api.running()
    with stack.beside_models(version) as beside:
        request = {"models": list(stack.models)}
        if release:
            expected = read_kept(stack.state.journal(release).folder, "expected.json")
        else:
            facts = stack.database.facts()
            ddl = beside.call("schema.ddl", {**request, "server_version": facts.version}, deadline_s=120)
            expected = expected_catalog(stack, beside, ddl["digest"])
        found = beside.call("schema.check", {"expected": expected, "options": dict(options)}, deadline_s=120)
        if release:
            catalog = beside.call("schema.describe", request, deadline_s=120)["catalog"]
            write_durably(stack.state.journal(release).folder / "catalog.json", json.dumps(catalog).encode())
    if not found["matches"]:
        raise SchemaDiffers(
            f"The database of {stack.label} does not match the models of {version['label']}:"
            f" {len(found['differences'])} differences.",
            hint="Each is listed with the SQL that repairs it; put that into a migration.",
            differences=found["differences"],
            lines=[f"{d['severity']}: {d['object']}: {d['kind']}" for d in found["differences"]],
        )
    tables = found["checked"].get("tables", "all")
    return {**found, "pap": {"phase": "validate", "lines": [f"the database matches the models ({tables} tables)"]}}
