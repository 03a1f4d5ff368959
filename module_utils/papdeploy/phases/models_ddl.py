"""What the models of a version create, without their import reaching the live database."""

from __future__ import annotations

from typing import Any

from ..app.stack import AppSession, Stack
from ..core.errors import PapError
from ..releases.version import Version
from . import guards
from .forecast import scratch_database


def of(stack: Stack, version: Version, app_session: AppSession, server_version: int) -> dict[str, Any]:
    """{digest, ddl, tables, classes} of the models. They are imported where they reach nothing; models that do not
    import there, on a scratch database."""
    request = {"models": list(stack.models), "server_version": server_version}
    try:
        return app_session.call("schema.ddl", {**request, "alone": True}, deadline_s=120)
    except PapError:  # it says why in the place where they have what they need
        with (
            scratch_database(stack, "ddl") as scratch,
            stack.on_copy(version, scratch, "the import of the models") as there,
        ):
            guards.refuse_drop_tables_imported(stack, version, there)
            return there.call("schema.ddl", request, deadline_s=120)
